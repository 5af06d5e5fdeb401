"""The cards of patterns: what each one is made of, one below the other on a sheet."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap.patterns.report import percent
from topomap.plot import style
from topomap.plot.grid import frame, paint_picture, show_picture
from topomap.plot.sheet import GAP, LINE, MARGIN, Sheet
from topomap.plot.text import text_width, wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from topomap.run import Inputs

#: Height of the parts of a card in inches, and of what stands over those of the first cards.
HIGH, HEADING = 0.86, LINE + 0.05

#: Bars of labels and of predictions; boxes of the pattern and of all inputs.
COLORS = {"label": style.INK, "prediction": "#8fb4cf"}
OWN, ALL = style.OKABE_ITO[0], style.DEAD

#: A box: least, first quartile, median, third quartile, greatest.
Boxes = NDArray[np.float64]


@dataclass(frozen=True)
class Part:
    """One part of every card: its heading, its least width, how it shares what is left, and what draws card i of it.

    The heading is the legend too: words in the colours of what they name.
    """

    heading: Sequence[tuple[str, str]]
    least: float
    grows: float
    draw: Callable[[int, float, float, float], None]


def draw_cards(sheet: Sheet, parts: Sequence[Part], n: int, columns: int) -> None:
    """Draw `n` cards in so many columns, each of them as many lines of parts as its width asks for."""
    wide = (sheet.width - 2 * MARGIN - (columns - 1) * 2 * GAP) / columns
    lines = _lines(parts, wide)
    y = sheet.y
    for row in range(-(-n // columns)):
        head = HEADING if row == 0 else 0.0
        for column in range(columns):
            i = row * columns + column
            if i < n:
                _draw_card(sheet, lines, i, MARGIN + column * (wide + 2 * GAP), y, wide, head)
        y += len(lines) * (HIGH + head) + (len(lines) - 1) * GAP / 2 + GAP
    sheet.y = y


def _lines(parts: Sequence[Part], wide: float) -> list[list[tuple[Part, float]]]:
    """Break the parts into lines and give each its width."""
    lines: list[list[Part]] = [[]]
    for part in [replace(part, least=min(max(part.least, _width(part.heading)), wide)) for part in parts]:
        if lines[-1] and sum(each.least + GAP for each in lines[-1]) + part.least > wide:
            lines.append([])
        lines[-1].append(part)
    placed = []
    for line in lines:
        left = wide - sum(part.least for part in line) - GAP * (len(line) - 1)
        shares = sum(part.grows for part in line) or 1.0
        placed.append([(part, part.least + max(left, 0) * part.grows / shares) for part in line])
    return placed


def _width(heading: Sequence[tuple[str, str]]) -> float:
    """Return the width of a heading in inches, with half a letter behind every piece."""
    return sum(text_width(text, style.SMALL) + style.SMALL / 2 for text, _ in heading) / 72


def _draw_card(
    sheet: Sheet, lines: list[list[tuple[Part, float]]], i: int, x: float, y: float, wide: float, head: float
) -> None:
    if not head:  # what parts it from the card above
        sheet.rule(x, y - GAP / 2, wide)
    for line in lines:
        place = x
        for part, room in line:
            if head:
                at = place
                for text, color in part.heading:
                    sheet.text(at, y, text, color=color)
                    at += _width([(text, color)])
            part.draw(i, place, y + head, room)
            place += room + GAP
        y += HIGH + head + GAP / 2


def write_lines(sheet: Sheet, x: float, y: float, wide: float, lines: Sequence[str]) -> None:
    """Write a title and what stands below it."""
    sheet.text(x, y, lines[0], fontsize=style.TITLE, fontweight="bold")
    told = [part for line in lines[1:] for part in wrap(line, wide * 72, style.SMALL)]
    sheet.text(x, y + 0.14, "\n".join(told), color=style.INK, linespacing=1.25)


def draw_average(sheet: Sheet, x: float, y: float, wide: float, picture: NDArray[Any]) -> None:
    """Draw the mean of the members' pictures."""
    side = min(wide, HIGH)
    show_picture(sheet.axes(x, y, side, side), picture)


def draw_members(
    sheet: Sheet, x: float, y: float, wide: float, inputs: Inputs, rows: Sequence[tuple[str, NDArray[np.int64]]]
) -> None:
    """Draw rows of members: as pictures, or else as lines of their texts, or else of their ids."""
    wrong = np.zeros(len(inputs), dtype=bool) if inputs.correct is None else np.asarray(inputs.correct == 0)
    high = HIGH / len(rows)
    beside = LINE + 0.04
    for k, (name, members) in enumerate(rows):
        top = y + k * high
        sheet.text(x, top + (high - 0.04) / 2, name, rotation=90, va="center", color=style.QUIET)
        if inputs.thumbnails is not None:
            side = min(high - 0.04, (wide - beside) / max(len(members), 1) - 0.03)
            pictures = [np.asarray(inputs.thumbnails[int(member)]) for member in members]
            colors = [style.WRONG if wrong[member] else None for member in members]
            _draw_row(sheet, x + beside, top, side, pictures, colors)
            continue
        for j, member in enumerate(members[: int(high / LINE)]):
            text = str(inputs.ids[member]) if inputs.texts is None else str(inputs.texts[member])
            color = style.WRONG if wrong[member] else style.INK
            sheet.text(x + beside, top + j * LINE, shorten(text, wide - beside), color=color)


def _draw_row(
    sheet: Sheet, x: float, y: float, side: float, pictures: Sequence[NDArray[Any]], colors: Sequence[str | None]
) -> None:
    """Draw framed pictures beside each other, all in one axes: to make one of each takes long."""
    from matplotlib.patches import Rectangle

    wide = max(len(pictures), 1) * (side + 0.03)
    ax = sheet.axes(x, y, wide, side)
    for j, (picture, color) in enumerate(zip(pictures, colors, strict=True)):
        left = j * (side + 0.03)
        paint_picture(ax, picture, extent=(left, left + side, 0, side), aspect="auto")
        ax.add_patch(Rectangle((left, 0), side, side, fill=False, clip_on=False, **frame(color)))
    ax.set(xlim=(0, wide), ylim=(0, side))
    ax.set_axis_off()


def shorten(text: str, wide: float) -> str:
    """Return a text that is no wider than so many inches, ending in dots where it was cut."""
    text = " ".join(text[:400].split())  # of a whole document no more than the beginning has room
    if text_width(text, style.SMALL) <= wide * 72:
        return text
    fits = bisect_right(range(len(text)), wide * 72, key=lambda n: text_width(text[:n] + "...", style.SMALL))
    return text[: max(fits - 1, 0)].rstrip() + "..."


def room_for(names: Iterable[str]) -> float:
    """Return the width of the longest name with some air, in inches."""
    return max((text_width(name, style.SMALL) for name in names), default=0) / 72 + 0.05


def _part_axes(
    sheet: Sheet, x: float, y: float, wide: float, names: Sequence[str], room: float, most: int, foot: float
) -> Axes:
    """Add axes with named rows, as high as `most` rows ask for; `room` is that of the names."""
    high, room = HIGH - foot - 0.04, min(room, 0.42 * wide)
    ax = sheet.axes(x + room, y, wide - room, high)
    ax.set_ylim(max(most, 1) - 0.5, -0.5)
    ax.set_yticks(range(len(names)), [shorten(name, room - 0.04) for name in names], parse_math=False)
    ax.tick_params(axis="both", labelsize=style.SMALL, width=0.5, length=2, pad=1.5, colors=style.INK)
    ax.tick_params(axis="y", length=0)
    for side, spine in ax.spines.items():
        spine.set(linewidth=0.5, edgecolor=style.INK, visible=side == "left" or (side == "bottom" and foot > 0))
    if not foot:
        ax.spines["left"].set_bounds(-0.5, len(names) - 0.5)
    return ax


def draw_shares(
    sheet: Sheet,
    x: float,
    y: float,
    wide: float,
    names: Sequence[str],
    shares: Mapping[str, NDArray[np.float64]],
    marked: Sequence[bool],
    room: float,
    most: int,
) -> None:
    """Draw what shares of a pattern have a value: one bar and one number per column, one number where they agree."""
    ax = _part_axes(sheet, x, y, wide, names, room, most, 0)
    texts = []
    for row, mark in enumerate(marked):
        told = list(dict.fromkeys(percent(values[row]) for values in shares.values()))
        texts.append(f"{' / '.join(told)}%" + "*" * mark)
    inches = ax.get_window_extent().width / sheet.figure.dpi
    longest = text_width(" / ".join(["100", "99"][: len(shares)]) + "%*", style.SMALL) / 72 + 0.06
    whole = inches / max(inches - longest, 0.25)  # where the axes end, if all ends at 1
    ax.set(xlim=(0, whole), xticks=[])
    thick = 0.78 / len(shares)
    for j, (column, values) in enumerate(shares.items()):
        for row, share in enumerate(values):
            ax.barh(row - 0.39 + (j + 0.5) * thick, share, thick * 0.9, color=COLORS[column], linewidth=0)
    for row, text in enumerate(texts):
        at = max(float(values[row]) for values in shares.values()) + 0.04 / inches * whole
        ax.text(at, row, text, fontsize=style.SMALL, color=style.INK, va="center", ha="left")


def draw_boxes(
    sheet: Sheet,
    x: float,
    y: float,
    wide: float,
    names: Sequence[str],
    own: Boxes,
    others: Boxes,
    room: float,
    most: int,
) -> None:
    """Draw boxes of a pattern's values, one unit per row, over those of all inputs."""
    from matplotlib.ticker import MaxNLocator

    ax = _part_axes(sheet, x, y, wide, names, room, most, LINE + 0.04)
    for shift, boxes, color in ((-0.19, own, OWN), (0.19, others, ALL)):
        for row, (low, first, middle, third, high) in enumerate(boxes):
            at = row + shift
            ax.plot([low, high], [at, at], color=color, linewidth=0.6, solid_capstyle="butt")
            ax.barh(at, third - first, 0.3, left=first, color=color, linewidth=0, alpha=0.55)
            ax.plot([middle, middle], [at - 0.17, at + 0.17], color=color, linewidth=1.2, solid_capstyle="butt")
    ax.margins(x=0.04)
    ax.xaxis.set_major_locator(MaxNLocator(3, steps=[1, 2, 5, 10]))
