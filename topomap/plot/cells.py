"""The cells of neurons: the part of the plane that is nearer to one neuron than to any other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap.layout import Layout
from topomap.plot import style
from topomap.similarity import Similarity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.path import Path

#: Closes the cells at the rim of the frame.
_FAR = 4 * np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])


def draw_dead_cells(ax: Axes, layout: Layout, border: Path) -> None:
    """Cover what was painted into the cells of dead neurons, where nothing was measured."""
    from matplotlib.collections import PolyCollection
    from scipy.spatial import Voronoi

    places, which = np.unique(layout.positions, axis=0, return_inverse=True)
    alive = np.bincount(which, weights=~layout.dead) > 0  # a live neuron at the same place was measured
    cells = Voronoi(np.vstack([places, _FAR]))
    regions = [cells.regions[cells.point_region[i]] for i in np.flatnonzero(~alive)]
    corners = [cells.vertices[region] for region in regions if -1 not in region]
    grey = style.DEAD_CELL
    collection = PolyCollection(corners, facecolors=grey, edgecolors=grey, linewidths=0.3, zorder=2.2)
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


def draw_outlines(
    ax: Axes, layout: Layout, border: Path, marked: Sequence[tuple[int, NDArray[np.int64]]], fine: int = 400
) -> None:
    """Draw a line around the cells of each set of neurons, with its number inside unless that is 0.

    The line follows the walls of the cells, and the border of the region where a cell reaches it.
    """
    from matplotlib.patheffects import withStroke
    from scipy.ndimage import gaussian_filter
    from scipy.spatial import cKDTree

    if not marked:
        return
    steps = (2 * np.arange(fine) + 1) / fine - 1
    x, y = np.meshgrid(steps, steps)
    points = np.column_stack([x.ravel(), y.ravel()])
    nearest = cKDTree(layout.positions).query(points)[1]
    inside = np.isin(nearest, np.concatenate([neurons for _, neurons in marked]))
    inside[inside] = border.contains_points(points[inside])
    for number, neurons in marked:
        member = np.zeros(layout.n_neurons)
        member[neurons] = 1
        field = np.where(inside, member[nearest], 0.0).reshape(fine, fine)
        field = gaussian_filter(np.pad(field, 4), 1.5)  # rounds the pixels' stairs; beyond the frame is outside
        wide = np.concatenate(
            [steps[0] - 2 / fine * np.arange(4, 0, -1), steps, steps[-1] + 2 / fine * np.arange(1, 5)]
        )
        if field.max() <= 0.5:
            continue
        lines = ax.contour(wide, wide, field, levels=[0.5], colors=style.INK, linewidths=0.9, zorder=4.5)
        lines.set_path_effects([withStroke(linewidth=2.0, foreground="white", alpha=0.8)])
        if number:
            centre = layout.positions[neurons].mean(axis=0)
            at = layout.positions[neurons[np.argmin(np.linalg.norm(layout.positions[neurons] - centre, axis=1))]]
            options: dict[str, Any] = {"fontsize": style.SMALL, "color": style.INK, "ha": "center", "va": "center"}
            text = ax.text(float(at[0]), float(at[1]), str(number), zorder=6, **options)
            text.set_path_effects([withStroke(linewidth=1.6, foreground="white")])


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
