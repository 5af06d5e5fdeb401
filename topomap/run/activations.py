"""The values of one layer under one reduction."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, issparse

from topomap import _sparse
from topomap._check import same_length, whole_number
from topomap.groups import By, Groups, ready_made
from topomap.run.inputs import Inputs

if TYPE_CHECKING:
    import xarray

#: Rows read at a time from values that may lie on disk.
BLOCK_ROWS = 1024


@dataclass(frozen=True, eq=False)
class Activations:
    """The values of one layer under one reduction.

    Parameters
    ----------
    values
        Shape ``(n_rows, n_neurons)``: an array, or a Zarr array that is read where it is used. Sparse values (any of
        SciPy's, or sparse ones in a run folder) stay sparse, rows first (CSR); see `sparse`.
    inputs
        The run's table of inputs.
    layer, reduce
        Where the values come from, and how positions or tokens were reduced.
    rows
        Which input each row came from, shape ``(n_rows,)``; by default row ``i`` is input ``i``.
    places
        Which position or token each row is, shape ``(n_rows, n_axes)``, where places are kept as rows.
    provenance
        How the values came about.

    Examples
    --------
    >>> acts = Activations.from_array([[0.0, 1.0], [2.0, 1.0]], label=["a", "b"])
    >>> acts
    Activations(layer: 2 rows x 2 neurons, 1 dead)
    >>> acts.scores
    array([[-1.,  0.], [ 1.,  0.]], dtype=float32)
    """

    values: Any
    inputs: Inputs
    layer: str = "layer"
    reduce: str = "none"
    rows: NDArray[np.int64] | None = None
    places: NDArray[np.int64] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if issparse(self.values) and self.values.ndim == 2:
            object.__setattr__(self, "values", _sparse.canonical(self.values))
        if len(self.values.shape) != 2:
            raise ValueError(f"values must have shape (n_rows, n_neurons); got {tuple(self.values.shape)}.")
        if self.rows is None:
            same_length("values", self.values.shape[0], "input", len(self.inputs))
            object.__setattr__(self, "rows", np.arange(len(self.inputs)))
        object.__setattr__(self, "rows", np.asarray(self.rows, dtype=np.int64))
        same_length("rows", len(self._rows), "row", self.values.shape[0])
        if self.n_rows and not (self._rows.min() >= 0 and self._rows.max() < len(self.inputs)):
            raise ValueError(
                f"rows must be positions of inputs: expected 0 to {len(self.inputs) - 1}, "
                f"got {self._rows.min()} to {self._rows.max()}."
            )
        if self.places is not None:
            object.__setattr__(self, "places", np.asarray(self.places))
            same_length("places", len(self.places), "row", self.values.shape[0])

    @classmethod
    def from_array(cls, values: Any, *, layer: str = "layer", **columns: Any) -> Activations:
        """Wrap values of shape ``(n_inputs, n_neurons)``, sparse or not, and columns of length ``n_inputs``."""
        array = values
        if not _sparse.is_sparse(values):
            array = np.asarray(values)
            array = array if array.dtype.kind == "f" else array.astype(np.float32)
        if len(array.shape) != 2:
            raise ValueError(f"values must have shape (n_inputs, n_neurons); got {array.shape}.")
        return cls(array, Inputs(np.arange(array.shape[0]), columns), layer)

    @property
    def n_rows(self) -> int:
        """Number of rows."""
        return int(self.values.shape[0])

    @property
    def n_neurons(self) -> int:
        """Number of neurons."""
        return int(self.values.shape[1])

    @property
    def _rows(self) -> NDArray[np.int64]:
        assert self.rows is not None  # set by __post_init__
        return self.rows

    @property
    def sparse(self) -> bool:
        """Whether the values are sparse.

        Statistics, `select`, `per_input` and everything that `profile` and `correlate` make of them keep them so. What
        is dense by nature is given by blocks or rows (`blocks`, `scores_of`), or whole (`scores`) up to a size.
        """
        return _sparse.is_sparse(self.values)

    @property
    def density(self) -> float:
        """Share of the values that are not zero; 1 where they are not kept as sparse ones."""
        return self.values.nnz / max(self.n_rows * self.n_neurons, 1) if self.sparse else 1.0

    @property
    def labels(self) -> NDArray[Any] | None:
        """The label of each row's input."""
        return None if self.inputs.label is None else self.inputs.label[self._rows]

    def column(self, name: str) -> NDArray[Any]:
        """Return a column of the inputs, one entry per row."""
        return self.inputs[name][self._rows]

    def blocks(self, n_rows: int = BLOCK_ROWS) -> Iterator[tuple[slice, NDArray[Any]]]:
        """Iterate over ``(slice, values)`` in blocks of rows, so that values on disk are never all in memory.

        Sparse values come as arrays too, of fewer rows where there are many neurons.
        """
        if self.sparse:
            n_rows = min(n_rows, max(1, _sparse.BLOCK_ENTRIES // max(self.n_neurons, 1)))
        for start in range(0, self.n_rows, n_rows):
            part = slice(start, min(start + n_rows, self.n_rows))
            block = self.values[part]
            yield part, block.toarray() if self.sparse else np.asarray(block)

    def sparse_blocks(self) -> Iterator[tuple[slice, csr_array]]:
        """Iterate over ``(slice, values)`` in blocks of rows of sparse values, as CSR."""
        if not self.sparse:
            raise ValueError("these values are not sparse: go through them by blocks().")
        step = int(max(1, _sparse.BLOCK_ENTRIES * self.n_rows // max(self.values.nnz, 1)))
        for start in range(0, self.n_rows, step):
            part = slice(start, min(start + step, self.n_rows))
            yield part, self.values[part]

    @cached_property
    def _statistics(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Mean and deadness per neuron, in one pass."""
        total = np.zeros(self.n_neurons)
        low, high = np.full(self.n_neurons, np.inf), np.full(self.n_neurons, -np.inf)
        if self.sparse:
            for _, block in self.sparse_blocks():
                total += np.bincount(block.indices, weights=block.data, minlength=self.n_neurons)
                np.minimum.at(low, block.indices, block.data)
                np.maximum.at(high, block.indices, block.data)
            zeros = self._n_active < self.n_rows
            low, high = np.where(zeros, np.minimum(low, 0), low), np.where(zeros, np.maximum(high, 0), high)
        else:
            for _, block in self.blocks():
                total += block.sum(axis=0, dtype=np.float64)
                np.minimum(low, block.min(axis=0), out=low)
                np.maximum(high, block.max(axis=0), out=high)
        if not np.isfinite(total).all():
            raise ValueError(
                f"layer {self.layer!r} has NaN or infinite values in {int((~np.isfinite(total)).sum())} neurons; "
                "record with nonfinite='mask' or remove those rows."
            )
        return total / max(self.n_rows, 1), constant(low, high)

    @cached_property
    def _n_active(self) -> NDArray[np.int64]:
        """In how many rows each neuron of sparse values is not zero."""
        counts = np.zeros(self.n_neurons, dtype=np.int64)
        for _, block in self.sparse_blocks():
            counts += np.bincount(block.indices, minlength=self.n_neurons)
        return counts

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean per neuron, shape ``(n_neurons,)``."""
        return self._statistics[0]

    @cached_property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation per neuron (ddof 0), shape ``(n_neurons,)``; a second pass, of what the mean leaves."""
        squares = np.zeros(self.n_neurons)
        if self.sparse:
            for _, block in self.sparse_blocks():
                centred = block.data - self.mean[block.indices]
                squares += np.bincount(block.indices, weights=centred**2, minlength=self.n_neurons)
            squares += (self.n_rows - self._n_active) * self.mean**2
        else:
            for _, block in self.blocks():
                squares += ((block - self.mean) ** 2).sum(axis=0)
        return np.asarray(np.sqrt(squares / max(self.n_rows, 1)))

    @property
    def dead(self) -> NDArray[np.bool_]:
        """Which neurons never vary, shape ``(n_neurons,)``."""
        return self._statistics[1]

    @cached_property
    def scores(self) -> NDArray[np.float32]:
        """Values minus mean over deviation per neuron, dead neurons 0; shape ``(n_rows, n_neurons)``.

        Dense, also of sparse values, for a zero has a score too: a ValueError where that is more than 2**28 entries.
        `scores_of` gives those of some rows.
        """
        if self.sparse:
            way_out = "Take some rows: acts.scores_of(rows); or go through the values by acts.blocks()."
            _sparse.refuse_dense("the scores of sparse values", self.n_rows, self.n_neurons, way_out)
        out = np.empty((self.n_rows, self.n_neurons), dtype=np.float32)
        for part, block in self.blocks():
            out[part] = self._standardised(block)
        return out

    def scores_of(self, rows: NDArray[Any] | list[int] | slice) -> NDArray[np.float32]:
        """Return ``scores[rows]`` without computing those of other rows; shape ``(len(rows), n_neurons)``."""
        index = np.arange(self.n_rows)[rows]
        values = take_rows(self.values, index)
        if self.sparse:
            way_out = "Take fewer rows at a time."
            _sparse.refuse_dense("the scores of these rows", len(index), self.n_neurons, way_out)
            values = values.toarray()
        return self._standardised(values).astype(np.float32)

    def _standardised(self, values: NDArray[Any]) -> NDArray[Any]:
        scale = np.where(self.dead, 0.0, 1.0 / np.where(self.dead, 1.0, self.std))
        return np.asarray((values - self.mean) * scale)

    def groups(self, by: By) -> Groups:
        """Group the rows by columns, a callable ``f(inputs) -> column``, a column of values, or ready-made groups.

        Ready-made are `Groups` over these rows or over the table of inputs, and whatever has some of the inputs as
        ``.groups``: patterns, say. Those of the inputs are passed on to the rows that came from them.
        """
        ready = ready_made(by)
        if ready is not None:
            if ready is by and ready.n_rows == self.n_rows:
                return ready
            if ready.n_rows == len(self.inputs):
                return ready.of_rows(self._rows)
            raise ValueError(
                f"groups must be over the {len(self.inputs)} inputs or the {self.n_rows} rows of these activations: "
                f"the groups' membership has {ready.n_rows} rows."
            )
        if callable(by):
            by = np.asarray(by(self.inputs))
            if by.ndim != 1:
                raise ValueError(f"by= must return a column, one value per input; got an array of shape {by.shape}.")
            same_length("the values that by= returned", len(by), "input", len(self.inputs))
            return Groups.from_columns({"group": by[self._rows]})
        if isinstance(by, str | tuple):
            names = (by,) if isinstance(by, str) else by
            if not all(isinstance(name, str) for name in names):
                raise ValueError(
                    f"a tuple holds names of columns; got {', '.join(type(name).__name__ for name in names)}. Add what "
                    "are no columns yet, acts.with_labels(a=..., b=...), and name them: by=('a', 'b')."
                )
            return Groups.from_columns({name: self.column(name) for name in names}, self.inputs._names())
        column = np.asarray(by)
        if column.ndim != 1:
            raise ValueError(
                "by must be a column of the inputs, a tuple of columns, a callable, one value per input, or groups; "
                f"got {by!r:.80}."
            )
        if column.dtype.kind == "U" and len(column) != self.n_rows and {*column.tolist()} <= {*self.inputs.columns}:
            raise ValueError(f"several columns are given as a tuple, by={tuple(column.tolist())!r}; got a list.")
        if len(column) == len(self.inputs) != self.n_rows:
            column = column[self._rows]
        same_length("by", len(column), "row", self.n_rows)
        return Groups.from_columns({"group": column})

    def select(
        self,
        where: Mapping[str, Any] | NDArray[np.bool_] | Callable[[Inputs], Any] | None = None,
        balance: By | None = None,
        n: int | None = None,
        seed: int = 0,
    ) -> Activations:
        """Keep some of the rows; rows of one input stay together.

        Parameters
        ----------
        where
            ``{"correct": True, "label": [3, 5]}``, a mask over inputs, or a callable from inputs to such a mask.
        balance
            Keep equally many inputs of each of these groups.
        n
            Keep at most this many inputs, drawn at random.
        seed
            For the random draws.
        """
        keep = np.zeros(len(self.inputs), dtype=bool)
        keep[self._rows] = True
        if callable(where):
            where = np.asarray(where(self.inputs), dtype=bool)
        if isinstance(where, Mapping):
            for name, wanted in where.items():
                keep &= np.isin(self.inputs[name], np.atleast_1d(wanted))
        elif where is not None:
            same_length("where", len(where), "input", len(self.inputs))
            keep &= np.asarray(where, dtype=bool)
        rng = np.random.default_rng(seed)
        n = None if n is None else whole_number("n", n, 1)
        if balance is not None:
            every = Activations(np.zeros((len(self.inputs), 0), dtype=np.float32), self.inputs)
            groups = every.groups(balance)
            members = [rng.permutation(m[keep[m]]) for m in (groups.rows_of(g) for g in groups.names)]
            members = [m for m in members if len(m)]
            each = min((len(m) for m in members), default=0)
            each = each if n is None else min(each, n // max(len(members), 1))
            keep[:] = False
            for member in members:
                keep[member[:each]] = True
        elif n is not None:
            chosen = rng.permutation(np.flatnonzero(keep))[:n]
            keep[:] = False
            keep[chosen] = True
        if not keep.any():
            raise ValueError("no input is left: loosen where=, or raise n=.")
        index = np.flatnonzero(keep[self._rows])
        return replace(
            self,
            values=take_rows(self.values, index),
            rows=self._rows[index],
            places=None if self.places is None else self.places[index],
        )

    def per_input(self) -> Activations:
        """Return one row per input: the mean of its positions or tokens where those are kept."""
        inputs, inverse, counts = np.unique(self._rows, return_inverse=True, return_counts=True)
        if len(inputs) == self.n_rows:
            return self
        if self.sparse:
            operator = csr_array((1 / counts[inverse], (inverse, np.arange(self.n_rows))))
            means = csr_array((len(inputs), self.n_neurons))
            for part, block in self.sparse_blocks():
                means = means + operator[:, part] @ block
            return replace(self, values=means.astype(np.float32), rows=inputs, places=None)
        sums = np.zeros((len(inputs), self.n_neurons))
        for part, block in self.blocks():
            np.add.at(sums, inverse[part], block)
        values = (sums / counts[:, None]).astype(np.float32)
        return replace(self, values=values, rows=inputs, places=None)

    def with_labels(self, **columns: Any) -> Activations:
        """Return the same values with columns of the inputs added or replaced."""
        return replace(self, inputs=self.inputs.with_columns(**columns))

    def to_xarray(self) -> xarray.Dataset:
        """Return the values over the dimensions ``row`` and ``neuron``.

        Sparse values as in a run folder: ``data`` and ``indices`` (their neurons) over ``entry``, ``count`` entries per
        row, and the attribute ``n_neurons``.
        """
        import xarray

        attrs: dict[str, Any] = {"layer": self.layer, "reduce": self.reduce}
        data: dict[str, Any] = {"input": (("row",), self._rows)}
        if self.sparse:
            values = self.values[:]
            attrs["n_neurons"] = self.n_neurons
            data["data"] = ("entry",), values.data
            data["indices"] = ("entry",), values.indices
            data["count"] = ("row",), np.diff(values.indptr).astype(np.int64)
        else:
            data["values"] = ("row", "neuron"), np.asarray(self.values[:])
        if self.places is not None:
            data["place"] = (("row", "axis"), self.places)
        return xarray.Dataset(data, attrs=attrs)

    def __repr__(self) -> str:
        where = self.layer if self.reduce == "none" else f"{self.layer}, {self.reduce}"
        known = "_statistics" in self.__dict__
        if not known and self.n_rows * self.n_neurons <= 1e6:
            values = self.values[:]
            known = bool(np.isfinite(values.data if self.sparse else values).all())
        dead = f", {int(self.dead.sum())} dead" if known else ""
        active = f", {100 * self.density:.2g} % active" if self.sparse else ""
        return f"Activations({where}: {self.n_rows} rows x {self.n_neurons} neurons{active}{dead})"


def constant(low: NDArray[Any], high: NDArray[Any]) -> NDArray[np.bool_]:
    """Return where a range is nothing but float32 rounding: the definition of a dead neuron."""
    size = np.maximum(np.abs(low), np.abs(high))
    return np.asarray(high - low <= 4 * np.finfo(np.float32).eps * size)


def take_rows(values: Any, index: NDArray[np.int64]) -> Any:
    """Read some rows of an array, of sparse values or of a Zarr array, in their order."""
    if isinstance(values, np.ndarray) or _sparse.is_sparse(values):
        return values[index]
    return np.asarray(values.oindex[index])
