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
from topomap.layout.spread.graph import both_ways
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

#: Points of the curve by which a pair's deviate tells its rank, and how many there are per deviation.
_POINTS, _PER_DEVIATION = 1_024, 64

#: Ranks count up to so many: of more neurons, those further off are all equally far.
FAR = 8_192

#: What a rank of k at most gains, in ranks, in layers of so many neurons; between them by powers of the number.
_SIZES, _BONUS = (1, 512, 2_048, 131_072), (0.6, 303, 507, 16_000)


class Penalties(NamedTuple):
    """What tells the penalty of a pair: those of all pairs, or of the nearest, and what the others are estimated from.

    Parameters
    ----------
    matrix
        Of all pairs, shape ``(n, n)``, or empty where there are too many.
    start, other, known
        Penalties of pairs of which one is a nearest neighbour of the other, in compressed rows: where each row starts,
        the other neurons, and the penalties.
    rows
        Unit rows of principal components, shape ``(n, n_components)``; None, as the following, beside a matrix.
    offset, inverse
        Mean of the products of each row with all rows, in their standard deviations, and the inverse of these, shape
        ``(n,)`` each.
    curve
        Penalties by the mean deviate of a pair's product, in steps of 1 / 64 from -8 on.
    k
        Rank above which a pair costs something.
    """

    matrix: NDArray[np.int16]
    start: NDArray[np.int64]
    other: NDArray[np.int32]
    known: NDArray[np.int16]
    rows: NDArray[np.float32] | None
    offset: NDArray[np.float32] | None
    inverse: NDArray[np.float32] | None
    curve: NDArray[np.float32] | None
    k: np.float32


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
    limits = np.float32(k), bonus(n)
    if n <= EXACT:
        nothing = np.zeros(0, np.int64), np.zeros(0, np.int32), np.zeros(0, np.int16)
        matrix = _of_all_pairs(similarity, indices, number, *limits)
        return Penalties(matrix, *nothing, None, None, None, None, limits[0])
    scores = scores[order]
    rows = (scores / np.maximum(np.linalg.norm(scores, axis=1, keepdims=True), 1e-30)).astype(np.float32)
    centre = rows.mean(axis=0)
    spread = (rows.T @ rows) / n - np.outer(centre, centre)
    inverse = 1 / np.sqrt(np.maximum(((rows @ spread) * rows).sum(axis=1), np.float32(1e-12)))
    # a logistic curve stands for the normal distribution's, within .01
    rank = n / (1 + np.exp(1.702 * ((np.arange(_POINTS) + 0.5) / _PER_DEVIATION - _POINTS / _PER_DEVIATION / 2)))
    curve = (np.clip(rank, indices.shape[1] + 1, FAR) - k).astype(np.float32)
    products = rows, (rows @ centre) * inverse, inverse, curve
    neighbors = number[indices[order]].astype(np.int32)
    pairs = both_ways(neighbors)
    known = np.empty(len(pairs.indices), dtype=np.int16)
    in_threads(partial(_of_nearest, neighbors, pairs.indptr, pairs.indices, *products, *limits, known), n)
    return Penalties(np.zeros((0, 0), np.int16), pairs.indptr, pairs.indices, known, *products, limits[0])


def bonus(n: int) -> np.float32:
    """Return what a rank of k at most gains among n neurons."""
    return np.float32(np.exp(np.interp(np.log(n), np.log(_SIZES), np.log(_BONUS))))


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
def estimate(rows: Array, offset: Array, inverse: Array, curve: Array, i: int, j: int) -> Any:
    """Penalty of a pair by its product alone: the mean deviate from the products of either row with all."""
    product = np.float32(0)
    for f in range(rows.shape[1]):
        product += rows[i, f] * rows[j, f]
    twice = product * (inverse[i] + inverse[j]) - offset[i] - offset[j]
    point = np.float32(_PER_DEVIATION / 2) * twice + np.float32(_POINTS / 2)
    return curve[np.int64(min(max(point, np.float32(0)), np.float32(_POINTS - 1)))]


@compiled
def _of_nearest(
    neighbors: Array, start: Array, other: Array, rows: Array, offset: Array, inverse: Array, curve: Array, k: float,
    bonus: float, known: Array, first: int, last: int,
) -> None:  # fmt: skip
    """Write the penalties of pairs one of which is a nearest neighbour of the other; a rank is known or estimated."""
    m = neighbors.shape[1]
    for i in range(first, last):
        for e in range(start[i], start[i + 1]):
            j = other[e]
            total = np.float32(0)
            for side in range(2):
                who, fellow = (i, j) if side == 0 else (j, i)
                rank = 0
                while rank < m and neighbors[who, rank] != fellow:
                    rank += 1
                if rank < m:
                    total += _excess(rank + 1, k, bonus)
                else:
                    total += estimate(rows, offset, inverse, curve, i, j)
            known[e] = np.int16(total / 2)
