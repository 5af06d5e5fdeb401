"""Bootstrap intervals of effects."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from topomap.bias.effects import BLOCK_ENTRIES, Table, weighted_effects

Float = NDArray[np.float64]

#: Draws of a bootstrap; its 2.5 and 97.5 percentiles are the interval.
DRAWS = 1000


def bootstrap(
    table: Table,
    member: NDArray[np.bool_],
    unit_of: NDArray[np.int64] | None,
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
    """
    classes = np.repeat(np.arange(table.n_classes), np.diff(table.bounds))
    if unit_of is None:
        unit_of, strata = np.arange(table.n_rows), 2 * classes + member
    else:
        _, first, unit_of = np.unique(unit_of, return_index=True, return_inverse=True)
        strata = member[first].astype(np.int64)
    order = np.argsort(strata, kind="stable")
    parts = np.split(order, np.flatnonzero(np.diff(strata[order])) + 1)
    rng = np.random.default_rng(seed)
    effects = np.empty((n, table.n_neurons), dtype=np.float32)
    step = max(1, min(256, BLOCK_ENTRIES // max(table.n_rows, table.n_neurons)))
    with tqdm(total=n, desc="bootstrap", disable=None if progress else True, leave=False, delay=1) as bar:
        for start in range(0, n, step):
            size = min(step, n - start)
            times = np.zeros((size, len(strata)), dtype=np.int64)
            for units in parts:
                drawn = rng.integers(len(units), size=(size, len(units))) + len(units) * np.arange(size)[:, None]
                times[:, units] = np.bincount(drawn.ravel(), minlength=size * len(units)).reshape(size, -1)
            effects[start : start + size] = weighted_effects(table, member, times[:, unit_of])
            bar.update(size)
    low, high = np.quantile(effects, [0.025, 0.975], axis=0)
    return low.astype(np.float64), high.astype(np.float64)
