"""What there is to record: every layer of a model, its output, and which axis of it is the neuron."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from topomap.recording.axes import OutputAxes
from topomap.recording.hooks import Taps
from topomap.recording.inputs import BatchReader, to_device
from topomap.recording.loaders import generators_restored, open_loader
from topomap.recording.outputs import first_tensor
from topomap.recording.selection import lent, named_layers
from topomap.recording.state import borrowed


@dataclass(frozen=True)
class LayerInfo:
    """One layer as it ran on the example.

    Parameters
    ----------
    name
        What to give as ``layers=``; that of the model itself is ``model``, or ``(model)`` where a child has that name.
    type
        Class of the module.
    shape
        Shape of the output (of its first floating tensor), None if there is none or the layer did not run.
    axis
        The neuron axis; ``"ambiguous"`` where only ``axis=`` can tell, None where nothing can be recorded.
    n_neurons
        Number of neurons, where the axis is known.
    calls
        How often the layer ran in one forward pass.
    parameters
        Number of parameters of the module and all inside.
    """

    name: str
    type: str
    shape: tuple[int, ...] | None
    axis: int | str | None
    n_neurons: int | None
    calls: int
    parameters: int


class LayerTable(list[LayerInfo]):
    """A list of `LayerInfo` that prints as a table."""

    def __repr__(self) -> str:
        head = ("layer", "type", "output", "neuron axis", "neurons", "calls")
        lines = [head]
        for info in self:
            shape = "-" if info.shape is None else " x ".join(map(str, info.shape))
            neurons = "-" if info.n_neurons is None else str(info.n_neurons)
            axis = "-" if info.axis is None else str(info.axis)
            lines.append((info.name, info.type, shape, axis, neurons, str(info.calls)))
        widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
        number = (False, False, False, True, True, True)
        return "\n".join(
            "  ".join(
                c.rjust(w) if right else c.ljust(w) for c, w, right in zip(line, widths, number, strict=True)
            ).rstrip()
            for line in lines
        )


def list_layers(
    model: nn.Module,
    example: Any,
    *,
    forward: Callable[[nn.Module, Any], Any] | None = None,
    device: str | torch.device = "auto",
) -> LayerTable:
    """Run a model on one batch and list its layers.

    Parameters
    ----------
    model
        Any module.
    example
        One batch, as `record` takes it, or a loader, of which the first batch is taken.
    forward, device
        As in `record`.

    Returns
    -------
    LayerTable
        A list of `LayerInfo` in the order of the model, which prints as a table.

    Raises
    ------
    ValueError
        If the example is no batch, or the model cannot be called with it.

    Examples
    --------
    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3), torch.nn.Flatten(), torch.nn.Linear(144, 2))
    >>> list_layers(net, torch.zeros(5, 1, 8, 8))
    layer  type        output         neuron axis  neurons  calls
    model  Sequential  5 x 2                    1        2      1
    0      Conv2d      5 x 4 x 6 x 6            1        4      1
    1      Flatten     5 x 144                  1      144      1
    2      Linear      5 x 2                    1        2      1
    """
    model = lent(model)
    layers = named_layers(model)
    if isinstance(example, torch.utils.data.DataLoader | torch.utils.data.Dataset):
        with generators_restored(example):
            example = next(iter(open_loader(example).batches), None)
        if example is None:
            raise ValueError("the loader gave no inputs: there is no example to run.")
    batch = BatchReader(model, own_forward=forward is not None).read(example)
    survey = Survey(model, layers, lambda output: None)
    with borrowed(model, device, 0) as where, survey, torch.inference_mode():
        if forward is not None:
            inputs = to_device(example, where)
            survey.run(lambda: forward(model, inputs), inputs, batch.n, lambda: None)
        else:
            args, kwargs = to_device(batch.args, where), to_device(batch.kwargs, where)
            survey.run(lambda: model(*args, **kwargs), (args, kwargs), batch.n, lambda: None)
    return LayerTable(survey.describe(name, module) for name, module in layers.items())


@dataclass
class Survey(Taps):
    """Taps that look at the outputs and keep none."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._seen: dict[str, tuple[tuple[int, ...], int | str | None, int | None]] = {}
        self._calls: dict[str, int] = {}

    def take(self, name: str, call: int, module: nn.Module, output: Any) -> None:
        """Note shape and axes."""
        self._calls[name] = call + 1
        tensor, steps = first_tensor(output)
        if tensor is None or name in self._seen or self.tracer is None:
            return
        axes = OutputAxes(0, 2) if steps is not None else self.tracer.resolve(tensor, self.n)
        axis: int | str | None = None
        neurons = None
        if axes is not None and tensor.shape[axes.batch] == self.n:
            axis = axes.neuron
            neurons = tensor.shape[axis] if axis < tensor.ndim else 1
        elif axes is None and self.n in tensor.shape and not self.tracer.is_constant(tensor):
            axis = None if self.tracer.merged_batch(tensor) else "ambiguous"
        self._seen[name] = tuple(tensor.shape), axis, neurons

    def describe(self, name: str, module: nn.Module) -> LayerInfo:
        """Return what was seen of one layer."""
        shape, axis, neurons = self._seen.get(name, (None, None, None))
        count = sum(p.numel() for p in module.parameters())
        return LayerInfo(name, type(module).__name__, shape, axis, neurons, self._calls.get(name, 0), count)
