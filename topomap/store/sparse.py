"""Sparse values on disk: what of each row is not zero, one row after another, read where it is used."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from topomap._check import same_length
from topomap.store.arrays import Entry, StoredArray, damaged, read_array

#: The arrays of sparse values, with their dimensions: as in CSR, but for `count`, the differences of its pointers,
#: which can be written row by row.
SPARSE = {"data": ("entry",), "indices": ("entry",), "count": ("row",)}


def split(rows: csr_array) -> dict[str, NDArray[Any]]:
    """Return the arrays to store of rows in CSR."""
    return {
        "data": rows.data,
        "indices": rows.indices.astype(np.int32 if rows.shape[1] <= np.iinfo(np.int32).max else np.int64),
        "count": np.diff(rows.indptr).astype(np.int64),
    }


class StoredSparse:
    """Sparse values in a run folder, read where rows are picked: by an integer, a slice, a mask or positions.

    What is picked comes as a CSR array in float32 at least, as SciPy knows no float16; `dtype` is that on disk.

    Parameters
    ----------
    folder
        The folder of the layer.
    entries
        What the index says about its arrays.
    n_neurons
        Number of columns.
    """

    def __init__(self, folder: Path, entries: Mapping[str, Entry], n_neurons: int) -> None:
        self.folder = folder
        self.shape = (entries["count"].shape[0], n_neurons)
        self.nnz = entries["data"].shape[0]
        self.dtype = np.dtype(entries["data"].dtype)
        self._data = StoredArray(folder / "data", entries["data"])
        self._indices = StoredArray(folder / "indices", entries["indices"])
        self._count = entries["count"]

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return 2

    @cached_property
    def _pointers(self) -> NDArray[np.int64]:
        counts = read_array(self.folder / "count", self._count)
        pointers = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])
        if (counts < 0).any() or pointers[-1] != self.nnz:
            raise damaged(self.folder, f"the entries of its rows add up to {pointers[-1]}, not to {self.nnz}")
        return pointers

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> csr_array:
        rows, *rest = key if isinstance(key, tuple) else (key,)
        if isinstance(rows, slice) and rows.step in (None, 1):
            start, stop, _ = rows.indices(len(self))
            found = self._span(start, max(start, stop))
        else:
            found = self._take(self._index(rows))
        return found[(slice(None), *rest)] if rest else found

    def _index(self, rows: Any) -> NDArray[np.int64]:
        if isinstance(rows, slice):
            return np.arange(*rows.indices(len(self)))
        index = np.atleast_1d(np.asarray(rows))
        if index.dtype == bool:
            same_length("the mask", len(index), "row", len(self))
            return np.flatnonzero(index)
        index = index.astype(np.int64) if index.size == 0 else index
        if index.dtype.kind not in "iu" or index.ndim > 1:
            raise IndexError(f"rows are picked by an integer, a slice, a mask or a list of integers; got {rows!r}.")
        if index.size and not (-len(self) <= index.min() and index.max() < len(self)):
            raise IndexError(f"row {rows!r} is out of bounds for {len(self)} rows.")
        return np.where(index < 0, index + len(self), index).astype(np.int64)

    def _span(self, start: int, stop: int) -> csr_array:
        pointers = self._pointers[start : stop + 1]
        part = slice(int(pointers[0]), int(pointers[-1]))
        return self._join(self._data[part], self._indices[part], pointers - pointers[0])

    def _take(self, index: NDArray[np.int64]) -> csr_array:
        counts = np.diff(self._pointers)[index]
        pointers = np.concatenate([[0], np.cumsum(counts)])
        where = np.arange(pointers[-1]) + np.repeat(self._pointers[index] - pointers[:-1], counts)
        return self._join(self._data[where], self._indices[where], pointers)

    def _join(self, data: NDArray[Any], indices: NDArray[Any], pointers: NDArray[np.int64]) -> csr_array:
        if len(indices) and not (indices.min() >= 0 and indices.max() < self.shape[1]):
            raise damaged(self.folder, f"its entries name neurons beyond the {self.shape[1]} there are")
        wide = data.astype(np.float32) if data.dtype == np.float16 else data
        return csr_array((wide, indices, pointers), shape=(len(pointers) - 1, self.shape[1]))

    def __repr__(self) -> str:
        return f"StoredSparse({self.dtype} {self.shape}, {self.nnz} entries in {self.folder})"
