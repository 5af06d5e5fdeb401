"""How sure a neuron's place is, as hatching over a map: the noise floor fades, doubt about the place hatches."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import instance_of, same_length
from topomap.layout import Layout
from topomap.plot import style
from topomap.quality import Stability

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.path import Path

    from topomap.plot.panel import Ground

Array = NDArray[Any]

#: Displacements (1 for unrelated layouts) at which hatching begins and at which its lines are thickest. In an evenly
#: filled disc one layout alone is then off by about a sixth, and by over a third, of the radius.
SURE, LOST = 0.35, 0.75

#: For colour bars and captions.
NOTE = "hatched: place uncertain"

#: Distance of the lines in points, and widths of the thinnest and thickest.
_APART, _WIDTHS = 2.8, (0.2, 0.4, 0.6, 0.8)


def check_certainty(certainty: Any, layout: Layout) -> None:
    """Raise unless this is the stability of a layout of as many neurons."""
    way_out = "Measure it with tm.measure_stability(acts, layout.method, layout.region)."
    instance_of("certainty", certainty, Stability, way_out)
    same_length("certainty", certainty.n_neurons, "neuron of the layout", layout.n_neurons)


def doubt_of(certainty: Stability) -> NDArray[np.float64]:
    """Return each neuron's displacement; 1 where no two layouts held it alive: nothing is known of its place."""
    return np.nan_to_num(np.asarray(certainty.displacement, dtype=np.float64), nan=1.0)


def paint_doubt(ground: Ground, certainty: Stability) -> NDArray[np.float32]:
    """Paint displacements as a smooth field: each neuron's is an estimate of few layouts, and varies about its like."""
    from scipy.ndimage import gaussian_filter

    field = ground.paint(ground.values(doubt_of(certainty), "certainty"))
    painted = np.isfinite(field)
    sigma = len(field) / 2 / np.sqrt(max(ground.layout.n_neurons, 1))  # half a spacing
    weight = gaussian_filter(painted.astype(np.float32), sigma)
    smooth = gaussian_filter(np.where(painted, field, 0), sigma)
    out = np.full_like(field, np.nan)
    np.divide(smooth, weight, out=out, where=painted)
    return out


def describe_doubt(certainty: Stability, live: Array) -> str:
    """Return what the hatching means, for captions."""
    n = len(certainty.layouts)
    of = f"{n} bootstrap samples of the inputs" if certainty.over == "inputs" else f"{n} seeds"
    share = float(np.mean(doubt_of(certainty)[live] > SURE)) if live.any() else 0.0
    return (
        f"Hatched, {share:.0%} of the neurons: place uncertain; layouts of {of} put it over {SURE:g} apart (thickest "
        f"lines: {LOST:g}; unrelated layouts: 1)"
    )


def draw_doubt(ax: Axes, border: Path, doubt: Array, size: float) -> None:
    """Hatch a painted field of displacements by diagonal lines, the thicker the larger it is.

    Lines in ink on a wider white ground are seen on pale and on dark colours alike. Unlike transparency they leave the
    colours readable, and cannot be taken for the fading of the noise floor.
    """
    from matplotlib.collections import LineCollection

    steps = len(_WIDTHS)
    level = np.ceil(np.clip((np.nan_to_num(doubt, nan=0.0) - SURE) / (LOST - SURE), 0, 1) * steps).astype(int)
    lines = _runs(level, 2 * _APART / size)
    for grade, width in enumerate(_WIDTHS, start=1):
        if not lines[grade]:
            continue
        for color, wide, alpha, above in (("white", width + 0.5, 0.6, 1.8), (style.INK, width, 0.7, 1.81)):
            drawn = LineCollection(
                lines[grade], colors=color, linewidths=wide, alpha=alpha, zorder=above, capstyle="butt"
            )
            ax.add_collection(drawn, autolim=False)
            drawn.set_clip_path(border, ax.transData)


def _runs(level: NDArray[np.int64], apart: float) -> dict[int, list[Array]]:
    """Cut diagonals of the frame into runs of one level; return the ends of each run by level."""
    found: dict[int, list[Array]] = {grade: [] for grade in range(1, len(_WIDTHS) + 1)}
    n = len(level)
    shift = apart * np.sqrt(2)  # along x between lines at 45 degrees
    along = np.linspace(-1, 1, 2 * n + 1)
    middle = (along[1:] + along[:-1]) / 2
    row = np.minimum(((1 - middle) / 2 * n).astype(int), n - 1)
    for start in shift * np.arange(-np.floor(2 / shift), np.floor(2 / shift) + 1):
        x = middle + start
        column = ((x + 1) / 2 * n).astype(int)
        inside = (x > -1) & (x < 1)
        grades = np.where(inside, level[row, np.clip(column, 0, n - 1)], 0)
        cuts = np.flatnonzero(np.diff(grades, prepend=0, append=0))
        for low, high in pairwise(cuts):
            if grades[low]:
                y = along[[low, high]]
                found[int(grades[low])].append(np.column_stack([y + start, y]))
    return found
