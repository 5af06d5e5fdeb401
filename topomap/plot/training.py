"""A training in curves: when maps settle, groups separate, and neurons die or take up their work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from topomap._check import instance_of
from topomap.plot import style
from topomap.plot.curves import over_steps
from topomap.plot.grid import describe
from topomap.plot.sheet import GAP, LINE, MARGIN, Sheet
from topomap.plot.text import text_width
from topomap.training import TrainingSummary, tell_divergence

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: More curves than this are not told apart by colour.
_MOST_COLORS = 12


def plot_training(
    summary: TrainingSummary, *, width: Literal["single", "double"] | float = "double", caption: bool | str = True
) -> Figure:
    """Draw what `summarize_training` found, over the steps.

    Parameters
    ----------
    summary
        From `summarize_training`.
    width
        As of `plot_profiles`.
    caption
        Whether to explain the curves at the foot; or a text of your own.

    Returns
    -------
    matplotlib.figure.Figure
        Four axes: the correlation of each group's map with its final one, how far each group is from its nearest, the
        share of variance between groups, and counts of neurons that are dead, and that have their final role.

    Raises
    ------
    ValueError
        If the summary is none.

    Examples
    --------
    >>> import topomap as tm
    >>> from topomap.datasets import digits
    >>> from topomap.demo import watch
    >>> run = watch(digits("train").take(range(200)), digits("test"), epochs=1)
    >>> figure = tm.plot_training(tm.summarize_training(run, "relu2"))
    >>> [axes.get_ylabel() for axes in figure.axes][:2]
    ['r with the final map', 'distance to nearest (SD)']
    """
    instance_of("summary", summary, TrainingSummary, "Make one with tm.summarize_training(run, layer).")
    inches = style.figure_width(width)
    sheet = Sheet(inches)
    columns = 2 if inches >= 5 else 1
    left, foot = 0.42, 0.36
    wide = (inches - 2 * MARGIN - columns * left - (columns - 1) * GAP) / columns
    tall = 1.35
    top = sheet.y + 0.06
    axes = []
    for i in range(4):
        x = MARGIN + left + i % columns * (wide + GAP + left)
        axes.append(sheet.axes(x, top + i // columns * (tall + foot), wide, tall))
        over_steps(axes[-1], summary.steps)
    sheet.y = top + (4 // columns) * (tall + foot)
    n = len(summary.groups)
    colors = style.categorical(n) if n <= _MOST_COLORS else [style.QUIET] * n
    for i, color in enumerate(colors):
        look: dict[str, Any] = {"color": color, "linewidth": 1.0, "alpha": 1.0 if n <= _MOST_COLORS else 0.5}
        axes[0].plot(summary.steps, summary.convergence[:, i], **look)
        axes[1].plot(summary.steps, summary.separation[:, i], **look)
    axes[0].set_ylim(min(0.0, float(summary.convergence.min())), 1.02)
    axes[1].set_ylim(0, None)
    axes[2].plot(summary.steps, summary.explained, color=style.INK, linewidth=1.0)
    axes[2].set_ylim(0, 1)
    settled = (summary.roles == summary.roles[-1]) & (summary.roles[-1] >= 0)
    axes[3].plot(summary.steps, summary.n_dead, color=style.DEAD, linewidth=1.4)
    axes[3].plot(summary.steps, settled.sum(axis=1), color=style.INK, linewidth=1.0)
    axes[3].set_ylim(0, summary.n_neurons)
    _name(axes[3], "dead", summary.n_dead[-1] / summary.n_neurons, style.QUIET)
    _name(axes[3], "in their final role", settled[-1].sum() / summary.n_neurons, style.INK)
    labels = (
        "r with the final map", "distance to nearest (SD)", "variance between groups", "neurons"
    )  # fmt: skip
    for ax, label in zip(axes, labels, strict=True):
        ax.set_ylabel(label, fontsize=style.LABEL, labelpad=2)
    for ax in axes[-columns:]:
        ax.set_xlabel("step", fontsize=style.LABEL, labelpad=1)
    if n <= _MOST_COLORS:
        _legend(sheet, summary.groups, colors)
    text = _caption(summary) if caption is True else caption or ""
    return sheet.draw(text)


def _name(ax: Axes, text: str, height: float, color: str) -> None:
    """Name a curve at its right end, below it where there is no room above."""
    above = height < 0.85
    ax.annotate(
        text, (1, float(np.clip(height, 0, 1))), xycoords="axes fraction", xytext=(-2, 3 if above else -3),
        textcoords="offset points", ha="right", va="bottom" if above else "top", fontsize=style.SMALL, color=color,
    )  # fmt: skip


def _legend(sheet: Sheet, names: tuple[str, ...], colors: list[str]) -> None:
    """Write the names of groups behind dashes in their colours, as many in a line as fit."""
    x = MARGIN
    for name, color in zip(names, colors, strict=True):
        long = text_width(f"— {name}", style.SMALL) / 72 + 0.14
        if x > MARGIN and x + long > sheet.width - MARGIN:
            x, sheet.y = MARGIN, sheet.y + LINE
        sheet.text(x, sheet.y, "—", color=color)
        sheet.text(x + text_width("— ", style.SMALL) / 72, sheet.y, name)  # in ink: pale colours make no legible words
        x += long
    sheet.y += LINE + 0.05


def _caption(summary: TrainingSummary) -> str:
    served = int(((summary.roles[0] >= 0) & (summary.roles[-1] >= 0)).sum())
    return (
        f"{describe(summary.layer, summary.reduce)}: {summary.n_neurons:,} neurons at {len(summary.steps)} steps. "
        "Correlation: of each group's map with its map at the last step, over neurons alive at both. Distance: root "
        "mean square difference of a group's map from that of the group nearest to it, in standard deviations of a "
        "neuron, less what chance gives. Variance: its share that lies between groups, mean over live neurons. A "
        "neuron's role is the group with the highest mean above the noise floor; "
        f"{len(summary.changed)} of {served} neurons that have one at the first and the last step changed it."
        + (f" Left out: {tell_divergence(summary.diverged)}." if summary.diverged else "")
    )
