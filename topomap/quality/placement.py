"""How neurons fill their region, and how group maps lie on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.sparse.csgraph import connected_components
from scipy.spatial import Delaunay, QhullError, Voronoi, cKDTree

from topomap.layout.regions import Region, shape_of
from topomap.layout.spread.few import evenness

Points = NDArray[np.float64]

#: Pixels per spacing, and bounds of pixels along each side, of the grid that coverage is counted on.
_PIXELS = 8
_FEWEST_PIXELS, _MOST_PIXELS = 256, 1_500

#: Points per spacing at which the border of the region is looked at, and the longest step between them.
_BORDER, _BORDER_STEP = 200, 1e-3

#: Neighbours looked at beyond the k nearest, for those just as near.
_BEYOND = 14

#: Differences of distances, in spacings, that are rounding.
_SAME = 1e-6

#: Distances in the frame that differ by less are the same.
_ROUNDING = 1e-9

#: Share of the neurons that make a map's blobs.
_TOP = 0.1


@dataclass(frozen=True, eq=False)
class Placement:
    """Places of live neurons in the part of a region that is left to them.

    Parameters
    ----------
    places
        Of the live neurons, shape ``(n_live, 2)``.
    region
        A name, a mask or a `Region`, as of `Layout`; ``"hull"`` is the convex hull of the live neurons.
    dead
        Places of dead neurons, shape ``(n_dead, 2)``. What is nearer to one of them than to any live neuron does not
        count as part of the region.
    """

    places: Points
    region: str | Region
    dead: Points = field(default_factory=lambda: np.zeros((0, 2)))

    @cached_property
    def shape(self) -> Region | None:
        """The whole region; None for a hull without inside."""
        return shape_of(self.region, self.places)

    @cached_property
    def area(self) -> float:
        """Area of the region without the part of the dead, which is counted on a grid; 0 for a hull without inside."""
        if self.shape is None:
            return 0.0
        if not len(self.dead):
            return self.shape.area
        counted = kept = 0
        for points in self._grid(float(np.sqrt(self.shape.area / (len(self.places) + len(self.dead))))):
            counted += len(points)
            kept += int(self._left(points).sum())
        return self.shape.area * kept / counted

    @cached_property
    def spacing(self) -> float:
        """Side of the square that each neuron would have: ``sqrt(area / n)``."""
        return float(np.sqrt(self.area / len(self.places)))

    @cached_property
    def _tree(self) -> cKDTree:
        return cKDTree(self._sites)

    @cached_property
    def _unique(self) -> tuple[Points, NDArray[np.int64]]:
        sites, which = np.unique(self.places, axis=0, return_inverse=True)
        return sites, which.ravel()

    @property
    def _sites(self) -> Points:
        return self._unique[0]

    @cached_property
    def _tree_of_dead(self) -> cKDTree:
        return cKDTree(self.dead)

    def _left(self, points: Points) -> NDArray[np.bool_]:
        """Which points are no nearer to a dead neuron than to a live one."""
        if not len(self.dead):
            return np.ones(len(points), dtype=bool)
        near, _ = self._tree.query(points)
        return np.asarray(near <= self._tree_of_dead.query(points)[0] + _ROUNDING)

    def _grid(self, spacing: float) -> Iterator[Points]:
        """Yield the points of a fine grid that lie in the whole region, some rows at a time."""
        assert self.shape is not None
        corners = np.concatenate(self.shape.outline)
        low, width = corners.min(axis=0), np.ptp(corners, axis=0)
        sides = np.clip(np.ceil(_PIXELS * width / spacing), _FEWEST_PIXELS, _MOST_PIXELS).astype(int)
        x, y = (low[i] + width[i] * (np.arange(sides[i]) + 0.5) / sides[i] for i in (0, 1))
        step = max(1, 200_000 // len(x))
        for start in range(0, len(y), step):
            points = np.stack(np.meshgrid(x, y[start : start + step]), axis=-1).reshape(-1, 2)
            yield points[self.shape.contains(points)]

    def coverage(self) -> float:
        """Share of the region within one spacing of a neuron, counted on a grid."""
        inside = covered = 0
        for grid in self._grid(self.spacing):
            points = grid[self._left(grid)]
            near, _ = self._tree.query(points, distance_upper_bound=self.spacing * (1 + _SAME))
            inside += len(points)
            covered += int(np.isfinite(near).sum())
        return covered / inside

    def hole(self) -> float:
        """Radius, in spacings, of the largest circle that is centred in the region and holds no neuron.

        The distance to the nearest neuron is largest at a corner of the Voronoi cells, of live and dead neurons where
        the part of the dead is left out, or on the border of the region. The border is looked at in small steps.
        """
        assert self.shape is not None
        border = self.shape.border(min(self.spacing / _BORDER, _BORDER_STEP))
        centers = np.concatenate([self._sites, border])
        sites = np.unique(np.concatenate([self._sites, self.dead]), axis=0)
        if len(sites) > 2:
            try:
                corners = Voronoi(sites).vertices
                centers = np.concatenate([centers, corners[self.shape.contains(corners)]])
            except QhullError:  # all on one line: their cells have no corners
                pass
        near, _ = self._tree.query(centers[self._left(centers)])
        return float(near.max() / self.spacing)

    def evenness(self) -> float:
        """Coefficient of variation of the distances to the nearest neuron; NaN if all are in one place."""
        return evenness(self.places)

    def neighbors(self, k: int) -> sparse.csr_array:
        """Weights of each neuron's k nearest, rows summing to 1; those equally near share what is left for them."""
        n = len(self.places)
        count = min(n, k + 1 + _BEYOND)
        near, index = cKDTree(self.places).query(self.places, k=count)
        other = index != np.arange(n)[:, None]
        other[other.all(axis=1), -1] = False  # among many at its own place it need not be found itself
        near, index = near[other].reshape(n, count - 1), index[other].reshape(n, count - 1)
        edge = near[:, [k - 1]]
        same = _SAME * float(np.sqrt(self.places.var(axis=0).sum() / n))
        closer, tied = near < edge - same, np.abs(near - edge) <= same
        weights = closer + tied * ((k - closer.sum(axis=1)) / tied.sum(axis=1))[:, None]
        rows = np.repeat(np.arange(n), count - 1)
        out = sparse.csr_array((weights.ravel() / k, (rows, index.ravel())), shape=(n, n))
        out.eliminate_zeros()
        return out

    def adjacency(self) -> sparse.csr_array:
        """Delaunay edges of at most two spacings between unique places."""
        sites = self._sites
        try:
            triangles = Delaunay(sites) if len(sites) > 2 else None
        except QhullError:
            triangles = None
        if triangles is None:  # on one line each place touches the next
            order = np.lexsort(sites.T[::-1])
            edges = np.column_stack([order[:-1], order[1:]])
        else:
            corners = triangles.simplices
            edges = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])
            edges = np.concatenate([edges, triangles.coplanar[:, [0, 2]]])  # left out for being almost at another
        length = np.linalg.norm(sites[edges[:, 0]] - sites[edges[:, 1]], axis=1)
        edges = edges[length <= 2 * self.spacing * (1 + _SAME)]
        return sparse.csr_array((np.ones(len(edges)), edges.T), shape=(len(sites), len(sites)))

    def moran(self, maps: Points, k: int) -> float:
        """Moran's I of maps of shape ``(n_maps, n)`` on the graph of k nearest neighbours, mean over maps."""
        varying = maps[_varies(maps)]
        if not len(varying):
            return float("nan")
        centred = varying - varying.mean(axis=1, keepdims=True)
        lagged = (self.neighbors(k) @ centred.T).T
        return float(np.mean((centred * lagged).sum(axis=1) / (centred**2).sum(axis=1)))

    def blobs(self, maps: Points) -> float:
        """Pieces that the top tenth of each map of shape ``(n_maps, n)`` falls into, mean over maps."""
        varying = maps[_varies(maps)]
        if not len(varying):
            return float("nan")
        graph, which = self.adjacency(), self._unique[1]
        n_top = max(1, round(_TOP * maps.shape[1]))
        counts = []
        for row in varying:
            sites = np.unique(which[np.argsort(-row, kind="stable")[:n_top]])
            counts.append(connected_components(graph[sites][:, sites], directed=False)[0])
        return float(np.mean(counts))


def _varies(maps: Points) -> NDArray[np.bool_]:
    return np.asarray(np.ptp(maps, axis=1) > 1e-9 * np.abs(maps).max(axis=1))
