"""Planted truth: clusters, a ring of tuned neurons, a sheet. What was planted must come out, for every seed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

import topomap as tm
from topomap.quality.placement import Placement

Points = NDArray[np.float64]


def sheet(seed: int, region: str) -> dict[str, float]:
    """Neurons on a square sheet, tuned to inputs near their place: rank correlation of distances on sheet and map."""
    rng = np.random.default_rng(seed)
    place = (np.stack(np.meshgrid(np.arange(20), np.arange(20)), -1).reshape(-1, 2) + 0.5) / 20
    place = rng.permutation(place)
    inputs = rng.random((1500, 2)) * 1.4 - 0.2
    squares = ((inputs[:, None] - place) ** 2).sum(-1)
    values = np.exp(-squares / (2 * 0.15**2)) + 0.01 * rng.normal(size=squares.shape)
    positions = tm.embed(tm.correlate(values), region=region, seed=seed).positions
    return {"value": float(spearmanr(pdist(place), pdist(positions)).statistic)}


def ring(seed: int, region: str) -> dict[str, float]:
    """Neurons tuned to angles: circular correlation of tuning and polar angle, and length of their mean difference."""
    rng = np.random.default_rng(seed)
    tuning = rng.permutation(np.arange(400) * 2 * np.pi / 400)
    stimulus = rng.random(1000) * 2 * np.pi
    values = np.exp(2 * np.cos(stimulus[:, None] - tuning)) + 0.1 * rng.normal(size=(1000, 400))
    positions = tm.embed(tm.correlate(values), region=region, seed=seed).positions
    polar = np.arctan2(positions[:, 1], positions[:, 0])
    resultant = max(abs(np.exp(1j * (polar - sign * tuning)).mean()) for sign in (1, -1))
    return {"value": abs(circular_correlation(tuning, polar)), "resultant": float(resultant)}


def clusters(seed: int, region: str) -> dict[str, float]:
    """Clusters of unequal size: pieces per cluster, mean and most, and the smallest share in a largest piece."""
    rng = np.random.default_rng(seed)
    kind = rng.permutation(np.repeat(np.arange(8), (100, 80, 60, 50, 40, 30, 25, 15)))
    values = rng.normal(size=(500, 8))[:, kind] + 0.5 * rng.normal(size=(500, len(kind)))
    positions = tm.embed(tm.correlate(values), region=region, seed=seed).positions
    graph = Placement(positions, region).adjacency()
    order = np.lexsort(positions.T[::-1])  # the graph's places are sorted by x, then y
    pieces, shares = [], []
    for cluster in range(8):
        members = np.flatnonzero(kind[order] == cluster)
        count, piece = connected_components(graph[members][:, members], directed=False)
        pieces.append(count)
        shares.append(np.bincount(piece).max() / len(members))
    return {"value": float(np.mean(pieces)), "most": float(max(pieces)), "share": float(min(shares))}


def circular_correlation(a: Points, b: Points) -> float:
    """Return the circular correlation of Fisher and Lee (1983, doi 10.1093/biomet/70.2.327)."""

    def squared(n: int, angle: Points) -> float:
        return float(n**2 - np.cos(2 * angle).sum() ** 2 - np.sin(2 * angle).sum() ** 2)

    cc, ss = (np.cos(a) * np.cos(b)).sum(), (np.sin(a) * np.sin(b)).sum()
    cs, sc = (np.cos(a) * np.sin(b)).sum(), (np.sin(a) * np.cos(b)).sum()
    return float(4 * (cc * ss - cs * sc) / np.sqrt(squared(len(a), a) * squared(len(b), b)))


PLANTED = {"sheet": sheet, "ring": ring, "clusters": clusters}
