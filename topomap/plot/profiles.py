"""One map per group of inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from topomap._check import choice, instance_of, same_length, unknown
from topomap.layout import Layout
from topomap.layout.regions import Region
from topomap.plot import style
from topomap.plot.certainty import describe_doubt, paint_doubt
from topomap.plot.grid import arrows, choose_columns, choose_width, describe, make_grid, neurons, show_picture
from topomap.plot.panel import Dots, Ground, check_marks, draw_bar, draw_map
from topomap.profiles import Profiles
from topomap.quality import Stability
from topomap.run import Activations, Inputs
from topomap.similarity import Similarity

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure, SubFigure

Examples = Activations | Inputs | Mapping[str, Any]

#: More groups than this are illegible in one figure.
MOST_GROUPS = 100

_DEFAULT: dict[str, Any] = {
    "limits": "robust", "cmap": None, "noise": True, "contours": 4, "outline": True, "dots": "auto",
    "region": None, "interpolation": "linear", "extrapolate": "auto", "resolution": 100,
}  # fmt: skip
_KRUG2023: dict[str, Any] = {
    "limits": "max", "cmap": "bwr", "noise": False, "contours": 0, "outline": False, "dots": False,
    "region": "square", "interpolation": "linear", "extrapolate": "none", "resolution": 100,
}  # fmt: skip


def plot_profiles(
    profiles: Profiles,
    layout: Layout,
    *,
    ax: Sequence[Any] | NDArray[Any] | None = None,
    groups: Sequence[str] | None = None,
    order: Literal["dendrogram", "given"] = "dendrogram",
    columns: int | None = None,
    width: Literal["single", "double"] | float | None = None,
    examples: Examples | None = None,
    example: Literal["first", "mean"] = "first",
    limits: style.Limits = None,
    cmap: str | Colormap | None = None,
    noise: bool | None = None,
    contours: int | None = None,
    outline: bool | None = None,
    dots: Dots | None = None,
    mask: Any | None = None,
    borders: Similarity | None = None,
    certainty: Stability | None = None,
    colorbar: bool = True,
    caption: bool | str = True,
    region: str | Region | NDArray[np.bool_] | None = None,
    interpolation: str | None = None,
    extrapolate: str | None = None,
    resolution: int | None = None,
    preset: Literal["krug2023"] | None = None,
) -> Figure | SubFigure:
    """Paint the mean activation of each group, all on one colour scale.

    Neurons are scaled to their own standard deviation, and the maps are faded where they stay below the noise floor:
    what the map of a group of this size would show if labels meant nothing.

    Parameters
    ----------
    profiles
        Group means.
    layout
        Where the neurons are.
    ax
        Axes to draw into, one per group drawn; by default those of a new figure with titles, colour bar and caption.
        Given axes get titles and one colour bar, and no caption.
    groups
        Names of the groups to draw; all by default. The scale is that of the groups drawn.
    order
        Groups along the leaves of a dendrogram of their profiles, or as given.
    columns
        Maps per row.
    width
        Of the figure: ``"single"`` (3.5 in) or ``"double"`` (7.2 in) column, or inches; single for up to three groups.
    examples
        For a picture above each map: the activations or inputs that the profiles were made from (with
        thumbnails), or a mapping from group names to pictures ``(height, width[, 3])``.
    example
        Which picture: the group's ``"first"`` input (correctly classified, where that is known), or the ``"mean"`` of
        its pictures.
    noise
        Whether to fade what is below the noise floor and mark its median on the colour bar, or the range of the groups'
        medians where they differ by more than a fifth (small groups have a higher floor). True by default. Plain means
        (``contrast="none"``) have none.
    caption
        Whether to write layer, layout, counts, contrast and unit at the foot; or a text of your own.
    preset
        ``"krug2023"``: the look of Krug et al. 2023 (arXiv 2204.03528): raw values, ``bwr``, limits at the largest
        absolute value, 100 x 100 pixels in a square, nothing drawn over the field. Any of these that is given goes
        first.
    limits, cmap, contours, outline, dots, mask, borders, certainty
        As of `plot_topomap`, by default with 4 contours.
    colorbar, region, interpolation, extrapolate, resolution
        As of `plot_topomap`, by default with 100 pixels.

    Returns
    -------
    matplotlib.figure.Figure
        Save it with ``with style.rc(): figure.savefig(...)`` to keep text as text in a PDF.

    Raises
    ------
    ValueError
        If a group does not exist, there are more than 100 groups for one figure, the layout has another number of
        neurons, or an option is unknown.

    Examples
    --------
    >>> import numpy as np
    >>> from topomap.profiles import profile
    >>> rng = np.random.default_rng(0)
    >>> acts = Activations.from_array(rng.normal(size=(60, 20)), label=np.arange(60) % 4)
    >>> layout = Layout(positions=rng.uniform(-1, 1, size=(20, 2)))
    >>> figure = plot_profiles(profile(acts, by="label"), layout, columns=2)
    >>> figure.get_size_inches()[0]
    np.float64(7.2)
    """
    instance_of("profiles", profiles, Profiles, "Make them with tm.profile(acts, by='label'); the layout comes second.")
    instance_of("layout", layout, Layout, "Make one with tm.embed(tm.correlate(acts)).")
    choice("order", order, ("dendrogram", "given"))
    choice("example", example, ("first", "mean"))
    if preset is not None:
        choice("preset", preset, ("krug2023",))
    given = {
        "limits": limits, "cmap": cmap, "noise": noise, "contours": contours, "outline": outline, "dots": dots,
        "region": region, "interpolation": interpolation, "extrapolate": extrapolate, "resolution": resolution,
    }  # fmt: skip
    look = (_DEFAULT if preset is None else _KRUG2023) | {name: v for name, v in given.items() if v is not None}
    check_marks(layout, look["contours"], look["dots"], mask, borders, certainty)
    place = {name: look[name] for name in ("region", "resolution", "interpolation", "extrapolate")}
    ground = Ground.of(layout, **place, smooth=preset is None)
    chosen = _choose(profiles, groups, order, most=MOST_GROUPS if ax is None else None)
    raw = preset is not None or profiles.preset is not None
    values = ground.values((profiles.values if raw else profiles.scaled)[chosen], "profiles", n_maps=True)
    live = ~(profiles.dead | layout.dead)
    scale = style.scale(values, look["limits"], look["cmap"], live=live)
    fades = look["noise"] and profiles.contrast != "none"
    floor = (profiles.noise_floor if raw else profiles.scaled_noise)[chosen] if fades else None
    names = [profiles.names[i] for i in chosen]
    titles = [(name, f"n = {profiles.counts[i]:,}") for name, i in zip(names, chosen, strict=True)]
    pictures = None if examples is None else _pictures(profiles, names, examples, example)
    unit = "raw activation" if raw else "standard deviations of each neuron"
    label = f"{'activation' if profiles.contrast == 'none' else 'difference from the mean group'}\n({unit})"
    fields = ground.paint(values)
    floors = None if floor is None else ground.paint(ground.values(floor, "the noise floor", n_maps=True))
    doubt = None if certainty is None else paint_doubt(ground, certainty)
    if ax is None:
        inches = choose_width(width, len(chosen))
        text = (
            caption
            if isinstance(caption, str)
            else _caption(profiles, layout, values, floor, scale, raw, live, look["dots"] is not False, certainty)
        )
        grid = make_grid(
            titles,
            width=inches,
            columns=choose_columns(len(chosen), inches, columns),
            pictures=pictures is not None,
            caption=text if caption else "",
            bar=colorbar,
        )
        maps, bar = [panel.map for panel in grid.panels], grid.bar
        figure: Figure | SubFigure = grid.figure
        for panel, picture in zip(grid.panels, pictures or [], strict=False):
            assert panel.picture is not None
            if picture is None:
                panel.picture.set_axis_off()
            else:
                show_picture(panel.picture, picture)
    else:
        maps = list(np.ravel(np.asarray(ax, dtype=object)))
        same_length("ax", len(maps), "group", len(chosen))
        if pictures is not None:
            raise ValueError("examples need a figure of their own: leave ax or examples out.")
        figure, bar = maps[0].figure, None
        for axes, (name, note) in zip(maps, titles, strict=True):
            axes.set_title(f"{name} ({note})", fontsize=style.TITLE, color=style.INK, pad=2, parse_math=False)
    for i, axes in enumerate(maps):
        image = draw_map(
            axes,
            ground,
            fields[i],
            scale,
            noise=None if floors is None else floors[i],
            contours=look["contours"],
            outline=look["outline"],
            dots=look["dots"],
            mask=mask,
            borders=borders,
            doubt=doubt,
        )
    if colorbar:
        across: Literal["vertical", "horizontal"] = "vertical" if bar is None else "horizontal"
        draw_bar(figure, bar or maps, image, scale, label, orientation=across, noise=_medians(floor, live))
    return figure


def _choose(profiles: Profiles, groups: Sequence[str] | None, order: str, most: int | None) -> NDArray[np.int64]:
    """Return the groups to draw as positions, in the order to draw them in."""
    index = np.arange(len(profiles.names))
    if groups is not None:
        if isinstance(groups, str):
            groups = [groups]
        for name in groups:
            if name not in profiles.names:
                raise unknown("group", name, profiles.names)
        index = np.array([profiles.names.index(name) for name in groups], dtype=np.int64)
    if not len(index):
        raise ValueError("groups must name at least one group; got none.")
    if most is not None and len(index) > most:
        raise ValueError(
            f"one figure shows at most {most} groups; got {len(index)} by {' x '.join(profiles.by) or 'groups'}. "
            "Name those to draw with groups=[...], or profile by a coarser column."
        )
    if order == "dendrogram" and groups is None:
        return profiles.order
    return index


def _medians(floor: NDArray[np.float64] | None, live: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Return the smallest and the largest group's median noise floor; twice that of all where groups hardly differ."""
    if floor is None or not live.any():
        return None
    groups = np.median(floor[:, live], axis=1)
    low, high = float(groups.min()), float(groups.max())
    if high <= 1.2 * low:
        low = high = float(np.median(floor[:, live]))
    return low, high


def _pictures(profiles: Profiles, names: list[str], examples: Examples, example: str) -> list[NDArray[Any] | None]:
    """Return one picture per group, None for groups without."""
    if isinstance(examples, Mapping):
        for name in examples:
            if name not in profiles.names:
                raise unknown("examples: group", name, profiles.names)
        return [np.asarray(examples[name]) if name in examples else None for name in names]
    inputs = examples if isinstance(examples, Inputs) else examples.inputs
    if inputs.thumbnails is None:
        raise ValueError(
            "examples have no thumbnails: record with thumbnails=True, or pass a mapping from group names to pictures."
        )
    if any(column not in inputs.columns for column in profiles.by):
        raise ValueError(
            f"examples have no column {' x '.join(profiles.by)!r} to tell the groups by: "
            "pass a mapping from group names to pictures."
        )
    # One row per input that was grouped, so that rows of one group are inputs of it.
    table = Activations(np.zeros((len(inputs), 0), dtype=np.float32), inputs)
    members = table.groups(profiles.by)
    used = np.arange(len(inputs)) if isinstance(examples, Inputs) else np.unique(np.asarray(examples.rows))
    correct = inputs.correct
    pictures: list[NDArray[Any] | None] = []
    for name in names:
        rows = np.intersect1d(members.rows_of(name), used) if name in members.names else np.empty(0, dtype=np.int64)
        if not len(rows):
            pictures.append(None)
        elif example == "mean":
            total = sum(np.asarray(inputs.thumbnails[int(row)], dtype=np.float64) for row in rows)
            pictures.append(np.clip(np.rint(np.asarray(total) / len(rows)), 0, 255).astype(np.uint8))
        else:
            right = rows if correct is None else rows[np.asarray(correct[rows] == 1)]
            pictures.append(np.asarray(inputs.thumbnails[int((right if len(right) else rows)[0])]))
    return pictures


def _caption(
    profiles: Profiles,
    layout: Layout,
    values: NDArray[np.float64],
    floor: NDArray[np.float64] | None,
    scale: style.Scale,
    raw: bool,
    live: NDArray[np.bool_],
    drawn: bool,
    certainty: Stability | None,
) -> str:
    """Return what a reader must know to read the maps."""
    against = {"none": "Plain group means", "mean": "Group means minus the mean over groups"}
    shown = against.get(profiles.contrast, f"Contrast: {profiles.contrast}")
    if profiles.contrast == "mean" and profiles.weights == "size":
        shown += " weighted by size"
    unit = "in raw units" if raw else "in standard deviations of each neuron"
    parts = [
        f"{describe(profiles.layer, profiles.reduce)}: {neurons(profiles.n_neurons, int((~live).sum()), drawn)}; "
        f"layout {layout.method}; {profiles.n_rows:,} inputs",
        f"{shown}, {unit}",
    ]
    medians = _medians(floor, live)
    if medians is not None:
        low, high = medians
        size = f"median ±{low:.2g}" + (f" to ±{high:.2g} by group" if high > low else "")
        parts.append(f"Faded: within the noise floor of shuffled labels (pointwise 95%, {size})")
    if certainty is not None:
        parts.append(describe_doubt(certainty, live))
    if scale.extend != "neither":
        parts.append(arrows(values[:, live], scale))
    return ". ".join(parts) + "."
