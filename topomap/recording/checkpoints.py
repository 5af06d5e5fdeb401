"""A training from the checkpoints that it left."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from torch import nn
from tqdm.auto import tqdm

from topomap._check import instance_of, listing, same_length
from topomap.recording.recorder import By
from topomap.recording.selection import Selector
from topomap.recording.training import N_FEATURES, TrainingRecorder
from topomap.recording.weights import NAMES, fill, read_weights
from topomap.run import Run

#: Files in a folder of checkpoints that may hold weights.
_KINDS = (".pt", ".pth", ".ckpt", ".bin", ".safetensors")

_NAMED = re.compile(r"(?:global_?step|steps?|iteration|iter|it)[-_=.]?(\d+)", re.IGNORECASE)
_NUMBER = re.compile(r"\d+")
_SHARD = re.compile(r"-\d{5}-of-\d{5}$")


def record_checkpoints(
    build_model: Callable[[], nn.Module],
    paths: str | PathLike[str] | Iterable[str | PathLike[str]],
    loader: Any,
    layers: Selector | Sequence[Selector] | None = None,
    *,
    steps: Sequence[int] | None = None,
    metrics: Mapping[str, ArrayLike] | None = None,
    by: By | None = None,
    reduce: str | Sequence[str] = "mean",
    keep: Literal["moments", "values", "sparse"] = "moments",
    to: str | PathLike[str] | None = None,
    n_features: int = N_FEATURES,
    seed: int = 0,
    overwrite: bool = False,
    progress: bool = True,
    **options: Any,
) -> Run:
    """Record a training from its saved checkpoints, one snapshot each.

    The weights are loaded one after another into one model, and have to fit it exactly. Nothing is unpickled.

    Parameters
    ----------
    build_model
        Called once, without arguments: returns a module.
    paths
        Checkpoints, or a folder of them: files of a state dict that ``torch.save`` wrote (``weights_only=True``, a
        ``"state_dict"`` among other things too), ``.safetensors``, the ``index.json`` of weights in several files, or
        folders that hold one of these (``checkpoint-500``).
    loader, layers, by, reduce, keep, n_features, seed, **options
        As in `TrainingRecorder`.
    steps
        One step per checkpoint. By default it is read from the names: the number after ``step`` or ``iter``, else the
        last number of the name (``epoch=3-step=500.ckpt``, ``checkpoint-500``, ``weights_0500.safetensors``).
    metrics
        What was measured: one value per checkpoint, in the order of `paths`.
    to
        A run folder to make; a recording of these checkpoints that was cut short is gone on with.
    overwrite
        Begin anew where there is a run at `to`.
    progress
        Show a progress bar, if there is a terminal.

    Returns
    -------
    Run
        A training with a snapshot per checkpoint, in order of steps.

    Raises
    ------
    ValueError
        If a step cannot be read from a name or is there twice, weights do not fit the model, or a file holds anything
        but weights; and as in `TrainingRecorder`.
    FileNotFoundError
        If there is no such file.

    Warns
    -----
    TopomapWarning
        At the first checkpoint of which activations are NaN or infinite: such ones have no snapshot, and
        ``run.diverged`` names their steps.

    Examples
    --------
    >>> import tempfile, torch
    >>> from pathlib import Path
    >>> import topomap as tm
    >>> build = lambda: torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
    >>> data = torch.randn(20, 4), torch.arange(20) % 2
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for step in (100, 20):
    ...         torch.save(build().state_dict(), Path(folder) / f"step-{step}.pt")
    ...     run = tm.record_checkpoints(build, folder, data, "1")
    >>> run.steps, run["1"]
    ((20, 100), Moments(1: 20 rows x 3 neurons, ...))
    """
    if isinstance(build_model, nn.Module) or not callable(build_model):
        what = type(build_model).__name__
        raise ValueError(f"build_model must be a function that makes the model, lambda: Net(); got {what}.")
    found = _checkpoints(paths)
    numbers = [_step_of(path) for path in found] if steps is None else [int(step) for step in steps]
    same_length("steps", len(numbers), "checkpoint", len(found))
    _check_steps(numbers, found)
    columns = {name: np.asarray(values, dtype=np.float64).ravel().tolist() for name, values in (metrics or {}).items()}
    for name, values in columns.items():
        same_length(f"metric {name!r}", len(values), "checkpoint", len(found))
    model = build_model()
    instance_of("what build_model returns", model, nn.Module, "Give a function that makes the model: lambda: Net().")
    recorder = TrainingRecorder(
        model,
        loader,
        layers,
        by=by,
        reduce=reduce,
        keep=keep,
        to=to,
        n_features=n_features,
        seed=seed,
        overwrite=overwrite,
        **options,
    )
    order = sorted(range(len(found)), key=numbers.__getitem__)
    done = recorder.steps[-1] if recorder.steps else -1
    show = None if progress else True
    with recorder, tqdm(order, desc="checkpoints", unit="checkpoint", disable=show, leave=False) as bar:
        for i in bar:
            if numbers[i] <= done:
                continue
            fill(model, read_weights(found[i]), found[i])
            recorder.snapshot(numbers[i], **{name: values[i] for name, values in columns.items()})
    return recorder.run


def _checkpoints(paths: str | PathLike[str] | Iterable[str | PathLike[str]]) -> list[Path]:
    """Return the files and folders of checkpoints."""
    if not isinstance(paths, (str, PathLike)):
        found = [Path(path).expanduser() for path in paths]
        if not found:
            raise ValueError("paths must name at least one checkpoint; got none.")
        return found
    folder = Path(paths).expanduser()
    if not folder.is_dir():
        return [folder]
    found = [
        path
        for path in sorted(folder.iterdir())
        if (path.suffix in _KINDS and path.is_file() and not _SHARD.search(path.stem))
        or path.name.endswith((".safetensors.index.json", ".bin.index.json"))
        or (path.is_dir() and _NUMBER.search(path.name) and _has_weights(path))
    ]
    # a folder that is one checkpoint: its optimizer and scheduler are no weights of the model
    if _has_weights(folder) and not any(path.is_dir() for path in found):
        return [folder]
    if not found:
        raise ValueError(f"the folder {folder} holds no checkpoints: expected files that end in {listing(_KINDS)}.")
    return found


def _has_weights(folder: Path) -> bool:
    return any((folder / name).is_file() for name in NAMES)


def _step_of(path: Path) -> int:
    """Return the step that a name tells.

    Examples
    --------
    >>> [_step_of(Path(name)) for name in ("epoch=3-step=500.ckpt", "checkpoint-70", "net2_0090.pt")]
    [500, 70, 90]
    """
    name = path.name if path.is_dir() or path.suffix[1:].isdigit() else path.name.split(".safetensors")[0]
    name = name.rsplit(".", 1)[0] if Path(name).suffix in (*_KINDS, ".json") else name
    named, numbers = _NAMED.findall(name), _NUMBER.findall(name)
    if not numbers:
        if not path.exists():
            raise FileNotFoundError(f"expected a checkpoint: there is no file or folder {path}.")
        raise ValueError(f"the name of {path} tells no step: give steps=, one per checkpoint.")
    return int((named or numbers)[-1])


def _check_steps(steps: Sequence[int], paths: Sequence[Path]) -> None:
    known: dict[int, Path] = {}
    for step, path in zip(steps, paths, strict=True):
        if step < 0:
            raise ValueError(f"steps must be at least 0; got {step} for {path}.")
        if step in known:
            raise ValueError(f"{known[step]} and {path} both are of step {step}: give steps=, one per checkpoint.")
        known[step] = path
