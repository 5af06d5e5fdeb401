"""Values that are mostly zeros: kept as SciPy's CSR, and compared through what is active together."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from topomap import _compute

Float = NDArray[np.float32]

#: Dense arrays of more entries than this (1 GiB of float32) are not made of sparse values.
DENSE_ENTRIES = 1 << 28

#: Entries of a sparse product, or of a block of sparse values, that are held at one time.
BLOCK_ENTRIES = _compute.BLOCK_ENTRIES

#: What sparse rows can be compared by.
MEASURES = ("pearson", "cosine", "jaccard")

#: Mean over deviation of a neuron from which on correlations of sparse rows take float64: they are differences of
#: numbers of the size of its square.
_WIDE = 4


def is_sparse(values: Any) -> bool:
    """Return whether values are sparse, in memory or on disk."""
    return hasattr(values, "nnz")


def canonical(values: Any) -> sparse.csr_array:
    """Return sparse values as CSR with sorted rows, without duplicates or zeros; the caller's stay as they are.

    Data of a kind that is not floating becomes float32, and so does float16, which SciPy does not compute with.
    """
    rows = sparse.csr_array(values)
    if rows.dtype.kind != "f" or rows.dtype.itemsize < 4:
        rows = sparse.csr_array((rows.data.astype(np.float32), rows.indices, rows.indptr), shape=rows.shape)
    if not rows.has_canonical_format or np.count_nonzero(rows.data) < rows.nnz:
        rows = rows.copy()
        rows.sum_duplicates()
        rows.eliminate_zeros()
    return rows


def from_dense(values: NDArray[Any]) -> sparse.csr_array:
    """Return the values that are not zero; float16 becomes float32."""
    wide = values.astype(np.float32) if values.dtype == np.float16 else values
    return sparse.csr_array(wide)


def refuse_dense(what: str, n_rows: int, n_columns: int, way_out: str) -> None:
    """Raise where sparse values would be filled up to an array too large to be made unasked."""
    if n_rows * n_columns > DENSE_ENTRIES:
        size = 4 * n_rows * n_columns / 1e9
        raise ValueError(
            f"{what} would be a dense array of {n_rows:,} x {n_columns:,}, {size:,.1f} GB: expected at most "
            f"{DENSE_ENTRIES:,} entries. {way_out}"
        )


def parts(entries: NDArray[Any], most: int | None = None) -> Iterator[tuple[int, int]]:
    """Split rows, by the number of entries of each, into runs of at most so many entries (or of one row)."""
    total = np.concatenate([[0], np.cumsum(entries, dtype=np.int64)])
    start = 0
    while start < len(entries):
        reach = total[start] + (BLOCK_ENTRIES if most is None else most)
        stop = max(start + 1, int(np.searchsorted(total, reach, side="right")) - 1)
        yield start, stop
        start = stop


@dataclass(frozen=True, eq=False)
class Coactivity:
    """Rows of neurons that are compared through the inputs on which both are active.

    The similarity of two neurons follows from the dot product ``p`` of their rows and one number ``l`` of each:

    ========= ================================================ ===================== =========================
    measure   rows                                             ``l``                 similarity
    ========= ================================================ ===================== =========================
    cosine    of unit length                                   0                     ``p``
    pearson   divided by the length of the centred row         mean over deviation   ``p - l_i l_j``
    jaccard   1 where the neuron is active, 0 elsewhere        inputs it is active   ``p / (l_i + l_j - p)``
    ========= ================================================ ===================== =========================

    The product of rows that are mostly zero is itself mostly zero, so that everything follows from what is active
    together; all of it is exact.

    Parameters
    ----------
    rows
        Shape ``(n_neurons, n_inputs)``, sparse; an array for Jaccard's measure of dense values.
    measure
        ``"cosine"``, ``"pearson"`` or ``"jaccard"``.
    level
        The numbers ``l``, shape ``(n_neurons,)``.
    """

    rows: Any
    measure: str
    level: NDArray[np.float64]

    @property
    def sparse(self) -> bool:
        """Whether the rows are sparse."""
        return is_sparse(self.rows)

    @property
    def density(self) -> float:
        """Share of the entries of the rows that are not zero."""
        n_active = self.rows.nnz if self.sparse else np.count_nonzero(self.rows)
        return float(n_active / max(self.rows.shape[0] * self.rows.shape[1], 1))

    @cached_property
    def _columns(self) -> Any:
        return sparse.csr_array(self.rows.T) if self.sparse else self.rows.T

    def take(self, index: NDArray[Any]) -> Coactivity:
        """Return the rows of some neurons."""
        return Coactivity(self.rows[index], self.measure, self.level[index])

    def block(self, start: int, stop: int) -> Float:
        """Similarities of neurons ``start:stop`` to all, shape ``(stop - start, n_neurons)``."""
        product = self.rows[start:stop] @ self._columns
        product = product.toarray() if self.sparse else product
        return self._value(product, self.level[start:stop, None], self.level)

    def pairs(self, one: NDArray[Any], other: NDArray[Any]) -> Float:
        """Similarities of pairs of neurons, given by the indices of both; shape ``(n_pairs,)``."""
        out = np.empty(len(one), dtype=np.float32)
        for start in range(0, len(one), 4096):
            i, j = one[start : start + 4096], other[start : start + 4096]
            left, right = self.rows[i], self.rows[j]
            both = left.multiply(right) if self.sparse else left * right
            product = np.asarray(both.sum(axis=1, dtype=np.float64)).ravel()
            out[start : start + 4096] = self._value(product, self.level[i], self.level[j])
        return out

    def _value(self, product: NDArray[Any], one: NDArray[Any], other: NDArray[Any]) -> Float:
        if self.measure == "pearson":
            product = product - (one * other).astype(product.dtype, copy=False)
        elif self.measure == "jaccard":
            either = (one + other).astype(product.dtype) - product
            product = np.divide(product, either, out=np.zeros_like(product), where=either > 0)
        return np.asarray(product.astype(np.float32, copy=False))

    def nearest(self, k: int, absolute: bool = False) -> tuple[NDArray[np.int64], Float]:
        """Exact k nearest neighbours from sparse products by blocks, nearest first, self excluded.

        Neurons that are never active together with one are all alike to it, and are compared with it only where
        fewer than k others are closer: under ``"pearson"`` in the order of what their means make of it, otherwise as
        a random draw (the same in every run) at distance 1, so that no neuron becomes everyone's neighbour.

        Raises
        ------
        ValueError
            If `k` is not below the number of neurons.
        """
        from tqdm.auto import tqdm

        n = self.rows.shape[0]
        indices = np.empty((n, k), dtype=np.int64)
        distances = np.empty((n, k), dtype=np.float32)
        others = _Others(self, k, absolute)
        with tqdm(total=n, desc="neighbours", unit="neuron", disable=None, leave=False, delay=1) as bar:
            for start, stop in parts(self._work()):
                product = sparse.csr_array(self.rows[start:stop] @ self._columns)
                row = np.repeat(np.arange(start, stop), np.diff(product.indptr))
                value = self._value(product.data, self.level[row], self.level[product.indices])
                near = _distance(value, absolute)
                for i, first, last in zip(range(start, stop), product.indptr[:-1], product.indptr[1:], strict=True):
                    which, gap = product.indices[first:last], near[first:last]
                    other = which != i
                    which, gap = which[other], gap[other]
                    if len(gap) < k or np.partition(gap, k - 1)[k - 1] > others.least[i]:
                        more = others.of(i, which)
                        which, gap = np.append(which, more), np.append(gap, others.distance(i, more))
                    indices[i], distances[i] = _first(which, gap, k)
                bar.update(stop - start)
        return indices, distances

    def variables(self) -> dict[str, Any]:
        """Return the rows as variables for xarray: sparse ones as ``data``, ``indices`` and ``count`` per neuron."""
        level = ("neuron",), self.level
        if not self.sparse:
            return {"rows": (("neuron", "input"), self.rows), "level": level}
        count = ("neuron",), np.diff(self.rows.indptr).astype(np.int64)
        return {
            "data": (("entry",), self.rows.data),
            "indices": (("entry",), self.rows.indices),
            "count": count,
            "level": level,
        }

    def _work(self) -> NDArray[np.int64]:
        """Most entries that each row of the product can have."""
        active = np.bincount(self.rows.indices, minlength=self.rows.shape[1])  # neurons per input
        total = np.concatenate([[0], np.cumsum(active[self.rows.indices])])
        work = total[self.rows.indptr[1:]] - total[self.rows.indptr[:-1]]
        return np.asarray(np.minimum(work, self.rows.shape[0]), dtype=np.int64)

    def components(self, n_components: int) -> NDArray[np.float64]:
        """Leading principal components of the unit rows, centred implicitly, by a randomised decomposition.

        Those of Jaccard's measure are the components of the unit rows of activity, whose dot products are Ochiai's
        coefficient. Shape ``(n_neurons, n_components)``, filled up with zeros; the sign of each makes its largest
        entry positive. Halko, Martinsson, Tropp (2011), doi 10.1137/090771806, from a fixed start.
        """
        from threadpoolctl import threadpool_limits

        n, d = self.rows.shape
        dtype = self.rows.dtype
        scale, shift = np.ones(n, dtype), np.zeros(n, dtype)
        if self.measure == "jaccard":
            scale = (1 / np.sqrt(np.maximum(self.level, 1))).astype(dtype)
        elif self.measure == "pearson":
            shift = (self.level / np.sqrt(d)).astype(dtype)
        middle = np.asarray(self.rows.T @ scale) / n - shift.mean()

        def times(x: NDArray[Any]) -> NDArray[Any]:
            out = np.asarray(self.rows @ x) * scale[:, None]
            out -= np.outer(shift, x.sum(axis=0))
            out -= middle @ x
            return out

        def transposed(x: NDArray[Any]) -> NDArray[Any]:
            out = np.asarray(self.rows.T @ (scale[:, None] * x))
            out -= shift @ x
            out -= np.outer(middle, x.sum(axis=0))
            return out

        rng = np.random.default_rng(0)
        with threadpool_limits(limits=1, user_api="blas"):  # as for dense rows: the same bytes from any machine's cores
            basis = times(rng.normal(size=(d, min(n_components + 12, d, n))).astype(dtype))
            for _ in range(3):
                basis, _ = np.linalg.qr(times(transposed(np.linalg.qr(basis)[0])))
            left, singular, _ = np.linalg.svd(transposed(basis).T, full_matrices=False)
            scores = ((basis @ left) * singular).astype(np.float64)[:, :n_components]
        scores[:, singular[: scores.shape[1]] <= 1e-5 * max(float(singular.max(initial=0)), 1e-30)] = 0
        if n:
            peak = scores[np.abs(scores).argmax(axis=0), np.arange(scores.shape[1])]
            scores *= np.where(peak < 0, -1.0, 1.0)
        return np.pad(scores, ((0, 0), (0, n_components - scores.shape[1])))


def coactivity(
    values: Any, measure: str, mean: NDArray[np.float64], std: NDArray[np.float64], dead: NDArray[np.bool_]
) -> Coactivity:
    """Turn values, shape ``(n_inputs, n_neurons)``, into rows of neurons that can be compared; dead ones have none.

    Parameters
    ----------
    values
        CSR; for ``"jaccard"`` an array too.
    measure
        ``"cosine"``, ``"pearson"`` or ``"jaccard"``.
    mean, std, dead
        Per neuron.
    """
    level = np.zeros(values.shape[1])
    if measure == "jaccard":
        active = values > 0
        if is_sparse(values):
            rows = sparse.csr_array(active.T, dtype=np.float32)
            rows.data *= np.repeat(~dead, np.diff(rows.indptr))
            rows.eliminate_zeros()
            return Coactivity(rows, measure, np.diff(rows.indptr).astype(np.float64))
        rows = np.ascontiguousarray((active & ~dead).T, dtype=np.float32)
        return Coactivity(rows, measure, rows.sum(axis=1, dtype=np.float64))
    if measure == "pearson":
        length = std * np.sqrt(values.shape[0])
        np.divide(mean, std, out=level, where=~dead)
    else:
        squares = values.data.astype(np.float64) ** 2
        length = np.sqrt(np.bincount(values.indices, weights=squares, minlength=values.shape[1]))
    inverse = np.divide(1, length, out=np.zeros(values.shape[1]), where=~dead)
    dtype = np.float64 if np.abs(level).max(initial=0) > _WIDE else np.float32
    data = (values.data * inverse[values.indices]).astype(dtype)
    rows = sparse.csr_array(sparse.csr_array((data, values.indices, values.indptr), shape=values.shape).T)
    rows.eliminate_zeros()
    return Coactivity(rows, measure, level)


class _Others:
    """The neurons that are never active together with one of them, k at most, the most alike first."""

    def __init__(self, pairs: Coactivity, k: int, absolute: bool) -> None:
        self._pairs, self._k, self._absolute = pairs, k, absolute
        level = pairs.level
        self._order = np.argsort(level, kind="stable")
        none = np.zeros(len(level))
        if pairs.measure == "pearson":
            lowest, highest = level.min(initial=0), level.max(initial=0)
            none = np.maximum(-level * lowest, -level * highest)
            if absolute:
                none = np.abs(level) * max(abs(lowest), abs(highest))
        #: the least distance that such a neuron can have, shape (n_neurons,)
        self.least = 1 - none

    def of(self, i: int, active: NDArray[Any]) -> NDArray[np.int64]:
        """Return neurons that are not among `active` and not `i`."""
        n, k = len(self._order), self._k
        taken = np.append(active, i)
        if self._pairs.measure == "pearson":
            most = k + len(taken)
            ends = np.concatenate([self._order[:most], self._order[::-1][:most]])
            free = np.unique(ends[np.isin(ends, taken, invert=True)])
            # the lowest levels are the most alike to a positive one; both ends may be with absolute=True
            return free[np.argsort(self.distance(i, free), kind="stable")[:k]].astype(np.int64)
        rng = np.random.default_rng([int(i)])
        if 2 * (len(taken) + k) >= n:
            return rng.permutation(np.setdiff1d(np.arange(n), taken))[:k]
        drawn = np.zeros(0, dtype=np.int64)
        while len(drawn) < k:
            draw = np.append(drawn, rng.integers(n, size=2 * k + 8))
            draw = draw[np.isin(draw, taken, invert=True)]
            drawn = draw[np.sort(np.unique(draw, return_index=True)[1])]
        return drawn[:k]

    def distance(self, i: int, neurons: NDArray[np.int64]) -> Float:
        """Return the distances of such neurons, whose dot products are 0."""
        level = self._pairs.level
        zero = np.zeros(len(neurons))
        return _distance(self._pairs._value(zero, np.full(len(neurons), level[i]), level[neurons]), self._absolute)


def _distance(value: Float, absolute: bool) -> Float:
    out = 1 - (np.abs(value) if absolute else value)
    return np.asarray(np.maximum(out, 0, out=out))


def _first(which: NDArray[Any], near: Float, k: int) -> tuple[NDArray[Any], Float]:
    """Return the k nearest in order, ties by index."""
    if len(near) > k:
        cut = np.partition(near, k - 1)[k - 1]
        below = np.flatnonzero(near < cut)
        tied = np.flatnonzero(near == cut)
        tied = tied[np.argsort(which[tied])][: k - len(below)]
        kept = np.concatenate([below, tied])
        which, near = which[kept], near[kept]
    order = np.lexsort((which, near))
    return which[order], near[order]
