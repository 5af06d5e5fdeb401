"""Differences between a group and its reference within classes, as matrix products over all neurons at once."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topomap.run import constant

Float = NDArray[np.float64]
Bool = NDArray[np.bool_]

#: Entries of the arrays (labellings x neurons) that are held at one time: several of them, 32 MB each in float32.
BLOCK_ENTRIES = 8_000_000

#: The pooled variance is taken as at least this share of the variance within classes. A neuron that is constant within
#: cells would have an infinite statistic; this one is finite, and alike for every permutation.
_LEAST = 1e-6


@dataclass(frozen=True, eq=False)
class Table:
    """The values of all neurons, centred within classes, rows sorted by class.

    Parameters
    ----------
    values
        Values less the mean of their class, over `scale`; float32, shape ``(n_rows, n_neurons)``. They are centred in
        float64: a mean that is large beside the deviation costs no digits.
    bounds
        Class ``c`` is the rows ``bounds[c]:bounds[c + 1]``.
    order
        Which of the given rows each row is, shape ``(n_rows,)``.
    squares
        Sum of squares per class, float64, shape ``(n_classes, n_neurons)``.
    scale
        Each neuron's deviation within classes, in the units of the layer; 1 where it is dead.
    dead
        Neurons that vary within no class.
    """

    values: NDArray[np.float32]
    bounds: NDArray[np.int64]
    order: NDArray[np.int64]
    squares: Float
    scale: Float
    dead: Bool

    @classmethod
    def of(cls, values: NDArray[Any], classes: NDArray[np.int64]) -> Table:
        """Sort and centre values of shape ``(n_rows, n_neurons)`` by class: codes that all occur, per row."""
        order = np.argsort(classes, kind="stable")
        bounds = np.concatenate([[0], np.cumsum(np.bincount(classes))]).astype(np.int64)
        centred = np.empty(values.shape, dtype=np.float32)
        squares = np.zeros((len(bounds) - 1, values.shape[1]))
        dead = np.ones(values.shape[1], dtype=bool)
        for c, part in enumerate(_parts(bounds)):
            step = max(1, BLOCK_ENTRIES // max(part.stop - part.start, 1))
            for start in range(0, values.shape[1], step):  # a float64 copy of a large class is no small thing
                some = slice(start, start + step)
                block = values[order[part], some]
                dead[some] &= constant(block.min(axis=0), block.max(axis=0))
                block = block - block.mean(axis=0, dtype=np.float64)
                squares[c, some] = np.einsum("ij,ij->j", block, block)
                centred[part, some] = block
        scale = np.sqrt(squares.sum(axis=0) / max(len(order), 1))
        scale[dead] = 1.0
        centred /= scale.astype(np.float32)
        centred[:, dead] = 0
        squares /= scale**2
        squares[:, dead] = 0
        return cls(centred, bounds, order, squares, scale, dead)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return len(self.order)

    @property
    def n_neurons(self) -> int:
        """Number of neurons, dead ones included."""
        return len(self.scale)

    @property
    def n_classes(self) -> int:
        """Number of classes."""
        return len(self.bounds) - 1

    def counts(self, member: Bool) -> NDArray[np.int64]:
        """Rows of the group per class, for members of shape ``(..., n_rows)`` in the order of the table."""
        return np.add.reduceat(member, self.bounds[:-1], axis=-1, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Estimate:
    """The pooled difference of one labelling, neuron by neuron, in units of the table's `scale`.

    Parameters
    ----------
    difference, variance
        Pooled over the classes, shape ``(n_neurons,)``.
    weight
        Sum of ``n_a n_b / (n_a + n_b)``.
    df
        Rows less cells.
    n_rows
        Rows of the classes in which both sides occur.
    """

    difference: Float
    variance: Float
    weight: float
    df: int
    n_rows: int

    @property
    def statistic(self) -> Float:
        """The difference over its standard error."""
        return _over(self.difference, np.sqrt(self.variance / self.weight))

    @property
    def effect(self) -> Float:
        """Hedges' g."""
        return np.asarray(small_sample(self.df) * _over(self.difference, np.sqrt(self.variance)))

    def interval(self) -> tuple[Float, Float]:
        """Return the limits of the analytic 95 % interval of Hedges' g."""
        g, j = self.effect, small_sample(self.df)
        error = np.sqrt(j**2 / self.weight + g**2 / (2 * self.n_rows))
        live = self.variance > 0
        return np.where(live, g - 1.959964 * error, 0.0), np.where(live, g + 1.959964 * error, 0.0)


def small_sample(df: int | Float) -> Any:
    """Return Hedges' factor ``1 - 3 / (4 df - 1)``."""
    return 1 - 3 / (4 * df - 1)


def estimate(table: Table, member: Bool) -> Estimate:
    """Estimate one labelling in float64; `member` says which rows are of the group, shape ``(n_rows,)``."""
    n_a, n_c = table.counts(member), np.diff(table.bounds)
    n_b = n_c - n_a
    both = (n_a > 0) & (n_b > 0)
    total, between = np.zeros(table.n_neurons), np.zeros(table.n_neurons)
    weight = n_a * n_b / np.maximum(n_c, 1)
    for c, part in enumerate(_parts(table.bounds)):
        if both[c]:
            sums = table.values[part][member[part]].sum(axis=0, dtype=np.float64)
            total += sums
            between += sums**2 / weight[c]
    rows = int(n_c[both].sum())
    df = rows - 2 * int(both.sum())
    within = table.squares[both].sum(axis=0)
    return Estimate(
        difference=total / max(weight.sum(), 1e-300),
        variance=np.maximum(within - between, _LEAST * within) / max(df, 1),
        weight=float(weight.sum()),
        df=df,
        n_rows=rows,
    )


def statistics(table: Table, members: Bool, dtype: Any = np.float32) -> NDArray[Any]:
    """Return the statistic of many labellings, shape ``(n_labellings, n_neurons)``.

    Parameters
    ----------
    table
        The values.
    members
        Which rows are of the group, shape ``(n_labellings, n_rows)``, in the order of the table.
    dtype
        Of the products and the result. float64 costs twice the time and changes the sixth digit.

    Notes
    -----
    With values centred within classes the sum over the group's rows of class c is
    ``S_c = w_c (mean_a - mean_b)``, where ``w_c = n_a n_b / (n_a + n_b)``. So the pooled difference is
    ``sum S_c / sum w_c``, the squares between the cells of a class are ``S_c^2 / w_c``, and one product per class gives
    both for all labellings and neurons. A class in which a labelling leaves one side empty takes no part in that
    labelling, by the same rule as in the observed one.
    """
    out = np.empty((len(members), table.n_neurons), dtype=dtype)
    step = max(1, BLOCK_ENTRIES // max(table.n_neurons, table.n_rows, 1))
    for start in range(0, len(members), step):
        _statistics(table, members[start : start + step], out[start : start + step])
    return out


def _statistics(table: Table, members: Bool, out: NDArray[Any]) -> None:
    dtype = out.dtype
    n_a, n_c = table.counts(members), np.diff(table.bounds)
    weight = n_a * (n_c - n_a) / np.maximum(n_c, 1)
    both = weight > 0
    between = np.zeros_like(out)
    out[:] = 0
    for c, part in enumerate(_parts(table.bounds)):
        tested = both[:, c]
        if not tested.any():
            continue
        sums = members[:, part].astype(dtype) @ table.values[part].astype(dtype, copy=False)
        if not tested.all():
            sums[~tested] = 0  # of one side alone: zero but for rounding
        out += sums
        sums *= sums
        sums *= (1 / np.where(tested, weight[:, c], 1))[:, None].astype(dtype)
        between += sums
    if (both == both[0]).all():
        within = table.squares[both[0]].sum(axis=0)[None].astype(dtype)
    else:
        within = (both.astype(np.float64) @ table.squares).astype(dtype)
    df = (both * (n_c - 2)).sum(axis=1)
    np.subtract(within, between, out=between)
    np.maximum(between, _LEAST * within, out=between)
    # D / sqrt(variance / W) with D = sum S_c / W
    between *= (weight.sum(axis=1) / np.maximum(df, 1))[:, None].astype(dtype)
    np.sqrt(between, out=between)
    between[between == 0] = 1  # nothing varies, and the sum above it is zero
    out /= between
    out[df < 1] = 0


def weighted_estimates(table: Table, member: Bool, times: NDArray[Any]) -> tuple[Float, Float]:
    """Return the pooled difference and variance where rows count several times: draws of a bootstrap.

    Both have shape ``(n_draws, n_neurons)`` and are in units of the table's `scale`.

    Parameters
    ----------
    table, member
        The values, and which rows are of the group, shape ``(n_rows,)``.
    times
        How often each row counts, shape ``(n_draws, n_rows)``; any weights from 0.

    Notes
    -----
    A draw that leaves no class with both sides, or no degrees of freedom, counts as the sample itself.
    """
    shape = (len(times), table.n_neurons)
    total, within, weight, df = np.zeros(shape), np.zeros(shape), np.zeros(len(times)), np.zeros(len(times))
    for part in _parts(table.bounds):
        sides = (np.flatnonzero(member[part]), np.flatnonzero(~member[part]))
        if not all(len(side) for side in sides):
            continue
        n, means, spread = [], [], []
        for side in sides:
            drawn = times[:, part][:, side].astype(np.float32)
            values = table.values[part][side]
            count = drawn.sum(axis=1, dtype=np.float64)[:, None]
            sums = (drawn @ values).astype(np.float64)
            mean = np.divide(sums, count, out=np.zeros(shape), where=count > 0)
            n.append(count)
            means.append(mean)
            spread.append(np.maximum(drawn @ values**2 - sums * mean, 0))
        w = np.divide(n[0] * n[1], n[0] + n[1], out=np.zeros_like(n[0]), where=n[0] + n[1] > 0)
        tested = w > 0
        total += w * (means[0] - means[1])
        within += tested * (spread[0] + spread[1])
        weight += w[:, 0]
        df += (tested * (n[0] + n[1] - 2))[:, 0]
    usable = (weight > 0) & (df > 1)
    difference = total / np.where(usable, weight, 1)[:, None]
    variance = np.maximum(within, _LEAST * table.squares.sum(axis=0)) / np.where(usable, df, 1)[:, None]
    if not usable.all():
        itself = estimate(table, member)
        difference[~usable], variance[~usable] = itself.difference, itself.variance
    return difference, variance


def _parts(bounds: NDArray[np.int64]) -> list[slice]:
    return [slice(int(start), int(stop)) for start, stop in pairwise(bounds)]


def _over(above: Float, below: Float) -> Float:
    return np.asarray(np.divide(above, below, out=np.zeros_like(above), where=below > 0))
