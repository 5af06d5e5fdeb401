"""Maps of bias: what group and reference do to a layer, where they differ, and which clusters survive the test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from topomap._check import instance_of, unknown
from topomap.bias import BiasReport, Cluster, Contrast
from topomap.layout import Layout
from topomap.plot import style
from topomap.plot.cells import draw_outlines
from topomap.plot.grid import GAP, LINE, MARGIN, SMALL_LINE, Page
from topomap.plot.panel import Ground, draw_bar, draw_map
from topomap.plot.text import text_width, title_lines

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

#: Classes drawn by default, besides all of them together; columns side by side; and the largest map in inches.
MOST_CLASSES, _ACROSS, _LARGEST = 11, 6, 1.75

#: Room for the two colour bars, in inches.
_BARS = 0.62


@dataclass(frozen=True, eq=False)
class _Map:
    """One map of the figure: its row and column, its values, what is written above it, and the clusters around it."""

    row: int
    column: int
    values: NDArray[np.float64]
    note: str
    clusters: Sequence[tuple[int, Cluster]] = ()
    single: NDArray[np.bool_] | None = None


def plot_bias(
    report: BiasReport | Sequence[BiasReport],
    layout: Layout | Sequence[Layout] | None = None,
    *,
    group: str | None = None,
    classes: Sequence[str] | None = None,
    width: Literal["single", "double"] | float = "double",
    limits: style.Limits = None,
    cmap: str | Colormap | None = None,
    caption: bool | str = True,
    resolution: int = 100,
) -> Figure:
    """Paint where a group differs from its reference, with outlines around the clusters that survive the test.

    One contrast is drawn in full: the maps of reference and group, and their difference, over all classes and in each.
    Several contrasts, or the reports of several layers, give a summary: one difference per contrast and layer.

    Parameters
    ----------
    report
        From `measure_bias`; or several, of different layers.
    layout
        Where the neurons are; by default that of the report. One per report where there are several.
    group
        The contrast to draw in full, by the name of its group.
    classes
        Which classes to draw beside all of them together; by default all, up to 11, those of most inputs first.
    width
        Of the figure: ``"single"`` (3.5 in) or ``"double"`` (7.2 in) column, or inches.
    limits, cmap
        Of the differences, as of `plot_topomap`; all on one scale.
    caption
        Whether to write what was compared and tested at the foot; or a text of your own.
    resolution
        Pixels across a map.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If there is no layout, or it has another number of neurons than the report; a group or class is unknown; or the
        reports do not compare the same groups.

    Notes
    -----
    Outlines are drawn around clusters with p of at most the report's alpha. They say that the groups differ somewhere
    inside; where their edge runs is not tested. Dots mark single neurons with a p of at most alpha after correction
    over all neurons and contrasts.

    Examples
    --------
    >>> import numpy as np
    >>> from topomap.bias import measure_bias
    >>> from topomap.run import Activations
    >>> rng = np.random.default_rng(0)
    >>> values, group = rng.normal(size=(80, 20)), np.arange(80) % 2
    >>> acts = Activations.from_array(values, group=group, label=np.repeat([0, 1], 40))
    >>> layout = Layout(positions=rng.uniform(-1, 1, size=(20, 2)))
    >>> figure = plot_bias(measure_bias(acts, by="group", within="label", layout=layout), classes=["1"])
    >>> len(figure.axes)  # six maps and two colour bars
    8
    """
    reports = [report] if isinstance(report, BiasReport) else list(report)
    if not reports:
        raise ValueError("report must hold at least one report of measure_bias; got none.")
    for each in reports:
        instance_of("report", each, BiasReport, "Make one with tm.measure_bias(acts, by=...).")
    grounds = [Ground.of(each, resolution=resolution) for each in _layouts(reports, layout)]
    names = list(dict.fromkeys(c.group for c in reports[0].contrasts))
    if group is not None and group not in names:
        raise unknown("group", group, names)
    inches = style.figure_width(width)
    if len(reports) == 1 and (group is not None or len(names) == 1):
        contrast = reports[0][names[0] if group is None else group]
        return _in_full(reports[0], contrast, grounds[0], classes, inches, limits, cmap, caption)
    if classes is not None:
        raise ValueError("classes are drawn for one contrast of one layer: name it with group=.")
    for each in reports[1:]:
        if [c.name for c in each.contrasts] != [c.name for c in reports[0].contrasts]:
            raise ValueError(
                f"the reports must compare the same groups; those of {reports[0].layer} and {each.layer} do not."
            )
    return _summary(reports, names if group is None else [group], grounds, inches, limits, cmap, caption)


def _layouts(reports: list[BiasReport], layout: Layout | Sequence[Layout] | None) -> list[Layout]:
    given: list[Any] = [layout] * len(reports) if layout is None or isinstance(layout, Layout) else list(layout)
    if len(given) != len(reports):
        raise ValueError(f"layout must be one per report: expected {len(reports)}, got {len(given)}.")
    found = []
    for report, own in zip(reports, given, strict=True):
        used = report.layout if own is None else own
        if used is None:
            raise ValueError(
                f"the report of layer {report.layer} has no layout: pass layout=, here or to measure_bias (which then "
                "tests clusters too)."
            )
        instance_of("layout", used, Layout, "Make one with tm.embed(tm.correlate(acts)).")
        if used.n_neurons != report.n_neurons:
            raise ValueError(
                f"layout must be that of layer {report.layer} with {report.n_neurons} neurons; got {used.n_neurons}."
            )
        found.append(used)
    return found


def _in_full(
    report: BiasReport,
    contrast: Contrast,
    ground: Ground,
    classes: Sequence[str] | None,
    width: float,
    limits: style.Limits,
    cmap: Any,
    caption: bool | str,
) -> Figure:
    """Draw reference, group and difference, for all classes together and for each."""
    tested = [cell for cell in contrast.cells if cell.tested]
    chosen = _classes(tested, classes)
    assert contrast.maps is not None
    weights = np.array([cell.n_group * cell.n_reference / (cell.n_group + cell.n_reference) for cell in tested])
    pooled = np.tensordot(weights / weights.sum(), contrast.maps, 1)
    clusters = list(enumerate([c for c in report.significant if c.group == contrast.group], 1))
    single = contrast.p_family <= report.alpha
    maps = [
        _Map(0, 0, pooled[1], f"n = {contrast.n_reference:,}"),
        _Map(1, 0, pooled[0], f"n = {contrast.n_group:,}"),
        _Map(2, 0, contrast.effect, _count(clusters, report, single), clusters, single),
    ]
    for column, c in enumerate(chosen, 1):
        other, own = contrast.maps[c, 1], contrast.maps[c, 0]
        maps += [
            _Map(0, column, other, f"n = {tested[c].n_reference:,}"),
            _Map(1, column, own, f"n = {tested[c].n_group:,}"),
            _Map(2, column, own - other, ""),
        ]
    reference = "rest" if contrast.reference == "rest" else contrast.reference
    rows = (reference, contrast.group, "difference")
    what = " x ".join(report.within)
    every = "all inputs" if not report.within else "all classes" if len(tested) > 1 else f"{what} {tested[0].name}"
    columns = (every, *(tested[c].name for c in chosen))
    more = f" {len(chosen)} of {len(tested)} classes are drawn." if 0 < len(chosen) < len(tested) else ""
    text = caption if isinstance(caption, str) else _caption(report, clusters, single, more) if caption else ""
    levels = "activation less its mean\n(deviations within cells)"
    difference = f"difference, {contrast.name.replace('against', '−')}\n(Hedges' g)"
    by = "" if len(columns) == 1 else what
    return _draw(maps, rows, columns, by, [ground] * len(columns), width, limits, cmap, text, (levels, difference))


def _summary(
    reports: list[BiasReport],
    groups: list[str],
    grounds: list[Ground],
    width: float,
    limits: style.Limits,
    cmap: Any,
    caption: bool | str,
) -> Figure:
    """Draw one difference per contrast and layer."""
    maps, numbered, single = [], [], np.zeros(1, dtype=bool)
    for column, report in enumerate(reports):
        for row, group in enumerate(groups):
            contrast = report[group]
            own = [(0, cluster) for cluster in report.significant if cluster.group == group]
            alone = contrast.p_family <= report.alpha
            note = _count(own, report, alone)
            maps.append(_Map(row, column, contrast.effect, note, own, alone))
            numbered += own
            single = np.append(single, alone)
    first = reports[0]
    rows = tuple(first[group].name.replace("against", "−").replace("the rest", "rest") for group in groups)
    columns = tuple(report.layer for report in reports)
    if isinstance(caption, str):
        text = caption
    else:
        layers = f"Layers {', '.join(columns)}; first: " if len(reports) > 1 else ""
        text = layers + _caption(first, [], single, "", found=len(numbered)) if caption else ""
    bars = ("", "difference (Hedges' g)")
    return _draw(maps, rows, columns, "layer" * (len(columns) > 1), grounds, width, limits, cmap, text, bars)


def _classes(tested: Sequence[Any], classes: Sequence[str] | None) -> list[int]:
    """Return the classes to draw as positions; none where there is one alone, which all of them together show."""
    names = [cell.name for cell in tested]
    if classes is not None:
        for name in [classes] if isinstance(classes, str) else classes:
            if name not in names:
                raise unknown("classes", name, names)
        return [names.index(name) for name in ([classes] if isinstance(classes, str) else classes)]
    if len(names) < 2:
        return []
    largest = sorted(range(len(names)), key=lambda c: -(tested[c].n_group + tested[c].n_reference))
    return sorted(largest[:MOST_CLASSES])


def _count(clusters: Sequence[Any], report: BiasReport, single: NDArray[np.bool_]) -> str:
    """Return what was found, for the title of a difference."""
    if report.layout is None:
        found = int(single.sum())
        return f"{found:,} neuron{'s' * (found != 1)}" if found else "no neuron"
    return f"{len(clusters)} cluster{'s' * (len(clusters) != 1)}" if clusters else "no cluster"


def _caption(
    report: BiasReport,
    clusters: Sequence[tuple[int, Cluster]],
    single: NDArray[np.bool_],
    more: str,
    found: int | None = None,
) -> str:
    """Return what the marks mean and how the tests were made."""
    marks = []
    if clusters:
        told = [
            f"{number}: {'higher' if c.sign > 0 else 'lower'}, {len(c)} neurons, p = {c.p:.2g}"
            for number, c in clusters[:8]
        ]
        rest = f"; {len(clusters) - 8} more" if len(clusters) > 8 else ""
        marks.append(f"Outlined: clusters at p <= {report.alpha:g} ({'; '.join(told)}{rest}).")
    elif found:
        marks.append(f"Outlined: clusters at p <= {report.alpha:g}.")
    if single.any():
        marks.append(f"Dots: single neurons at corrected p <= {report.alpha:g}.")
    return " ".join([*marks, report.method_text()]) + more


def _draw(
    maps: list[_Map],
    rows: tuple[str, ...],
    columns: tuple[str, ...],
    by: str,
    grounds: list[Ground],
    width: float,
    limits: style.Limits,
    cmap: Any,
    caption: str,
    bars: tuple[str, str],
) -> Figure:
    """Lay the maps out in rows and columns, those that do not fit below, and draw them with their colour bars."""
    lone = len(columns) == 1
    if lone:  # beside each other instead of below
        maps = [_Map(0, m.row, m.values, m.note, m.clusters, m.single) for m in maps]
        rows, columns, grounds = ("",), rows, grounds * len(rows)
    gutter = 0.0 if lone else 2 * LINE + 0.06
    room = width - 2 * MARGIN - gutter
    blocks_of = -(-len(columns) // _ACROSS)
    across = -(-len(columns) // blocks_of)
    side = min(room / across - GAP / 2, _LARGEST)
    left = (width - gutter - across * (side + GAP / 2)) / 2 + gutter
    heads = [title_lines(name, "", side * 72, style.TITLE, most=2) for name in columns]
    head = max(map(len, heads)) * LINE + 0.05
    row = SMALL_LINE + side + GAP / 2
    top = 0.05 + (SMALL_LINE + 0.03 if by else 0)
    block = head + len(rows) * row + GAP
    body = top + blocks_of * block - GAP
    page = Page(width, body + _BARS, caption, bar=False)
    if by:
        middle = {"ha": "center", "va": "center"}
        page.write(left + across * (side + GAP / 2) / 2, 0.05 + SMALL_LINE / 2, by, style.SMALL, style.QUIET, **middle)
    corners = {}
    for column in range(len(columns)):
        x = left + column % across * (side + GAP / 2)
        y = top + column // across * block
        title: dict[str, Any] = {"ha": "center", "va": "bottom", "linespacing": 1.15}
        page.write(x + side / 2, y + head - 0.05, "\n".join(heads[column]), style.TITLE, style.INK, **title)
        for r in range(len(rows)):
            corners[r, column] = x, y + head + r * row
            if column % across == 0 and rows[r]:
                lines = "\n".join(title_lines(rows[r], "", side * 72, style.TITLE, most=2))
                turned: dict[str, Any] = {"rotation": 90, "ha": "center", "va": "center", "linespacing": 1.1}
                middle_y = y + head + r * row + SMALL_LINE + side / 2
                page.write(left - 0.05 - LINE, middle_y, lines, style.TITLE, style.INK, **turned)
    differs = [bool(m.row == 2 or (lone and m.column == 2)) or not bars[0] for m in maps]
    images: dict[bool, Any] = {}
    scales = {}
    for kind in set(differs):
        shown = [m.values[~grounds[m.column].layout.dead] for m, d in zip(maps, differs, strict=True) if d == kind]
        symmetric = np.concatenate([*shown, [-1e-12]])  # a difference has two signs, also where all of it is above 0
        scales[kind] = style.scale(symmetric, limits if kind else None, cmap if kind else None)
    for m, kind in zip(maps, differs, strict=True):
        ground = grounds[m.column]
        x, y = corners[m.row, m.column]
        if m.note:
            note = m.note if text_width(m.note, style.SMALL) <= 72 * side else m.note.removeprefix("n = ")
            page.write(x + side / 2, y + SMALL_LINE - 0.01, note, style.SMALL, style.QUIET, ha="center", va="bottom")
        ax = page.axes(x, y + SMALL_LINE, side, side)
        field = ground.paint(ground.values(m.values)[None])[0]
        images[kind] = draw_map(ax, ground, field, scales[kind], contours=0)
        if m.single is not None:
            dots: dict[str, Any] = {"s": 1.6, "color": style.INK, "linewidths": 0, "zorder": 5}
            ax.scatter(*ground.layout.positions[m.single].T, **dots)
        draw_outlines(ax, ground.layout, ground.border, [(number, c.neurons) for number, c in m.clusters])
    length = min(2.2, 0.38 * width)
    for kind, image in images.items():
        middle_x = width / 2 if len(images) == 1 else width * (0.73 if kind else 0.27)
        place = page.axes(middle_x - length / 2, body + 0.2, length, 0.09)
        draw_bar(page.figure, place, image, scales[kind], bars[kind], orientation="horizontal")
    page.finish()
    return page.figure
