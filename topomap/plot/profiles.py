"""One map per group of inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from topomap._check import choice, instance_of, same_length, unknown
from topomap.groups import Groups
from topomap.layout import Layout, Projection
from topomap.layout.regions import Region
from topomap.plot import style
from topomap.plot.captions import caption_of, count_of, medians, reference_of, title_of, too_few, unit_of
from topomap.plot.certainty import paint_doubt
from topomap.plot.examples import Examples, pictures_of
from topomap.plot.grid import WIDE, choose_columns, choose_width, make_grid, show_picture
from topomap.plot.panel import Dots, Ground, check_marks, draw_bar, draw_map
from topomap.plot.projection import describe_projection, draw_projection
from topomap.plot.table import arrange_table, make_table
from topomap.plot.tree import choose_tree, make_tree
from topomap.profiles import Profiles
from topomap.quality import Stability
from topomap.similarity import Similarity

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure, SubFigure

#: How the maps of a figure can stand.
ARRANGEMENTS = ("grid", "matrix", "tree")

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
    arrange: Literal["grid", "matrix", "tree"] | None = None,
    order: Literal["dendrogram", "given"] = "dendrogram",
    columns: int | None = None,
    width: Literal["single", "double"] | float | None = None,
    examples: Examples | None = None,
    example: Literal["first", "mean"] = "first",
    projection: Projection | None = None,
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
    what the map of a group of this size would show if labels meant nothing. Groups of too few inputs are pale and
    titled in grey, and do not set the scale. Profiles against one group (``profile(acts, by, contrast="dog")``) are
    painted as differences from it.

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
    arrange
        ``"grid"``: row by row. ``"matrix"``: groups by two columns as rows and columns of maps, counts in each cell,
        empty where there are no such inputs: labels over predictions (a confusion matrix), correct over wrong with a
        column per class, or any other two, the first as rows. ``"tree"``: at the leaves of a dendrogram of the
        profiles (average linkage, cosine distance). By default a matrix for these two error modes of Krug et al. 2023,
        unless groups, axes, examples or a projection are given, and a grid for all others.
    order
        Groups along the leaves of a dendrogram of their profiles, or as given. In a matrix, classes along that of
        their correctly predicted inputs.
    columns
        Maps per row.
    width
        Of the figure: ``"single"`` (3.5 in) or ``"double"`` (7.2 in) column, or inches; single for up to three groups,
        and for trees of up to five or of more than thirteen, whose maps stand below each other.
    examples
        For a picture above each map: the activations or inputs that the profiles were made from (with
        thumbnails), or a mapping from group names to pictures ``(height, width[, 3])``.
    example
        Which picture: the group's ``"first"`` input (correctly classified, where that is known), or the ``"mean"`` of
        its pictures.
    projection
        From `project_inputs`: the inputs as dots, left of a grid of maps (above it where the figure is narrow),
        coloured by group as the marks of the titles.
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
        If a group does not exist, there are more than 100 groups for one figure, a matrix is asked of groups that are
        not by two columns, the layout has another number of neurons, or an option is unknown or does not go with
        another.

    Examples
    --------
    >>> import numpy as np
    >>> from topomap.profiles import profile
    >>> from topomap.run import Activations
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
    arranged = choose_arrangement(profiles, arrange, groups, order, ax=ax, examples=examples, projection=projection)
    profiles = profiles.over_places()
    given = {
        "limits": limits, "cmap": cmap, "noise": noise, "contours": contours, "outline": outline, "dots": dots,
        "region": region, "interpolation": interpolation, "extrapolate": extrapolate, "resolution": resolution,
    }  # fmt: skip
    look = (_DEFAULT if preset is None else _KRUG2023) | {name: v for name, v in given.items() if v is not None}
    check_marks(layout, look["contours"], look["dots"], mask, borders, certainty)
    place = {name: look[name] for name in ("region", "resolution", "interpolation", "extrapolate")}
    ground = Ground.of(layout, **place, smooth=preset is None)
    chosen = _choose(profiles, groups, most=MOST_GROUPS if ax is None else None)
    table = arrange_table(profiles, chosen, order) if arranged == "matrix" else None
    tree = profiles.linkage(chosen) if arranged == "tree" else None
    if tree is not None or (table is None and order == "dendrogram" and groups is None):
        chosen = profiles.ordered(chosen)
    raw = preset is not None or profiles.preset is not None
    values = ground.values((profiles.values if raw else profiles.scaled)[chosen], "profiles", n_maps=True)
    live = ~(profiles.dead | layout.dead)
    small = too_few(profiles)[chosen]
    # One input of a group of three may reach far, which must not take the colours from the groups that count.
    counting = values if small.all() else values[~small]
    scale = style.scale(counting, look["limits"], look["cmap"], live=live)
    scale = style.scale(values, (scale.low, scale.high), look["cmap"], live=live)  # arrows are of all groups drawn
    fades = look["noise"] and profiles.contrast != "none"
    floor = (profiles.noise_floor if raw else profiles.scaled_noise)[chosen] if fades else None
    names = [profiles.names[i] for i in chosen]
    titles = [title_of(profiles, i) for i in chosen]
    colors = [style.QUIET if few else style.INK for few in small]
    pictures = None if examples is None else pictures_of(profiles, names, examples, example)
    members = None if projection is None else _members(profiles, projection)
    fields = ground.paint(values)
    floors = None if floor is None else ground.paint(ground.values(floor, "the noise floor", n_maps=True))
    doubt = None if certainty is None else paint_doubt(ground, certainty)
    text = ""
    if caption is True:
        about: dict[str, Any] = {"raw": raw, "dots": look["dots"] is not False, "small": small, "certainty": certainty}
        more = _more(arranged, projection, _grid_width(width, len(chosen), projection))
        text = caption_of(profiles, layout, values, floor, scale, **about, more=more)
    elif isinstance(caption, str):
        text = caption
    bar = None
    if ax is None:
        foot: dict[str, Any] = {"caption": text, "bar": colorbar}
        if table is not None:
            inches = choose_width(width, len(table.columns))
            notes = [count_of(profiles, i) for i in chosen]
            grid = make_table(table, notes, colors, width=inches, columns=columns, **foot)
        elif tree is not None:
            inches, across = choose_tree(len(chosen), width)
            grid = make_tree(tree, titles, colors, width=inches, across=across, **foot)
        else:
            inches = _grid_width(width, len(chosen), projection)
            aside = (0.36 if inches >= WIDE else 0.72) * inches if projection is not None else 0.0
            marks = style.categorical(len(chosen)) if projection is not None else None
            columns = choose_columns(len(chosen), inches - aside if inches >= WIDE else inches, columns)
            parts: dict[str, Any] = {"pictures": pictures is not None, "colors": colors, "marks": marks, "aside": aside}
            grid = make_grid(titles, width=inches, columns=columns, **parts, **foot)
        maps, bar = [panel.map for panel in grid.panels], grid.bar
        figure: Figure | SubFigure = grid.figure
        for panel, picture in zip(grid.panels, pictures or [], strict=False):
            assert panel.picture is not None
            if picture is None:
                panel.picture.set_axis_off()
            else:
                show_picture(panel.picture, picture)
        if projection is not None and grid.aside is not None:
            draw_projection(grid.aside, projection, members, names)
    else:
        maps = list(np.ravel(np.asarray(ax, dtype=object)))
        same_length("ax", len(maps), "group", len(chosen))
        figure = maps[0].figure
        for axes, (name, note), color in zip(maps, titles, colors, strict=True):
            axes.set_title(f"{name} ({note})", fontsize=style.TITLE, color=color, pad=2, parse_math=False)
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
            pale=bool(small[i]),
        )
    if colorbar:
        along: Literal["vertical", "horizontal"] = "vertical" if bar is None else "horizontal"
        band = medians(floor if floor is None or small.all() else floor[~small], live)
        draw_bar(figure, bar or maps, image, scale, unit_of(profiles, raw), orientation=along, noise=band)
    return figure


def choose_arrangement(
    profiles: Profiles,
    arrange: str | None,
    groups: Sequence[str] | None = None,
    order: str = "dendrogram",
    **parts: Any,
) -> str:
    """Return how maps are arranged: as asked, error modes as a matrix, all others as a grid.

    Parameters
    ----------
    profiles, arrange, groups, order
        As of `plot_profiles`.
    **parts
        What only a grid of its own has room for, None where it is not given.

    Raises
    ------
    ValueError
        If one does not go with another.
    """
    given = [name for name, value in parts.items() if value is not None]
    if len(given) > 1 and "ax" in given:
        raise ValueError(f"{given[1]} need a figure of their own: leave ax or {given[1]} out.")
    if arrange is None:
        by = set(profiles.by)
        error_modes = len(profiles.by) == 2 and ("correct" in by or by == {"label", "prediction"})
        return "matrix" if error_modes and groups is None and not given else "grid"
    choice("arrange", arrange, ARRANGEMENTS)
    if given and arrange != "grid":
        raise ValueError(f"{given[0]} goes with arrange='grid'; got arrange={arrange!r}: leave one of them out.")
    if arrange == "tree" and order != "dendrogram":
        raise ValueError("arrange='tree' draws groups in the order of its leaves: leave order out.")
    if arrange == "matrix" and len(profiles.by) != 2:
        raise ValueError(
            "arrange='matrix' needs groups by two columns, as by=('label', 'correct') or by=('label', 'prediction'); "
            f"got {' x '.join(profiles.by) or 'groups'}."
        )
    return arrange


def _members(profiles: Profiles, projection: Projection) -> Groups:
    """Return the groups of the projected inputs."""
    instance_of("projection", projection, Projection, "Make one with tm.project_inputs(acts).")
    if not profiles.by or any(column not in projection.inputs.columns for column in profiles.by):
        raise ValueError(
            f"the projected inputs have no column {' x '.join(profiles.by)!r} to colour them by: profile by a column, "
            "which acts.with_labels(name=values) adds."
        )
    return projection.groups(profiles.by)


def _grid_width(width: str | float | None, n: int, projection: Projection | None) -> float:
    """Return the width of a grid in inches; with a projection it takes both columns of a page by default."""
    return choose_width("double" if width is None and projection is not None else width, n)


def _more(arrange: str, projection: Projection | None, inches: float) -> str:
    """Return what the caption says of the arrangement."""
    if arrange == "tree":
        return "Dendrogram: average linkage of the maps' cosine distances"
    where = "Left" if inches >= WIDE else "Above"
    return "" if projection is None else f"{where}: {describe_projection(projection)}"


def _choose(profiles: Profiles, groups: Sequence[str] | None, most: int | None) -> NDArray[np.int64]:
    """Return the groups to draw as positions."""
    # The map of what all others are shown against is empty.
    index = np.flatnonzero([name != reference_of(profiles) for name in profiles.names])
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
    return index
