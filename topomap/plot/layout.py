"""Neurons as dots."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import instance_of
from topomap.layout import Layout
from topomap.layout.regions import shape_of
from topomap.plot import style
from topomap.plot.panel import as_mask, check_values, draw_bar, make_room, new_axes, outline_of, points_across
from topomap.plot.text import text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap

#: Integer values with at most so many distinct ones are taken for clusters.
MOST_CATEGORIES = 40

#: Entries of a legend below each other.
PER_COLUMN = 18


def plot_layout(
    layout: Layout,
    values: Any | None = None,
    *,
    ax: Axes | None = None,
    limits: style.Limits = None,
    cmap: str | Colormap | None = None,
    names: Sequence[str] | None = None,
    mask: Any | None = None,
    outline: bool = True,
    size: float | None = None,
    colorbar: bool = True,
    legend: bool = True,
    label: str = "value",
    title: str | None = None,
) -> Axes:
    """Draw neurons as dots at their places, coloured by a value or by the cluster they belong to.

    Parameters
    ----------
    layout
        Where the neurons are. Dead neurons are hollow and grey.
    values
        One per neuron, shape ``(n_neurons,)``. Floats are drawn on a colour scale (sequential where all are >= 0,
        diverging about 0 otherwise); integers, booleans and strings are clusters, integers below 0 belonging to none.
    ax
        Axes to draw into, which are narrowed to make room for the colour bar or the legend; by default those of a new
        figure, one column wide.
    limits, cmap, mask
        As of `plot_topomap`.
    names
        Names of the clusters 0, 1, ... for the legend.
    outline
        Whether to draw the border of the layout's region.
    size
        Diameter of a dot in points; by default it follows the number of neurons.
    colorbar, legend
        Whether to draw the colour bar, or the legend of clusters.
    label
        What the values are, with their unit; or what the clusters are.
    title
        A title.

    Returns
    -------
    matplotlib.axes.Axes
        With the live neurons as ``ax.collections[0]``.

    Raises
    ------
    ValueError
        If values do not fit the layout or are not finite, or there are too many clusters to tell apart.

    Examples
    --------
    >>> layout = Layout(positions=[[-1, -1], [1, -1], [1, 1], [-1, 1]], region="square")
    >>> ax = plot_layout(layout, ["a", "b", "a", "b"], label="cluster")
    >>> [text.get_text() for text in ax.get_legend().get_texts()]
    ['a', 'b']
    """
    instance_of("layout", layout, Layout, "The layout comes first, then values: tm.plot_layout(layout, values).")
    kinds = None if values is None else np.asarray(values)
    grouped = kinds is not None and kinds.dtype.kind in "iubUSTO"
    array = None if grouped or kinds is None else check_values(layout, kinds)
    codes, labels = _clusters(layout, kinds, names) if grouped and kinds is not None else (None, [])
    marked = None if mask is None else as_mask(mask, layout.n_neurons)
    beside = _legend_width(labels, label) if codes is not None and legend else 0.65 * (colorbar and array is not None)
    if ax is None:
        ax = new_axes(beside, title is not None)
    else:
        make_room(ax, beside)
    frame = 1.06
    ax.set(xlim=(-frame, frame), ylim=(-frame, frame), aspect="equal", xticks=[], yticks=[])
    ax.set_axis_off()
    live, (x, y) = ~layout.dead, layout.positions.T
    shape = shape_of(layout.region)
    side = 1 if shape is None else min(1.0, float(np.sqrt(shape.area / np.pi)))  # of what a disc has
    spacing = side * points_across(ax) / np.sqrt(max(layout.n_neurons, 1))
    diameter = float(np.clip(0.6 * spacing, 1.2, 5.5)) if size is None else float(size)
    common: dict[str, Any] = {"s": diameter**2, "linewidths": 0.3 if diameter > 3 else 0, "zorder": 3, "clip_on": False}
    if outline:
        from matplotlib.patches import PathPatch

        path = outline_of(layout)
        ax.add_patch(PathPatch(path, facecolor="none", edgecolor=style.DEAD, linewidth=0.6, zorder=1, clip_on=False))
    if codes is None and array is None:
        ax.scatter(x[live], y[live], c=style.INK, edgecolors="none", **common)
    elif codes is not None:
        colors = np.array([*style.categorical(len(labels)), "#dddddd"])
        ax.scatter(x[live], y[live], c=colors[codes[live]], edgecolors=style.INK, **common)
        if legend:
            _legend(ax, labels, colors, label, bool((codes[live] < 0).any()))
    elif array is not None:
        scale = style.scale(array, limits, cmap, live=live)
        # White dots on white paper would be lost: the thin edge keeps them.
        dots = ax.scatter(
            x[live], y[live], c=array[live], cmap=scale.cmap, norm=scale.norm, edgecolors=style.INK, **common
        )
        if colorbar:
            cax = ax.inset_axes((1.05, 0.1, 0.045, 0.8))
            draw_bar(ax.figure, cax, dots, scale, label, orientation="vertical")
    if layout.dead.any():
        hollow = {**common, "s": (0.8 * diameter) ** 2, "linewidths": 0.5}
        ax.scatter(x[~live], y[~live], facecolors="none", edgecolors=style.DEAD, **hollow)
    if marked is not None:
        ring = {**common, "s": (1.5 * diameter) ** 2, "linewidths": 0.8, "zorder": 4}
        ax.scatter(x[marked], y[marked], facecolors="none", edgecolors=style.INK, **ring)
    if title is not None:
        ax.set_title(title, fontsize=style.TITLE + 1, color=style.INK, pad=3)
    return ax


def _clusters(layout: Layout, kinds: NDArray[Any], names: Sequence[str] | None) -> tuple[NDArray[np.int64], list[str]]:
    """Return each neuron's cluster as a code (-1: none) and the clusters' names."""
    if kinds.shape != (layout.n_neurons,):
        raise ValueError(
            f"values must have shape (n_neurons,) with the layout's {layout.n_neurons} neurons; got {kinds.shape}."
        )
    none = kinds < 0 if kinds.dtype.kind == "i" else np.zeros(len(kinds), dtype=bool)
    found, inverse = np.unique(
        kinds[~none].astype(str) if kinds.dtype.kind in "OST" else kinds[~none], return_inverse=True
    )
    if len(found) > MOST_CATEGORIES:
        raise ValueError(
            f"values hold {len(found)} clusters, more than the {MOST_CATEGORIES} that colours can tell apart: "
            "pass floats for a colour scale, or merge clusters."
        )
    codes = np.full(len(kinds), -1, dtype=np.int64)
    codes[~none] = inverse
    if names is None:
        return codes, [str(name) for name in found]
    if kinds.dtype.kind not in "iub" or (len(found) and int(found[-1]) >= len(names)):
        raise ValueError(f"names must name the clusters 0 to {found[-1] if len(found) else 0}; got {len(names)} names.")
    return codes, [str(names[int(code)]) for code in found]


def _legend_width(labels: list[str], title: str) -> float:
    """Return the room in inches that the legend takes."""
    widest = max((text_width(name, style.LABEL) for name in labels), default=0)
    columns = -(-(len(labels) + 1) // PER_COLUMN)
    return max(columns * (widest + 20), text_width(title, style.LABEL)) / 72 + 0.15


def _legend(ax: Axes, labels: list[str], colors: NDArray[Any], title: str, rest: bool) -> None:
    from matplotlib.lines import Line2D

    entries = [*zip(labels, colors, strict=False), *([("none", colors[-1])] if rest else [])]
    marks = [
        Line2D([], [], marker="o", linestyle="", markersize=4, color=c, markeredgecolor=style.INK, markeredgewidth=0.3)
        for _, c in entries
    ]
    box = ax.legend(
        marks,
        [name for name, _ in entries],
        title=title if title != "value" else None,
        loc="center left",
        bbox_to_anchor=(1.01, 0.5),
        frameon=False,
        fontsize=style.LABEL,
        title_fontsize=style.LABEL,
        handletextpad=0.2,
        labelspacing=0.35,
        borderpad=0,
        ncols=-(-len(entries) // PER_COLUMN),
        columnspacing=0.8,
    )
    for text in box.get_texts():
        text.set_parse_math(False)
