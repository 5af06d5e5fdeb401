"""What patterns are made of, as a matrix of bubbles, and how their number grows with the number of inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from topomap.plot import style
from topomap.plot.sheet import dress
from topomap.plot.text import text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from topomap.patterns import Growth, PatternReport, Patterns
    from topomap.plot.sheet import Sheet

#: Most values and most patterns of the matrix, and the side of a cell in inches.
MOST_VALUES, MOST_PATTERNS, CELL = 20, 60, 0.18

#: A share of 100 % is a bubble of this diameter, in cells.
_FULL = 0.95

Shares = Mapping[tuple[int, str], tuple[float, float]]


def shares_of(report: PatternReport) -> dict[str, Shares]:
    """Return the share of each label and of each prediction in each pattern, with its false discovery rate."""
    found: dict[str, dict[tuple[int, str], tuple[float, float]]] = {}
    for column in ("label", "prediction"):
        rows = [row for row in report.enrichment if row.column == column]
        if rows:
            found[column] = {(row.pattern, row.value): (row.share, row.q) for row in rows}
    return dict(found)


def values_of(patterns: Patterns, report: PatternReport) -> list[str]:
    """Return the names of labels and predictions: classes and whole numbers in order, others by their frequency."""
    overall: dict[str, float] = {}
    for row in report.enrichment:
        if row.column in ("label", "prediction"):
            overall[row.value] = max(overall.get(row.value, 0.0), row.overall)
    classes = patterns.inputs.classes or ()
    if len(overall) <= MOST_VALUES and all(value in classes for value in overall):
        return [value for value in classes if value in overall]
    if len(overall) <= MOST_VALUES and all(value.isdecimal() for value in overall):
        return sorted(overall, key=int)
    return sorted(overall, key=lambda value: (-overall[value], value))


def draw_matrix(
    sheet: Sheet,
    x: float,
    y: float,
    wide: float,
    patterns: Sequence[int],
    values: Sequence[str],
    shares: Mapping[str, Shares],
    alpha: float,
) -> float:
    """Draw what share of each pattern has which label (disc) and prediction (ring); return the height.

    Parameters
    ----------
    sheet
        To draw on, at `x`, `y` in inches and no wider than `wide`.
    patterns
        Their numbers, -1 for noise.
    values
        Names of the labels, in the order of the rows.
    shares
        By ``"label"`` and ``"prediction"``: share and q by pattern and value.
    alpha
        The false discovery rate up to which discs are blue.
    """
    names = max(text_width(value, style.SMALL) for value in values) / 72 + 0.22
    cell = min(CELL, (wide - names) / (len(patterns) + 0.4))
    across, down = cell * (len(patterns) + 0.4), CELL * (len(values) + 0.4)
    ax = sheet.axes(x + names, y, across, down)
    dress(ax)
    ax.set(xlim=(-0.7, len(patterns) - 0.3), ylim=(len(values) - 0.3, -0.7))
    for spine in ax.spines.values():
        spine.set_visible(True)
    for at in range(len(values)):
        ax.axhline(at, color=style.EMPTY, linewidth=0.5, zorder=0)
    for column, found in shares.items():
        _bubbles(ax, found, patterns, values, cell * 72, alpha, ring=column != "label")
    step = 1 if cell > 0.1 else 2
    ticks = [i for i, k in enumerate(patterns) if k < 0 or i % step == 0]
    ax.set_xticks(ticks, ["noise" if patterns[i] < 0 else str(patterns[i]) for i in ticks])
    ax.tick_params(axis="both", length=0)
    for label, i in zip(ax.get_xticklabels(), ticks, strict=True):
        label.set_rotation(90 if patterns[i] < 0 or cell < 0.12 else 0)
    ax.set_yticks(range(len(values)), values, parse_math=False)
    ax.set_xlabel("pattern", fontsize=style.LABEL, color=style.INK)
    # beside the word noise, which stands upright, where there is room
    ax.xaxis.set_label_coords(0.5, -(0.18 if across > 1.2 else 0.34) / down)
    return down + (0.42 if across > 1.2 else 0.54)


def _bubbles(
    ax: Axes, found: Shares, patterns: Sequence[int], values: Sequence[str], cell: float, alpha: float, *, ring: bool
) -> None:
    column, row, area, color = [], [], [], []
    for (pattern, value), (share, q) in found.items():
        if pattern in patterns and value in values:
            column.append(patterns.index(pattern))
            row.append(values.index(value))
            area.append(share * (_FULL * cell) ** 2)
            color.append(style.OKABE_ITO[0] if q <= alpha else style.DEAD)
    if ring:
        ax.scatter(
            column, row, s=area, facecolors="none", edgecolors=style.INK, linewidths=0.6, zorder=3, clip_on=False
        )
    else:
        ax.scatter(column, row, s=area, c=color, linewidths=0, zorder=2, clip_on=False)


def draw_growth(sheet: Sheet, x: float, y: float, wide: float, high: float, growth: Sequence[Growth]) -> None:
    """Draw how many patterns samples of the inputs have (mean, least to most), and their share of noise."""
    ax = sheet.axes(x + 0.3, y, wide - 0.6, high)
    dress(ax)
    n, count = [row.n for row in growth], [row.patterns for row in growth]
    reach = [[row.patterns - row.least for row in growth], [row.most - row.patterns for row in growth]]
    color = style.OKABE_ITO[0]
    ax.errorbar(n, count, yerr=reach, color=color, marker="o", markersize=2.5, linewidth=0.9, elinewidth=0.6)
    ax.set_ylim(0, 1.1 * max(1, *(row.most for row in growth)))
    ax.set_xlim(0, 1.08 * max(n))
    ax.locator_params(axis="both", nbins=4, integer=True)
    ax.set_xlabel("inputs", fontsize=style.LABEL, color=style.INK, labelpad=1)
    ax.set_ylabel("patterns", fontsize=style.LABEL, color=color, labelpad=2)
    other = sheet.axes(x + 0.3, y, wide - 0.6, high)
    dress(other)
    other.patch.set_visible(False)
    other.set(xticks=[], xlim=ax.get_xlim())
    other.spines["left"].set_visible(False)
    other.spines["right"].set_visible(True)
    other.yaxis.tick_right()
    other.yaxis.set_label_position("right")
    other.plot(n, [100 * row.noise for row in growth], color=style.QUIET, linewidth=0.9, linestyle=(0, (3, 1.5)))
    other.set_ylim(0, 105)
    other.set_yticks([0, 50, 100])
    other.set_ylabel("noise (%)", fontsize=style.LABEL, color=style.QUIET, labelpad=2)
