"""What the commands print about runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from topomap.cli.stored import layouts
from topomap.layout import Layout
from topomap.patterns.stored import list_patterns
from topomap.run import Activations, Moments
from topomap.training import tell_divergence

if TYPE_CHECKING:
    from topomap.run import Inputs, Record, Run

#: Longest value printed of a provenance.
WIDEST = 100


def table(rows: Sequence[Sequence[object]], header: Sequence[str], indent: str = "") -> str:
    """Set rows as columns of text; numbers stand to the right.

    Examples
    --------
    >>> print(table([("conv1", 64), ("fc", 5)], ("layer", "neurons")))
    layer  neurons
    conv1       64
    fc           5
    """
    text = [[str(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[i]) for row in text) for i in range(len(header))]
    right = [bool(rows) and all(isinstance(row[i], int) for row in rows) for i in range(len(header))]
    lines = (
        "  ".join(cell.rjust(w) if r else cell.ljust(w) for cell, w, r in zip(row, widths, right, strict=True))
        for row in text
    )
    return "\n".join(f"{indent}{line}".rstrip() for line in lines)


def layers_table(run: Run, indent: str = "") -> str:
    """Return one line per layer and reduction: rows, neurons, how many of them are dead, and how it was kept."""
    rows = [_layer_row(record) for record in run.records.values()]
    return table(rows, ("layer", "reduce", "rows", "neurons", "live", "dead", "kept"), indent)


def _layer_row(record: Record) -> tuple[object, ...]:
    dead = int(record.dead.sum())
    kept = _values(record) if isinstance(record, Activations) else _moments(record)
    return record.layer, record.reduce, record.n_rows, record.n_neurons, record.n_neurons - dead, dead, kept


def _values(record: Activations) -> str:
    what = f"sparse, {100 * record.density:.2g} % active" if record.sparse else "values"
    return f"{what}, {record.values.dtype}"


def _moments(record: Moments) -> str:
    groupings = [" x ".join(grouping.by) for grouping in record.groupings]
    what = "covariance" if record.covariance is not None else "sketch" if record.sketch is not None else "variances"
    return f"moments, {what}" + (f", by {', '.join(groupings)}" if groupings else "")


def run_text(run: Run) -> str:
    """Return everything that a run folder says about itself."""
    parts = [str(run.path), "", _inputs_text(run.inputs, run.provenance)]
    if run.steps:
        parts += ["", _steps_text(run)]
    parts += ["", layers_table(run)]
    stored = _layouts(run)
    if stored:
        parts += ["", table(stored, ("layout of", "reduce", "method", "region", "seed", "neurons", "dead"))]
    else:
        parts += ["", "no layouts yet: topomap embed stores one"]
    found = list_patterns(run)
    if found:
        rows = [(layer, reduce, "all" if unit is None else unit) for layer, reduce, unit in found]
        parts += ["", table(rows, ("patterns of", "reduce", "units"))]
    parts += ["", "how it came about", *_mapping(run.provenance, "  ")]
    return "\n".join(parts)


def _steps_text(run: Run) -> str:
    logged = f"; logged: {', '.join(run.metrics)}" if run.metrics else ""
    gone = f"; without {tell_divergence(tuple(run.diverged))}" if run.diverged else ""
    steps = f"steps {run.steps[0]} to {run.steps[-1]}"
    return f"{len(run.steps)} snapshots of a training, {steps}{gone}{logged}; of the last:"


def _inputs_text(inputs: Inputs, provenance: Mapping[str, Any]) -> str:
    if not len(inputs):
        return f"{provenance.get('n_inputs', 0)} inputs, whose table was not kept"
    lines = [f"{len(inputs)} inputs"]
    for name, values in inputs.columns.items():
        distinct = len(np.unique(values[values == values]))  # a missing value is not equal to itself
        if name == "correct":
            lines.append(f"  correct: {np.nanmean(np.asarray(values, dtype=np.float64)):.1%}")
        else:
            lines.append(f"  {name}: {values.dtype}, {distinct} distinct")
    if inputs.classes is not None:
        lines.append(f"  classes: {', '.join(inputs.classes[:20])}{', ...' if len(inputs.classes) > 20 else ''}")
    if inputs.thumbnails is not None:
        lines.append(f"  pictures: {' x '.join(str(side) for side in inputs.thumbnails.shape[1:])}")
    if inputs.texts is not None:
        lines.append("  texts")
    return "\n".join(lines)


def _layouts(run: Run) -> list[tuple[object, ...]]:
    assert run.path is not None  # it was opened from a folder
    rows: list[tuple[object, ...]] = []
    for layer, reduce, method in layouts(run):
        layout = Layout.load(run.path, layer, reduce, method)
        seed = "-" if layout.seed is None else layout.seed
        rows.append((layer, reduce, method, str(layout.region), seed, layout.n_neurons, int(layout.dead.sum())))
    return rows


def _mapping(values: Mapping[str, Any], indent: str) -> list[str]:
    """Return nested tables as indented lines."""
    lines = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            lines += [f"{indent}{name}", *_mapping(value, indent + "  ")]
        else:
            text = ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
            lines.append(f"{indent}{name}: {text if len(text) <= WIDEST else text[:WIDEST] + ' ...'}")
    return lines
