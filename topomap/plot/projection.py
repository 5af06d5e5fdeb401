"""Inputs as dots, coloured by group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from topomap._check import instance_of
from topomap.groups import By, Groups
from topomap.layout import Projection
from topomap.patterns import Patterns
from topomap.plot import style
from topomap.plot.panel import new_axes, points_across
from topomap.plot.text import text_width

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: More groups than this have no colours of their own.
MOST_GROUPS = 40

#: Of inputs in no group that is shown.
_REST = "#d4d4d4"


def plot_projection(
    projection: Projection,
    by: By | None = None,
    *,
    ax: Axes | None = None,
    names: bool = True,
    size: float | None = None,
    title: str | None = None,
) -> Axes:
    """Draw inputs as dots, coloured by group, each group's name among its inputs.

    `plot_profiles` takes a projection to draw beside the maps, in the same colours.

    Parameters
    ----------
    projection
        From `project_inputs`.
    by
        The groups, as in `profile`; inputs in none and the noise of patterns are grey, one in several takes the colour
        of the first.
    ax
        Axes to draw into; by default those of a new figure, one column wide.
    names
        Whether to write the groups' names.
    size
        Diameter of a dot in points; by default it follows the number of inputs.
    title
        A title; by default it says how many inputs, of what layer and by what method. ``""`` for none.

    Returns
    -------
    matplotlib.axes.Axes
        With the inputs as ``ax.collections[0]``.

    Raises
    ------
    ValueError
        If there are more than 40 groups.

    Examples
    --------
    >>> from topomap.layout import project_inputs
    >>> from topomap.run import Activations
    >>> values = np.random.default_rng(0).normal(size=(50, 8))
    >>> acts = Activations.from_array(values, animal=np.where(values[:, 0] > 0, "cat", "dog"))
    >>> ax = plot_projection(project_inputs(acts, "pca"), by="animal")
    >>> [text.get_text() for text in ax.texts]
    ['cat', 'dog']
    """
    way_out = "Make one with tm.project_inputs(acts); the grouping comes second."
    instance_of("projection", projection, Projection, way_out)
    groups = None if by is None else projection.groups(by)
    if groups is not None and isinstance(by, Patterns):
        groups = groups.take(np.flatnonzero([name != "noise" for name in groups.names]))
    if groups is not None and len(groups) > MOST_GROUPS:
        raise ValueError(
            f"by makes {len(groups)} groups, more than the {MOST_GROUPS} that colours can tell apart: "
            "group by a coarser column."
        )
    if ax is None:
        ax = new_axes(0, title != "")
    draw_projection(ax, projection, groups, () if groups is None else groups.names, names=names, size=size)
    if title != "":
        text = title if title is not None else describe_projection(projection)
        ax.set_title(text, fontsize=style.TITLE, color=style.INK, pad=3, parse_math=False)
    return ax


def describe_projection(projection: Projection) -> str:
    """Return ``797 inputs, layer relu1, by umap``."""
    return f"{len(projection):,} inputs, layer {projection.layer}, by {projection.method}"


def draw_projection(
    ax: Axes,
    projection: Projection,
    groups: Groups | None,
    shown: Sequence[str],
    *,
    names: bool = True,
    size: float | None = None,
) -> None:
    """Draw dots into axes, the groups that are shown in the colours `style.categorical` gives in that order."""
    from matplotlib.patheffects import withStroke

    frame = 1.06
    ax.set(xlim=(-frame, frame), ylim=(-frame, frame), aspect="equal", xticks=[], yticks=[])
    for spine in ax.spines.values():
        spine.set(linewidth=0.5, edgecolor=style.DEAD)
    points = points_across(ax)
    spacing = points / np.sqrt(max(len(projection), 1))
    diameter = float(np.clip(0.45 * spacing, 1.0, 5.0)) if size is None else float(size)
    colors = np.array([*style.categorical(len(shown)), _REST if groups is not None else style.INK])
    codes = _codes(projection, groups, shown)
    # Grey below; else in the order of the inputs, so that no group lies over the others because it comes last.
    order = np.argsort(codes >= 0, kind="stable")
    dots = projection.positions[order]
    ax.scatter(dots[:, 0], dots[:, 1], s=diameter**2, c=colors[codes[order]], linewidths=0, alpha=0.85, zorder=2)
    if not names:
        return
    halo = [withStroke(linewidth=1.6, foreground="white", alpha=0.9)]
    for name, x, y, dot in _places_of_names(projection, codes, shown, frame, points):
        if abs(y - dot[1]) > 3 * frame * style.TITLE / points:  # too far from its dots to be taken for theirs
            ax.plot([dot[0], x], [dot[1], y], color=style.INK, linewidth=0.4, zorder=3)
        ax.text(
            x, y, name, fontsize=style.TITLE, color=style.INK, ha="center", va="center", zorder=4,
            path_effects=halo, parse_math=False,
        )  # fmt: skip


def _places_of_names(
    projection: Projection, codes: NDArray[np.int64], shown: Sequence[str], frame: float, points: float
) -> list[tuple[str, float, float, NDArray[np.float64]]]:
    """Return ``(name, x, y, dot)``: each name is at a dot of its group, or as near above or below it as others allow.

    Parameters
    ----------
    projection, codes, shown
        What is drawn, and of which group every dot is.
    frame, points
        The axes reach from -frame to frame, which are so many points on paper.
    """
    unit = 2 * frame / points
    high = 1.1 * style.TITLE * unit
    steps = sorted((step * high / 4 for step in range(-40, 41)), key=abs)
    taken = np.empty((0, 3))  # x, y and width of the names that have a place
    placed = []
    for code, name in enumerate(shown):
        own = projection.positions[codes == code]
        if not len(own):
            continue
        middle = np.median(own, axis=0)
        dot = own[np.argmin(((own - middle) ** 2).sum(axis=1))]  # among the group's own, also where it is bent
        wide = text_width(name, style.TITLE) * unit
        room = max(frame - wide / 2 - 0.02, 0.0)  # names stay within the axes
        x = float(np.clip(dot[0], -room, room))
        near = taken[np.abs(taken[:, 0] - x) < (taken[:, 2] + wide) / 2 + 0.01]
        inside = [dot[1] + step for step in steps if abs(dot[1] + step) < frame - high / 2]
        free = (y for y in inside if not (np.abs(near[:, 1] - y) < high).any())
        y = float(next(free, dot[1]))
        taken = np.vstack([taken, [x, y, wide]])
        placed.append((name, x, y, dot))
    return placed


def _codes(projection: Projection, groups: Groups | None, shown: Sequence[str]) -> NDArray[np.int64]:
    """Return the position of each input's group among those shown, -1 for none."""
    codes = np.full(len(projection), -1, dtype=np.int64)
    if groups is None:
        return codes
    for code in range(len(shown))[::-1]:
        if shown[code] in groups.names:
            codes[groups.rows_of(shown[code])] = code
    return codes
