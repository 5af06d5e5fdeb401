"""The steps of the filled layout: flow over the ground, snap to sites, exchange, relax."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import cKDTree

from topomap.layout.regions.lattice import bands
from topomap.layout.spread import kernels

if TYPE_CHECKING:
    from topomap.layout.spread import Stage
    from topomap.layout.spread.ground import Ground

Points = NDArray[np.float64]
Index = NDArray[np.int64]


#: How far the last relaxation takes a neuron from its site, and below which distance neurons repel, in spacings.
_LEASH, _REPEL = 0.42, 0.9


def flow(points: Points, ground: Ground, pull: sparse.csr_array, scales: NDArray[Any], bar: Any) -> None:
    """Move points, in place, by attraction at shrinking length scales, under pressure."""
    edges = _edges(pull)
    step = np.empty_like(points)
    ground.press(points, 20)
    for scale in scales:
        kernels.attract(points, *edges, scale * scale, step)
        points += step / 2
        ground.press(points)
        bar.update()
    ground.press(points, 20)


def snap(points: Points, sites: Points) -> Index:
    """Give every point a site of its own, close by: rows by y, then by x within rows, then pairwise exchange.

    Returns the site of each point, shape ``(n,)``.
    """
    n = len(points)
    site_of = np.empty(n, dtype=np.int64)
    by_row, bounds = bands(sites)
    rising = np.argsort(points[:, 1], kind="stable")
    for low, high in pairwise(bounds):
        strip = rising[low:high]
        site_of[strip[np.argsort(points[strip, 0], kind="stable")]] = by_row[low:high]
    if n > 2:
        at = np.empty(n, dtype=np.int64)
        at[site_of] = np.arange(n)
        kernels.exchange(points, sites, _nearest_sites(sites, 12)[:, 1:].copy(), site_of, at, 100)
    return site_of


def exchange(
    sites: Points,
    site_of: Index,
    scores: Points,
    local: sparse.csr_array,
    choices: Index,
    stage: Stage,
    seed: NDArray[np.uint64],
) -> None:
    """Run one stage of swaps, in place."""
    n = len(sites)
    rows = _standardised(scores)
    at = np.empty(n, dtype=np.int64)
    at[site_of] = np.arange(n)
    start, within, weight = _kernel_graph(sites, stage.reach)
    field = np.empty_like(rows)
    kernels.fields(sites, start, within, weight, at, rows, field)
    level = 0.3 * float(weight.sum()) / n
    temperatures = np.geomspace(stage.hot, stage.cold, stage.sweeps) * level
    first, other, affinity = _edges(local)
    kernels.swap(
        sites, start, within, weight, _nearest_sites(sites, stage.near - 1), site_of, at, rows, field,
        first, other, 10 * stage.gamma * affinity, choices, float(stage.reach**2), temperatures, seed,
    )  # fmt: skip


def relax(ground: Ground, site_of: Index, pull: sparse.csr_array, n_steps: int = 60) -> Points:
    """Let neurons give way to attraction and repulsion around their sites, those at the border along it."""
    home = ground.sites[site_of]
    points = home.copy()
    at = np.empty(len(home), dtype=np.int64)
    at[site_of] = np.arange(len(home))
    near = _nearest_sites(ground.sites, 18)
    edges = _edges(pull)
    drawn, pushed = np.empty_like(points), np.empty_like(points)
    slide = ground.along_border(home)
    for _ in range(n_steps):
        kernels.attract(points, *edges, 1.0, drawn)
        kernels.repel(points, near, at, site_of, _REPEL, pushed)
        away = points + 0.3 * drawn + pushed - home
        slide(away)
        length = np.linalg.norm(away, axis=1)
        far = length > _LEASH
        away[far] *= (_LEASH / length[far])[:, None]
        points = home + away
    ground.clamp(points)
    return points


def _edges(graph: sparse.csr_array) -> tuple[Index, Index, Points]:
    return graph.indptr.astype(np.int64), graph.indices.astype(np.int64), graph.data.astype(np.float64)


def _nearest_sites(sites: Points, k: int) -> Index:
    """Each site and its nearest, shape ``(n, k + 1)`` or fewer columns where there are fewer sites."""
    found = cKDTree(sites).query(sites, k=np.arange(1, min(k + 1, len(sites)) + 1))[1]
    return np.ascontiguousarray(found, dtype=np.int64)


def _kernel_graph(sites: Points, reach: float) -> tuple[Index, Index, NDArray[np.float32]]:
    """Pairs of sites within reach with their weight ``(1 - r^2 / R^2)^3``."""
    tree = cKDTree(sites)
    pairs = tree.query_pairs(reach, output_type="ndarray")
    squares = ((sites[pairs[:, 0]] - sites[pairs[:, 1]]) ** 2).sum(axis=1)
    weight = (1 - squares / reach**2) ** 3
    index = (np.concatenate([pairs[:, 0], pairs[:, 1]]), np.concatenate([pairs[:, 1], pairs[:, 0]]))
    graph = sparse.csr_array((np.concatenate([weight, weight]), index), shape=(len(sites), len(sites)))
    graph.sort_indices()
    start, within, weights = _edges(graph)
    return start, within, weights.astype(np.float32)


def _standardised(scores: Points) -> NDArray[np.float32]:
    """Scale components so that dot products of random pairs have unit deviation."""
    a, b = np.random.default_rng(0).integers(len(scores), size=(2, 4000))
    dots = (scores[a] * scores[b]).sum(axis=1)[a != b]
    size = float(np.sqrt(dots.std())) if len(dots) else 1.0
    return np.ascontiguousarray(scores / (size or 1.0), dtype=np.float32)
