"""``topomap film``: a recorded training as a film, a strip for papers, and curves."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from topomap._check import listing
from topomap.cli.figures import check_dpi, check_pixels, without_windows

if TYPE_CHECKING:
    from topomap.run import Run
    from topomap.training import TrainingSummary

#: A parameter that takes all the values that follow it.
Several = Parameter(consume_multiple=True)

#: Suffixes of films; all others are those of figures.
FILMS = (".gif", ".html", ".mp4", ".webm")

#: Bytes of a GIF from which on its user is told what would be smaller.
LARGE = 10_000_000

EXAMPLES = """Examples:
  topomap film runs/training --layer fc2 --by label --to film.html
  topomap film runs/training --layer fc2 --by label --to film.mp4 film.gif strip.png
  topomap film runs/training --layer fc2 --by label,correct --to mistakes.mp4
  topomap film runs/training --layer fc2 --by label --layout moving --to moving.mp4
  topomap film runs/training --layer fc2 --by label --difference cat dog --to cat-dog.gif
  topomap film runs/training --layer fc2 --by label --curves curves.png"""


def film(
    run: Path,
    *,
    to: Annotated[list[Path] | None, Several] = None,
    layer: str | None = None,
    reduce: str | None = None,
    by: str = "label",
    layout: Literal["last", "first", "joint", "moving"] = "last",
    groups: Annotated[list[str] | None, Several] = None,
    difference: Annotated[list[str] | None, Several] = None,
    inputs: Annotated[list[str] | None, Several] = None,
    panels: Annotated[list[Literal["groups", "difference", "inputs", "layout"]] | None, Several] = None,
    contrast: str | None = None,
    steps: int | None = None,
    snapshots: int = 6,
    method: str | None = None,
    region: str | None = None,
    quality: Annotated[bool, Parameter(negative="--no-quality")] = True,
    fps: float | None = None,
    between: int | None = None,
    size: tuple[int, int] | None = None,
    curves: Path | None = None,
    seed: int = 0,
    dpi: float = 300,
) -> None:
    """Film a recorded training: how the maps of a layer come about.

    Parameters
    ----------
    run
        The run folder of a training.
    to
        Files to write: films (.gif, .html; .mp4 and .webm with the video extra), and strips of some snapshots beside
        each other (.png, .pdf, .svg).
    layer
        The layer; may be left out where only one was recorded.
    reduce
        The reduction, where the layer was recorded under several.
    by
        A column of the inputs, or several joined by commas, e.g. label,correct.
    layout
        last: neurons lie as they are alike at the last step; first; joint, over the steps (24 of them, where there are
        more); moving, through the layouts of as many steps.
    groups
        Names of the groups to show; all by default.
    difference
        Two groups: the second is subtracted from the first.
    inputs
        Ids of single inputs to show, where values were kept.
    panels
        What to show, where it is not what is asked for otherwise; layout shows neurons as dots.
    contrast
        As in plot.
    steps
        Show so many of the snapshots, spread evenly; all by default.
    snapshots
        Snapshots in a strip.
    method
        How neurons are laid out, as in embed.
    region
        What the layout fills, as in embed.
    quality
        Measure how well the layout shows who is alike, at up to 24 of the steps; --no-quality leaves that out.
    fps
        Frames per second; 12 by default, or 24 where neurons move and not only a GIF is written.
    between
        Frames between two snapshots.
    size
        Width and height of a film in pixels; 1280 720 by default, 800 450 for a GIF alone, whose file would be large.
    curves
        A file for a figure of the training in numbers: when maps settle, groups separate, neurons die.
    seed
        For the layout.
    dpi
        Dots per inch of the painted fields of strips, 10 to 2400.
    """
    from topomap.cli.stored import columns_of, pick, read_region, rows
    from topomap.plot import animate, plot_filmstrip, plot_training, save_figure
    from topomap.plot.movie import check_film_format
    from topomap.plot.save import check_format
    from topomap.run import Activations
    from topomap.store import open_run
    from topomap.training import summarize_training

    files = list(to or [])
    if not files and curves is None:
        raise ValueError("say what to write: --to film.html, or --curves curves.png.")
    check_dpi(dpi)
    films = [file for file in files if file.suffix.lower() in FILMS]
    strips = [file for file in files if file not in films]
    for file in films:
        check_film_format(file)
    for file in [*strips, *([] if curves is None else [curves])]:
        _check_strip(file, check_format)
    if difference is not None and len(difference) != 2:
        raise ValueError(f"--difference takes two groups; got {len(difference)}: {listing(difference)}.")
    without_windows()
    opened = open_run(run)
    _check_training(opened, run)
    acts = pick(opened, layer, reduce)
    key, columns = (acts.layer, acts.reduce), columns_of(by)
    chosen = None
    if inputs is not None:
        if not isinstance(acts, Activations):
            raise ValueError(f"layer {acts.layer!r} was recorded with keep='moments', which keeps no single input.")
        each = acts.per_input()
        chosen = each._rows[rows(each, inputs)].tolist()
    common: dict[str, Any] = {
        "layout": layout, "groups": groups, "contrast": contrast, "method": method, "region": read_region(region),
        "seed": seed,
    }  # fmt: skip
    pair = None if difference is None else (difference[0], difference[1])
    if films:
        small = all(file.suffix.lower() == ".gif" for file in films)
        fps = 12 if fps is None and small and layout == "moving" else fps
        size = size or ((800, 450) if small else (1280, 720))
        made = animate(
            opened, key, columns, difference=pair, inputs=chosen, panels=panels, steps=steps, quality=quality, fps=fps,
            between=between, width=size[0], height=size[1], **common,
        )  # fmt: skip
        for file in films:
            print(made.save(file))
            if file.suffix.lower() == ".gif" and file.stat().st_size > LARGE:
                megabytes = f"{file.stat().st_size / 1e6:.0f} MB"
                print(f"  {megabytes}: a smaller --size or --fps, or .mp4 or .webm instead, makes a smaller file")
    if strips:
        figure = plot_filmstrip(opened, key, columns, difference=pair, steps=snapshots, **common)
        check_pixels(figure, dpi)
        for file in strips:
            print(save_figure(figure, file, dpi=dpi))
    if curves is not None:
        summary = summarize_training(opened, key, columns, steps=steps)
        print(aligned(summary_rows(summary)))
        print(save_figure(plot_training(summary), curves, dpi=dpi))


def summary_rows(summary: TrainingSummary) -> list[tuple[str, str]]:
    """Return, under short names, in words what a training shows in numbers.

    Examples
    --------
    >>> import numpy as np
    >>> from topomap.training import TrainingSummary
    >>> steps, dead, roles = np.array([0, 10]), np.array([[False, False], [False, True]]), np.array([[1, 0], [0, -1]])
    >>> maps = np.array([[0.2, 0.95], [1.0, 1.0]])
    >>> summary = TrainingSummary(steps, ("cat", "dog"), maps, dead, maps, np.array([0.1, 0.5]), roles, layer="fc")
    >>> print(aligned(summary_rows(summary)))
    maps of fc     all settled (correlation with the last >= 0.9) from step 10 on
    variance       between groups 10% at first, 50% at last
    dead neurons   0 of 2 at first, 1 at last
    roles          1 of 1 neuron serves another group at last than at first
    """
    from topomap.training import tell_divergence
    from topomap.training.summary import SETTLED

    n, changed = int(((summary.roles[0] >= 0) & (summary.roles[-1] >= 0)).sum()), len(summary.changed)
    where = summary.layer if summary.reduce == "none" else f"{summary.layer}, {summary.reduce}"
    rows = [
        (f"maps of {where}", f"all settled (correlation with the last >= {SETTLED}) from step "
         f"{max(summary.settled.values()):,} on"),
        ("variance", f"between groups {summary.explained[0]:.0%} at first, {summary.explained[-1]:.0%} at last"),
        ("dead neurons", f"{summary.n_dead[0]:,} of {summary.n_neurons:,} at first, {summary.n_dead[-1]:,} at last"),
        ("roles", f"{changed:,} of {n:,} neuron{'s' * (n != 1)} serve{'s' * (changed == 1)} another group at last than "
         "at first"),
    ]  # fmt: skip
    if summary.diverged:
        rows.append(("left out", tell_divergence(summary.diverged)))
    return rows


def aligned(rows: Sequence[tuple[str, str]], indent: str = "") -> str:
    """Return lines of names and words, the words below each other."""
    wide = max(len(name) for name, _ in rows)
    return "\n".join(f"{indent}{name.ljust(wide)}   {words}" for name, words in rows)


def _check_strip(file: Path, check: Any) -> None:
    try:
        check(file)
    except ValueError:
        raise ValueError(
            f"the suffix of {file} must be that of a film, {listing(FILMS)}, or of a figure, '.png', '.pdf' or '.svg'."
        ) from None


def _check_training(run: Run, path: Path) -> None:
    if not run.steps:
        raise ValueError(
            f"{path} is no training, so nothing moves in it: record one with tm.TrainingRecorder(..., to=...), or its "
            "checkpoints with tm.record_checkpoints. topomap train-demo makes one."
        )
