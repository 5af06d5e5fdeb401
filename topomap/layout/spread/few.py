"""The best of several arrangements of a small layer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from topomap.similarity import Similarity

Points = NDArray[np.float64]

#: Neighbours that an arrangement should keep.
_K = 10


def best_of(found: list[Points], similarity: Similarity) -> Points:
    """Return the arrangement with the largest sum of trustworthiness, continuity and kNN preservation."""
    if len(found) == 1:
        return found[0]
    similar = _ranks(similarity.distance())
    return max(found, key=lambda points: _kept(similar, points))


def _kept(similar: NDArray[Any], points: Points) -> float:
    n = len(points)
    k = min(_K, n // 2)
    close = _ranks(((points[:, None] - points) ** 2).sum(axis=2))
    false, missed = np.maximum(similar - k, 0)[close <= k], np.maximum(close - k, 0)[similar <= k]
    kept = ((similar <= k) & (close <= k)).sum() - n  # but for themselves
    worst = n * k * (2 * n - 3 * k - 1) / 2
    return float((kept / (n * k)) - (false.sum() + missed.sum()) / worst)


def _ranks(distances: NDArray[Any]) -> NDArray[np.int64]:
    """Return the rank of each neuron among the neighbours of each, 0 for itself."""
    distances = distances.copy()
    np.fill_diagonal(distances, -1)
    return np.asarray(np.argsort(np.argsort(distances, axis=1, kind="stable"), axis=1, kind="stable"))
