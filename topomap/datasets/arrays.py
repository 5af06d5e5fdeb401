"""Inputs that lie in an array, and the loader over any data set."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topomap._check import listing, same_length, whole_number

if TYPE_CHECKING:
    from torch.utils.data import DataLoader


@dataclass(frozen=True, eq=False)
class ArrayData:
    """Inputs that lie in one array.

    Parameters
    ----------
    x
        One input per row, shape ``(n_inputs, ...)``.
    y
        One label per input, or None.
    columns
        Further columns of length ``n_inputs``.
    classes
        Names of the integer codes in ``y``.
    scale
        What an input is multiplied by when it is read; bytes stay bytes until then.
    mean, std
        Subtracted and divided by after scaling: one number, or one per channel (the first axis of an input).

    Raises
    ------
    ValueError
        Where lengths disagree.

    Examples
    --------
    >>> data = ArrayData(np.array([[0, 4], [2, 4]], dtype=np.uint8), y=np.array([1, 0]), scale=0.25)
    >>> len(data)
    2
    >>> data[1]
    (array([0.5, 1. ], dtype=float32), 0)
    """

    x: NDArray[Any]
    y: NDArray[Any] | None = None
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    scale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    def __post_init__(self) -> None:
        if self.x.ndim < 1:
            raise ValueError(f"x must have one row per input; got an array of shape {self.x.shape}.")
        if self.y is not None:
            same_length("y", len(self.y), "input", len(self))
        for name, values in self.columns.items():
            same_length(f"column {name!r}", len(values), "input", len(self))

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Any:
        x = self.x[index]
        if self.scale is not None:
            x = np.asarray(x, dtype=np.float32) * np.float32(self.scale)
        x = standardise(x, self.mean, self.std)
        return x if self.y is None else (x, self.y[index].item())

    def take(self, index: ArrayLike) -> ArrayData:
        """Return the inputs at these positions, in this order."""
        at = np.asarray(index)
        columns = {name: values[at] for name, values in self.columns.items()}
        return replace(self, x=self.x[at], y=None if self.y is None else self.y[at], columns=columns)


def npz(path: str | Path, *, mean: Sequence[float] | None = None, std: Sequence[float] | None = None) -> ArrayData:
    """Load a NumPy archive: ``x`` with one input per row, ``y`` with labels, other 1-D arrays as columns.

    ``x`` reaches the model as it is stored, with two exceptions: bytes (uint8) are scaled to [0, 1], and float64
    becomes float32. A 1-D array ``classes`` of text names the codes in ``y``. Nothing is unpickled.

    Parameters
    ----------
    path
        The ``.npz`` file.
    mean, std
        Subtracted and divided by: one number, or one per channel (the first axis of an input).

    Returns
    -------
    ArrayData
        What the archive holds.

    Raises
    ------
    ValueError
        If the archive cannot be read, holds Python objects or no ``x``, or lengths disagree.
    FileNotFoundError
        If there is no such file.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     np.savez(Path(folder, "tiny.npz"), x=np.eye(3), y=[0, 1, 0], age=[30, 40, 50])
    ...     data = npz(Path(folder, "tiny.npz"))
    >>> data[0], list(data.columns)
    ((array([1., 0., 0.], dtype=float32), 0), ['age'])
    """
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise ValueError("it holds a single array")
        with archive:
            arrays = {name: archive[name] for name in archive.files}
    except (ValueError, BadZipFile, EOFError) as error:
        raise ValueError(
            f"{path} cannot be read: {str(error).rstrip('.')}. Expected a .npz archive made by numpy.savez, with x, "
            "y and no Python objects."
        ) from error
    if "x" not in arrays:
        raise ValueError(f"{path} has no array 'x', the inputs; it has {listing(arrays) or 'nothing'}.")
    x = arrays.pop("x")
    y = arrays.pop("y", None)
    classes = arrays.pop("classes", None)
    if x.ndim < 2:
        raise ValueError(f"{path}: x must have at least two axes, inputs first; got shape {x.shape}.")
    if x.dtype.kind not in "biuf":
        raise ValueError(f"{path}: x must hold numbers; got type {x.dtype}.")
    if y is not None and y.ndim != 1:
        raise ValueError(f"{path}: y must be 1-D, one label per input; got shape {y.shape}.")
    others = [name for name, values in arrays.items() if values.ndim != 1]
    if others:
        raise ValueError(f"{path}: metadata must be 1-D, one entry per input; {listing(others)} is not.")
    channels = x.shape[1]
    try:
        return ArrayData(
            x.astype(np.float32 if x.dtype == np.float64 else x.dtype.newbyteorder("=")),
            y,
            arrays,
            None if classes is None else tuple(str(name) for name in classes),
            scale=1 / 255 if x.dtype == np.uint8 else None,
            mean=per_channel("mean", mean, channels),
            std=per_channel("std", std, channels),
        )
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from error


def loader(data: Any, batch_size: int = 256, *, collate: Callable[[list[Any]], Any] | None = None) -> DataLoader[Any]:
    """Make a `torch.utils.data.DataLoader` that keeps the order.

    Parameters
    ----------
    data
        Anything with a length and ``data[i]``.
    batch_size
        Inputs per batch.
    collate
        Joins items to a batch; torch's own by default.

    Returns
    -------
    torch.utils.data.DataLoader
        Over all inputs, in their order.

    Raises
    ------
    ValueError
        If there is no input, or the batch size is below 1.

    Examples
    --------
    >>> x, y = next(iter(loader(ArrayData(np.eye(3), y=np.arange(3)), batch_size=2)))
    >>> x.shape, y.dtype
    (torch.Size([2, 3]), torch.int64)
    """
    from torch.utils.data import DataLoader

    whole_number("batch_size", batch_size, 1)
    if len(data) == 0:
        raise ValueError("the data set holds no input.")
    return DataLoader(data, batch_size=batch_size, shuffle=False, collate_fn=collate)


def standardise(x: Any, mean: tuple[float, ...] | None, std: tuple[float, ...] | None) -> Any:
    """Subtract and divide, each given as one number or one per channel (the first axis)."""
    for values, operation in ((mean, np.subtract), (std, np.divide)):
        if values is not None:
            per_channel = np.asarray(values, dtype=np.float32)
            x = operation(x, per_channel.reshape(-1, *[1] * (np.ndim(x) - 1)), dtype=np.float32)
    return x


def per_channel(name: str, values: Sequence[float] | None, channels: int) -> tuple[float, ...] | None:
    """Check one number or one per channel."""
    if values is None:
        return None
    if len(values) not in (1, channels):
        raise ValueError(f"{name} must be one number or one per channel ({channels}); got {len(values)}.")
    if name == "std" and not all(value > 0 for value in values):
        raise ValueError(f"std must be above 0; got {tuple(values)}.")
    return tuple(float(value) for value in values)
