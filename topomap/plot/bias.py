"""Maps of bias: what group and reference do to a layer, where they differ, and which clusters survive the test."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from topomap._check import instance_of, unknown
from topomap.bias import BiasReport, Cluster, Contrast
from topomap.bias.effects import small_sample
from topomap.layout import Layout
from topomap.plot import style
from topomap.plot.cells import draw_outlines
from topomap.plot.grid import GAP, LINE, MARGIN, SMALL_LINE, Page
from topomap.plot.panel import Ground, draw_bar, draw_map
from topomap.plot.text import text_width, title_lines
from topomap.plot.words import caption_of, outlined_of, reference_of

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

#: Classes drawn by default, besides all of them together; columns side by side; and the largest maps in inches, those
#: of all classes together and those of each.
MOST_CLASSES, _ACROSS, _LARGE, _SMALL = 12, 6, 2.1, 1.5

#: Room for the colour bars, in inches.
_BARS = 0.62


@dataclass(frozen=True, eq=False)
class _Map:
    """One map of the figure: what is painted, what is written above it, and the clusters around it.

    Differences have a colour scale of their own, and are faded below `noise`.
    """

    ground: Ground
    values: NDArray[np.float64]
    note: str = ""
    difference: bool = True
    noise: NDArray[np.float64] | None = None
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
        Which classes to draw below all of them together; by default all, up to 12 of the most inputs.
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
    over all neurons and contrasts. Differences are faded below 1.96 of their standard errors, each side's variance
    being its own, which 95 % of them stay below where means do not differ; not so with units, whose inputs are not
    independent. Fading is no test: of many neurons that do not differ some stay unfaded. Of single classes the
    difference is Hedges' g too, over the deviation within the cells of all classes.

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
    reports = reports_of(report)
    grounds = [Ground.of(each, resolution=resolution) for each in layouts_of(reports, layout)]
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


def reports_of(report: BiasReport | Sequence[BiasReport]) -> list[BiasReport]:
    """Return one report or several as a list; raise if there is none, or something else."""
    reports: list[Any] = list(report) if isinstance(report, list | tuple) else [report]
    if not reports:
        raise ValueError("report must hold at least one report of measure_bias; got none.")
    for each in reports:
        instance_of("report", each, BiasReport, "Make one with tm.measure_bias(acts, by=...).")
    return reports


def layouts_of(reports: list[BiasReport], layout: Layout | Sequence[Layout] | None) -> list[Layout]:
    """Return the layout of each report: the one that is given, or its own."""
    given: list[Any] = list(layout) if isinstance(layout, list | tuple) else [layout] * len(reports)
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
    """Draw reference, group and difference: large for all classes together, and small for each."""
    tested = [cell for cell in contrast.cells if cell.tested]
    chosen = _classes(tested, classes)
    assert contrast.maps is not None and contrast.map_errors is not None
    weights = np.array([cell.n_group * cell.n_reference / (cell.n_group + cell.n_reference) for cell in tested])
    pooled = np.tensordot(weights / weights.sum(), contrast.maps, 1)
    clusters = outlined_of(report, contrast.group)
    single = contrast.p_family <= report.alpha
    names = (reference_of(contrast), contrast.group, "difference")
    board = _Board(width)
    board.add_row(
        names,
        [
            _Map(ground, pooled[1], f"n = {contrast.n_reference:,}", difference=False),
            _Map(ground, pooled[0], f"n = {contrast.n_group:,}", difference=False),
            _Map(
                ground,
                contrast.effect,
                _count(clusters, report, single),
                noise=_noise(report, contrast.error),
                clusters=clusters,
                single=single,
            ),
        ],
    )
    if chosen:
        maps = {}
        for column, c in enumerate(chosen):
            own, other = contrast.maps[c]
            maps[0, column] = _Map(ground, other, f"n = {tested[c].n_reference:,}", difference=False)
            maps[1, column] = _Map(ground, own, f"n = {tested[c].n_group:,}", difference=False)
            factor = small_sample(contrast.df)
            noise = _noise(report, factor * contrast.map_errors[c])
            maps[2, column] = _Map(ground, factor * (own - other), noise=noise)
        board.add_table(" x ".join(report.within), names, [tested[c].name for c in chosen], maps)
    more = f" {len(chosen)} of {len(tested)} classes are drawn." if 0 < len(chosen) < len(tested) else ""
    text = caption if isinstance(caption, str) else caption_of(report, contrast.group) + more if caption else ""
    levels = "activation less its mean\n(deviations within cells)"
    return board.draw(limits, cmap, text, (levels, f"difference, {_minus(contrast)}\n(Hedges' g)"))


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
    maps = {}
    for column, (report, ground) in enumerate(zip(reports, grounds, strict=True)):
        for row, group in enumerate(groups):
            own = [(0, cluster) for _, cluster in outlined_of(report, group)]
            single = report[group].p_family <= report.alpha
            maps[row, column] = _Map(
                ground,
                report[group].effect,
                f"n = {report[group].n_group:,}; {_count(own, report, single)}",
                noise=_noise(report, report[group].error),
                clusters=own,
                single=single,
            )
    rows = [_minus(reports[0][group]) for group in groups]
    board = _Board(width)
    if len(reports) == 1:
        board.add_row(rows, list(maps.values()), _SMALL)
    elif len(groups) == 1:
        board.add_row([report.layer for report in reports], list(maps.values()))
    else:
        board.add_table("layer", rows, [report.layer for report in reports], maps)
    text = caption if isinstance(caption, str) else caption_of(reports) if caption else ""
    label = f"difference, {rows[0]}" if len(groups) == 1 else "difference"
    return board.draw(limits, cmap, text, ("", f"{label}\n(Hedges' g)"))


def _noise(report: BiasReport, error: NDArray[np.float64]) -> NDArray[np.float64] | None:
    """Return 1.96 standard errors of Hedges' g where means do not differ; None where inputs are not independent."""
    return 1.96 * error if report.unit is None else None


def _minus(contrast: Contrast) -> str:
    return f"{contrast.group} − {contrast.reference}"


def _classes(tested: Sequence[Any], classes: Sequence[str] | None) -> list[int]:
    """Return the classes to draw as positions; none where there is one alone, which all of them together show."""
    names = [cell.name for cell in tested]
    if classes is not None:
        chosen = [classes] if isinstance(classes, str) else list(classes)
        for name in chosen:
            if name not in names:
                raise unknown("classes", name, names)
        return [names.index(name) for name in chosen]
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


class _Board:
    """Maps and their titles in inches from the top, drawn when all have their places."""

    def __init__(self, width: float) -> None:
        self._width, self._y = width, 0.05
        self._maps: list[tuple[_Map, float, float, float]] = []
        self._texts: list[tuple[tuple[float, float, str], dict[str, Any]]] = []

    def add_row(self, titles: Sequence[str], maps: Sequence[_Map], largest: float = _LARGE) -> None:
        """Put maps beside each other, those that do not fit below, in rows of equal length."""
        least = min(largest, 0.95)
        most = max(1, int((self._width - 2 * MARGIN + GAP) / (least + GAP)))
        across = -(-len(maps) // -(-len(maps) // most))
        side = min((self._width - 2 * MARGIN - (across - 1) * GAP) / across, largest)
        left = (self._width - across * side - (across - 1) * GAP) / 2
        heads = [title_lines(name, "", side * 72, style.TITLE, most=2) for name in titles]
        head = max(map(len, heads)) * LINE + 0.05
        for i, (m, lines) in enumerate(zip(maps, heads, strict=True)):
            x, y = left + i % across * (side + GAP), self._y + i // across * (head + SMALL_LINE + side + GAP)
            self._title(x + side / 2, y + head - 0.05, lines)
            self._place(m, x, y + head, side)
        self._y += -(-len(maps) // across) * (head + SMALL_LINE + side + GAP)

    def add_table(
        self, by: str, rows: Sequence[str], columns: Sequence[str], maps: Mapping[tuple[int, int], _Map]
    ) -> None:
        """Put maps into rows and columns, whose names stand beside and above; columns that do not fit come below."""
        gutter = 2 * LINE + 0.06
        across = -(-len(columns) // -(-len(columns) // _ACROSS))
        side = min((self._width - 2 * MARGIN - gutter) / across - GAP / 2, _SMALL)
        left = (self._width - gutter - across * (side + GAP / 2)) / 2 + gutter
        heads = [title_lines(name, "", side * 72, style.TITLE, most=2) for name in columns]
        head = max(map(len, heads)) * LINE + 0.05
        middle: dict[str, Any] = {"ha": "center", "va": "center"}
        what = (left + across * (side + GAP / 2) / 2, self._y + SMALL_LINE / 2, by)
        self._write(*what, size=style.SMALL, color=style.QUIET, **middle)
        self._y += SMALL_LINE + 0.03
        for start in range(0, len(columns), across):
            for column in range(start, min(start + across, len(columns))):
                x = left + (column - start) * (side + GAP / 2)
                self._title(x + side / 2, self._y + head - 0.05, heads[column])
                for r in range(len(rows)):
                    self._place(maps[r, column], x, self._y + head + r * (SMALL_LINE + side + GAP / 2), side)
            self._y += head
            for name in rows:
                lines = "\n".join(title_lines(name, "", side * 72, style.TITLE, most=2))
                place = (left - 0.05 - LINE, self._y + SMALL_LINE + side / 2, lines)
                self._write(*place, rotation=90, linespacing=1.1, **middle)
                self._y += SMALL_LINE + side + GAP / 2
            self._y += GAP / 2

    def draw(self, limits: style.Limits, cmap: Any, caption: str, bars: tuple[str, str]) -> Figure:
        """Draw everything; `bars` names the colour bars, that of activations and that of differences."""
        page = Page(self._width, self._y + _BARS, caption, bar=False)
        scales, images = {}, {}
        for kind in {m.difference for m, *_ in self._maps}:
            shown = [m.values[~m.ground.layout.dead] for m, *_ in self._maps if m.difference == kind]
            symmetric = np.concatenate([*shown, [-1e-12]])  # a difference has two signs, also where all is above 0
            scales[kind] = style.scale(symmetric, limits if kind else None, cmap if kind else None)
        for place, options in self._texts:
            page.write(*place, **options)
        for m, x, y, side in self._maps:
            ax = page.axes(x, y, side, side)
            field = m.ground.paint(m.ground.values(m.values)[None])[0]
            noise = None if m.noise is None else m.ground.paint(m.ground.values(m.noise)[None])[0]
            images[m.difference] = draw_map(
                ax, m.ground, field, scales[m.difference], noise=noise, contours=0, dots=False
            )
            if m.single is not None:
                dots: dict[str, Any] = {"s": 1.6, "color": style.INK, "linewidths": 0, "zorder": 5}
                ax.scatter(*m.ground.layout.positions[m.single].T, **dots)
            draw_outlines(ax, m.ground.layout, m.ground.border, [(number, c.neurons) for number, c in m.clusters])
        length = min(2.2, 0.38 * self._width)
        for kind, image in images.items():
            x = self._width * (0.5 if len(images) == 1 else 0.73 if kind else 0.27)
            bar = page.axes(x - length / 2, self._y + 0.14, length, 0.09)
            draw_bar(page.figure, bar, image, scales[kind], bars[kind], orientation="horizontal")
        page.finish()
        return page.figure

    def _title(self, x: float, y: float, lines: Sequence[str]) -> None:
        self._write(x, y, "\n".join(lines), ha="center", va="bottom", linespacing=1.15)

    def _write(self, x: float, y: float, text: str, **options: Any) -> None:
        self._texts.append(((x, y, text), {"size": style.TITLE, "color": style.INK, **options}))

    def _place(self, m: _Map, x: float, y: float, side: float) -> None:
        """Add a map whose note starts there."""
        note = m.note if text_width(m.note, style.SMALL) <= 72 * side else m.note.removeprefix("n = ")
        options: dict[str, Any] = {"size": style.SMALL, "color": style.QUIET, "ha": "center", "va": "bottom"}
        self._write(x + side / 2, y + SMALL_LINE - 0.01, note, **options)
        self._maps.append((m, x, y + SMALL_LINE, side))
