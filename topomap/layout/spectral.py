"""Layouts from eigenvectors and distances: random, principal components, multidimensional scaling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from topomap.layout.pairs import AllPairs, PairValues, part_coincident

if TYPE_CHECKING:
    from topomap.similarity import Similarity

Points = NDArray[np.float64]

#: Up to this size of the smaller side a decomposition is dense, above it iterative.
_DENSE = 600

#: Up to this number of neurons the iterations hold the matrix of squared distances.
_KEPT = 4096

#: Share of the largest variance below which a component is the rounding of float32 features.
_NOISE = 1e-12


@dataclass(frozen=True)
class Random:
    """Positions drawn uniformly from the square: the baseline that any layout must beat.

    The one layout without a source: it does not look at the similarity, but for the number of neurons.

    Examples
    --------
    >>> import numpy as np
    >>> import topomap as tm
    >>> values = np.random.default_rng(0).normal(size=(50, 30))
    >>> tm.embed(tm.correlate(values), Random())
    Layout(random: 30 neurons in a disc, seed 0)
    """

    chains: ClassVar[bool] = False

    def __call__(self, similarity: Similarity, init: Points | None, rng: np.random.Generator) -> Points:
        """Return positions, shape ``(n_neurons, 2)``."""
        return rng.random((similarity.n_neurons, 2))


@dataclass(frozen=True)
class PCA:
    """The first two principal components of the neurons' feature vectors.

    Where only distances are known (``absolute=True``, or a matrix of cross products), classical multidimensional
    scaling of them, which is the same thing where the distances are Euclidean (Torgerson 1952,
    doi 10.1007/BF02288916). The sign of each component makes its largest entry positive.

    References
    ----------
    Pearson (1901). On lines and planes of closest fit to systems of points in space. Philosophical Magazine 2(11).
    doi 10.1080/14786440109462720.

    Examples
    --------
    >>> import numpy as np
    >>> import topomap as tm
    >>> values = np.random.default_rng(0).normal(size=(50, 30))
    >>> tm.embed(tm.correlate(values), PCA())
    Layout(pca: 30 neurons in a disc, seed 0)
    """

    chains: ClassVar[bool] = False

    def __call__(self, similarity: Similarity, init: Points | None, rng: np.random.Generator) -> Points:
        """Return positions, shape ``(n_neurons, 2)``."""
        return principal_coordinates(similarity, 2)


@dataclass(frozen=True)
class MDS:
    """Metric multidimensional scaling: distances in the plane as close as can be to the neurons' distances.

    Minimises the raw stress ``sum_ij (d_ij - r_ij)^2`` by majorisation (SMACOF, de Leeuw 1977), from `PCA` unless it
    starts from another layout.

    Parameters
    ----------
    n_steps
        Most iterations.
    tolerance
        Stop when the stress falls by less than this share of itself in one step.

    References
    ----------
    de Leeuw (1977). Applications of convex analysis to multidimensional scaling. Recent Developments in Statistics,
    133-145.

    Examples
    --------
    >>> import numpy as np
    >>> import topomap as tm
    >>> values = np.random.default_rng(0).normal(size=(50, 30))
    >>> tm.embed(tm.correlate(values), MDS(n_steps=100))
    Layout(mds: 30 neurons in a disc, seed 0)
    """

    n_steps: int = 300
    tolerance: float = 1e-5

    def __call__(self, similarity: Similarity, init: Points | None, rng: np.random.Generator) -> Points:
        """Return positions, shape ``(n_neurons, 2)``."""
        n = similarity.n_neurons
        points = principal_coordinates(similarity, 2) if init is None else np.array(init, dtype=np.float64)
        points = part_coincident(points, 1e-3 * float(points.std() or 1.0), rng)
        points -= points.mean(axis=0)
        distances = PairValues(similarity)
        points *= distances.largest / (2 * float(np.abs(points).max()))
        floor = (3e-4 * distances.largest) ** 2

        def ratio(squares: NDArray[Any], scratch: NDArray[Any], distance: NDArray[Any]) -> NDArray[Any]:
            r = np.sqrt(np.maximum(squares, floor, out=squares), out=squares)
            distance /= r
            return distance

        last = np.inf
        with AllPairs(n) as pairs:
            for _ in tqdm(range(self.n_steps), desc="mds", disable=None, leave=False, delay=1):
                moved = -pairs.sum(points, ratio, distances) / n  # the Guttman transform
                stress = float((points**2).sum() - 2 * (points * moved).sum())  # over n, up to a constant
                points = moved
                if last - stress <= self.tolerance * float((points**2).sum()):
                    break
                last = stress
        return points


def principal_coordinates(similarity: Similarity, n_components: int) -> Points:
    """Return principal components of the features, or classical scaling of the distances where there are none.

    Components whose variance is rounding noise are 0. Those of sparse neurons are of the rows that stand for features.
    """
    if similarity.coactivity is not None:
        return similarity.coactivity.components(n_components)
    features = None if similarity.absolute else similarity.features
    if features is not None:
        centred = features - features.mean(axis=0, dtype=np.float64)
        return _leading(centred, n_components)
    return _classical_scaling(similarity, n_components)


def _leading(centred: NDArray[np.float64], n_components: int) -> Points:
    n, d = centred.shape
    k = min(n_components, n, d)
    if min(n, d) > _DENSE:
        from scipy.sparse.linalg import svds

        start = np.random.default_rng(0).normal(size=min(n, d))
        left, singular, _ = svds(centred, k=k, v0=start, solver="arpack")
        scores, value = left * singular, singular**2
    elif d <= n:
        value, vector = np.linalg.eigh(centred.T @ centred)
        scores = centred @ vector
    else:
        value, vector = np.linalg.eigh(centred @ centred.T)
        scores = vector * np.sqrt(value.clip(0))
    return _tidy(scores, value, n_components)


def _classical_scaling(similarity: Similarity, n_components: int) -> Points:
    from scipy.sparse.linalg import LinearOperator, eigsh

    n = similarity.n_neurons
    if n <= _DENSE:
        squared = similarity.distance().astype(np.float64) ** 2
        squared -= squared.mean(axis=0)
        squared -= squared.mean(axis=1, keepdims=True)
        value, vector = np.linalg.eigh(-squared / 2)
    else:
        kept = similarity.distance() ** 2 if n <= _KEPT else None
        rows = max(1, (1 << 22) // n)

        def multiply(x: NDArray[Any]) -> NDArray[Any]:
            x = x.ravel() - x.mean()
            if kept is not None:
                out = kept @ x
            else:
                blocks = (similarity.distance_block(i, min(i + rows, n)) for i in range(0, n, rows))
                out = np.concatenate([block**2 @ x for block in blocks])
            return np.asarray((out.mean() - out) / 2)

        operator = LinearOperator((n, n), matvec=multiply, dtype=np.float64)
        start = np.random.default_rng(0).normal(size=n)
        value, vector = eigsh(operator, k=n_components, which="LA", v0=start)
    return _tidy(vector * np.sqrt(value.clip(0)), value, n_components)


def _tidy(scores: NDArray[Any], value: NDArray[Any], n_components: int) -> Points:
    """Order components by variance, drop rounding noise, fix signs and fill up with zeros."""
    order = np.argsort(-value, kind="stable")[:n_components]
    order = order[value[order] > max(float(value.max(initial=0)), 0) * _NOISE]
    out = np.zeros((len(scores), n_components))
    out[:, : len(order)] = scores[:, order]
    peak = out[np.abs(out).argmax(axis=0), np.arange(n_components)]
    out *= np.where(peak < 0, -1.0, 1.0)
    return out
