"""From batches to what the model is called with, and to the table of inputs: labels, predictions, ids, thumbnails."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from topomap._check import listing, same_length
from topomap.recording.masks import DECODER_KEYS, Masks, two_sided
from topomap.run import comparable, is_correct

#: Entries of a batch that hold labels; they are never passed to the model.
LABEL_KEYS = ("label", "labels", "y", "target", "targets")
RESERVED = ("label", "prediction", "confidence", "correct", "id", "text", "thumbnail")
THUMBNAIL_SIDE = 64

#: What weights and inputs are computed in; anything narrower is a way of storing weights.
_PRECISIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


@dataclass
class Batch:
    """One batch: the call of the model, and what is known about its inputs."""

    n: int
    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = field(default_factory=dict)
    label: NDArray[Any] | None = None
    columns: dict[str, NDArray[Any]] = field(default_factory=dict)
    texts: list[str] | None = None
    masks: Masks = field(default_factory=Masks)
    unused_label: tuple[int, ...] | None = None

    def tensors(self) -> list[tuple[str, torch.Tensor]]:
        """Return the tensors that the model is called with, one entry per input each, with their names."""
        named = [(str(i), value) for i, value in enumerate(self.args)] + sorted(self.kwargs.items())
        return [(k, v) for k, v in named if isinstance(v, torch.Tensor) and v.ndim and len(v) == self.n]


def check_names(columns: Iterable[str]) -> None:
    """Raise if a column has the name of what is recorded anyway."""
    taken = [name for name in columns if name in RESERVED]
    if taken:
        raise ValueError(f"columns must not be called {listing(taken)}: that name has a meaning of its own.")


class BatchReader:
    """Take batches apart.

    Parameters
    ----------
    model
        Its ``forward`` says which entries of a dictionary it takes.
    columns
        Names of what follows ``(x, y)`` in a batch.
    own_forward
        Whether the caller runs the model, so that no call has to be made of the batch.
    """

    def __init__(self, model: nn.Module, columns: Sequence[str] | None = None, own_forward: bool = False) -> None:
        names = (columns,) if isinstance(columns, str) else tuple(columns or ())
        check_names(names)
        self.columns = names
        self.own_forward = own_forward
        self.model, self.two_sided = model, two_sided(model)
        self.dtype = next((p.dtype for p in model.parameters() if p.dtype in _PRECISIONS), None)
        kinds = inspect.Parameter
        parameters = list(_signature(model).parameters.values())
        named = [p for p in parameters if p.kind in (kinds.POSITIONAL_OR_KEYWORD, kinds.KEYWORD_ONLY)]
        self.accepted = [p.name for p in named]
        self.required = [p.name for p in named if p.default is kinds.empty]
        # a forward(**batch) without any name of its own takes whatever comes
        self.takes_all = not named and any(p.kind is kinds.VAR_KEYWORD for p in parameters)

    def read(self, batch: Any) -> Batch:
        """Take one batch apart.

        Raises
        ------
        ValueError
            If it is not clear what to call the model with, or the entries differ in length.
        """
        if isinstance(batch, Mapping):
            return self._from_mapping(batch)
        if isinstance(batch, (torch.Tensor, np.ndarray)):
            return self._from_sequence((batch,))
        if isinstance(batch, (tuple, list)) and batch:
            if isinstance(batch[0], Mapping):
                read = self._from_mapping(batch[0])
                self._add_extras(read, batch[1:])
                return read
            return self._from_sequence(batch)
        if self.own_forward:
            return Batch(self._count(batch))
        raise ValueError(
            f"a batch of type {type(batch).__name__} is not understood; say how to run it with forward=f(model, batch)."
        )

    def _count(self, batch: Any) -> int:
        tensor = next(iter(_tensors(batch)), None)
        if tensor is not None:
            return int(tensor.shape[0])
        try:
            return len(batch)
        except TypeError:
            raise ValueError(
                f"cannot tell how many inputs are in a batch of type {type(batch).__name__}: it holds no tensor "
                "and has no length."
            ) from None

    def _from_sequence(self, batch: Sequence[Any]) -> Batch:
        first = batch[0]
        parts = first if isinstance(first, (tuple, list)) else (first,)
        if not all(isinstance(part, (torch.Tensor, np.ndarray)) for part in parts) or not parts:
            if self.own_forward:
                read = Batch(self._count(batch))
                self._add_extras(read, batch[1:])
                return read
            raise ValueError(
                f"the first entry of a batch must be a tensor of inputs; got {type(first).__name__}. "
                "For anything else give forward=f(model, batch)."
            )
        args = tuple(self._tensor(part) for part in parts)
        if not args[0].ndim:
            raise ValueError(
                "a batch of inputs must have an axis of inputs; got a single number. Is this one input, not a batch?"
            )
        read = Batch(len(args[0]), args)
        self._add_extras(read, batch[1:])
        return read

    def _add_extras(self, read: Batch, rest: Sequence[Any]) -> None:
        if rest:
            self._set_label(read, rest[0])
        for i, value in enumerate(rest[1:]):
            column = _column(value, read.n)
            if column is not None:
                read.columns[self.columns[i] if i < len(self.columns) else f"extra{i}"] = column

    def _set_label(self, read: Batch, value: Any) -> None:
        column = _column(value, read.n, "label")
        if column is None and value is not None:
            read.unused_label = tuple(getattr(value, "shape", ()))
        read.label = column if read.label is None else read.label

    def _from_mapping(self, batch: Mapping[str, Any]) -> Batch:
        entries = {str(key): value for key, value in batch.items()}
        values = {key: self._tensor(value) for key, value in entries.items() if key not in LABEL_KEYS}
        kwargs = {key: value for key, value in values.items() if self.takes_all or key in self.accepted}
        if self.takes_all:
            kwargs = {key: value for key, value in kwargs.items() if isinstance(value, torch.Tensor)}
        args: tuple[Any, ...] = ()
        missing = [name for name in self.required if name not in kwargs]
        if not self.own_forward and (not kwargs or missing):
            lone = [k for k, v in values.items() if k not in kwargs and isinstance(v, torch.Tensor) and v.ndim > 1]
            if len(lone) != 1 or len(missing) > 1:
                raise ValueError(
                    f"which of the batch's entries {listing(entries)} the model is called with is not clear: its "
                    f"forward takes {listing(self.accepted) or 'none by name'}. Give forward=f(model, batch)."
                )
            if missing:
                kwargs[missing[0]] = values[lone[0]]
            else:
                args = (values[lone[0]],)
            del values[lone[0]]
        passed = [v for v in (*args, *kwargs.values(), *values.values()) if isinstance(v, torch.Tensor) and v.ndim]
        if not passed:
            raise ValueError(
                f"a batch must hold a tensor of inputs; got a dictionary of {listing(entries)} without any."
            )
        read = Batch(len(passed[0]), args, kwargs)
        for key in LABEL_KEYS:
            if key in entries:
                self._set_label(read, entries[key])
        sided = self.two_sided or (any(key in entries for key in DECODER_KEYS) and two_sided(self.model, entries))
        read.masks = Masks.of_batch(values, read.n, sided)
        for key in values:
            if key in kwargs:
                continue
            value = entries[key]
            if key == "text" and isinstance(value, (list, tuple)) and all(isinstance(t, str) for t in value):
                read.texts = list(value)
            elif (column := _column(value, read.n)) is not None:
                read.columns[f"{key}_" if key in RESERVED else key] = column
        return read

    def _tensor(self, value: Any) -> Any:
        """Make tensors of NumPy arrays, and floating ones of the model's precision, for NumPy's default is another."""
        precision = self.dtype
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            value = torch.from_numpy(np.ascontiguousarray(value))
            precision = precision or torch.float32
        if isinstance(value, torch.Tensor) and value.dtype in _PRECISIONS and precision is not None:
            return value.to(precision)
        return value


def _signature(model: nn.Module) -> inspect.Signature:
    try:
        return inspect.signature(model.forward)
    except (TypeError, ValueError):  # of a function written in C
        return inspect.Signature()


def _tensors(tree: Any) -> Iterator[torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        if tree.ndim:
            yield tree
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from _tensors(value)
    elif isinstance(tree, (tuple, list)):
        for value in tree:
            yield from _tensors(value)


def as_column(value: Any) -> NDArray[Any]:
    """Return a tensor, array or list of numbers or strings as an array."""
    if isinstance(value, torch.Tensor):
        value = value.detach().cpu()
        return np.asarray((value.float() if value.dtype is torch.bfloat16 else value).numpy())
    return np.asarray(value)


def _column(value: Any, n: int, name: str | None = None) -> NDArray[Any] | None:
    """Return a column of `n` entries, or None where the value is none; labels of another length are an error."""
    if isinstance(value, (list, tuple)) and not all(isinstance(v, (str, int, float, bool, np.generic)) for v in value):
        return None
    if not isinstance(value, (torch.Tensor, np.ndarray, list, tuple)):
        return None
    column = as_column(value)
    if name is not None and column.ndim == 2 and column.shape[1] == 1:
        column = column[:, 0]
    if column.ndim != 1 or column.dtype.kind not in "biufUSO":
        return None
    if name is not None:
        same_length(name, len(column), "input of its batch", n)
    return column if len(column) == n else None


def to_device(tree: Any, device: torch.device) -> Any:
    """Return a batch with its tensors on a device; the batch itself is left as it is."""
    if isinstance(tree, torch.Tensor):
        return tree.to(device, non_blocking=True)
    if isinstance(tree, dict):
        return {key: to_device(value, device) for key, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(to_device(value, device) for value in tree))
    if isinstance(tree, (tuple, list)):
        return type(tree)(to_device(value, device) for value in tree)
    if callable(getattr(tree, "to", None)):
        return copy.copy(tree).to(device)  # a BatchEncoding moves in place
    return tree


def content_ids(batch: Batch, raw: Any) -> NDArray[np.str_]:
    """Return 16 hexadecimal digits per input, a hash of what the model saw of it (padding left out).

    Examples
    --------
    >>> import torch
    >>> ids = content_ids(Batch(2, (torch.eye(2),)), None)
    >>> len(ids[0]), ids[0] != ids[1]
    (16, True)
    """
    hashes = [blake2b(digest_size=8) for _ in range(batch.n)]
    tensors = batch.tensors() or [("", t) for t in _tensors(raw) if len(t) == batch.n]
    for name, tensor in tensors:
        real = batch.masks.entry(name)
        if real is not None and name.endswith("attention_mask"):
            continue
        host = tensor.detach().cpu()
        what = f"{name} {host.dtype}".encode()
        if real is not None and tuple(host.shape[:2]) != tuple(real.shape):
            real = None
        rows = None if real is not None else host.reshape(batch.n, -1).contiguous().view(torch.uint8).numpy()
        for i, digest in enumerate(hashes):
            if rows is not None:
                digest.update(what + str(tuple(host.shape[1:])).encode())
                digest.update(rows[i].data)
            elif real is not None:
                row = host[i][real[i].cpu()].contiguous()
                digest.update(what + str(tuple(row.shape)).encode())
                digest.update(row.reshape(-1).view(torch.uint8).numpy().data)
    if not tensors and isinstance(raw, (list, tuple)) and raw and isinstance(raw[0], (list, tuple)):
        for digest, value in zip(hashes, raw[0], strict=False):
            digest.update(str(value).encode())
    return np.array([digest.hexdigest() for digest in hashes])


def make_thumbnails(images: torch.Tensor, size: tuple[int, ...] | None = None) -> NDArray[np.uint8]:
    """Shrink images ``(n, 1 or 3, height, width)`` to at most 64 pixels a side, as bytes with channels last.

    Values in [0, 1] are scaled by 255, bytes stay bytes, and anything else is stretched from the darkest to the
    lightest value of its image. A `size` (height, width) is that of the thumbnails before, for all have to have one.

    Examples
    --------
    >>> import torch
    >>> make_thumbnails(torch.ones(5, 1, 128, 96)).shape
    (5, 64, 48)
    """
    x = images.detach()
    scale = min(1.0, THUMBNAIL_SIDE / max(x.shape[2:]))
    size = size or tuple(max(1, round(side * scale)) for side in x.shape[2:])
    is_bytes = x.dtype is torch.uint8
    x = x.to(torch.float32)
    if not is_bytes:
        low, high = x.amin(dim=(1, 2, 3), keepdim=True), x.amax(dim=(1, 2, 3), keepdim=True)
        unit = (low >= 0) & (high <= 1)
        low, high = torch.where(unit, 0, low), torch.where(unit, 1, high)
        x = torch.nan_to_num((x - low) / (high - low).clamp_min(1e-12)) * 255
    if size != tuple(x.shape[2:]):
        x = nn.functional.interpolate(x, size=size, mode="bilinear", antialias=True, align_corners=False)
    out = x.round().clamp(0, 255).to(torch.uint8).cpu()
    return np.asarray((out[:, 0] if out.shape[1] == 1 else out.permute(0, 2, 3, 1)).contiguous().numpy())


def image_of(batch: Batch) -> torch.Tensor | None:
    """Return the images of a batch, if its inputs are images."""
    for _, tensor in batch.tensors():
        if tensor.ndim == 4 and tensor.shape[1] in (1, 3) and min(tensor.shape[2:]) > 1:
            return tensor if tensor.is_floating_point() or tensor.dtype is torch.uint8 else None
    return None


def class_scores(output: Any, n: int, logits: bool | Callable[[Any], torch.Tensor] = True) -> torch.Tensor | None:
    """Return the model's output if it is logits or probabilities of at least two classes, shape ``(n, n_classes)``."""
    if logits is False:
        return None
    if callable(logits):
        output = logits(output)
    elif isinstance(getattr(output, "logits", None), torch.Tensor):
        output = output.logits
    elif isinstance(output, Mapping):
        output = output.get("logits")
    elif isinstance(output, (tuple, list)) and output:
        output = output[0]
    if not isinstance(output, torch.Tensor) or not output.is_floating_point() or output.ndim != 2:
        return None
    return None if output.shape[0] != n or output.shape[1] < 2 else output


def predict(scores: torch.Tensor) -> Prediction:
    """Return predictions and confidences of logits or probabilities, shape ``(n, n_classes)``."""
    x = scores.detach().to(torch.float32)
    given = ((x >= 0).all(dim=1) & ((x.sum(dim=1) - 1).abs() < 1e-3))[:, None]
    probabilities = torch.where(given, x, torch.softmax(x, dim=1))
    confidence, prediction = probabilities.max(dim=1)
    prediction = torch.where(x.isfinite().all(dim=1), prediction, -1)
    return Prediction(prediction.cpu().numpy(), confidence.cpu().numpy(), int(x.shape[1]))


@dataclass(frozen=True)
class Prediction:
    """Predicted class and its probability per input, and the number of classes."""

    prediction: NDArray[np.int64]
    confidence: NDArray[np.float32]
    n_classes: int

    def fits(self, label: NDArray[Any] | None) -> bool:
        """Return whether these can be predictions of the labels: integers below the number of classes, or text.

        Negative integers, such as -1 or -100, stand for inputs without a label.
        """
        if label is None or label.dtype.kind in "UST" or label.dtype == object:
            return True
        return label.dtype.kind in "iub" and bool((label < self.n_classes).all())

    def correct(self, label: NDArray[Any]) -> NDArray[Any] | None:
        """Return whether each is right (nan where there is no label), or None for labels that are no codes."""
        if not comparable(label, self.prediction):
            return None
        found = is_correct(label, self.prediction)
        missing = label < 0
        return np.where(missing, np.nan, found) if missing.any() else found
