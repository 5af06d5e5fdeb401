"""``topomap bias``: how groups of inputs differ in a layer, and what can be claimed from it."""

from __future__ import annotations

from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from topomap._check import choice

if TYPE_CHECKING:
    from topomap.bias import BiasReport, Outcomes, Probe
    from topomap.layout import Layout
    from topomap.run import Activations, Run

#: A parameter that takes all the values that follow it.
Several = Parameter(consume_multiple=True)

#: Width of what is printed, and clusters that are listed of each layer.
WIDE, MOST = 100, 10

EXAMPLES = """Examples:
  topomap bias runs/a --layer layer3 --by group --within label --to report.html
  topomap bias runs/a --layer layer2 layer3 --by group --within label --probe --to report.html bias.pdf
  topomap bias runs/a --layer layer3 --by sex --within label --unit person --to neurons.csv report.json
  topomap bias runs/a --layer layer3 --by age,sex --reference "young, female" --min-size 20 --to report.md

A column such as group comes with the data: any array beside x and y in a .npz archive."""


def bias(
    run: Path,
    *,
    by: str,
    within: str | None = None,
    layer: Annotated[list[str] | None, Several] = None,
    reduce: str | None = None,
    step: int | None = None,
    reference: str = "rest",
    unit: str | None = None,
    n_permutations: int = 1000,
    alpha: float = 0.05,
    forming: float = 0.01,
    tfce: bool = False,
    min_size: int = 5,
    interval: Literal["analytic", "bootstrap"] = "analytic",
    probe: bool = False,
    method: str | None = None,
    seed: int = 0,
    to: Annotated[list[Path] | None, Several] = None,
    dpi: float = 300,
) -> None:
    """Compare groups of inputs in every neuron of a layer, and test the differences by permutation.

    Prints which clusters of neighbouring neurons and how many single neurons differ, what the model made of the groups,
    and how it was tested.

    Parameters
    ----------
    run
        A run folder.
    by
        The groups: a column of the inputs, or several joined by commas for intersections.
    within
        What is held fixed: differences are taken within each of its classes; label, as a rule.
    layer
        One or several; may be left out where only one was recorded.
    reduce
        The reduction, where the layers were recorded under several.
    step
        Of a training: the step, instead of the last one. The layout stays that of the run.
    reference
        Compare each group with all others (rest), or with the one of this name.
    unit
        A column that says what inputs belong together, e.g. person: whole units are permuted.
    n_permutations
        Random permutations of the labels.
    alpha
        Level of the tests.
    forming
        The p of its own at which a neuron may be part of a cluster.
    tfce
        Also enhance neurons by their neighbours, without a threshold.
    min_size
        Groups of fewer inputs (with --unit, of fewer units) are not compared.
    interval
        Of effects: analytic (groups may differ in spread), or bootstrap over inputs.
    probe
        Also measure how well a linear probe reads the group from each layer.
    method
        Which of several stored layouts; a missing one is made with the defaults of embed.
    seed
        For what is drawn at random.
    to
        Files to write: a report (.html, .md), its numbers (.json; .csv with one row per neuron), or the figure of the
        maps (.png, .pdf, .svg).
    dpi
        Dots per inch of the painted fields, 10 to 2400.
    """
    from topomap.bias import measure_bias, measure_probe
    from topomap.cli.figures import check_dpi, check_pixels, without_windows
    from topomap.cli.stored import at_step, columns_of, find_layout, store_layout
    from topomap.layout import FEWEST
    from topomap.plot import plot_bias, save_figure
    from topomap.plot.report import FORMATS, save_report
    from topomap.plot.save import check_format
    from topomap.store import open_run

    files = to or []
    figures = [file for file in files if file.suffix.lower() not in FORMATS]
    check_dpi(dpi)
    for file in figures:
        check_format(file)
    without_windows()
    opened = open_run(run)
    laid_out = {(acts.layer, acts.reduce): acts for acts in _records(opened, layer, reduce)}
    opened = at_step(opened, step)
    records = _records(opened, layer, reduce)
    columns: dict[str, Any] = {
        name: None if value is None else columns_of(value)
        for name, value in (("by", by), ("within", within), ("unit", unit))
    }
    _check(records[0], **columns, reference=reference, min_size=min_size, alpha=alpha, interval=interval)
    if figures and not any((~acts.dead).sum() >= FEWEST for acts in records):
        raise ValueError(
            f"there is no map to draw into {figures[0]}: a layout takes {FEWEST} neurons that vary. Write a report "
            "(.html) instead."
        )
    reports, made = [], []
    for acts in records:
        layout: Layout | None = None
        if (~acts.dead).sum() >= FEWEST:
            layout, new = find_layout(opened, laid_out[acts.layer, acts.reduce], method)
            made += [(acts, layout)] if new else []
        report = measure_bias(
            acts,
            **columns,
            reference=reference,
            layout=layout,
            n_permutations=n_permutations,
            alpha=alpha,
            forming=forming,
            tfce=tfce and layout is not None,
            min_size=min_size,
            interval=interval,
            seed=seed,
        )
        print(f"{report}\n\n{_clusters(report)}\n" if report.clusters else f"{report}\n")
        reports.append(report)
    if reports[0].outcomes is not None:
        print(f"{_outcomes(reports[0].outcomes)}\n")
    found: Probe | None = None
    if probe:
        chosen = [acts.layer if reduce is None else (acts.layer, acts.reduce) for acts in records]
        found = measure_probe(opened, **columns, layers=chosen, min_size=min_size, seed=seed)
        print(f"{_probe(found)}\n")
    print(fill(reports[0].method_text(), WIDE))
    if len(reports) > 1:
        print("The other layers were tested in the same way, each by itself, without correction over layers.")
    drawn = None
    if figures:
        drawn = plot_bias([report for report in reports if report.layout is not None])
        check_pixels(drawn, dpi)
    for acts, layout in made:
        store_layout(opened, acts, layout)
        print(f"stored in {run}: {layout}")
    for file in files:
        if drawn is not None and file in figures:
            save_figure(drawn, file, dpi=dpi)
        else:
            save_report(reports, file, probe=found)
        print(file)


def _records(run: Run, layers: list[str] | None, reduce: str | None) -> list[Activations]:
    """Return the layers that are compared; raise where one keeps no single inputs."""
    from topomap.cli.stored import pick
    from topomap.run import Activations

    found = []
    for name in [None] if layers is None else layers:
        acts = pick(run, name, reduce)
        if not isinstance(acts, Activations):
            raise ValueError(
                f"groups are compared input by input, and layer {acts.layer!r} was recorded with keep='moments': "
                "record it with --keep values."
            )
        found.append(acts)
    return found


def _check(
    acts: Activations, by: Any, within: Any, unit: Any, reference: str, min_size: int, alpha: float, interval: str
) -> None:
    """Refuse what cannot be compared before a layout is made."""
    from topomap.bias.sample import compare, draw_sample

    for columns in (by, within, unit):
        for name in [columns] if isinstance(columns, str) else columns or ():
            acts.inputs[name]
    if reference != "rest":
        choice("reference", reference, ("rest", *acts.groups(by).names))
    compare(draw_sample(acts.per_input(), by, within, unit, min_size), reference, alpha, interval)


def _clusters(report: BiasReport) -> str:
    """Return the clusters as lines, those of the smallest p."""
    from topomap.cli.show import table
    from topomap.plot.words import rounded_p, signed

    rows = []
    for number, one in enumerate(report.clusters[:MOST], 1):
        contrast = report[one.group]
        way, mark = "higher" if one.sign > 0 else "lower", "*" if one.p <= report.alpha else ""
        mean = signed(contrast.effect[one.neurons].mean())
        rows.append((number, f"{way} in {contrast.name}", len(one), mean, f"{rounded_p(one.p)}{mark}", one.peak))
    more = len(report.clusters) - len(rows)
    text = table(rows, ("cluster", "values", "neurons", "mean g", "p", "peak"))
    return text + (f"\n{more} more of larger p" if more else "")


def _outcomes(outcomes: Outcomes) -> str:
    """Return what the model made of the groups as lines."""
    from topomap.cli.show import table
    from topomap.plot.probe import NAMES
    from topomap.plot.words import columns_of, ratio, share

    sure = "confidence" in outcomes.metrics
    rows = [
        (each.group, each.n, each.n_wrong, share(each.error_rate), *[share(each.confidence)] * sure)
        for each in (*outcomes.by_group, outcomes.overall)
    ]
    lines = [table(rows, (columns_of(outcomes.by), "inputs", "wrong", "error rate", *["mean confidence"] * sure))]
    where = f" within {columns_of(outcomes.within)}" if outcomes.within else ""
    for metric in outcomes.metrics:
        gap = (outcomes.adjusted_difference or outcomes.difference)[metric]
        times = (outcomes.adjusted_ratio or outcomes.ratio)[metric]
        text = gap.reason
        if gap.value is not None:
            over = "" if times.value is None else f" ({times.lowest} over {times.highest})"
            text = f"difference {share(gap, 'points')} ({gap.highest} less {gap.lowest}), ratio {ratio(times)}{over}"
        lines.append(f"{NAMES[metric]}{where}: {text}")
    return "\n".join(lines)


def _probe(probe: Probe) -> str:
    """Return how well layers tell the groups apart as lines."""
    from topomap.cli.show import table
    from topomap.plot.words import rounded_p

    rows = [
        (layer, f"{probe.accuracy[i]:.3f}", f"{probe.baseline[i]:.3f}", rounded_p(probe.p_family[i]))
        for i, layer in enumerate(probe.layers)
    ]
    return table(rows, ("probe", "balanced accuracy", "permuted labels", "corrected p"))
