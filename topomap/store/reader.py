"""Opening a run folder: the index is checked against the files at once, values are read where they are used."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import warn
from topomap.run import Activations, Inputs, Record, Run
from topomap.store.arrays import StoredArray, damaged, read_array, reading
from topomap.store.groups import STEPS, read_attributes
from topomap.store.index import DATA, Group, Index, check_group, parse_groups, read_index
from topomap.store.moments import read_moments
from topomap.store.sparse import SPARSE, StoredSparse


def open_run(path: str | os.PathLike[str]) -> Run:
    """Open a run folder.

    That all arrays are there with the shapes and sizes of the index is checked at once. Inputs are read, thumbnails
    and values are read where they are used, moments when a layer is first asked for.

    Parameters
    ----------
    path
        The run folder.

    Returns
    -------
    Run
        With its folder as ``path``.

    Raises
    ------
    ValueError
        If this is no run folder, is one of another schema version, or is damaged.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from topomap.store import save_run
    >>> acts = Activations.from_array(np.eye(3), label=[0, 1, 1])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = save_run(Run(acts.inputs, {("fc", "none"): acts}), f"{folder}/digits")
    ...     open_run(f"{folder}/digits")["fc"].mean.round(2)
    array([0.33, 0.33, 0.33])
    """
    run = load_run(Path(os.path.realpath(Path(path).expanduser())))
    if run.provenance.get("complete") is False:
        n = run.provenance.get("n_inputs", len(run.inputs))  # with moments there is no table of inputs
        warn(f"the recording in {run.path} was cut short: it holds the first {n} inputs only.")
    return run


def load_run(folder: Path) -> Run:
    """Open a run folder given by its real path, without a word about whether the recording was cut short."""
    index = read_index(folder)
    _check_groups(folder, index.groups)
    try:
        inputs = read_inputs(folder, index)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise damaged(folder, f"its index lacks something: {error!r}") from error
    provenance = dict(index.provenance)
    if not index.complete:
        provenance["complete"] = False
    if index.training is None or not index.training.steps:
        return Run(inputs, _records(folder, index, inputs), provenance, folder)
    steps = index.training.steps
    for step in steps:
        if not (folder / DATA / STEPS / str(step)).is_dir():
            raise damaged(folder, f"there is no snapshot of step {step}, which its index names")
    snapshots = _Snapshots(folder, index, inputs)
    last = snapshots[steps[-1]]
    metrics = {name: np.array(values) for name, values in index.training.metrics.items()}
    return Run(last.inputs, last.records, provenance, folder, snapshots, metrics)


def _check_groups(folder: Path, groups: Mapping[str, Group]) -> None:
    for path, group in groups.items():
        check_group(folder, path, group)


def _records(folder: Path, index: Index, inputs: Inputs) -> _Records:
    """Return the records that an index names."""
    try:
        places = {
            (_text(group, "layer"), _text(group, "reduce")): path
            for path, group in index.groups.items()
            if group.kind in ("activations", "moments")
        }
        for path in places.values():
            _check_record(index.groups[path], len(inputs))
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise damaged(folder, f"its index lacks something: {error!r}") from error
    return _Records(folder, index, places, inputs)


class _Snapshots(Mapping[int, Run]):
    """The snapshots of a run folder, each opened when it is asked for; only the one asked for last is kept."""

    def __init__(self, folder: Path, index: Index, inputs: Inputs) -> None:
        self._folder = folder
        self._provenance = index.provenance
        self._inputs = inputs
        self._steps = dict.fromkeys(() if index.training is None else index.training.steps)
        self._last: tuple[int, Run] | None = None

    def __getitem__(self, step: int) -> Run:
        if step not in self._steps:
            raise KeyError(step)
        if self._last is None or self._last[0] != step:
            self._last = int(step), self._open(int(step))
        return self._last[1]

    def __contains__(self, step: object) -> bool:
        return step in self._steps  # without opening it

    def _open(self, step: int) -> Run:
        place = f"{STEPS}/{step}"
        with reading(self._folder / DATA / place):
            known = read_attributes(self._folder / DATA / place)
            groups = {f"{place}/{path}": group for path, group in parse_groups(known["groups"]).items()}
            provenance = {**self._provenance, **known["provenance"], "step": step}
        _check_groups(self._folder, groups)
        columns = groups.get(f"{place}/inputs")
        inputs = self._inputs if columns is None else self._own(self._folder / DATA / place / "inputs", columns)
        records = _records(self._folder, Index(groups, provenance, versions={}), inputs)
        return Run(inputs, records, provenance, self._folder)

    def _own(self, folder: Path, group: Group) -> Inputs:
        """Return the inputs with the columns of one step."""
        with reading(folder):
            stored = group.about["columns"]
            columns = {
                str(name): read_array(folder / stored[name], group.arrays[stored[name]])
                if name in stored
                else self._inputs.columns[name]
                for name in group.about["order"]
            }
            return replace(self._inputs, columns=columns)

    def __iter__(self) -> Iterator[int]:
        return iter(self._steps)

    def __len__(self) -> int:
        return len(self._steps)

    def __repr__(self) -> str:
        return f"<{len(self)} snapshots in {self._folder}>"


class _Records(Mapping[tuple[str, str], Record]):
    """The records of a run folder, each made when it is first asked for."""

    def __init__(self, folder: Path, index: Index, places: Mapping[tuple[str, str], str], inputs: Inputs) -> None:
        self._folder = folder
        self._index = index
        self._places = places
        self._inputs = inputs
        self._made: dict[tuple[str, str], Record] = {}

    def __getitem__(self, key: tuple[str, str]) -> Record:
        if key not in self._made:
            path = self._places[key]
            self._made[key] = self._make(self._folder / DATA / path, self._index.groups[path])
        return self._made[key]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    def __repr__(self) -> str:
        return f"<{', '.join(map(str, self._places))} in {self._folder}>"

    def _make(self, folder: Path, group: Group) -> Record:
        about = group.about
        layer, reduce = about["layer"], about["reduce"]
        provenance = about.get("provenance", self._index.provenance)
        if group.kind == "moments":
            return read_moments(folder, group, layer, reduce, provenance)
        rows = read_array(folder / "input", group.arrays["input"])
        if len(rows) and not (rows.min() >= 0 and rows.max() < len(self._inputs)):
            raise damaged(folder, f"rows name inputs beyond the {len(self._inputs)} there are")
        places = read_array(folder / "place", group.arrays["place"]) if "place" in group.arrays else None
        values: StoredArray | StoredSparse
        if "values" in group.arrays:
            values = StoredArray(folder / "values", group.arrays["values"])
        else:
            values = StoredSparse(folder, group.arrays, about["n_neurons"])
        return Activations(values, self._inputs, layer, reduce, rows, places, provenance)


def read_inputs(folder: Path, index: Index) -> Inputs:
    """Read the table of inputs."""
    group = index.groups["inputs"]
    place = folder / DATA / "inputs"

    def read(name: str) -> NDArray[Any]:
        return read_array(place / name, group.arrays[name])

    classes = group.about.get("classes")
    return Inputs(
        ids=read("id"),
        columns={column: read(name) for column, name in group.about["columns"].items()},
        classes=None if classes is None else tuple(classes),
        thumbnails=StoredArray(place / "thumbnail", group.arrays["thumbnail"]) if "thumbnail" in group.arrays else None,
        texts=read("text") if "text" in group.arrays else None,
    )


def _text(group: Group, name: str) -> str:
    if not isinstance(group.about[name], str):
        raise TypeError(f"{name} must be text")
    return str(group.about[name])


def _check_record(group: Group, n_inputs: int) -> None:
    """Raise where arrays do not fit each other, so that later errors are about data and not about files."""
    if not isinstance(group.about.get("provenance", {}), dict):
        raise TypeError("provenance must be a table")
    if group.kind == "activations" and "values" not in group.arrays:
        data, indices, count = (group.arrays[name] for name in SPARSE)
        kinds = [np.dtype(entry.dtype).kind for entry in (data, indices, count)]
        if kinds[0] != "f" or set(kinds[1:]) != {"i"} or type(group.about["n_neurons"]) is not int:
            raise TypeError("sparse values must have floating data, whole indices and counts, and n_neurons")
        if len(data.shape) != 1 or data.shape != indices.shape or count.shape != group.arrays["input"].shape:
            raise TypeError(f"sparse values have shapes {data.shape}, {indices.shape} and {count.shape}")
        return
    if group.kind == "activations":
        shape, rows = group.arrays["values"].shape, group.arrays["input"].shape
        if len(shape) != 2 or rows != shape[:1] or np.dtype(group.arrays["values"].dtype).kind not in "biuf":
            raise TypeError(f"values have shape {shape}, input has shape {rows}")
        return
    n_neurons = group.arrays["mean"].shape
    if type(group.about["count"]) is not int or len(n_neurons) != 1:
        raise TypeError("moments must have a count and means per neuron")
    for grouping in group.about["groupings"]:
        if group.arrays[f"mean_by_{grouping['suffix']}"].shape[1:] != n_neurons:
            raise TypeError("group means must have one value per neuron")
