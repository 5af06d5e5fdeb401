"""What every map is made of: the ground it is painted on, the field, its lines and dots, and the colour bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from topomap._check import choice, instance_of, same_length, whole_number
from topomap.layout import Layout
from topomap.layout.regions import SHAPES, Region, shape_of
from topomap.plot import style
from topomap.plot.cells import draw_borders, draw_dead_cells
from topomap.plot.certainty import check_certainty, draw_doubt
from topomap.similarity import Similarity
from topomap.surface import EXTRAPOLATIONS, Surface

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.cm import ScalarMappable
    from matplotlib.colorbar import Colorbar
    from matplotlib.figure import Figure, SubFigure
    from matplotlib.image import AxesImage
    from matplotlib.path import Path

Dots = Literal["auto"] | bool
Array = NDArray[Any]

#: More dots than this make a map grey.
MOST_DOTS = 600

#: How much colour is left below the noise floor, and in a map that is not to be read.
FADED, PALE = 0.25, 0.35


@dataclass(frozen=True, eq=False)
class Ground:
    """A layout, its surface, and their outlines: shared by all maps of a figure.

    Unless `smooth`, the surface's pixels are drawn as they are, and nothing else.
    """

    layout: Layout
    surface: Surface
    smooth: bool = True

    @classmethod
    def of(
        cls,
        layout: Layout,
        region: str | Region | Array | None = None,
        resolution: int = 100,
        interpolation: str = "linear",
        extrapolate: str = "auto",
        smooth: bool = True,
    ) -> Ground:
        """Build the ground; ``extrapolate="auto"`` fills the rim of a filled region; gaps stay open."""
        choice("extrapolate", extrapolate, ("auto", *EXTRAPOLATIONS))
        whole_number("resolution", resolution, 2)
        options = {"region": region, "resolution": resolution, "interpolation": interpolation}
        if extrapolate != "auto":
            return cls(layout, Surface.of(layout, **options, extrapolate=extrapolate), smooth)
        ground = cls(layout, Surface.of(layout, **options, extrapolate="none"), smooth)
        if not ground.surface.filled:
            return ground
        return cls(layout, Surface.of(layout, **options, extrapolate="mean"), smooth)

    @cached_property
    def outline(self) -> Path:
        """The border of the region."""
        return outline_of(self.layout, self.surface.region)

    @cached_property
    def border(self) -> Path:
        """Where the painted part ends, as a smooth line instead of the pixels' stairs."""
        live = self.layout.positions[self.layout.live]
        shape, hull = shape_of(self.surface.region, live), shape_of("hull", live)
        if self.surface.extrapolate != "none" or shape is None or hull is None:
            return self.outline
        within = shape.contains(hull.border(0.01), 1e-6).all()
        return outline_of(self.layout, "hull") if within else self.outline

    @cached_property
    def _rim(self) -> tuple[NDArray[np.bool_], tuple[Array, Array]]:
        """Pixels just outside the painted ones, and the painted pixel nearest to every pixel."""
        from scipy.ndimage import distance_transform_edt

        distance, (rows, columns) = distance_transform_edt(~self.surface.mask, return_indices=True)
        return np.asarray((distance > 0) & (distance < 3)), (rows, columns)

    @cached_property
    def inner(self) -> NDArray[np.bool_]:
        """The painted pixels without their rim, where slivers of triangles break contours into specks."""
        from scipy.ndimage import binary_erosion

        return np.asarray(binary_erosion(self.surface.mask, iterations=2))

    def paint(self, values: Array) -> NDArray[np.float32]:
        """Paint maps that reach a little over the border, so that the border can cut them off smoothly."""
        fields = self.surface(values)
        if not self.smooth:
            return fields
        rim, nearest = self._rim
        fields[..., rim] = fields[..., nearest[0], nearest[1]][..., rim]
        return fields

    def values(self, values: Any, name: str = "values", n_maps: bool = False) -> NDArray[np.float64]:
        """Check values for this layout."""
        return check_values(self.layout, values, name, n_maps)


def check_values(layout: Layout, values: Any, name: str = "values", n_maps: bool = False) -> NDArray[np.float64]:
    """Return values as floats, those of dead neurons 0; raise unless they fit the layout and are finite."""
    array = np.asarray(values, dtype=np.float64)
    expected = "(n_maps, n_neurons)" if n_maps else "(n_neurons,)"
    n = layout.n_neurons
    if array.ndim != 1 + n_maps or array.shape[-1] != n:
        hint = (
            " Plot one row of it, or several with plot_profiles or plot_inputs." if array.ndim == 2 > 1 + n_maps else ""
        )
        raise ValueError(f"{name} must have shape {expected} with the layout's {n} neurons; got {array.shape}.{hint}")
    bad = np.asarray(~np.isfinite(array).reshape(-1, n).all(axis=0))
    bad[layout.dead] = False  # nothing is painted there
    if bad.any():
        raise ValueError(
            f"{name} must be finite; got NaN or infinity for {int(bad.sum())} of {n} neurons, the first at "
            f"{int(np.flatnonzero(bad)[0])}. Replace them, or take these neurons out of values and layout."
        )
    return np.where(layout.dead, 0.0, array)


def outline_of(layout: Layout, region: Any = None) -> Path:
    """Return the border of a layout's region, or of another one: one closed ring or, with holes or pieces, several.

    A hull without inside has that of the frame.
    """
    from matplotlib.path import Path

    shape = shape_of(layout.region if region is None else region, layout.positions[layout.live]) or SHAPES["square"]
    return Path.make_compound_path(*(Path(ring, closed=True) for ring in shape.outline))


def new_axes(beside: float, title: bool) -> Axes:
    """Return axes of a new figure one column wide, with room (inches) beside them and for a title."""
    import matplotlib.pyplot as plt

    side = max(style.WIDTHS["single"] - 0.1 - beside, 2.2)
    width = side + 0.1 + beside  # wider than a column only where a legend is
    height = side + 0.1 + (0.2 if title else 0)
    figure = plt.figure(figsize=(width, height))
    return figure.add_axes((0.05 / width, 0.05 / height, side / width, side / height))


def make_room(ax: Axes, beside: float) -> None:
    """Narrow given axes by so many inches, so that what stands beside the map does not run into their neighbours."""
    figure = ax.get_figure(root=True)
    width = ax.get_window_extent().width / figure.dpi if figure is not None else 0
    if not beside or not width or (figure is not None and figure.get_layout_engine() is not None):
        return  # the engine of a constrained or tight layout makes room itself
    share = min(beside / width, 0.5)
    cell = ax.get_subplotspec()
    if cell is not None:
        ax.set_subplotspec(cell.subgridspec(1, 2, width_ratios=(1 - share, share), wspace=0)[0])
    else:
        x, y, w, h = ax.get_position().bounds
        ax.set_position((x, y, (1 - share) * w, h))


def check_marks(
    layout: Layout, contours: Any, dots: Any, mask: Any, borders: Any = None, certainty: Any = None
) -> None:
    """Raise unless all that is drawn over a field fits the layout, before a figure is begun."""
    whole_number("contours", contours, 0)
    if dots not in ("auto", True, False):
        raise ValueError(f"dots must be 'auto', True or False; got {dots!r}.")
    if mask is not None:
        as_mask(mask, layout.n_neurons)
    if borders is not None:
        instance_of("borders", borders, Similarity, "Pass borders=tm.correlate(acts).")
        same_length("borders", borders.n_neurons, "neuron of the layout", layout.n_neurons)
    if certainty is not None:
        check_certainty(certainty, layout)


def draw_map(
    ax: Axes,
    ground: Ground,
    field: NDArray[np.float32],
    scale: style.Scale,
    *,
    noise: NDArray[np.float32] | None = None,
    contours: int = 6,
    outline: bool = True,
    dots: Dots = "auto",
    mask: Array | None = None,
    borders: Similarity | None = None,
    doubt: NDArray[np.float32] | None = None,
    pale: bool = False,
) -> AxesImage:
    """Draw one painted field with its lines and dots into axes, pale if it is not to be read; return the image."""
    from matplotlib.patches import PathPatch

    frame = 1.035 if outline else 1.0
    ax.set(xlim=(-frame, frame), ylim=(-frame, frame), aspect="equal", xticks=[], yticks=[])
    ax.set_axis_off()
    size = points_across(ax)
    if outline:  # by add_artist: add_patch takes the time of a map to update limits that are set
        ax.add_artist(PathPatch(ground.outline, facecolor=style.EMPTY, edgecolor="none", zorder=0.5))
    if noise is not None:  # what the faded colours are mixed with
        ax.add_artist(PathPatch(ground.border, facecolor="white", edgecolor="none", zorder=0.6))
    opacity = None if noise is None else fade(field, noise)
    if pale:
        opacity, contours = PALE * (np.ones(field.shape) if opacity is None else opacity), 0
    image = ax.imshow(
        np.ma.masked_invalid(field),
        cmap=scale.cmap,
        norm=scale.norm,
        alpha=opacity,
        extent=ground.surface.extent,
        origin="upper",
        interpolation="bilinear" if ground.smooth and ground.surface.interpolation == "linear" else "nearest",
        zorder=1,
    )
    # Some painted neurons lie on the frame: without this, imshow would move the limits to the extent of the image.
    ax.set(xlim=(-frame, frame), ylim=(-frame, frame))
    if ground.smooth:
        image.set_clip_path(ground.border, ax.transData)
    if ground.layout.dead.any() and ground.smooth:
        draw_dead_cells(ax, ground.layout, ground.border)
    if borders is not None:
        width = float(np.clip(0.1 * size / np.sqrt(ground.layout.n_neurons), 0.3, 1.6))
        draw_borders(ax, ground.layout, ground.border, borders, width)
    if doubt is not None:
        draw_doubt(ax, ground.border, doubt, size)
    if contours:
        _contours(ax, ground, field, noise, scale.levels(contours), size)
    if outline:
        line = {"linewidth": 0.8 if size > 120 else 0.6, "edgecolor": style.DEAD if pale else style.INK}
        ax.add_artist(PathPatch(ground.outline, facecolor="none", zorder=4, clip_on=False, **line))
    draw_dots(ax, ground.layout, size, dots, mask)
    return image


def fade(field: Array, noise: Array) -> NDArray[np.float64]:
    """Return opacities: full above the noise floor, faint below, with a short ramp instead of an edge."""
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.nan_to_num(np.abs(field) / noise, nan=0.0, posinf=np.inf)
    way = np.clip((ratio - 0.85) / 0.3, 0, 1)
    return np.asarray(FADED + (1 - FADED) * way * way * (3 - 2 * way))


def _contours(ax: Axes, ground: Ground, field: Array, noise: Array | None, levels: Array, size: float) -> None:
    """Draw contours where the field is above the noise, and not where it only reaches over the neurons' hull."""
    shown = np.isfinite(field)
    if ground.surface.extrapolate == "none":
        shown &= ground.inner
    if noise is not None:
        shown &= np.abs(field) >= noise
    kept = field[shown]
    if not len(kept):
        return
    levels = levels[(levels > kept.min()) & (levels < kept.max())]
    if not len(levels):  # matplotlib warns about contours that do not exist
        return
    steps = (2 * np.arange(len(field)) + 1) / len(field) - 1
    lines = ax.contour(
        steps,
        -steps,
        np.ma.masked_array(field, ~shown),
        levels=levels,
        colors=style.INK,
        alpha=0.55,
        linewidths=0.5 if size > 120 else 0.35,
        linestyles=[(0, (2.5, 1.2)) if level < 0 else "solid" for level in levels],
        zorder=2,
    )
    lines.set_clip_path(ground.border, ax.transData)


def draw_dots(ax: Axes, layout: Layout, size: float, dots: Dots, mask: Array | None) -> None:
    """Draw neurons as dots, dead ones hollow and grey, marked ones ringed."""
    spacing = size / np.sqrt(max(layout.n_neurons, 1))
    show = layout.n_neurons <= MOST_DOTS and spacing >= 6 if dots == "auto" else dots
    x, y = layout.positions.T
    live = ~layout.dead
    if show:
        d = float(np.clip(0.2 * spacing, 0.7, 2.6))
        ax.scatter(x[live], y[live], s=d * d, c=style.INK, alpha=0.6, linewidths=0, zorder=3, clip_on=False)
    if layout.dead.any() and dots is not False:
        d = float(np.clip(0.35 * spacing, 0.8, 3.2))
        hollow: dict[str, Any] = {"facecolors": style.EMPTY, "edgecolors": style.DEAD, "linewidths": min(0.5, d / 4)}
        ax.scatter(x[~live], y[~live], s=d * d, zorder=3, clip_on=False, **hollow)
    if mask is not None:
        marked = as_mask(mask, layout.n_neurons)
        d = float(np.clip(0.45 * spacing, 2.0, 5.0))
        ring: dict[str, Any] = {"facecolors": "white", "edgecolors": style.INK, "linewidths": 0.25 * d**0.5 + 0.2}
        ax.scatter(x[marked], y[marked], s=d * d, zorder=5, clip_on=False, **ring)


def as_mask(mask: Any, n_neurons: int) -> NDArray[np.bool_]:
    """Return marked neurons as a mask from a mask or from positions."""
    array = np.asarray(mask)
    if array.dtype == bool:
        if array.shape != (n_neurons,):
            raise ValueError(f"mask must have one entry per neuron: expected {n_neurons}, got {array.shape}.")
        return array
    if array.size and (array.dtype.kind not in "iu" or array.min() < 0 or array.max() >= n_neurons):
        raise ValueError(f"mask must be boolean, or hold neurons between 0 and {n_neurons - 1}; got {mask!r}.")
    marked = np.zeros(n_neurons, dtype=bool)
    marked[array.astype(int)] = True
    return marked


def points_across(ax: Axes) -> float:
    """Return the size of a square drawing in these axes, in points."""
    box = ax.get_window_extent()
    return float(min(box.width, box.height) / ax.figure.dpi * 72)


def draw_bar(
    figure: Figure | SubFigure,
    place: Axes | Sequence[Axes],
    image: ScalarMappable,
    scale: style.Scale,
    label: str,
    *,
    orientation: Literal["vertical", "horizontal"],
    noise: tuple[float, float] | None = None,
) -> Colorbar:
    """Draw the colour bar into axes, or beside several; arrows where values are clipped, a band for the noise floor.

    The floor is given as that of the group with the lowest one and of the group with the highest.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.ticker import MaxNLocator

    # Not of the image: the bar would take over the image's opacity.
    source = ScalarMappable(scale.norm, scale.cmap)
    where: dict[str, Any] = {"cax": place}
    if isinstance(place, Sequence):
        left, right = min(ax.get_position().x0 for ax in place), max(ax.get_position().x1 for ax in place)
        inches = (right - left) * figure.bbox.width / figure.dpi
        where = {"ax": list(place), "aspect": 14, "fraction": float(min(0.7 / inches, 0.3)), "pad": 0.04}
    bar = figure.colorbar(source, orientation=orientation, extend=scale.extend, extendfrac=0.05, **where)
    image.colorbar = bar
    bar.outline.set_linewidth(0.5)
    bar.outline.set_edgecolor(style.INK)
    bar.locator = MaxNLocator(5, steps=[1, 2, 5, 10], symmetric=scale.low < 0 < scale.high)
    bar.update_ticks()
    bar.ax.tick_params(labelsize=style.SMALL, width=0.5, length=2.5, pad=1.5, colors=style.INK)
    for axis in (bar.ax.xaxis, bar.ax.yaxis):
        axis.get_offset_text().set(size=style.SMALL, color=style.INK)
    bar.set_label(label, size=style.LABEL, color=style.INK, labelpad=2)
    if noise is not None and noise[1] > 0:
        horizontal = orientation == "horizontal"
        span, line = (bar.ax.axvspan, bar.ax.axvline) if horizontal else (bar.ax.axhspan, bar.ax.axhline)
        # Two bands over each other fade as one does within every group's floor, and half as much up to the highest.
        bands = sorted(set(noise))
        for floor in bands:
            low, high = max(-floor, scale.low), min(floor, scale.high)
            span(low, high, facecolor="white", alpha=1 - FADED ** (1 / len(bands)), linewidth=0, zorder=3)
            for end in (low, high):
                line(end, color=style.INK, linewidth=0.6, zorder=4)
        align = ("center", "bottom", 0) if horizontal else ("right", "center", 90)
        bar.ax.annotate(
            "noise" if len(bands) == 1 else "noise, by group",
            (0, 1) if horizontal else (0, 0),
            xytext=(0, 2) if horizontal else (-2, 0),
            xycoords=bar.ax.get_xaxis_transform() if horizontal else bar.ax.get_yaxis_transform(),
            textcoords="offset points",
            ha=align[0],
            va=align[1],
            rotation=align[2],
            fontsize=style.SMALL,
            color=style.QUIET,
        )
    return bar
