"""Taps that name every ambiguous layer at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from topomap.recording.axes import NEURON, OutputAxes, find
from topomap.recording.hooks import Taps


@dataclass
class PatientTaps(Taps):
    """Taps that let a batch run to its end before they raise the error for its ambiguous layers."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._doubts: dict[str, tuple[tuple[int, ...], str, ValueError]] = {}
        self._refused = False

    def refuse(self, name: str, message: str) -> None:
        """Leave a layer out, or raise for one that was asked for."""
        self._refused = True
        super().refuse(name, message)

    def _resolve(self, name: str, tensor: torch.Tensor) -> OutputAxes | None:
        self._refused = False
        try:
            return super()._resolve(name, tensor)
        except ValueError as error:
            if self._refused or self.tracer is None:  # a layer that cannot be recorded whatever axis= says
                raise
            known = find(self.tracer.known(tensor) or (), NEURON)
            missing = "..." if known is None else f"(..., {known})"
            self._doubts.setdefault(name, (tuple(tensor.shape), missing, error))
            return None

    def _run_traced(self, forward: Callable[[], Any], inputs: Any) -> Any:
        output = super()._run_traced(forward, inputs)
        if len(self._doubts) == 1:
            raise next(iter(self._doubts.values()))[2]
        if self._doubts:
            shapes = ", ".join(f"{name!r} of shape {shape}" for name, (shape, *_) in self._doubts.items())
            axes = ", ".join(f"{name!r}: {missing}" for name, (_, missing, _) in self._doubts.items())
            raise ValueError(
                f"the axes of {len(self._doubts)} layers are ambiguous: the outputs of {shapes}. Neither their types "
                f"nor what came before tells. Say the neuron axis, or (batch axis, neuron axis), with axis={{{axes}}}, "
                "or leave these layers out of layers=."
            )
        return output
