"""Bootstrap intervals of effects."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from topomap.bias.effects import BLOCK_ENTRIES, Table, estimate, small_sample, weighted_estimates

Float = NDArray[np.float64]
Int = NDArray[np.int64]

#: Draws of a bootstrap.
DRAWS = 1000


def bootstrap(
    table: Table,
    member: NDArray[np.bool_],
    unit_of: Int | None,
    seed: list[int],
    n: int = DRAWS,
    progress: bool = True,
) -> tuple[Float, Float]:
    """Return the limits of the 95 % percentile interval of Hedges' g, each of shape ``(n_neurons,)``.

    Parameters
    ----------
    table
        The values.
    member
        Which rows are of the group, shape ``(n_rows,)``, in the order of the table.
    unit_of
        The unit of each row; units are then drawn within each side, with all their rows. None draws rows within each
        cell.
    seed
        For the draws.
    n
        Number of draws.
    progress
        Show a bar where standard error is a terminal.

    Notes
    -----
    Plain percentiles are too narrow where cells or units are few: five of each cover 85 to 90 % instead of 95. Three
    corrections bring them near 95 %. Of k rows or units ``k - 1`` are drawn and weighted by ``k / (k - 1)``, so that
    means vary as much as they should (Rao, Wu 1988, doi 10.1080/01621459.1988.10478591). Variances, which draws with
    repetitions make too small, are scaled so that their mean over the draws is the sample's. The percentiles are those
    of a normal distribution at the quantiles of Student's t (Hesterberg 2015, doi 10.1080/00031305.2015.1089789), with
    degrees of freedom by Satterthwaite's formula from the numbers drawn.
    """
    classes = np.repeat(np.arange(table.n_classes), np.diff(table.bounds))
    if unit_of is None:
        unit_of, strata = np.arange(table.n_rows), 2 * classes + member
        of_group = table.counts(member)
        share = (of_group * (1 - of_group / np.diff(table.bounds)))[classes]  # of its class in the pooled difference
    else:
        _, first, unit_of = np.unique(unit_of, return_index=True, return_inverse=True)
        strata = member[first].astype(np.int64)
        share = np.ones(len(strata))
    order = np.argsort(strata, kind="stable")
    parts = [units for units in np.split(order, np.flatnonzero(np.diff(strata[order])) + 1) if len(units) > 1]
    tail = _tail(np.array([share[units[0]] for units in parts]), np.array([len(units) for units in parts]))
    rng = np.random.default_rng(seed)
    difference = np.empty((n, table.n_neurons), dtype=np.float32)
    variance = np.empty((n, table.n_neurons), dtype=np.float32)
    step = max(1, min(256, BLOCK_ENTRIES // max(table.n_rows, table.n_neurons)))
    with tqdm(total=n, desc="bootstrap", disable=None if progress else True, leave=False, delay=1) as bar:
        for start in range(0, n, step):
            size = min(step, n - start)
            times = np.ones((size, len(strata)), dtype=np.float32)
            for units in parts:
                k = len(units)
                drawn = rng.integers(k, size=(size, k - 1)) + k * np.arange(size)[:, None]
                times[:, units] = np.bincount(drawn.ravel(), minlength=size * k).reshape(size, k) * (k / (k - 1))
            block = slice(start, start + size)
            difference[block], variance[block] = weighted_estimates(table, member, times[:, unit_of])
            bar.update(size)
    sample = estimate(table, member)
    centre = variance.mean(axis=0, dtype=np.float64)
    scale = np.divide(sample.variance, centre, out=np.ones_like(centre), where=centre > 0)
    deviation = np.sqrt(variance * scale)
    effects = np.divide(difference, deviation, out=np.zeros(difference.shape), where=deviation > 0)
    low, high = np.quantile(small_sample(sample.df) * effects, [tail, 1 - tail], axis=0)
    return low, high


def _tail(share: Float, drawn: Int) -> float:
    """Return the lower percentile, as a share: a cell has a share in the difference, and so many rows or units."""
    from scipy.special import ndtr, stdtrit

    part = share**2 / drawn
    df = part.sum() ** 2 / (part**2 / (drawn - 1)).sum() if part.any() else np.inf
    return float(ndtr(stdtrit(df, 0.025))) if np.isfinite(df) else 0.025
