"""Axes over the steps of a training."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap.plot import style
from topomap.plot.sheet import dress
from topomap.plot.text import text_width

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


def name_curve(ax: Axes, text: str, color: str, x: float, ha: Any, down: float = 0.0) -> None:
    """Name a curve above its axes, or so far down in them."""
    ax.annotate(
        text, (x, 1 - down), xycoords="axes fraction", xytext=(0, 4), textcoords="offset points", ha=ha, va="bottom",
        fontsize=style.SMALL, color=color, parse_math=False,
    )  # fmt: skip
