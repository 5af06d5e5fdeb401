"""Figures of what stands beside the maps of bias: how well layers tell groups apart, and what a model makes of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from topomap._check import instance_of
from topomap.bias import Outcomes, Probe
from topomap.plot import style
from topomap.plot.sheet import LINE, MARGIN, Sheet, dress, looks_of
from topomap.plot.text import text_width, title_lines

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Height of the curves, and of one line of outcomes, in inches; and the level of the tests.
_HIGH, _ROW, ALPHA = 1.55, 0.17, 0.05

#: Of what permuted labels reach, and of single folds.
_BAND, _FOLD = "#e2e2e2", "#8a8a8a"

#: The metrics in words.
NAMES = {"error_rate": "error rate", "confidence": "mean confidence"}


def plot_probe(
    probe: Probe, *, width: Literal["single", "double"] | float = "single", caption: bool | str = True
) -> Figure:
    """Draw how well each layer, or each step of a training, tells groups apart, over what permuted labels reach.

    Parameters
    ----------
    probe
        From `measure_probe`: with steps, they are the horizontal axis and every layer has a line; without, layers are.
    width
        Of the figure: ``"single"`` (3.5 in) or ``"double"`` (7.2 in) column, or inches.
    caption
        Whether to write at the foot what is seen and how it was measured; or a text of your own.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If something else than a probe is given.

    Notes
    -----
    Grey: the middle 90 % of permuted labels (of all layers at a step). Large dots are the cross-validated balanced
    accuracy, filled where its p is at most .05 after correction over all layers and steps; small dots are folds, left
    out where there are several lines. Folds share training inputs: their spread is no confidence interval.

    Examples
    --------
    >>> from topomap.bias import measure_probe
    >>> from topomap.run import Activations
    >>> rng = np.random.default_rng(0)
    >>> group = rng.integers(0, 2, 100)
    >>> acts = Activations.from_array(rng.normal(size=(100, 5)) + group[:, None], group=group)
    >>> figure = plot_probe(measure_probe(acts, by="group", n_permutations=19))
    >>> figure.axes[0].get_ylabel()
    'balanced accuracy'
    """
    instance_of("probe", probe, Probe, "Make one with tm.measure_probe(run, by=...).")
    layers = list(dict.fromkeys(probe.layers))
    over_steps = probe.steps is not None
    sheet = Sheet(style.figure_width(width))
    place, ticks, what = _places(probe, layers)
    room = sheet.width - 0.52 - MARGIN
    several = over_steps and len(layers) > 1
    key = max(text_width(name, style.SMALL) for name in layers) / 72 + 0.3 if several else 0.0
    key = min(key, room / 3)
    ax = sheet.axes(0.52, sheet.y, room - key, _HIGH)
    sheet.y += _HIGH
    dress(ax)
    ax.set_xlim(min(ticks) - 0.5, max(ticks) + 0.5) if not over_steps else ax.margins(x=0.04)
    _draw_band(ax, probe, place)
    ax.axhline(probe.chance, color=style.QUIET, linewidth=0.6, linestyle=(0, (3, 2)), zorder=1.5)
    looks = looks_of(layers) if several else {layers[0]: {"color": style.OKABE_ITO[0], "marker": "o"}}
    lines = layers if over_steps else [""]
    for name in lines:
        at = np.array([i for i, layer in enumerate(probe.layers) if not name or layer == name])
        at = at[np.argsort(place[at], kind="stable")]
        look = looks.get(name, {"color": style.OKABE_ITO[0], "marker": "o"})
        _draw_line(ax, probe, place, at, look, name, folds=not several)
    ax.set_ylabel("balanced accuracy", fontsize=style.LABEL, color=style.INK, labelpad=2)
    if over_steps:
        ax.set_xlabel(what, fontsize=style.LABEL, color=style.INK, labelpad=2)
        if ticks and len(ticks) <= 8:
            ax.set_xticks(list(ticks), list(ticks.values()))
        sheet.y += 0.36
    else:
        sheet.y += _name_layers(ax, layers, (room - key) / max(len(layers), 1))
    if several:
        handles, names = ax.get_legend_handles_labels()
        ax.legend(
            handles, names, loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=style.SMALL,
            handlelength=1.8, labelcolor=style.INK, borderaxespad=0.2,
        )  # fmt: skip
    return sheet.draw(caption if isinstance(caption, str) else probe_caption(probe) if caption else "")


def probe_caption(probe: Probe) -> str:
    """Return what `plot_probe` shows and how it was measured."""
    several = probe.steps is not None and len(set(probe.layers)) > 1
    over = "layers and steps" if several else "layers" if probe.steps is None else "steps"
    corrected = f"after correction over {over} " if len(probe) > 1 else ""
    groups = ", ".join(f"{name} ({count:,})" for name, count in zip(probe.names[:6], probe.counts[:6], strict=True))
    more = f" and {len(probe.names) - 6} more" if len(probe.names) > 6 else ""
    folds = "" if several else "; small: single folds, whose spread is no confidence interval"
    return (
        f"Groups by {' x '.join(probe.by)}: {groups}{more}. Dots: cross-validated balanced accuracy, filled where "
        f"p {corrected}is at most {ALPHA:g}{folds}. Grey: the middle 90 % of permuted labels; dashed: chance "
        f"({probe.chance:.3g}). {probe.method_text()} What can be read from a layer need not be used by the model."
    )


def plot_outcomes(
    outcomes: Outcomes, *, width: Literal["single", "double"] | float = "single", caption: bool | str = True
) -> Figure:
    """Draw the error rate and the mean confidence of every group, with their intervals.

    Parameters
    ----------
    outcomes
        From `measure_outcomes`.
    width
        Of the figure: ``"single"`` (3.5 in) or ``"double"`` (7.2 in) column, or inches.
    caption
        Whether to write at the foot what is seen and how it was measured; or a text of your own.

    Returns
    -------
    matplotlib.figure.Figure
        One axes per metric; the dashed line is that of all inputs.

    Raises
    ------
    ValueError
        If something else than outcomes is given.

    Examples
    --------
    >>> from topomap.bias import measure_outcomes
    >>> from topomap.run import Inputs
    >>> label, group = np.arange(80) % 2, np.repeat(["a", "b"], 40)
    >>> prediction = np.where(np.arange(80) < 10, 1, label)
    >>> inputs = Inputs(np.arange(80), {"label": label, "prediction": prediction, "group": group})
    >>> figure = plot_outcomes(measure_outcomes(inputs, by="group"))
    >>> [ax.get_xlabel() for ax in figure.axes]
    ['error rate']
    """
    instance_of("outcomes", outcomes, Outcomes, "Make them with tm.measure_outcomes(acts, by=...).")
    sheet = Sheet(style.figure_width(width))
    names = [f"{each.group} (n = {each.n:,})" for each in outcomes.by_group]
    gutter = min(max(text_width(name, style.SMALL) for name in names) / 72 + 0.16, 0.45 * sheet.width)
    names = [title_lines(name, "", 72 * (gutter - 0.12), style.SMALL, most=1)[0] for name in names]
    n, gap = len(outcomes.metrics), 0.2
    side = (sheet.width - gutter - MARGIN - 0.06 - (n - 1) * gap) / n
    high = _ROW * len(names) + 0.1
    for i, metric in enumerate(outcomes.metrics):
        ax = sheet.axes(gutter + i * (side + gap), sheet.y, side, high)
        dress(ax)
        for y, each in enumerate(outcomes.by_group):
            rate = getattr(each, metric)
            if rate is None or rate.value is None:
                continue
            if rate.low is not None and rate.high is not None:
                ax.plot([rate.low, rate.high], [y, y], color=style.OKABE_ITO[0], linewidth=1.1, zorder=2)
            ax.plot(rate.value, y, "o", color=style.OKABE_ITO[0], markersize=3.6, markeredgewidth=0, zorder=3)
        overall = getattr(outcomes.overall, metric)
        if overall is not None and overall.value is not None:
            ax.axvline(overall.value, color=style.QUIET, linewidth=0.6, linestyle=(0, (3, 2)), zorder=1)
        ax.set_ylim(len(names) - 0.5, -0.5)
        ax.set_yticks(range(len(names)), names if i == 0 else [""] * len(names))
        ax.tick_params(axis="y", length=0)
        ax.set_xlabel(NAMES[metric], fontsize=style.LABEL, color=style.INK, labelpad=2)
        ax.locator_params(axis="x", nbins=max(2, int(side / 0.3)))
    sheet.y += high + 0.4
    return sheet.draw(caption if isinstance(caption, str) else outcomes_caption(outcomes) if caption else "")


def outcomes_caption(outcomes: Outcomes) -> str:
    """Return what `plot_outcomes` shows and how it was measured."""
    return f"Dashed: all {outcomes.overall.n:,} inputs. {outcomes.method_text()}"


def _places(probe: Probe, layers: list[str]) -> tuple[np.ndarray, dict[float, str], str]:
    """Return where each row stands, what is written there, and what the axis is of."""
    if probe.steps is None:
        places = [float(i) for i in range(len(probe))]
        return np.array(places), dict(zip(places, probe.layers, strict=True)), "layer"
    steps = list(probe.steps)
    if all(isinstance(step, int | float | np.number) and not isinstance(step, bool) for step in steps):
        return np.array(steps, dtype=np.float64), {float(step): f"{step:,}" for step in dict.fromkeys(steps)}, "step"
    distinct = list(dict.fromkeys(steps))
    where = np.array([float(distinct.index(step)) for step in steps])
    return where, {float(i): str(step) for i, step in enumerate(distinct)}, "step"


def _draw_band(ax: Axes, probe: Probe, place: np.ndarray) -> None:
    """Fill what the middle 90 % of permuted labels reach: a box per layer, a band over steps."""
    at = np.unique(place)
    edges = np.array([np.quantile(probe.null[place == x], [0.05, 0.95]) for x in at])
    if probe.steps is None or len(at) == 1:
        half = 0.36 if probe.steps is None else 0.5
        for x, (low, high) in zip(at, edges, strict=True):
            ax.fill_between([x - half, x + half], low, high, color=_BAND, linewidth=0, zorder=1)
    else:
        ax.fill_between(at, *edges.T, color=_BAND, linewidth=0, zorder=1)


def _draw_line(
    ax: Axes, probe: Probe, place: np.ndarray, at: np.ndarray, look: dict[str, Any], name: str, folds: bool
) -> None:
    x, y = place[at], probe.accuracy[at]
    line = {**look, "marker": None}
    ax.plot(x, y, **line, linewidth=0.9, zorder=2)
    if folds:
        scores = probe.folds[at]
        wide = np.repeat(x, scores.shape[1]).reshape(scores.shape)
        known = ~np.isnan(scores)
        ax.scatter(wide[known], scores[known], s=4, color=_FOLD, linewidths=0, zorder=2.5)
    sure = probe.p_family[at] <= ALPHA
    dots: dict[str, Any] = {"marker": look["marker"], "s": 16, "linewidths": 0.9, "zorder": 3}
    ax.scatter(x, y, **dots, edgecolors=look["color"], facecolors=[look["color"] if s else "white" for s in sure])
    ax.plot([], [], **look, linewidth=0.9, markersize=3.5, label=name)


def _name_layers(ax: Axes, layers: list[str], room: float) -> float:
    """Write the layers' names below the axis, turned where they would touch; return the height that they take."""
    longest = max(text_width(name, style.SMALL) for name in layers) / 72
    turned = longest > room - 0.06
    cut = [title_lines(name, "", 90, style.SMALL, most=1)[0] for name in layers] if turned else layers
    options: dict[str, Any] = {"rotation": 90, "va": "top", "ha": "center"} if turned else {}
    ax.set_xticks(range(len(layers)), cut, **options)
    return min(longest, 1.3) + 0.16 if turned else 2 * LINE + 0.08
