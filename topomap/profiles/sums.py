"""Means and deviations of groups of rows, from one pass over values that need never be in memory at once."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from topomap.run import BLOCK_ROWS, Activations, constant
from topomap.run.statistics import Statistics

Float = NDArray[np.float64]

#: Entries of a block of rows (32 MiB of float32) where there are many neurons.
BLOCK_ENTRIES = 1 << 23


@dataclass(frozen=True, eq=False)
class Sums:
    """What one pass over the rows finds: of all rows, and of groups of them."""

    std: Float
    dead: NDArray[np.bool_]
    groups: Statistics

    @property
    def errors(self) -> Float:
        """Standard errors of the groups' means; NaN for groups of less than two rows."""
        n = self.groups.count[:, None].astype(float)
        n[n < 2] = np.nan
        return np.asarray(np.sqrt(self.groups.squares / (n - 1) / n))


def sum_groups(acts: Activations, membership: sparse.csr_array) -> Sums:
    """Read the values once, by blocks; the activations know their mean and deviation afterwards.

    Parameters
    ----------
    acts
        Activations.
    membership
        Zeros and ones, shape ``(n_groups, n_rows)``; rows may be in several groups.
    """
    groups = Statistics(acts.n_neurons, membership.shape[0])
    members = sparse.csr_array(membership.T)  # rows x groups, so that a block of rows is a cheap slice
    if acts.sparse:
        _sum_sparse(acts, members, groups)
        return Sums(acts.std, acts.dead, groups)
    known = {"_statistics", "std"} <= acts.__dict__.keys()
    every = Statistics(acts.n_neurons)
    low, high = np.full(acts.n_neurons, np.inf), np.full(acts.n_neurons, -np.inf)
    zero = np.zeros(1, dtype=np.int64)
    from tqdm.auto import tqdm

    step = int(np.clip(BLOCK_ENTRIES // max(acts.n_neurons, 1), 64, BLOCK_ROWS))
    with tqdm(total=acts.n_rows, desc="profiles", unit="row", disable=None, leave=False, delay=1) as bar:
        for part, block in acts.blocks(step):
            # From the middle of the block on nothing cancels: neither offsets nor far-away blocks before it.
            middle = block.mean(axis=0, dtype=np.float64)
            _refuse_nonfinite(acts, middle)
            centred = block - middle
            squared = centred**2
            if not known:
                np.minimum(low, block.min(axis=0), out=low)
                np.maximum(high, block.max(axis=0), out=high)
                every.merge(zero, np.array([len(block)]), middle[None], squared.sum(axis=0)[None])
            _merge(groups, members[part], centred, squared, middle)
            bar.update(len(block))
    if not known:
        deviation = np.sqrt(every.squares[0] / max(acts.n_rows, 1))
        # What was found on the way is what these properties would read all values once more for.
        acts.__dict__.setdefault("_statistics", (every.mean[0], constant(low, high)))
        acts.__dict__.setdefault("std", deviation)
    return Sums(acts.std, acts.dead, groups)


def _merge(groups: Statistics, members: sparse.csr_array, centred: Float, squared: Float, middle: Float) -> None:
    """Merge a block into the groups that occur in it, which are few however many there are in all."""
    found, column = np.unique(members.indices, return_inverse=True)
    if len(found) == 0:
        return
    shape = (members.shape[0], len(found))
    to_groups = sparse.csr_array((members.data, column, members.indptr), shape=shape).T.tocsr()
    count = np.diff(to_groups.indptr)
    sums = to_groups @ centred
    means = sums / count[:, None]
    squares = np.maximum(to_groups @ squared - sums * means, 0)
    groups.merge(found, count, means + middle, squares)


def _sum_sparse(acts: Activations, members: sparse.csr_array, groups: Statistics) -> None:
    """Sum sparse values without filling them up: most are 0, so that their squares are of the size of deviations."""
    _refuse_nonfinite(acts, acts.mean)
    for part, block in acts.sparse_blocks():
        wide = block.astype(np.float64)
        found, column = np.unique(members[part].indices, return_inverse=True)
        shape = (wide.shape[0], len(found))
        here = sparse.csr_array((members[part].data, column, members[part].indptr), shape=shape).T.tocsr()
        count = np.diff(here.indptr)
        means = (here @ wide).toarray() / np.maximum(count, 1)[:, None]
        squares = (here @ wide.power(2)).toarray() - count[:, None] * means**2
        groups.merge(found, count, means, np.maximum(squares, 0))


def _refuse_nonfinite(acts: Activations, means: Float) -> None:
    bad = int((~np.isfinite(means)).sum())
    if bad:
        raise ValueError(
            f"layer {acts.layer!r} has NaN or infinite values in {bad} neurons; "
            "record with nonfinite='mask' or remove those rows."
        )


def average_inputs(acts: Activations) -> Activations:
    """Return one row per input, the mean of its positions or tokens, read where it is used.

    Rows of one input lie side by side in what is recorded; where they do not, or values are sparse, the means of all
    inputs are held in memory.
    """
    rows = acts.rows
    assert rows is not None  # set by Activations
    starts = np.flatnonzero(np.diff(rows, prepend=-1))
    inputs = rows[starts]
    if len(inputs) == len(rows) == len(np.unique(rows)):
        return acts
    if acts.sparse or len(np.unique(inputs)) < len(inputs):
        return acts.per_input()
    return replace(acts, values=_Averaged(acts, np.append(starts, len(rows))), rows=inputs, places=None)


class _Averaged:
    """Means over rows that lie side by side, as an array that is computed where it is sliced."""

    dtype = np.dtype(np.float64)

    def __init__(self, acts: Activations, edges: NDArray[np.int64]) -> None:
        self._values, self._edges = acts.values, edges
        self._most = max(BLOCK_ENTRIES // max(acts.n_neurons, 1), 1)  # rows held at a time
        self.shape = (len(edges) - 1, acts.n_neurons)

    def __getitem__(self, part: slice) -> Float:
        start, stop, _ = part.indices(self.shape[0])
        out = np.empty((stop - start, self.shape[1]))
        first = start
        while first < stop:
            reach = np.searchsorted(self._edges, self._edges[first] + self._most, side="right") - 1
            last = int(min(max(reach, first + 1), stop))
            edges = self._edges[first : last + 1]
            block = np.asarray(self._values[int(edges[0]) : int(edges[-1])], dtype=np.float64)
            sums = np.add.reduceat(block, edges[:-1] - edges[0], axis=0)
            out[first - start : last - start] = sums / np.diff(edges)[:, None]
            first = last
        return out
