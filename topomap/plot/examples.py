"""A picture for each group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import unknown
from topomap.profiles import Profiles
from topomap.run import Activations, Inputs

Examples = Activations | Inputs | Mapping[str, Any]


def pictures_of(
    profiles: Profiles, names: Sequence[str], examples: Examples, example: str
) -> list[NDArray[Any] | None]:
    """Return one picture per group, None for groups without."""
    if isinstance(examples, Mapping):
        for name in examples:
            if name not in profiles.names:
                raise unknown("examples: group", name, profiles.names)
        return [np.asarray(examples[name]) if name in examples else None for name in names]
    inputs = examples if isinstance(examples, Inputs) else examples.inputs
    if inputs.thumbnails is None:
        raise ValueError(
            "examples have no thumbnails: record with thumbnails=True, or pass a mapping from group names to pictures."
        )
    if any(column not in inputs.columns for column in profiles.by):
        raise ValueError(
            f"examples have no column {' x '.join(profiles.by)!r} to tell the groups by: "
            "pass a mapping from group names to pictures."
        )
    # One row per input that was grouped, so that rows of one group are inputs of it.
    table = Activations(np.zeros((len(inputs), 0), dtype=np.float32), inputs)
    members = table.groups(profiles.by)
    used = np.arange(len(inputs)) if isinstance(examples, Inputs) else np.unique(np.asarray(examples.rows))
    correct = inputs.correct
    pictures: list[NDArray[Any] | None] = []
    for name in names:
        rows = np.intersect1d(members.rows_of(name), used) if name in members.names else np.empty(0, dtype=np.int64)
        if not len(rows):
            pictures.append(None)
        elif example == "mean":
            total = sum(np.asarray(inputs.thumbnails[int(row)], dtype=np.float64) for row in rows)
            pictures.append(np.clip(np.rint(np.asarray(total) / len(rows)), 0, 255).astype(np.uint8))
        else:
            right = rows if correct is None else rows[np.asarray(correct[rows] == 1)]
            pictures.append(np.asarray(inputs.thumbnails[int((right if len(right) else rows)[0])]))
    return pictures
