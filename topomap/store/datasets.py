"""Named data sets beside the records of a run folder: layouts and whatever else later steps make."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from topomap._check import unknown
from topomap.store.arrays import Entry, read_array, reading, write_array
from topomap.store.groups import STEPS, consolidate, read_attributes, write_group
from topomap.store.index import DATA, Group, check_group, read_index, safe_name, unused, write_index
from topomap.store.placing import full_disk

if TYPE_CHECKING:
    import xarray

_RESERVED = ("inputs", "layers", STEPS)


def write_dataset(path: str | os.PathLike[str], name: str, ds: xarray.Dataset, overwrite: bool = True) -> None:
    """Add a data set to a run folder.

    It is built under a hidden name and moved in when whole; it exists once the index, replaced by rename, names it.

    Parameters
    ----------
    path
        The run folder.
    name
        Parts separated by slashes, such as ``"layouts/conv1/mean/tsne"``; an empty part stands for the root module.
    ds
        The data set. Its variables hold numbers, text, booleans or times, its attributes what JSON can hold.
    overwrite
        Replace a data set of this name.

    Raises
    ------
    ValueError
        If the folder is no run, the name is taken or reserved, or the data set holds what cannot be stored.
    OSError
        If the disk is full; nothing half-written is left.

    Examples
    --------
    >>> import numpy as np, tempfile, xarray
    >>> from topomap.run import Activations, Run
    >>> from topomap.store import list_datasets, read_dataset, save_run
    >>> acts = Activations.from_array(np.eye(3))
    >>> ds = xarray.Dataset({"positions": (("neuron", "axis"), np.zeros((3, 2)))}, attrs={"method": "pca"})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     run = save_run(Run(acts.inputs, {("fc", "none"): acts}), f"{folder}/run")
    ...     write_dataset(run.path, "layouts/fc/none/pca", ds)
    ...     list_datasets(run.path, "layouts"), read_dataset(run.path, "layouts/fc/none/pca").attrs
    (['layouts/fc/none/pca'], {'method': 'pca'})
    """
    folder = _folder(path)
    index = read_index(folder)
    known = {group.about["name"]: place for place, group in index.groups.items() if _is_dataset(group)}
    parts = name.split("/")
    if parts[0] in ("", *_RESERVED):
        raise ValueError(f"the name of a data set must not begin with {parts[0]!r}; got {name!r}.")
    if name in known and not overwrite:
        raise ValueError(f"there already is a data set {name!r} in {folder}: pass overwrite=True to replace it.")
    for other in known:
        if f"{other}/".startswith(f"{name}/") != f"{name}/".startswith(f"{other}/"):
            raise ValueError(f"data sets must not lie inside each other: {other!r} is there, and {name!r} came.")
    attributes = _json(ds.attrs, "the attributes")
    if "coordinates" in attributes:
        raise ValueError("the attribute 'coordinates' is xarray's own: give the data set's another name.")
    place = unused("/".join(map(safe_name, parts)), set(index.groups) - {known.get(name, "")})
    hidden = folder / ".dataset.partial"
    target = folder / DATA / place
    shutil.rmtree(hidden, ignore_errors=True)
    try:
        with full_disk(folder):
            group = _write(hidden, name, ds, attributes)
            if place in index.groups or target.exists():
                # The index lets go of the old one first, so that a kill at any time leaves a whole run behind.
                index = index.with_group(place, None)
                write_index(folder, index)
                shutil.rmtree(target)
            target.parent.mkdir(parents=True, exist_ok=True)
            hidden.rename(target)
            with reading(folder / DATA):
                consolidate(folder / DATA)
            write_index(folder, index.with_group(place, group))
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def _write(folder: Path, name: str, ds: xarray.Dataset, attributes: dict[str, Any]) -> Group:
    entries: dict[str, Entry] = {}
    variables: dict[str, dict[str, Any]] = {}
    loose = []
    for key, variable in ds.variables.items():
        odd = [dim for dim in variable.dims if not isinstance(dim, str) or dim.split() != [dim]]
        if odd:
            raise ValueError(f"dimensions must have names without spaces; got {odd[0]!r}.")
        array = unused(safe_name(str(key)), set(entries))
        coordinate = key in ds.coords
        if coordinate and key not in ds.dims:
            loose.append(array)
        variables[str(key)] = {"array": array, "coordinate": coordinate}
        dims = tuple(str(dim) for dim in variable.dims)
        own = _json(variable.attrs, f"the attributes of {key!r}")
        entries[array] = write_array(folder / array, np.asarray(variable.values), dims, f"variable {key!r}", own)
    # What is a coordinate without being a dimension's own, xarray takes from this attribute.
    write_group(folder, {**attributes, "coordinates": " ".join(loose)} if loose else attributes)
    return Group("dataset", entries, {"name": name, "variables": variables})


def read_dataset(path: str | os.PathLike[str], name: str) -> xarray.Dataset:
    """Read a data set of a run folder into memory.

    Raises
    ------
    ValueError
        If the folder is no run or is or there is no data set of this name.
    """
    import xarray

    folder = _folder(path)
    index = read_index(folder)
    found = {group.about["name"]: place for place, group in index.groups.items() if _is_dataset(group)}
    if name not in found:
        raise (
            unknown("the name of a data set", name, tuple(found))
            if found
            else ValueError(f"there is no data set {name!r} in {folder}, nor any other.")
        )
    group = index.groups[found[name]]
    check_group(folder, found[name], group)
    place = folder / DATA / found[name]
    data: dict[str, Any] = {}
    coords: dict[str, Any] = {}
    with reading(place):
        for key, known in group.about["variables"].items():
            array = known["array"]
            values = read_array(place / array, group.arrays[array])
            part = coords if known["coordinate"] else data
            part[key] = group.arrays[array].dims, values, read_attributes(place / array)
        attributes = read_attributes(place)
        attributes.pop("coordinates", None)
        return xarray.Dataset(data, coords, attributes)


def list_datasets(path: str | os.PathLike[str], under: str = "") -> list[str]:
    """Return the names of the data sets of a run folder, in the order in which they were written.

    Parameters
    ----------
    path
        The run folder.
    under
        Leave out all but those whose name begins with these parts, such as ``"layouts/conv1"``.
    """
    groups = read_index(_folder(path)).groups.values()
    names = [str(group.about["name"]) for group in groups if _is_dataset(group)]
    return [name for name in names if not under or f"{name}/".startswith(f"{under.rstrip('/')}/")]


def _folder(path: str | os.PathLike[str]) -> Path:
    return Path(os.path.realpath(Path(path).expanduser()))


def _is_dataset(group: Group) -> bool:
    return group.kind == "dataset" and isinstance(group.about.get("name"), str)


def _json(attributes: Mapping[Any, Any], what: str) -> dict[str, Any]:
    """Return attributes as JSON has them: NumPy's numbers become Python's, tuples become lists."""

    def simple(value: Any) -> Any:
        if isinstance(value, np.generic | np.ndarray):
            return value.tolist()
        raise TypeError(f"{type(value).__name__} is not")

    try:
        return dict(json.loads(json.dumps(dict(attributes), default=simple)))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{what} of a data set must be what JSON can hold: {error}.") from error
