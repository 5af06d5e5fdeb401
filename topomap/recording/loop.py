"""One recording while it runs: what happens to each batch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field, replace
from typing import Any
from zlib import crc32

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from tqdm.auto import tqdm

from topomap._check import listing, same_length, warn
from topomap.recording.align import ALIGNED, Waiting, align, differentiable
from topomap.recording.hooks import Output, Taps
from topomap.recording.inputs import (
    Batch,
    BatchReader,
    Prediction,
    as_column,
    class_scores,
    content_ids,
    image_of,
    make_thumbnails,
    predict,
    to_device,
)
from topomap.recording.loaders import Source
from topomap.recording.masks import Masks
from topomap.recording.reduce import Places, Reduced, reduce_output, to_host
from topomap.recording.sinks import Columns, Rows, Sink, Streaming, Table
from topomap.recording.state import uninterrupted
from topomap.run import Inputs


class NotFiniteError(ValueError):
    """Activations are NaN or infinite: what was found, and a sentence on what that means or what would help."""

    def __init__(self, what: str, more: str) -> None:
        super().__init__(f"{what}. {more}")
        self.what = what


def _of_bytes(batch: Batch, error: RuntimeError) -> ValueError | None:
    """Return the error for pictures that a model takes as numbers of another kind, if that is what went wrong."""
    kinds = ("Byte", "unsigned char", "uint8")
    if not any(t.dtype is torch.uint8 for _, t in batch.tensors()) or not any(kind in str(error) for kind in kinds):
        return None
    return ValueError(
        "the inputs are bytes (uint8), and the model takes floating numbers: scale them as it was trained with, in the "
        "data set or with forward=lambda model, batch: model(batch[0].float() / 255). "
        f"It said: {str(error).splitlines()[0]}"
    )


@dataclass
class Recording:
    """The parameters of a recording as `topomap.record` describes them, and its state."""

    model: nn.Module
    reader: BatchReader
    source: Source
    sink: Sink
    table: Table
    ways: tuple[str, ...]
    by: tuple[tuple[str, ...], ...] | None = None
    classes: tuple[str, ...] | None = None
    explicit_classes: bool = False
    labels: Callable[[Any], Any] | NDArray[Any] | None = None
    forward: Callable[[nn.Module, Any], Any] | None = None
    texts: Callable[[Any], Sequence[str]] | None = None
    thumbnails: bool | Callable[[Any], Any] = True
    mask: Callable[[Any], Any] | None = None
    logits: bool | Callable[[Any], torch.Tensor] = True
    nonfinite: str = "raise"
    limit: int | None = None
    seed: int = 0
    autocast: torch.dtype | None = None
    inference_mode: bool = True
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    label_counts: Counter[Any] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self._captured: list[tuple[str, int, Reduced]] = []
        self._waiting: list[Waiting] = []
        self._masks = Masks()
        self._predicted: bool | None = None
        self._n_classes: int | None = None
        self._warned_label = False
        self._named_label = False

    def run(self, taps: Taps, device: torch.device, progress: bool) -> None:
        """Record batch after batch, on a model that was lent."""
        self.device = device
        total = self.source.total
        if self.limit is not None:
            total = self.limit if total is None else min(total, self.limit)
        order = {name: i for i, name in enumerate(taps.layers)}
        bar = tqdm(total=total, unit="input", desc="recording", disable=None if progress else True, leave=False)
        with bar:
            for raw in self.source.batches:
                kept = self._batch(raw, taps, order)
                bar.update(kept)
                if self.limit is not None and self.table.n >= self.limit:
                    break
        if not self.table.n:
            raise ValueError("the loader gave no inputs: there is nothing to record.")

    def _batch(self, raw: Any, taps: Taps, order: dict[str, int]) -> int:
        batch = self.reader.read(raw)
        if batch.n == 0:
            return 0
        start = self.table.n
        kept = batch.n if self.limit is None else min(batch.n, self.limit - start)
        self._label(batch, raw, start)
        output = self._forward(batch, raw, taps)
        with self._gradients():
            scores = class_scores(output, batch.n, self.logits)
        columns = self._columns(batch, scores, kept)
        if self._waiting:
            self._align(scores if self._predicted else None, taps)
        self._captured.sort(key=lambda item: (order[item[0]], item[1]))
        values = to_host([reduced.values for *_, reduced in self._captured])
        rows = []
        for (layer, call, reduced), array in zip(self._captured, values, strict=True):
            index = np.arange(batch.n) if reduced.rows is None else reduced.rows
            one = Rows((layer, call, reduced.reduce), array, index, reduced.places)
            if kept < batch.n:
                one = one.take(index < kept)
            finite = self._finite(one, batch, raw, start)
            n_rows = len(one.rows)
            one = one if finite is None else one.take(finite)
            rows.append((one, n_rows - len(one.rows)))
        pictures = self._pictures(batch, raw, kept)
        ids = self._ids(batch, raw, start)[:kept] if self.table.kept else np.arange(kept)
        texts = list(self.texts(raw)) if self.texts is not None else batch.texts
        if texts is not None:
            same_length("texts", len(texts), "input of its batch", batch.n)
        with uninterrupted():
            for one, n_masked in rows:
                own = {name: column[one.rows] for name, column in columns.items()} if self.by else {}
                one.rows = one.rows + start
                self.sink.put(one, own, n_masked)
            if pictures is not None and not self.sink.keep_thumbnails(pictures):
                self.table.thumbnails.append(pictures)
            self.table.add(ids, columns, None if texts is None else texts[:kept])
            if "label" in columns and columns["label"].dtype.kind in "biuUS":
                self.label_counts.update(columns["label"].tolist())
        return kept

    def _forward(self, batch: Batch, raw: Any, taps: Taps) -> Any:
        """Run the model on one batch; `receive` gets what the layers gave."""
        if self.mask is not None:
            mask = torch.as_tensor(self.mask(raw)).bool()
            if mask.ndim != 2 or len(mask) != batch.n:
                raise ValueError(f"mask= must return shape ({batch.n}, n_tokens); got {tuple(mask.shape)}.")
            sided = batch.masks.two_sided or self.reader.two_sided
            batch.masks = replace(batch.masks, tokens=mask, n_tokens=mask.shape[1], two_sided=sided)
        self._masks = batch.masks.to(self.device)
        self._start = self.table.n
        self._forget()
        with ExitStack() as stack:
            stack.enter_context(self._precision())
            stack.enter_context(self._gradients())
            if self.inference_mode and ALIGNED not in self.ways:
                stack.enter_context(torch.inference_mode())
            if self.forward is not None:
                moved = to_device(raw, self.device)
                forward, inputs = self.forward, moved
                return taps.run(lambda: forward(self.model, moved), inputs, batch.n, self._forget)
            args, kwargs = to_device(batch.args, self.device), to_device(batch.kwargs, self.device)
            try:
                return taps.run(lambda: self.model(*args, **kwargs), (args, kwargs), batch.n, self._forget)
            except RuntimeError as error:
                clear = _of_bytes(batch, error)
                if clear is None:
                    raise
                raise clear from error

    def _gradients(self) -> AbstractContextManager[Any]:
        return differentiable(self.model) if ALIGNED in self.ways else nullcontext()

    def _forget(self) -> None:
        """Forget what the layers gave so far: the batch begins, or is repeated."""
        self._captured, self._waiting = [], []

    def _precision(self) -> AbstractContextManager[Any]:
        if self.autocast is None:
            return nullcontext()
        return torch.autocast(self.device.type, dtype=self.autocast)

    def receive(self, output: Output) -> None:
        """Reduce what a layer gave, while the model is still running: a later module may change it in place."""
        uniform = None
        kind = output.tensor.device.type
        mixed = torch.is_autocast_enabled(kind)
        with torch.autocast(kind, enabled=False) if mixed else nullcontext():
            if "random" in self.ways:
                # each input has its own number whatever the batches are, or which layers ran for the others
                key = crc32(f"{output.layer}#{output.call}".encode())
                bits = np.random.PCG64(np.random.SeedSequence([self.seed, key]))
                bits.advance(self._start)
                uniform = np.random.Generator(bits).random(output.tensor.shape[output.axes.batch])
            tensor = output.tensor.detach()
            tensor = tensor if tensor.layout == torch.strided else tensor.to_dense()  # as long as its batch lives
            places = Places(tensor, output.axes, output.steps, uniform)
            if output.steps is None and len(places.shape) == 1:
                places.hide(self._masks.of(output.layer, places.shape[0]))
            if ALIGNED in self.ways and places.dims:
                self._waiting.append(Waiting(output, places))
            ways = [way for way in self.ways if way != ALIGNED or not places.dims]
            for reduced in reduce_output(places, ways, output.layer):
                self._captured.append((output.layer, output.call, reduced))

    def _align(self, scores: torch.Tensor | None, taps: Taps) -> None:
        """Shift the maps of this batch by the gradients of its predictions."""
        if scores is None:
            raise ValueError(
                "reduce='aligned' takes the gradient of the predicted class's score, and this model's output is no "
                "prediction: it must have shape (n, n_classes), with as many classes as there are names and labels. "
                "Say where the scores are with logits=f(output), or record without 'aligned'."
            )
        waiting, self._waiting = self._waiting, []
        with self._gradients():
            self._captured += align(scores, waiting, taps.refuse)

    def drop(self, layer: str) -> None:
        """Forget a layer that stopped giving one row per input."""
        self._captured[:] = [item for item in self._captured if item[0] != layer]
        self._waiting[:] = [one for one in self._waiting if one.output.layer != layer]
        self.sink.drop(layer)

    def _label(self, batch: Batch, raw: Any, start: int) -> None:
        if callable(self.labels):
            batch.label = as_column(self.labels(raw))
            if batch.label.ndim != 1:
                raise ValueError(f"labels= must return one label per input; got shape {batch.label.shape}.")
            same_length("labels", len(batch.label), "input of its batch", batch.n)
        elif self.labels is not None:
            batch.label = self.labels[start : start + batch.n]
            if len(batch.label) < batch.n and (self.limit is None or len(self.labels) < self.limit):
                raise ValueError(
                    f"labels must have one entry per input: got {len(self.labels)}, and there are at least "
                    f"{start + batch.n} inputs."
                )
        elif batch.unused_label is not None and batch.label is None and not self._warned_label:
            self._warned_label = True
            warn(
                f"labels of shape {batch.unused_label} are not one number or string per input and are not kept: give "
                "labels=f(batch), such as lambda batch: batch[1].argmax(1) where they are one-hot.",
                stacklevel=6,
            )
        label = batch.label
        if label is None or self.classes is None:
            return
        if label.dtype.kind in "US" or label.dtype == object:
            codes = {name: code for code, name in enumerate(self.classes)}
            foreign = sorted({str(name) for name in label.tolist()} - set(codes))
            if not foreign:
                batch.label = np.array([codes[str(name)] for name in label.tolist()], dtype=np.int64)
                self._named_label = True
                return
            if self.explicit_classes or self._named_label:
                raise ValueError(f"labels {listing(foreign)} are none of the classes {listing(self.classes)}.")
            self.classes = None
        elif label.dtype.kind in "iu" and len(label) and int(label.max()) >= len(self.classes):
            if self.explicit_classes:
                raise ValueError(f"label {int(label.max())} has no name: classes= names {len(self.classes)}.")
            self.classes = None

    def _columns(self, batch: Batch, scores: torch.Tensor | None, kept: int) -> Columns:
        start = self.table.n
        columns = {name: column[start : start + batch.n] for name, column in self.source.columns.items()}
        columns |= batch.columns
        label = batch.label
        if label is not None:
            columns = {"label": label, **columns}
        found = None if scores is None else predict(scores)
        if self._fits(found, label) and found is not None:
            columns["prediction"], columns["confidence"] = found.prediction, found.confidence
            correct = None if label is None else found.correct(label)
            if correct is not None:
                columns["correct"] = correct
        if self.by is None and isinstance(self.sink, Streaming):
            self.by = self.sink.by = (("label",),) if label is not None else ()
        for names in self.by or ():
            for name in names:
                if name not in columns:
                    raise ValueError(
                        f"by= names {name!r}, which these inputs do not have; they have "
                        f"{listing(columns) or 'no column at all'}."
                    )
        return {name: column[:kept] for name, column in columns.items()}

    def _fits(self, found: Prediction | None, label: NDArray[Any] | None) -> bool:
        """Return whether the output is a prediction of the labels, and has been in every batch so far."""
        fits = found is not None and found.fits(label)
        if found is not None and fits:
            fits = self._n_classes in (None, found.n_classes)
            fits = fits and (self.classes is None or found.n_classes == len(self.classes))
            self._n_classes = found.n_classes
        if fits and self._predicted is not False:
            self._predicted = True
            return True
        if self._predicted:  # earlier batches only seemed to be predictions
            for name in ("prediction", "confidence", "correct"):
                self.table.columns.pop(name, None)
        self._predicted = False
        return False

    def _ids(self, batch: Batch, raw: Any, start: int) -> NDArray[Any]:
        if self.source.index is not None:
            return self.source.index[start : start + batch.n]
        return content_ids(batch, raw)

    def _finite(self, rows: Rows, batch: Batch, raw: Any, start: int) -> NDArray[np.bool_] | None:
        """Return which rows are finite (None: all of them), or raise."""
        with np.errstate(over="ignore", invalid="ignore"):
            if np.isfinite(rows.values.sum()):  # cheap, and NaN or infinite whenever a value is
                return None
        finite = np.isfinite(rows.values)
        if finite.all():
            return None
        good = finite.all(axis=1)
        if self.nonfinite == "raise":
            layer, call, reduce = rows.key
            where = f"{layer!r}" if not call else f"{layer!r} (call {call})"
            first = int(np.argmin(good))
            named = self._ids(batch, raw, start)[rows.rows[first]].item()
            raise NotFiniteError(
                f"layer {where} under {reduce!r} has {int((~finite).sum())} NaN or infinite values in "
                f"{int((~good).sum())} of {len(good)} rows of this batch, first in input "
                f"{named!r} ({int((~finite[first]).sum())} of {finite.shape[1]} neurons)",
                "Record with nonfinite='mask' to leave such rows out.",
            )
        return np.asarray(good)

    def _pictures(self, batch: Batch, raw: Any, kept: int) -> NDArray[np.uint8] | None:
        if self.thumbnails is False or not self.table.kept:
            return None
        if callable(self.thumbnails):
            pictures = np.asarray(self.thumbnails(raw))
            if pictures.dtype != np.uint8 or pictures.ndim not in (3, 4) or len(pictures) != batch.n:
                raise ValueError(
                    f"thumbnails= must return uint8 of shape ({batch.n}, height, width[, 3]); got {pictures.dtype} "
                    f"of shape {pictures.shape}."
                )
            return pictures[:kept]
        images = image_of(batch)
        if images is None:
            return None
        pictures = make_thumbnails(images[:kept], self.table.shape)
        self.table.shape = self.table.shape or pictures.shape[1:3]
        return pictures

    def finish_inputs(self) -> Inputs:
        """Return the table of inputs."""
        return self.table.finish(self.classes)

    def named_counts(self) -> dict[str, int]:
        """Return how many inputs have each label, by its name."""
        names = self.classes

        def name(label: Any) -> str:
            known = names is not None and isinstance(label, int) and 0 <= label < len(names)
            return names[label] if known and names is not None else str(label)

        return {name(label): count for label, count in sorted(self.label_counts.items(), key=lambda item: str(item[0]))}

    def describe(self) -> dict[str, dict[str, dict[str, int]]]:
        """Return rows, neurons, dead neurons and rows left out for every record."""
        about: dict[str, dict[str, dict[str, int]]] = {}
        for key, tally in self.sink.tallies.items():
            counts = {"n_rows": tally.n_rows, "n_neurons": tally.n_neurons, "n_dead": tally.n_dead}
            if tally.n_masked:
                counts["n_masked"] = tally.n_masked
            about.setdefault(self.sink.name(key), {})[key[2]] = counts
        return about
