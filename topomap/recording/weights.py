"""Weights from files, without unpickling anything, into a model that they fit exactly."""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from topomap._check import listing

#: How many names of missing or unexpected weights an error lists.
MOST = 5

#: Files that hold the weights in the folder of a checkpoint, the first that is there.
NAMES = (
    *("model.safetensors.index.json", "model.safetensors", "pytorch_model.bin.index.json", "pytorch_model.bin"),
    *("model.pt", "weights.pt"),
)

#: Where a checkpoint that holds more than weights may have them.
_INSIDE = ("state_dict", "model_state_dict", "model")


def read_weights(path: Path) -> dict[str, Any]:
    """Read a state dict; a file that would have to be unpickled is refused.

    Parameters
    ----------
    path
        ``.safetensors``, or anything that ``torch.save(model.state_dict(), path)`` wrote; the ``index.json`` of weights
        in several files; or a folder that holds one of these under a usual name (``checkpoint-500``). A checkpoint
        that holds a ``"state_dict"``, ``"model_state_dict"`` or ``"model"`` beside other things is taken apart;
        prefixes of data-parallel and compiled models come off.

    Returns
    -------
    dict
        Tensors by name, on the CPU.

    Raises
    ------
    ValueError
        If it is something else.
    FileNotFoundError
        If there is no such file.
    """
    if path.is_dir():
        found = next((path / name for name in NAMES if (path / name).is_file()), None)
        if found is None:
            raise ValueError(f"the folder {path} holds no weights: expected one of {listing(NAMES)}.")
        return read_weights(found)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path} with weights.")
    state = _sharded(path) if path.suffix == ".json" else _whole(path)
    for prefix in ("module.", "_orig_mod."):
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def _sharded(path: Path) -> dict[str, Any]:
    """Read the weights that an index names, file by file."""
    try:
        places = json.loads(path.read_text(encoding="utf-8"))["weight_map"]
        files = sorted({str(name) for name in places.values()})
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not the index of weights in several files: it has no weight_map.") from error
    state: dict[str, Any] = {}
    for name in files:
        if Path(name).name != name:
            raise ValueError(f"{path} names {name!r}, which is not a file beside it.")
        if not (path.parent / name).is_file():
            raise ValueError(f"{path} names {name}, which is not there: the checkpoint is not whole.")
        state.update(_whole(path.parent / name))
    lost = [name for name in places if name not in state]
    if lost:
        raise ValueError(f"{path} names weights that its files do not hold: {listing(lost, MOST)}.")
    return state


def _whole(path: Path) -> dict[str, Any]:
    """Read the weights of one file."""
    if path.suffix == ".safetensors":
        try:
            return dict(load_file(path))
        except SafetensorError as error:
            raise ValueError(f"{path} is not a safetensors file: {error}.") from error
    way_out = "save its weights with torch.save(model.state_dict(), path) or safetensors.torch.save_model"
    with path.open("rb") as file:
        start = file.read(2)
    if start != b"PK" and start[:1] != b"\x80":  # a zip archive, or a pickle as torch wrote before 1.6
        raise ValueError(f"{path} cannot be read as a state dict: torch.save did not write it.")
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"{path} holds more than tensors (a pickled model?), and unpickling could run any code: {way_out}."
        ) from error
    except (RuntimeError, EOFError, LookupError, BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else "it ends too early"
        raise ValueError(f"{path} cannot be read as a state dict: {reason.rstrip('.')}.") from error
    if isinstance(found, Mapping):
        found = next((found[name] for name in _INSIDE if isinstance(found.get(name), Mapping)), found)
    if not isinstance(found, Mapping) or not any(torch.is_tensor(value) for value in found.values()):
        raise ValueError(f"{path} holds a {type(found).__name__} that is not a state dict: {way_out}.")
    return {str(name): value for name, value in found.items()}


def fill(model: nn.Module, state: Mapping[str, Any], path: Path) -> None:
    """Load a state dict that must fit exactly; of weights that are one tensor under several names, one will do.

    Parameters
    ----------
    model
        What it is loaded into.
    state
        Tensors by name.
    path
        Where they came from, in errors.

    Raises
    ------
    ValueError
        If names are missing or unexpected, or shapes differ; the model is then as it was.
    """
    own = model.state_dict()
    # names first: load_state_dict reports a mismatch in many lines, after it has changed the model
    there = {_place(own[name]) for name in own if name in state}
    missing = [name for name in own if name not in state and _place(own[name]) not in there]
    extra = [name for name in state if name not in own]
    if missing or extra:
        parts = [
            f"{len(names)} {kind} ({listing(names, MOST)})"
            for kind, names in (("missing", missing), ("unexpected", extra))
            if names
        ]
        raise ValueError(f"the weights in {path} are not this model's: {'; '.join(parts)}.")
    wrong = [
        f"{name} is {tuple(state[name].shape)}, expected {tuple(own[name].shape)}"
        for name in own
        if name in state and torch.is_tensor(own[name]) and state[name].shape != own[name].shape
    ]
    if wrong:
        more = f" and {len(wrong) - MOST} more" if len(wrong) > MOST else ""
        raise ValueError(f"the weights in {path} are not this model's: {'; '.join(wrong[:MOST])}{more}.")
    model.load_state_dict(state, strict=False)


def _place(value: Any) -> Any:
    """Return where a tensor lies, the same for two that are one."""
    if not torch.is_tensor(value) or not value.numel():
        return object()
    return value.device, value.data_ptr(), value.shape, value.stride()
