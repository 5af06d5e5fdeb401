"""Taps on layers that always come off again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import torch
from torch import nn

from topomap._check import did_you_mean, listing
from topomap.recording.axes import BATCH, NEURON, OutputAxes, find
from topomap.recording.outputs import change_first, first_tensor
from topomap.recording.selection import unwrap
from topomap.recording.tracer import AxisTracer, makes_neurons

#: The neuron axis, or (batch axis, neuron axis): for all layers, or by layer.
Axis = int | tuple[int, int] | Mapping[str, int | tuple[int, int]]


class Retrace(BaseException):
    """A layer fired in a way not seen before: the batch has to run again with its axes followed.

    Not an ``Exception``, so that no handler inside the model takes it for its own.
    """


def remove(handles: list[Any]) -> None:
    """Take hooks off."""
    while handles:
        handles.pop().remove()


@contextmanager
def traced(model: nn.Module, inputs: Any, n: int) -> Iterator[AxisTracer]:
    """Follow the axes of `n` inputs through what the model does inside the context."""
    tracer = AxisTracer(model)

    def mark(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> None:
        tensor, steps = first_tensor(output)
        if tensor is not None and steps is None:
            tracer.mark_output(module, tensor, (args, kwargs))

    handles: list[Any] = []
    try:
        handles.extend(  # in front of the taps, which need to know
            module.register_forward_hook(mark, prepend=True, with_kwargs=True)
            for module in dict.fromkeys(unwrap(part) for part in model.modules())
        )
        tracer.mark_inputs(inputs, n)
        with tracer:
            yield tracer
    finally:
        remove(handles)


def innermost(model: nn.Module) -> list[nn.Module]:
    """Return the modules whose order of running tells which way the data took through the model.

    Not those inside attention layers, whose fast path a hook would switch off, or inside compiled modules.
    """
    found: dict[nn.Module, None] = {}
    waiting = [model]
    while waiting:
        module = waiting.pop()
        if unwrap(module) is not module or isinstance(module, (nn.TransformerEncoderLayer, nn.MultiheadAttention)):
            continue
        children = list(module.children())
        waiting.extend(children)
        if not children:
            found[module] = None
    return list(found)


def _size(tensor: torch.Tensor, axis: int) -> int:
    return tensor.shape[axis] if axis < tensor.ndim else 1  # one neuron per input may have no axis


@dataclass
class Output:
    """What one call of one layer gave: its tensor, the axes, and which steps are real."""

    layer: str
    call: int
    tensor: torch.Tensor
    axes: OutputAxes
    steps: torch.Tensor | None = None


@dataclass
class Taps:
    """Forward hooks on the chosen layers that hand every output to `receive`; off again when the context ends.

    Axes are followed during the first batch, and again when a layer fires in a new way; in between
    the model runs as it is.

    Parameters
    ----------
    model
        The unwrapped model.
    layers
        Chosen modules by name.
    receive
        Called with every `Output` at once, before a later module can change the tensor in place.
    axis
        The neuron axis, or (batch axis, neuron axis), where it is to be taken as given: for all layers, or by layer.
    strict
        Layers that have to give one row per input; others are left out if they do not, with the reason in `skipped`.
    drop
        Called with a layer that gave one row per input in earlier batches and is left out from now on.
    gradients
        Hand on tensors that gradients can be taken of: the model goes on with copies, which a later module may change
        in place.
    """

    model: nn.Module
    layers: Mapping[str, nn.Module]
    receive: Callable[[Output], None]
    axis: Axis | None = None
    strict: Collection[str] = ()
    drop: Callable[[str], None] = lambda name: None
    gradients: bool = False
    skipped: dict[str, str] = field(default_factory=dict)
    fired: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        # by layer, by what ran before it, and by its number of axes: where it is called from decides
        self._plan: dict[tuple[str, int, int], tuple[OutputAxes, int]] = {}
        self._trail = 0
        self._handles: list[Any] = []
        self.tracer: AxisTracer | None = None
        self._traced = False
        self.n = 0
        self._counts: dict[str, int] = {}
        self._recorded: set[str] = set()
        if isinstance(self.axis, Mapping):
            for name in self.axis:
                if name not in self.layers:
                    raise ValueError(
                        f"axis= names {name!r}, which is not recorded.{did_you_mean(name, self.layers)} "
                        f"Recorded are {listing(self.layers)}."
                    )

    def __enter__(self) -> Taps:
        try:
            for name, module in self.layers.items():
                self._handles.append(module.register_forward_hook(self._tap(name)))
            sure = all(map(makes_neurons, self.layers.values()))
            for number, module in enumerate([] if sure else innermost(self.model)):
                self._handles.append(module.register_forward_hook(self._step(number), prepend=True))
        except BaseException:
            remove(self._handles)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        remove(self._handles)

    def run(self, forward: Callable[[], Any], inputs: Any, n: int, again: Callable[[], None]) -> Any:
        """Run one batch of `n` inputs; `again` is called before the batch is repeated."""
        self.n = n
        if self._traced:
            self._counts, self._trail = {}, 0
            try:
                return forward()
            except Retrace:
                again()
        output = self._run_traced(forward, inputs)
        self._traced = True
        return output

    def _run_traced(self, forward: Callable[[], Any], inputs: Any) -> Any:
        self._counts, self._trail = {}, 0
        if len(self._plan) > 100_000:  # another way through the model for every batch
            self._plan.clear()
        try:
            with traced(self.model, inputs, self.n) as self.tracer:
                return forward()
        finally:
            self.tracer = None

    def _step(self, number: int) -> Callable[[nn.Module, Any, Any], None]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> None:
            self._trail = hash((self._trail, number))

        return hook

    def _tap(self, name: str) -> Callable[[nn.Module, Any, Any], Any]:
        def hook(module: nn.Module, inputs: Any, output: Any) -> Any:
            call = self._counts.get(name, 0)
            self._counts[name] = call + 1
            self._trail = hash((self._trail, name))
            self.fired.add(name)
            return None if name in self.skipped else self.take(name, call, module, output)

        return hook

    def take(self, name: str, call: int, module: nn.Module, output: Any) -> Any:
        """Hand on what one call of a layer gave; return what the model goes on with, or None for just that."""
        tensor, steps = first_tensor(output)
        if tensor is None:
            self.refuse(name, f"layer {name!r} ({type(module).__name__}) gives no floating tensor to record.")
            return None
        if steps is not None:  # a packed sequence, which was padded with the batch first
            doubt = None if self.tracer is None else self.tracer.doubt(tensor)
            if doubt is not None:
                self.refuse(name, f"the steps of layer {name!r} are a packed sequence: {doubt}")
                return None
            if self.gradients:
                self.refuse(name, f"the steps of layer {name!r} are a packed sequence: reduce='aligned' cannot be had.")
                return None
            axes: OutputAxes | None = OutputAxes(0, 2)
            steps = steps.to(tensor.device)
        else:
            axes = self._axes(name, tensor)
        if axes is None:
            return None
        if tensor.shape[axes.batch] != self.n:
            self.refuse(name, self._not_the_batch(name, tensor, axes.batch))
            return None
        self._recorded.add(name)
        instead = None
        if self.gradients:
            tensor = tensor if tensor.requires_grad else tensor.detach().requires_grad_()
            instead = change_first(output, lambda _: tensor.clone())
        if self.tracer is None:
            self.receive(Output(name, call, tensor, axes, steps))
            return instead
        self.tracer.paused = True  # what is made of an output is no part of the model
        try:
            self.receive(Output(name, call, tensor, axes, steps))
        finally:
            self.tracer.paused = False
        return instead

    def refuse(self, name: str, message: str) -> None:
        """Leave a layer out, or raise for one that was asked for."""
        if name in self.strict:
            raise ValueError(message)
        self.skipped[name] = message
        if name in self._recorded:
            self.drop(name)

    def _not_the_batch(self, name: str, tensor: torch.Tensor, axis: int | None) -> str:
        where = "none of its axes" if axis is None else f"axis {axis}"
        shape = tuple(tensor.shape)
        message = f"the output of layer {name!r} has shape {shape}: {where} is the batch of {self.n} inputs. "
        if axis is None and self.tracer is not None and self.tracer.merged_batch(tensor):
            return message + (
                "They are folded into one axis with something else (windows, frames, tokens), which axis= cannot take "
                "apart: record a layer in front of that, or one behind it where they have an axis of their own again."
            )
        message += "Only layers that give one row per input can be recorded; leave it out of layers="
        if self.n not in shape:
            return message + "."
        return message + ", or say where batch and neurons are with axis=(batch axis, neuron axis)."

    def _axes(self, name: str, tensor: torch.Tensor) -> OutputAxes | None:
        key = (name, self._trail, tensor.ndim)
        axes, neurons = self._plan.get(key, (None, 0))
        if axes is not None and self.tracer is None:
            fits = (tensor.shape[axes.batch], _size(tensor, axes.neuron)) == (self.n, neurons)
            if fits or self._given(name, tensor) is not None:
                return axes
        axes = self._given(name, tensor)
        if axes is None and self.tracer is None:
            raise Retrace
        axes = axes or self._resolve(name, tensor)
        if axes is not None:
            self._plan[key] = axes, _size(tensor, axes.neuron)
        return axes

    def _given(self, name: str, tensor: torch.Tensor) -> OutputAxes | None:
        axis = self.axis.get(name) if isinstance(self.axis, Mapping) else self.axis
        if axis is None or (tensor.ndim <= 2 and not isinstance(self.axis, Mapping)):
            return None  # one axis for all layers: (batch, neurons) needs none
        for one in (axis,) if isinstance(axis, int) else axis:
            if not -tensor.ndim <= one < tensor.ndim:
                raise ValueError(f"axis={one} is none of layer {name!r}, whose output has shape {tuple(tensor.shape)}.")
        if isinstance(axis, int):
            neuron = axis % tensor.ndim
            if self.tracer is None:
                return None
            known = find(self.tracer.known(tensor) or (), BATCH)
            batch = known if known is not None else 0
        else:
            batch, neuron = (one % tensor.ndim for one in axis)
        if batch == neuron:
            raise ValueError(f"axis={axis!r} of layer {name!r} is the axis of the batch.")
        return OutputAxes(batch, neuron)

    def _resolve(self, name: str, tensor: torch.Tensor) -> OutputAxes | None:
        if self.tracer is None:  # pragma: no cover
            raise Retrace
        axes = self.tracer.resolve(tensor, self.n)
        if axes is not None:
            return axes
        doubt = self.tracer.doubt(tensor)
        if doubt is not None:
            self.refuse(name, f"the output of layer {name!r} has shape {tuple(tensor.shape)}: {doubt}")
            return None
        if self.tracer.is_constant(tensor):
            self.refuse(
                name, f"the output of layer {name!r} is the same for all inputs: nothing in it comes from them."
            )
            return None
        if self.tracer.merged_batch(tensor) or self.n not in tensor.shape:
            self.refuse(name, self._not_the_batch(name, tensor, None))
            return None
        known = find(self.tracer.known(tensor) or (), NEURON)
        what = "which axis is the neuron" if known is None else "which axis is the batch"
        pair = "" if known is None else f", {known}"
        hint = f"axis={{{name!r}: ...}}" if known is None else f"axis={{{name!r}: (...{pair})}}"
        raise ValueError(
            f"{what} of layer {name!r} is ambiguous: its output has shape {tuple(tensor.shape)}, and neither its type "
            f"nor what came before tells. Say it with {hint}."
        )
