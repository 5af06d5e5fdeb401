"""What the commands share about run folders: picking a layer, finding or making its layout, finding inputs."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from topomap._check import did_you_mean, listing
from topomap.layout import FEWEST, Layout
from topomap.run import Activations, Moments

if TYPE_CHECKING:
    from topomap.run import Record, Run


def columns_of(by: str) -> str | tuple[str, ...]:
    """Return what ``by=`` takes for columns joined by commas.

    Examples
    --------
    >>> columns_of("label"), columns_of("label,correct")
    ('label', ('label', 'correct'))
    """
    names = tuple(name.strip() for name in by.split(","))
    if not all(names):
        raise ValueError(f"by must be a column, or several joined by commas; got {by!r}.")
    return names[0] if len(names) == 1 else names


def at_step(run: Run, step: int | None) -> Run:
    """Return a training at one of its steps, or the run as it is.

    Raises
    ------
    ValueError
        If there is no snapshot at this step.

    Examples
    --------
    >>> from topomap.run import Run
    >>> acts = Activations.from_array([[1.0]], layer="fc")
    >>> run = Run(acts.inputs, {("fc", "none"): acts})
    >>> at_step(Run.from_snapshots({10: run}), 10) is run
    True
    """
    return run if step is None else run.at(step)


def pick(run: Run, layer: str | None, reduce: str | None) -> Record:
    """Return one layer of a run; its name may be left out where there is one, so may the reduction.

    Examples
    --------
    >>> from topomap.run import Run
    >>> acts = Activations.from_array([[1.0]], layer="fc")
    >>> pick(Run(acts.inputs, {("fc", "none"): acts}), None, None)
    Activations(fc: 1 rows x 1 neurons, 1 dead)
    """
    if layer is None:
        if len(run.layers) != 1:
            raise ValueError(f"say which layer (--layer): {listing(run.layers)}.")
        layer = run.layers[0]
    found = run.reductions(layer)
    if reduce is None and len(found) > 1:
        raise ValueError(
            f"layer {layer!r} was recorded under several reductions: choose one with --reduce: {listing(found)}."
        )
    return run[layer] if reduce is None else run[layer, reduce]


def with_patterns(run: Run, acts: Record, by: str) -> Record:
    """Return the layer with the patterns that are stored for it as the column ``pattern``, if `by` asks for them.

    Inputs that were not clustered have none; a column of that name goes before.
    """
    columns = columns_of(by)
    asked = "pattern" in ((columns,) if isinstance(columns, str) else columns)
    if not asked or not isinstance(acts, Activations) or "pattern" in acts.inputs.columns:
        return acts
    from topomap.patterns.stored import list_patterns, load_patterns

    stored = [reduce for layer, reduce, unit in list_patterns(run) if layer == acts.layer and unit is None]
    if not stored:
        raise ValueError(
            f"no patterns are stored for layer {acts.layer!r}: find them with "
            f"`topomap patterns {shlex.quote(str(run.path))} --layer {shlex.quote(acts.layer)}`."
        )
    patterns = load_patterns(run, acts.layer, acts.reduce if acts.reduce in stored else None)
    column = np.full(len(acts.inputs), "", dtype=object)
    for group in patterns.names:
        column[patterns.groups.rows_of(group)] = group
    return acts.with_labels(pattern=column)


def rows(acts: Activations, ids: Sequence[str]) -> NDArray[np.int64]:
    """Return the rows that belong to inputs, named by their ids as text.

    Examples
    --------
    >>> rows(Activations.from_array(np.eye(3)), ["2", "0"]).tolist()
    [2, 0]
    """
    position = {str(name): index for index, name in enumerate(acts.inputs.ids.tolist())}
    unknown = [name for name in ids if name not in position]
    if unknown:
        some = listing(list(position), most=4)
        raise ValueError(f"there is no input {unknown[0]!r}; ids are {some}.{did_you_mean(unknown[0], position)}")
    assert acts.rows is not None  # set by Activations itself
    found = [np.flatnonzero(acts.rows == position[name]) for name in ids]
    return np.concatenate(found)


def read_region(given: str | None) -> str | NDArray[np.bool_] | None:
    """Return what ``region=`` takes: a name as it is, or the mask that a .png or .npy file holds.

    Of a picture with transparent pixels what is opaque is inside, whatever its colour; of any other what is light.

    Raises
    ------
    ValueError
        If there is no such file, or it holds no mask.

    Examples
    --------
    >>> read_region("hexagon")
    'hexagon'
    """
    if given is None or not given.lower().endswith((".png", ".npy")):
        return given
    path = Path(given).expanduser()
    if not path.is_file():
        raise ValueError(f"there is no mask {path}.")
    try:
        if path.suffix.lower() == ".npy":
            return np.asarray(np.load(path, allow_pickle=False))
        from PIL import Image

        with Image.open(path) as picture:
            light, opaque = (np.asarray(picture.convert("RGBA").convert(mode)) for mode in ("L", "RGBA"))
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} holds no mask that can be read: {error}") from error
    inside = opaque[..., 3] >= 128
    if inside.all():
        inside = light >= 128
    if not inside.any():
        raise ValueError(f"{path} is dark or transparent all over; a mask is light, or opaque, where neurons lie.")
    return inside


def make_layout(
    run: Run,
    acts: Record,
    *,
    by: str | None = None,
    method: str | None = None,
    region: str | None = None,
    seed: int = 0,
    metric: str | None = None,
    absolute: bool = False,
    preset: str | None = None,
) -> Layout:
    """Lay a layer's neurons out, compared over inputs or over groups of them; `store_layout` stores that."""
    from topomap.layout import embed
    from topomap.profiles import profile
    from topomap.similarity import correlate

    if by is None and preset is not None:
        by = "label"  # the preset compares neurons over the profiles of classes
    source = acts if by is None else profile(acts, by=columns_of(by), preset=preset)
    similarity = correlate(source, metric=metric, absolute=absolute, preset=preset)
    return embed(similarity, method=method, region=read_region(region), seed=seed, preset=preset)


def store_layout(run: Run, acts: Record, layout: Layout) -> None:
    """Write a layout into the run folder, beside its layer."""
    assert run.path is not None  # it was opened from a folder
    layout.save(run.path, acts.layer, acts.reduce)


def find_layout(run: Run, acts: Record, method: str | None, preset: str | None = None) -> tuple[Layout, bool]:
    """Return the layout that is stored for a layer, or make one; and whether it was made (it is not stored yet).

    Raises
    ------
    ValueError
        If several are stored and no method says which.
    """
    stored = check_method(run, acts, method)
    if method in stored or (method is None and stored):
        assert run.path is not None  # it was opened from a folder
        return Layout.load(run.path, acts.layer, acts.reduce, method), False
    return make_layout(run, acts, method=method, preset=preset), True


def check_method(run: Run, acts: Record, method: str | None) -> list[str]:
    """Return the methods of the layouts that are stored for a layer.

    Raises
    ------
    ValueError
        If there are several and no method says which.
    """
    stored = [name for layer, reduce, name in layouts(run) if (layer, reduce) == (acts.layer, acts.reduce)]
    if method is None and len(stored) > 1:
        raise ValueError(f"{acts.layer!r} has several layouts: choose one with --method: {listing(stored)}.")
    return stored


def layouts(run: Run) -> list[tuple[str, str, str]]:
    """Return layer, reduction and method of every layout stored in a run folder."""
    from topomap.store import list_datasets

    assert run.path is not None  # it was opened from a folder
    stored = set(list_datasets(run.path, "layouts"))
    return [
        (layer, reduce, name.removeprefix(prefix))
        for layer, reduce in run.records
        for prefix in [f"layouts/{layer}/{reduce}/"]
        for name in sorted(stored)
        if name.startswith(prefix)
    ]


def next_embed(run: Run, to: Path) -> str:
    """Return the command that lays out the last layer with neurons enough for a layout, or say that there is none."""
    enough = [(layer, reduce) for (layer, reduce), acts in run.records.items() if (~acts.dead).sum() >= FEWEST]
    if not enough:
        return f"no layer has {FEWEST} neurons that vary, the fewest a layout takes: record others (--layers)"
    layer, reduce = enough[-1]
    parts = ["next: topomap embed", shlex.quote(str(to)), "--layer", shlex.quote(layer)]
    return " ".join([*parts, "--reduce", reduce] if len(run.reductions(layer)) > 1 else parts)


def next_plot(run: Run, to: Path, acts: Record, method: str) -> str:
    """Return the command that paints over a layout that was just stored."""
    parts = ["topomap plot", shlex.quote(str(to)), "--layer", shlex.quote(acts.layer)]
    if len(run.reductions(acts.layer)) > 1:
        parts += ["--reduce", acts.reduce]
    if sum(found[:2] == (acts.layer, acts.reduce) for found in layouts(run)) > 1:
        parts += ["--method", method]
    groupings = [",".join(grouping.by) for grouping in acts.groupings] if isinstance(acts, Moments) else []
    columns = groupings or [name for name in ("label", "prediction") if name in run.inputs.columns]
    parts += ["--by", shlex.quote(columns[0])] if columns else ["--inputs", shlex.quote(str(run.inputs.ids[0]))]
    return " ".join([*parts, "--to maps.png"])
