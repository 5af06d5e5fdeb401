"""Maps of every input shifted so that what mattered most for its prediction is central."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import nn

from topomap.recording.hooks import Output
from topomap.recording.reduce import Places, Reduced

#: The reduction that needs gradients.
ALIGNED = "aligned"


@dataclass(frozen=True)
class Waiting:
    """What one call of a layer gave, until the gradient of the predictions is known: `output` is part of the graph."""

    output: Output
    places: Places


@contextmanager
def differentiable(model: nn.Module) -> Iterator[None]:
    """Run a model so that gradients can be taken, whatever the caller's mode is."""
    # cuDNN has no backward pass of recurrent layers in evaluation mode
    recurrent = any(isinstance(module, nn.RNNBase) for module in model.modules())
    cudnn = torch.backends.cudnn
    with torch.inference_mode(False), torch.enable_grad(), cudnn.flags(enabled=cudnn.enabled and not recurrent):
        yield


def align(
    scores: torch.Tensor, waiting: Sequence[Waiting], refuse: Callable[[str, str], None]
) -> list[tuple[str, int, Reduced]]:
    """Shift the maps of all layers, with one backward pass; inside `differentiable`.

    Parameters
    ----------
    scores
        One score per class, shape ``(n, n_classes)``, with their graph.
    waiting
        What the layers gave.
    refuse
        Called with a layer that the scores do not depend on, and the reason.

    Raises
    ------
    ValueError
        If the scores have no gradient.
    """
    predicted = scores.gather(1, scores.detach().argmax(dim=1, keepdim=True)).float()
    total = torch.where(predicted.isfinite(), predicted, 0).sum()
    way_out = "Record without reduce='aligned'."
    if not total.requires_grad:
        raise ValueError(
            "reduce='aligned' takes the gradient of the predictions, and these have none: no recorded layer is on the "
            f"way to them, or the model or forward= runs under no_grad, or leaves torch. {way_out}"
        )
    try:
        gradients: list[torch.Tensor | None] = [
            *torch.autograd.grad(total, [one.output.tensor for one in waiting], allow_unused=True)
        ]
    except RuntimeError as error:
        raise ValueError(f"the gradient of the predictions cannot be taken: {error} {way_out}") from error
    reduced = []
    for one, gradient in zip(waiting, gradients, strict=True):
        layer, call = one.output.layer, one.output.call
        if gradient is None:
            refuse(
                layer,
                f"the predictions do not depend on layer {layer!r} (call {call}) in a way that has a gradient, which "
                "reduce='aligned' needs; leave it out of layers=.",
            )
        else:
            reduced.append((layer, call, aligned(one.places, gradient)))
    return reduced


def aligned(places: Places, gradient: torch.Tensor) -> Reduced:
    """Return every place as a row, shifted so that the one of the largest mean |gradient| is central.

    Along an axis of s places the centre is place ``s // 2``; what is shifted in is zero. Of several largest ones the
    first counts; where the gradient is zero everywhere nothing is salient, and the map stays as it is.

    Parameters
    ----------
    places
        What the layer gave, shape ``(n, *places, neurons)`` when moved.
    gradient
        Of the shape of its tensor.
    """
    gradient = gradient if gradient.layout == torch.strided else gradient.to_dense()
    size = torch.nan_to_num(places.moved_alike(gradient).abs().mean(dim=-1, dtype=torch.float32), nan=0, posinf=0)
    values = places.moved
    if places.mask is not None:
        size = size.masked_fill(~places.mask, 0)
        values = values.masked_fill(~places.mask[..., None], 0)
    n, shape, device = places.n, places.shape, values.device
    largest, at = size.reshape(n, -1).max(dim=1)
    index = [torch.arange(n, device=device).reshape(n, *(1 for _ in shape))]
    outside = torch.zeros((), dtype=torch.bool, device=device)
    for axis, (salient, length) in enumerate(zip(torch.unravel_index(at, shape), shape, strict=True)):
        shift = torch.where(largest > 0, length // 2 - salient, 0)
        source = torch.arange(length, device=device) - shift[:, None]
        source = source.reshape(n, *(length if axis == other else 1 for other in range(len(shape))))
        outside = outside | (source < 0) | (source >= length)
        index.append(source.clamp(0, length - 1))
    shifted = values[tuple(index)].to(torch.float32).masked_fill(outside[..., None], 0)
    rows, where = places.every_place()
    return Reduced(ALIGNED, shifted.reshape(len(rows), -1), rows, where)
