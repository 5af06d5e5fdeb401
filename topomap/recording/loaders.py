"""Where batches come from: loaders, data sets, bare arrays; and what they tell about their inputs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import BatchSampler, DataLoader, Dataset, IterableDataset, SequentialSampler, Subset

from topomap._check import listing, same_length, warn

#: Inputs per batch where whole arrays are given instead of a loader.
BATCH_SIZE = 256


@dataclass(frozen=True)
class Source:
    """Where inputs come from.

    Parameters
    ----------
    batches
        Batches of them.
    total
        How many there are, where that is known.
    index
        The position of each in the data set, where the sampler tells that in advance.
    classes
        Names of the data set's classes.
    columns
        Those of the data set, in the order of loading.
    sampler
        Class of a sampler whose order is not known in advance.
    about
        Classes of loader, data set and sampler, and the size of a batch, for the provenance.
    """

    batches: Iterable[Any]
    total: int | None = None
    index: NDArray[np.int64] | None = None
    classes: tuple[str, ...] | None = None
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    sampler: str | None = None
    about: Mapping[str, Any] = field(default_factory=dict)


def open_loader(loader: Any) -> Source:
    """Make batches of a DataLoader, an iterable of batches, a map-style data set, or whole arrays.

    Arrays are a tensor or NumPy array, a dictionary of them, or a tuple ``(x, y, ...)`` of equal length. A list holds
    batches, and so does a tuple of the consecutive pieces of one tensor, as ``x.split(...)`` gives it.

    What was opened already is returned as it is.

    Raises
    ------
    ValueError
        If `loader` is nothing to iterate over, or a tuple ``(x, y)`` of different lengths.

    Examples
    --------
    >>> import torch
    >>> source = open_loader((torch.zeros(300, 4), torch.zeros(300)))
    >>> [len(x) for x, y in source.batches], source.total
    ([256, 44], 300)
    """
    if isinstance(loader, Source):
        return loader
    if isinstance(loader, (torch.Tensor, np.ndarray)) or _is_table(loader):
        return _from_arrays(loader)
    if isinstance(loader, Dataset) and not isinstance(loader, IterableDataset):
        loader = DataLoader(loader, batch_size=BATCH_SIZE // 4)
    if isinstance(loader, DataLoader):
        return _from_loader(loader)
    if isinstance(loader, str) or not isinstance(loader, Iterable):
        raise ValueError(
            f"loader must be a DataLoader, an iterable of batches or an array of inputs; got {type(loader).__name__}."
        )
    return Source(loader, about={"class": type(loader).__name__})


def _is_table(loader: Any) -> bool:
    """Return whether this is ``(x, y, ...)`` or a dictionary of whole arrays, not an iterable of batches."""
    if isinstance(loader, Mapping):
        return True
    if not isinstance(loader, tuple) or len(loader) < 2 or not _is_array(loader[0]) or not loader[0].shape:
        return False
    if not all(isinstance(part, (list, tuple)) or (_is_array(part) and len(part.shape)) for part in loader):
        return False
    if len({len(part) for part in loader}) == 1:
        return not _is_split(loader)
    for part in loader[1:]:  # batches of different lengths have the same axes, at least
        if not _is_array(part) or len(part.shape) != len(loader[0].shape):
            same_length("every array of a tuple (x, y, ...) given as loader", len(part), "input", len(loader[0]))
    return False


def _is_split(parts: tuple[Any, ...]) -> bool:
    """Return whether tensors are consecutive rows of one tensor."""
    first = parts[0]
    if not all(isinstance(part, torch.Tensor) and part.layout is torch.strided for part in parts):
        return False
    step = len(first) * first.stride(0) * first.element_size()
    start = first.data_ptr()
    return step > 0 and all(
        part.dtype == first.dtype
        and part.shape == first.shape
        and part.stride() == first.stride()
        and part.untyped_storage().data_ptr() == first.untyped_storage().data_ptr()
        and part.data_ptr() == start + i * step
        for i, part in enumerate(parts)
    )


def _is_array(value: Any) -> bool:
    return isinstance(value, (torch.Tensor, np.ndarray))


def _from_arrays(data: Any) -> Source:
    first = data
    if isinstance(data, Mapping):
        first = next((value for value in data.values() if _is_array(value)), None)
        if first is None:
            raise ValueError("a dictionary given as loader must hold arrays of inputs; it has none.")
    elif isinstance(data, tuple):
        first = data[0]
    if not first.shape:
        raise ValueError("loader is a single number, not inputs.")
    n = int(first.shape[0])

    def cut(part: slice) -> Any:
        if isinstance(data, Mapping):
            return {key: value[part] if _has_length(value, n) else value for key, value in data.items()}
        return tuple(column[part] for column in data) if isinstance(data, tuple) else data[part]

    class Parts:
        def __iter__(self) -> Iterator[Any]:
            return (cut(slice(start, start + BATCH_SIZE)) for start in range(0, n, BATCH_SIZE))

    return Source(Parts(), n, np.arange(n), about={"class": type(data).__name__, "batch_size": BATCH_SIZE})


def _has_length(value: Any, n: int) -> bool:
    return (_is_array(value) and value.ndim > 0 and len(value) == n) or (
        isinstance(value, (list, tuple)) and len(value) == n
    )


def _from_loader(loader: DataLoader[Any]) -> Source:
    dataset, index = loader.dataset, _sampled(loader)
    sampler: Any = loader.sampler if loader.batch_sampler is None else loader.batch_sampler
    sampler = sampler.sampler if type(sampler) is BatchSampler else sampler
    total = None if index is None else len(index)
    if total is None and not isinstance(dataset, IterableDataset) and type(loader.batch_sampler) is BatchSampler:
        total = len(sampler)
    if total is not None and loader.drop_last and loader.batch_size:
        total -= total % loader.batch_size
    about: dict[str, Any] = {
        "class": type(loader).__name__,
        "dataset": type(dataset).__name__,
        "batch_size": _batch_size(loader),
    }
    unknown = None
    if not isinstance(dataset, IterableDataset):
        about["sampler"] = name = type(sampler).__name__
        known = index is not None or type(sampler) is SequentialSampler
        unknown = None if known else name
    while isinstance(dataset, Subset):
        if index is not None:
            index = np.asarray(dataset.indices, dtype=np.int64)[index]
        dataset = dataset.dataset
    classes = getattr(dataset, "classes", None)
    names = tuple(map(str, classes)) if isinstance(classes, (list, tuple)) else None
    return Source(loader, total, index, names, _columns(dataset, index, unknown), unknown, about)


def _columns(dataset: Any, index: NDArray[np.int64] | None, sampler: str | None) -> dict[str, NDArray[Any]]:
    """Return the columns that a data set holds besides its inputs, in the order of loading."""
    held = getattr(dataset, "columns", None)
    if not isinstance(held, Mapping) or not held or isinstance(dataset, IterableDataset):
        return {}
    columns = {str(name): np.asarray(values) for name, values in held.items()}
    if any(column.ndim != 1 or len(column) != len(dataset) for column in columns.values()):
        return {}
    if index is None:
        warn(
            f"the data set has the columns {listing(columns)}, which are left out: the loader's "
            f"{sampler or 'sampler'} draws the inputs as it goes. Use a loader with shuffle=False."
        )
        return {}
    return {name: column[index] for name, column in columns.items()}


def _batch_size(loader: DataLoader[Any]) -> int | None:
    size = loader.batch_size if loader.batch_size is not None else getattr(loader.batch_sampler, "batch_size", None)
    return size if isinstance(size, int) else None


def _sampled(loader: DataLoader[Any]) -> NDArray[np.int64] | None:
    """Return the positions in the data set in the order of loading, where the sampler tells them in advance."""
    if isinstance(loader.dataset, IterableDataset):
        return None
    batches: Any = loader.batch_sampler
    if isinstance(batches, (list, tuple)):
        return np.concatenate([np.asarray(batch, dtype=np.int64) for batch in batches]) if batches else None
    # with batch_size=None the loader has no batch sampler and every item of the data set is a batch of its own
    if type(batches) is not BatchSampler:
        return None
    sampler: Any = batches.sampler
    if type(sampler) is SequentialSampler:
        return np.arange(len(sampler))
    if isinstance(sampler, (list, tuple, range, np.ndarray, torch.Tensor)):
        return np.asarray(sampler, dtype=np.int64)
    return None


@contextmanager
def generators_restored(loader: Any) -> Iterator[None]:
    """Put the random generators that a loader and its samplers own back as they were."""
    states = [(generator, generator.get_state()) for generator in _generators(loader)]
    try:
        yield
    finally:
        for generator, state in states:
            generator.set_state(state)


def _generators(loader: Any) -> list[torch.Generator]:
    """Return the generators of a loader, its samplers, and the samplers that these draw from."""
    found: dict[int, torch.Generator] = {}
    seen: set[int] = set()
    owners = [loader]
    while owners:
        owner = owners.pop()
        if owner is None or id(owner) in seen:
            continue
        seen.add(id(owner))
        generator = getattr(owner, "generator", None)
        if isinstance(generator, torch.Generator):
            found[id(generator)] = generator
        owners += [getattr(owner, name, None) for name in ("sampler", "batch_sampler")]
    return list(found.values())
