"""The groups of one grouping, found while rows stream by: the parts that moments are accumulated in."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import same_length, unknown
from topomap.groups import Groups, Key, _as_column, _missing
from topomap.run import GroupMoments
from topomap.run.statistics import Statistics


class Grouping:
    """The statistics of the groups of one grouping, in the order in which they were first seen."""

    def __init__(self, by: tuple[str, ...], n_neurons: int) -> None:
        self.by = by
        self.codes_of: dict[Key, int] = {}
        self.dtypes: list[np.dtype[Any] | None] = [None] * len(by)
        self.statistics = Statistics(n_neurons, 0)

    def codes(self, columns: Mapping[str, Any], n_rows: int) -> NDArray[np.int64]:
        """Return the group of each row, -1 for none, making groups for combinations not seen before."""
        for name in self.by:
            if name not in columns:
                raise unknown("by", name, tuple(columns))
        arrays = [_as_column(name, columns[name]) for name in self.by]
        present = np.ones(n_rows, dtype=bool)
        for position, (name, array) in enumerate(zip(self.by, arrays, strict=True)):
            same_length(f"column {name!r}", len(array), "row", n_rows)
            self._widen(position, array.dtype)
            present &= ~_missing(array)
        codes = np.full(n_rows, -1, dtype=np.int64)
        rows = np.flatnonzero(present)
        keys = zip(*(array[rows].tolist() for array in arrays), strict=True)
        codes[rows] = [self.codes_of.setdefault(key, len(self.codes_of)) for key in keys]
        return codes

    def _widen(self, position: int, dtype: np.dtype[Any]) -> None:
        """Follow the dtype that the whole column would have."""
        known = self.dtypes[position]
        if known is None or known == dtype:
            self.dtypes[position] = dtype
            return
        if "O" in known.kind + dtype.kind:
            self.dtypes[position] = np.dtype(object)
            return
        if (known.kind in "UST") != (dtype.kind in "UST"):
            raise ValueError(
                f"column {self.by[position]!r} must keep one type: it was {known} and is {dtype} in a later batch."
            )
        self.dtypes[position] = np.result_type(known, dtype)

    def add(self, centred: NDArray[np.float64], codes: NDArray[np.int64], mean: NDArray[np.float64]) -> None:
        """Merge rows that were centred on their mean."""
        rows = np.flatnonzero(codes >= 0)
        if len(rows) == 0:
            return
        groups = Groups.from_columns({"group": codes[rows]})
        found = np.array([key[0] for key in groups.keys], dtype=np.int64)
        centred = centred[rows]
        means = groups.means(centred)
        member = np.searchsorted(found, codes[rows])
        squares = groups.sums((centred - means[member]) ** 2)
        if len(self.codes_of) > len(self.statistics.count):
            self.statistics.grow(len(self.codes_of))
        self.statistics.merge(found, groups.counts, means + mean, squares)

    def merge(self, other: Grouping) -> None:
        """Merge the groups of another pass."""
        for position, dtype in enumerate(other.dtypes):
            if dtype is not None:
                self._widen(position, dtype)
        order = [self.codes_of.setdefault(key, len(self.codes_of)) for key in other.codes_of]
        other.statistics.grow(len(other.codes_of))
        self.statistics.grow(len(self.codes_of))
        self.statistics.merge(np.array(order, dtype=np.int64), *other.statistics.parts())

    def finish(self, names: Mapping[str, Sequence[str]]) -> GroupMoments:
        """Name and sort the groups as `Groups.from_columns` does, by asking it: one row per group."""
        statistics = self.statistics
        statistics.grow(len(self.codes_of))
        result = Statistics(statistics.mean.shape[1], 0)
        labels: tuple[str, ...] = ()
        keys: tuple[Key, ...] = ()
        codes = np.flatnonzero(statistics.count)  # none for combinations of a batch that was refused
        if len(codes):
            known = list(self.codes_of)
            columns = {}
            for name, values, dtype in zip(
                self.by, zip(*(known[code] for code in codes), strict=True), self.dtypes, strict=True
            ):
                column = np.empty(len(values), dtype=object)
                column[:] = values
                columns[name] = column.astype(dtype)
            groups = Groups.from_columns(columns, names)
            labels, keys = groups.names, groups.keys
            result.grow(len(groups))
            for row, name in enumerate(labels):
                for member in groups.rows_of(name):  # two only where the wider dtype made two keys one
                    result.merge(np.array([row]), *statistics.parts(codes[member]))
        variance = result.squares / np.maximum(result.count - 1, 1)[:, None]
        return GroupMoments(self.by, labels, keys, result.count, result.mean, variance)
