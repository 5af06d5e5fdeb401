"""Force layouts: Fruchterman-Reingold on two graphs, and the paper's swarm."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from topomap.layout.convolution import CONVOLVE_ABOVE, Convolution
from topomap.layout.pairs import AllPairs, PairValues, part_coincident

if TYPE_CHECKING:
    import scipy.sparse

    from topomap.similarity import Similarity

Points = NDArray[np.float64]

#: Closest two points of the swarm are taken to be.
_SWARM_FLOOR = 0.01

#: Spacing of a grid that resolves the local force, which changes over distances of about 2.
_SWARM_SPACING = 0.5

#: Up to this number of neurons the swarm is computed in double precision, as published.
_EXACT = 512

#: Closest two points of a graph layout are taken to be, in units of the ideal edge.
_FRUCHTERMAN_FLOOR = 0.01


@dataclass(frozen=True)
class Swarm:
    """The force iteration that Krug et al. (2023) call PSO, with a bounded step.

    For neurons i and j at distance ``r`` in the plane (at least 0.01) and ``d`` by their activations,

    - global force ``1.5 (1 - (d / max d)^3) - 0.5 exp(-d / 2)``, absent when the layout starts from another one;
    - local force ``1.5 / (r + 1)^3 - 15 exp(-r / 2)``;
    - ``f = (s local + (1 - s) global) / 2`` with ``s = (tanh(c) + 1) / 2`` and ``c`` going linearly from -3 to 6;
    - ``p_i += mean_j f_ij (p_j - p_i)``.

    ``d`` is the distance of the similarity; Euclidean distances are scaled so that the largest is 2, the range of a
    correlation distance. Without a start, positions are uniform in the unit square; another layout is first scaled to
    it, per axis. From another layout, the force depends on r alone: large layers then sum it by `Convolution`, in time
    O(n log n) per step instead of O(n^2), within 1e-3 of the largest force.

    Parameters
    ----------
    n_steps
        1,000 in the paper; 100 in its authors' later toolbox.
    max_step
        Longest move of a neuron in one step. Published trajectories whose neurons stay together move by less
        (at most about 1, in a few steps); without a bound, groups of opposite neurons repel each other
        exponentially and end thousands of units apart.
    reach
        No step may take a neuron further than this from the centre. Neurons that stay together reach about
        40 at 200 neurons and 50 at 8,192.
    jitter
        Neurons at exactly the same place never part under these forces: they are first moved by noise of this
        deviation.
    convolve_above
        More neurons than this take the fast sums where the layout starts from another.

    References
    ----------
    Krug, Ratul, Olson, Stober (2023). Visualizing deep neural networks with topographic activation maps.
    HHAI. doi 10.3233/FAIA230080.

    Examples
    --------
    >>> import numpy as np
    >>> import topomap as tm
    >>> values = np.random.default_rng(0).normal(size=(50, 12))
    >>> tm.embed(tm.correlate(values), Swarm(n_steps=100))
    Layout(swarm: 12 neurons in a disc, seed 0)
    """

    n_steps: int = 1000
    max_step: float = 1.5
    reach: float = 60.0
    jitter: float = 1e-3
    convolve_above: int = CONVOLVE_ABOVE

    def __call__(self, similarity: Similarity, init: Points | None, rng: np.random.Generator) -> Points:
        """Return positions, shape ``(n_neurons, 2)``."""
        n = similarity.n_neurons
        start = rng.random((n, 2)) if init is None else _unit_square(init)
        points = part_coincident(start, self.jitter, rng)
        values = PairValues(similarity, _global_force(similarity.metric)) if init is None else None
        # a common shift changes no force; about the centre, a layout that first collapses keeps its shape
        points -= points.mean(axis=0)
        share = (np.tanh(np.linspace(-3, 6, self.n_steps)) + 1) / 2
        with AllPairs(n, np.float64 if n <= _EXACT else np.float32) as pairs:
            convolve = init is not None and n > self.convolve_above
            convolution = Convolution(pairs, _local_force, _SWARM_SPACING) if convolve else None
            for s in tqdm(share, desc="swarm", disable=None, leave=False, delay=1):
                local = convolution.sum(points) if convolution else pairs.sum(points, _local_force)
                move = s * local
                if values is not None:
                    move += (1 - s) * pairs.sum(points, None, values)
                move /= 2 * n
                points = self._bounded(points, move)
        return points

    def _bounded(self, points: Points, move: Points) -> Points:
        length = np.linalg.norm(move, axis=1)
        if length.max() > self.max_step:
            move = move * np.minimum(1, self.max_step / np.maximum(length, 1e-300))[:, None]
        moved: Points = points + move
        moved -= moved.mean(axis=0)
        radius = np.linalg.norm(moved, axis=1)
        if radius.max() > self.reach:
            moved *= np.minimum(1, self.reach / np.maximum(radius, 1e-300))[:, None]
        return moved


@dataclass(frozen=True)
class Graph:
    """The threshold graph of Krug et al. (2023), laid out by Fruchterman-Reingold.

    Neurons closer than a percentile of all distances are joined by an edge; every component is joined to the
    biggest one by the shortest edge between them.

    Parameters
    ----------
    percentile
        Of the distances of all pairs; 7.5 in the paper.
    n_steps
        Iterations of the force layout.
    convolve_above
        More neurons than this take the fast sums (`Convolution`) for the repulsion.

    References
    ----------
    Krug et al. (2023), doi 10.3233/FAIA230080. Fruchterman, Reingold (1991). Graph drawing by force-directed
    placement. Software: Practice and Experience 21(11). doi 10.1002/spe.4380211102.

    Examples
    --------
    >>> import numpy as np
    >>> import topomap as tm
    >>> values = np.random.default_rng(0).normal(size=(50, 30))
    >>> tm.embed(tm.correlate(values), Graph(percentile=10))
    Layout(graph: 30 neurons in a disc, seed 0)
    """

    percentile: float = 7.5
    n_steps: int = 300
    convolve_above: int = CONVOLVE_ABOVE

    def __call__(self, similarity: Similarity, init: Points | None, rng: np.random.Generator) -> Points:
        """Return positions, shape ``(n_neurons, 2)``."""
        graph = threshold_graph(similarity, self.percentile)
        return fruchterman_reingold(graph, init, rng, self.n_steps, 0.0, self.convolve_above, desc="graph")


@dataclass(frozen=True)
class Force:
    """Fruchterman-Reingold on the graph of nearest neighbours, edges weighted by correlation.

    A neuron is joined to its nearest neighbours with the correlation as the edge's strength; a negative correlation
    gives no edge. For Euclidean distances the strength is 1 minus the distance over the longest edge's.

    Parameters
    ----------
    n_neighbors
        Per neuron; the graph is made symmetric by the mean of both directions.
    n_steps
        Iterations.
    gravity
        Pull to the centre, which keeps components that no edge joins in one picture.
    convolve_above
        More neurons than this take the fast sums (`Convolution`) for the repulsion.

    References
    ----------
    Fruchterman, Reingold (1991), doi 10.1002/spe.4380211102.

    Examples
    --------
    >>> import numpy as np
    >>> import topomap as tm
    >>> values = np.random.default_rng(0).normal(size=(50, 30))
    >>> tm.embed(tm.correlate(values), Force(n_neighbors=5))
    Layout(force: 30 neurons in a disc, seed 0)
    """

    n_neighbors: int = 15
    n_steps: int = 300
    gravity: float = 0.1
    convolve_above: int = CONVOLVE_ABOVE

    def __call__(self, similarity: Similarity, init: Points | None, rng: np.random.Generator) -> Points:
        """Return positions, shape ``(n_neurons, 2)``."""
        graph = neighbor_graph(similarity, self.n_neighbors)
        return fruchterman_reingold(graph, init, rng, self.n_steps, self.gravity, self.convolve_above, desc="force")


def fruchterman_reingold(
    graph: scipy.sparse.csr_array,
    init: Points | None,
    rng: np.random.Generator,
    n_steps: int,
    gravity: float,
    convolve_above: int = CONVOLVE_ABOVE,
    desc: str = "force",
) -> Points:
    """Lay a weighted graph out: attraction ``w r^2 / k`` along edges, repulsion ``k^2 / r`` between all pairs.

    Here ``k = 1`` and the frame has the area n; the longest step falls linearly from a tenth of the frame's side to 0.
    """
    n = graph.shape[0]
    side = float(np.sqrt(n))
    points = rng.random((n, 2)) if init is None else _unit_square(init)
    points = part_coincident(points, 1e-3, rng)
    points -= points.mean(axis=0)
    points *= side
    edges = graph.tocoo()
    heads, tails, strength = edges.row, edges.col, edges.data.astype(np.float64)
    with AllPairs(n) as pairs:
        convolution = Convolution(pairs, _repulsion) if n > convolve_above else None
        for step in tqdm(range(n_steps), desc=desc, disable=None, leave=False, delay=1):
            move = convolution.sum(points) if convolution else pairs.sum(points, _repulsion)
            gap = points[tails] - points[heads]
            pull = (strength * np.sqrt((gap**2).sum(axis=1)))[:, None] * gap
            for axis in (0, 1):
                move[:, axis] += np.bincount(heads, pull[:, axis], minlength=n)
            if gravity:
                move -= gravity * points
            length = np.maximum(np.linalg.norm(move, axis=1), 1e-300)
            longest = 0.1 * side * (1 - step / n_steps)
            points += move * np.minimum(1, longest / length)[:, None]
            points -= points.mean(axis=0)
    return points


def neighbor_graph(similarity: Similarity, n_neighbors: int) -> scipy.sparse.csr_array:
    """Return the symmetric graph of nearest neighbours, weighted by correlation; no edge where that is negative."""
    import scipy.sparse

    n = similarity.n_neurons
    index, distance = similarity.neighbors(min(n_neighbors, n - 1))
    longest = float(distance.max()) if similarity.metric == "euclidean" else 1.0
    strength = np.maximum(1 - distance.astype(np.float64) / (longest or 1.0), 0)
    heads = np.repeat(np.arange(n), index.shape[1])
    graph = scipy.sparse.coo_array((strength.ravel(), (heads, index.ravel())), shape=(n, n)).tocsr()
    graph = ((graph + graph.T) / 2).tocsr()
    graph.eliminate_zeros()
    return graph


def threshold_graph(similarity: Similarity, percentile: float) -> scipy.sparse.csr_array:
    """Return the graph of pairs closer than a percentile of all distances, its components joined to the biggest.

    The percentile is exact (linear interpolation between ranks, as NumPy's), found by counting: two histograms of all
    pairs narrow it down to a bin whose distances are then sorted, so that not all of them are held.
    """
    import scipy.sparse
    from scipy.sparse.csgraph import connected_components

    n = similarity.n_neurons
    limit = _percentile(similarity, percentile)
    heads, tails = [], []
    for start, _, block in _upper(similarity):
        row, column = np.nonzero(block < limit)
        heads.append(row + start)
        tails.append(column + start)
    head, tail = np.concatenate(heads), np.concatenate(tails)
    graph = scipy.sparse.coo_array((np.ones(len(head)), (head, tail)), shape=(n, n))
    count, label = connected_components(graph, directed=False)
    if count > 1:
        extra = _joining_edges(similarity, label, count)
        head, tail = np.concatenate([head, extra[0]]), np.concatenate([tail, extra[1]])
    both = (np.concatenate([head, tail]), np.concatenate([tail, head]))
    return scipy.sparse.coo_array((np.ones(2 * len(head)), both), shape=(n, n)).tocsr()


def _joining_edges(similarity: Similarity, label: NDArray[Any], count: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return for each other component its shortest edge to the biggest one."""
    biggest = np.flatnonzero(label == np.argmax(np.bincount(label)))
    shortest = np.full(count, np.inf)
    head, tail = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    rows = max(1, (1 << 20) // similarity.n_neurons)
    for start in range(0, similarity.n_neurons, rows):
        stop = min(start + rows, similarity.n_neurons)
        block = similarity.distance_block(start, stop)[:, biggest]
        nearest = block.argmin(axis=1)
        for i, (j, d) in enumerate(zip(nearest, block.min(axis=1), strict=True), start):
            if d < shortest[label[i]]:
                shortest[label[i]], head[label[i]], tail[label[i]] = d, i, biggest[j]
    other = np.arange(count) != label[biggest[0]]
    return head[other], tail[other]


def _upper(similarity: Similarity) -> Any:
    """Iterate over ``(start, stop, distances)``, of which only pairs above the diagonal are finite."""
    n = similarity.n_neurons
    rows = max(1, (1 << 20) // n)
    for start in range(0, n, rows):
        stop = min(start + rows, n)
        block = similarity.distance_block(start, stop)[:, start:]
        block[np.tril_indices(stop - start, m=n - start)] = np.inf
        yield start, stop, block


def _percentile(similarity: Similarity, percentile: float) -> float:
    """Return a percentile of the distances of all pairs without holding them all."""
    n = similarity.n_neurons
    rank = percentile / 100 * (n * (n - 1) // 2 - 1)
    low, high, below = 0.0, 0.0, 0
    for _, _, block in _upper(similarity):
        high = max(high, float(block[np.isfinite(block)].max(initial=0)))
    high = np.nextafter(high, np.inf)
    for _ in range(2):
        edges = np.linspace(low, high, 2049)
        counts = np.zeros(2048, dtype=np.int64)
        for _, _, block in _upper(similarity):
            counts += np.histogram(block[np.isfinite(block)], edges)[0]
        reached = below + np.cumsum(counts)
        first = int(np.searchsorted(reached, np.floor(rank), side="right"))
        last = int(np.searchsorted(reached, np.floor(rank) + 1, side="right"))
        first, last = min(first, 2047), min(last, 2047)
        low, high, below = edges[first], edges[last + 1], int(reached[first] - counts[first])
    inside = np.sort(
        np.concatenate([block[(block >= low) & (block < high)] for _, _, block in _upper(similarity)]).astype(
            np.float64
        )
    )
    place = min(max(rank - below, 0), len(inside) - 1)
    return float(np.interp(place, np.arange(len(inside)), inside))


def _unit_square(points: Points) -> Points:
    """Scale each axis to [0, 1]; a constant one becomes 0.5."""
    low, high = points.min(axis=0), points.max(axis=0)
    width = high - low
    out: Points = np.where(width > 0, (points - low) / np.where(width > 0, width, 1), 0.5)
    return out


def _global_force(metric: str) -> Callable[[NDArray[np.float32], float], None]:
    def transform(block: NDArray[np.float32], largest: float) -> None:
        relative = block / np.float32(largest or 1.0)
        if metric == "euclidean":
            block *= np.float32(2 / (largest or 1.0))
        block *= -0.5
        np.exp(block, out=block)
        block *= -0.5
        block += 1.5
        block -= 1.5 * relative**3

    return transform


def _local_force(squares: NDArray[Any], scratch: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    r = np.sqrt(np.maximum(squares, _SWARM_FLOOR**2, out=squares), out=squares)
    near = np.multiply(r, -0.5, out=scratch)
    near += np.log(15)
    np.exp(near, out=near)
    r += 1
    far = np.multiply(r, r, out=other)
    far *= r
    np.divide(1.5, far, out=far)
    far -= near
    weights: NDArray[Any] = far
    return weights


def _repulsion(squares: NDArray[Any], scratch: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    np.maximum(squares, _FRUCHTERMAN_FLOOR**2, out=squares)
    np.divide(-1, squares, out=squares)
    return squares
