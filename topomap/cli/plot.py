"""``topomap plot``: maps over a stored layout."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from topomap._check import choice
from topomap.cli.figures import check_dpi, check_pixels, read_place, read_width, refuse_for_inputs, without_windows

#: A parameter that takes all the values that follow it.
Several = Parameter(consume_multiple=True)

EXAMPLES = """Examples:
  topomap plot runs/a --layer layer3 --by label --to maps.png maps.pdf
  topomap plot runs/a --layer layer3 --by label,correct --to mistakes.svg
  topomap plot runs/a --layer layer3 --by label,prediction --weights size --to errors.pdf
  topomap plot runs/a --layer layer3 --by label --contrast dog --groups cat --to cat-dog.png
  topomap plot runs/a --layer layer3 --by label --arrange tree --to tree.png
  topomap plot runs/a --layer layer3 --by label --projection umap --to inputs-and-maps.png
  topomap plot runs/a --layer layer3 --by pattern --to patterns.png
  topomap plot runs/a --layer layer3 --by label --certainty 10 --to sure.png
  topomap plot runs/a --layer layer3 --reduce aligned --by label --place 3,3 --to centre.png
  topomap plot runs/a --layer layer3 --inputs 17 42 --to inputs.png"""


def plot(
    run: Path,
    *,
    to: Annotated[list[Path], Several],
    layer: str | None = None,
    reduce: str | None = None,
    step: int | None = None,
    by: str | None = None,
    inputs: Annotated[list[str] | None, Several] = None,
    method: str | None = None,
    contrast: str | None = None,
    weights: Literal["equal", "size"] | None = None,
    min_size: int | None = None,
    groups: Annotated[list[str] | None, Several] = None,
    place: str | None = None,
    arrange: Literal["grid", "matrix", "tree"] | None = None,
    projection: Literal["umap", "tsne", "pca"] | None = None,
    columns: int | None = None,
    width: Annotated[Literal["single", "double"] | float | None, Parameter(converter=read_width)] = None,
    cmap: str | None = None,
    interpolation: Literal["linear", "nearest"] = "linear",
    certainty: int | None = None,
    preset: Literal["krug2023"] | None = None,
    dpi: float = 300,
) -> None:
    """Paint maps over a stored layout: one per group of inputs (--by), or one per input (--inputs).

    Parameters
    ----------
    run
        A run folder.
    to
        Files to write; their suffixes say the format (.png, .pdf, .svg).
    layer
        The layer; may be left out where only one was recorded.
    reduce
        The reduction, where the layer was recorded under several.
    step
        Of a training: the step that is painted, instead of the last one. The layout stays that of the run.
    by
        A column of the inputs, or several joined by commas, e.g. label,correct; pattern for the patterns that `topomap
        patterns` stored.
    inputs
        Ids of inputs to paint one by one.
    method
        Which of several stored layouts; a missing one is made with the defaults of embed.
    contrast
        Show groups against the mean over groups (mean, the default), against that of all others (rest), against one
        group (its name), or as they are (none).
    weights
        Whether groups count equally in that mean (the default) or by their size, which is quieter where many are tiny,
        as in a confusion matrix.
    min_size
        Groups of fewer inputs are greyed, 5 by default.
    groups
        Names of the groups to draw; all by default.
    place
        Of a layer recorded with --reduce positions, tokens or aligned: paint this one, e.g. 3,4 (row and column) or 7
        (a token), instead of the mean over places.
    arrange
        grid; matrix, of groups by two columns: label,prediction as a confusion matrix and label,correct as correct over
        wrong, which are the default for these; or tree, at the leaves of a dendrogram.
    projection
        Draw the inputs beside a grid of maps, coloured by group: placed by umap, tsne or pca.
    columns
        Maps per row.
    width
        Of the figure: single or double column, or inches.
    cmap
        A colour map of matplotlib.
    interpolation
        linear, or nearest to show single neurons.
    certainty
        Hatch maps where neurons' places are uncertain: how many bootstrap samples of the inputs to lay out, e.g. 10.
    preset
        krug2023 paints as Krug et al. 2023 do.
    dpi
        Dots per inch of the painted fields, 10 to 2400.
    """
    from topomap.cli.certainty import certainty_of, check_certainty
    from topomap.cli.stored import at_step, columns_of, find_layout, pick, rows, store_layout, with_patterns
    from topomap.layout import project_inputs
    from topomap.plot import plot_inputs, plot_profiles
    from topomap.plot.profiles import MOST_GROUPS, choose_arrangement
    from topomap.plot.save import check_format, save_figure
    from topomap.profiles import profile
    from topomap.run import Activations
    from topomap.store import open_run

    if (by is None) == (inputs is None):
        raise ValueError("give either a grouping (--by label) or ids of inputs (--inputs 17 42) to paint.")
    if inputs is not None:
        refuse_for_inputs(
            preset=preset, contrast=contrast, weights=weights, min_size=min_size, groups=groups, arrange=arrange,
            place=place, projection=projection, certainty=certainty,
        )  # fmt: skip
    check_dpi(dpi)
    for file in to:
        check_format(file)
    without_windows()
    opened = open_run(run)
    laid_out = pick(opened, layer, reduce)
    opened = at_step(opened, step)
    acts = pick(opened, layer, reduce)
    check_certainty(laid_out, certainty)
    look: dict[str, Any] = {"columns": columns, "width": width, "cmap": cmap, "interpolation": interpolation}
    draw: Callable[..., Any]
    # what may be refused comes before a layout that may have to be made, and nothing is written before all is drawn
    if inputs is not None:
        if not isinstance(acts, Activations):
            raise ValueError(f"layer {acts.layer!r} was recorded with keep='moments', which keeps no single input.")
        draw = partial(plot_inputs, acts, rows=rows(acts, inputs), **look)
    else:
        assert by is not None  # one of the two was given
        acts = with_patterns(opened, acts, by)
        sized = 5 if min_size is None else min_size
        at = None if place is None else read_place(place)
        if at is not None and getattr(acts, "places", None) is None:
            raise ValueError(
                f"--place: layer {acts.layer!r} was recorded without places. Record it with --reduce positions, tokens "
                "or aligned, and the values kept."
            )
        profiles = profile(
            acts, columns_of(by), contrast, weights, preset=preset, places=None if at is None else True, min_size=sized
        )
        profiles = profiles if at is None else profiles.at_place(at)
        for name in groups or ():
            choice("groups", name, profiles.names)
        if len(groups or profiles.names) > MOST_GROUPS:
            raise ValueError(
                f"one figure shows at most {MOST_GROUPS} groups, and --by {by} makes {len(groups or profiles.names)}: "
                "name those to draw with --groups, or group by a coarser column."
            )
        look["arrange"] = choose_arrangement(profiles, arrange, groups, projection=projection)
        if projection is not None:
            if not isinstance(acts, Activations):
                raise ValueError(f"--projection places single inputs, and {acts.layer!r} was recorded without them.")
            look["projection"] = project_inputs(acts, projection)
        pictured = isinstance(acts, Activations) and acts.inputs.thumbnails is not None
        examples = acts if isinstance(acts, Activations) and pictured and look["arrange"] == "grid" else None
        draw = partial(plot_profiles, profiles, groups=groups, examples=examples, preset=preset, **look)
    layout, made = find_layout(opened, laid_out, method, preset)
    if certainty is not None:
        draw = partial(draw, certainty=certainty_of(laid_out, layout, certainty))
    figure = draw(layout=layout)
    check_pixels(figure, dpi)
    if made:
        store_layout(opened, acts, layout)
        print(f"stored in {run}: {layout}")
    for file in to:
        save_figure(figure, file, dpi=dpi)
        print(file)
