"""A figure of many maps: pictures and titles above them, one colour bar and a caption below; placed in inches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import whole_number
from topomap.plot import style
from topomap.plot.text import text_width, title_lines, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Margin of the figure and room between maps in inches, and the largest side of a map.
MARGIN, GAP, LARGEST = 0.08, 0.09, 2.6

#: Height of a line of a title and of small text in inches.
LINE, SMALL_LINE = style.TITLE * 1.2 / 72, style.SMALL * 1.2 / 72

#: From this width on in inches, what goes with the maps stands beside and not below or above each other.
WIDE = 5.0

#: Thickness of the colour bar, and the colour of lines that separate.
_BAR, _RULE = 0.09, "#dcdcdc"


class Page:
    """A figure laid out in inches from its top left corner, with the colour bar and the caption at its foot.

    Parameters
    ----------
    width
        Of the figure.
    body
        Height of what is above the foot.
    caption
        Broken into lines.
    bar
        Whether there is a colour bar.
    """

    def __init__(self, width: float, body: float, caption: str, bar: bool) -> None:
        import matplotlib.pyplot as plt

        foot, self._lines, self._beside = _foot(width, caption, bar)
        self.width, self.height = width, body + foot
        self._top, self._has_bar = body + 0.1, bar
        self.figure: Figure = plt.figure(figsize=(self.width, self.height))

    def finish(self) -> Axes | None:
        """Write the caption; return the axes of the colour bar."""
        bar, top = None, self._top
        if self._has_bar:
            length = min(2.3, 0.42 * self.width) if self._beside else min(2.6, self.width - 0.6)
            start = self.width - MARGIN - 0.12 - length if self._beside else (self.width - length) / 2
            bar = self.axes(start, top + 0.12, length, _BAR)
            top += 0.0 if self._beside else 0.68
        small = {"ha": "left", "va": "top", "linespacing": 1.2}
        self.write(MARGIN, top, "\n".join(self._lines), style.SMALL, style.QUIET, **small)
        return bar

    def axes(self, x: float, y: float, w: float, h: float) -> Axes:
        """Add axes whose top left corner is there."""
        place = (x / self.width, 1 - (y + h) / self.height, w / self.width, h / self.height)
        return self.figure.add_axes(place)

    def write(self, x: float, y: float, text: str, size: float, color: str, **options: Any) -> None:
        """Write at a place."""
        from topomap.plot.placed import place_text

        place = (x / self.width, 1 - y / self.height)
        place_text(self.figure, *place, text, fontsize=size, color=color, **options)

    def dot(self, x: float, y: float, color: str) -> None:
        """Draw a dot as large as a letter."""
        from matplotlib.lines import Line2D

        place = ([x / self.width], [1 - y / self.height])
        mark = Line2D(*place, marker="o", markersize=4.5, color=color, markeredgewidth=0, linestyle="none")
        self.figure.add_artist(mark)

    def rule(self, x0: float, y0: float, x1: float, y1: float | None = None) -> None:
        """Draw a faint line, level unless it is told where to end."""
        from matplotlib.lines import Line2D

        ends = ([x0 / self.width, x1 / self.width], [1 - y / self.height for y in (y0, y0 if y1 is None else y1)])
        self.figure.add_artist(Line2D(*ends, color=_RULE, linewidth=0.5, solid_capstyle="butt", zorder=0))


@dataclass(frozen=True)
class Panel:
    """The axes of one map and of the picture above it."""

    map: Axes
    picture: Axes | None = None


@dataclass(frozen=True)
class Grid:
    """A figure with its panels, the axes of its colour bar, and those beside the maps."""

    figure: Figure
    panels: list[Panel]
    bar: Axes | None
    aside: Axes | None = None


def choose_columns(n: int, width: float, columns: int | None) -> int:
    """Return the number of columns: as few rows as panels of a legible size allow, filled evenly."""
    if columns is not None:
        return min(whole_number("columns", columns, 1), n)
    least = 0.95 if n <= 24 else 0.78
    most = max(1, int((width - 2 * MARGIN + GAP) / (least + GAP)))
    rows = -(-n // most)
    return -(-n // rows)


def choose_width(width: str | float | None, n: int) -> float:
    """Return the figure's width in inches; up to three panels fit into one column of a page."""
    if width is None:
        width = "single" if n <= 3 else "double"
    return style.figure_width(width)


def make_grid(
    titles: Sequence[tuple[str, str]],
    *,
    width: float,
    columns: int,
    pictures: bool,
    words: Sequence[str] | None = None,
    caption: str,
    bar: bool,
    colors: Sequence[str] | None = None,
    marks: Sequence[str] | None = None,
    aside: float = 0.0,
) -> Grid:
    """Lay the figure out and write its titles, texts and caption.

    Parameters
    ----------
    titles
        ``(name, note)`` per panel.
    width, columns
        Width of the figure in inches, and panels per row.
    pictures
        Whether there is a picture above each map.
    words
        One text per panel instead of pictures.
    caption
        Written at the foot, broken into lines.
    bar
        Whether there is a colour bar.
    colors
        Of the titles.
    marks
        Colours of dots before the titles.
    aside
        Side of a square left of the maps, or above them where the figure is narrow, in inches; 0 for none.
    """
    n = len(titles)
    rows = -(-n // columns)
    left_of = aside if width >= WIDE else 0.0
    first = left_of + 2 * GAP if left_of else 0.0
    side = min((width - first - 2 * MARGIN - (columns - 1) * GAP) / columns, LARGEST)
    left = first + (width - first - columns * side - (columns - 1) * GAP) / 2
    spare = 2 if marks is None else 18
    texts = [title_lines(name, note, side * 72 - spare, style.TITLE) for name, note in titles]
    tall = max(len(lines) for lines in texts) * LINE + 0.03
    quotes = [_quote(text, side * 72) for text in words] if words is not None else []
    quote = max((len(lines) for lines in quotes), default=0) * SMALL_LINE + (0.04 if quotes else 0)
    picture = min(0.42 * side, 0.6) if pictures else 0.0
    row = tall + quote + (picture + 0.05 if pictures else 0) + side
    maps = rows * row + (rows - 1) * GAP
    above_them = aside + 2 * GAP if aside > left_of else 0.0
    page = Page(width, 0.04 + above_them + max(maps, left_of), caption, bar)
    top = 0.04 + above_them + max(0.0, left_of - maps) / 2
    panels = []
    for i in range(n):
        across, down = i % columns, i // columns
        x, y = left + across * (side + GAP), top + down * (row + GAP)
        color = style.INK if colors is None else colors[i]
        middle = {"ha": "center", "va": "bottom", "linespacing": 1.15}
        weight = "bold" if color == style.WRONG else "normal"
        page.write(x + side / 2, y + tall - 0.03, "\n".join(texts[i]), style.TITLE, color, fontweight=weight, **middle)
        if marks is not None:
            start = x + side / 2 - text_width(texts[i][0], style.TITLE) / 144 - 0.075
            page.dot(start, y + tall - 0.03 - (len(texts[i]) - 0.5) * LINE, marks[i])
        y += tall
        if quotes:
            quoted = {"style": "italic", **middle}
            page.write(x + side / 2, y + quote - 0.04, "\n".join(quotes[i]), style.SMALL, style.QUIET, **quoted)
            y += quote
        above = None
        if pictures:
            above = page.axes(x + (side - picture) / 2, y, picture, picture)
            y += picture + 0.05
        panels.append(Panel(page.axes(x, y, side, side), above))
    square = None
    if aside:
        start = MARGIN if left_of else (width - aside) / 2
        square = page.axes(start, 0.04 + max(0.0, maps - left_of) / 2 * bool(left_of), aside, aside)
    return Grid(page.figure, panels, page.finish(), square)


def _foot(width: float, caption: str, bar: bool) -> tuple[float, list[str], bool]:
    """Return the height of the foot, the caption's lines, and whether the bar stands beside them."""
    beside = bar and width >= WIDE
    room = width - 2 * MARGIN - (min(2.3, 0.42 * width) + 0.45 if beside else 0)
    lines = wrap(caption, 0.96 * room * 72, style.SMALL)
    text = len(lines) * SMALL_LINE
    if not bar:
        return text + 0.16, lines, False
    return (max(text + 0.16, 0.74), lines, True) if beside else (0.68 + text + 0.16, lines, False)


def _quote(text: str, width: float, most: int = 3) -> list[str]:
    lines = wrap(text, width, style.SMALL)
    if len(lines) <= most:
        return lines
    return [*lines[: most - 1], wrap(lines[most - 1], width - text_width("...", style.SMALL), style.SMALL)[0] + "..."]


def show_picture(ax: Axes, picture: NDArray[Any], color: str | None = None) -> None:
    """Draw a thumbnail in a thin frame."""
    paint_picture(ax, picture)
    ax.set(xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(**frame(color))


def paint_picture(ax: Axes, picture: NDArray[Any], **options: Any) -> None:
    """Draw a thumbnail, grey where it has no colour channels."""
    array = np.asarray(picture)
    if array.ndim == 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim == 2:
        top = 255 if array.dtype == np.uint8 else None
        ax.imshow(array, cmap="gray", vmin=0 if top else None, vmax=top, interpolation="nearest", **options)
    else:
        ax.imshow(array, interpolation="antialiased", **options)


def frame(color: str | None = None) -> dict[str, Any]:
    """Return how thumbnails are framed, thicker in a colour of their own."""
    return {"linewidth": 0.4 if color is None else 1.4, "edgecolor": style.DEAD if color is None else color}


def arrows(values: NDArray[Any], scale: style.Scale) -> str:
    """Return what the arrows of the colour bar mean, for captions."""
    share = float(np.mean((values < scale.low) | (values > scale.high)))
    shown = f"{share:.1%}" if share >= 0.0005 else "less than 0.1%"
    return f"Arrows: {shown} of the values lie beyond the scale"


def describe(layer: str, reduce: str) -> str:
    """Return ``Layer conv2 (reduction: mean)`` for captions."""
    return f"Layer {layer}" + (f" (reduction: {reduce})" if reduce != "none" else "")


def neurons(n: int, dead: int, drawn: bool) -> str:
    """Return ``64 neurons, 3 dead (grey)``."""
    return f"{n:,} neuron{'s' * (n != 1)}" + (f", {dead:,} dead" + " (grey)" * drawn if dead else "")
