"""``topomap patterns``: clusters of inputs that a layer treats alike."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from topomap._check import choice, listing
from topomap.run import Activations

if TYPE_CHECKING:
    from topomap.patterns import PatternReport
    from topomap.run import Run

#: A parameter that takes all the values that follow it.
Several = Parameter(consume_multiple=True)

#: Suffixes of tables; all others are those of figures.
TABLES = (".csv", ".md")

EXAMPLES = """Examples:
  topomap patterns runs/a --layer layer3
  topomap patterns runs/a --layer layer3 --stability --to cards.png patterns.csv
  topomap patterns runs/a --layer layer3 --reduce mean+std --by label camera --which 0 3 noise --to cards.pdf
  topomap patterns runs/a --layer layer3 --unit 17"""


def patterns(
    run: Path,
    *,
    layer: str | None = None,
    reduce: str | None = None,
    unit: int | None = None,
    min_cluster_size: int = 5,
    min_samples: int = 5,
    cluster_selection_epsilon: float = 0.0,
    selection: Literal["leaf", "eom"] = "leaf",
    metric: Literal["euclidean", "manhattan", "chebyshev"] = "euclidean",
    n_components: int | None = None,
    by: Annotated[list[str] | None, Several] = None,
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
        Columns of the inputs, e.g. label prediction, to look for in every pattern; by default all.
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
    from topomap.cli.stored import columns_of, find_layout, store_layout
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
    groupings = None if by is None else [columns_of(each) for each in by]
    for column in [c for each in groupings or () for c in ([each] if isinstance(each, str) else each)]:
        opened.inputs[column]  # refused before the work, not after
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
    report = measure_patterns(found, groupings, n_bootstrap=20 if stability else 0, seed=seed)
    header, rows = _table(report)
    print(report.patterns)
    print(f"\n{_text(header, rows)}\n\n{_notes(report, stability)}")
    layout, made, acts = None, False, None
    if figures:
        acts = _painted(opened, name, report.patterns.reduce)
        if (~acts.dead).sum() >= FEWEST:
            layout, made = find_layout(opened, acts, method)
        figure = plot_patterns(report.patterns, acts, layout, report=report, n=n, which=chosen, columns=columns)
        check_pixels(figure, dpi)
    report.patterns.save(run)
    print(f"\nstored in {run}")
    if made and layout is not None and acts is not None:
        store_layout(opened, acts, layout)
        print(f"stored in {run}: {layout}")
    for file in files:
        if file in figures:
            save_figure(figure, file, dpi=dpi)
        else:
            _write(file, header, rows, _notes(report, stability))
        print(file)


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
    found = run.reductions(layer)
    record = run[layer, next((part for part in reduce.split("+") if part in found), found[0])]
    assert isinstance(record, Activations)  # patterns were found in it
    return record


def _table(report: PatternReport) -> tuple[list[str], list[list[Any]]]:
    """Return header and rows: what is known of every pattern, and of each column its commonest value there."""
    columns = list(dict.fromkeys(row.column for row in report.enrichment))
    numbers = list(dict.fromkeys(row.column for row in report.shifts))
    header = ["pattern", "inputs", "share", "persistence", "stability"]
    header += [f"{column}{what}" for column in columns for what in ("", " share", " q")]
    header += [f"{column}{what}" for column in numbers for what in (" median", " median of others", " q")]
    rows: list[list[Any]] = []
    for known in report.table:
        k = known.pattern
        row = [known.name, known.count, known.count / report.patterns.n_rows, known.persistence, known.stability]
        for column in columns:
            of = [each for each in report.enrichment if (each.pattern, each.column) == (k, column)]
            best = max(of, key=lambda each: (each.count, -each.p), default=None)
            row += [None] * 3 if best is None else [best.value, best.share, best.q]
        for column in numbers:
            shift = next((each for each in report.shifts if (each.pattern, each.column) == (k, column)), None)
            row += [None] * 3 if shift is None else [shift.median, shift.median_rest, shift.q]
        rows.append(row)
    return header, rows


def _shown(value: Any, heading: str) -> str:
    """Return a cell as text.

    Examples
    --------
    >>> _shown(0.25, "label share"), _shown(0.0004, "label q"), _shown(None, "stability"), _shown(0.5, "persistence")
    ('25%', '<.001', '-', '0.50')
    """
    if value is None:
        return "-"
    if heading.endswith("share"):
        return f"{value:.0%}"
    if heading.endswith(" q"):
        return "<.001" if value < 0.001 else f"{value:.3f}".replace("0.", ".")
    if isinstance(value, float):
        return f"{value:.2f}" if heading in ("persistence", "stability") else f"{value:.3g}"
    return str(value)


def _text(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """Set the table as columns of text, numbers to the right."""
    cells = [list(header), *([_shown(value, name) for value, name in zip(row, header, strict=True)] for row in rows)]
    words = [any(isinstance(row[i], str) for row in rows) for i in range(len(header))]
    widths = [max(len(line[i]) for line in cells) for i in range(len(header))]
    return "\n".join(
        "  ".join(c.ljust(w) if left else c.rjust(w) for c, w, left in zip(line, widths, words, strict=True)).rstrip()
        for line in cells
    )


def _notes(report: PatternReport, stability: bool) -> str:
    """Return what must be known to read the table, one paragraph for each."""
    patterns = report.patterns
    notes = [f"{patterns.noise:.0%} of {patterns.n_rows:,} inputs are noise: in no pattern."]
    if not stability:
        notes.append(
            "The number of patterns grows with the number of inputs, and is no property of the layer; whether patterns "
            "come back when inputs are resampled is measured by --stability."
        )
    return "\n".join([*notes, *([report.text] if report.text else [])])


def _write(file: Path, header: Sequence[str], rows: Sequence[Sequence[Any]], notes: str) -> None:
    """Write the table: numbers in full (.csv), or as printed, with the notes (.md)."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.suffix.lower() == ".csv":
        with file.open("w", newline="", encoding="utf-8") as opened:
            writer = csv.writer(opened)
            writer.writerow(header)
            writer.writerows([["" if value is None else value for value in row] for row in rows])
        return
    cells = [[_shown(value, name) for value, name in zip(row, header, strict=True)] for row in rows]
    lines = [list(header), ["---"] * len(header), *cells]
    table = "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)
    file.write_text("\n\n".join([table, *notes.splitlines()]) + "\n", encoding="utf-8")
