"""What a film shows where: the order of its maps, their one scale, their titles, and its caption."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import whole_number
from topomap.plot import style
from topomap.plot.captions import unit_of_maps
from topomap.plot.frames import Painter
from topomap.plot.grid import describe, neurons
from topomap.plot.panel import Ground, draw_bar
from topomap.plot.stage import Plan, draw_stage, margin_of
from topomap.training import Places, StepQuality, TrainingMaps, tell_divergence

#: Words beside the rows of a film by correctness.
ROWS = ("correct", "wrong")

#: Values that the colour scale is chosen from.
_SAMPLE = 2_000_000


def make_painter(
    plan: Plan,
    maps: TrainingMaps,
    places: Places,
    scale: style.Scale,
    *,
    noise: bool,
    counted: frozenset[int],
    panels: tuple[int | None, ...],
    metrics: Mapping[str, NDArray[np.float64]],
    title: str,
    quality: StepQuality | None,
) -> Painter:
    """Draw what stands still, and return what paints the rest."""
    side = plan.maps[0].w if plan.maps else 100
    ground = Ground.of(places.at(0.0), resolution=side - 2 * margin_of(side))
    free = places.moving and ground.layout.region == "hull"  # the outline moves with the neurons
    colors = style.categorical(maps.kinds.count("groups")) if plan.dots is not None else []  # groups come first
    live = ~maps.always_dead
    band = None
    if noise and maps.floors.any():
        typical = np.median(maps.floors[-1][maps.floors[-1] > 0]) if maps.floors[-1].any() else 0.0
        band = (float(typical), float(typical))
    names = tuple("" if i is None else _name(maps, i, bool(plan.rows)) for i in panels)
    titles: list[tuple[str, str, str] | None] = []
    for i, name in zip(panels, names, strict=True):
        if i is None or i in counted:
            titles.append(None)
        else:
            titles.append((name, _note(maps, i), style.QUIET if maps.small[-1, i] else style.INK))

    def bar(figure: Any, axes: Any) -> None:
        from matplotlib.cm import ScalarMappable

        draw_bar(
            figure, axes, ScalarMappable(scale.norm, scale.cmap), scale, unit_of_maps(maps.contrast, maps.kinds),
            orientation="horizontal", noise=band,
        )  # fmt: skip

    marks = [None if i is None or i >= len(colors) else colors[i] for i in panels] if colors else None
    legend = [] if plan.maps else list(zip(maps.titles, colors, strict=True))
    stage = draw_stage(
        plan, title, titles, steps=maps.steps, metrics=metrics, quality=quality, marks=marks, legend=legend,
        outline=None if free else ground.outline, border=None if free else ground.border,
        bar=bar if live.any() else None,
    )  # fmt: skip
    return Painter(stage, maps, places, ground, scale, noise, counted, panels, tuple(metrics), names, colors)


def _name(maps: TrainingMaps, i: int, judged: bool) -> str:
    """Return what a map is called; without "correct" or "wrong" where its row says that."""
    parts = maps.titles[i].split(", ")
    return parts[1 - maps.by.index("correct")] if judged and len(parts) == 2 else maps.titles[i]


def _note(maps: TrainingMaps, i: int) -> str:
    if maps.kinds[i] == "inputs":
        return ""
    other = int(maps.others[-1, i])
    return f"n = {int(maps.counts[-1, i]):,}" + (f", {other:,}" if other else "")


def choose_scale(maps: TrainingMaps, limits: style.Limits, cmap: Any) -> style.Scale:
    """Choose the scale from values of live neurons of maps that count; of long films from some of the steps."""
    n_steps, n_maps, n_neurons = maps.values.shape
    stride = max(1, n_steps * n_maps * n_neurons // _SAMPLE)
    counting = ~maps.small & (maps.counts > 0)
    if not counting.any():
        counting = maps.counts > 0
    some = sorted({*range(0, n_steps, stride), n_steps - 1})
    parts = [np.asarray(maps.values[i])[counting[i]][:, ~maps.dead[i]].ravel() for i in some]
    chosen = style.scale(np.concatenate(parts), limits, cmap)
    ends = np.array([float(np.min(maps.values)), float(np.max(maps.values))])
    return style.scale(ends, (chosen.low, chosen.high), chosen.cmap)  # arrows are of all that is shown


def arrange_maps(
    maps: TrainingMaps, painted: bool, columns: int | None
) -> tuple[tuple[int | None, ...], int | None, tuple[str, ...]]:
    """Return which map stands where, the number of columns, and words beside rows: correct inputs above wrong ones."""
    n = len(maps.titles)
    if not painted:
        return (), None, ()
    if columns is not None:
        return tuple(range(n)), min(whole_number("columns", columns, 1), n), ()
    if len(maps.by) != 2 or "correct" not in maps.by or set(maps.kinds) != {"groups"}:
        return tuple(range(n)), None, ()
    judged = maps.by.index("correct")
    other = 1 - judged
    order = [key[other] for key in maps.keys if bool(key[judged])]
    order += [key[other] for key in maps.keys if key[other] not in order]
    order = list(dict.fromkeys(order))
    found = {(bool(key[judged]), key[other]): i for i, key in enumerate(maps.keys)}
    return tuple(found.get((right, name)) for right in (True, False) for name in order), len(order), ROWS


def describe_film(
    maps: TrainingMaps,
    places: Places,
    scale: style.Scale,
    noise: bool,
    between: int,
    painted: bool,
    dots: bool = False,
    quality: StepQuality | None = None,
) -> str:
    """Return what a viewer must know, for the foot of the page."""
    ever = int(maps.dead.any(axis=0).sum())
    jointly = f"of {_share(len(places.provenance.get('steps', ())), places.n_steps)} together"
    kind = {"last": "of the last step", "first": "of the first step", "joint": jointly, "given": "given"}
    moved = f"moving, laid out at {_share(len(places.keys), places.n_steps)}"
    layout = f"layout {places.layouts[-1].method} ({kind.get(places.kind, moved)})"
    over = f"{maps.n_rows:,} inputs" + (f" by {' x '.join(maps.by)}" if maps.by else "")
    dead = f"; grey: dead ({ever:,} at some step)" if ever else ""
    parts = [
        f"{describe(maps.layer, maps.reduce)}: {neurons(maps.n_neurons, 0, False)}{dead}; {layout}; {over}",
    ]
    if dots:
        colored = ", in the colour of the group that drives each most, pale for none"
        parts.append("Dots: neurons" + (colored if "groups" in maps.kinds else ""))
    if painted:
        parts.append(
            f"One scale for all steps, ±{scale.high:.2g}, in standard deviations of each neuron at that step"
            if scale.low < 0
            else f"One scale for all steps, {scale.low:.2g} to {scale.high:.2g}"
        )
        if noise and maps.floors.any():
            parts.append("Faded: within the noise floor of shuffled labels (pointwise 95%)")
        if maps.small.any():
            parts.append(f"Pale: fewer than {maps.min_size} inputs")
    if quality is not None and len(quality.at) < places.n_steps:
        parts.append(f"Curves of neighbours: measured at {_share(len(quality.at), places.n_steps)}")
    if between:
        most = "up to " if places.moving else ""
        parts.append(
            f"{len(maps.steps)} snapshots; {most}{between} frame{'s' * (between != 1)} between two, interpolated"
        )
    if maps.diverged:
        parts.append(f"Left out: {tell_divergence(maps.diverged)}")
    return ". ".join(parts) + "."


def _share(n: int, of: int) -> str:
    """Return at how many of the steps something was done; the others are interpolated."""
    return f"{n} of the {of} steps" if n < of else "all steps"


def read_pairs(difference: Any) -> tuple[tuple[str, str], ...]:
    """Return the pairs of groups that are subtracted from each other: of none, one pair, or several."""
    if difference is None:
        return ()
    pairs = [difference] if len(difference) == 2 and all(isinstance(g, str) for g in difference) else list(difference)
    for pair in pairs:
        if isinstance(pair, str) or len(pair) != 2 or pair[0] == pair[1]:
            raise ValueError(
                f"difference must be a pair of two groups, ('cat', 'dog'), or several pairs; got {difference!r}."
            )
    return tuple((str(a), str(b)) for a, b in pairs)
