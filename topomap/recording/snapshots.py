"""What makes a snapshot of one recording during a training."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from topomap.run import Activations, Inputs, Run


def with_inputs(run: Run, first: Inputs | None, provenance: Mapping[str, Any]) -> Run:
    """Return a snapshot with the thumbnails and texts of the first one."""
    inputs = run.inputs
    if first is not None:
        inputs = replace(inputs, thumbnails=first.thumbnails, texts=first.texts)
    records = {
        key: replace(one, inputs=inputs, provenance=provenance)
        if isinstance(one, Activations)
        else replace(one, provenance=provenance)
        for key, one in run.records.items()
    }
    return Run(inputs, records, provenance)


def as_numbers(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Return metrics as numbers.

    Raises
    ------
    ValueError
        Naming the one that is none.

    Examples
    --------
    >>> as_numbers({"loss": torch.tensor(0.5), "epoch": 2})
    {'loss': 0.5, 'epoch': 2.0}
    """
    values = {}
    for name, value in metrics.items():
        try:
            values[name] = float(value.detach() if isinstance(value, torch.Tensor) else value)
        except (TypeError, ValueError, RuntimeError) as error:
            shape = tuple(getattr(value, "shape", ()))
            what = f"shape {shape}" if shape else repr(value)
            raise ValueError(f"metric {name!r} must be a number; got {what}.") from error
    return values
