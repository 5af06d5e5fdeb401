"""The page of a film: everything that stands still, drawn once, and where what moves goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap.plot import style
from topomap.plot.curves import draw_curves
from topomap.plot.text import text_width, wrap
from topomap.training import StepQuality

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.path import Path

#: Points of the title of the film; all other sizes are those of figures.
HEAD = 9.0

#: What stands under the colour bar in its smallest type.
_WIDEST = "(standard deviations of each neuron)"

#: Dots per inch at 1280 x 720 (letters of 12 to 15 pixels), and the fewest at which letters can be read.
_DPI, _LEAST_DPI = 150, 108


@dataclass(frozen=True)
class Box:
    """A rectangle of whole pixels, from the top left."""

    x: int
    y: int
    w: int
    h: int


@dataclass(frozen=True)
class Plan:
    """Where everything is on a page of so many pixels."""

    width: int
    height: int
    dpi: float
    maps: tuple[Box, ...]
    titles: tuple[tuple[float, float], ...]
    curve: Box
    quality: Box | None
    bar: Box | None
    caption: tuple[str, ...]
    caption_top: int
    dots: Box | None = None
    rows: tuple[str, ...] = ()

    def px(self, points: float) -> float:
        """Return points as pixels."""
        return points * self.dpi / 72


def make_plan(
    size: tuple[int, int],
    n_maps: int,
    caption: str,
    *,
    columns: int | None,
    rows: tuple[str, ...] = (),
    dots: bool,
    quality: bool,
    bar: bool,
) -> Plan:
    """Find room for everything.

    Parameters
    ----------
    size
        Width and height in pixels.
    n_maps, columns
        Maps, and how many stand in a row; by default what makes them largest.
    caption
        Broken into lines at the foot.
    rows
        Words beside the rows of maps.
    dots
        Whether the layout itself is shown, left of the maps.
    quality, bar
        Whether there are a curve of quality, which small pages have no room for, and a colour bar.

    Raises
    ------
    ValueError
        If the maps would be smaller than 24 pixels.
    """
    width, height = size
    dpi = max(_DPI * min(width / 1280, height / 720), _LEAST_DPI)
    point = dpi / 72
    pad = round(8 * point)
    head = round((HEAD + 5) * point)
    # on coarse screens letters are wider
    lines = wrap(caption, (width - 2 * pad) / point * 0.93, style.SMALL)
    foot = round((len(lines) * style.SMALL * 1.25 + 3) * point)
    strip = round(max(0.15 * height, 40 * point))
    below = round((style.SMALL + 5) * point)  # numbers under the axes
    above = round((style.SMALL + 5) * point)
    room = (width - 2 * pad, height - head - foot - strip - below - above)
    top, left = head, pad
    place = None
    if dots:
        side = min(room[1], round(0.42 * room[0])) if n_maps else min(room)
        place = Box(left if n_maps else (width - side) // 2, top + (room[1] - side) // 2, side, side)
        left += side + 2 * pad
        room = (room[0] - side - 2 * pad, room[1])
    if rows:
        beside = round((style.TITLE + 6) * point)
        left, room = left + beside, (room[0] - beside, room[1])
    title, gap = round((style.TITLE + 4) * point), round(5 * point)
    maps: list[Box] = []
    titles: list[tuple[float, float]] = []
    if n_maps:
        columns, side = _grid(n_maps, room, title, gap, columns)
        if side < 24:
            raise ValueError(
                f"{n_maps} maps do not fit into {width} x {height} pixels: choose fewer with groups=, or a larger "
                "width= and height=."
            )
        down = -(-n_maps // columns)
        x0 = left + (room[0] - columns * side - (columns - 1) * gap) // 2
        y0 = top + max(0, room[1] - down * (side + title) - (down - 1) * gap) // 2
        for i in range(n_maps):
            x, y = x0 + i % columns * (side + gap), y0 + i // columns * (side + title + gap)
            maps.append(Box(x, y + title, side, side))
            titles.append((x + side / 2, y + title - 2 * point))
    y = height - foot - below - strip
    label = round(24 * point)
    spare = width - 2 * pad
    # the words under the colour bar, at least
    third = max(round(spare * 0.27), round((text_width(_WIDEST, style.LABEL) + 8) * point))
    box_bar = Box(width - pad - third + label // 2, y + strip // 3, third - label, round(7 * point)) if bar else None
    right = width - pad - (third if bar else 0)
    box_quality = Box(right - third + label, y, third - 2 * label, strip) if quality else None
    if box_quality is not None and min(box_quality.w, right - third - pad - 2 * label) < 60 * point:
        box_quality = None  # two curves beside each other would be too narrow to read
    right -= third if box_quality is not None else 0
    curve = Box(pad + label, y, right - pad - 2 * label, strip)
    return Plan(
        width,
        height,
        dpi,
        tuple(maps),
        tuple(titles),
        curve,
        box_quality,
        box_bar,
        tuple(lines),
        height - foot,
        place,
        rows,
    )


def _grid(n: int, room: tuple[int, int], title: int, gap: int, columns: int | None) -> tuple[int, int]:
    """Return the number of columns and the side at which maps are largest."""
    best = (0, 1)
    for count in range(1, n + 1) if columns is None else [columns]:
        rows = -(-n // count)
        wide = (room[0] - (count - 1) * gap) // count
        tall = (room[1] - (rows - 1) * gap) // rows - title
        best = max(best, (min(wide, tall), count), key=lambda found: found[0])
    return best[1], best[0]


@dataclass(frozen=True, eq=False)
class Stage:
    """What stands still, as pixels, and how maps are laid into it.

    Where a map is drawn, a pixel is ``mix * colour + still``: all of the colour inside, a part of it at the smooth
    border and under the outline. Both come from drawing the page twice, its maps white and black, so that whatever
    matplotlib draws over or under a map is composed exactly.

    Parameters
    ----------
    plan
        Where everything is.
    picture
        RGBA as one little-endian number per pixel, shape ``(height, width)``.
    mix
        Per map, shape ``(side, side)``, from 0 to 1.
    still
        Per map, shape ``(side, side, 3)``, from 0 to 255.
    x
        Column of pixels that each step has in the curve and in the curve of quality, shape ``(n_steps,)`` each.
    rows
        Top and bottom of the moving mark in each of these.
    lines
        Per metric that is drawn: its colour, and the row of pixels of its value at each step.
    """

    plan: Plan
    picture: NDArray[np.uint32]
    mix: tuple[NDArray[np.float32], ...]
    still: tuple[NDArray[np.float32], ...]
    x: tuple[NDArray[np.float64], ...]
    rows: tuple[tuple[int, int], ...]
    lines: Mapping[str, tuple[str, NDArray[np.float64]]] = field(default_factory=dict)


def draw_stage(
    plan: Plan,
    title: str,
    titles: Sequence[tuple[str, str, str] | None],
    *,
    steps: NDArray[np.int64],
    metrics: Mapping[str, NDArray[np.float64]],
    quality: StepQuality | None,
    outline: Path | None,
    border: Path | None,
    marks: Sequence[str | None] | None = None,
    legend: Sequence[tuple[str, str]] = (),
    bar: Any = None,
) -> Stage:
    """Draw everything that stands still.

    Parameters
    ----------
    plan
        From `make_plan`.
    title
        Of the film.
    titles
        Name, note and colour of the title of each map; None where it changes.
    steps, metrics, quality
        For the curves.
    outline, border
        Of the region, and of what is painted; None where they change.
    marks
        Colours of dots before the titles of maps.
    legend
        Names and colours of groups, beside the layout where there are no maps.
    bar
        Draws the colour bar into a figure and axes.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import PathPatch, Rectangle

    figure = Figure(figsize=(plan.width / plan.dpi, plan.height / plan.dpi), dpi=plan.dpi, facecolor="white")
    canvas = FigureCanvasAgg(figure)
    pad = plan.px(8)
    room = plan.width * 0.42 / plan.dpi * 72
    shown = title if text_width(title, HEAD) < room else wrap(title, room, HEAD)[0] + " ..."
    write(figure, plan, pad, plan.px(HEAD + 3), shown, HEAD, style.INK, weight="bold")
    patches = []
    for i, box in enumerate(plan.maps):
        ax = _axes(figure, plan, box)
        frame = frame_of(box.w)
        ax.set(xlim=(-frame, frame), ylim=(-frame, frame))
        ax.set_axis_off()
        patch: Any = Rectangle((-1, -1), 2, 2) if border is None else PathPatch(border)
        patch.set(facecolor="white", edgecolor="none", linewidth=0, zorder=1)
        if outline is not None:
            ax.add_patch(PathPatch(outline, facecolor=style.EMPTY, edgecolor="none", zorder=0.5))
            ax.add_patch(PathPatch(outline, facecolor="none", edgecolor=style.INK, linewidth=0.6, zorder=4))
        patches.append(ax.add_patch(patch))
        text = titles[i]
        if text is not None:
            (x, y), (name, note, color) = plan.titles[i], text
            words = fitted(name, note, box.w / plan.dpi * 72 - (12 if marks is not None else 0))
            write(figure, plan, x, y, words, style.TITLE, color, ha="center")
            if marks is not None and marks[i] is not None:
                left = x - plan.px(text_width(words, style.TITLE) / 2 + 5)
                _dot(figure, plan, left, y - plan.px(style.TITLE * 0.36), str(marks[i]))
    across = len(plan.maps) // max(len(plan.rows), 1)
    for i, words in enumerate(plan.rows):
        box = plan.maps[i * across]
        turned = {"rotation": 90, "ha": "right", "va": "center"}
        write(figure, plan, box.x - plan.px(4), box.y + box.h / 2, words, style.TITLE, style.INK, **turned)
    if plan.dots is not None:
        ax = _axes(figure, plan, plan.dots)
        frame = frame_of(plan.dots.w)
        ax.set(xlim=(-frame, frame), ylim=(-frame, frame))
        ax.set_axis_off()
        if outline is not None:
            ax.add_patch(PathPatch(outline, facecolor="none", edgecolor=style.INK, linewidth=0.6))
    if plan.dots is not None and legend:
        _legend(figure, plan, plan.dots, legend)
    boxes = (plan.curve, *([] if plan.quality is None else [plan.quality]))
    marks_x, lines = draw_curves([_axes(figure, plan, box) for box in boxes], steps, metrics, quality)
    rows = tuple((box.y, box.y + box.h) for box in boxes[: len(marks_x)])
    if plan.bar is not None and bar is not None:
        bar(figure, _axes(figure, plan, plan.bar))
    for i, words in enumerate(plan.caption):
        y = plan.caption_top + plan.px((i + 1) * style.SMALL * 1.25)
        write(figure, plan, pad, y, words, style.SMALL, style.QUIET)
    white = _pixels(canvas)
    for patch in patches:
        patch.set_facecolor("black")
    black = _pixels(canvas)
    mix, still = [], []
    for box in plan.maps:
        part = (slice(box.y, box.y + box.h), slice(box.x, box.x + box.w))
        high, low = white[part][..., :3].astype(np.float32), black[part][..., :3].astype(np.float32)
        mix.append((high - low).mean(axis=2) / 255)
        still.append(low)
    picture = np.ascontiguousarray(white).view("<u4")[..., 0]
    return Stage(plan, picture, tuple(mix), tuple(still), marks_x, rows, lines)


def frame_of(side: int) -> float:
    """Return half the width of the frame of a map of so many pixels: [-1, 1] is whole pixels, with room around it."""
    return side / (side - 2 * margin_of(side))


def margin_of(side: int) -> int:
    """Return the pixels around the frame [-1, 1] of a map of so many pixels, which its outline needs."""
    return max(2, round(0.015 * side))


def fitted(name: str, note: str, width: float) -> str:
    """Return a title ``name (note)`` of at most so many points: the note as its number alone, then the name cut."""
    short = f"{name} ({note.removeprefix('n = ')})" if note.startswith("n = ") else f"{name}: {note}"
    for text in (f"{name} ({note})" if note else name, short if note else name):
        if text_width(text, style.TITLE) <= width:
            return text
    text = name
    while len(text) > 1 and text_width(text + "...", style.TITLE) > width:
        text = text[:-1].rstrip()
    return name if text_width(name, style.TITLE) <= width else text + "..."


def write(figure: Figure, plan: Plan, x: float, y: float, text: str, size: float, color: str, **options: Any) -> None:
    """Write from a pixel on, whose row is the base line."""
    place = (x / plan.width, 1 - y / plan.height)
    options = {"va": "baseline", **options}
    figure.text(*place, text, fontsize=size, color=color, parse_math=False, **options)


def _dot(figure: Figure, plan: Plan, x: float, y: float, color: str) -> None:
    from matplotlib.lines import Line2D

    place = ([x / plan.width], [1 - y / plan.height])
    figure.add_artist(Line2D(*place, marker="o", markersize=5, color=color, markeredgewidth=0, linestyle="none"))


def _legend(figure: Figure, plan: Plan, box: Box, names: Sequence[tuple[str, str]]) -> None:
    """Write names behind dots of their colours, in columns to the right of the layout."""
    line = plan.px(style.TITLE * 1.6)
    rows = max(1, int(box.h / line))
    left, right = box.x + box.w + plan.px(12), plan.width - plan.px(8)
    wide = min((right - left) / -(-len(names) // rows), plan.px(120))
    for i, (name, color) in enumerate(names):
        x, y = left + i // rows * wide, box.y + (i % rows + 1) * line
        _dot(figure, plan, x, y - plan.px(style.TITLE * 0.36), color)
        words = fitted(name, "", (wide - plan.px(10)) / plan.dpi * 72)
        write(figure, plan, x + plan.px(6), y, words, style.TITLE, style.INK)


def _axes(figure: Figure, plan: Plan, box: Box) -> Axes:
    return figure.add_axes(
        (box.x / plan.width, 1 - (box.y + box.h) / plan.height, box.w / plan.width, box.h / plan.height)
    )


def _pixels(canvas: Any) -> NDArray[np.uint8]:
    canvas.draw()
    return np.array(canvas.buffer_rgba())
