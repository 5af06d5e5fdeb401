"""The best of several arrangements of a small layer."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from topomap.similarity import Similarity

Points = NDArray[np.float64]
Ranks = NDArray[np.int64]

#: Neighbours that an arrangement should keep.
_K = 10

#: Coefficient of variation of nearest distances below which an arrangement is even enough.
_EVEN = 0.15

#: Below this number of neurons every exchange of two is tried.
VERY_FEW = 30


def best_of(found: list[Points], similarity: Similarity) -> Points:
    """Return the arrangement with the largest sum of trustworthiness, continuity and kNN preservation.

    Of those that are even enough, or else of the most even.
    """
    if len(found) == 1:
        return found[0]
    similar = _ranks(similarity.distance())
    return max(found, key=lambda points: (-max(_EVEN, evenness(points)), kept(similar, _near(points))))


def evenness(points: Points) -> float:
    """Coefficient of variation of the distances to the nearest point; NaN if all are in one place."""
    near = cKDTree(points).query(points, k=2)[0][:, 1]
    return float(near.std() / near.mean()) if near.mean() > 0 else float("nan")


def exchanged(points: Points, similarity: Similarity) -> Points:
    """Exchange pairs of neurons until no exchange raises that sum.

    The best of all n! arrangements over the same places is out of reach (a quadratic assignment).
    """
    similar, close = _ranks(similarity.distance()), _near(points)
    order = np.arange(len(points))  # the place of each neuron
    best, better = kept(similar, close), True
    while better:
        better = False
        for i, j in combinations(range(len(points)), 2):
            order[[i, j]] = order[[j, i]]
            score = kept(similar, close[np.ix_(order, order)])
            if score > best + 1e-12:
                best, better = score, True
            else:
                order[[i, j]] = order[[j, i]]
    return points[order]


def kept(similar: Ranks, close: Ranks) -> float:
    """Trustworthiness, continuity and kNN preservation, less two, from ranks among neighbours in either space."""
    n = len(similar)
    k = min(_K, n // 2)
    alike, near = similar <= k, close <= k
    lost = np.maximum(similar - k, 0)[near].sum() + np.maximum(close - k, 0)[alike].sum()
    share = (np.count_nonzero(alike & near) - n) / (n * k)  # but for themselves
    return float(share - 2 * lost / (n * k * (2 * n - 3 * k - 1)))


def _near(points: Points) -> Ranks:
    return _ranks(((points[:, None] - points) ** 2).sum(axis=2))


def _ranks(distances: NDArray[Any]) -> Ranks:
    """Return the rank of each neuron among the neighbours of each, 0 for itself."""
    distances = distances.copy()
    np.fill_diagonal(distances, -1)
    return np.asarray(np.argsort(np.argsort(distances, axis=1, kind="stable"), axis=1, kind="stable"))
