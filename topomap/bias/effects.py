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
    error
        Standard error of the difference, with a variance of each side; shape ``(n_neurons,)``.
    error_df
        Degrees of freedom of `error`, shape ``(n_neurons,)``.
    uncertainty
        Variance of the log of the pooled deviation, where cells may differ in spread, shape ``(n_neurons,)``.
    df
        Rows less cells.
    """

    difference: Float
    variance: Float
    error: Float
    error_df: Float
    uncertainty: Float
    df: int

    @property
    def statistic(self) -> Float:
        """The difference over its standard error."""
        return _over(self.difference, self.error)

    @property
    def effect(self) -> Float:
        """Hedges' g."""
        return np.asarray(small_sample(self.df) * _over(self.difference, np.sqrt(self.variance)))

    def interval(self) -> tuple[Float, Float]:
        """Return the limits of the analytic 95 % interval of Hedges' g."""
        from scipy.special import stdtrit

        g, j = self.effect, small_sample(self.df)
        error = np.sqrt(j**2 * _over(self.error**2, self.variance) + g**2 * self.uncertainty)
        half = stdtrit(self.error_df, 0.975) * error
        live = self.variance > 0
        return np.where(live, g - half, 0.0), np.where(live, g + half, 0.0)


def small_sample(df: int | Float) -> Any:
    """Return Hedges' factor ``1 - 3 / (4 df - 1)``."""
    return 1 - 3 / (4 * df - 1)


def shares(n_a: NDArray[np.int64], n_b: NDArray[np.int64]) -> tuple[Float, Float]:
    """Return what each cell's sum of squares counts in the squared error of ``sum w_c d_c``, for group and reference.

    Parameters
    ----------
    n_a, n_b
        Rows of both sides in each class, shape ``(..., n_classes)``. Classes of one side alone count nothing.

    Notes
    -----
    With ``w_c = n_a n_b / (n_a + n_b)`` the squared error is ``sum w_c^2 (v_ac / n_a + v_bc / n_b)``: each side has its
    variance in each class (Welch 1947, doi 10.1093/biomet/34.1-2.28). A cell of one row has none, and one of few rows a
    wild one: five rows of a neuron that is mostly silent are often all 0, and the difference would have no error. So
    every variance has one degree of freedom more, lent by what is above it: ``v_ac = (SS_ac + s_a^2) / n_a`` that of a
    cell, ``s_a^2 = (sum SS_ac + s^2) / (sum (n_ac - 1) + 1)`` that of its side over all classes, and ``s^2`` that of
    both sides. All are linear in the sums of squares ``SS``, with weights that follow from the counts alone. For one
    class with sides of equal size this is Welch's error (and Student's), for others in the limit of many rows.
    """
    both = (n_a > 0) & (n_b > 0)
    n = np.maximum(n_a + n_b, 1)
    a, b = both * (n_b / n) ** 2, both * (n_a / n) ** 2
    df_a, df_b = ((both * (count - 1)).sum(axis=-1, keepdims=True) for count in (n_a, n_b))
    of_a, of_b = a.sum(axis=-1, keepdims=True) / (df_a + 1), b.sum(axis=-1, keepdims=True) / (df_b + 1)
    pooled = (of_a + of_b) / np.maximum(df_a + df_b, 1)
    return both * (a + of_a + pooled), both * (b + of_b + pooled)


def estimate(table: Table, member: Bool) -> Estimate:
    """Estimate one labelling in float64; `member` says which rows are of the group, shape ``(n_rows,)``."""
    n_a, n_c = table.counts(member), np.diff(table.bounds)
    n_b = n_c - n_a
    both = (n_a > 0) & (n_b > 0)
    weight = float((n_a * n_b / np.maximum(n_c, 1)).sum())
    total, within, square, fourth, spread = (np.zeros(table.n_neurons) for _ in range(5))
    share = shares(n_a, n_b)
    for c, part in enumerate(_parts(table.bounds)):
        if not both[c]:
            continue
        values = table.values[part][member[part]].astype(np.float64)
        sums, squares = values.sum(axis=0), np.einsum("ij,ij->j", values, values)
        total += sums
        for own, n, times in ((squares, n_a[c], share[0][c]), (table.squares[c] - squares, n_b[c], share[1][c])):
            own = own - sums**2 / n
            within += own
            square += times * own
            # of a normal cell own^2 / (n + 1) has the mean (n - 1) sigma^4
            fourth += (times * own) ** 2 / (n + 1)
            spread += own**2 / (n + 1)
    df = int((n_c[both] - 2).sum())
    most = table.squares[both].sum(axis=0)
    variance = np.maximum(within, _LEAST * most) / max(df, 1)
    error = np.sqrt(np.maximum(square, _LEAST * most * weight / max(df, 1))) / max(weight, 1e-300)
    return Estimate(
        difference=total / max(weight, 1e-300),
        variance=variance,
        error=error if df else np.zeros_like(error),
        error_df=np.maximum(np.divide(square**2, fourth, out=np.full_like(fourth, 3), where=fourth > 0) - 2, 1),
        uncertainty=_over(spread, 2 * within**2),
        df=df,
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
    ``S_c = w_c (mean_a - mean_b)``, where ``w_c = n_a n_b / (n_a + n_b)``, and that over the others ``-S_c``. With
    ``Q_c`` the sum of the squares of the group's rows, and ``T_c`` that of all rows of the class, squares within the
    two cells are ``Q_c - S_c^2 / n_a`` and ``T_c - Q_c - S_c^2 / n_b``. So two products per class, with the values and
    with their squares, give the difference and its error (`shares`) for all labellings and neurons. A class in which a
    labelling leaves one side empty takes no part in that labelling, by the same rule as in the observed one.
    """
    out = np.empty((len(members), table.n_neurons), dtype=dtype)
    step = max(1, BLOCK_ENTRIES // max(table.n_neurons, table.n_rows, 1))
    for start in range(0, len(members), step):
        _statistics(table, members[start : start + step], out[start : start + step])
    return out


def _statistics(table: Table, members: Bool, out: NDArray[Any]) -> None:
    dtype = out.dtype
    n_a, n_c = table.counts(members), np.diff(table.bounds)
    n_b = n_c - n_a
    weight = n_a * n_b / np.maximum(n_c, 1)
    both = weight > 0
    of_group, of_others = shares(n_a, n_b)
    more = (of_group - of_others).astype(dtype)
    squared = (of_group / np.maximum(n_a, 1) + of_others / np.maximum(n_b, 1)).astype(dtype)
    error = np.empty_like(out)
    error[:] = _times(of_others, table.squares)
    out[:] = 0
    for c, part in enumerate(_parts(table.bounds)):
        tested = both[:, c]
        if not tested.any():
            continue
        drawn = members[:, part].astype(dtype)
        values = table.values[part].astype(dtype, copy=False)
        sums = drawn @ values
        if not tested.all():
            sums[~tested] = 0  # of one side alone: zero but for rounding
        out += sums
        if more[:, c].any():  # sides of equal size need no variance each
            drawn *= more[:, c, None]
            step = max(1, BLOCK_ENTRIES // len(values))
            for start in range(0, table.n_neurons, step):
                some = slice(start, start + step)
                error[:, some] += drawn @ np.square(values[:, some])
        sums *= sums
        sums *= squared[:, c, None]
        error -= sums
    df = (both * (n_c - 2)).sum(axis=1)
    least = _times(both, table.squares) * (_LEAST * weight.sum(axis=1) / np.maximum(df, 1))[:, None]
    np.maximum(error, least.astype(dtype), out=error)
    np.sqrt(error, out=error)
    error[error == 0] = 1  # nothing varies, and the sum above it is zero
    out /= error
    out[df < 1] = 0


def _times(of_classes: NDArray[Any], squares: Float) -> Float:
    """Return the product of labellings x classes with classes x neurons: one row where all labellings are alike."""
    alike = bool((of_classes == of_classes[0]).all())
    return np.asarray(of_classes[: 1 if alike else None].astype(np.float64) @ squares)


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
