"""Groups: which rows belong to which group, as one sparse membership matrix."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol, Union

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from topomap._check import same_length, unknown

if TYPE_CHECKING:
    import xarray

By = Union[str, tuple[str, ...], Callable[..., Any], NDArray[Any], "Groups", "Grouped"]
Key = tuple[Any, ...]


class Grouped(Protocol):
    """Anything that has found groups among the inputs of a run, such as patterns; taken wherever ``by=`` is."""

    @property
    def groups(self) -> Groups:
        """Groups over the table of inputs."""
        ...


@dataclass(frozen=True, eq=False)
class Groups:
    """Named groups of rows. A row may be in no group, in one, or in several.

    Parameters
    ----------
    names
        One name per group.
    membership
        Sparse matrix of zeros and ones, shape ``(n_groups, n_rows)``.
    by
        The columns that the groups were made from.
    keys
        One tuple of column values per group, in the order of `by`.

    Examples
    --------
    >>> groups = Groups.from_columns({"label": ["cat", "dog", "cat"], "correct": [True, True, False]})
    >>> groups
    Groups(3 by label x correct over 3 rows: cat, wrong (1); cat, correct (1); dog, correct (1))
    >>> groups.means([[1.0], [2.0], [4.0]]).ravel()
    array([4., 1., 2.])
    """

    names: tuple[str, ...]
    membership: sparse.csr_array
    by: tuple[str, ...] = ()
    keys: tuple[Key, ...] = ()

    def __post_init__(self) -> None:
        membership = sparse.csr_array(self.membership, dtype=np.float64, copy=True)
        membership.sum_duplicates()
        membership.eliminate_zeros()
        if membership.nnz and not np.all(membership.data == 1):
            raise ValueError("membership must hold zeros and ones only.")
        same_length("names", len(self.names), "group", membership.shape[0])
        if len(set(self.names)) != len(self.names):
            raise ValueError("group names must be unique.")
        object.__setattr__(self, "membership", membership)
        object.__setattr__(self, "names", tuple(str(name) for name in self.names))
        if not self.keys:
            object.__setattr__(self, "keys", tuple((name,) for name in self.names))

    @classmethod
    def from_columns(
        cls,
        columns: Mapping[str, Sequence[Any] | NDArray[Any]],
        names: Mapping[str, Sequence[str]] | None = None,
    ) -> Groups:
        """Make one group for every combination of column values that occurs.

        Rows with a missing value (``None``, NaN or an empty string) in any column belong to no group.

        Parameters
        ----------
        columns
            Columns of equal length; several columns give their intersections.
        names
            For columns of integer codes, the names of the codes (class names, say).

        Raises
        ------
        ValueError
            If there is no column, the columns differ in length, or every row has a missing value.
        """
        by = tuple(columns)
        if not by:
            raise ValueError("grouping takes at least one column; got none.")
        arrays = [_as_column(name, values) for name, values in columns.items()]
        n_rows = len(arrays[0])
        for name, array in zip(by, arrays, strict=True):
            same_length(f"column {name!r}", len(array), "row", n_rows)
        code = np.zeros(n_rows, dtype=np.int64)
        present = np.ones(n_rows, dtype=bool)
        levels: list[list[Any]] = []
        digits: list[NDArray[np.int64]] = []
        for array in arrays:
            missing = _missing(array)
            values, inverse = _unique(array[~missing])
            full = np.zeros(n_rows, dtype=np.int64)
            full[~missing] = inverse
            present &= ~missing
            if len(levels) > 1:  # numbered anew: the product of the numbers of values could exceed 64 bits
                code = np.unique(code, return_inverse=True)[1]
            code = code * max(len(values), 1) + full
            levels.append(values)
            digits.append(full)
        if not present.any():
            raise ValueError(f"every row has a missing value in {' x '.join(by)}: there is nothing to group by.")
        used, first, inverse = np.unique(code[present], return_index=True, return_inverse=True)
        example = np.flatnonzero(present)[first]
        keys = [tuple(level[digit[row]] for level, digit in zip(levels, digits, strict=True)) for row in example]
        labels = [", ".join(_name(c, v, names or {}) for c, v in zip(by, key, strict=True)) for key in keys]
        rows = np.flatnonzero(present)
        ones = np.ones(len(rows))
        membership = sparse.csr_array((ones, (inverse, rows)), shape=(len(used), n_rows))
        return cls(tuple(_disambiguate(labels)), membership, by, tuple(keys))

    @property
    def n_rows(self) -> int:
        """Number of rows that the groups are groups of."""
        return int(self.membership.shape[1])

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Rows per group, shape ``(n_groups,)``."""
        return np.asarray(self.membership.sum(axis=1)).astype(np.int64).ravel()

    @cached_property
    def ungrouped(self) -> int:
        """Number of rows in no group: those with a missing value, say."""
        return self.n_rows - len(np.unique(self.membership.indices))

    @cached_property
    def overlapping(self) -> bool:
        """Whether any row is in several groups."""
        return bool(self.membership.nnz > self.n_rows - self.ungrouped)

    @cached_property
    def weights(self) -> sparse.csr_array:
        """The operator that takes group means: membership divided by counts."""
        inverse = 1.0 / np.maximum(self.counts, 1)
        return sparse.csr_array(sparse.diags_array(inverse) @ self.membership)

    def sums(self, values: Any) -> NDArray[np.float64]:
        """Sum rows of values per group: ``(n_rows, ...)`` to ``(n_groups, ...)``."""
        values = np.asarray(values, dtype=np.float64)
        same_length("values", len(values), "row", self.n_rows)
        flat = self.membership @ values.reshape(len(values), -1)
        return np.asarray(flat).reshape(len(self), *values.shape[1:])

    def means(self, values: Any) -> NDArray[np.float64]:
        """Average rows of values per group: ``(n_rows, ...)`` to ``(n_groups, ...)``."""
        sums = self.sums(values)
        return sums / np.maximum(self.counts, 1).reshape(-1, *[1] * (sums.ndim - 1))

    def rows_of(self, name: str) -> NDArray[np.int64]:
        """Return the rows of one group, ascending."""
        if name not in self._positions:
            raise unknown("group", name, self.names)
        start, stop = self.membership.indptr[self._positions[name] :][:2]
        return np.sort(self.membership.indices[start:stop]).astype(np.int64)

    @cached_property
    def _positions(self) -> dict[str, int]:
        return {name: position for position, name in enumerate(self.names)}

    def take(self, groups: Sequence[int] | NDArray[Any]) -> Groups:
        """Return these groups, by position, in this order."""
        index = np.asarray(groups, dtype=np.int64)
        return Groups(
            tuple(self.names[i] for i in index),
            self.membership[index],
            self.by,
            tuple(self.keys[i] for i in index),
        )

    def of_rows(self, rows: NDArray[Any]) -> Groups:
        """Return the same groups over these rows, which may be fewer, reordered, or repeated; groups may get empty."""
        index = np.asarray(rows, dtype=np.int64)
        return Groups(self.names, self.membership[:, index], self.by, self.keys)

    def sample(self, n_per_group: int, seed: int = 0) -> Groups:
        """Keep at most `n_per_group` random rows of each group."""
        rng = np.random.default_rng(seed)
        rows, members = [], []
        for group in range(len(self)):
            start, stop = self.membership.indptr[group : group + 2]
            member = np.sort(self.membership.indices[start:stop])
            kept = np.sort(rng.permutation(member)[:n_per_group])
            rows.append(kept)
            members.append(np.full(len(kept), group))
        index = (np.concatenate(members), np.concatenate(rows))
        membership = sparse.csr_array((np.ones(len(index[0])), index), shape=self.membership.shape)
        return Groups(self.names, membership, self.by, self.keys)

    def to_xarray(self) -> xarray.Dataset:
        """Return the dense membership with named dimensions."""
        import xarray

        data = self.membership.toarray().astype(bool)
        return xarray.Dataset(
            {"membership": (("group", "row"), data), "count": (("group",), self.counts)},
            coords={"group": np.array(self.names, dtype=object)},
            attrs={"by": list(self.by)},
        )

    def __len__(self) -> int:
        return len(self.names)

    def __repr__(self) -> str:
        shown = "; ".join(f"{n} ({c})" for n, c in zip(self.names[:6], self.counts[:6], strict=True))
        more = f"; ... {len(self) - 6} more" if len(self) > 6 else ""
        by = f" by {' x '.join(self.by)}" if self.by else ""
        return f"Groups({len(self)}{by} over {self.n_rows} rows: {shown}{more})"


def ready_made(by: Any) -> Groups | None:
    """Return the groups that `by` is or holds as ``.groups``, if it does."""
    if isinstance(by, Groups):
        return by
    held = getattr(by, "groups", None)
    return held if isinstance(held, Groups) else None


def _as_column(name: str, values: Any) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != 1:
        raise ValueError(f"column {name!r} must have one dimension; got shape {array.shape}.")
    return array


def _missing(array: NDArray[Any]) -> NDArray[np.bool_]:
    if array.dtype.kind == "f":
        return np.asarray(np.isnan(array))
    if array.dtype.kind in "US":
        return np.asarray(array == array.dtype.type())
    if array.dtype.kind in "OT":
        return np.array([v is None or v == "" or v != v for v in array], dtype=bool)
    return np.zeros(len(array), dtype=bool)


def _unique(array: NDArray[Any]) -> tuple[list[Any], NDArray[np.int64]]:
    """Return the sorted distinct values and each row's position among them; mixed types sort as text."""
    try:
        values, inverse = np.unique(array, return_inverse=True)
        return [v.item() if isinstance(v, np.generic) else v for v in values], inverse
    except TypeError:
        ordered = sorted(set(array.tolist()), key=str)
        position = {value: i for i, value in enumerate(ordered)}
        return ordered, np.array([position[v] for v in array.tolist()], dtype=np.int64)


def _name(column: str, value: Any, names: Mapping[str, Sequence[str]]) -> str:
    if column == "correct" and value in (True, False):
        return "correct" if value else "wrong"
    known = names.get(column)
    # Codes are floats where some are missing.
    if known is not None and isinstance(value, int | float) and 0 <= value < len(known) and value == int(value):
        return str(known[int(value)])
    return f"{value:g}" if isinstance(value, float) else str(value)


def _disambiguate(labels: Iterable[str]) -> list[str]:
    """Add a number to the later ones of equal names (those of 1 and ``"1"``, say)."""
    labels = list(labels)
    taken, seen = set(labels), set[str]()
    result = []
    for label in labels:
        unique, number = label, 1
        while label in seen and unique in taken:
            number += 1
            unique = f"{label} ({number})"
        seen.add(label)
        taken.add(unique)
        result.append(unique)
    return result
