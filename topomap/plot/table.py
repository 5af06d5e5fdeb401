"""Maps in rows and columns: correct over wrong, a confusion matrix, or any two columns that inputs are grouped by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import whole_number
from topomap.plot import style
from topomap.plot.grid import GAP, LARGEST, LINE, MARGIN, SMALL_LINE, Grid, Page, Panel
from topomap.plot.text import text_width, title_lines

if TYPE_CHECKING:
    from topomap.groups import Key
    from topomap.profiles import Profiles

#: Least side of a map in inches, where it can be avoided, and where there are many rows.
_LEAST, _TINY = 0.55, 0.33

#: With so many rows or fewer, columns that do not fit are put below the others.
_FEW_ROWS = 4


@dataclass(frozen=True)
class Table:
    """Rows and columns of a figure, and the cell of every map.

    Parameters
    ----------
    by
        What the rows are, and what the columns are.
    rows, columns
        Their names.
    cells
        Row and column of each map.
    """

    by: tuple[str, str]
    rows: tuple[str, ...]
    columns: tuple[str, ...]
    cells: tuple[tuple[int, int], ...]


def arrange_table(profiles: Profiles, chosen: NDArray[np.int64], order: str) -> Table:
    """Give each group a cell: rows are the first column of `by`, but ``correct`` always makes the rows.

    In the order of a dendrogram, columns follow the profiles of correctly predicted inputs, where these are groups
    (Krug et al. 2023), and so do the rows of a confusion matrix, which has every class as a row and as a column.
    """
    keys = [profiles.keys[i] for i in chosen]
    shared = set(profiles.by) == {"label", "prediction"}
    texts = _value_names([profiles.names[i] for i in chosen], keys, shared)
    down = 1 if profiles.by[1] == "correct" else 0
    values = [list(dict.fromkeys(sorted((key[axis] for key in keys), key=_rank))) for axis in (0, 1)]
    if shared:  # square: a class that is never predicted has its column too, and the diagonal is one
        texts = [{**texts[1], **texts[0]}] * 2
        values = [sorted(texts[0], key=_rank)] * 2
    if order == "dendrogram":
        right = [i for i in chosen if _is_right(profiles.by, profiles.keys[i])]
        along = [profiles.keys[i][1 - down] for i in profiles.ordered(right)] if right else []
        for axis in (0, 1):
            if profiles.by[axis] != "correct":
                values[axis] = sorted(values[axis], key=lambda v: along.index(v) if v in along else len(along))
    if profiles.by[down] == "correct":
        values[down] = values[down][::-1]  # correct over wrong
    place = [{value: i for i, value in enumerate(found)} for found in values]
    return Table(
        by=(profiles.by[down], profiles.by[1 - down]),
        rows=tuple(texts[down][value] for value in values[down]),
        columns=tuple(texts[1 - down][value] for value in values[1 - down]),
        cells=tuple((place[down][key[down]], place[1 - down][key[1 - down]]) for key in keys),
    )


def _is_right(by: tuple[str, ...], key: Key) -> bool:
    """Whether a group holds correctly predicted inputs alone."""
    if "correct" in by:
        return bool(key[by.index("correct")])
    return set(by) == {"label", "prediction"} and key[0] == key[1]


def _rank(value: Any) -> tuple[int, Any]:
    """Sort numbers by size, before text."""
    return (0, value) if isinstance(value, int | float) else (1, str(value))


def _value_names(names: list[str], keys: list[Key], shared: bool) -> list[dict[Any, str]]:
    """Return the name of each value on either axis, from names such as ``cat, wrong``.

    A value's name may hold a comma itself: it is then what all groups of that value have in common.
    """
    found: list[dict[Any, set[str]]] = [{}, {}]
    for name, key in zip(names, keys, strict=True):
        parts = name.split(", ")
        for axis in (0, 1):
            cuts = {", ".join(parts[i:] if axis else parts[:i]) for i in range(1, len(parts))}
            found[axis][key[axis]] = found[axis].get(key[axis], cuts) & cuts
    if shared:  # both axes name the same classes
        for value in found[0].keys() & found[1].keys():
            found[0][value] = found[1][value] = found[0][value] & found[1][value]
    return [{value: max(cuts, key=len) if cuts else str(value) for value, cuts in axis.items()} for axis in found]


def make_table(
    table: Table,
    notes: Sequence[Sequence[str]],
    colors: Sequence[str],
    *,
    width: float,
    columns: int | None,
    caption: str,
    bar: bool,
) -> Grid:
    """Lay the figure out and write the names of rows and columns, the note of each cell, and the caption.

    Parameters
    ----------
    table
        The cells.
    notes, colors
        What is written above each map, in wordings from long to short of which the first that fits is taken; and its
        colour.
    width, columns
        Width of the figure in inches, and columns beside each other; those that do not fit come below.
    caption, bar
        As of `make_grid`.
    """
    n = len(table.columns)
    rows_name = "" if table.by[0] == "correct" else table.by[0]  # correct and wrong say so themselves
    gutter = (SMALL_LINE + 0.04 if rows_name else 0) + 2 * LINE + 0.06
    room = width - 2 * MARGIN - gutter
    across = _across(n, len(table.rows), room, columns)
    side = min((room - (across - 1) * GAP / 2) / across - GAP / 2, LARGEST)
    blocks = [range(start, min(start + across, n)) for start in range(0, n, across)]
    heads = [title_lines(name, "", side * 72, style.TITLE, most=2) for name in table.columns]
    head = max(len(lines) for lines in heads) * LINE + 0.05
    row = SMALL_LINE + side + GAP / 2
    names = [title_lines(name, "", side * 72, style.TITLE, most=2) for name in table.rows]
    block = head + len(table.rows) * row + GAP
    top = 0.05 + SMALL_LINE + 0.03
    left = (width - gutter - across * (side + GAP / 2)) / 2 + gutter
    page = Page(width, top + len(blocks) * block - GAP, caption, bar)
    middle = {"ha": "center", "va": "center"}
    name: dict[str, Any] = {"size": style.SMALL, "color": style.QUIET, **middle}
    page.write(left + across * (side + GAP / 2) / 2, 0.05 + SMALL_LINE / 2, table.by[1], **name)
    corner: dict[tuple[int, int], tuple[float, float]] = {}
    for b, block_columns in enumerate(blocks):
        y = top + b * block
        for i, column in enumerate(block_columns):
            x = left + i * (side + GAP / 2)
            title = {"ha": "center", "va": "bottom", "linespacing": 1.15}
            page.write(x + side / 2, y + head - 0.05, "\n".join(heads[column]), style.TITLE, style.INK, **title)
            page.rule(x - GAP / 4, y, x - GAP / 4, y + head + len(table.rows) * row - GAP / 4)
            for r in range(len(table.rows)):
                corner[r, column] = (x, y + head + r * row)
        end = left + len(block_columns) * (side + GAP / 2) - GAP / 4
        for r in range(len(table.rows)):
            page.rule(left - GAP / 4, y + head + r * row - GAP / 4, end)
            middle_y = y + head + r * row + SMALL_LINE + side / 2
            turned = {"rotation": 90, "linespacing": 1.1, **middle}
            page.write(left - 0.05 - LINE, middle_y, "\n".join(names[r]), style.TITLE, style.INK, **turned)
        middle_y = y + head + (block - head - GAP) / 2
        if rows_name:
            page.write(left - gutter + SMALL_LINE / 2, middle_y, rows_name, rotation=90, **name)
    panels = []
    for cell, note, color in zip(table.cells, notes, colors, strict=True):
        x, y = corner[cell]
        text = next((text for text in note if text_width(text, style.SMALL) <= 72 * side - 2), note[-1])
        page.write(x + side / 2, y + SMALL_LINE - 0.01, text, style.SMALL, color, ha="center", va="bottom")
        panels.append(Panel(page.axes(x, y + SMALL_LINE, side, side)))
    return Grid(page.figure, panels, page.finish())


def _across(n: int, rows: int, room: float, columns: int | None) -> int:
    """Return how many columns stand beside each other: all if they can."""
    if columns is not None:
        return min(whole_number("columns", columns, 1), n)
    least = _LEAST if rows <= _FEW_ROWS else _TINY
    most = max(1, int(room / (least + GAP / 2)))
    return -(-n // -(-n // most))
