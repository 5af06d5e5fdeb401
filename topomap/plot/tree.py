"""Maps at the leaves of a dendrogram."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from topomap.plot import style
from topomap.plot.grid import GAP, LINE, MARGIN, Grid, Page, Panel
from topomap.plot.text import title_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Least and largest side of a map in inches, and the height that the maps share where they stand below each other.
_LEAST, _LARGEST, _SHARED = 0.52, 1.1, 8.0

#: Length of the dendrogram from leaves to root, and room for its ticks and label.
_LONG, _SCALE = 0.85, 0.36


def choose_tree(n: int, width: Literal["single", "double"] | float | None) -> tuple[float, bool]:
    """Return the figure's width in inches, and whether maps stand beside each other, as where they are large enough."""
    fits = {name: (inches - 2 * MARGIN - _SCALE) / n >= _LEAST + GAP / 2 for name, inches in style.WIDTHS.items()}
    if width is None:
        width = "single" if fits["single"] or not fits["double"] else "double"
    inches = style.figure_width(width)
    return inches, (inches - 2 * MARGIN - _SCALE) / n >= _LEAST + GAP / 2


def make_tree(
    linkage: NDArray[np.float64],
    titles: Sequence[tuple[str, str]],
    colors: Sequence[str],
    *,
    width: float,
    across: bool,
    caption: str,
    bar: bool,
) -> Grid:
    """Lay the figure out, the dendrogram above the maps or left of them.

    Parameters
    ----------
    linkage
        SciPy's linkage matrix, its leaves numbered in any order.
    titles, colors
        ``(name, note)`` per map and its colour, in the order of the leaves.
    width, across
        As `choose_tree` found.
    caption, bar
        As of `make_grid`.
    """
    n = len(titles)
    if across:
        slot = (width - 2 * MARGIN - _SCALE) / n
        side = min(slot - GAP / 2, _LARGEST)
        slot = side + GAP / 2
        left = (width - _SCALE - n * slot) / 2 + _SCALE
        texts = [title_lines(name, note, side * 72 - 2, style.TITLE) for name, note in titles]
        tall = max(len(lines) for lines in texts) * LINE + 0.03
        page = Page(width, 0.08 + _LONG + 0.05 + tall + side, caption, bar)
        _draw_tree(page.axes(left, 0.08, n * slot, _LONG), linkage, n, across)
        y = 0.08 + _LONG + 0.05
        panels = []
        for i, (lines, color) in enumerate(zip(texts, colors, strict=True)):
            x = left + i * slot + GAP / 4
            middle = {"ha": "center", "va": "top", "linespacing": 1.15}
            page.write(x + side / 2, y, "\n".join(lines), style.TITLE, color, **middle)
            panels.append(Panel(page.axes(x, y + tall, side, side)))
    else:
        side = float(np.clip(_SHARED / n - GAP / 2, 0.36, 0.7))
        slot = side + GAP / 2
        beside = min(1.1, 0.35 * width)
        long = width - 2 * MARGIN - side - beside - 0.12
        most = max(1, int(side / LINE))
        page = Page(width, 0.06 + n * slot + _SCALE, caption, bar)
        _draw_tree(page.axes(MARGIN + 0.04, 0.06, long, n * slot), linkage, n, across)
        x = MARGIN + 0.04 + long + 0.04
        panels = []
        for i, ((name, note), color) in enumerate(zip(titles, colors, strict=True)):
            y = 0.06 + i * slot + GAP / 4
            lines = title_lines(name, note, beside * 72 - 4, style.TITLE, most=min(most, 3))
            aside = {"ha": "left", "va": "center", "linespacing": 1.15}
            page.write(x + side + 0.05, y + side / 2, "\n".join(lines), style.TITLE, color, **aside)
            panels.append(Panel(page.axes(x, y, side, side)))
    return Grid(page.figure, panels, page.finish())


def _draw_tree(ax: Axes, linkage: NDArray[np.float64], n: int, across: bool) -> None:
    """Draw the branches, the leaves towards the maps, and the scale of distances."""
    from matplotlib.collections import LineCollection
    from matplotlib.ticker import MaxNLocator
    from scipy.cluster.hierarchy import dendrogram

    top = 1.0
    if n > 1:
        drawn: dict[str, Any] = dendrogram(linkage, no_plot=True)
        places, heights = np.array(drawn["icoord"]) / 10, np.array(drawn["dcoord"])  # leaf i lies at i + 1/2
        pairs = (places, heights) if across else (heights, places)
        lines = LineCollection(list(np.stack(pairs, axis=-1)), colors=style.INK, linewidths=0.8, capstyle="projecting")
        ax.add_collection(lines, autolim=False)
        lines.set_clip_on(False)
        top = float(heights.max()) or 1.0
    if across:
        ax.set(xlim=(0, n), ylim=(0, 1.04 * top), xticks=[])
    else:
        ax.set(ylim=(n, 0), xlim=(1.04 * top, 0), yticks=[])
    axis = ax.yaxis if across else ax.xaxis
    axis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
    axis.set_tick_params(labelsize=style.SMALL, width=0.5, length=2, pad=1.5, colors=style.INK)
    axis.set_label_text("cosine distance", fontsize=style.SMALL, color=style.QUIET)
    axis.labelpad = 2
    for name, spine in ax.spines.items():
        spine.set_visible(name == ("left" if across else "bottom"))
        spine.set(linewidth=0.5, edgecolor=style.INK)
