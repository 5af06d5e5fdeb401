"""From text on the command line to a model and its data."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from topomap._check import did_you_mean, listing

if TYPE_CHECKING:
    from torch import nn


def find(spec: str, what: str) -> Any:
    """Return what ``package.module:name`` names; the working directory counts as importable.

    Parameters
    ----------
    spec
        Module and name, separated by a colon.
    what
        What it is for, in errors.

    Raises
    ------
    ValueError
        If it is not of that form, or there is no such module or name.

    Examples
    --------
    >>> find("topomap.datasets:digits", "data").__name__
    'digits'
    """
    module_name, colon, name = spec.partition(":")
    if not (colon and module_name and name):
        raise ValueError(f"{what} must be package.module:factory; got {spec!r}.")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not (module_name == error.name or module_name.startswith(error.name + ".")):
            raise ValueError(f"{what} {spec!r}: {module_name} imports {error.name!r}, which is not there.") from error
        raise ValueError(
            f"{what} {spec!r}: there is no module {error.name!r} in {Path.cwd()} or among the installed packages."
        ) from error
    except Exception as error:  # the user's own code can raise anything; --debug shows where
        raise _raised(error, spec, what) from error
    found: Any = module
    for part in name.split("."):
        if not hasattr(found, part):
            public = [each for each in vars(module) if not each.startswith("_")]
            raise ValueError(f"{what} {spec!r}: {module_name} has no {part!r}.{did_you_mean(part, public)}")
        found = getattr(found, part)
    return found


def _call(factory: Any, spec: str, what: str) -> Any:
    """Call a factory that needs no arguments."""
    parameters: list[inspect.Parameter] = []
    with suppress(ValueError):  # some builtins tell no signature
        parameters = list(inspect.signature(factory).parameters.values())
    fixed = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    needed = [p.name for p in parameters if p.default is p.empty and p.kind not in fixed]
    if needed:
        raise ValueError(
            f"{what} {spec!r} needs {listing(needed)}: give a factory that can be called without arguments."
        )
    try:
        return factory()
    except Exception as error:  # the user's own code can raise anything; --debug shows where
        raise _raised(error, spec, what) from error


def _raised(error: Exception, spec: str, what: str) -> ValueError:
    name, text = type(error).__name__, str(error)
    return ValueError(f"{what} {spec!r} raised {name}{f': {text}' if text else ''} (--debug shows where).")


def load_model(spec: str, weights: Path | None = None) -> nn.Module:
    """Make the model that ``package.module:factory`` names and load its weights.

    Parameters
    ----------
    spec
        A callable without required arguments that returns a module, or a module.
    weights
        A state dict, ``.safetensors`` or written by ``torch.save``; never unpickled.

    Raises
    ------
    ValueError
        If there is no such model, or the weights are not a state dict or not of this model.
    FileNotFoundError
        If there is no such file of weights.

    Examples
    --------
    >>> load_model("torch.nn:Identity")
    Identity()
    """
    from torch import nn

    if weights is not None and not weights.is_file():
        raise FileNotFoundError(f"there is no file {weights} with weights.")
    found = find(spec, "the model")
    model = found if isinstance(found, nn.Module) else _call(found, spec, "the model") if callable(found) else found
    if not isinstance(model, nn.Module):
        raise ValueError(f"the model {spec!r} must be or return a torch.nn.Module; got {type(model).__name__}.")
    if weights is not None:
        from topomap.recording.weights import fill, read_weights

        fill(model, read_weights(weights), weights)
    return model


def load_data(
    spec: str,
    *,
    batch_size: int = 256,
    size: Sequence[int] | None = None,
    channels: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Any:
    """Find the data that a text names: an image folder, a ``.npz`` file, or ``package.module:factory``.

    Parameters
    ----------
    spec
        What it is decides how it is read.
    batch_size
        Inputs per batch, where the factory returns no loader.
    size, channels
        Of an image folder's pictures: one number or height and width; 1 or 3.
    mean, std
        Of an image folder's or archive's inputs, as in `topomap.datasets.image_folder`.

    Returns
    -------
    iterable
        What gives the batches.

    Raises
    ------
    ValueError
        If it is none of these, or a parameter does not apply to it.
    FileNotFoundError
        If it looks like a path and nothing is there.

    Examples
    --------
    >>> len(load_data("topomap.datasets:digits", batch_size=100))
    18
    """
    from topomap import datasets

    path = Path(spec)
    given = [name for name, value in (("size", size), ("channels", channels)) if value is not None]
    if path.is_dir():
        if size is not None and len(size) not in (1, 2):
            raise ValueError(f"size must be one number, or height and width; got {len(size)} numbers.")
        side = None if size is None else size[0] if len(size) == 1 else (size[0], size[1])
        pictures = datasets.image_folder(path, size=side, channels=channels or 3, mean=mean, std=std)
        return datasets.loader(pictures, batch_size)
    if path.suffix == ".npz":
        if given:
            raise ValueError(f"{given[0]} is for image folders; {path} is a .npz file.")
        return datasets.loader(datasets.npz(path, mean=mean, std=std), batch_size)
    forms = "an image folder, a .npz file, or package.module:factory"
    if path.exists():
        raise ValueError(f"data must be {forms}; {path} is another kind of file.")
    if ":" not in spec:
        raise FileNotFoundError(f"there is no {spec!r}; data must be {forms}.")
    given += [name for name, value in (("mean", mean), ("std", std)) if value is not None]
    if given:
        raise ValueError(f"{given[0]} does not apply to a factory: let {spec} return inputs as the model takes them.")
    found = find(spec, "data")
    made = _call(found, spec, "data") if callable(found) else found
    return _as_loader(made, spec, batch_size)


def _as_loader(made: Any, spec: str, batch_size: int) -> Any:
    """Batch a data set; take a loader or another iterable of batches as it is."""
    import numpy as np
    import torch
    from torch.utils.data import DataLoader, IterableDataset

    from topomap.datasets import loader

    if isinstance(made, DataLoader):
        return made
    if isinstance(made, IterableDataset):
        return DataLoader(made, batch_size=batch_size)
    whole = isinstance(made, list | tuple | Mapping | np.ndarray | torch.Tensor)  # of arrays or batches
    if hasattr(made, "__getitem__") and hasattr(made, "__len__") and not whole:
        return loader(made, batch_size)
    if not hasattr(made, "__iter__"):
        raise ValueError(
            f"data {spec!r} must return a DataLoader, a Dataset or an iterable; got {type(made).__name__}."
        )
    return made
