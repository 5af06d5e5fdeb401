"""How far down the list of each other's neighbours two neurons stand, as a penalty for being neighbours in the plane.

Trustworthiness sums by how much the ranks, among the features, of a neuron's k neighbours in the plane exceed k. The
penalty of a pair is the mean of that excess in both directions; a rank of k at most counts as a bonus.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from topomap._compute import block_rows, in_threads
from topomap.layout.spread.kernels import compiled

if TYPE_CHECKING:
    from topomap.similarity import Similarity

Points = NDArray[np.float64]
Index = NDArray[np.int64]
Array = NDArray[Any]

#: Up to this number of neurons the penalties of all pairs are held (134 MB).
EXACT = 8_192

#: Distances of a row are sorted into so many bins, within which ranks go by number; the nearest have their exact ranks.
_BINS = 4_096

#: What a rank of k at most gains: this multiple of this power of n.
_BONUS, _POWER = 5.4, 0.6


class Penalties(NamedTuple):
    """What tells the penalty of a pair: those of all pairs, or what they are estimated from.

    Parameters
    ----------
    matrix
        Of all pairs, shape ``(n, n)``, or empty where there are too many.
    rows
        Unit rows of principal components, shape ``(n, n_components)``; None, as the following, beside a matrix.
    mean, width
        Mean and standard deviation of the products of each row with all rows, shape ``(n,)`` each.
    known, rank
        Numbers of the m nearest neighbours in ascending order, and their ranks, shape ``(n, m)``.
    k
        Rank above which a pair costs something.
    bonus
        What a rank of k at most gains.
    """

    matrix: NDArray[np.int16]
    rows: NDArray[np.float32] | None
    mean: NDArray[np.float32] | None
    width: NDArray[np.float32] | None
    known: NDArray[np.int32] | None
    rank: NDArray[np.int16] | None
    k: np.float32
    bonus: np.float32


def penalties(similarity: Similarity, indices: Index, scores: Points, order: Index, k: int) -> Penalties:
    """Return the penalties of pairs of neurons.

    Above 8,192 neurons ranks beyond the nearest neighbours are estimated: the products of a neuron's row of principal
    components with all rows are taken to be spread normally, and a pair's rank to be the share of them above its own.

    Parameters
    ----------
    similarity
        Of n neurons.
    indices
        Nearest neighbours of each neuron, nearest first, shape ``(n, m)``.
    scores
        Principal components, shape ``(n, n_components)``.
    order
        Numbers of the neurons in the order in which they are to be numbered here, shape ``(n,)``. Where those that lie
        close are numbered close, what is looked up together lies together in memory.
    k
        Rank above which a pair costs something.
    """
    n = len(indices)
    number = np.empty(n, dtype=np.int64)
    number[order] = np.arange(n)
    limits = np.float32(k), np.float32(_BONUS * n**_POWER)
    if n <= EXACT:
        return Penalties(_of_all_pairs(similarity, indices, number, *limits), None, None, None, None, None, *limits)
    scores = scores[order]
    rows = (scores / np.maximum(np.linalg.norm(scores, axis=1, keepdims=True), 1e-30)).astype(np.float32)
    centre = rows.mean(axis=0)
    spread = (rows.T @ rows) / n - np.outer(centre, centre)
    width = np.sqrt(np.maximum(((rows @ spread) * rows).sum(axis=1), 1e-12))
    named = number[indices[order]]
    ascending = np.argsort(named, axis=1)
    known = np.take_along_axis(named, ascending, axis=1).astype(np.int32)
    ranks = (ascending + 1).astype(np.int16)
    return Penalties(np.zeros((0, 0), dtype=np.int16), rows, rows @ centre, width, known, ranks, *limits)


def _of_all_pairs(
    similarity: Similarity, indices: Index, number: Index, k: np.float32, bonus: np.float32
) -> NDArray[np.int16]:
    n = len(indices)
    ranks = np.empty((n, n), dtype=np.int16)
    step = block_rows(n)
    for start in range(0, n, step):
        block = similarity.distance_block(start, min(start + step, n))
        in_threads(partial(_sort, block, start, indices, number, ranks), len(block))
    in_threads(partial(_penalise, ranks, k, bonus), (n + 1) // 2)
    return ranks


@compiled
def _sort(block: Array, offset: int, indices: Array, number: Array, ranks: Array, start: int, stop: int) -> None:
    """Write the ranks of all neurons among the neighbours of those whose distances are given, 0 for themselves."""
    n = block.shape[1]
    count, bins = np.empty(_BINS + 1, dtype=np.int64), np.empty(n, dtype=np.int32)
    for row in range(start, stop):
        own = ranks[number[offset + row]]
        low, high = block[row, 0], block[row, 0]
        for j in range(n):
            low, high = min(low, block[row, j]), max(high, block[row, j])
        scale = (_BINS - 1) / max(high - low, np.float32(1e-30))
        count[:] = 0
        for j in range(n):
            bins[j] = int((block[row, j] - low) * scale)
            count[bins[j] + 1] += 1
        for b in range(_BINS):
            count[b + 1] += count[b]
        for j in range(n):
            count[bins[j]] += 1
            own[number[j]] = count[bins[j]] - 1
        for e in range(indices.shape[1]):
            own[number[indices[offset + row, e]]] = e + 1
        own[number[offset + row]] = 0


@compiled
def _penalise(ranks: Array, k: float, bonus: float, start: int, stop: int) -> None:
    """Turn ranks into penalties, in place; a row and its opposite from the end, for threads of equal work."""
    n = len(ranks)
    for line in range(start, stop):
        for side in range(2):
            i = line if side == 0 else n - 1 - line
            if side == 1 and i == line:
                continue
            for j in range(i):
                penalty = np.int16((_excess(ranks[i, j], k, bonus) + _excess(ranks[j, i], k, bonus)) / 2)
                ranks[i, j] = penalty
                ranks[j, i] = penalty


@compiled
def _excess(rank: float, k: float, bonus: float) -> float:
    return rank - k if rank > k else -bonus


@compiled
def penalty(
    matrix: Any, rows: Any, mean: Any, width: Any, known: Any, rank: Any, k: float, bonus: float,
    i: int, j: int,
) -> Any:  # fmt: skip
    """Penalty of the pair of i and j (see `Penalties`); compiled without the estimate where there are no rows."""
    if rows is None:
        return np.float32(matrix[i, j])
    else:  # noqa: RET505  (a branch that can be left out)
        product = np.float32(0)
        for f in range(rows.shape[1]):
            product += rows[i, f] * rows[j, f]
        there = _standing(known, rank, i, j, (product - mean[i]) / width[i], len(rows))
        back = _standing(known, rank, j, i, (product - mean[j]) / width[j], len(rows))
        return (_excess(there, k, bonus) + _excess(back, k, bonus)) / 2


@compiled
def _standing(known: Array, rank: Array, i: int, j: int, deviation: float, n: int) -> Any:
    """Rank of j among the neighbours of i: known, or that of a normal deviate, but beyond the known ones."""
    m = known.shape[1]
    if deviation > 0:  # the nearest are above the mean
        low, high = 0, m
        while low < high:
            middle = (low + high) // 2
            if known[i, middle] < j:
                low = middle + 1
            else:
                high = middle
        if low < m and known[i, low] == j:
            return np.float32(rank[i, low])
    # a logistic curve stands for the normal distribution's, within .01
    return max(np.float32(m + 1), np.float32(n / (1 + np.exp(np.float32(1.702) * deviation))))
