"""Axes over the steps of a training, and the curves below a film."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap.plot import style
from topomap.plot.sheet import dress
from topomap.plot.text import text_width
from topomap.training import StepQuality

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def over_steps(ax: Axes, steps: NDArray[np.int64]) -> None:
    """Give axes the steps as x; by powers where most steps are early ones."""
    from matplotlib.ticker import MaxNLocator

    dress(ax)
    gaps = np.diff(steps)
    ax.set_xlim(float(steps[0]), float(steps[-1]))
    if gaps.max() >= 8 * gaps.min() and steps[0] >= 0:
        ax.set_xscale("symlog", linthresh=float(gaps.min()))
        powers = 10 ** np.arange(int(np.log10(max(steps[-1], 1))) + 1)
        ticks = [0, *powers[powers <= steps[-1]].tolist()] if steps[0] == 0 else powers.tolist()
        ax.set_xticks(ticks, [f"{tick:,}" for tick in ticks])
        ax.minorticks_off()
        ax.set_xlim(float(steps[0]), float(steps[-1]))
    else:
        wide = ax.get_window_extent().width / ax.figure.dpi * 72
        room = wide / (text_width(f"{int(steps[-1])}", style.SMALL) + 8)
        ax.xaxis.set_major_locator(MaxNLocator(max(1, min(6, int(room))), integer=True))


def name_curve(ax: Axes, text: str, color: str, x: float, ha: Any) -> None:
    """Name a curve above its axes."""
    ax.annotate(
        text, (x, 1), xycoords="axes fraction", xytext=(0, 4), textcoords="offset points", ha=ha, va="bottom",
        fontsize=style.SMALL, color=color, parse_math=False,
    )  # fmt: skip


def draw_curves(
    axes: Sequence[Axes],
    steps: NDArray[np.int64],
    metrics: Mapping[str, NDArray[np.float64]],
    quality: StepQuality | None,
) -> tuple[tuple[NDArray[np.float64], ...], dict[str, tuple[str, NDArray[np.float64]]]]:
    """Draw up to two metrics, and the quality of the layout where there are axes for it.

    Returns
    -------
    x
        The column of pixels of each step, per axes that are used.
    lines
        Per metric its colour, and the row of pixels of its value at each step; NaN where it was not logged.
    """
    from matplotlib.ticker import MaxNLocator

    lines = {}
    ax = axes[0]
    height = ax.figure.bbox.height
    over_steps(ax, steps)
    name_curve(ax, f"step {int(steps[0]):,} to {int(steps[-1]):,}", style.QUIET, 0.5, "center")
    colors = (style.OKABE_ITO[3], style.OKABE_ITO[0])
    if not metrics:
        ax.set_yticks([])
        ax.spines["left"].set_visible(False)
    for i, (name, values) in enumerate(list(metrics.items())[:2]):
        own = ax if i == 0 else ax.twinx()
        dress(own)
        own.spines["right"].set_visible(i == 1)
        known = np.isfinite(values)  # what was logged at some steps alone is one line through those
        own.plot(steps[known], values[known], color=colors[i], linewidth=1.1, marker="." if known.sum() <= 2 else None)
        own.tick_params(axis="y", colors=colors[i])
        own.yaxis.set_major_locator(MaxNLocator(4))
        if known.any() and values[known].min() >= 0:
            top = 1.0 if 0.5 < values[known].max() <= 1 and "loss" not in name else None
            own.set_ylim(0, top)
        name_curve(ax, name, colors[i], float(i), ("left", "right")[i])
        place = own.transData.transform(np.column_stack([steps, np.where(known, values, 0)]))
        lines[name] = (colors[i], np.where(known, height - place[:, 1], np.nan))
    used = [ax]
    if len(axes) > 1 and quality is not None:
        ax = axes[1]
        used.append(ax)
        over_steps(ax, steps)
        looks = {"trustworthiness": style.OKABE_ITO[2], "knn": style.OKABE_ITO[5]}
        words = _fitting(ax, ("neighbours alike", f"{quality.k} nearest kept"), ("alike", f"{quality.k} nearest kept"))
        for i, (name, color) in enumerate(looks.items()):
            ax.plot(quality.steps, getattr(quality, name), color=color, linewidth=1.1)
            name_curve(ax, words[i], color, float(i), ("left", "right")[i])
        ax.set(ylim=(0, 1), yticks=[0, 0.5, 1])
    x = tuple(one.transData.transform(np.column_stack([steps, np.zeros(len(steps))]))[:, 0] for one in used)
    return x, lines


def _fitting(ax: Axes, *pairs: tuple[str, str]) -> tuple[str, str]:
    """Return the first pair of names that stand above axes side by side, or else ("alike", "kept")."""
    wide = ax.get_window_extent().width / ax.figure.dpi * 72
    fits = (pair for pair in pairs if sum(text_width(name, style.SMALL) for name in pair) + 6 <= wide)
    return next(fits, ("alike", "kept"))
