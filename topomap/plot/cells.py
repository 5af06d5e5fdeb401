"""The cells of neurons: the part of the plane that is nearer to one neuron than to any other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap.layout import Layout
from topomap.similarity import Similarity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.path import Path

#: Closes the cells at the rim of the frame.
_FAR = 4 * np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])


def draw_dead_cells(ax: Axes, layout: Layout, border: Path, color: str) -> None:
    """Cover what was painted into the cells of dead neurons, where nothing was measured."""
    from matplotlib.collections import PolyCollection
    from scipy.spatial import Voronoi

    places, which = np.unique(layout.positions, axis=0, return_inverse=True)
    alive = np.bincount(which, weights=~layout.dead) > 0  # a live neuron at the same place was measured
    cells = Voronoi(np.vstack([places, _FAR]))
    regions = [cells.regions[cells.point_region[i]] for i in np.flatnonzero(~alive)]
    corners = [cells.vertices[region] for region in regions if -1 not in region]
    collection = PolyCollection(corners, facecolors=color, edgecolors=color, linewidths=0.3, zorder=2.2)
    ax.add_collection(collection, autolim=False)
    collection.set_clip_path(border, ax.transData)


def draw_borders(ax: Axes, layout: Layout, border: Path, similarity: Similarity, width: float) -> None:
    """Draw the cell walls between neighbouring neurons, the darker the less alike the two neurons are.

    Walls between neighbours that are more alike than the median pair of neighbours are left out. The idea is the
    U-matrix of self-organising maps (Ultsch and Siemon 1990), which draws these distances as grey levels.
    """
    from matplotlib.collections import LineCollection
    from scipy.spatial import Voronoi

    places, first = np.unique(layout.positions[layout.live], axis=0, return_index=True)
    if len(places) < 2:
        return
    neurons = layout.live[first]
    cells = Voronoi(np.vstack([places, _FAR]))
    pairs = np.asarray(cells.ridge_points)
    finite = np.array([len(ridge) == 2 and min(ridge) >= 0 for ridge in cells.ridge_vertices])
    inner = np.flatnonzero(finite & (pairs < len(places)).all(axis=1))
    lines = cells.vertices[[cells.ridge_vertices[i] for i in inner]]
    distance = _distances(similarity, neurons[pairs[inner]])
    middle, high = np.quantile(distance, [0.5, 0.98])
    strength = np.clip((distance - middle) / max(high - middle, 1e-12), 0, 1)
    drawn = strength > 0
    color = np.zeros((int(drawn.sum()), 4))
    color[:, 3] = strength[drawn]
    collection = LineCollection(list(lines[drawn]), colors=color, linewidths=width, zorder=2.5, capstyle="round")
    ax.add_collection(collection, autolim=False)
    collection.set_clip_path(border, ax.transData)


def _distances(similarity: Similarity, pairs: NDArray[Any]) -> NDArray[np.float64]:
    if similarity.coactivity is not None:
        product = similarity.coactivity.pairs(pairs[:, 0], pairs[:, 1]).astype(np.float64)
        return np.asarray(1 - (np.abs(product) if similarity.absolute else product))
    if similarity.features is None:
        return np.asarray(similarity.distance()[pairs[:, 0], pairs[:, 1]], dtype=np.float64)
    one, other = similarity.features[pairs[:, 0]], similarity.features[pairs[:, 1]]
    if similarity.metric == "euclidean":
        return np.asarray(np.linalg.norm(one - other, axis=1), dtype=np.float64)
    product = np.einsum("ij,ij->i", one, other, dtype=np.float64)
    return np.asarray(1 - (np.abs(product) if similarity.absolute else product))
