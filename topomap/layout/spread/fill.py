"""Two steps of the filled layout: the flow over the ground, and exchanges between sites."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import cKDTree

from topomap._compute import in_threads
from topomap.layout.spread import kernels, tiles

if TYPE_CHECKING:
    from topomap.layout.spread import Stage
    from topomap.layout.spread.ground import Ground

Points = NDArray[np.float64]
Index = NDArray[np.int64]


def flow(points: Points, ground: Ground, pull: sparse.csr_array, scales: NDArray[Any], bar: Any) -> None:
    """Move points, in place, by attraction at shrinking length scales, under pressure."""
    towards = edges(pull)
    step = np.empty_like(points)
    ground.press(points, 20)
    for scale in scales:
        attract(points, towards, scale * scale, step)
        points += step / 2
        ground.press(points)
        bar.update()
    ground.press(points, 20)


def exchange(
    sites: Points,
    anchor: Points,
    rows: NDArray[np.float32],
    local: sparse.csr_array,
    choices: Index,
    stage: Stage,
    seed: NDArray[np.uint64],
) -> Points:
    """Run one stage of swaps between neurons, the first on the first site; return where each ends.

    Parameters
    ----------
    sites
        In spacings, shape ``(n, 2)``.
    anchor
        Where the fluid left each neuron: what holds it back from afar.
    rows
        What neurons on close sites should share, from `likeness`.
    local
        Affinities of neurons that should lie close.
    choices
        Neurons beside which each may be put, shape ``(n, k)``.
    stage
        Reach, weights, sweeps and temperatures.
    seed
        State of the generator, shape ``(1,)``; moved on.
    """
    n = len(sites)
    if n >= tiles.FEWEST:
        return tiles.exchange(sites, anchor, rows, local, choices, stage, seed)
    at, site_of = np.arange(n), np.arange(n)
    start, within, weight = _kernel_graph(sites, stage.reach)
    field = np.empty_like(rows)
    kernels.fields(sites, start, within, weight, at, rows, field)
    level = max(0.3 * float(weight.sum()) / n, tiles.LEAST)
    temperatures = np.geomspace(stage.hot, stage.cold, stage.sweeps) * level
    first, other, affinity = edges(local)
    kernels.swap(
        sites, start, within, weight, _nearest_sites(sites, stage.near - 1), site_of, at, rows, field,
        first, other, stage.weight * affinity, choices, float(stage.reach**2), anchor, stage.hold * np.pi / n,
        temperatures, seed,
    )  # fmt: skip
    return np.asarray(sites[site_of])


def likeness(scores: Points) -> NDArray[np.float32]:
    """Give principal components unit rows, and their dot products, over random pairs, unit deviation."""
    rows = scores / np.maximum(np.linalg.norm(scores, axis=1, keepdims=True), 1e-30)
    a, b = np.random.default_rng(0).integers(len(rows), size=(2, 4000))
    dots = (rows[a] * rows[b]).sum(axis=1)[a != b]
    size = float(np.sqrt(dots.std())) if len(dots) else 1.0
    return np.ascontiguousarray(rows / (size or 1.0), dtype=np.float32)


def attract(points: Points, towards: tuple[Index, Any, Points], scale2: float, out: Points) -> None:
    """Write the mean way to neighbours at a length scale (see `kernels.attract`), by threads where it is long."""
    work = partial(kernels.attract, points, *towards, scale2, out)
    if len(points) < tiles.FEWEST:
        work(0, len(points))
    else:
        in_threads(work, len(points))


def edges(graph: sparse.csr_array) -> tuple[Index, NDArray[np.int32], Points]:
    """Return where each row starts, the columns and the values."""
    columns = graph.indices.astype(np.int32, copy=False)
    return graph.indptr.astype(np.int64), columns, graph.data.astype(np.float64, copy=False)


def _nearest_sites(sites: Points, k: int) -> Index:
    """Each site and its nearest, shape ``(n, k + 1)`` or fewer columns where there are fewer sites."""
    found = cKDTree(sites).query(sites, k=np.arange(1, min(k + 1, len(sites)) + 1))[1]
    return np.ascontiguousarray(found, dtype=np.int64)


def _kernel_graph(sites: Points, reach: float) -> tuple[Index, NDArray[np.int32], NDArray[np.float32]]:
    """Pairs of sites within reach with their weight ``(1 - r^2 / R^2)^3``."""
    tree = cKDTree(sites)
    pairs = tree.query_pairs(reach, output_type="ndarray")
    squares = ((sites[pairs[:, 0]] - sites[pairs[:, 1]]) ** 2).sum(axis=1)
    weight = (1 - squares / reach**2) ** 3
    index = (np.concatenate([pairs[:, 0], pairs[:, 1]]), np.concatenate([pairs[:, 1], pairs[:, 0]]))
    graph = sparse.csr_array((np.concatenate([weight, weight]), index), shape=(len(sites), len(sites)))
    graph.sort_indices()
    start, within, weights = edges(graph)
    return start, within, weights.astype(np.float32)
