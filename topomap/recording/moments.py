"""Mergeable streaming statistics and sketches: what `keep="moments"` keeps instead of values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import dsyrk, sgemm

from topomap._check import at_least
from topomap.recording.statistics import Grouping
from topomap.run import Moments, comparable, is_correct
from topomap.run.statistics import Statistics

#: Entries of a block of rows (16 MiB of float64), as long as it has between 256 and 1024 rows.
BLOCK_ENTRIES = 1 << 21


class MomentAccumulator:
    """Counts, means, variances and cross products of rows that come in batches and are not kept.

    Rows are collected into blocks whose size depends on the number of neurons alone, each block is centred on
    its own mean in float64, and blocks are merged pairwise [1]_. So nothing cancels whatever the offset of the
    values, and the result has the same bytes however the rows were cut into batches. Memory depends on the
    numbers of neurons, groups and features, never on the number of rows.

    Below `exact_below` neurons the covariance is exact. From there on each row ``x_i`` gets a vector
    ``r_i ~ N(0, 1 / k)`` of ``k = n_features`` entries, and ``sum_i (x_i - mean) r_i`` is kept, in float32: the inner
    products of its rows are those of the centred neurons up to a relative error of about ``1 / sqrt(k)`` [2]_.
    The vectors are drawn row by row from one generator, so that all layers recorded with one seed share them.

    Parameters
    ----------
    n_neurons
        Number of values per row.
    by
        Groupings to keep counts, means and variances for: one tuple of column names each.
    exact_below
        Keep the covariance of all pairs below this number of neurons, a sketch from there on.
    n_features
        Columns of the sketch.
    seed
        Seed of the sketch: anything that `numpy.random.default_rng` takes. Accumulators that will be merged need
        different ones, such as ``(0, rank)``.

    References
    ----------
    .. [1] T. F. Chan, G. H. Golub, R. J. LeVeque, "Updating formulae and a pairwise algorithm for computing sample
       variances", COMPSTAT 1982, equations 2.1.
    .. [2] D. Achlioptas, "Database-friendly random projections", Journal of Computer and System Sciences 66, 2003.

    Examples
    --------
    >>> import numpy as np
    >>> accumulator = MomentAccumulator(2, by=(("label",),))
    >>> accumulator.update(np.array([[1.0, 5.0], [3.0, 5.0]]), {"label": ["a", "b"]})
    >>> accumulator.update(np.array([[8.0, 5.0]]), {"label": ["b"]})
    >>> moments = accumulator.finish("fc", "none")
    >>> moments
    Moments(fc: 3 rows x 2 neurons, 1 dead, by label)
    >>> moments.mean, moments.variance
    (array([4., 5.]), array([13.,  0.]))
    >>> moments.grouping("label").mean
    array([[1. , 5. ],
           [5.5, 5. ]])
    """

    def __init__(
        self,
        n_neurons: int,
        by: Sequence[str | tuple[str, ...]] = (("label",), ("label", "correct")),
        exact_below: int = 4096,
        n_features: int = 512,
        seed: int | Sequence[int] = 0,
    ) -> None:
        at_least("n_neurons", n_neurons, 1)
        at_least("n_features", n_features, 1)
        self.n_neurons = n_neurons
        self.by = tuple((names,) if isinstance(names, str) else tuple(names) for names in by)
        self.exact = n_neurons < exact_below
        self.n_features = n_features
        self.seed = seed
        self._all = Statistics(n_neurons)
        self._low = np.full(n_neurons, np.inf)
        self._high = np.full(n_neurons, -np.inf)
        # Column-major, because BLAS then adds to the matrix where it lies; dsyrk also does only half the work.
        self._products = np.zeros((n_neurons, n_neurons) if self.exact else (0, 0), order="F")
        self._sketch = np.zeros((0, 0) if self.exact else (n_neurons, n_features), dtype=np.float32, order="F")
        self._drawn = np.zeros(n_features)  # the sum of all random vectors: what a shift of the mean is worth
        self._rng = np.random.default_rng(seed)
        self._groupings = [Grouping(names, n_neurons) for names in self.by]
        rows = int(np.clip(BLOCK_ENTRIES // n_neurons, 256, 1024))
        self._block: NDArray[Any] = np.empty((rows, n_neurons), dtype=np.float32)
        self._codes = np.empty((len(self.by), len(self._block)), dtype=np.int64)
        self._filled = 0

    @property
    def count(self) -> int:
        """Number of rows seen."""
        return self._all.total + self._filled

    def update(self, values: Any, columns: Mapping[str, Any] | None = None) -> None:
        """Add rows.

        Parameters
        ----------
        values
            Shape ``(n_rows, n_neurons)``, any real dtype.
        columns
            Columns of length ``n_rows``, among them those named in `by`. Rows with a missing value (``None``, NaN or
            an empty string) belong to no group of that grouping.

        Raises
        ------
        ValueError
            If the shapes do not fit, a column of `by` is not there, or a value is NaN or infinite.
        """
        values = np.asarray(values)
        if values.ndim != 2 or values.shape[1] != self.n_neurons:
            raise ValueError(f"values must have shape (n_rows, {self.n_neurons}); got {values.shape}.")
        if values.dtype not in (np.float16, np.float32):
            values = values.astype(np.float64, copy=False)
        if not np.isfinite(values).all():
            bad = int((~np.isfinite(values)).any(axis=0).sum())
            raise ValueError(
                f"values must be finite: {bad} neurons have NaN or infinite ones; mask or remove those rows."
            )
        columns = dict(columns or {})
        label, prediction = (np.asarray(columns[c]) if c in columns else None for c in ("label", "prediction"))
        if label is not None and prediction is not None and "correct" not in columns and comparable(label, prediction):
            columns["correct"] = is_correct(label, prediction)
        codes = np.array([g.codes(columns, len(values)) for g in self._groupings], dtype=np.int64)
        codes = codes.reshape(len(self._groupings), len(values))
        if values.dtype == np.float64 and self._block.dtype != np.float64:
            wider = np.empty(self._block.shape)
            wider[: self._filled] = self._block[: self._filled]
            self._block = wider
        start = 0
        while start < len(values):
            n = min(len(values) - start, len(self._block) - self._filled)
            self._block[self._filled : self._filled + n] = values[start : start + n]
            self._codes[:, self._filled : self._filled + n] = codes[:, start : start + n]
            self._filled += n
            start += n
            if self._filled == len(self._block):
                self._flush()

    def merge(self, other: MomentAccumulator) -> None:
        """Add everything that another accumulator has seen, as if its rows had come here.

        Counts, means, variances and covariances are those of one pass over all rows. Sketches add up too, but only if
        they were drawn from different seeds: with one seed, different rows would share their random vectors and their
        products would not average out.

        Raises
        ------
        ValueError
            If the two were made with different parameters, or their sketches with the same seed.
        """
        ours = (self.n_neurons, self.by, self.exact, self.n_features)
        theirs = (other.n_neurons, other.by, other.exact, other.n_features)
        if ours != theirs:
            raise ValueError(
                "accumulators must agree in n_neurons, by, exact_below and n_features to be merged; "
                f"got {ours} and {theirs}."
            )
        if not self.exact and np.array_equal(self.seed, other.seed):
            raise ValueError(
                f"sketches must have different seeds to be merged; both have {self.seed!r}. "
                "Give each worker its own, such as seed=(0, rank)."
            )
        self._flush()
        other._flush()
        if other.count == 0:
            return
        np.minimum(self._low, other._low, out=self._low)
        np.maximum(self._high, other._high, out=self._high)
        delta = other._all.mean[0] - self._all.mean[0]
        if self.exact:
            self._products += other._products
            weight = self.count * other.count / (self.count + other.count)
            self._add_products((delta * np.sqrt(weight))[None])
        else:
            self._sketch += other._sketch
            nothing = np.empty((0, self.n_neurons)), np.empty((0, self.n_features), dtype=np.float32)
            self._add_sketch(*nothing, delta, other.count, other._drawn)
        self._all.merge(np.zeros(1, dtype=np.int64), *other._all.parts())
        for mine, its in zip(self._groupings, other._groupings, strict=True):
            mine.merge(its)

    def finish(
        self,
        layer: str,
        reduce: str,
        provenance: Mapping[str, Any] | None = None,
        classes: Sequence[str] | None = None,
    ) -> Moments:
        """Return the statistics of all rows so far; more may be added afterwards.

        Parameters
        ----------
        layer, reduce
            Where the values came from.
        provenance
            How they came about.
        classes
            Names of the integer codes in ``label`` and ``prediction``, for the names of groups.

        Raises
        ------
        ValueError
            If no row was seen.
        """
        if self.count == 0:
            raise ValueError(f"layer {layer!r} has no rows: there are no moments to finish.")
        self._flush()
        freedom = max(self.count - 1, 1)
        covariance = None
        if self.exact:
            covariance = _symmetric(self._products / freedom)
        names = dict.fromkeys(("label", "prediction"), classes) if classes else {}
        return Moments(
            count=self.count,
            mean=self._all.mean[0].copy(),
            variance=self._all.squares[0] / freedom,
            covariance=covariance,
            sketch=None if self.exact else np.array(self._sketch, order="C"),
            groupings=tuple(grouping.finish(names) for grouping in self._groupings),
            layer=layer,
            reduce=reduce,
            provenance=dict(provenance or {}),
            minimum=self._low.copy(),
            maximum=self._high.copy(),
        )

    def _flush(self) -> None:
        """Merge the collected rows into the statistics."""
        n, self._filled = self._filled, 0
        if n == 0:
            return
        block = self._block[:n].astype(np.float64)
        np.minimum(self._low, block.min(axis=0), out=self._low)
        np.maximum(self._high, block.max(axis=0), out=self._high)
        mean = block.mean(axis=0)
        block -= mean
        # The second pass takes off what rounding left of the mean, so that offsets of any size do no harm.
        rest = block.mean(axis=0)
        block -= rest
        mean += rest
        for grouping, codes in zip(self._groupings, self._codes[:, :n], strict=True):
            grouping.add(block, codes, mean)
        before, delta = self._all.total, mean - self._all.mean[0]
        if self.exact:
            weight = before * n / (before + n)
            self._add_products(np.vstack([block, delta * np.sqrt(weight)]) if before else block)
        else:
            vectors = self._rng.standard_normal((n, self.n_features), dtype=np.float32)
            vectors *= np.float32(1 / np.sqrt(self.n_features))
            self._add_sketch(block, vectors, delta, n, vectors.sum(axis=0, dtype=np.float64))
        squares = np.einsum("ij,ij->j", block, block)
        self._all.merge(np.zeros(1, dtype=np.int64), np.array([n]), mean[None], squares[None])

    def _add_products(self, rows: NDArray[np.float64]) -> None:
        """Add ``rows.T @ rows`` to the upper triangle of the products."""
        self._products = dsyrk(1.0, rows.T, beta=1.0, c=self._products, overwrite_c=1)

    def _add_sketch(
        self,
        rows: NDArray[np.float64],
        vectors: NDArray[np.float32],
        delta: NDArray[np.float64],
        n: int,
        drawn: NDArray[np.float64],
    ) -> None:
        """Add ``rows.T @ vectors`` and centre all on the common mean; before the mean itself is updated.

        The old sketch is centred on the old mean, the rows on theirs; ``delta`` is the new mean minus the old one,
        ``n`` and ``drawn`` are the number of new rows and the sum of their vectors. Moving a sketch to another mean
        takes one outer product of the step and the sum of its vectors, here one more row.
        """
        share = n / (self._all.total + n)
        shift = (1 - share) * drawn - share * self._drawn
        rows32 = np.vstack([rows, delta]).astype(np.float32)
        vectors = np.vstack([vectors, shift.astype(np.float32)])
        self._sketch = sgemm(1.0, rows32.T, vectors.T, beta=1.0, c=self._sketch, trans_b=1, overwrite_c=1)
        self._drawn += drawn


def _symmetric(upper: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mirror the upper triangle of a column-major matrix where it lies, and return it row-major."""
    step = 512
    for start in range(0, len(upper), step):
        part = slice(start, start + step)
        upper[part, :start] = upper[:start, part].T
        square = np.triu(upper[part, part])
        upper[part, part] = square + np.triu(square, 1).T
    return upper.T
