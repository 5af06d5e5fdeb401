"""Comparisons of layouts: maps side by side, the paper's error curves, measures over repetitions, and cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from topomap._check import instance_of, same_length, unknown
from topomap.plot import style
from topomap.plot.grid import arrows
from topomap.plot.panel import Ground, draw_bar, draw_map
from topomap.plot.sheet import GAP, LINE, MARGIN, Sheet, dress, looks_of
from topomap.plot.text import text_width
from topomap.profiles import Profiles
from topomap.quality import Comparison
from topomap.quality.comparison import MEASURES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Part = Literal["maps", "curves", "measures"]
PARTS: tuple[Part, ...] = ("maps", "curves", "measures")

#: From so many repetitions on, a violin tells more than its dots.
VIOLIN = 5


def plot_comparison(
    comparison: Comparison,
    profiles: Profiles | None = None,
    *,
    group: str | None = None,
    parts: Sequence[Part] = PARTS,
    width: Literal["single", "double"] | float = "double",
    limits: style.Limits = None,
    caption: bool | str = True,
) -> Figure:
    """Draw a comparison of layouts: one group's map by every method, error curves, and measures over repetitions.

    Parameters
    ----------
    comparison
        From `compare_layouts`.
    profiles
        Of the same neurons, for the maps, which are left out without.
    group
        The group whose maps are drawn; by default the one whose map is strongest (mean absolute value in units of each
        neuron's deviation).
    parts
        What to draw, from top to bottom:

        - ``"maps"``: the layout of each method's first seed, turned and reflected to lie over that of the first method,
          painted on one colour scale, faded below the noise floor, with the layout's own T, C and kNN;
        - ``"curves"``: `Smoothness.resize_mse` and `Smoothness.blur_mse`, mean and range over repetitions (left out
          where smoothness was not measured);
        - ``"measures"``: every measure of every repetition as a dot, and a bar at the median; a violin from 5
          repetitions on.
    width
        Of the figure: ``"double"`` (7.2 in) or ``"single"`` (3.5 in) column, or inches.
    limits
        Of the colour scale, as of `plot_topomap`.
    caption
        Whether to write at the foot what is seen and where it came from; or a text of your own.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If the profiles are of other neurons, the group does not exist, or nothing is left to draw.

    Examples
    --------
    >>> import topomap as tm
    >>> acts = tm.Activations.from_array(np.random.default_rng(0).normal(size=(60, 20)), label=np.arange(60) % 3)
    >>> profiles = tm.profile(acts, by="label")
    >>> comparison = tm.compare_layouts(acts, profiles, methods=["pca", "random"], n=2)
    >>> figure = tm.plot_comparison(comparison, profiles)
    >>> [ax.get_title() for ax in figure.axes[:2]]
    ['pca', 'random']
    """
    instance_of("comparison", comparison, Comparison, "Make one with tm.compare_layouts(acts, profiles).")
    chosen = [parts] if isinstance(parts, str) else list(parts)
    for part in chosen:
        if part not in PARTS:
            raise unknown("parts", part, PARTS)
    if profiles is not None:
        instance_of("profiles", profiles, Profiles, "Make them with tm.profile(acts, by='label').")
        profiles = profiles.over_places()
        same_length("profiles", profiles.n_neurons, "neuron", comparison.n_neurons)
    if group is not None and (profiles is None or group not in profiles.names):
        raise unknown("group", group, () if profiles is None else profiles.names)
    sheet = Sheet(style.figure_width(width))
    shown = [part for part in PARTS if part in chosen]
    if profiles is None:
        shown = [part for part in shown if part != "maps"]
    if all(trial.smoothness is None for trial in comparison.trials):
        shown = [part for part in shown if part != "curves"]
    if not shown:
        raise ValueError(
            "there is nothing to draw: maps need profiles=, and curves a comparison that was made with profiles."
        )
    texts = [f"{comparison.describe()}."]
    for letter, part in zip("abc", shown, strict=False):
        prefix = f"({letter}) " if len(shown) > 1 else ""
        sheet.letter(letter if len(shown) > 1 else "")
        if part == "maps":
            assert profiles is not None  # or the part was taken out
            texts.append(prefix + _maps(sheet, comparison, profiles, group, limits))
        elif part == "curves":
            texts.append(prefix + _curves(sheet, comparison))
        else:
            texts.append(prefix + _measures(sheet, comparison))
    for what, names in (("Left out", comparison.left_out), ("Failed", comparison.failed)):
        texts += [f"{what}: {', '.join(names)}."] if names else []
    return sheet.draw(caption if isinstance(caption, str) else " ".join(texts) if caption else "")


def plot_costs(
    comparisons: Sequence[Comparison] | Comparison,
    *,
    ax: Axes | None = None,
    legend: bool = True,
) -> Axes:
    """Draw what layouts cost against the number of neurons.

    Parameters
    ----------
    comparisons
        Of layers of different sizes, in any order.
    ax
        Axes to draw into; by default those of a new figure, one column wide and with room for the legend.
    legend
        Whether to name the methods beside the axes, with the exponent at which the time of each grows between its
        smallest and its largest layer.

    Returns
    -------
    matplotlib.axes.Axes
        Both axes logarithmic; one line per method: the median over repetitions, whiskers from least to most.

    Raises
    ------
    ValueError
        If no comparison is given, or something else than comparisons.

    Examples
    --------
    >>> import topomap as tm
    >>> rng = np.random.default_rng(0)
    >>> made = [tm.compare_layouts(tm.correlate(rng.normal(size=(60, n))), methods=["pca"], n=1) for n in (20, 40)]
    >>> ax = tm.plot_costs(made)
    >>> ax.get_xlabel(), ax.get_ylabel()
    ('live neurons', 'seconds per layout')
    """
    given = [comparisons] if isinstance(comparisons, Comparison) else list(comparisons)
    if not given:
        raise ValueError("comparisons must hold at least one; got none.")
    for each in given:
        instance_of("comparisons", each, Comparison, "Make them with tm.compare_layouts(acts).")
    given.sort(key=lambda each: each.n_live)
    methods = list(dict.fromkeys(name for each in given for name in each.methods))
    labels, looks = {}, looks_of(methods)
    for name in methods:
        sizes = [each.n_live for each in given if name in each.methods]
        middle = [float(np.median(each.values("seconds", name))) for each in given if name in each.methods]
        labels[name] = name
        if sizes[-1] > sizes[0]:
            labels[name] += f"  {np.log(middle[-1] / middle[0]) / np.log(sizes[-1] / sizes[0]):.1f}"
    if ax is None:
        import matplotlib.pyplot as plt

        beside = (max(text_width(text, style.SMALL) for text in labels.values()) / 72 + 0.5) if legend else 0.08
        wide, high = style.WIDTHS["single"] - 0.5 + beside, max(2.4, 0.55 + legend * (len(methods) + 1) * 0.125)
        figure = plt.figure(figsize=(wide, high))
        ax = figure.add_axes((0.48 / wide, 0.38 / high, (wide - 0.48 - beside) / wide, (high - 0.46) / high))
    dress(ax)
    ax.set(xscale="log", yscale="log")
    for name in methods:
        of = [(each.n_live, each.values("seconds", name)) for each in given if name in each.methods]
        x = [size for size, _ in of]
        y = np.array([[np.median(v), np.median(v) - v.min(), v.max() - np.median(v)] for _, v in of]).T
        ax.errorbar(
            x, y[0], yerr=y[1:], label=labels[name], markersize=3, elinewidth=0.6, linewidth=0.9, **looks[name]
        )  # fmt: skip
    ax.set_xlabel("live neurons", fontsize=style.LABEL, color=style.INK, labelpad=2)
    ax.set_ylabel("seconds per layout", fontsize=style.LABEL, color=style.INK, labelpad=2)
    sizes = sorted({each.n_live for each in given})
    if len(sizes) <= 8:
        ax.set_xticks(sizes, [f"{size:,}" for size in sizes])
        ax.minorticks_off()
    if legend:
        title = "method  exponent" if len(sizes) > 1 else "method"
        ax.legend(
            loc="center left", bbox_to_anchor=(1.01, 0.5), frameon=False, fontsize=style.SMALL, handlelength=2.4,
            labelspacing=0.3, title=title, title_fontsize=style.SMALL,
        )  # fmt: skip
    return ax


def _maps(sheet: Sheet, comparison: Comparison, profiles: Profiles, group: str | None, limits: style.Limits) -> str:
    """Draw the group's map by every method; return the caption."""
    first = comparison.trials[0].layout
    live = ~(profiles.dead | first.dead)
    strength = np.abs(profiles.scaled[:, live]).mean(axis=1)
    index = int(np.argmax(strength)) if group is None else profiles.names.index(group)
    values = profiles.scaled[index]
    scale = style.scale(values, limits, live=live)
    fades = profiles.contrast != "none"
    least = 0.76
    room = sheet.width - 2 * MARGIN + GAP
    rows = -(-len(comparison.methods) // max(1, int(room / (least + GAP))))
    columns = -(-len(comparison.methods) // rows)
    side = min(room / columns - GAP, 1.6)
    left = (sheet.width - columns * (side + GAP) + GAP) / 2
    tall = style.TITLE * 1.25 / 72 + 2 * LINE + 0.03
    for place, name in enumerate(comparison.methods):
        trial = comparison.of(name)[0]
        layout = trial.layout if place == 0 else trial.layout.align_to(first)
        ground = Ground.of(layout)
        x = left + place % columns * (side + GAP)
        y = sheet.y + 0.02 + place // columns * (tall + side + GAP)
        ax = sheet.axes(x, y + tall, side, side)
        noise = ground.paint(ground.values(profiles.scaled_noise[index], "the noise floor")) if fades else None
        field = ground.paint(ground.values(values, "profiles"))
        image = draw_map(ax, ground, field, scale, noise=noise, contours=4, dots=False)
        quality = trial.quality
        note = f"T {quality.trustworthiness:.2f}  C {quality.continuity:.2f}\nkNN {quality.knn:.2f}"
        ax.text(
            0.5, 1.01, note, transform=ax.transAxes, ha="center", va="bottom", fontsize=style.SMALL, color=style.QUIET,
            linespacing=1.1,
        )  # fmt: skip
        ax.set_title(
            name, fontsize=_fitting(name, side), color=style.INK, pad=2 * style.SMALL * 1.15 + 3, parse_math=False
        )
    sheet.y += 0.02 + rows * (tall + side + GAP)
    length = min(2.4, sheet.width - 0.8)
    bar = sheet.axes((sheet.width - length) / 2, sheet.y + 0.1, length, 0.08)
    raw = profiles.preset is not None
    what = "activation" if profiles.contrast == "none" else "difference from the mean group"
    unit = "raw activation" if raw else "standard deviations of each neuron"
    floor = float(np.median(profiles.scaled_noise[index][live])) if fades and live.any() else None
    median = None if floor is None else (floor, floor)
    draw_bar(sheet.figure, bar, image, scale, f"{what} ({unit})", orientation="horizontal", noise=median)
    sheet.y += 0.55
    faded = " Faded: within the noise floor of shuffled labels (pointwise 95%)." if fades else ""
    more = f" {arrows(values[live], scale)}." if scale.extend != "neither" else ""
    turned = ", turned and reflected to lie over the first" if len(comparison.methods) > 1 else ""
    return (
        f"Group {profiles.names[index]} ({' x '.join(profiles.by) or 'groups'}, n = {profiles.counts[index]:,}), "
        f"on layouts of the first seed{turned}; trustworthiness T, continuity C and kNN are that layout's."
        f"{faded}{more} Grey: outside the live neurons."
    )


def _fitting(name: str, side: float) -> float:
    """Return the size at which a name is no wider than its map."""
    return float(min(style.TITLE, max(4.0, style.TITLE * side * 72 / max(text_width(name, style.TITLE), 1))))


def _curves(sheet: Sheet, comparison: Comparison) -> str:
    """Draw the error curves of the paper with the legend of all methods; return the caption."""
    looks = looks_of(comparison.methods)
    wide = (sheet.width - 2 * MARGIN - 0.9) / 2
    panels = (
        ("resize_mse", "sizes", "shrunk to (pixels)", "change when shrunk"),
        ("blur_mse", "radii", "blurred by (pixels)", "change when blurred"),
    )
    lines = {}
    for place, (name, along, label, change) in enumerate(panels):
        ax = sheet.axes(MARGIN + 0.42 + place * (wide + 0.48), sheet.y + 0.08, wide, 1.45)
        dress(ax)
        for method in comparison.methods:
            found = [trial.smoothness for trial in comparison.of(method) if trial.smoothness is not None]
            if not found:
                continue
            x, y = getattr(found[0], along), np.array([getattr(each, name) for each in found])
            (lines[method],) = ax.plot(x, y.mean(axis=0), linewidth=0.8, markersize=2.4, label=method, **looks[method])
            ax.fill_between(x, y.min(axis=0), y.max(axis=0), color=looks[method]["color"], alpha=0.15, linewidth=0)
        if along == "sizes":
            ax.invert_xaxis()
        ax.set_ylim(bottom=0)
        ax.margins(x=0.02)
        ax.set_xlabel(label, fontsize=style.LABEL, color=style.INK, labelpad=2)
        ax.set_ylabel(change, fontsize=style.LABEL, color=style.INK, labelpad=2)
    sheet.y += 0.08 + 1.45 + 0.36
    widest = max(text_width(name, style.SMALL) for name in lines) / 72 + 0.5
    columns = max(1, min(len(lines), int((sheet.width - 2 * MARGIN) / widest)))
    rows = -(-len(lines) // columns)
    columns = -(-len(lines) // rows)  # rows of about equal length
    key = sheet.axes(MARGIN, sheet.y, sheet.width - 2 * MARGIN, rows * 0.125)
    key.set_axis_off()
    legend = key.legend(
        list(lines.values()), list(lines), loc="center", ncols=columns, frameon=False, fontsize=style.SMALL,
        handlelength=2.4, columnspacing=1.2, labelspacing=0.25, borderpad=0,
    )  # fmt: skip
    for text in legend.get_texts():
        text.set_parse_math(False)
    sheet.y += rows * 0.125 + 0.12
    return (
        "Relative absolute change of the pictures when shrunk and when blurred, as Krug et al. (2023) measure it (mean "
        "over repetitions, band from least to most); what a layout leaves empty is black there and counts."
    )


def _measures(sheet: Sheet, comparison: Comparison) -> str:
    """Draw one panel per measure, methods below each other; return the caption."""
    looks, methods = looks_of(comparison.methods), comparison.methods
    shown = [name for name in comparison.measured if name != "component_area"]
    names = min(max(text_width(name, style.SMALL) for name in methods) / 72 + 0.08, 1.4)
    room = sheet.width - 2 * MARGIN - names
    columns = max(1, int((room + GAP) / (0.78 + GAP)))
    rows = -(-len(shown) // columns)
    columns = -(-len(shown) // rows)
    wide, high = (room + GAP) / columns - GAP, max(len(methods) * 0.11, 0.3)
    for place, measure in enumerate(shown):
        across, down = place % columns, place // columns
        x = MARGIN + names + across * (wide + GAP)
        ax = sheet.axes(x, sheet.y + 0.2 + down * (high + 0.46), wide, high)
        dress(ax)
        if measure == "seconds":
            ax.set_xscale("log")
        for row, name in enumerate(methods):
            values = comparison.values(measure, name)
            _spread_of(ax, row, values[np.isfinite(values)], looks[name]["color"])
        ax.set_ylim(len(methods) - 0.4, -0.6)
        ax.set_yticks(range(len(methods)), methods if across == 0 else [""] * len(methods), parse_math=False)
        ax.tick_params(axis="y", length=0, pad=2)
        ax.grid(axis="y", color=style.EMPTY, linewidth=0.5)
        _few_ticks(ax, measure)
        heading, _, better = MEASURES[measure]
        arrow = {1: " \u2191", -1: " \u2193", 0: ""}[better]
        ax.set_title(heading + arrow, fontsize=style.LABEL, color=style.INK, pad=3)
    sheet.y += 0.2 + rows * (high + 0.46) - 0.14
    bars = "dots are repetitions" + (", violins their density" if comparison.n >= VIOLIN else "") + ", bars medians"
    pairs = "; disparity: of pairs of bootstrap samples of the inputs" if "disparity" in shown else ""
    return f"Measures: {bars}; arrows point to the better end{pairs}."


def _spread_of(ax: Axes, row: int, values: Any, color: str) -> None:
    if not len(values):
        return
    if len(values) >= VIOLIN and np.ptp(values) > 0:
        drawn = ax.violinplot([values], positions=[row], orientation="horizontal", widths=0.9, showextrema=False)
        bodies: Any = drawn["bodies"]
        for body in bodies:
            body.set(facecolor=color, alpha=0.35, linewidth=0)
    ax.scatter(values, [row] * len(values), s=3, color=color, linewidths=0, zorder=3)
    ax.plot([np.median(values)] * 2, [row - 0.38, row + 0.38], color=color, linewidth=1.1, zorder=2.5)


def _few_ticks(ax: Axes, measure: str) -> None:
    from matplotlib.ticker import LogLocator, MaxNLocator, NullFormatter

    if measure == "seconds":
        low, high = np.log10(ax.get_xlim())
        ax.xaxis.set_major_locator(LogLocator(numticks=4))
        if int(np.floor(high)) - int(np.ceil(low)) >= 1:
            ax.xaxis.set_minor_formatter(NullFormatter())
        else:  # less than two decades' ends are seen
            ax.minorticks_off()
    else:
        ax.margins(x=0.12)
        ax.xaxis.set_major_locator(MaxNLocator(2, steps=[1, 2, 5, 10], min_n_ticks=2))
