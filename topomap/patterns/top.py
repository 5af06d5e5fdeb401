"""top_inputs(): which inputs activate a unit, or a pattern's units, most."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import instance_of, listing, whole_number
from topomap.patterns.base import Patterns
from topomap.run import BLOCK_ROWS, Activations, Inputs, take_rows, versions

if TYPE_CHECKING:
    import xarray

Float = NDArray[np.float64]
Int = NDArray[np.int64]

#: Units that speak for a pattern.
TYPICAL = 10


@dataclass(frozen=True, eq=False)
class TopInputs:
    """The inputs that activate units most, the largest value first; what `top_inputs` returns.

    Parameters
    ----------
    inputs
        Positions in the table of inputs, shape ``(n,)``, or ``(n_units, n)`` of several units. They index everything
        that the table holds: ``table.ids[top.inputs]``, ``table.thumbnails[top.inputs]``.
    values
        What they are ranked by, same shape.
    units
        The units, shape ``(n_units,)``; of a pattern, those whose mean score its members are ranked by.
    places
        Where in the input each value was found, shape ``(..., n, n_axes)``, where places are kept as rows.
    table
        The table of inputs.
    layer, reduce, pattern
        What they were taken from; `pattern` is None unless members of one were ranked.
    provenance
        How they came about.

    Examples
    --------
    >>> import topomap as tm
    >>> top = tm.top_inputs(tm.Activations.from_array([[0.0, 5.0], [2.0, 1.0], [2.0, 3.0]]), unit=1, n=2)
    >>> top
    TopInputs(layer, unit 1: 2 inputs)
    >>> top.inputs, top.values
    (array([0, 2]), array([5., 3.]))
    """

    inputs: Int
    values: NDArray[Any]
    units: Int
    table: Inputs = field(repr=False)
    places: Int | None = None
    layer: str = "layer"
    reduce: str = "none"
    pattern: int | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ids(self) -> NDArray[Any]:
        """Ids of the inputs, shape as `inputs`."""
        return self.table.ids[self.inputs]

    def to_xarray(self) -> xarray.Dataset:
        """Return positions, ids and values over ``rank``, and over ``unit`` where several were ranked by themselves."""
        import xarray

        many = self.inputs.ndim == 2
        dims = ("unit", "rank") if many else ("rank",)
        data: dict[str, Any] = {"input": (dims, self.inputs), "id": (dims, self.ids), "value": (dims, self.values)}
        if self.places is not None:
            data["place"] = ((*dims, "axis"), self.places)
        coords = {"unit": self.units} if many else {"of": ("by", self.units)}
        attrs: dict[str, Any] = {"layer": self.layer, "reduce": self.reduce}
        return xarray.Dataset(data, coords, attrs if self.pattern is None else {**attrs, "pattern": self.pattern})

    def __len__(self) -> int:
        return int(self.inputs.shape[-1])

    def __repr__(self) -> str:
        where = self.layer if self.reduce == "none" else f"{self.layer}, {self.reduce}"
        if self.pattern is not None:
            of = "noise" if self.pattern < 0 else f"pattern {self.pattern}"
        else:
            of = f"unit {self.units[0]}" if self.inputs.ndim == 1 else f"each of {len(self.units)} units"
        return f"TopInputs({where}, {of}: {len(self)} inputs)"


def top_inputs(
    acts: Activations,
    unit: int | Sequence[int] | NDArray[Any] | None = None,
    pattern: int | None = None,
    n: int = 10,
    where: Mapping[str, Any] | NDArray[np.bool_] | Callable[[Inputs], Any] | None = None,
    patterns: Patterns | None = None,
) -> TopInputs:
    """Rank inputs by how much they activate a unit, or the units that are typical of a pattern.

    An input of many rows (its positions or tokens) counts once, by the largest of its values, and the place of that
    is told. Equal values are in the order of the table of inputs, and equal places of an input in theirs.

    Parameters
    ----------
    acts
        The activations of one layer; values on disk are read once, by blocks.
    unit
        A unit; several; or None for all of them.
    pattern
        Rank the members of this pattern (-1: noise) of `patterns` alone: by `unit`, or, without one, by their mean
        score over the ten units whose mean score over all members is highest.
    n
        How many; fewer where there are fewer. Bäuerle et al. (2022) keep 100 for each unit.
    where
        Inputs to choose from, as in `Activations.select`.
    patterns
        What `pattern` is a number of.

    Returns
    -------
    TopInputs

    Raises
    ------
    ValueError
        If a unit or pattern does not exist, values are not finite, or no input is left.

    Examples
    --------
    >>> acts = Activations.from_array([[0.0, 5.0], [2.0, 1.0], [2.0, 3.0]], label=["a", "b", "b"])
    >>> top_inputs(acts, unit=0, n=2).inputs.tolist()
    [1, 2]
    >>> top_inputs(acts, n=1, where={"label": "b"}).inputs.tolist()
    [[1], [2]]
    """
    instance_of("acts", acts, Activations, "Pass those of one layer, run['layer'].")
    n = whole_number("n", n, 1)
    chosen = np.unique(_allowed(acts, where))
    parameters = {"unit": unit, "pattern": pattern, "n": n}
    if pattern is not None:
        if patterns is None:
            raise ValueError(
                "pattern= is a number of patterns: pass patterns=, what find_patterns() returned, as well."
            )
        members = members_in(acts, patterns, pattern)
        chosen = chosen[np.isin(chosen, members)]
        if not len(chosen):
            raise ValueError(f"no member of pattern {pattern} is left: loosen where=.")
    about: dict[str, Any] = {
        "table": acts.inputs,
        "layer": acts.layer,
        "reduce": acts.reduce,
        "pattern": pattern,
        "provenance": {"parameters": parameters, "versions": versions(), "recording": dict(acts.provenance)},
    }
    if pattern is not None and unit is None:
        each = acts.per_input()
        scores = mean_scores(each, members)
        units = np.sort(np.argsort(-scores, kind="stable")[:TYPICAL])
        rows = rows_of(each, chosen)
        values = np.concatenate([each.scores_of(part)[:, units].mean(axis=1) for part in _parts(rows)])
        order = np.argsort(-values, kind="stable")[:n]
        return TopInputs(chosen[order], values[order], units, **about)
    units = _units(unit, acts.n_neurons)
    inputs, values, places = _rank(acts, units, chosen, n)
    if isinstance(unit, int | np.integer):
        inputs, values, places = inputs[0], values[0], None if places is None else places[0]
    return TopInputs(inputs, values, units, places=places, **about)


def _allowed(acts: Activations, where: Any) -> Int:
    """Return the inputs of the rows that where= leaves, without reading their values."""
    rows = acts.rows
    assert rows is not None  # set by Activations
    empty = replace(acts, values=np.zeros((acts.n_rows, 0), dtype=np.float32))
    kept = empty.select(where).rows
    assert kept is not None
    return kept


def _units(unit: Any, n_neurons: int) -> Int:
    units = np.arange(n_neurons) if unit is None else np.atleast_1d(np.asarray(unit))
    if units.ndim != 1 or not len(units) or units.dtype.kind not in "iu":
        raise ValueError(f"unit must be a number, several, or None for all; got {unit!r}.")
    outside = units[(units < 0) | (units >= n_neurons)]
    if len(outside):
        raise ValueError(f"unit must be 0 to {n_neurons - 1}; got {listing(outside.tolist(), 3)}.")
    return units.astype(np.int64)


def _rank(acts: Activations, units: Int, chosen: Int, n: int) -> tuple[Int, NDArray[Any], Int | None]:
    """Return inputs, values and places of the n largest per unit, shape ``(n_units, n[, n_axes])``, in one pass.

    Blocks come in the order of the table of inputs, so that a stable sort of the best so far and the next block keeps
    equal values in that order, and a value equal to the last of the best comes too late.
    """
    from tqdm.auto import tqdm

    best = np.empty((len(units), 0))
    which = np.empty((len(units), 0), dtype=np.int64)
    rows = np.empty((len(units), 0), dtype=np.int64)
    with tqdm(total=len(chosen), desc="top inputs", unit="input", leave=False, delay=1, disable=None) as bar:
        for inputs, index in _blocks_of(acts, chosen):
            block = take_rows(acts.values, index)
            block = (block[:, units].toarray() if acts.sparse else block[:, units]).astype(np.float64)
            if not np.isfinite(block).all():
                raise ValueError(
                    f"layer {acts.layer!r} has NaN or infinite values; record with nonfinite='mask' or remove those "
                    "rows."
                )
            starts = np.flatnonzero(np.diff(inputs, prepend=-1))
            largest = np.ascontiguousarray(np.maximum.reduceat(block, starts, axis=0).T)
            new = np.broadcast_to(inputs[starts], largest.shape)
            first = np.broadcast_to(index[starts], largest.shape)
            if len(starts) < len(inputs):
                repeated = np.repeat(np.arange(len(starts)), np.diff(starts, append=len(inputs)))
                at = np.where(block == largest.T[repeated], np.arange(len(inputs))[:, None], len(inputs))
                first = index[np.minimum.reduceat(at, starts, axis=0)].T
            if best.shape[1] == n:  # few of a block are better than the last of the best
                better = largest > best[:, -1:]
                most = int(better.sum(axis=1).max(initial=0))
                order = np.argsort(~better, axis=1, kind="stable")[:, :most]
                largest, new, first = (np.take_along_axis(each, order, 1) for each in (largest, new, first))
            best = np.concatenate([best, largest], axis=1)
            order = np.argsort(-best, axis=1, kind="stable")[:, :n]
            best = np.take_along_axis(best, order, 1)
            which = np.take_along_axis(np.concatenate([which, new], axis=1), order, 1)
            rows = np.take_along_axis(np.concatenate([rows, first], axis=1), order, 1)
            bar.update(len(starts))
    return which, best, None if acts.places is None else acts.places[rows]


def _blocks_of(acts: Activations, chosen: Int) -> Iterator[tuple[Int, Int]]:
    """Iterate over ``(inputs, rows)`` in the order of inputs, then places, the rows of an input never parted."""
    assert acts.rows is not None  # set by Activations
    index = np.flatnonzero(np.isin(acts.rows, chosen))
    keys = [acts.rows[index]]
    if acts.places is not None:
        keys = [*acts.places[index].reshape(len(index), -1).T[::-1], *keys]
    index = index[np.lexsort(keys)]
    inputs = acts.rows[index]
    starts = np.append(np.flatnonzero(np.diff(inputs, prepend=-1)), len(inputs))
    begin = 0
    while begin < len(starts) - 1:
        # as many inputs as fit in a block of rows, at least one
        end = max(int(np.searchsorted(starts, starts[begin] + BLOCK_ROWS, side="right")) - 1, begin + 1)
        part = slice(starts[begin], starts[end])
        yield inputs[part], index[part]
        begin = end


def _parts(rows: Int) -> Iterator[Int]:
    for start in range(0, len(rows), BLOCK_ROWS):
        yield rows[start : start + BLOCK_ROWS]


def members_in(acts: Activations, patterns: Patterns, k: int) -> Int:
    """Return a pattern's members, most probable first, and raise unless the activations have all of them."""
    instance_of("patterns", patterns, Patterns, "Take what find_patterns() returned for one layer.")
    members = patterns.members(k)
    if acts.inputs is not patterns.inputs and not np.array_equal(acts.inputs.ids, patterns.inputs.ids):
        raise ValueError(
            "patterns and activations must be of the same table of inputs, in the same order; their ids differ. "
            "Pass activations of the run that the patterns were found in, or patterns.assign(acts)."
        )
    assert acts.rows is not None  # set by Activations
    lacking = int(np.count_nonzero(~np.isin(members, acts.rows)))
    if lacking:
        raise ValueError(
            f"the activations lack {lacking} of the {len(members)} members of pattern {k}: pass those that the "
            "patterns were found in, without select()."
        )
    return members


def rows_of(acts: Activations, inputs: Int) -> Int:
    """Return the row of each of some inputs, in their order, of activations with one row per input."""
    assert acts.rows is not None  # set by Activations
    position = np.full(len(acts.inputs), -1, dtype=np.int64)
    position[acts.rows] = np.arange(acts.n_rows)
    return position[inputs]


def mean_scores(acts: Activations, inputs: Int) -> Float:
    """Average the scores of some inputs, read by blocks, of activations with one row per input; ``(n_neurons,)``."""
    total = np.zeros(acts.n_neurons)
    for part in _parts(np.sort(rows_of(acts, inputs))):
        total += acts.scores_of(part).sum(axis=0, dtype=np.float64)
    return total / max(len(inputs), 1)
