"""What a report of bias says: what was found, who was compared, the maps, the tables, and how it was made."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from topomap.bias import BiasReport, Cluster, Contrast, Outcomes, Probe
from topomap.layout import Layout
from topomap.plot.bias import layouts_of, plot_bias
from topomap.plot.document import Block, Heading, Items, Paragraph, Picture, Table, png_of
from topomap.plot.probe import NAMES, outcomes_caption, plot_outcomes, plot_probe, probe_caption
from topomap.plot.words import (
    caption_of,
    columns_of,
    flat,
    joined,
    layer_of,
    ratio,
    reference_of,
    rounded_p,
    runs,
    share,
    signed,
    stem,
)

#: Rows of a table, clusters that are listed, contrasts whose classes are counted, and neurons of a cluster by number.
MOST_ROWS, MOST_CLUSTERS, MOST_CONTRASTS, MOST_NAMED = 60, 30, 6, 60

_BY_ITSELF = (
    "Every layer was tested by itself: p are corrected over its neurons and contrasts, and not over layers. The more "
    "layers, the more likely it is that one of them differs by chance."
)


def write_findings(
    reports: Sequence[BiasReport],
    layout: Layout | Sequence[Layout] | None,
    figures: int,
    neurons: int,
    dpi: float,
) -> list[Block]:
    """Return a report as blocks, with its pictures drawn.

    Parameters
    ----------
    reports
        Of different layers.
    layout, figures, neurons, dpi
        As of `save_report`.
    """
    first = reports[0]
    within = f", within {columns_of(first.within)}" if first.within else ""
    layers = f"Layer{'s' * (len(reports) > 1)} {joined([layer_of(each) for each in reports])}"
    outcomes, probes = _distinct(each.outcomes for each in reports), _distinct(each.probe for each in reports)
    blocks: list[Block] = [
        Heading(f"Bias by {columns_of(first.by)}{within}", 1),
        Paragraph(f"{layers}; {first.n_inputs:,} inputs in {len(first.names)} groups.", "lead"),
        Heading("What was found"),
        Items([*map(_found, reports), *map(_outcome, outcomes), *map(_readable, probes)]),
        *([Paragraph(_BY_ITSELF)] if len(reports) > 1 else []),
        Heading("Who was compared"),
        *_groups(first),
        Heading("Maps"),
        *_maps(reports, layout, figures, dpi),
        *_clusters(reports),
        *_neurons(reports, neurons),
        *(block for each in outcomes for block in _outcomes(each, dpi)),
        *(block for each in probes for block in _probe(each, dpi)),
        *_made(reports),
    ]
    pictures = [block for block in blocks if isinstance(block, Picture)]
    number = {id(one): n for n, one in enumerate(pictures, 1)}
    return [
        replace(one, name=f"{number[id(one)]}-{one.name}", caption=f"Figure {number[id(one)]}. {one.caption}")
        if isinstance(one, Picture)
        else one
        for one in blocks
    ]


def _found(report: BiasReport) -> str:
    """Return what was found in one layer."""
    some = " in some contrast" if len(report.contrasts) > 1 else ""
    single = int((np.min([c.p_family for c in report.contrasts], axis=0) <= report.alpha).sum())
    parts = []
    if report.layout is not None:
        n, of = len(report.significant), len(report.clusters)
        inside = len(np.unique(np.concatenate([[], *(c.neurons for c in report.significant)])))
        live = int((~report.dead).sum())
        parts.append(
            f"{n} of {of} clusters of neighbouring neurons differ{'s' * (n == 1)} ({inside:,} of {live:,} live neurons)"
            if n
            else "no cluster of neighbouring neurons differs"
        )
    alone = f"{single:,} neurons by themselves" if single > 1 else "one neuron by itself"
    parts.append(alone + some if single else f"no neuron by itself{some.replace('some', 'any')}")
    contrast = max(report.contrasts, key=lambda c: float(np.abs(c.effect).max(initial=0)))
    j = int(np.abs(contrast.effect).argmax())
    text = (
        f"Layer {layer_of(report)}: {', and '.join(parts)}, at corrected p <= {report.alpha:g}. The largest effect is "
        f"g = {signed(contrast.effect[j])} (neuron {j}; {contrast.name})."
    )
    if not report.significant and not single:
        text += " That nothing was found does not show that the groups are treated alike: few inputs show little."
    return text


def _outcome(outcomes: Outcomes) -> str:
    """Return what the model made of the two groups that are furthest apart."""
    gap, inner = outcomes.difference["error_rate"], outcomes.adjusted_difference.get("error_rate")
    rate = {each.group: each.error_rate for each in outcomes.by_group}
    adjusted = ""
    if inner is not None and inner.value is not None:
        by = f"{inner.highest} above {inner.lowest} by {share(inner, 'percentage points')}"
        adjusted = f"; within {columns_of(outcomes.within)}, {by}"
    return (
        f"Outcomes: the error rate is {share(rate[gap.highest])} for {gap.highest} and {share(rate[gap.lowest])} for "
        f"{gap.lowest}{adjusted}."
    )


def _readable(probe: Probe) -> str:
    """Return where the groups can be read best."""
    i = int(np.argmax(probe.accuracy))
    step = "" if probe.steps is None else f" at {probe.steps[i]}"
    over = " of all that were probed" if len(probe) > 1 else ""
    return (
        f"Probe: {columns_of(probe.by)} can be read from layer {probe.layers[i]}{step} with a balanced accuracy of "
        f"{probe.accuracy[i]:.3f}{', the best' * (len(probe) > 1)}{over} (permuted labels: {probe.baseline[i]:.3f}; "
        f"corrected p = {rounded_p(probe.p_family[i])})."
    )


def _groups(report: BiasReport) -> list[Block]:
    """Return the groups, the classes in which they were compared, and who was left out and why."""
    by, within = columns_of(report.by), columns_of(report.within)
    rows = [[name, f"{count:,}"] for name, count in zip(report.names, report.counts, strict=True)]
    blocks: list[Block] = [_table([by, "inputs"], rows, [1])]
    if report.within:
        shown = report.contrasts[:MOST_CONTRASTS]
        if len(shown) == 1:
            contrast = shown[0]
            header = [within, reference_of(contrast), contrast.group, "why not tested"]
            rows = [[c.name, f"{c.n_reference:,}", f"{c.n_group:,}", c.reason] for c in contrast.cells]
        else:
            header = [within, *(c.group for c in shown), "why not tested"]
            cells = [{cell.name: cell for cell in c.cells} for c in shown]
            rows = []
            for name in dict.fromkeys(cell.name for c in shown for cell in c.cells):
                found = [(c.group, each.get(name)) for c, each in zip(shown, cells, strict=True)]
                counts = [f"{x.n_group:,} / {x.n_reference:,}" if x else "0 / 0" for _, x in found]
                rows.append([name, *counts, "; ".join(f"{group}: {x.reason}" for group, x in found if x and x.reason)])
        if not any(row[-1] for row in rows):
            header, rows = _without(header, rows, [len(header) - 1])
        n = len(report.contrasts)
        more = f" The first {len(shown)} of {n} contrasts." if len(shown) < n else ""
        what = f"Inputs / those of {reference_of(shown[0])}" if len(shown) > 1 else "Inputs"
        text = f"{what} in each class of {within}, within which they were compared.{more}"
        blocks.append(_table(header, rows, range(1, 3 if len(shown) == 1 else 1 + len(shown)), text))
    if report.unit is not None:
        blocks.append(Paragraph(f"The inputs belong to {report.n_units:,} units of {report.unit}."))
    if report.excluded:
        rows = [[name, f"{count:,}", why] for name, count, why in report.excluded]
        blocks.append(_table([by, "inputs", "why not compared"], rows, [1], "Groups that were not compared."))
    if report.left_out:
        rows = [[f"{count:,}", why] for why, count in report.left_out]
        blocks.append(_table(["inputs", "why left out"], rows, [0], "Inputs that took no part."))
    return blocks


def _maps(
    reports: Sequence[BiasReport], layout: Layout | Sequence[Layout] | None, figures: int, dpi: float
) -> list[Block]:
    """Return all differences side by side, where there are several, and the strongest contrasts in full."""
    mapped = [each for each in reports if layout is not None or each.layout is not None]
    blocks: list[Block] = []
    if len(mapped) < len(reports):
        bare = joined([layer_of(each) for each in reports if each not in mapped])
        blocks.append(Paragraph(f"None of layer {bare}, whose neurons have no layout."))
    if not mapped:
        return blocks
    reports, grounds = mapped, layouts_of(mapped, layout)
    pairs = [(i, contrast) for i, each in enumerate(reports) for contrast in each.contrasts]
    strongest = sorted(range(len(pairs)), key=lambda k: _strength(reports[pairs[k][0]], pairs[k][1]))
    chosen = [pairs[k] for k in sorted(strongest[:figures])]
    told: dict[str, int] = {}
    if len(pairs) > 1:
        alt = f"The differences of {len(pairs)} contrasts, clusters that survive the test outlined"
        drawn = plot_bias(reports, grounds, caption=False)
        blocks.append(_picture("all", drawn, dpi, alt, caption_of(reports)))
        told[reports[0].method_text()] = 1
        if chosen and len(chosen) < len(pairs):
            some = "contrast" if len(chosen) == 1 else f"{len(chosen)} contrasts"
            blocks.append(Paragraph(f"The {some} of the smallest p, of {len(pairs)}, in full:"))
    for number, (i, contrast) in enumerate(chosen, len(pairs[:2])):
        report, text = reports[i], reports[i].method_text()
        drawn = plot_bias(report, grounds[i], group=contrast.group, caption=False)
        alt = (
            f"Maps of {reference_of(contrast)}, of {contrast.group} and of their difference in layer {layer_of(report)}"
        )
        before = (
            f"{contrast.name}, layer {layer_of(report)}; tests as under figure {told[text]}." if text in told else None
        )
        told.setdefault(text, number)
        caption = caption_of(report, contrast.group, before)
        blocks.append(_picture(stem(report.layer, contrast.group), drawn, dpi, alt, caption))
    return blocks


def _clusters(reports: Sequence[BiasReport]) -> list[Block]:
    """Return the clusters, and which neurons make those that survive the test."""
    mapped = [each for each in reports if each.layout is not None]
    if not mapped:
        return []
    alpha = mapped[0].alpha
    every = [(report, number, one) for report in mapped for number, one in enumerate(report.clusters, 1)]
    if not every:
        return [Heading("Clusters"), Paragraph("There are none: no neuron was beyond the forming threshold.")]
    every.sort(key=lambda found: found[2].p)  # within a layer they come by p, the heavier first
    shown = every[: max(MOST_CLUSTERS, sum(one.p <= alpha for _, _, one in every))]
    header = ["layer", "contrast", "number", "values", "neurons", "mass", "p", "peak neuron", "g at peak", "mean g"]
    drop = [0] * (len(reports) == 1) + [1] * (len(reports[0].contrasts) == 1)
    header, rows = _without(header, [_cluster(*found) for found in shown], drop)
    numbers = [i for i, name in enumerate(header) if name not in ("layer", "contrast", "values")]
    more = ""
    if len(shown) < len(every):
        more = f" {len(every) - len(shown)} more, of larger p, are left out here; tables of numbers hold them."
    pair = f" ({mapped[0].contrasts[0].name})" if len(drop) and drop[-1] == 1 else ""
    text = (
        f"Those at p <= {alpha:g} are outlined in the maps, under their number; values are higher or lower in the "
        f"group than in its reference{pair}. A cluster's p says that the groups differ somewhere in it, and of no "
        f"single neuron that it does. In new inputs the g of clusters that were found would be smaller.{more}"
    )
    lists = [
        f"{f'Layer {layer_of(report)}, cluster' if len(reports) > 1 else 'Cluster'} {number}: neurons "
        f"{runs(one.neurons.tolist(), MOST_NAMED)}."
        for report, number, one in shown[:MOST_CLUSTERS]
        if one.p <= alpha
    ]
    return [Heading("Clusters"), _table(header, rows, numbers, text), *([Items(lists, "quiet")] if lists else [])]


def _cluster(report: BiasReport, number: int, one: Cluster) -> list[str]:
    effect = report[one.group].effect
    return [
        *(layer_of(report), report[one.group].name, str(number), "higher" if one.sign > 0 else "lower"),
        *(f"{len(one):,}", f"{one.mass:.1f}", rounded_p(one.p)),
        *(str(one.peak), signed(effect[one.peak]), signed(effect[one.neurons].mean())),
    ]


def _neurons(reports: Sequence[BiasReport], most: int) -> list[Block]:
    """Return the neurons of the largest effects."""
    found = [
        (report, contrast, int(j))
        for report in reports
        for contrast in report.contrasts
        for j in np.argsort(-np.abs(contrast.effect), kind="stable")[:most]
        if not report.dead[j]
    ]
    found.sort(key=lambda one: -abs(one[1].effect[one[2]]))
    rows = [
        [
            *(layer_of(report), c.name, str(j), signed(c.effect[j])),
            *(f"[{signed(c.low[j])}, {signed(c.high[j])}]", signed(c.difference[j], ".3g")),
            *(rounded_p(c.p[j]), rounded_p(c.p_family[j]), rounded_p(c.q[j])),
        ]
        for report, c, j in found[:most]
    ]
    if not rows:
        return []
    header = ["layer", "contrast", "neuron", "g", "95 % interval", "difference", "p", "corrected p", "q"]
    header, rows = _without(header, rows, [0] * (len(reports) == 1) + [1] * (len(reports[0].contrasts) == 1))
    text = (
        f"The {len(rows)} of the largest effects. g: Hedges' g; difference: in the units of the layer; p: of the "
        "neuron alone; corrected p: over all neurons and contrasts, by the largest statistic; q: false discovery rate "
        "(Benjamini and Hochberg). They were picked for being the largest, so that their effects are overstated; the "
        "intervals are for one neuron at a time and do not know of the choice."
    )
    numbers = [i for i, name in enumerate(header) if name not in ("layer", "contrast")]
    return [Heading("Neurons"), _table(header, rows, numbers, text)]


def _outcomes(outcomes: Outcomes, dpi: float) -> list[Block]:
    """Return error rate and confidence per group, and how far apart the groups are."""
    by, within, sure = columns_of(outcomes.by), columns_of(outcomes.within), "confidence" in outcomes.metrics
    header = [by, "inputs", "wrong", "error rate", *["mean confidence"] * sure]
    rows = [
        [each.group, f"{each.n:,}", f"{each.n_wrong:,}", share(each.error_rate), *[share(each.confidence)] * sure]
        for each in (*outcomes.by_group, outcomes.overall)
    ]
    gaps = [("", outcomes.difference, outcomes.ratio)]
    if outcomes.within:
        gaps.append((f" within {within}", outcomes.adjusted_difference, outcomes.adjusted_ratio))
    lines = [
        [
            f"{NAMES[metric]}{where}",
            *(differences[metric].highest, differences[metric].lowest),
            *(share(differences[metric], "points"), ratio(ratios[metric])),
        ]
        for metric in outcomes.metrics
        for where, differences, ratios in gaps
    ]
    alt = f"Error rate{' and mean confidence' * sure} of every group of {by}, with intervals"
    blocks: list[Block] = [
        Heading("Outcomes"),
        _picture("outcomes", plot_outcomes(outcomes, caption=False), dpi, alt, outcomes_caption(outcomes)),
        _table(header, rows, range(1, len(header)), "What the model made of the groups, with 95 % intervals."),
        _table(
            ["", "highest", "lowest", "difference", "ratio"],
            lines,
            [3, 4],
            "The two groups furthest apart. Difference: highest less lowest, in percentage points; ratio: lowest over "
            "highest.",
        ),
    ]
    if outcomes.untested:
        some = joined(list(outcomes.untested[:MOST_ROWS]))
        blocks.append(Paragraph(f"Classes with one group alone, which take no part within classes: {some}.", "quiet"))
    return blocks


def _probe(probe: Probe, dpi: float) -> list[Block]:
    """Return how well every layer tells the groups apart."""
    steps = [""] * len(probe) if probe.steps is None else [str(step) for step in probe.steps]
    header = ["layer", "step", "balanced accuracy", "folds", "permuted labels", "95 % below", "p", "corrected p"]
    rows = []
    for i, (layer, step) in enumerate(zip(probe.layers, steps, strict=True)):
        known = probe.folds[i][~np.isnan(probe.folds[i])]
        folds = f"{known.min():.3f} to {known.max():.3f}" if len(known) else "none"
        null = [f"{probe.baseline[i]:.3f}", f"{probe.ceiling[i]:.3f}"]
        p = [rounded_p(probe.p[i]), rounded_p(probe.p_family[i])]
        rows.append([layer, step, f"{probe.accuracy[i]:.3f}", folds, *null, *p])
    header, rows = _without(header, rows, [1] * (probe.steps is None) + [7] * (len(probe) == 1))
    alt = f"Balanced accuracy of a probe for {columns_of(probe.by)}, above what permuted labels reach"
    return [
        Heading("Probe"),
        _picture("probe", plot_probe(probe, caption=False), dpi, alt, probe_caption(probe)),
        _table(header, rows, range(1, len(header))),
    ]


def _made(reports: Sequence[BiasReport]) -> list[Block]:
    """Return method, parameters, versions and counts."""
    first = reports[0]
    counts = []
    for each in reports:
        layout = "none" if each.layout is None else f"{each.layout.method}, seed {each.layout.seed}"
        dead = int(each.dead.sum())
        counts.append([layer_of(each), f"{each.n_neurons:,}", f"{dead:,}", f"{each.n_inputs:,}", layout])
    every = {name: text for name, text in flat(first.provenance).items() if not name.startswith("parameters.")}
    rows = [[name, text] for name, text in every.items() if every.get(name.removeprefix("recording."), text) != text
            or not name.startswith("recording.versions.")]  # fmt: skip
    return [
        Heading("How it was made"),
        *(Paragraph(each.method_text()) for each in reports),
        _table(["layer", "neurons", "dead", "inputs", "layout"], counts, [1, 2, 3]),
        _table(["parameter", "value"], list(flat(first.parameters).items()), caption="Parameters of measure_bias."),
        _table(["provenance", "value"], rows, caption="Versions, and how the activations were recorded."),
    ]


def _strength(report: BiasReport, contrast: Contrast) -> tuple[float, float]:
    """Return what sorts contrasts by evidence: the smallest p, then the largest statistic."""
    p = min([float(contrast.p_family.min(initial=1)), *(c.p for c in report.clusters if c.group == contrast.group)])
    return p, -float(np.abs(contrast.statistic).max(initial=0))


def _picture(name: str, figure: Any, dpi: float, alt: str, caption: str) -> Picture:
    width = float(figure.get_figwidth())
    return Picture(name, png_of(figure, dpi), width, alt, caption)


def _distinct(found: Iterable[Any]) -> list[Any]:
    """Return what is there, each once: layers share the outcomes of their inputs."""
    kept: dict[str, Any] = {}
    for one in found:
        if one is not None:
            kept.setdefault(str(one.to_dict() | {"provenance": None}), one)
    return list(kept.values())


def _table(
    header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = (), caption: str = ""
) -> Table:
    more = f" {len(rows) - MOST_ROWS:,} more rows are left out." if len(rows) > MOST_ROWS else ""
    return Table(header, rows[:MOST_ROWS], list(numbers), f"{caption}{more}".strip())


def _without(header: list[str], rows: list[list[str]], columns: Sequence[int]) -> tuple[list[str], list[list[str]]]:
    kept = [i for i in range(len(header)) if i not in columns]
    return [header[i] for i in kept], [[row[i] for i in kept] for row in rows]
