"""What is inside the output of a layer: the tensor that is recorded, and the same output with another in its place."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch.nn.utils.rnn import PackedSequence, pad_packed_sequence


def first_tensor(output: Any) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Return the first floating tensor inside an output, and which of its steps are real for a packed sequence."""
    if isinstance(output, PackedSequence):
        padded, lengths = pad_packed_sequence(output, batch_first=True)
        return padded, torch.arange(padded.shape[1])[None] < lengths[:, None]
    if isinstance(output, torch.Tensor):
        return (output, None) if output.is_floating_point() and output.ndim else (None, None)
    for _, part in _parts(output):
        found = first_tensor(part)
        if found[0] is not None:
            return found
    return None, None


def change_first(output: Any, change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
    """Return a copy of an output whose first floating tensor was changed, or None where there is none.

    Of a packed sequence that is its data, whose axis 1 holds the neurons.

    Examples
    --------
    >>> change_first((None, torch.ones(2), [3]), lambda x: x + 1)
    (None, tensor([2., 2.]), [3])
    """
    if isinstance(output, PackedSequence):
        return PackedSequence(change(output.data), *output[1:])
    if isinstance(output, torch.Tensor):
        return change(output) if output.is_floating_point() and output.ndim else None
    for key, part in _parts(output):
        changed = change_first(part, change)
        if changed is not None:
            return _with_part(output, key, changed)
    return None


def _parts(output: Any) -> list[tuple[Any, Any]]:
    """Return what is inside a container, with the key, position or name of each part."""
    if isinstance(output, Mapping):
        return list(output.items())
    if isinstance(output, (tuple, list)):
        return list(enumerate(output))
    if dataclasses.is_dataclass(output):
        return [(entry.name, getattr(output, entry.name)) for entry in dataclasses.fields(output)]
    return []


def _with_part(output: Any, key: Any, part: Any) -> Any:
    if isinstance(output, (tuple, list)):
        parts = [*output[:key], part, *output[key + 1 :]]
        return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
    changed = copy.copy(output)
    if isinstance(output, Mapping):
        changed[key] = part
    else:
        object.__setattr__(changed, key, part)  # frozen or not
    return changed
