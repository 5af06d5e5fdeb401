"""Neurons silenced, or held at given values, while a model runs."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from topomap._check import listing, same_length
from topomap.recording.axes import NEURON, find
from topomap.recording.calls import tensors_in
from topomap.recording.hooks import innermost, remove, traced
from topomap.recording.outputs import change_first, first_tensor
from topomap.recording.selection import lent, named_layers, select_layers
from topomap.recording.state import hookable
from topomap.recording.tracer import AxisTracer, axes_by_type

#: Modules whose own forward leaves the neurons where the type says, so that nothing has to be followed.
_SURE = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Embedding)


@contextmanager
def ablate(
    model: nn.Module,
    layer: str,
    neurons: ArrayLike,
    to: ArrayLike = 0.0,
    *,
    axis: int | tuple[int, int] | None = None,
) -> Iterator[None]:
    """Silence neurons of a layer, or hold them at given values, for as long as the context lasts.

    Whatever runs the model inside, `record` too, gets outputs of the layer in which these neurons have the values
    `to`, at every position and token and in every call; all that follows is computed from them. Gradients reach the
    other neurons as they would, and these not at all. Contexts nest, for several layers. Weights and modes are not
    touched, and the hook comes off again whatever happens.

    Parameters
    ----------
    model
        Any module; compiled and data-parallel ones are unwrapped, and compiled ones run as they were written.
    layer
        Dotted name, as in `record`. Of a module that is called several times in one forward pass, ``name#1`` is the
        second call, as in a run, and ``name`` all of them.
    neurons
        Positions of neurons, or a mask over all of the layer's: ``cluster.neurons``, ``acts.dead``.
    to
        What they are set to: a number, or one value for each neuron *of the layer*, of which those of the chosen are
        taken: ``acts.mean`` silences them without moving the layer's mean (mean ablation), and a row of
        ``profile(acts, by=..., contrast="none").values`` holds them at the mean of a group.
    axis
        For a layer whose neurons cannot be known: the neuron axis, or (batch axis, neuron axis).

    Returns
    -------
    context manager
        It yields nothing: the model itself is changed while it lasts.

    Raises
    ------
    ValueError
        For a layer, neurons or values that do not exist; inside the context, when the model runs, if the neuron axis
        is ambiguous; at its end, if the model ran and the layer did not.

    Notes
    -----
    The neuron axis is followed from the module that made it, as `record` does, during the first forward pass; from the
    second on the model runs as it is. Of an output with several tensors the first floating one is changed, which is the
    one that `record` takes: of a recurrent layer the sequence, not the state.

    References
    ----------
    Silencing units to see what a network needs them for: A. S. Morcos, D. G. T. Barrett, N. C. Rabinowitz and
    M. Botvinick (2018): On the importance of single directions for generalization. ICLR. arXiv:1803.06959.

    Examples
    --------
    >>> import torch
    >>> import topomap as tm
    >>> net = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU())
    >>> x = torch.rand(4, 2)
    >>> with tm.ablate(net, "1", [0, 2]):
    ...     silenced = net(x)
    >>> silenced[:, [0, 2]].abs().max().item(), bool((silenced[:, 1] == net(x)[:, 1]).all())
    (0.0, True)
    >>> acts = tm.record(net, torch.rand(50, 2), "1")["1"]
    >>> with tm.ablate(net, "1", [0, 2], to=acts.mean):
    ...     run = tm.record(net, x, "1")
    >>> bool((run["1"].values[:, 0] == acts.mean[0].astype("float32")).all())
    True
    """
    inner = lent(model)
    name, module, call = _find(inner, layer)
    ablation = _Ablation(inner, name, module, call, _positions(neurons), _values(to), axis)
    with hookable(model), ablation:
        yield


def _find(model: nn.Module, layer: str) -> tuple[str, nn.Module, int | None]:
    """Return the name of a layer, its module, and which of its calls is meant (None: all)."""
    if not isinstance(layer, str):
        raise ValueError(f"layer must be the name of one layer; got {type(layer).__name__}. Nest contexts for several.")
    name, _, number = layer.rpartition("#")
    if not (number.isdecimal() and name in named_layers(model)):
        name, number = layer, ""
    chosen = select_layers(model, name).layers
    if len(chosen) > 1:
        raise ValueError(f"layer={layer!r} fits {listing(chosen)}: name one of them, and nest contexts for several.")
    (name, module), *_ = chosen.items()
    return name, module, int(number) if number else None


def _positions(neurons: ArrayLike) -> NDArray[Any]:
    """Return positions of neurons, or a mask over them, as a flat array."""
    found = np.atleast_1d(np.asarray(neurons))
    if found.ndim != 1 or found.dtype.kind not in "iub" or not len(found) or not (found.dtype != bool or found.any()):
        what = "none" if found.size == 0 or found.dtype == bool else f"an array of {found.dtype}"
        what = f"shape {found.shape}" if found.ndim != 1 else what
        raise ValueError(f"neurons must be positions of at least one neuron, or a mask over all of them; got {what}.")
    if found.dtype != bool and found.min() < 0:
        raise ValueError(f"neurons must be positions, counted from 0; got {found.min()}.")
    return found


def _values(to: Any) -> NDArray[np.float64]:
    """Return what neurons are set to: shape ``()`` or ``(n_neurons,)``."""
    found = np.asarray(to.detach().cpu() if isinstance(to, torch.Tensor) else to)
    if found.dtype.kind not in "fiub" or found.ndim > 1:
        what = f"shape {found.shape}" if found.ndim > 1 else repr(to)
        raise ValueError(
            f"to must be a number, or an array of one value per neuron of the layer, such as acts.mean; got {what}."
        )
    if not np.isfinite(found).all():
        raise ValueError("to must be finite; got NaN or infinite values.")
    return found.astype(np.float64)


@dataclass
class _Ablation:
    """A hook on a layer that changes its output, and a tracer of axes around every pass of the model.

    Parameters
    ----------
    model, layer, module, call
        The unwrapped model; the layer and which of its calls in one pass (None: all).
    neurons
        Positions, or a mask.
    to
        Shape ``()`` or ``(n_neurons,)``.
    axis
        As the user gave it.
    """

    model: nn.Module
    layer: str
    module: nn.Module
    call: int | None
    neurons: NDArray[Any]
    to: NDArray[np.float64]
    axis: int | tuple[int, int] | None = None

    def __post_init__(self) -> None:
        own = any(isinstance(self.module, kind) and type(self.module).forward is kind.forward for kind in _SURE)
        self._sure = own or self.axis is not None
        self._tracer: AxisTracer | None = None
        self._n = 0
        self._calls = 0
        # by what ran before and number of axes: the neuron axis and its length
        self._plan: dict[tuple[int, int], tuple[int, int]] = {}
        self._trail = 0
        self._handles: list[Any] = []
        self._before: Any = None
        #: whether the model ran, and the call that is meant
        self._ran = self._fired = False

    def __enter__(self) -> None:
        self._handles.append(self.module.register_forward_hook(self._hook))
        for number, module in enumerate([] if self._sure else innermost(self.model)):
            self._handles.append(module.register_forward_hook(functools.partial(self._step, number), prepend=True))
        self._before = self.model.__dict__.get("forward")
        self.model.forward = self._around(self.model.forward)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        remove(self._handles)
        if self._before is None:
            del self.model.__dict__["forward"]
        else:
            self.model.__dict__["forward"] = self._before
        if kind is None and self._ran and not self._fired:
            which = "" if self.call is None else f" {self.call + 1} times in one forward pass"
            raise ValueError(
                f"nothing was ablated: the model ran, and layer {self.layer!r} did not run{which} (its weights may be "
                "used directly). topomap.list_layers(model, example) shows how often each layer runs."
            )

    def _around(self, forward: Any) -> Any:
        # hooks before and after the model could not do this: no hook is called when a pass ends by an interrupt, which
        # would leave the tracer on for all that follows
        @functools.wraps(forward)
        def run(*args: Any, **kwargs: Any) -> Any:
            self._calls, self._trail, self._ran = 0, 0, True
            self._n = next((len(tensor) for tensor in tensors_in((args, kwargs)) if tensor.ndim), 0)
            if self._sure or self._fired:
                self._tracer = None
                return forward(*args, **kwargs)
            with traced(self.model, (args, kwargs), self._n) as self._tracer:
                return forward(*args, **kwargs)

        return run

    def _step(self, number: int, module: nn.Module, inputs: Any, output: Any) -> None:
        self._trail = hash((self._trail, number))

    def _hook(self, module: nn.Module, inputs: Any, output: Any) -> Any:
        call, self._calls = self._calls, self._calls + 1
        if self.call not in (None, call):
            return None
        self._fired = True
        tensor, steps = first_tensor(output)
        if tensor is None:
            raise ValueError(f"layer {self.layer!r} ({type(module).__name__}) gives no floating tensor to change.")
        axis = 1 if steps is not None else self._axis(tensor)  # of packed steps
        return change_first(output, functools.partial(self._changed, axis=axis))

    def _axis(self, tensor: torch.Tensor) -> int:
        ndim, shape = tensor.ndim, tuple(tensor.shape)
        if self.axis is not None:
            axis = self.axis if isinstance(self.axis, int) else self.axis[1]
            if not -ndim <= axis < ndim:
                raise ValueError(f"axis={axis} is none of layer {self.layer!r}, whose output has shape {shape}.")
            return axis % ndim
        found = self._followed(tensor)
        if found is None and self._tracer is None and self._plan:
            known = {axis for (_, dims), axis in self._plan.items() if dims == ndim}
            known = {self._plan[self._trail, ndim]} if (self._trail, ndim) in self._plan else known
            # on another way than those that were followed it is the same axis if these agree
            found, size = known.pop() if len(known) == 1 else (None, 0)
            found = None if found is None or (*shape, 1)[found] != size else found
        by_type = axes_by_type(self.module, tensor)
        if found is None and by_type is not None:
            found = by_type[1]
        if found is None and ndim <= 2:
            found = 1
        if found is None:
            raise ValueError(
                f"which axis is the neuron of layer {self.layer!r} is ambiguous: its output has shape {shape}, and "
                "neither its type nor what came before tells. Say it with axis=."
            )
        self._plan[self._trail, ndim] = found, (*shape, 1)[found]
        return found

    def _followed(self, tensor: torch.Tensor) -> int | None:
        """Return the neuron axis that was followed through this pass."""
        if self._tracer is None:
            return None
        known = find(self._tracer.known(tensor) or (), NEURON)
        resolved = None if known is not None else self._tracer.resolve(tensor, self._n)
        return known if resolved is None else resolved.neuron

    def _changed(self, tensor: torch.Tensor, axis: int) -> torch.Tensor:
        size = tensor.shape[axis] if axis < tensor.ndim else 1  # one neuron per input may have no axis
        mask = np.zeros(size, dtype=bool)
        if self.neurons.dtype == bool:
            same_length("the mask neurons", len(self.neurons), f"neuron of layer {self.layer!r}", size)
            mask = self.neurons
        else:
            if self.neurons.max() >= size:
                raise ValueError(
                    f"neurons must be positions of layer {self.layer!r}, which has {size} neurons (0 to {size - 1}); "
                    f"got {self.neurons.max()}."
                )
            mask[self.neurons] = True
        if self.to.ndim:
            same_length("to", len(self.to), f"neuron of layer {self.layer!r}", size)
        values = np.broadcast_to(self.to, size)
        shape = [size if one == axis else 1 for one in range(tensor.ndim)]
        chosen = torch.tensor(mask, device=tensor.device).reshape(shape)
        held = torch.tensor(values, dtype=tensor.dtype, device=tensor.device).reshape(shape)
        return torch.where(chosen, held, tensor)
