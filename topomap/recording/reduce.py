"""From the output of a layer to one value per neuron: what happens to positions and tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from topomap._check import choice, listing
from topomap.recording.axes import OutputAxes
from topomap.run import ROW_REDUCTIONS

#: What can be made of the places (positions or tokens) of one input.
REDUCTIONS = ("mean", "std", "max", "min", "first", "last", "random", *ROW_REDUCTIONS)


@dataclass(frozen=True)
class Reduced:
    """Rows of one layer under one reduction, still on the device: float32, shape ``(n_rows, n_neurons)``.

    `rows` counts inputs within the batch (None: row i is input i); `places` has shape ``(n_rows, n_axes)``.
    """

    reduce: str
    values: torch.Tensor
    rows: NDArray[np.int64] | None = None
    places: NDArray[np.int64] | None = None


def check_reductions(reduce: str | Sequence[str]) -> tuple[str, ...]:
    """Return the reductions as a tuple, each a known one, none twice.

    Examples
    --------
    >>> check_reductions(["mean", "max", "mean"])
    ('mean', 'max')
    """
    ways = (reduce,) if isinstance(reduce, str) else tuple(reduce)
    if not ways:
        raise ValueError(f"reduce is empty: name at least one of {listing(REDUCTIONS)}.")
    for way in ways:
        choice("reduce", way, REDUCTIONS)
    return tuple(dict.fromkeys(ways))


@dataclass
class Places:
    """One output with the neurons last, its places in between: ``(batch, *places, neurons)``.

    Parameters
    ----------
    tensor
        Output of a layer.
    axes
        Where batch and neurons are.
    mask
        Which places are real, shape ``(batch, n_places)``; used where the output has one axis of that many places.
    uniform
        One number in [0, 1) per input, for ``"random"``.
    """

    tensor: torch.Tensor
    axes: OutputAxes
    mask: torch.Tensor | None = None
    uniform: NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if self.tensor.ndim == 1:  # one number per input: a layer of one neuron
            self.tensor, self.axes = self.tensor[:, None], OutputAxes(0, 1)
        self.dims = self.axes.places(self.tensor.ndim)
        self.shape = tuple(self.tensor.shape[dim] for dim in self.dims)
        self.hide(self.mask)
        if 0 in self.shape:
            raise ValueError(f"an output of shape {tuple(self.tensor.shape)} has no places to reduce.")

    def hide(self, mask: torch.Tensor | None) -> None:
        """Set the mask, if it is one of these places."""
        fits = mask is not None and len(self.shape) == 1 and tuple(mask.shape) == (self.n, *self.shape)
        self.mask = mask if fits else None

    @property
    def n(self) -> int:
        """Number of inputs."""
        return self.tensor.shape[self.axes.batch]

    @cached_property
    def moved(self) -> torch.Tensor:
        """A view of the tensor as ``(batch, *places, neurons)``."""
        return self.moved_alike(self.tensor)

    def moved_alike(self, tensor: torch.Tensor) -> torch.Tensor:
        """Return a view, like `moved`, of another tensor of the same shape."""
        return tensor.permute(self.axes.batch, *self.dims, self.axes.neuron)

    @cached_property
    def real(self) -> NDArray[np.bool_] | None:
        """The mask on the CPU."""
        return None if self.mask is None else self.mask.cpu().numpy()

    @cached_property
    def weights(self) -> torch.Tensor | None:
        """The mask in the shape of the tensor."""
        if self.mask is None:
            return None
        shape = [1] * self.tensor.ndim
        shape[self.axes.batch], shape[self.dims[0]] = self.n, self.shape[0]
        mask = self.mask if self.axes.batch < self.dims[0] else self.mask.T
        return mask.reshape(shape)

    def reduce(self, way: str) -> Reduced:
        """Apply one reduction; statistics are taken in float32 at least, and NaN at a masked place does not count."""
        if not self.dims:
            return Reduced("none", self._rows_first(_float32(self.tensor, copy=True)))
        if way in ROW_REDUCTIONS:
            return self._every_place(way)
        if way in ("first", "last", "random"):
            return self._one_place(way)
        values = self._statistic(way)
        return Reduced(way, _float32(self._rows_first(values)))

    def _rows_first(self, values: torch.Tensor) -> torch.Tensor:
        return values if self.axes.batch < self.axes.neuron else values.T

    def _statistic(self, way: str) -> torch.Tensor:
        x, dims = self.tensor, self.dims
        wide = torch.float64 if x.dtype == torch.float64 else torch.float32
        if self.weights is None:
            if way == "mean":
                return x.mean(dim=dims, dtype=wide)
            if way == "std":  # two passes: as exact as torch.std over two axes, and many times faster on a CPU
                centred = x - x.mean(dim=dims, dtype=wide, keepdim=True)
                return centred.square_().mean(dim=dims).sqrt_()
            return x.amax(dim=dims) if way == "max" else x.amin(dim=dims)
        hidden = ~self.weights
        if way in ("max", "min"):
            worst = -torch.inf if way == "max" else torch.inf
            x = x.masked_fill(hidden, worst)
            return x.amax(dim=dims) if way == "max" else x.amin(dim=dims)
        # an input without any real place gives 0 / 0 = NaN, which is reported as such
        x = x.to(wide).masked_fill(hidden, 0)
        count = self.weights.sum(dim=dims, dtype=wide)
        mean = x.sum(dim=dims) / count
        if way == "mean":
            return mean
        centred = (x - mean.unsqueeze(dims[0])).masked_fill(hidden, 0)
        return (centred.square().sum(dim=dims) / count).sqrt()

    def _one_place(self, way: str) -> Reduced:
        """Pick one place of every input; `places` tells which."""
        total = int(np.prod(self.shape))
        real = self.real
        counts = np.full(self.n, total) if real is None else real.sum(axis=1)
        if way == "first":
            wanted = np.zeros(self.n, dtype=np.int64)
        elif way == "last":
            wanted = counts - 1
        else:
            if self.uniform is None:
                raise RuntimeError("a random place needs random numbers")  # pragma: no cover
            wanted = np.minimum((self.uniform * counts).astype(np.int64), counts - 1)
        if real is not None:  # the k-th real place: where the running count of real places first exceeds k
            wanted = np.argmax(np.cumsum(real, axis=1) > wanted[:, None], axis=1)
        index = np.unravel_index(np.maximum(wanted, 0), self.shape)
        device = self.tensor.device
        where = (torch.arange(self.n, device=device), *(torch.from_numpy(i).to(device) for i in index))
        values = _float32(self.moved[where])
        if (counts == 0).any():
            values[torch.from_numpy(counts == 0).to(device)] = torch.nan
        return Reduced(way, values, None, np.stack(index, axis=1).astype(np.int64))

    def every_place(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return input and place of every row where all places are rows."""
        total = int(np.prod(self.shape))
        places = np.stack(np.unravel_index(np.arange(total), self.shape), axis=1).astype(np.int64)
        return np.repeat(np.arange(self.n), total), np.tile(places, (self.n, 1))

    def _every_place(self, way: str) -> Reduced:
        rows, places = self.every_place()
        values = torch.empty(self.moved.shape, dtype=torch.float32, device=self.tensor.device)
        values = values.copy_(self.moved).reshape(len(rows), -1)
        if self.mask is not None and self.real is not None:
            kept = self.real.ravel()
            values, rows, places = values[self.mask.reshape(-1)], rows[kept], places[kept]
        return Reduced(way, values, rows, places)


def _float32(tensor: torch.Tensor, copy: bool = False) -> torch.Tensor:
    return tensor.to(torch.float32, copy=copy)


def reduce_output(places: Places, ways: Sequence[str], layer: str) -> list[Reduced]:
    """Apply every reduction to one output; where there is nothing to reduce, keep the values once as ``"none"``.

    Raises
    ------
    ValueError
        If the deviation over places is all that was asked of a layer that has none.
    """
    if places.dims:
        return [places.reduce(way) for way in ways]
    if tuple(ways) == ("std",):
        raise ValueError(
            f"layer {layer!r} has one value per input and neuron: there are no places to take reduce='std' over. "
            "Leave it out of layers=, or record another reduction too: reduce=['mean', 'std']."
        )
    return [places.reduce("none")]


def to_host(tensors: Sequence[torch.Tensor]) -> list[NDArray[Any]]:
    """Copy tensors to the CPU in one transfer, for each transfer waits for the device."""
    if not tensors or tensors[0].device.type == "cpu":
        return [tensor.numpy() for tensor in tensors]
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors]).cpu().numpy()
    bounds = np.cumsum([tensor.numel() for tensor in tensors])[:-1]
    return [part.reshape(tensor.shape) for part, tensor in zip(np.split(flat, bounds), tensors, strict=True)]
