"""One map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import at_least, instance_of
from topomap.layout import Layout
from topomap.layout.regions import Region
from topomap.plot import style
from topomap.plot.certainty import NOTE, paint_doubt
from topomap.plot.panel import Dots, Ground, check_marks, draw_bar, draw_map, make_room, new_axes, points_across
from topomap.profiles import Profiles
from topomap.quality import Stability
from topomap.run import Activations
from topomap.similarity import Similarity

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Colormap


def plot_topomap(
    values: Any,
    layout: Layout,
    *,
    ax: Axes | None = None,
    limits: style.Limits = None,
    cmap: str | Colormap | None = None,
    contours: int = 6,
    outline: bool = True,
    dots: Dots = "auto",
    mask: Any | None = None,
    noise: Any | None = None,
    borders: Similarity | None = None,
    certainty: Stability | None = None,
    colorbar: bool = True,
    label: str = "activation",
    title: str | None = None,
    region: str | Region | NDArray[np.bool_] | None = None,
    interpolation: str = "linear",
    extrapolate: str = "auto",
    resolution: int = 200,
) -> Axes:
    """Paint one value per neuron over a layout.

    Parameters
    ----------
    values
        Shape ``(n_neurons,)``, in any unit; ``acts.scores[i]`` for one input, say.
    layout
        Where the neurons are.
    ax
        Axes to draw into, which are narrowed to make room for the colour bar; by default those of a new figure, one
        column wide.
    limits
        None or ``"robust"`` (the 99.5th percentile, unless the largest value is near), ``"max"``, a number, or a pair.
        Values beyond are marked by arrows on the colour bar.
    cmap
        A colour map; by default a sequential one where all values are >= 0, else a diverging one, white at 0.
    contours
        Number of contour lines; those of negative values are dashed.
    outline
        Whether to draw the border of the region, with light grey where it holds no neurons.
    dots
        Whether to draw neurons as dots; ``"auto"`` leaves them out where they would crowd the map. Dead neurons are
        hollow and grey.
    mask
        Neurons to mark with a ring: a boolean array of shape ``(n_neurons,)``, or positions.
    noise
        Noise floor in the unit of the values, a number or shape ``(n_neurons,)``. The map is faded where it is
        smaller than that, and the floor's median is marked on the colour bar.
    borders
        A similarity of the neurons: draws lines between dissimilar neighbours, as a U-matrix does.
    certainty
        From `measure_stability`: hatches the map where neurons' places are uncertain. Lines begin at a displacement of
        0.35 and are thickest from 0.75; that of unrelated layouts is 1. `plot_layout` shows the displacements as such.
    colorbar
        Whether to draw a colour bar beside the map.
    label
        What the colours show, with its unit.
    title
        A title.
    region, interpolation, resolution
        As of `Surface`.
    extrapolate
        As of `Surface`, or ``"auto"``: where neurons lie all over the region (`Surface.filled`), the rim is filled with
        the mean of the neighbours; the gaps of a free layout are left open.

    Returns
    -------
    matplotlib.axes.Axes
        With the field as ``ax.images[0]`` and its colour bar as ``ax.images[0].colorbar``. Save with
        ``with style.rc(): ax.figure.savefig(...)`` to keep text as text in a PDF.

    Raises
    ------
    ValueError
        If values, mask or noise do not fit the layout, a value is not finite, or an option is unknown.

    Examples
    --------
    >>> layout = Layout(positions=[[-1, -1], [1, -1], [1, 1], [-1, 1]], region="square")
    >>> ax = plot_topomap([0.0, -1.0, 2.0, 1.0], layout)
    >>> ax.images[0].get_clim()
    (-2.0, 2.0)
    """
    instance_of(
        "layout", layout, Layout, "Values come first, then the layout: tm.plot_topomap(acts.scores[0], layout)."
    )
    if isinstance(values, Layout | Similarity | Profiles | Activations):
        raise ValueError(
            f"values must be one number per neuron; got {type(values).__name__}. "
            "Pass acts.scores[0] or profiles.scaled[0], then the layout."
        )
    check_marks(layout, contours, dots, mask, borders, certainty)
    ground = Ground.of(layout, region, resolution, interpolation, extrapolate)
    array = ground.values(values)
    scale = style.scale(array, limits, cmap, live=~layout.dead)
    floor = None if noise is None else _floor(noise, ground)
    label = label if certainty is None else f"{label}\n({NOTE})"
    beside = colorbar * (0.65 + 0.1 * (floor is not None) + 0.12 * (certainty is not None))
    if ax is None:
        ax = new_axes(beside, title is not None)
    else:
        make_room(ax, beside)
    image = draw_map(
        ax,
        ground,
        ground.paint(array),
        scale,
        noise=None if floor is None else ground.paint(floor),
        contours=contours,
        outline=outline,
        dots=dots,
        mask=mask,
        borders=borders,
        doubt=None if certainty is None else paint_doubt(ground, certainty),
    )
    if colorbar:
        aside = 0.05 if floor is None else max(0.10, 12 / max(points_across(ax), 24))  # "noise" stands left of the bar
        cax = ax.inset_axes((1 + aside, 0.1, 0.045, 0.8))
        median = None if floor is None else float(np.median(floor[~layout.dead]))
        band = None if median is None else (median, median)
        draw_bar(ax.figure, cax, image, scale, label, orientation="vertical", noise=band)
    if title is not None:
        ax.set_title(title, fontsize=style.TITLE + 1, color=style.INK, pad=3)
    return ax


def _floor(noise: Any, ground: Ground) -> NDArray[np.float64]:
    """Return the noise floor of every neuron."""
    array = np.asarray(noise, dtype=np.float64)
    if array.ndim == 0:
        array = np.full(ground.layout.n_neurons, float(array))
    floor = ground.values(array, "noise")
    at_least("noise", float(floor.min()), 0)
    return floor
