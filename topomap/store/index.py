"""`run.toml`: the index of a run folder. What it does not name does not exist."""

from __future__ import annotations

import math
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date, time
from pathlib import Path
from typing import Any

import numpy as np

from topomap.run import versions
from topomap.store.arrays import Entry, check_array, damaged, reading
from topomap.store.groups import read_attributes

#: Version of the layout of a run folder.
SCHEMA = 1

INDEX = "run.toml"
DATA = "run.zarr"

_SAFE = re.compile(r"[A-Za-z0-9_.#%~-]+")
_DOTS = re.compile(r"\.*")


@dataclass(frozen=True)
class Group:
    """One group of arrays: its kind, its arrays and whatever else is known about it."""

    kind: str
    arrays: Mapping[str, Entry]
    about: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Training:
    """The snapshots of a training: their steps, in order, and one value per step of every metric (NaN: none)."""

    steps: tuple[int, ...] = ()
    metrics: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    def with_step(self, step: int, metrics: Mapping[str, float]) -> Training:
        """Return the training with a snapshot added at its end."""
        n = len(self.steps)
        known = {name: self.metrics.get(name, (math.nan,) * n) for name in (*self.metrics, *metrics)}
        grown = {name: (*values, float(metrics.get(name, math.nan))) for name, values in known.items()}
        return Training((*self.steps, int(step)), grown)

    def with_metrics(self, step: int, metrics: Mapping[str, float]) -> Training:
        """Return the training with values of metrics set at one of its steps."""
        at, n = self.steps.index(step), len(self.steps)
        known = dict(self.metrics)
        for name, value in metrics.items():
            values = list(known.get(name, (math.nan,) * n))
            values[at] = float(value)
            known[name] = tuple(values)
        return Training(self.steps, known)


@dataclass(frozen=True)
class Index:
    """The contents of a run folder: groups by their path in `run.zarr`; versions are those that made the run."""

    groups: Mapping[str, Group]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    complete: bool = True
    versions: Mapping[str, Any] = field(default_factory=versions)
    training: Training | None = None

    def with_group(self, path: str, group: Group | None) -> Index:
        """Return the index with a group added or replaced, or taken out (None)."""
        groups = {name: known for name, known in self.groups.items() if name != path}
        return replace(self, groups=groups if group is None else {**groups, path: group})


def safe_name(name: str) -> str:
    """Return a folder name for any text.

    ASCII letters, digits and ``_ . # ~ -`` stay, other bytes become ``%`` and two hexadecimal digits. Different texts
    give different names (but for letters' case; see `unused`).

    Examples
    --------
    >>> safe_name("features.0"), safe_name("shared#1"), safe_name("a/b"), safe_name("")
    ('features.0', 'shared#1', 'a%2Fb', '%root')
    """
    if name == "":
        return "%root"
    keep = "" if _DOTS.fullmatch(name) or name.startswith("__") or name == "zarr.json" else "_.#~-"
    parts = [c if c.isascii() and (c.isalnum() or c in keep) else "".join(f"%{b:02X}" for b in _bytes(c)) for c in name]
    result = "".join(parts)
    if len(result) > 120:  # file systems allow 255 bytes
        import hashlib

        result = f"{result[:80]}%long{hashlib.sha256(_bytes(name)).hexdigest()[:24]}"
    return result


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def unused(path: str, taken: set[str]) -> str:
    """Return the path, or the path with a number where a file system that ignores case would see one of `taken`."""
    folded = {name.casefold() for name in taken}
    candidate, number = path, 1
    while candidate.casefold() in folded:
        number += 1
        candidate = f"{path}%n{number}"
    return candidate


def plain(value: Any) -> Any:
    """Return the value in TOML's types: None is left out of tables, tuples become lists, anything odd becomes text."""
    if isinstance(value, Mapping):
        return {str(plain(str(key))): plain(entry) for key, entry in value.items() if entry is not None}
    if isinstance(value, np.generic | np.ndarray):
        return plain(value.tolist())
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(entry) for entry in value]
    if isinstance(value, bool | int | float | date | time):
        return value
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")


def write_index(folder: Path, index: Index) -> None:
    """Replace the index of a folder by rename, once it is safely on disk."""
    import tomli_w

    from topomap import __version__

    header: dict[str, Any] = {"schema": SCHEMA, "topomap": __version__, "complete": index.complete}
    header["provenance"] = plain(index.provenance)
    if header["provenance"].get("versions") != plain(index.versions):
        header["versions"] = plain(index.versions)
    if index.training is not None:
        metrics = {name: list(values) for name, values in index.training.metrics.items()}
        header["training"] = {"steps": list(index.training.steps), "metrics": metrics}
    header["groups"] = group_tables(index.groups)
    partial = folder / f".{INDEX}.partial"
    try:
        with partial.open("wb") as file:
            tomli_w.dump(header, file)
            file.flush()
            os.fsync(file.fileno())
        partial.replace(folder / INDEX)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    sync_folder(folder)


def group_tables(groups: Mapping[str, Group]) -> dict[str, Any]:
    """Return groups by their path as tables of plain types."""
    return {path: _group_table(group) for path, group in groups.items()}


def _group_table(group: Group) -> dict[str, Any]:
    sizes: dict[str, int] = {}
    arrays = {}
    for name, entry in group.arrays.items():
        sizes.update(zip(entry.dims, entry.shape, strict=True))
        arrays[name] = {
            "dims": " ".join(entry.dims),
            "dtype": entry.dtype,
            "chunks": entry.chunks,
            "bytes": entry.size,
        }
    return {"kind": group.kind, **plain(group.about), "sizes": sizes, "arrays": arrays}


def read_index(folder: Path) -> Index:
    """Read and check the index of a run folder, but not the arrays.

    Raises
    ------
    ValueError
        If this is no run folder, if it is one of another schema version, or if its index is damaged.
    """
    if not folder.is_dir():
        what = "there is a file of that name" if folder.exists() else "there is no such folder"
        raise ValueError(f"expected a run folder at {folder}: {what}.{_leftover(folder)}")
    if not (folder / INDEX).is_file():
        raise ValueError(
            f"expected a run folder, with {INDEX} and {DATA} in it, at {folder}: there is no {INDEX}. "
            "Make one with record(..., to=) or save_run()."
        )
    try:
        table = tomllib.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise damaged(folder, f"{INDEX} is not TOML: {error}") from error
    schema = table.get("schema")
    if schema != SCHEMA and type(schema) is int:
        way = "upgrade topomap" if schema > SCHEMA else "record it again, or read it with that topomap"
        raise ValueError(
            f"the run folder {folder} has schema version {schema}, written by topomap {table.get('topomap')}; "
            f"this topomap reads version {SCHEMA}: {way}."
        )
    if type(schema) is not int:
        raise ValueError(f"expected the index of a run in {folder / INDEX}: it has no schema version.")
    try:
        return _parse(table)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise damaged(folder, f"{INDEX} does not have the entries of an index: {error!r}") from error


def _parse(table: Mapping[str, Any]) -> Index:
    groups = parse_groups(table["groups"])
    provenance, complete = table["provenance"], table["complete"]
    known_versions = table["versions"] if "versions" in table else provenance["versions"]
    if not (isinstance(provenance, dict) and isinstance(known_versions, dict) and isinstance(complete, bool)):
        raise TypeError("provenance and versions must be tables, and complete true or false")
    training = None if "training" not in table else _parse_training(table["training"])
    return Index(groups, provenance, complete, known_versions, training)


def _parse_training(table: Mapping[str, Any]) -> Training:
    steps = tuple(_natural(step) for step in table["steps"])
    metrics = {str(name): tuple(map(float, values)) for name, values in table["metrics"].items()}
    if list(steps) != sorted(set(steps)) or any(len(values) != len(steps) for values in metrics.values()):
        raise ValueError("steps must increase, and every metric must have one value for each")
    return Training(steps, metrics)


def parse_groups(tables: Mapping[str, Any]) -> dict[str, Group]:
    """Undo `group_tables`; whatever is not as it should be raises one of Python's own errors."""
    groups = {}
    for path, known in tables.items():
        if not all(_SAFE.fullmatch(part) and not _DOTS.fullmatch(part) for part in path.split("/")):
            raise ValueError(f"{path!r} is no group's path")
        arrays = {}
        for name, entry in known["arrays"].items():
            if not _SAFE.fullmatch(name) or _DOTS.fullmatch(name):
                raise ValueError(f"{name!r} is no array's name")
            dims = tuple(entry["dims"].split())
            shape = tuple(_natural(known["sizes"][dim]) for dim in dims)
            parsed = Entry(dims, shape, entry["dtype"], _natural(entry["chunks"]), _natural(entry["bytes"]))
            parsed.stored  # noqa: B018  # raises where there is no such dtype
            arrays[name] = parsed
        about = {key: value for key, value in known.items() if key not in ("kind", "sizes", "arrays")}
        groups[path] = Group(str(known["kind"]), arrays, about)
    return groups


def _natural(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError(f"{value!r} is no count")
    return value


def _leftover(folder: Path) -> str:
    old = aside(folder, "old")
    return f" A run that was being replaced when its writer was killed is whole at {old}." if old.is_dir() else ""


def check_group(folder: Path, path: str, group: Group) -> None:
    """Raise ValueError unless the group and all of its arrays are there as the index says."""
    with reading(folder / DATA / path):
        read_attributes(folder / DATA / path)
    for name, entry in group.arrays.items():
        check_array(folder / DATA / path / name, entry)


def aside(folder: Path, role: str) -> Path:
    """Return the hidden folder beside a run folder that is being built (``"partial"``) or was replaced (``"old"``)."""
    return folder.parent / f".{folder.name}.topomap-{role}"


def sync_folder(folder: Path) -> None:
    """Make renames in a folder survive a power cut, where the system lets a folder be synced at all."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
