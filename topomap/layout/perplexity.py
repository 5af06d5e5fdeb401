"""Weights of neighbours that have a perplexity."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topomap._compute import in_threads
from topomap.layout.spread.kernels import compiled

Points = NDArray[np.float64]


def calibrate(distances: NDArray[Any], perplexity: float) -> Points:
    """Return each row's weights ``exp(-beta d^2)``, summing to 1, beta such that they have the perplexity.

    Parameters
    ----------
    distances
        To the nearest neighbours, shape ``(n, k)``, nearest first.
    perplexity
        Effective number of neighbours of each neuron; at most nine tenths of ``k``.
    """
    target = np.log(max(1.0, min(perplexity, 0.9 * distances.shape[1])))
    weights = np.empty(distances.shape)
    in_threads(partial(_calibrate, distances, target, weights), len(distances))
    return weights


@compiled
def _calibrate(distances: NDArray[Any], target: float, weights: Points, start: int, stop: int) -> None:
    n_neighbors = distances.shape[1]
    squares = np.empty(n_neighbors)
    for i in range(start, stop):
        mean, nearest = 0.0, float(distances[i, 0])
        for j in range(n_neighbors):
            far = float(distances[i, j])
            squares[j] = (far - nearest) * (far + nearest)  # 0 where equal, however products are rounded
            mean += squares[j] / n_neighbors
        # where all neighbours are equally far no precision gives the perplexity, and any gives equal weights
        beta = 1 / max(mean, 1e-12)
        low, high, total = 0.0, -1.0, 1.0
        for _ in range(50):
            total, weighted = 0.0, 0.0
            for j in range(n_neighbors):
                weight = np.exp(-beta * squares[j])
                weights[i, j] = weight
                total += weight
                weighted += weight * squares[j]
            entropy = np.log(total) + beta * weighted / total
            if entropy > target:
                low = beta
            else:
                high = beta
            beta = min(2 * beta, 1e30) if high < 0 else (low + high) / 2
        for j in range(n_neighbors):
            weights[i, j] /= total
