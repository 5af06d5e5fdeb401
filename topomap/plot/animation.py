"""animate(): a training as a film."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import choice, instance_of, listing, whole_number
from topomap.groups import By
from topomap.layout import Layout
from topomap.plot import style
from topomap.plot.film import Film
from topomap.plot.montage import arrange_maps, choose_scale, describe_film, make_painter, read_pairs
from topomap.plot.stage import make_plan
from topomap.run import Run
from topomap.training import TrainingMaps, collect_maps, lay_out, measure_steps

if TYPE_CHECKING:
    from matplotlib.colors import Colormap

#: What a film can show.
PANELS = ("groups", "difference", "inputs", "layout")

#: A film of few steps is stretched to so many seconds, by so many frames between two steps at most.
_SECONDS, _MOST_BETWEEN = 8, 11

#: How far, in half-widths of the map, all but a few neurons move in a second, and most seconds between two steps.
_PACE, _LONGEST = 0.72, 1.5


def animate(
    run: Run,
    layer: str | tuple[str, str],
    by: By = "label",
    *,
    layout: str | Layout = "last",
    panels: str | Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    difference: tuple[str, str] | Sequence[tuple[str, str]] | None = None,
    inputs: Sequence[int] | None = None,
    contrast: str | None = None,
    steps: int | Sequence[int] | None = None,
    method: Any = None,
    region: Any = None,
    limits: style.Limits = None,
    cmap: str | Colormap | None = None,
    noise: bool = True,
    min_size: int = 5,
    metrics: Sequence[str] | None = None,
    quality: bool = True,
    columns: int | None = None,
    title: str | None = None,
    fps: float | None = None,
    between: int | None = None,
    width: int = 1280,
    height: int = 720,
    seed: int = 0,
    progress: bool = True,
) -> Film:
    """Make a film of a training: how the maps of a layer come about.

    One colour scale and one order of groups hold for the whole film. Values are in standard deviations of each neuron
    at that step, so that the last frame shows what `plot_profiles` shows of the last step.

    Parameters
    ----------
    run
        A training: a run with snapshots.
    layer
        A layer, or ``(layer, reduce)``.
    by
        As of `profile`. By two columns of which one is ``"correct"``, the maps of correct inputs stand over those of
        wrong ones.
    layout
        - ``"last"``: as neurons are alike at the last step, as in Krug et al. (2023). They do not move;
        - ``"first"``: as at the first step;
        - ``"joint"``: as over all steps, or 24 of them, spread evenly, where there are more;
        - ``"moving"``: neurons move through the layouts of as many steps; see `topomap.training.lay_out`;
        - a `Layout` of your own.
    panels
        What is shown, one or several of ``"groups"``, ``"difference"``, ``"inputs"``, and ``"layout"``: neurons as
        dots, coloured by the group that drives them most where groups are shown. By default what is asked for by the
        parameters that follow, groups if nothing is, and with groups the layout too if it moves.
    groups
        Names of groups, in this order; by default all, along the dendrogram of their profiles at the last step.
    difference
        A pair of groups, or several: the second is subtracted from the first.
    inputs
        Positions of single inputs, where the training was recorded with ``keep="values"``.
    contrast
        What groups are shown against, as of `profile`.
    steps
        Some of the snapshots, or how many, spread evenly; all by default.
    method, region
        As for `embed`.
    limits, cmap
        As for `plot_topomap`, of all values of the film.
    noise
        Whether to fade what lies within the noise floor.
    min_size
        Maps of fewer inputs are pale, and do not set the scale.
    metrics
        Names of up to two logged values to draw below; by default a loss and an accuracy, where there are.
    quality
        Whether to measure how well the layout shows who is alike, at up to 24 of the steps; the caption says at how
        many.
    columns
        Maps per row.
    title
        Of the film; the layer and the grouping by default.
    fps
        Frames per second; 12 by default, 24 where neurons move.
    between
        Frames between two snapshots, which show values (and moving neurons) in between. By default as many as make a
        film of about 8 seconds, and at most 11; where neurons move, as many as the way that they go asks for, at most
        those of a second and a half.
    width, height
        In pixels, even numbers. A GIF, which is many times as large a file as a video, is better off with 800 x 450,
        and where neurons move with 12 frames per second.
    seed
        For the layout.
    progress
        Whether to show bars.

    Returns
    -------
    Film
        Nothing is drawn yet but what stands still.

    Raises
    ------
    ValueError
        If the run has no snapshots, or an option is unknown, missing, or does not go with another.

    Examples
    --------
    >>> import topomap as tm
    >>> from topomap.datasets import digits
    >>> from topomap.demo import watch
    >>> run = watch(digits("train").take(range(200)), digits("test"), epochs=1)
    >>> tm.animate(run, "relu2", between=2, width=640, height=360)
    Film(relu2 by label: 10 maps, 7 frames of 3 steps, 640 x 360, 12 fps)
    """
    _check_size(width, height, fps)
    if between is not None:
        whole_number("between", between, 0)
    pairs = read_pairs(difference)
    kinds = _kinds(panels, layout, groups, pairs, inputs)
    painted = [kind for kind in kinds if kind != "layout"]
    maps = collect_maps(
        run, layer, by, kinds=painted or ["groups"], groups=groups, difference=pairs, inputs=inputs or (),
        contrast=contrast, steps=steps, min_size=min_size, progress=progress,
    )  # fmt: skip
    shown = _metrics(maps, metrics)
    given: dict[str, Any] = {"steps": maps.steps.tolist(), "progress": progress}
    places = lay_out(run, layer, layout, always_dead=maps.always_dead, method=method, region=region, seed=seed, **given)
    found = measure_steps(run, layer, places, **given) if quality else None
    scale = choose_scale(maps, limits, cmap)
    many = len(maps.steps)
    fps = fps or (24 if places.moving else 12)
    if between is not None:
        frames = np.full(many - 1, between)
    elif places.moving:
        most = max(1, round(_LONGEST * fps) - 1)
        frames = np.clip(np.ceil(places.moves() * fps / _PACE) - 1, 1, most).astype(int)
    else:
        frames = np.full(many - 1, np.clip(round(_SECONDS * fps / (many - 1)) - 1, 0, _MOST_BETWEEN))
    order, columns, rows = arrange_maps(maps, bool(painted), columns)
    what = title or f"{maps.layer} by {' x '.join(maps.by) or 'input'}"
    caption = describe_film(maps, places, scale, noise, int(frames.max()), bool(painted), "layout" in kinds, found)
    plan = make_plan(
        (width, height), len(order), caption, columns=columns, rows=rows, dots="layout" in kinds,
        quality=found is not None, bar=bool(painted),
    )  # fmt: skip
    counted = frozenset(
        i for i, kind in enumerate(maps.kinds) if kind == "groups" and len(np.unique(maps.counts[:, i])) > 1
    )
    painter = make_painter(
        plan, maps, places, scale, noise=noise, counted=counted, panels=order, metrics=shown, title=what, quality=found
    )
    times = np.append(np.concatenate([i + np.arange(n + 1) / (n + 1) for i, n in enumerate(frames)]), many - 1)
    about = {
        "maps": maps.provenance, "places": places.provenance, "fps": fps, "between": frames.tolist(),
        "scale": [scale.low, scale.high],
    }  # fmt: skip
    return Film(what, painter, times, float(fps), found, about)


def _check_size(width: Any, height: Any, fps: Any) -> None:
    for name, value, least in (("width", width, 320), ("height", height, 180)):
        whole_number(name, value, least)
        if int(value) % 2:
            raise ValueError(f"{name} must be an even number of pixels, as videos are; got {value}.")
    if fps is None:
        return
    instance_of("fps", fps, (int, float, np.number), "Pass frames per second, e.g. fps=12.")
    if not 0.1 <= fps <= 120:
        raise ValueError(f"fps must be from 0.1 to 120; got {fps}.")


def _kinds(panels: Any, layout: Any, groups: Any, pairs: Any, inputs: Any) -> list[str]:
    """Return what the film shows, in the order of `PANELS`."""
    given = {"groups": groups is not None, "difference": bool(pairs), "inputs": inputs is not None}
    if panels is None:
        kinds = [kind for kind, there in given.items() if there] or ["groups"]
        moving = isinstance(layout, str) and layout == "moving"
        return [*kinds, "layout"] if moving and "groups" in kinds else kinds  # else the dots have no colours
    wanted = [panels] if isinstance(panels, str) else list(panels)
    for kind in wanted:
        choice("panels", kind, PANELS)
    if not wanted:
        raise ValueError(f"panels must name at least one of {listing(PANELS)}; got none.")
    for kind in ("difference", "inputs"):
        if kind in wanted and not given[kind]:
            example = "('cat', 'dog')" if kind == "difference" else "[0, 1]"
            raise ValueError(f"panels={kind!r} needs to know which: pass {kind}={example}.")
    for kind, there in given.items():
        if there and kind not in wanted and not (kind == "groups" and "layout" in wanted):
            raise ValueError(f"{kind}= was given, and panels={panels!r} does not show it: add {kind!r} to panels.")
    return [kind for kind in PANELS if kind in wanted]


def _metrics(maps: TrainingMaps, names: Sequence[str] | None) -> dict[str, NDArray[np.float64]]:
    if names is None:
        known = [name for name, values in maps.metrics.items() if np.isfinite(values).any()]
        names = []
        for word in ("loss", "acc"):
            names += [name for name in known if word in name.lower()][:1]
        names = names or [name for name in known if name not in ("epoch", "step")][:2]
    chosen = [names] if isinstance(names, str) else list(names)
    for name in chosen:
        choice("metrics", name, tuple(maps.metrics))
    if len(chosen) > 2:
        raise ValueError(f"a film draws at most two metrics; got {len(chosen)}: {listing(chosen)}.")
    return {name: np.asarray(maps.metrics[name]) for name in chosen}
