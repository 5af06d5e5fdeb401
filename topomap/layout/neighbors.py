"""Layouts that keep neighbourhoods: UMAP and t-SNE."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from topomap.layout.spectral import principal_coordinates

if TYPE_CHECKING:
    from topomap.similarity import Similarity

Points = NDArray[np.float64]


@dataclass(frozen=True)
class TSNE:
    """t-SNE (van der Maaten, Hinton 2008) by openTSNE, on the similarity's exact neighbours.

    Starts from the first two principal components, scaled to a deviation of 1e-4. Early exaggeration, learning rate and
    numbers of iterations are openTSNE's. From an earlier layout it starts at full size, one unit of area per neuron,
    and without early exaggeration: both are there to find a first order, and would lose the one that is given.

    Parameters
    ----------
    perplexity
        Lowered to a third of the other neurons where there are few.
    n_jobs
        Threads. With one, the same seed gives the same bytes; sums over several threads may differ in rounding.

    References
    ----------
    Poličar, Stražar, Zupan (2024). openTSNE: a modular Python library for t-SNE dimensionality reduction and embedding.
    doi 10.18637/jss.v109.i03. Kobak, Berens (2019), doi 10.1038/s41467-019-13056-x (initialisation).
    van der Maaten, Hinton (2008). Visualizing data using t-SNE. Journal of Machine Learning Research 9, 2579-2605.

    Examples
    --------
    >>> import numpy as np
    >>> import topomap as tm
    >>> values = np.random.default_rng(0).normal(size=(50, 30))
    >>> tm.embed(tm.correlate(values), TSNE(perplexity=5))
    Layout(tsne: 30 neurons in a disc, seed 0)
    """

    perplexity: float = 30.0
    n_jobs: int = 1

    def __call__(self, similarity: Similarity, init: Points | None, rng: np.random.Generator) -> Points:
        """Return positions, shape ``(n_neurons, 2)``."""
        import openTSNE
        from openTSNE.affinity import PerplexityBasedNN
        from openTSNE.nearest_neighbors import PrecomputedNeighbors

        n = similarity.n_neurons
        perplexity = min(self.perplexity, (n - 1) / 3)
        index, distance = similarity.neighbors(min(n - 1, max(1, int(3 * perplexity))))
        affinities = PerplexityBasedNN(
            perplexity=perplexity,
            knn_index=PrecomputedNeighbors(index, distance.astype(np.float64)),
            n_jobs=self.n_jobs,
        )
        start = principal_coordinates(similarity, 2) if init is None else init
        # openTSNE's exaggeration needs a tiny start; noise far below it parts neurons that coincide
        start = 1e-4 * start / float(start[:, 0].std() or start.std() or 1.0)
        start = start + rng.normal(scale=1e-8, size=start.shape)
        tsne = openTSNE.TSNE(n_jobs=self.n_jobs, random_state=int(rng.integers(2**31 - 1)))
        if init is None:
            return np.array(tsne.fit(affinities=affinities, initialization=start), dtype=np.float64)
        embedding = tsne.prepare_initial(affinities=affinities, initialization=start)
        embedding *= 1e4 * np.sqrt(n / (4 * np.pi))  # openTSNE warns of any start of this size that it is given
        embedding.optimize(n_iter=tsne.n_iter, momentum=tsne.final_momentum, inplace=True)
        return np.array(embedding, dtype=np.float64)


@dataclass(frozen=True)
class UMAP:
    """UMAP (McInnes, Healy, Melville 2018) by umap-learn, on the similarity's exact neighbours.

    umap-learn's import and first call compile for about half a minute.

    Parameters
    ----------
    n_neighbors
        Including the neuron itself, as umap-learn counts; at most one less than there are neurons.
    min_dist
        Smallest distance of neighbours in the plane.

    References
    ----------
    McInnes, Healy, Melville (2018). UMAP: uniform manifold approximation and projection. arXiv 1802.03426.

    Examples
    --------
    >>> import numpy as np
    >>> import topomap as tm
    >>> values = np.random.default_rng(0).normal(size=(50, 30))
    >>> tm.embed(tm.correlate(values), UMAP(n_neighbors=5))
    Layout(umap: 30 neurons in a disc, seed 0)
    """

    n_neighbors: int = 15
    min_dist: float = 0.1

    def __call__(self, similarity: Similarity, init: Points | None, rng: np.random.Generator) -> Points:
        """Return positions, shape ``(n_neurons, 2)``."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Tensorflow not installed", category=ImportWarning)
            import umap

        n = similarity.n_neurons
        k = min(self.n_neighbors, n - 1)
        index, distance = similarity.neighbors(k - 1)
        # umap-learn counts a neuron as its own first neighbour
        index = np.column_stack([np.arange(n), index])
        distance = np.column_stack([np.zeros(n, dtype=np.float32), distance])
        start: str | Points = "spectral"
        if init is not None:
            start = 10 * init / float(np.abs(init).max() or 1.0)
        elif n <= _FEW:
            start = "random"  # too few for the eigenvectors of the graph
        mapper = umap.UMAP(
            n_neighbors=k,
            min_dist=self.min_dist,
            init=start,
            random_state=int(rng.integers(2**31 - 1)),
            precomputed_knn=(index, distance),
            force_approximation_algorithm=True,
            n_jobs=1,
        )
        rows = similarity.features if similarity.features is not None else np.zeros((n, 1), dtype=np.float32)
        with warnings.catch_warnings():
            for chatter in _CHATTER:
                warnings.filterwarnings("ignore", message=chatter)
            return np.asarray(mapper.fit_transform(rows), dtype=np.float64)


#: Up to this number of neurons UMAP starts at random.
_FEW = 15

#: Warnings of umap-learn about our use of it (neighbours handed over), not about the user's data.
_CHATTER = (
    r"precomputed_knn\[2\] \(knn_search_index\)",
    r"n_jobs value .* overridden",
    r".*Spectral initiali[sz]ation",
)
