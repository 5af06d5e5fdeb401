"""Reading the maps of a training, one snapshot at a time."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import choice, listing, unknown
from topomap.groups import By, Key
from topomap.profiles import Profiles, profile
from topomap.run import Activations, Run, versions
from topomap.training.maps import TrainingMaps
from topomap.training.steps import choose_steps

#: What a map can be of.
KINDS = ("groups", "difference", "inputs")

#: Values of more bytes lie in a temporary file, of which the system holds in memory what it has room for.
_IN_MEMORY = 2**29

#: Kind and title of a map.
_Name = tuple[str, str]

#: One map: values, inputs, inputs of the reference, noise floor, key.
_Row = tuple[NDArray[np.float32], int, int, float, Key]


def collect_maps(
    run: Run,
    layer: str | tuple[str, str],
    by: By = "label",
    *,
    kinds: Sequence[str] = ("groups",),
    groups: Sequence[str] | None = None,
    inputs: Sequence[int] = (),
    difference: Sequence[tuple[str, str]] = (),
    contrast: str | None = None,
    steps: int | Sequence[int] | None = None,
    min_size: int = 5,
    progress: bool = True,
) -> TrainingMaps:
    """Read the maps of a training, one snapshot at a time.

    Parameters
    ----------
    run
        With snapshots.
    layer
        A layer, or ``(layer, reduce)``.
    by
        As of `profile`.
    kinds
        Which maps, in this order: ``"groups"``, ``"difference"``, ``"inputs"``.
    groups
        Names of the groups, in this order. By default all, along the dendrogram of their profiles at the last step, so
        that one order holds for all steps.
    inputs
        Positions of single inputs in the table of inputs.
    difference
        Pairs of groups, the second to be subtracted from the first.
    contrast
        As of `profile`, for the maps of groups.
    steps
        As of `choose_steps`.
    min_size
        Groups of fewer inputs are small.
    progress
        Whether to show a bar.

    Raises
    ------
    ValueError
        If the run has no snapshots or no such layer or groups, the neurons change, or single inputs are asked for where
        none were kept.
    """
    from tqdm.auto import tqdm

    for kind in kinds:
        choice("the kind of a map", kind, KINDS)
    groups = (groups,) if isinstance(groups, str) else groups
    if groups is not None and not len(groups):
        raise ValueError("groups must name at least one group; got none. Leave groups= out for all of them.")
    chosen = choose_steps(run, steps)
    reader = _Reader(by, contrast, min_size, tuple(groups or ()), tuple(difference), tuple(inputs), tuple(kinds))
    last = run.at(chosen[-1])[layer]
    names = reader.arrange(last)
    n = last.n_neurons
    parts: list[_Part] = []
    values: Any = None
    for i, step in enumerate(
        tqdm(chosen, desc="reading", unit="step", disable=None if progress else True, leave=False)
    ):
        record = run.at(step)[layer]
        if record.n_neurons != n:
            raise ValueError(f"layer {layer!r} has {record.n_neurons} neurons at step {step} and {n} at the last.")
        part = reader.read(record)
        # a group may have inputs at some steps alone: those that were classified wrong, say
        names += [name for name in part.rows if name not in names]
        if values is None or len(names) > values.shape[1]:
            values = _grown(values, (len(chosen), len(names), n))
        for name, row in part.rows.items():
            values[i, names.index(name)] = row[0]
        parts.append(_Part({name: (_NONE, *row[1:]) for name, row in part.rows.items()}, part.dead))
    for group in groups or ():
        if not any(("groups", group) in part.rows for part in parts):
            raise unknown("groups", group, tuple(reader.known))
    index = np.flatnonzero(np.isin(run.steps, chosen))
    first = {name: next((part.rows[name] for part in parts if name in part.rows), _NOTHING) for name in names}

    def table(column: int) -> NDArray[Any]:
        return np.array([[part.rows.get(name, _NOTHING)[column] for name in names] for part in parts])

    return TrainingMaps(
        steps=np.array(chosen),
        values=values,
        titles=tuple(title for _, title in names),
        kinds=tuple(kind for kind, _ in names),
        keys=tuple(first[name][4] for name in names),
        by=reader.by,
        counts=table(1),
        others=table(2),
        floors=table(3).astype(np.float64),
        dead=np.array([part.dead for part in parts]),
        metrics={name: np.asarray(logged)[index] for name, logged in run.metrics.items()},
        min_size=min_size,
        contrast=reader.contrast,
        layer=last.layer,
        reduce=last.reduce,
        n_rows=reader.n_rows,
        diverged=tuple(run.diverged),
        provenance={
            "parameters": {
                "layer": layer, "by": list(reader.by), "contrast": contrast, "groups": list(groups or ()),
                "inputs": [int(i) for i in inputs], "difference": [list(pair) for pair in difference],
                "steps": [int(step) for step in chosen], "min_size": min_size,
            },
            "versions": versions(),
            "recording": dict(run.provenance),
        },
    )  # fmt: skip


_NONE = np.empty(0, dtype=np.float32)
_NOTHING: _Row = (_NONE, 0, 0, 0.0, ())


@dataclass(frozen=True)
class _Part:
    """The maps of one step, by kind and title."""

    rows: dict[_Name, _Row]
    dead: NDArray[np.bool_]


class _Reader:
    """Makes the maps of one snapshot after the other."""

    def __init__(
        self,
        by: By,
        contrast: str | None,
        min_size: int,
        groups: tuple[str, ...],
        difference: tuple[tuple[str, str], ...],
        inputs: tuple[int, ...],
        kinds: tuple[str, ...],
    ) -> None:
        self._by, self._contrast, self._min_size = by, contrast, min_size
        self._groups, self._difference, self._inputs, self._kinds = groups, difference, inputs, kinds
        self.by: tuple[str, ...] = ()
        self.contrast = contrast or "mean"
        self.known: dict[str, None] = {}
        self.n_rows = 0

    def arrange(self, record: Any) -> list[_Name]:
        """Return the order of the maps, that of the last step, and refuse what cannot be."""
        names: list[_Name] = []
        if "groups" in self._kinds:
            profiles = self._profile(record, self._contrast)
            self.contrast = profiles.contrast
            names += [("groups", name) for name in self._groups or [profiles.names[i] for i in profiles.order]]
        if "difference" in self._kinds:
            known = self._profile(record, "none").names
            for a, b in self._difference:
                for group in (a, b):
                    choice("a group of difference", group, known)
                names.append(("difference", _minus(a, b)))
        if "inputs" in self._kinds:
            if not isinstance(record, Activations):
                raise ValueError(
                    f"layer {record.layer!r} was recorded as moments, which hold no single input: record the training "
                    "with keep='values', or leave inputs= out."
                )
            n = len(record.inputs)
            for i in self._inputs:
                if not 0 <= int(i) < n:
                    raise ValueError(f"inputs must be positions from 0 to {n - 1}; got {i!r}.")
                names.append(("inputs", _of_input(record, int(i))))
            self.n_rows = record.n_rows
        if not names:
            raise ValueError(f"there is nothing to paint: say which maps, {listing(KINDS)}.")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name[1]!r} is asked for twice.")
        return names

    def read(self, record: Any) -> _Part:
        """Make the maps of one step."""
        rows: dict[_Name, _Row] = {}
        if "groups" in self._kinds:
            profiles = self._profile(record, self._contrast)
            self.known |= dict.fromkeys(profiles.names)
            for i, name in enumerate(profiles.names):
                if profiles.counts[i] and (not self._groups or name in self._groups):
                    rows["groups", name] = _row(profiles, i)
        if "difference" in self._kinds:
            names = self._profile(record, "none").names
            for a, b in self._difference:
                if a in names and b in names:
                    rows["difference", _minus(a, b)] = _row(self._profile(record, b), names.index(a))
        if "inputs" in self._kinds:
            each = record.per_input()
            scores = each.scores_of(np.searchsorted(each.rows, np.asarray(self._inputs, dtype=np.int64)))
            for i, score in zip(self._inputs, scores, strict=True):
                rows["inputs", _of_input(record, int(i))] = (score, 1, 0, 0.0, ())
        return _Part(rows, np.asarray(record.dead, dtype=bool))

    def _profile(self, record: Any, contrast: str | None) -> Profiles:
        profiles = profile(record, self._by, contrast, min_size=self._min_size).over_places()
        self.by, self.n_rows = profiles.by, profiles.n_rows
        return profiles


def _minus(a: str, b: str) -> str:
    return f"{a} − {b}"


def _of_input(acts: Activations, i: int) -> str:
    name = f"input {acts.inputs.ids[i]}"
    return name if acts.inputs.label is None else f"{name}: {acts.inputs.named('label')[i]}"


def _row(profiles: Profiles, i: int) -> _Row:
    reference = profiles.names.index(profiles.contrast) if profiles.contrast in profiles.names else None
    other = 0 if reference is None or reference == i else int(profiles.counts[reference])
    live = ~profiles.dead
    # of live neurons the floor is the same in units of their deviation, but for rounding
    floor = float(profiles.scaled_noise[i, live].max(initial=0.0)) if profiles.contrast != "none" else 0.0
    return profiles.scaled[i].astype(np.float32), int(profiles.counts[i]), other, floor, profiles.keys[i]


def _grown(values: Any, shape: tuple[int, int, int]) -> Any:
    """Return zeros with what there was; large ones in a file that nobody sees and that goes by itself."""
    if int(np.prod(shape)) * 4 > _IN_MEMORY:
        with tempfile.TemporaryFile(prefix="topomap-") as file:
            larger: Any = np.memmap(file, dtype=np.float32, mode="w+", shape=shape)
    else:
        larger = np.zeros(shape, dtype=np.float32)
    if values is not None:
        larger[:, : values.shape[1]] = values
    return larger
