"""One array on disk: written in chunks with checksums, checked at a glance, read where it is used."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topomap._check import same_length
from topomap.store.chunks import read_chunk
from topomap.store.encoding import decode, encode

#: Size of a chunk in memory, about.
CHUNK_BYTES = 1 << 21

#: Chunks of more rows than this have a multiple of it, so that reading in blocks of rows never straddles two.
ALIGN_ROWS = 1024

#: What NumPy, Zarr and its codecs raise on files that are not what they should be.
_READING_ERRORS = (OSError, ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RuntimeError)

_CHUNK = re.compile(r"c(\.\d+)*")


@dataclass(frozen=True)
class Entry:
    """What the index says about one array: ``dtype`` is that in memory, ``size`` the bytes of its chunks."""

    dims: tuple[str, ...]
    shape: tuple[int, ...]
    dtype: str
    chunks: int
    size: int

    @property
    def stored(self) -> str:
        """The Zarr data type."""
        if self.dtype in ("object", "json", "string") or self.dtype[1:2] in "US":
            return "string"
        return "int64" if self.dtype[1:2] in "mM" else str(np.dtype(self.dtype))


def damaged(folder: Path, detail: str) -> ValueError:
    """Return the error for a folder that does not hold what its index says."""
    return ValueError(f"the run folder is damaged: {detail} ({folder}). Restore it from a copy, or make it again.")


@contextmanager
def reading(folder: Path) -> Iterator[None]:
    """Turn whatever goes wrong while files are read and decoded into one clear error."""
    try:
        yield
    except _READING_ERRORS as error:
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise damaged(folder, f"its files cannot be read: {reason[0]}") from error


class ArrayStream:
    """Writes one array chunk by chunk along its first axis, without knowing how long it will get.

    Parameters
    ----------
    folder
        The array's own folder, to be made.
    dims
        Names of the dimensions.
    what
        What to call the array in errors.
    attributes
        Of the array, for xarray.
    """

    def __init__(
        self, folder: Path, dims: Sequence[str], what: str, attributes: Mapping[str, Any] | None = None
    ) -> None:
        self.folder = folder
        self.attributes = attributes
        self.dims = tuple(dims)
        self.what = what
        self.dtype = ""
        self.n_rows = 0
        self._chunk_rows = 1
        self._pending: list[NDArray[Any]] = []
        self._n_pending = 0
        self._zarr: Any = None
        self._room = 0

    def append(self, values: ArrayLike) -> None:
        """Add rows; all must have the same dtype and the same shape but for their number."""
        block, dtype = encode(values, self.what)
        if not self.dtype:
            self.dtype = dtype
            row_bytes = max(int(np.prod(block.shape[1:])), 1) * block.dtype.itemsize
            if block.dtype.kind == "T":
                row_bytes += sum(map(len, block.ravel().tolist())) // max(len(block), 1)
            self._chunk_rows = max(CHUNK_BYTES // row_bytes, 1)
            if self._chunk_rows > ALIGN_ROWS:
                self._chunk_rows -= self._chunk_rows % ALIGN_ROWS
        elif (dtype, block.shape[1:]) != (self.dtype, self._pending[0].shape[1:]):
            raise ValueError(
                f"{self.what} must keep shape and dtype: it began with {self.dtype} rows of shape "
                f"{self._pending[0].shape[1:]}, and now come {dtype} rows of shape {block.shape[1:]}."
            )
        # A copy, as the caller may reuse its memory for the next batch.
        self._pending.append(np.array(block))
        self._n_pending += len(block)
        if self._n_pending >= self._chunk_rows:
            rows = np.concatenate(self._pending)
            whole = len(rows) - len(rows) % self._chunk_rows
            self._write(rows[:whole])
            self._pending, self._n_pending = [rows[whole:].copy()], len(rows) - whole

    def finish(self) -> Entry:
        """Write what is left and return the array's entry for the index."""
        rest = np.concatenate(self._pending)
        if self._zarr is None:
            self._chunk_rows = max(len(rest), 1)
        if len(rest) or self._zarr is None:
            self._write(rest)
        if self._room != self.n_rows:
            self._zarr.resize((self.n_rows, *rest.shape[1:]))
        self._pending = []
        shape = tuple(int(n) for n in self._zarr.shape)
        return Entry(self.dims, shape, self.dtype, *_chunks_in(self.folder))

    def _write(self, rows: NDArray[Any]) -> None:
        """Write rows that begin at a chunk's border."""
        stop = self.n_rows + len(rows)
        if self._zarr is None:
            self._room = stop
            shape = (stop, *rows.shape[1:])
            self._zarr = _create(self.folder, shape, rows.dtype, self.dims, self._chunk_rows, self.attributes)
        elif stop > self._room:
            # Doubling: resizing lists all chunks, so one at a time would take quadratic time.
            self._room = max(stop, 2 * self._room)
            self._zarr.resize((self._room, *rows.shape[1:]))
        if len(rows):
            self._zarr[self.n_rows : stop] = rows
        self.n_rows = stop


def write_array(
    folder: Path, values: ArrayLike, dims: Sequence[str], what: str, attributes: Mapping[str, Any] | None = None
) -> Entry:
    """Write a whole array and return its entry for the index."""
    array = np.asarray(values)
    if array.ndim == 0:
        stored, dtype = encode(array, what)
        target = _create(folder, (), stored.dtype, (), 1, attributes)
        target[...] = stored
        return Entry((), (), dtype, *_chunks_in(folder))
    stream = ArrayStream(folder, dims, what, attributes)
    stream.append(array)
    return stream.finish()


def _create(
    folder: Path,
    shape: tuple[int, ...],
    dtype: Any,
    dims: Sequence[str],
    chunk_rows: int,
    attributes: Mapping[str, Any] | None,
) -> Any:
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec
    from zarr.storage import LocalStore

    return zarr.create_array(
        LocalStore(folder),
        shape=shape,
        dtype="string" if dtype.kind == "T" else dtype,
        chunks=tuple(max(n, 1) for n in (chunk_rows, *shape[1:])) if shape else "auto",
        # The checksum is the outermost codec, so that nothing damaged ever reaches the decompressor.
        compressors=[ZstdCodec(level=1), Crc32cCodec()],
        dimension_names=list(dims),
        attributes=dict(attributes or {}),
        chunk_key_encoding={"name": "default", "separator": "."},
        # Chunks of zeros are written too: a chunk that is missing is then always one that was lost.
        config={"write_empty_chunks": True},
    )


def _chunks_in(folder: Path) -> tuple[int, int]:
    """Count the chunks in an array's folder and their bytes."""
    sizes = [path.stat().st_size for path in folder.iterdir() if _CHUNK.fullmatch(path.name)]
    return len(sizes), sum(sizes)


def check_array(folder: Path, entry: Entry) -> None:
    """Raise ValueError unless the array lies there with the shape, the dtype and the chunks that the index says."""
    with reading(folder):
        known = json.loads((folder / "zarr.json").read_text(encoding="utf-8"))
        found = (
            known["node_type"],
            known["data_type"],
            tuple(known["shape"]),
            tuple(known.get("dimension_names") or ()),
        )
        chunks, size = _chunks_in(folder)
    expected = ("array", entry.stored, entry.shape, entry.dims)
    if found != expected:
        raise damaged(folder, f"expected {expected}, found {found}")
    if (chunks, size) != (entry.chunks, entry.size):
        raise damaged(
            folder, f"expected {entry.chunks} chunks of {entry.size} bytes in all, found {chunks} of {size} bytes"
        )


def read_array(folder: Path, entry: Entry) -> NDArray[Any]:
    """Read a whole array, as it was before it was written."""
    with reading(folder):
        values = read_chunk(folder, entry.shape, entry.stored) if entry.chunks == 1 else None
        return decode(np.asarray(_open(folder)[...]) if values is None else values, entry.dtype)


def _open(folder: Path) -> Any:
    import zarr
    from zarr.storage import LocalStore

    return zarr.open_array(LocalStore(folder, read_only=True), mode="r", zarr_format=3)


class StoredArray:
    """A numeric array in a run folder that is read where it is indexed.

    Rows are picked by an integer, a slice, a mask or positions, as in NumPy; further indices apply to the rows read.
    The chunk read last is kept, so that going through the rows in blocks decodes each chunk once.

    Parameters
    ----------
    folder
        The array's own folder.
    entry
        What the index says about it.
    """

    def __init__(self, folder: Path, entry: Entry) -> None:
        self.folder = folder
        self.shape = entry.shape
        self.dtype = np.dtype(entry.dtype)
        self._last: tuple[int, NDArray[Any]] | None = None

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return len(self.shape)

    @property
    def size(self) -> int:
        """Number of entries."""
        return int(np.prod(self.shape))

    @property
    def nbytes(self) -> int:
        """Bytes in memory, once read."""
        return self.size * self.dtype.itemsize

    @property
    def oindex(self) -> StoredArray:
        """The array itself: rows are what is indexed, as with a Zarr array's ``oindex``."""
        return self

    @property
    def chunks(self) -> tuple[int, ...]:
        """Shape of a chunk."""
        return tuple(int(n) for n in self._zarr.chunks)

    @cached_property
    def _zarr(self) -> Any:
        with reading(self.folder):
            array = _open(self.folder)
            if array.shape != self.shape or array.dtype != self.dtype:
                raise ValueError(f"expected {self.dtype} {self.shape}, found {array.dtype} {array.shape}")
            return array

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        rows, *rest = key if isinstance(key, tuple) else (key,)
        if rows is None or rows is Ellipsis or any(part is None for part in rest):
            return np.asarray(self)[key]
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            block = self._span(start, max(start, stop)) if step == 1 else self._take(np.arange(start, stop, step))
            return block[(slice(None), *rest)] if rest else block
        index = np.asarray(rows)
        if index.dtype == bool:
            same_length("the mask", len(index), "row", len(self))
            index = np.flatnonzero(index)
        elif index.size == 0:
            index = index.astype(np.int64)
        if index.dtype.kind not in "iu" or index.ndim > 1:
            raise IndexError(f"rows are picked by an integer, a slice, a mask or a list of integers; got {rows!r}.")
        if index.size and not (-len(self) <= index.min() and index.max() < len(self)):
            raise IndexError(f"row {rows!r} is out of bounds for an array of {len(self)} rows.")
        index = np.where(index < 0, index + len(self), index)
        if index.ndim == 0:
            row = self._take(index[None])[0]
            return row[tuple(rest)] if rest else row
        block = self._take(index)
        if any(isinstance(part, list | np.ndarray) for part in rest):
            return block[(np.arange(len(block)), *rest)]
        return block[(slice(None), *rest)] if rest else block

    def _take(self, index: NDArray[Any]) -> NDArray[Any]:
        out = np.empty((len(index), *self.shape[1:]), dtype=self.dtype)
        chunk_of = index // self.chunks[0]
        for chunk in np.unique(chunk_of):
            wanted = np.flatnonzero(chunk_of == chunk)
            out[wanted] = self._chunk(int(chunk))[index[wanted] % self.chunks[0]]
        return out

    def _span(self, start: int, stop: int) -> NDArray[Any]:
        n = self.chunks[0]
        if start < stop and start // n == (stop - 1) // n:
            first = start // n * n
            return self._chunk(start // n)[start - first : stop - first].copy()
        return self._read(start, stop)

    def _chunk(self, chunk: int) -> NDArray[Any]:
        last = self._last
        if last is None or last[0] != chunk:
            n = self.chunks[0]
            last = self._last = chunk, self._read(chunk * n, min((chunk + 1) * n, len(self)))
        return last[1]

    def _read(self, start: int, stop: int) -> NDArray[Any]:
        array = self._zarr
        with reading(self.folder):
            return np.asarray(array[start:stop])

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("an array on disk cannot be had without reading it: use copy=None.")
        values = self._read(0, len(self))
        return values if dtype is None else values.astype(dtype, copy=False)

    def __repr__(self) -> str:
        return f"StoredArray({self.dtype} {self.shape} in {self.folder})"
