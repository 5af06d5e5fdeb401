"""What an array is in a run folder: numbers as they are, text as strings, mixed objects as JSON, times as int64."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def encode(values: ArrayLike, what: str) -> tuple[NDArray[Any], str]:
    """Return the array to store, with text as strings, mixed objects as JSON, times as int64, and the dtype it had.

    Raises
    ------
    ValueError
        If the values are of a kind that cannot be stored without pickling them.
    """
    array = np.asarray(values)
    kind = array.dtype.kind
    if kind in "biufc" and array.dtype.itemsize <= (16 if kind == "c" else 8):
        native = array.dtype.newbyteorder("=")
        return np.asarray(array, dtype=native), native.name
    if kind in "mM":
        return array.astype(array.dtype.newbyteorder("=")).view(np.int64), array.dtype.newbyteorder("=").str
    if kind == "S":
        return _text(np.char.decode(array, "latin-1"), what), array.dtype.str
    if kind == "U":
        return _text(array, what), array.dtype.newbyteorder("=").str
    if kind in "OT":
        items = array.ravel().tolist()
        if all(type(item) is str for item in items):
            return _text(array, what), "object" if kind == "O" else "string"
        items = [item.item() if isinstance(item, np.generic) else item for item in items]
        odd = {type(item).__name__ for item in items if not isinstance(item, str | int | float | bool | None)}
        if not odd:
            coded = np.array([json.dumps(item) for item in items], dtype=object).reshape(array.shape)
            return _text(coded, what), "json"
        raise ValueError(f"{what} must hold numbers, text, booleans or None; got {', '.join(sorted(odd))}.")
    raise ValueError(f"{what} must hold numbers, text, booleans or times; got dtype {array.dtype}.")


def _text(array: NDArray[Any], what: str) -> NDArray[Any]:
    try:
        return np.asarray(array, dtype=np.dtypes.StringDType())
    except (UnicodeEncodeError, TypeError) as error:
        raise ValueError(f"{what} has text that is not valid Unicode: {error}.") from error


def decode(stored: NDArray[Any], dtype: str) -> NDArray[Any]:
    """Undo `encode`."""
    if dtype == "string":
        return np.asarray(stored, dtype=np.dtypes.StringDType())
    if dtype == "json":
        decoded = np.empty(stored.size, dtype=object)
        decoded[:] = [json.loads(item) for item in stored.ravel().tolist()]
        return decoded.reshape(stored.shape)
    if dtype == "object":
        return np.array(stored, dtype=object)
    if dtype[1:2] == "S":
        return np.char.encode(stored.astype(f"U{max(int(dtype[2:]), 1)}"), "latin-1").astype(dtype)
    if dtype[1:2] in "mM":
        return stored.astype(np.int64).view(dtype)
    return stored.astype(dtype)
