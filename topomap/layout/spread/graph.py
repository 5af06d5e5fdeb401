"""What pulls neurons together: t-SNE affinities on the graph of nearest neighbours, and principal components."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

if TYPE_CHECKING:
    from topomap.similarity import Similarity

Points = NDArray[np.float64]


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
    index = (np.repeat(np.arange(n), k), indices.ravel())
    directed = sparse.csr_array((calibrate(distances, perplexity).ravel(), index), shape=(n, n))
    both = sparse.csr_array((directed + directed.T) / 2)
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
    n, k = distances.shape
    squares = distances.astype(np.float64) ** 2
    squares -= squares[:, :1]
    target = np.log(max(1.0, min(perplexity, 0.9 * k)))
    low, high = np.zeros(n), np.full(n, np.inf)
    # where all neighbours are equally far no precision gives the perplexity, and any gives equal weights
    beta = 1 / np.maximum(squares.mean(axis=1), 1e-12)
    for _ in range(50):
        weights = np.exp(-beta[:, None] * squares)
        total = weights.sum(axis=1)
        entropy = np.log(total) + beta * (weights * squares).sum(axis=1) / total
        flat = entropy > target
        low, high = np.where(flat, beta, low), np.where(flat, high, beta)
        beta = np.where(np.isinf(high), np.minimum(2 * beta, 1e30), (low + high) / 2)
    return np.asarray(weights / total[:, None])


def components(similarity: Similarity, n_components: int) -> Points:
    """Leading principal components, by a randomised decomposition (Halko et al. 2011) from a fixed start.

    Shape ``(n, n_components)``, filled up with zeros; the sign of each makes its largest entry positive. Where there
    are no features, those of the rows of similarities are taken.
    """
    from threadpoolctl import threadpool_limits

    if similarity.coactivity is not None:
        return similarity.coactivity.components(n_components)
    features = similarity.features
    if features is None or similarity.absolute:
        features = similarity.matrix()
    centred = features - features.mean(axis=0, dtype=np.float64).astype(np.float32)
    d = centred.shape[1]
    rng = np.random.default_rng(0)
    with threadpool_limits(limits=1, user_api="blas"):  # thin products: threads cost seconds where cores are busy
        basis = centred @ rng.normal(size=(d, min(n_components + 12, d))).astype(np.float32)
        for _ in range(3):
            basis, _ = np.linalg.qr(centred @ (centred.T @ np.linalg.qr(basis)[0]))
        left, singular, _ = np.linalg.svd(basis.T @ centred, full_matrices=False)
    scores = ((basis @ left) * singular).astype(np.float64)[:, :n_components]
    scores[:, singular[: scores.shape[1]] <= 1e-5 * max(float(singular[0]), 1e-30)] = 0
    peak = scores[np.abs(scores).argmax(axis=0), np.arange(scores.shape[1])]
    scores *= np.where(peak < 0, -1.0, 1.0)
    return np.pad(scores, ((0, 0), (0, n_components - scores.shape[1])))
