"""A film on paper: some snapshots beside each other, a row per group."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from topomap._check import instance_of
from topomap.groups import By
from topomap.layout import Layout
from topomap.plot import style
from topomap.plot.captions import unit_of_maps
from topomap.plot.grid import GAP, MARGIN, Page
from topomap.plot.montage import choose_scale, describe_film, read_pairs
from topomap.plot.panel import Ground, draw_bar, draw_map
from topomap.plot.text import text_width, wrap
from topomap.run import Run
from topomap.training import Places, TrainingMaps, collect_maps, lay_out

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

#: Most snapshots beside each other at a legible size.
MOST_SNAPSHOTS = 12


def plot_filmstrip(
    run: Run,
    layer: str | tuple[str, str],
    by: By = "label",
    *,
    steps: int | Sequence[int] = 6,
    layout: str | Layout = "last",
    groups: Sequence[str] | None = None,
    difference: tuple[str, str] | Sequence[tuple[str, str]] | None = None,
    contrast: str | None = None,
    method: Any = None,
    region: Any = None,
    limits: style.Limits = None,
    cmap: str | Colormap | None = None,
    noise: bool = True,
    contours: int = 4,
    min_size: int = 5,
    width: Literal["single", "double"] | float = "double",
    caption: bool | str = True,
    seed: int = 0,
    progress: bool = True,
) -> Figure:
    """Draw some snapshots of a training beside each other: a column per step, a row per group, one colour scale.

    Parameters
    ----------
    run
        A training: a run with snapshots.
    layer, by
        As of `animate`.
    steps
        The steps, or how many, spread evenly over the snapshots, the first and the last among them; at most 12.
    layout
        As of `animate`; ``"moving"`` gives each column its own.
    groups, difference
        Rows: names of groups, and a pair or several of which the second is subtracted from the first. By default all
        groups, along the dendrogram of their profiles at the last step.
    contrast, method, region, limits, cmap, noise, min_size, seed, progress
        As of `animate`.
    contours
        Contour lines, as of `plot_topomap`.
    width
        As of `plot_profiles`.
    caption
        Whether to write layer, layout, counts and unit at the foot; or a text of your own.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the run has no snapshots, there are too many for one figure, or an option is unknown.

    Examples
    --------
    >>> import topomap as tm
    >>> from topomap.datasets import digits
    >>> from topomap.demo import watch
    >>> run = watch(digits("train").take(range(200)), digits("test"), epochs=1)
    >>> figure = tm.plot_filmstrip(run, "relu2", steps=[0, 2])
    >>> len(figure.axes)  # ten groups at two steps, and the colour bar
    21
    """
    instance_of("run", run, Run, "A training is recorded with a tm.TrainingRecorder: recorder.run.")
    pairs = read_pairs(difference)
    kinds = [*(["groups"] if groups is not None or not pairs else []), *(["difference"] if pairs else [])]
    maps = collect_maps(
        run, layer, by, kinds=kinds, groups=groups, difference=pairs, contrast=contrast, steps=steps,
        min_size=min_size, progress=progress,
    )  # fmt: skip
    n_steps, n_maps, _ = maps.values.shape
    if n_steps > MOST_SNAPSHOTS:
        raise ValueError(f"a strip shows at most {MOST_SNAPSHOTS} snapshots; got {n_steps}: pass fewer steps=.")
    # the layout of all steps is that of the whole training, not of those that are drawn
    ever = np.all([run.at(step)[layer].dead for step in maps.steps.tolist()], axis=0)
    places = lay_out(
        run, layer, layout, always_dead=ever, steps=maps.steps.tolist(), method=method, region=region, seed=seed,
        progress=progress,
    )  # fmt: skip
    scale = choose_scale(maps, limits, cmap)
    text = describe_film(maps, places, scale, noise, 0, True) if caption is True else caption or ""
    inches = style.figure_width(width)
    label = min(0.9, max(text_width(name, style.TITLE) for name in maps.titles) / 72 + 0.1)
    side = (inches - 2 * MARGIN - label - (n_steps - 1) * GAP) / n_steps
    head = 0.2
    page = Page(inches, head + n_maps * (side + GAP), text, True)
    image: Any = None
    for column, step in enumerate(maps.steps.tolist()):
        x = MARGIN + label + column * (side + GAP)
        page.write(x + side / 2, head - 0.04, f"step {step:,}", style.TITLE, style.INK, ha="center", va="bottom")
        ground, fields = _paint(maps, places, column)
        for row in range(n_maps):
            y = head + row * (side + GAP)
            if not column:
                lines = wrap(maps.titles[row], (label - 0.04) * 72, style.TITLE)[:3]
                middle = {"ha": "right", "va": "center", "linespacing": 1.15}
                at = MARGIN + label - 0.06
                page.write(at, y + side / 2, "\n".join(lines), style.TITLE, style.INK, **middle)
            axes = page.axes(x, y, side, side)
            if ground is None or not maps.counts[column, row]:
                axes.set_axis_off()
                why = "all dead" if ground is None else "no inputs"
                axes.text(0.5, 0.5, why, fontsize=style.SMALL, color=style.QUIET, ha="center", va="center")
                continue
            floor = maps.floors[column, row] if noise else 0.0
            image = draw_map(
                axes, ground, fields[row], scale, contours=contours, dots=False, pale=bool(maps.small[column, row]),
                noise=np.full(fields[row].shape, floor, dtype=np.float32) if floor > 0 else None,
            )  # fmt: skip
    bar = page.finish()
    if bar is None or image is None:
        raise ValueError("all neurons are dead at these steps: there is nothing to paint.")
    typical = maps.floors[-1][maps.floors[-1] > 0]
    band = (float(np.median(typical)),) * 2 if noise and len(typical) else None
    draw_bar(
        page.figure, bar, image, scale, unit_of_maps(maps.contrast, maps.kinds), orientation="horizontal", noise=band
    )
    return page.figure


def _paint(maps: TrainingMaps, places: Places, column: int) -> tuple[Ground | None, Any]:
    """Return the ground of one step, on which the dead of that step are grey, and its painted maps; None if all are."""
    from dataclasses import replace

    if maps.dead[column].all():
        return None, ()
    ground = Ground.of(replace(places.at(float(column)), dead=maps.dead[column]))
    return ground, ground.paint(ground.values(np.asarray(maps.values[column]), n_maps=True))
