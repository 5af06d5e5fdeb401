"""What the filled layout is compared with: the paper's procedures, the free libraries, and assignment to a grid.

"As published" means Krug et al. (2023, doi 10.3233/FAIA230080): distances over the single inputs, cosine or Euclidean,
coordinates scaled to the square. Up to 512 neurons each procedure runs as published: scikit-learn's t-SNE from
principal components, umap-learn and MiniSom, and topomap's `graph` and `swarm`, which are the paper's iterations in
double precision. Above, what would take too long is replaced by an equivalent, named in the tables, that is first
compared with the original at 512 (`EQUIVALENTS`).
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

import topomap as tm
from topomap.layout import Graph, Swarm

Points = NDArray[np.float64]

#: Up to this number of neurons procedures run as published.
AS_PUBLISHED = 512

#: Seconds that one layout may take; what would take longer is left out, and the tables say so.
MOST_SECONDS = 180.0

#: First steps of the paper, each also followed by its "PSO", and that on its own.
FIRST = ("random", "pca", "som", "graph", "umap", "tsne")
PUBLISHED = (*FIRST, "swarm", *(f"{name}+swarm" for name in FIRST))

#: Free layouts put on the sites of a filled grid by the cheapest assignment.
ASSIGNED = ("umap>grid", "tsne>grid")

#: An equivalent and the published procedure that it stands for; compared where both were measured.
EQUIVALENTS = {
    "openTSNE": "tsne",
    "som-batch": "som",
    "graph, fast": "graph",
    "umap+swarm, fast": "umap+swarm",
    "umap+swarm, dense": "umap+swarm",
}

#: Names of the libraries' distances.
_METRICS = {"pearson": "correlation", "cosine": "cosine", "euclidean": "euclidean"}


class TooLongError(Exception):
    """A layout would take longer than `MOST_SECONDS`."""


@dataclass(frozen=True, eq=False)
class Job:
    """One similarity to lay out; `earlier` gives the positions of another method."""

    values: NDArray[np.float32]
    similarity: tm.Similarity
    seed: int
    earlier: Callable[[str], Points]

    @property
    def n(self) -> int:
        """Number of neurons."""
        return self.similarity.n_neurons

    @property
    def metric(self) -> str:
        """The libraries' name of the distance."""
        return _METRICS[self.similarity.metric]


def place(job: Job, method: str) -> tuple[Points, str]:
    """Return positions in a frame of the method's own, and by what they were made.

    Raises
    ------
    TooLongError
        If it would take too long.
    """
    if method.endswith("+swarm"):
        return _forces(job, Swarm(convolve_above=AS_PUBLISHED), job.earlier(method.removesuffix("+swarm")))
    made: dict[str, Callable[[Job], tuple[Points, str]]] = {
        "som": _som,
        "umap": _umap,
        "tsne": _tsne,
        "openTSNE": _open_tsne,
        "swarm": lambda job: _forces(job, Swarm(), None),
        "graph": lambda job: _forces(job, Graph(convolve_above=AS_PUBLISHED), None),
        "graph, fast": lambda job: _forces(job, Graph(convolve_above=0), None),
        "umap+swarm, fast": lambda job: _forces(job, Swarm(convolve_above=0), job.earlier("umap")),
        "umap+swarm, dense": lambda job: (_dense_swarm(job.earlier("umap")), "NumPy, all pairs"),
    }
    if method in made:
        return made[method](job)
    return _embed(job, method.removesuffix(", free")), "topomap"


def _umap(job: Job) -> tuple[Points, str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import umap

        mapper = umap.UMAP(metric=job.metric, random_state=job.seed, n_jobs=1)
        return np.asarray(mapper.fit_transform(job.values.T), dtype=np.float64), "umap-learn"


def _tsne(job: Job) -> tuple[Points, str]:
    if job.n > AS_PUBLISHED:
        return job.earlier("openTSNE"), "openTSNE for scikit-learn"
    from sklearn.manifold import TSNE

    made = TSNE(metric=job.metric, init="pca", random_state=job.seed).fit_transform(job.values.T)
    return np.asarray(made, dtype=np.float64), "scikit-learn"


def _open_tsne(job: Job) -> tuple[Points, str]:
    import openTSNE

    rows = np.ascontiguousarray(job.values.T)
    metric = job.metric
    if metric == "correlation":  # which few of its searches know: the cosine of centred rows is the same
        rows, metric = rows - rows.mean(axis=1, keepdims=True), "cosine"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        made = openTSNE.TSNE(metric=metric, random_state=job.seed).fit(rows)
    return np.asarray(made, dtype=np.float64), "openTSNE"


def _som(job: Job) -> tuple[Points, str]:
    if job.n > AS_PUBLISHED:
        return _embed(job, "som-batch"), "batch SOM for MiniSom"
    return _embed(job, "som"), "MiniSom"


def _embed(job: Job, method: str) -> Points:
    return np.array(tm.embed(job.similarity, method, region="hull", seed=job.seed).positions)


def _forces(job: Job, algorithm: Swarm | Graph, init: Points | None) -> tuple[Points, str]:
    """Run a force iteration unless a few of its steps show that it would take too long."""
    rng = np.random.default_rng(job.seed)
    if job.n > AS_PUBLISHED:
        seconds = []
        for steps in (4, 12):  # the difference is free of what is done once
            start = time.perf_counter()
            replace(algorithm, n_steps=steps)(job.similarity, init, rng)
            seconds.append(time.perf_counter() - start)
        expected = max(seconds[1] - seconds[0], 0) / 8 * algorithm.n_steps
        if expected > MOST_SECONDS:
            raise TooLongError(f"it would take about {expected:.0f} s")
    fast = job.n > algorithm.convolve_above and not (isinstance(algorithm, Swarm) and init is None)
    made = algorithm(job.similarity, init, np.random.default_rng(job.seed))
    return np.asarray(made, dtype=np.float64), "topomap, forces by FFT" if fast else "topomap, all pairs"


def _dense_swarm(init: Points, n_steps: int = 1000) -> Points:
    """Follow the paper's local force with arrays of all pairs, as published, from another layout in the unit square."""
    low, high = init.min(axis=0), init.max(axis=0)
    positions = (init - low) / (high - low)
    for s in (np.tanh(np.linspace(-3, 6, n_steps)) + 1) / 2:
        gap = positions[None, :, :] - positions[:, None, :]
        r = np.maximum(np.sqrt((gap**2).sum(axis=-1)), 0.01)
        force = s * (1.5 / (r + 1) ** 3 - 15 * np.exp(-r / 2)) / 2
        positions = positions + (force[:, :, None] * gap).mean(axis=1)
    return positions


def sites(n: int, region: str) -> Points:
    """Return n sites that fill the unit frame: rows of a square grid, or the innermost of a hexagonal lattice."""
    if region == "square":
        rows = max(1, round(np.sqrt(n)))
        counts = np.full(rows, n // rows) + (np.arange(rows) < n % rows)
        heights = (np.arange(rows) + 0.5) / rows * 2 - 1
        lines = [((np.arange(c) + 0.5) / c * 2 - 1, np.full(c, y)) for c, y in zip(counts, heights, strict=True)]
        return np.concatenate([np.column_stack(line) for line in lines])
    step = np.sqrt(np.pi / n * 2 / np.sqrt(3))  # a hexagonal site's area is step^2 sqrt(3) / 2
    reach = int(2 / step) + 2
    row, column = np.meshgrid(np.arange(-reach, reach + 1), np.arange(-reach, reach + 1), indexing="ij")
    lattice = np.column_stack([(column + row / 2).ravel(), row.ravel() * np.sqrt(3) / 2]) * step
    lattice += step * np.array([0.13, 0.07])  # off the centre, else many sites are equally far from it
    nearest = np.argsort((lattice**2).sum(axis=1), kind="stable")[:n]
    found: Points = lattice[nearest]
    return found / max(1.0, float(np.linalg.norm(found, axis=1).max()))


def assign(positions: Points, region: str) -> Points:
    """Put neurons on the sites of a region so that the sum of squared moves is least (Jonker-Volgenant)."""
    from scipy.optimize import linear_sum_assignment
    from scipy.spatial.distance import cdist

    grid = sites(len(positions), region)
    return np.asarray(grid[linear_sum_assignment(cdist(positions, grid, "sqeuclidean"))[1]])
