"""Patterns in a run folder: arrays and their parameters; the features are made again from the recorded values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from topomap._check import listing
from topomap.patterns.base import Patterns
from topomap.patterns.scale import Scale, read
from topomap.run import Run


def save_patterns(patterns: Patterns, path: str | Path) -> None:
    """Write patterns into a run folder; see `Patterns.save`."""
    import xarray

    from topomap import store

    data: dict[str, Any] = {
        "label": (("input",), patterns.labels),
        "probability": (("input",), patterns.probabilities),
        "outlier_score": (("input",), patterns.outlier_scores),
        "position": (("input",), patterns.rows),
        "persistence": (("pattern",), patterns.persistence),
        "divisor": (("raw",), patterns.scale.divisor),
    }
    if patterns.stability is not None:
        data["stability"] = (("pattern",), patterns.stability)
    if patterns.scale.components is not None and patterns.scale.center is not None:
        data["components"] = (("component", "raw"), patterns.scale.components)
        data["center"] = (("raw",), patterns.scale.center)
    attrs = {
        "layer": patterns.layer,
        "reduce": patterns.reduce,
        "unit": patterns.unit,
        "explained": patterns.scale.explained,
        "parameters": json.dumps(dict(patterns.parameters)),
        "provenance": json.dumps(dict(patterns.provenance), default=_plain),
    }
    store.write_dataset(
        path, name_of(patterns.layer, patterns.reduce, patterns.unit), xarray.Dataset(data, attrs=attrs)
    )


def load_patterns(run: Run, layer: str, reduce: str | None = None, unit: int | None = None) -> Patterns:
    """Read patterns from a run folder; see `Patterns.load`."""
    from topomap import store

    if run.path is None:
        raise ValueError("this run has no folder to read patterns from: open one with tm.open_run(folder).")
    found = list_patterns(run)
    fits = [each for each in found if each[0] == layer and each[2] == unit and reduce in (None, each[1])]
    if not fits:
        have = f"there are those of {listing(map(_told, found))}" if found else "there are none"
        raise ValueError(
            f"{run.path} has no patterns of {_told((layer, reduce or 'any reduction', unit))}: {have}. "
            "Find them with find_patterns() and save() them."
        )
    if len(fits) > 1:
        raise ValueError(
            f"layer {layer!r} has patterns under several reductions: pass reduce= one of "
            f"{listing(each[1] for each in fits)}."
        )
    ds = store.read_dataset(run.path, name_of(*fits[0]))
    known = {str(name): np.asarray(variable.values) for name, variable in ds.variables.items()}
    scale = Scale(known["divisor"], known.get("components"), known.get("center"), float(ds.attrs["explained"]))
    raw = read(run, layer, fits[0][1], unit)
    if not np.array_equal(raw.rows, known["position"]):
        raise ValueError(f"{run.path} holds other inputs than the patterns of layer {layer!r} were found in.")
    return Patterns(
        labels=known["label"],
        probabilities=known["probability"],
        outlier_scores=known["outlier_score"],
        persistence=known["persistence"],
        features=scale.apply(raw.values),
        rows=raw.rows,
        inputs=raw.acts.inputs,
        scale=scale,
        layer=layer,
        reduce=fits[0][1],
        unit=unit,
        parameters=json.loads(ds.attrs["parameters"]),
        stability=known.get("stability"),
        provenance=json.loads(ds.attrs["provenance"]),
    )


def list_patterns(run: Run) -> list[tuple[str, str, int | None]]:
    """Return layer, reduction and unit (None for all units) of all patterns that a run folder holds."""
    from topomap import store

    if run.path is None:
        return []
    found = []
    for name in store.list_datasets(run.path, "patterns"):
        layer, reduce, units = name.removeprefix("patterns/").rsplit("/", 2)
        found.append((layer, reduce, None if units == "all" else int(units.removeprefix("unit"))))
    return found


def name_of(layer: str, reduce: str, unit: int | None) -> str:
    """Return the name of the data set that holds patterns.

    Examples
    --------
    >>> name_of("conv1", "mean+std", None), name_of("fc", "none", 17)
    ('patterns/conv1/mean+std/all', 'patterns/fc/none/unit17')
    """
    return f"patterns/{layer}/{reduce}/{'all' if unit is None else f'unit{unit}'}"


def _told(which: tuple[str, str, int | None]) -> str:
    layer, reduce, unit = which
    return f"{layer}, {reduce}" + ("" if unit is None else f", unit {unit}")


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else repr(value)
