"""What pulls neurons together: t-SNE affinities on the graph of nearest neighbours, and principal components."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from topomap._compute import Float, in_threads
from topomap.layout.spread.kernels import compiled

if TYPE_CHECKING:
    from topomap.similarity import Similarity

Points = NDArray[np.float64]

#: Neurons whose similarities stand for a neuron where there are no features.
_LANDMARKS = 4096


def affinities(indices: NDArray[np.int64], distances: NDArray[Any], perplexity: float) -> sparse.csr_array:
    """Symmetric affinities whose rows sum to about 1 (van der Maaten and Hinton 2008, equations 1 and 2).

    Parameters
    ----------
    indices, distances
        Nearest neighbours, shape ``(n, k)``, nearest first.
    perplexity
        As for `calibrate`.

    Returns
    -------
    csr_array
        ``(P + P.T) / 2``, shape ``(n, n)``.
    """
    n, k = indices.shape
    starts = np.arange(0, n * k + 1, k, dtype=np.int32 if n * k < 2**31 else np.int64)
    halves = calibrate(distances, perplexity).ravel() / 2
    directed = sparse.csr_array((halves, indices.astype(np.int32).ravel(), starts), shape=(n, n))
    both = sparse.csr_array(directed + directed.T)
    both.sort_indices()
    return both


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


def components(similarity: Similarity, n_components: int) -> Points:
    """Leading principal components, by a randomised decomposition (Halko et al. 2011) from a fixed start.

    Shape ``(n, n_components)``, filled up with zeros; the sign of each makes its largest entry positive. Where there
    are no features, those of the rows of similarities, to 4,096 neurons at most, are taken.
    """
    from threadpoolctl import threadpool_limits

    if similarity.coactivity is not None:
        return similarity.coactivity.components(n_components)
    features = similarity.features
    if features is None or similarity.absolute:
        features = _similarities(similarity)
    mean = features.mean(axis=0, dtype=np.float64).astype(np.float32)
    d = features.shape[1]
    rng = np.random.default_rng(0)
    with threadpool_limits(limits=1, user_api="blas"):  # thin products: threads cost seconds where cores are busy
        # the mean is taken off the products: centred rows would be a second copy of all features
        basis = _less(features, mean, rng.normal(size=(d, min(n_components + 12, d))).astype(np.float32))
        for _ in range(3):
            basis, _ = np.linalg.qr(basis)
            basis, _ = np.linalg.qr(_less(features, mean, _turned(features, mean, basis)))
        left, singular, _ = np.linalg.svd(_turned(features, mean, basis).T, full_matrices=False)
    scores = ((basis @ left) * singular).astype(np.float64)[:, :n_components]
    scores[:, singular[: scores.shape[1]] <= 1e-5 * max(float(singular[0]), 1e-30)] = 0
    peak = scores[np.abs(scores).argmax(axis=0), np.arange(scores.shape[1])]
    scores *= np.where(peak < 0, -1.0, 1.0)
    return np.pad(scores, ((0, 0), (0, n_components - scores.shape[1])))


def _less(features: Float, mean: Float, basis: Float) -> Float:
    """Return ``(features - mean) @ basis``."""
    return np.asarray(features @ basis - mean @ basis)


def _turned(features: Float, mean: Float, basis: Float) -> Float:
    """Return ``(features - mean).T @ basis``."""
    return np.asarray(features.T @ basis - np.outer(mean, basis.sum(axis=0)))


def _similarities(similarity: Similarity) -> Float:
    """Similarities to all neurons, or to a sample of them where there are many."""
    n = similarity.n_neurons
    if n <= _LANDMARKS:
        return similarity.matrix()
    landmarks = np.sort(np.random.default_rng(0).choice(n, _LANDMARKS, replace=False))
    if similarity.features is None:
        assert similarity.given is not None
        rows = similarity.given[:, landmarks]
        return np.asarray(np.abs(rows) if similarity.absolute else -rows if similarity.metric == "euclidean" else rows)
    return np.asarray(np.abs(similarity.features @ similarity.features[landmarks].T))
