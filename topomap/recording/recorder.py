"""The loop over batches: a model and its data become a run."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from os import PathLike
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn.parameter import is_lazy

from topomap._check import choice, same_length, unknown, whole_number
from topomap.recording.doubts import PatientTaps
from topomap.recording.hooks import Axis, Taps
from topomap.recording.inputs import BatchReader, as_column, check_names
from topomap.recording.loaders import Source, generators_restored, open_loader
from topomap.recording.loop import NotFiniteError, Recording
from topomap.recording.provenance import told, told_column
from topomap.recording.reduce import check_reductions
from topomap.recording.selection import Selection, Selector, lent, select_layers
from topomap.recording.sinks import Folder, Memory, Streaming, Table, warn_dense, warn_masked
from topomap.recording.state import borrowed
from topomap.run import Run, versions
from topomap.store import RunWriter

By = str | tuple[str, ...] | Sequence[str | tuple[str, ...]]


def record(
    model: nn.Module,
    loader: Any,
    layers: Selector | Sequence[Selector] | None = None,
    *,
    reduce: str | Sequence[str] = "mean",
    keep: Literal["values", "sparse", "moments"] = "values",
    by: By | None = None,
    to: str | PathLike[str] | None = None,
    dtype: Literal["float32", "float16"] = "float32",
    overwrite: bool = False,
    device: str | torch.device = "auto",
    autocast: torch.dtype | str | None = None,
    forward: Callable[[nn.Module, Any], Any] | None = None,
    labels: Callable[[Any], Any] | Sequence[Any] | NDArray[Any] | torch.Tensor | None = None,
    columns: Sequence[str] | None = None,
    texts: Callable[[Any], Sequence[str]] | None = None,
    classes: Sequence[str] | None = None,
    thumbnails: bool | Callable[[Any], Any] | None = None,
    axis: Axis | None = None,
    mask: Callable[[Any], Any] | None = None,
    logits: bool | Callable[[Any], torch.Tensor] = True,
    nonfinite: Literal["raise", "mask"] = "raise",
    n: int | None = None,
    n_features: int | None = None,
    seed: int = 0,
    inference_mode: bool = True,
    notes: Mapping[str, Any] | None = None,
    progress: bool = True,
) -> Run:
    """Run a model over data and keep what its layers did: one value per neuron and input.

    A neuron is a unit of a dense layer, a channel of a convolution, a hidden unit of a transformer or recurrent layer.
    Which axis of an output that is follows from the modules and functions that made it, never from a guess.

    Parameters
    ----------
    model
        Any module; compiled and data-parallel ones are unwrapped. It comes back as it was: mode, device, hooks, and
        all random states.
    loader
        A ``DataLoader``, any iterable of batches, a map-style data set, or whole arrays: ``x``, a tuple ``(x, y, ...)``
        of arrays of equal length, or a dictionary. A list holds batches, never ``(x, y)``. A batch is a tensor,
        ``(x, y, extra, ...)``, or a dictionary (a ``BatchEncoding`` too), of which ``forward`` gets the entries that it
        has parameters for, never one called label, labels, y, target or targets. Floating numbers are cast to the
        precision of the model's weights.
    layers
        Dotted names, globs (``"layer*.conv2"``), regular expressions (compiled, or text after ``re:``), callables
        ``f(name, module) -> bool``, or a list of these. ``"model"`` is the model itself, unless a child has that name;
        ``"(model)"`` always is. By default every innermost module with parameters. Of the layers that fit a pattern,
        those are left out that never run or do not give one row per input (the reasons are in
        ``run.provenance["skipped"]``); for a layer that was named, that is an error.
    reduce
        One or several of ``"mean"``, ``"std"`` (ddof 0), ``"max"``, ``"min"``, ``"first"``, ``"last"``, ``"random"``
        (one seeded place per input) over the places of an output, that is positions or tokens; or ``"positions"`` or
        ``"tokens"``: every place is a row; or ``"aligned"``: the same after every input's map was shifted so that the
        place that mattered most for its prediction is central (place ``size // 2`` of every axis), zeros shifted in.
        That is the place where the gradient of the predicted class's score (the output's entry: a logit, or a
        probability), in absolute value and averaged over neurons, is largest [1]_; a map without gradient stays. It
        takes one backward pass per batch for all layers. Layers without places are kept as they are, once, under the
        reduction ``"none"``. Computed in float32 at least.
    keep
        ``"values"``; ``"sparse"``: only the values that are not zero, for layers such as the latents of a sparse
        autoencoder, of which few are (below about a quarter); or ``"moments"``: streaming statistics whose memory does
        not grow with the inputs, and no table of inputs.
    by
        Groupings for moments: a column or a tuple of columns, or a list of these, among label, prediction, correct and
        metadata. By default the label, where there is one.
    to
        A run folder to make. Values go there batch by batch, not to memory.
    dtype
        Of the kept values. Sparse float16 values are held as float32 in memory, and as float16 in a folder.
    overwrite
        Replace a run that is already at `to`.
    device
        Where to run. ``"auto"``: a CUDA device if there is one, except for a model that already sits on an accelerator.
    autocast
        Run in mixed precision: ``"bfloat16"`` or ``torch.bfloat16``, say.
    forward
        ``f(model, batch) -> output`` for batches that are none of the above (on the device already).
    labels
        ``f(batch) -> labels``, or one label per input: integers or strings. These are in the order of loading, so for a
        ``Subset`` or a list of positions as sampler they are those of the inputs that it picks, in its order; a loader
        that shuffles needs ``f(batch)``.
    columns
        Names of the one-dimensional extras in ``(x, y, extra, ...)``, otherwise ``extra0``, ``extra1``, ... A data set
        with a mapping ``columns`` of one entry per input, such as `topomap.datasets.ArrayData`, brings its own, where
        the order of loading is known in advance.
    texts
        ``f(batch) -> list of str``; by default a list of str called ``"text"`` in a dictionary.
    classes
        Names of the integer labels; by default the ``classes`` of the data set.
    thumbnails
        False for none, or ``f(batch) -> uint8 (n, height, width[, 3])``; by default made from inputs that are images.
    axis
        For outputs whose neurons cannot be known: the neuron axis, or (batch axis, neuron axis); for all, or by layer.
        A layer where that is ambiguous is never guessed or left out: it is an error, which names all of them.
    mask
        ``f(batch) -> bool (n, n_tokens)``: which tokens are real; by default a batch's ``attention_mask``. Honoured by
        layers that have one axis of so many places. In a model with an encoder and a decoder that is the mask of the
        layers under ``encoder``; those under ``decoder``, cross-attention too, have the batch's
        ``decoder_attention_mask`` or none, and layers outside both have one only if the numbers of tokens differ.
    logits
        False if the output is no prediction, or ``f(output) -> logits``. By default an output of shape ``(n, C >= 2)``,
        or its ``.logits``, is taken as logits or probabilities, unless there are names of the classes and not C of
        them, or integer labels of C and beyond. Where a label is negative (-1, -100), or text that names no class, it
        is not known whether the prediction is correct.
    nonfinite
        ``"raise"`` an error at the first NaN or infinite value, or ``"mask"``: leave these rows out of their layer.
    n
        Stop after so many inputs.
    n_features
        Of moments: keep a random projection of so many columns of every layer, whose products are those of the neurons
        up to about ``1 / sqrt(n_features)``, and no covariance. By default that is so from 4,096 neurons on, with 512
        columns. All recordings of the same inputs with one seed share the projection.
    seed
        For the random places, the loader's shuffling, and the sketch of moments.
    inference_mode
        False leaves gradients as the caller has them, for models that need them in their forward pass. With
        ``reduce="aligned"`` they are on.
    notes
        Whatever else should stand in ``run.provenance["notes"]``: where the weights and the data come from, say.
    progress
        Show a progress bar, if there is a terminal.

    Returns
    -------
    Run
        A mapping from layer to `Activations` (or `Moments`). A layer that is called several times in one forward pass
        is there as ``name#0``, ``name#1``, ... Ids of inputs are positions in the data set where the sampler tells
        them in advance, hashes of the content otherwise.

    Raises
    ------
    ValueError
        For an unknown layer or one that never runs, a model from ``torch.jit``, an empty loader, labels of the wrong
        length or in an order that nobody knows, an ambiguous neuron axis, NaN or infinite values, predictions without
        gradients where maps are to be aligned. Nothing is left at `to` then.
    OSError
        If no folder can be made at `to`, or the disk is full.
    KeyboardInterrupt
        On Ctrl-C. With `to`, the batches so far are there, marked as not complete.

    References
    ----------
    .. [1] The alignment of the toolbox iNNtrospect, by the authors of: V. Krug, R. K. Ratul, C. Olson and S. Stober
       (2023): Visualizing deep neural networks with topographic activation maps. HHAI. doi:10.3233/FAIA230080.

    Examples
    --------
    >>> import torch
    >>> import topomap as tm
    >>> from torch.nn import Conv2d, Flatten, Linear, ReLU, Sequential
    >>> net = Sequential(Conv2d(1, 4, 3), ReLU(), Flatten(), Linear(144, 2))
    >>> data = torch.zeros(10, 1, 8, 8), torch.arange(10) % 2
    >>> run = tm.record(net, data, layers=["1", "3"], reduce=["mean", "max"])
    >>> run["1", "max"]
    Activations(1, max: 10 rows x 4 neurons, 4 dead)
    >>> run.inputs
    Inputs(10: label, prediction, confidence, correct, thumbnails)
    """
    choice("keep", keep, ("values", "sparse", "moments"))
    choice("dtype", dtype, ("float32", "float16"))
    choice("nonfinite", nonfinite, ("raise", "mask"))
    if n is not None:
        whole_number("n", n, 1)
    if n_features is not None:
        whole_number("n_features", n_features, 1)
        if keep != "moments":
            raise ValueError("n_features= is for keep='moments', which keeps a projection instead of values.")
    ways = check_reductions(reduce)
    groupings = _groupings(by)
    if groupings is not None and keep != "moments":
        raise ValueError(
            "by= groups moments while they stream; group kept values afterwards: topomap.profile(acts, by=...)."
        )
    model = lent(model)
    _check_initialised(model)
    chosen = select_layers(model, layers)
    source = open_loader(loader)
    check_names(source.columns)
    given = _given_labels(labels, source, n)
    parameters = {
        "layers": told(layers),
        "reduce": list(ways),
        "keep": keep,
        "by": [list(names) for names in groupings] if groupings else None,
        "dtype": dtype,
        "device": str(device),
        "autocast": None if autocast is None else str(_precision(autocast)).removeprefix("torch."),
        "axis": told(axis),
        "forward": told(forward),
        "labels": told_column(given),
        "columns": told(columns),
        "texts": told(texts),
        "classes": told_column(classes),
        "thumbnails": told(thumbnails),
        "mask": told(mask),
        "logits": told(logits),
        "nonfinite": nonfinite,
        "n": n,
        "n_features": n_features,
        "inference_mode": inference_mode,
    }
    began = time.perf_counter()
    with ExitStack() as stack:
        writer = None if to is None else stack.enter_context(RunWriter(to, dtype=dtype, overwrite=overwrite))
        sink: Memory | Folder | Streaming
        if keep == "moments":
            sink = Streaming(by=groupings or (), seed=seed, n_features=n_features, writer=writer)
        else:
            sparse = keep == "sparse"
            sink = Memory(dtype=dtype, sparse=sparse) if writer is None else Folder(writer=writer, sparse=sparse)
        recording = Recording(
            model=model,
            reader=BatchReader(model, columns, forward is not None),
            source=source,
            sink=sink,
            table=Table(kept=keep != "moments"),
            ways=ways,
            by=groupings,
            classes=_class_names(classes, source, model),
            explicit_classes=classes is not None,
            labels=given,
            forward=forward,
            texts=texts,
            thumbnails=True if thumbnails is None else thumbnails,
            mask=mask,
            logits=logits,
            nonfinite=nonfinite,
            limit=n,
            seed=seed,
            autocast=None if autocast is None else _precision(autocast),
            inference_mode=inference_mode,
        )
        taps = PatientTaps(
            model, chosen.layers, recording.receive, axis, chosen.strict, recording.drop, gradients="aligned" in ways
        )
        interrupt: KeyboardInterrupt | None = None
        try:
            with generators_restored(loader), borrowed(model, device, seed) as where, taps:
                recording.run(taps, where, progress)
        except KeyboardInterrupt as error:
            if writer is None or not recording.table.n:
                raise
            interrupt = error
        else:
            _check_recorded(taps, chosen, sink)
            if given is not None and not callable(given) and n is None:
                same_length("labels", len(given), "input", recording.table.n)
        inputs = recording.finish_inputs()
        provenance: dict[str, Any] = {
            "model": type(model).__name__,
            "seed": seed,
            "n_inputs": recording.table.n,
            "label_counts": recording.named_counts(),
            "device": str(recording.device),
            "duration_s": round(time.perf_counter() - began, 3),
            "loader": {name: value for name, value in source.about.items() if value is not None},
            "parameters": {name: value for name, value in parameters.items() if value is not None},
            "records": recording.describe(),
            "skipped": dict(taps.skipped),
            "notes": dict(notes or {}),
            "versions": versions(),
        }
        provenance = {name: value for name, value in provenance.items() if value != {}}
        warn_masked(sink)
        warn_dense(sink)
        run = sink.finish(inputs, provenance, interrupt is None)
        if interrupt is not None:
            raise KeyboardInterrupt(
                f"recording was stopped after {recording.table.n} inputs; they are in the run folder {run.path}, "
                "marked as not complete."
            ) from interrupt
    return run


def _groupings(by: By | None) -> tuple[tuple[str, ...], ...] | None:
    if by is None:
        return None
    if isinstance(by, (str, tuple)):
        by = [by]
    return tuple((names,) if isinstance(names, str) else tuple(names) for names in by)


def _check_initialised(model: nn.Module) -> None:
    if any(is_lazy(tensor) for tensor in (*model.parameters(), *model.buffers())):
        raise ValueError("the model has lazy parameters without a shape yet: call it on one batch first.")


def _given_labels(labels: Any, source: Source, n: int | None) -> Any:
    if labels is None or callable(labels):
        return labels
    column = as_column(labels)
    if column.ndim != 1:
        raise ValueError(f"labels must have one dimension; got shape {column.shape}.")
    if source.sampler is not None:
        raise ValueError(
            f"labels= are in the order of loading, and the loader's {source.sampler} draws that as it goes: give "
            "labels=f(batch), or a loader with shuffle=False."
        )
    if source.total is not None and n is None:
        same_length("labels", len(column), "input", source.total)  # before the work, not after it
    return column


def _class_names(classes: Sequence[str] | None, source: Source, model: nn.Module) -> tuple[str, ...] | None:
    if classes is not None:
        if isinstance(classes, str):
            raise ValueError(f"classes must be a list of names; got {classes!r}.")
        return tuple(str(name) for name in classes)
    if source.classes is not None:
        return source.classes
    named = getattr(getattr(model, "config", None), "id2label", None)
    if not isinstance(named, Mapping) or set(named) != set(range(len(named))):
        return None
    names = tuple(str(named[code]) for code in range(len(named)))
    return None if all(name.startswith("LABEL_") for name in names) else names


def _precision(autocast: torch.dtype | str) -> torch.dtype:
    dtype = getattr(torch, autocast.removeprefix("torch."), None) if isinstance(autocast, str) else autocast
    if dtype not in (torch.bfloat16, torch.float16):
        raise unknown("autocast", autocast, ("bfloat16", "float16"))
    return dtype


def _check_recorded(taps: Taps, chosen: Selection, sink: Memory | Folder | Streaming) -> None:
    """Raise if a layer that was asked for is not there; note the others."""
    recorded = {layer for layer, *_ in sink.tallies}
    for name in chosen.layers:
        if name not in taps.fired:
            taps.skipped[name] = (
                f"layer {name!r} never ran: the model's forward does not call it (its weights may be used directly). "
                "Leave it out of layers=, or record the module around it."
            )
    for names in chosen.required or (tuple(chosen.layers),):
        if not recorded.intersection(names):
            more = f" The other {len(names) - 1} layers failed too." if len(names) > 1 else ""
            raise ValueError(taps.skipped[names[0]] + more)
    for (layer, call, reduce), tally in sink.tallies.items():
        if not tally.n_rows:
            name = sink.name((layer, call, reduce))
            raise NotFiniteError(
                f"every row of layer {name!r} under {reduce!r} has NaN or infinite values", "Nothing is left to keep."
            )
