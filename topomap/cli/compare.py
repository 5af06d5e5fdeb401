"""``topomap compare``: several methods on one layer of a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from topomap._check import choice

#: A parameter that takes all the values that follow it.
Several = Parameter(consume_multiple=True)

#: Suffixes of tables; all others are those of figures.
TABLES = (".csv", ".md")

EXAMPLES = """Examples:
  topomap compare runs/a --layer layer3 --by label --to methods.png methods.csv
  topomap compare runs/a --layer layer3 --methods spread umap umap+swarm --n 5 --region square
  topomap compare runs/a --layer layer3 --methods spread tsne --stability"""


def compare(
    run: Path,
    *,
    layer: str | None = None,
    reduce: str | None = None,
    step: int | None = None,
    methods: Annotated[list[str] | None, Several] = None,
    by: str | None = None,
    group: str | None = None,
    n: int = 3,
    region: str = "disc",
    metric: Literal["pearson", "spearman", "cosine", "jaccard", "euclidean"] = "pearson",
    absolute: bool = False,
    stability: bool = False,
    seed: int = 0,
    to: Annotated[list[Path] | None, Several] = None,
    dpi: float = 300,
) -> None:
    """Lay a layer out by several methods, several times each, and print a table of what was measured.

    The run folder is left as it is. Ctrl-C prints and writes what was done so far.

    Parameters
    ----------
    run
        A run folder.
    layer
        The layer; may be left out where only one was recorded.
    reduce
        The reduction, where the layer was recorded under several.
    step
        Of a training: the step, instead of the last one.
    methods
        As for embed; by default all that take less than about a minute, and the chains of Krug et al. 2023.
    by
        Groups of inputs, e.g. label, for what is measured on their maps, and for the maps of the figure.
    group
        The group whose maps are drawn; by default the one whose map is strongest.
    n
        Repetitions of each method, each with a seed of its own.
    region
        As for embed.
    metric
        How neurons are compared, as for embed.
    absolute
        Whether opposite neurons count as similar.
    stability
        Also lay out bootstrap samples of the inputs, and measure how far these layouts differ.
    seed
        The first seed.
    to
        Files to write: a table (.csv with every layout, .md with the medians) or a figure (.png, .pdf, .svg).
    dpi
        Dots per inch of the painted fields, 10 to 2400.
    """
    from topomap.cli.figures import check_dpi, check_pixels, without_windows
    from topomap.cli.stored import at_step, columns_of, pick
    from topomap.plot import plot_comparison, save_figure
    from topomap.plot.save import check_format
    from topomap.profiles import profile
    from topomap.quality import compare_layouts
    from topomap.run import Activations
    from topomap.similarity import correlate
    from topomap.store import open_run

    files = to or []
    figures = [file for file in files if file.suffix.lower() not in TABLES]
    check_dpi(dpi)
    for file in figures:
        check_format(file)
    if group is not None and by is None:
        raise ValueError("--group names one of the groups of --by: give that too, e.g. --by label.")
    without_windows()
    acts = pick(at_step(open_run(run), step), layer, reduce)
    profiles = None if by is None else profile(acts, by=columns_of(by))
    if group is not None and profiles is not None:
        choice("group", group, profiles.names)
    if stability and not isinstance(acts, Activations):
        raise ValueError(f"--stability draws inputs anew, and layer {acts.layer!r} was recorded with keep='moments'.")
    source = acts if isinstance(acts, Activations) else correlate(acts, metric=metric, absolute=absolute)
    comparison = compare_layouts(
        source, profiles, methods, region, n, seed, stability=stability, metric=metric, absolute=absolute
    )
    print(comparison)
    if figures:
        figure = plot_comparison(comparison, profiles, group=group)
        check_pixels(figure, dpi)
    for file in files:
        if file in figures:
            save_figure(figure, file, dpi=dpi)
        elif file.suffix.lower() == ".csv":
            comparison.to_csv(file)
        else:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(comparison.to_markdown() + "\n", encoding="utf-8")
        print(file)
    if comparison.interrupted:
        raise KeyboardInterrupt("what was done is in the table")
