"""Single inputs and their maps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from topomap._check import at_least, instance_of
from topomap.layout import Layout
from topomap.layout.regions import Region
from topomap.plot import style
from topomap.plot.grid import arrows, choose_columns, choose_width, describe, make_grid, neurons, show_picture
from topomap.plot.panel import Dots, Ground, check_marks, draw_bar, draw_map
from topomap.run import Activations

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure


def plot_inputs(
    acts: Activations,
    layout: Layout,
    rows: Sequence[int] | NDArray[Any] | int | None = None,
    *,
    ids: Sequence[Any] | None = None,
    columns: int | None = None,
    width: Literal["single", "double"] | float | None = None,
    limits: style.Limits = None,
    cmap: str | Colormap | None = None,
    contours: int = 4,
    outline: bool = True,
    dots: Dots = "auto",
    mask: Any | None = None,
    colorbar: bool = True,
    caption: bool | str = True,
    region: str | Region | NDArray[np.bool_] | None = None,
    interpolation: str = "linear",
    extrapolate: str = "auto",
    resolution: int = 100,
) -> Figure:
    """Paint the activations of several inputs, with their pictures or texts above them, all on one colour scale.

    Neurons are scaled to their own mean and standard deviation over all inputs of the layer. Titles say label and
    prediction; misclassified inputs are titled in bold and framed.

    Parameters
    ----------
    acts
        Activations of a layer.
    layout
        Where the neurons are.
    rows
        Rows of `acts` to paint; by default the first eight.
    ids
        Instead of rows: ids of inputs.
    columns, width, caption
        As of `plot_profiles`.
    limits, cmap, contours, outline, dots, mask, colorbar, region, interpolation, extrapolate, resolution
        As of `plot_topomap`.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If a row or an id does not exist, the layout has another number of neurons, or an option is unknown.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> acts = Activations.from_array(rng.normal(size=(9, 20)), label=np.arange(9) % 3, prediction=np.arange(9) % 2)
    >>> figure = plot_inputs(acts, Layout(positions=rng.uniform(-1, 1, size=(20, 2))), [0, 4, 5])
    >>> [text.get_text() for text in figure.texts][:3]
    ['0 → 0', '1 → 0', '2 → 1']
    """
    instance_of(
        "acts", acts, Activations, "Pass run['layer'], or tm.Activations.from_array(array); the layout is second."
    )
    instance_of("layout", layout, Layout, "Make one with tm.embed(tm.correlate(acts)).")
    check_marks(layout, contours, dots, mask)
    index = _choose(acts, rows, ids)
    ground = Ground.of(layout, region, resolution, interpolation, extrapolate)
    usable = ~acts.dead
    values = ground.values(acts.scores_of(index), "acts", n_maps=True)
    live = usable & ~layout.dead
    scale = style.scale(values, limits, cmap, live=live)
    inputs = acts.inputs
    sources = np.asarray(acts.rows)[index]
    titles, wrong = _titles(acts, index, sources)
    pictures = None if inputs.thumbnails is None else [np.asarray(inputs.thumbnails[int(i)]) for i in sources]
    words = [str(inputs.texts[i]) for i in sources] if pictures is None and inputs.texts is not None else None
    mark = "; misclassified bold" + " and framed" * (pictures is not None) if wrong.any() else ""
    inches = choose_width(width, len(index))
    grid = make_grid(
        titles,
        width=inches,
        columns=choose_columns(len(index), inches, columns),
        pictures=pictures is not None,
        words=words,
        caption=caption
        if isinstance(caption, str)
        else _caption(acts, layout, values, scale, live, mark, dots is not False)
        if caption
        else "",
        bar=colorbar,
        colors=[style.WRONG if is_wrong else style.INK for is_wrong in wrong],
    )
    fields = ground.paint(values)
    for i, panel in enumerate(grid.panels):
        if pictures is not None and panel.picture is not None:
            show_picture(panel.picture, pictures[i], style.WRONG if wrong[i] else None)
        image = draw_map(panel.map, ground, fields[i], scale, contours=contours, outline=outline, dots=dots, mask=mask)
    if grid.bar is not None:
        label = "difference from the mean input\n(standard deviations of each neuron)"
        draw_bar(grid.figure, grid.bar, image, scale, label, orientation="horizontal")
    return grid.figure


def _choose(acts: Activations, rows: Any, ids: Sequence[Any] | None) -> NDArray[np.int64]:
    if ids is not None:
        if rows is not None:
            raise ValueError("give rows or ids, not both.")
        found: list[int] = []
        own = acts.inputs.ids[np.asarray(acts.rows)]
        for wanted in [ids] if isinstance(ids, str) else ids:
            where = np.flatnonzero(own == wanted)
            if not len(where):
                raise ValueError(f"no row of layer {acts.layer!r} comes from an input with the id {wanted!r}.")
            found.extend(where)
        return np.array(found, dtype=np.int64)
    if rows is None:
        rows = np.arange(min(8, acts.n_rows))
    index = np.atleast_1d(np.asarray(rows))
    if index.ndim != 1 or index.dtype.kind not in "iu":
        raise ValueError(f"rows must be positions of rows (integers); got {rows!r}. Use ids= for ids of inputs.")
    at_least("the number of rows", len(index), 1)
    if index.min() < -acts.n_rows or index.max() >= acts.n_rows:
        raise ValueError(f"rows must be between 0 and {acts.n_rows - 1}; got {rows!r}. Use ids= for ids of inputs.")
    return np.asarray(index % acts.n_rows, dtype=np.int64)


def _titles(
    acts: Activations, index: NDArray[np.int64], sources: NDArray[np.int64]
) -> tuple[list[tuple[str, str]], NDArray[np.bool_]]:
    """Return name and note of every panel, and which inputs are misclassified."""
    inputs = acts.inputs
    label = None if inputs.label is None else inputs.named("label")[sources]
    prediction = None if inputs.prediction is None else inputs.named("prediction")[sources]
    correct = inputs.correct
    wrong = np.zeros(len(index), dtype=bool) if correct is None else np.asarray(correct[sources] == 0, dtype=bool)
    titles = []
    for i, source in enumerate(sources):
        name = str(inputs.ids[source]) if label is None else str(label[i]) or "?"
        if prediction is not None:
            name += f" → {prediction[i]}"
        place = "" if acts.places is None else f"at {', '.join(str(p) for p in acts.places[index[i]])}"
        titles.append((name, place))
    return titles, wrong


def _caption(
    acts: Activations,
    layout: Layout,
    values: NDArray[np.float64],
    scale: style.Scale,
    live: NDArray[np.bool_],
    mark: str,
    drawn: bool,
) -> str:
    shown = "label" if acts.inputs.label is not None else "id"
    shown += " → prediction" if acts.inputs.prediction is not None else ""
    return (
        f"{describe(acts.layer, acts.reduce)}: {neurons(acts.n_neurons, int((~live).sum()), drawn)}; "
        f"layout {layout.method}. "
        f"Each neuron minus its mean over {acts.n_rows:,} rows, in its standard deviations. "
        f"Titles: {shown}{mark}." + (f" {arrows(values[:, live], scale)}." if scale.extend != "neither" else "")
    )
