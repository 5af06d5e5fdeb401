"""Where neurons start, and what pulls them together: principal components and the graph of nearest neighbours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from topomap._compute import Float
from topomap.layout.perplexity import calibrate

if TYPE_CHECKING:
    from topomap.similarity import Similarity

Points = NDArray[np.float64]

#: Neurons whose similarities stand for a neuron where there are no features.
_LANDMARKS = 4096

#: Side of the blocks of the plane by which neurons are numbered, in spacings.
_BLOCK = 6.0


def affinities(indices: NDArray[Any], distances: NDArray[Any], perplexity: float) -> sparse.csr_array:
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
    return _symmetric(indices, calibrate(distances, perplexity) / 2)


def both_ways(neighbors: NDArray[Any]) -> sparse.csr_array:
    """Join each with its neighbours, shape ``(n, k)``: weight 2 where each is the other's neighbour, else 1."""
    return _symmetric(neighbors, np.ones(neighbors.shape, dtype=np.float32))


def _symmetric(neighbors: NDArray[Any], weights: NDArray[Any]) -> sparse.csr_array:
    """Sum the weights of both directions."""
    n, k = neighbors.shape
    starts = np.arange(0, n * k + 1, k, dtype=np.int64)
    directed = sparse.csr_array((weights.ravel(), neighbors.astype(np.int64).ravel(), starts), shape=(n, n))
    both = sparse.csr_array(directed + directed.T)
    both.sort_indices()
    both.indices, both.indptr = both.indices.astype(np.int32), both.indptr.astype(np.int64)
    return both


def by_block(points: Points) -> NDArray[np.int64]:
    """Return the order of points by the blocks of the plane they lie in."""
    block = np.floor(points / _BLOCK)
    return np.lexsort((points[:, 0], points[:, 1], block[:, 0], block[:, 1]))


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
