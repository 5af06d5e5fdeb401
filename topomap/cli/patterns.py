"""``topomap patterns``: clusters of inputs that a layer treats alike."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from topomap._check import choice, listing

if TYPE_CHECKING:
    from topomap.patterns import Enrichment, PatternReport, Patterns, Shift
    from topomap.run import Activations, Run

#: A parameter that takes all the values that follow it.
Several = Parameter(consume_multiple=True)

#: Suffixes of tables; all others are those of figures.
TABLES = (".csv", ".md")

EXAMPLES = """Examples:
  topomap patterns runs/a --layer layer3
  topomap patterns runs/a --layer layer3 --stability --to cards.png patterns.csv
  topomap patterns runs/a --layer layer3 --reduce mean+std --which 0 3 noise --to cards.pdf
  topomap patterns runs/a --layer layer3 --by label --by camera,weather --to patterns.md
  topomap patterns runs/a --layer layer3 --unit 17"""


def patterns(
    run: Path,
    *,
    layer: str | None = None,
    reduce: str | None = None,
    step: int | None = None,
    unit: int | None = None,
    min_cluster_size: int = 5,
    min_samples: int = 5,
    cluster_selection_epsilon: float = 0.0,
    selection: Literal["leaf", "eom"] = "leaf",
    metric: Literal["euclidean", "manhattan", "chebyshev"] = "euclidean",
    n_components: int | None = None,
    by: list[str] | None = None,
    stability: bool = False,
    seed: int = 0,
    to: Annotated[list[Path] | None, Several] = None,
    n: int = 8,
    which: Annotated[list[str] | None, Several] = None,
    columns: int = 1,
    method: str | None = None,
    dpi: float = 300,
) -> None:
    """Cluster the inputs by what a layer makes of them, print what the clusters have in common, and store them.

    The clusters are Neural Activation Patterns (Bäuerle et al. 2022), found by HDBSCAN with the published defaults.

    Parameters
    ----------
    run
        A run folder.
    layer
        The layer; may be left out where only one was recorded.
    reduce
        mean (the default where it was recorded), mean+std, max, min+max, another one that was recorded, or none for the
        places of each input side by side.
    step
        Of a training: the step, instead of the last one. What is found there is not stored.
    unit
        Cluster by this unit alone, by its map where places were kept.
    min_cluster_size
        The least size of a pattern.
    min_samples
        How many neighbours make an input dense; more of them leave more noise.
    cluster_selection_epsilon
        The distance below which patterns are not split.
    selection
        leaf for many small patterns, eom for fewer and larger ones.
    metric
        How inputs are compared.
    n_components
        Cluster by so many principal components, for layers of many units.
    by
        A column of the inputs to look for in every pattern, or several joined by commas for their combinations, as in
        all commands; once more for another (--by label --by camera). By default every column by itself.
    stability
        Also cluster samples of the inputs, and measure which patterns come back and how their number grows.
    seed
        For what is drawn at random.
    to
        Files to write: a table (.csv, .md) or a figure of cards (.png, .pdf, .svg).
    n
        How many patterns the figure has cards of, the most persistent first; noise has one besides.
    which
        Instead: the numbers of the patterns to draw, and noise.
    columns
        Cards beside each other.
    method
        Which of several stored layouts the maps are painted over; a missing one is made with the defaults of embed.
    dpi
        Dots per inch of the painted fields, 10 to 2400.
    """
    from topomap.cli.figures import check_dpi, check_pixels, without_windows
    from topomap.cli.stored import at_step, check_method, columns_of, find_layout, store_layout
    from topomap.layout import FEWEST
    from topomap.patterns import find_patterns, measure_patterns
    from topomap.plot import plot_patterns, save_figure
    from topomap.plot.save import check_format
    from topomap.store import open_run

    files = to or []
    figures = [file for file in files if file.suffix.lower() not in TABLES]
    check_dpi(dpi)
    for file in figures:
        check_format(file)
    chosen = None if which is None else [_number(name) for name in which]
    without_windows()
    opened = open_run(run)
    name = _layer(opened, layer)
    last, opened = opened, at_step(opened, step)
    groupings = None if by is None else [columns_of(each) for each in by]
    for column in [c for each in groupings or () for c in ([each] if isinstance(each, str) else each)]:
        opened.inputs[column]  # refused before the work, not after
    if figures:
        check_method(last, _painted(last, name, reduce or "mean"), method)
    found = find_patterns(
        opened,
        name,
        reduce=reduce,
        unit=unit,
        min_cluster_size=min_cluster_size,
        min_samples=min_samples,
        cluster_selection_epsilon=cluster_selection_epsilon,
        selection=selection,
        metric=metric,
        n_components=n_components,
        seed=seed,
    )
    for k in chosen or ():
        if k not in found.ids:
            raise ValueError(f"--which: {_there_are(found)}; got {'noise' if k < 0 else k}.")
    report = measure_patterns(found, groupings, n_bootstrap=20 if stability else 0, seed=seed)
    lines = [str(report.patterns), "", _aligned(_text(report)), "", *_notes(report)]
    print("\n".join(lines))
    layout, made, acts = None, False, None
    if figures:
        acts = _painted(opened, name, report.patterns.reduce)
        if (~acts.dead).sum() >= FEWEST:
            layout, made = find_layout(last, _painted(last, name, report.patterns.reduce), method)
        figure = plot_patterns(report.patterns, acts, layout, report=report, n=n, which=chosen, columns=columns)
        check_pixels(figure, dpi)
    if step is None:
        report.patterns.save(run)
        print(f"\nstored in {run}")
    if made and layout is not None and acts is not None:
        store_layout(opened, acts, layout)
        print(f"stored in {run}: {layout}")
    for file in files:
        if file in figures:
            save_figure(figure, file, dpi=dpi)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            (_to_csv if file.suffix.lower() == ".csv" else _to_markdown)(report, file)
        print(file)


def _there_are(found: Patterns) -> str:
    """Return which patterns can be asked for."""
    n = len(found)
    here = "there is no pattern" if n == 0 else "there is pattern 0 alone" if n == 1 else f"patterns are 0 to {n - 1}"
    return f"{here}, {'and noise' if -1 in found.ids else 'and no noise'}"


def _number(name: str) -> int:
    """Return the number of a pattern, -1 for noise.

    Examples
    --------
    >>> _number("3"), _number("noise")
    (3, -1)
    """
    if name == "noise":
        return -1
    if not name.isdecimal():
        raise ValueError(f"--which takes numbers of patterns and the word noise; got {name!r}.")
    return int(name)


def _layer(run: Run, layer: str | None) -> str:
    if layer is None and len(run.layers) != 1:
        raise ValueError(f"say which layer (--layer): {listing(run.layers)}.")
    return run.layers[0] if layer is None else choice("layer", layer, run.layers)


def _painted(run: Run, layer: str, reduce: str) -> Activations:
    """Return the record whose values the figure shows: of several reductions the first."""
    from topomap.run import Activations

    found = run.reductions(layer)
    record = run[layer, next((part for part in reduce.split("+") if part in found), found[0])]
    assert isinstance(record, Activations)  # patterns were found in it
    return record


def _values(report: PatternReport, k: int) -> list[tuple[str, Enrichment | Shift | None]]:
    """Return every column that was tested, with its commonest value in a pattern, or how it is shifted there."""
    from topomap.patterns import Enrichment

    tests: list[Enrichment | Shift] = [*report.enrichment, *report.shifts]
    tested = dict.fromkeys(test.column for test in tests)
    own = [column for column in report.patterns.inputs.columns if column in tested]
    columns = [*own, *(column for column in tested if column not in own)]
    found = []
    for column in columns:
        here = [test for test in tests if (test.pattern, test.column) == (k, column)]
        here.sort(key=lambda test: (-test.count if isinstance(test, Enrichment) else 0, test.p))
        found.append((column, here[0] if here else None))
    return found


def _text(report: PatternReport) -> list[list[str]]:
    """Return header and rows as text: what is known of every pattern, and one cell per column that was tested."""
    from topomap.patterns.report import percent

    measured = {shift.column for shift in report.shifts}
    columns = [f"{column} (median)" if column in measured else column for column, _ in _values(report, -1)]
    lines = [["", "inputs", "persistence", "stability", *columns]]
    for row in report.table:
        numbers = ["-" if value is None else f"{value:.2f}" for value in (row.persistence, row.stability)]
        count = f"{row.count} ({percent(row.count / report.patterns.n_rows)} %)"
        lines.append([row.name, count, *numbers, *(_cell(test) for _, test in _values(report, row.pattern))])
    return lines


def _cell(test: Enrichment | Shift | None) -> str:
    from topomap.patterns import Enrichment
    from topomap.patterns.report import percent

    if test is None:
        return "-"
    q = "q < .001" if test.q < 0.001 else f"q = {test.q:.3f}".replace("0.", ".")
    if isinstance(test, Enrichment):
        return f"{test.value}: {percent(test.share)} % ({q})"
    return f"{test.median:.4g}, others {test.median_rest:.4g} ({q})"


def _aligned(lines: list[list[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    numbers = (1, 2, 3)
    return "\n".join(
        "  ".join(
            cell.rjust(w) if i in numbers else cell.ljust(w)
            for i, (cell, w) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def _notes(report: PatternReport) -> list[str]:
    """Return what must be known to read the table."""
    from topomap.patterns.report import percent

    patterns = report.patterns
    notes = [f"{percent(patterns.noise)} % of {patterns.n_rows:,} inputs are noise, in no pattern."]
    if len(patterns):
        notes.append(
            "Persistence: over what share of HDBSCAN's range of densities the members of a pattern stay together."
        )
    if report.stability is None:
        notes.append(
            "The number of patterns grows with the number of inputs, and is no property of the layer; --stability "
            "measures that, and which patterns come back in samples of the inputs."
        )
    return [*notes, report.text] if report.text else notes


def _to_csv(report: PatternReport, file: Path) -> None:
    """Write one row per pattern, numbers in full."""
    from topomap.patterns import Enrichment

    rows: list[list[Any]] = []
    header = ["pattern", "inputs", "share", "persistence", "stability"]
    measured = {shift.column for shift in report.shifts}
    for column, _ in _values(report, -1):
        kinds = ("median", "median of others", "q") if column in measured else ("", "share", "q")
        header += [f"{column} {kind}".strip() for kind in kinds]
    for row in report.table:
        line: list[Any] = [row.pattern, row.count, row.count / report.patterns.n_rows, row.persistence, row.stability]
        for _, test in _values(report, row.pattern):
            if test is None:
                line += [None] * 3
            elif isinstance(test, Enrichment):
                line += [test.value, test.share, test.q]
            else:
                line += [test.median, test.median_rest, test.q]
        rows.append(line)
    with file.open("w", newline="", encoding="utf-8") as opened:
        writer = csv.writer(opened)
        writer.writerow(header)
        writer.writerows([["" if value is None else value for value in row] for row in rows])


def _to_markdown(report: PatternReport, file: Path) -> None:
    """Write the table as it is printed, and the notes."""
    header, *body = [[cell.replace("|", "\\|") for cell in line] for line in _text(report)]
    lines = [header, ["---", "--:", "--:", "--:", *["---"] * (len(header) - 4)], *body]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    file.write_text("\n\n".join([table, *_notes(report)]) + "\n", encoding="utf-8")
