"""Colours, sizes and scales shared by all plots.

The diverging map runs from blue over white to orange and red. Both arms take the same way through lightness and
colourfulness and bend their hue by the same angle, so that equal values of either sign stand out equally, in colour
and in greyscale; every step is equally large in CAM16-UCS; and colour-blind readers can tell the arms apart.

Plot functions set sizes on what they draw and leave matplotlib's global settings alone. What can only be set where
a figure is saved (text stays text in a PDF) is in `rc`:

>>> import matplotlib.pyplot as plt
>>> from topomap.plot import style
>>> with style.rc():
...     plt.rcParams["pdf.fonttype"]
42
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from topomap._check import at_least, unknown
from topomap.plot.color import DEFICIENCIES, from_ucs, simulate, to_ucs

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from matplotlib.colors import Colormap, ListedColormap, Normalize

#: Widths of a figure in inches: one column of a two-column page, and the whole page (88.9 and 183 mm).
WIDTHS = {"single": 3.5, "double": 7.2}

#: Font sizes in points, legible in print because figures are drawn at their final size.
TITLE, LABEL, SMALL = 7.0, 6.5, 6.0

#: Ink for outlines and text, for what is secondary, for dead neurons, for where there are no neurons, and for what is
#: wrong: a hue that neither arm of the maps has.
INK, QUIET, DEAD, EMPTY, WRONG = "#262626", "#6b6b6b", "#a3a3a3", "#efefef", "#b3147a"

#: Fills the cells of dead neurons: told from white in print and on a screen in a bright room, and drawing less of the
#: eye than what is alive.
DEAD_CELL = "#cfcfcf"

#: Okabe and Ito (2008), Color Universal Design, without its black and with its yellow last.
OKABE_ITO = ("#0072b2", "#e69f00", "#009e73", "#d55e00", "#56b4e9", "#cc79a7", "#f0e442")

#: From so many values on, the largest may be left out of robust limits.
MANY = 20

Limits = Literal["robust", "max"] | float | tuple[float, float] | None


def rc(dpi: float = 300) -> AbstractContextManager[None]:
    """Return the settings to save a figure in: ``with style.rc(): fig.savefig("map.pdf")``.

    Text is stored as text (TrueType) in PDF and PostScript and as text in SVG; `dpi` is that of the fields, which are
    the only thing stored as pixels. Letters stand where they were measured, not at whole pixels.
    """
    import matplotlib as mpl

    fonts: dict[Any, Any] = {"pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "none", "text.hinting": "none"}
    return mpl.rc_context({**fonts, "savefig.dpi": dpi})


def figure_width(width: str | float) -> float:
    """Return a width in inches from ``"single"``, ``"double"`` or a number of inches (at least 2)."""
    if isinstance(width, str):
        if width not in WIDTHS:
            raise unknown("width", width, (*WIDTHS, "a number of inches"))
        return WIDTHS[width]
    at_least("width", width, 2)  # below, the label of the colour bar has no place
    return float(width)


def _ramp(lightness: float, colour: float, bend: float, hues: tuple[float, float], n: int) -> NDArray[np.float64]:
    """Return `n` sRGB colours from white, in equal steps of CAM16-UCS.

    Lightness falls linearly along the way, the hue turns linearly, and colourfulness grows fast at first (`bend` > 1),
    which keeps the light tints vivid.
    """
    way = np.linspace(0, 1, 4001)
    hue = np.radians(hues[0] + (hues[1] - hues[0]) * way)
    radius = colour * (1 - (1 - way) ** bend)
    points = np.stack([100 + (lightness - 100) * way, radius * np.cos(hue), radius * np.sin(hue)], axis=1)
    length = np.append(0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1)))
    steps = np.linspace(0, length[-1], n)
    return np.clip(from_ucs(np.stack([np.interp(steps, length, axis) for axis in points.T], axis=1)), 0, 1)


@cache
def diverging() -> ListedColormap:
    """Return the colour map for values of both signs: blue, white at 0, orange to red."""
    from matplotlib.colors import ListedColormap

    low = _ramp(32, 30, 2.4, (245, 275), 128)
    high = _ramp(32, 30, 2.4, (60, 30), 128)
    return ListedColormap(np.vstack([low[::-1], high[1:]]), name="topomap_diverging")


@cache
def sequential() -> ListedColormap:
    """Return the colour map for values >= 0: white over green to dark blue, unlike either arm of the diverging map."""
    from matplotlib.colors import ListedColormap

    return ListedColormap(_ramp(24, 22, 2.2, (120, 275), 255), name="topomap_sequential")


def categorical(n: int) -> list[str]:
    """Return `n` colours that are told apart by normal and by colour-blind eyes, as far as that goes.

    Okabe and Ito's palette first; beyond it each further colour is the one farthest (in CAM16-UCS, for the eye that
    sees the smallest difference) from all before it, after Glasbey, van der Heijden, Toh, Gray (2007), doi
    10.1002/col.20327. Beyond a dozen no palette keeps colours apart: label the groups as well.
    """
    from matplotlib.colors import to_hex

    if n <= len(OKABE_ITO):
        return list(OKABE_ITO[:n])
    candidates, spaces = _candidates()
    chosen = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in OKABE_ITO])
    nearest = np.full(len(candidates), np.inf)
    for row in range(n):
        if row >= len(OKABE_ITO):
            chosen = np.vstack([chosen, candidates[np.argmax(nearest)]])
        for space, eye in zip(spaces, (None, *DEFICIENCIES), strict=True):
            seen = chosen[row] if eye is None else simulate(chosen[row], eye)
            np.minimum(nearest, np.linalg.norm(space - to_ucs(seen), axis=1), out=nearest)
    return [to_hex(colour) for colour in chosen]


@cache
def _candidates() -> tuple[NDArray[np.float64], list[NDArray[np.float64]]]:
    grid = np.stack(np.meshgrid(*[np.linspace(0, 1, 16)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    points = to_ucs(grid)
    colour = np.hypot(points[:, 1], points[:, 2])
    grid = grid[
        (points[:, 0] > 30) & (points[:, 0] < 85) & (colour > 12)
    ]  # seen on white, and no greys: those are dead
    return grid, [to_ucs(grid), *(to_ucs(simulate(grid, eye)) for eye in DEFICIENCIES)]


def _number(limits: object) -> float:
    if isinstance(limits, str):
        raise unknown("limits", limits, ("robust", "max", "a number", "a pair (low, high)"))
    if not isinstance(limits, int | float | np.number) or not 0 < float(limits) < np.inf:
        raise ValueError(f"limits must be a positive number, or a pair (low, high); got {limits!r}.")
    return float(limits)


@dataclass(frozen=True)
class Scale:
    """One colour scale: limits, map, and whether values lie beyond its ends."""

    low: float
    high: float
    cmap: Colormap
    extend: Literal["neither", "min", "max", "both"] = "neither"

    @property
    def norm(self) -> Normalize:
        """A new linear norm between the limits."""
        from matplotlib.colors import Normalize

        return Normalize(self.low, self.high)

    def levels(self, n: int) -> NDArray[np.float64]:
        """Return `n` contour levels, evenly between the limits, without the limits and without 0."""
        if self.low < 0 < self.high:
            half = (n + 1) // 2
            steps = np.arange(1, half + 1) / (half + 1)
            return np.concatenate([self.low * steps[::-1], self.high * steps])
        return np.asarray(self.low + (self.high - self.low) * np.arange(1, n + 1) / (n + 1))


def scale(
    values: NDArray[Any],
    limits: Limits = None,
    cmap: str | Colormap | None = None,
    *,
    live: NDArray[np.bool_] | None = None,
    percentile: float = 99.5,
) -> Scale:
    """Choose one colour scale for all values of a figure.

    Parameters
    ----------
    values
        Shape ``(..., n_neurons)``, finite.
    limits
        None or ``"robust"``: a percentile of the absolute values, unless the largest is hardly larger (1.25 times;
        of 20 values or more, the percentile is one of them, so that a single large one does not set the scale);
        ``"max"``: the largest absolute value; a number: that; a pair: those. The scale is symmetric about 0
        unless all values are >= 0 or a pair is given.
    cmap
        A colour map or the name of one of matplotlib's; by default `sequential` where all values are >= 0 and
        `diverging` otherwise.
    live
        Neurons that count, shape ``(n_neurons,)``.
    percentile
        For robust limits.

    Examples
    --------
    >>> found = scale(np.array([-1.0, 2.0]))
    >>> found.low, found.high, found.cmap.name
    (-2.0, 2.0, 'topomap_diverging')
    >>> scale(np.array([0.5, 2.0]), limits=1.0).extend
    'max'
    """
    import matplotlib as mpl

    seen = np.asarray(values, dtype=np.float64)
    if live is not None and live.any():
        seen = seen[..., live]
    least, most = (float(seen.min()), float(seen.max())) if seen.size else (0.0, 0.0)
    if isinstance(limits, tuple | list):
        if len(limits) != 2 or not limits[0] < limits[1]:
            raise ValueError(f"limits must be a pair (low, high) with low < high; got {limits!r}.")
        low, high = float(limits[0]), float(limits[1])
    else:
        size = np.abs(seen)
        largest = float(size.max(initial=0))
        if limits is None or limits == "robust":
            # Of a hundred values, interpolation would make the limit a mixture with the very value to be left out.
            method: Literal["lower", "linear"] = "lower" if size.size >= MANY else "linear"
            robust = float(np.percentile(size, percentile, method=method)) if size.size else 0.0
            high = largest if largest <= 1.25 * robust or robust == 0 else robust
        elif limits == "max":
            high = largest
        else:
            high = _number(limits)
        high = high or 1.0  # all zero: any scale does
        low = 0.0 if least >= -1e-9 * largest else -high  # sums leave a trace of rounding where the mean is 0
    if cmap is None:
        cmap = sequential() if low >= 0 else diverging()
    elif isinstance(cmap, str):
        if cmap not in mpl.colormaps:
            raise unknown("cmap", cmap, tuple(mpl.colormaps))
        cmap = mpl.colormaps[cmap]
    slack = 1e-6 * (high - low)
    under, over = least < low - slack, most > high + slack
    extend: Literal["neither", "min", "max", "both"] = "neither"
    if under or over:
        extend = "both" if under and over else "min" if under else "max"
    return Scale(low, high, cmap, extend)
