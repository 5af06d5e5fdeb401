"""Sums over all pairs of neurons in the plane, by blocks: the one engine under every force layout."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from topomap import _compute

if TYPE_CHECKING:
    from topomap.similarity import Similarity

#: ``kernel(squares, scratch, other)`` turns squared distances of pairs into weights, in any of its three buffers;
#: ``other`` holds the values of the pairs where there are such, and is scratch too where there are none.
Kernel = Callable[[NDArray[Any], NDArray[Any], NDArray[Any]], NDArray[Any]]

#: Pairs per block: three buffers of this many float32 stay in a core's second-level cache or close to it.
BLOCK_PAIRS = 1 << 16

#: Lanes a step is split into. Fixed, so that sums are added in one order however many threads there are.
LANES = 4

#: Bytes that values of pairs may take before they are recomputed block by block.
PAIR_BYTES = 72 << 20


def _blocks(n: int) -> list[tuple[int, int]]:
    rows = max(16, min(128, BLOCK_PAIRS // max(n, 1)))
    return [(start, min(start + rows, n)) for start in range(0, n, rows)]


class AllPairs:
    """Weighted sums of displacements over all pairs, in memory O(n x block).

    Each pair is visited once (weights are symmetric). Squared distances come from one thin matrix product per block,
    the weights from a few vectorised passes over a buffer that stays in cache, and
    ``sum_j w_ij (p_j - p_i) = (W P)_i - (W 1)_i p_i`` from a second thin product.

    Parameters
    ----------
    n
        Number of points.
    dtype
        Of the blocks; positions and sums are float64 always.

    Notes
    -----
    Use as a context manager: threads end with it. The result does not depend on the number of threads.
    """

    def __init__(self, n: int, dtype: type[np.floating[Any]] = np.float32) -> None:
        self.n = n
        self.dtype = np.dtype(dtype)
        self.blocks = _blocks(n)
        n_lanes = LANES if n * n > 4 * BLOCK_PAIRS else 1
        self._lanes = [self.blocks[lane::n_lanes] for lane in range(n_lanes)]
        size = max((stop - start) * (n - start) for start, stop in self.blocks)
        self._buffers = [[np.empty(size, dtype=self.dtype) for _ in range(3)] for _ in self._lanes]
        self._sums = [np.zeros((n, 3)) for _ in self._lanes]
        threads = min(n_lanes, _compute.n_threads())
        self._pool = ThreadPoolExecutor(threads) if threads > 1 else None

    def __enter__(self) -> Self:
        from threadpoolctl import threadpool_limits

        # the products are thin: threads of the matrix library cost more than they bring, and ours are busy already
        self._limits = threadpool_limits(limits=1, user_api="blas")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._limits.unregister()
        if self._pool is not None:
            self._pool.shutdown()

    def sum(
        self, positions: NDArray[np.float64], kernel: Kernel | None, values: PairValues | None = None
    ) -> NDArray[np.float64]:
        """Return ``sum_j w_ij (p_j - p_i)``, shape ``(n, 2)``.

        Parameters
        ----------
        positions
            Shape ``(n, 2)``, any scale, best centred: a layout that has collapsed to a tiny one keeps its shape.
        kernel
            Turns a block of squared distances into weights (see `Kernel`). None: the weights are the values.
        values
            A value for each pair.
        """
        scale = float(np.abs(positions).max()) or 1.0
        points = np.column_stack([positions / scale, np.ones(self.n)]).astype(self.dtype)
        near = positions.astype(self.dtype)
        squares = np.einsum("ij,ij->i", near, near)
        one = np.ones_like(squares)
        left = np.column_stack([-2 * near, squares, one])
        right = np.column_stack([near, one, squares]).T.copy()

        def run(lane: int) -> None:
            total = self._sums[lane]
            total[:] = 0
            for start, stop in self._lanes[lane]:
                shape = (stop - start, self.n - start)
                first, second, third = (b[: shape[0] * shape[1]].reshape(shape) for b in self._buffers[lane])
                if values is not None:
                    values.block(start, stop, third)
                weights = third
                if kernel is not None:
                    np.matmul(left[start:stop], right[:, start:], out=first)
                    weights = kernel(first, second, third)
                # a point does not act on itself; the rounding of a large weight there would
                weights[np.arange(shape[0]), np.arange(shape[0])] = 0
                total[start:stop] += weights @ points[start:]
                total[stop:] += weights[:, shape[0] :].T @ points[start:stop]

        if self._pool is None:
            for lane in range(len(self._lanes)):
                run(lane)
        else:
            list(self._pool.map(run, range(len(self._lanes))))
        total = self._sums[0].copy()
        for part in self._sums[1:]:
            total += part
        out: NDArray[np.float64] = total[:, :2] * scale - total[:, 2:] * positions
        return out


class PairValues:
    """A function of the distance of each pair, by blocks of the upper triangle.

    Kept as float32 while that fits `max_bytes`, as 16-bit fixed point (error below 2e-5 of the largest) while that
    fits, and recomputed from the similarity at every visit beyond.

    Parameters
    ----------
    similarity
        Supplies blocks of distances.
    transform
        Changes a block of distances in place, given the largest distance of all.
    max_bytes
        Limit of what is kept.
    """

    def __init__(
        self,
        similarity: Similarity,
        transform: Callable[[NDArray[np.float32], float], None] | None = None,
        max_bytes: int = PAIR_BYTES,
    ) -> None:
        self._similarity = similarity
        self._transform = transform
        n = similarity.n_neurons
        blocks = _blocks(n)
        n_pairs = sum((stop - start) * (n - start) for start, stop in blocks)
        self._kept: dict[int, NDArray[Any]] = {}
        self._unit = 0.0
        largest = 0.0
        keep = 4 * n_pairs <= max_bytes
        for start, stop in blocks:
            block = similarity.distance_block(start, stop)[:, start:]
            largest = max(largest, float(block.max()))
            if keep:
                self._kept[start] = block.copy()
        self.largest = largest
        if keep:
            for block in self._kept.values():
                self._apply(block)
        elif 2 * n_pairs <= max_bytes:
            bound = max(float(np.abs(self._compute(start, stop)).max()) for start, stop in blocks)
            self._unit = (bound or 1.0) / np.iinfo(np.int16).max
            for start, stop in blocks:
                self._kept[start] = np.rint(self._compute(start, stop) / self._unit).astype(np.int16)

    def _apply(self, block: NDArray[np.float32]) -> None:
        if self._transform is not None:
            self._transform(block, self.largest)

    def _compute(self, start: int, stop: int) -> NDArray[np.float32]:
        block = self._similarity.distance_block(start, stop)[:, start:].copy()
        self._apply(block)
        return block

    def block(self, start: int, stop: int, out: NDArray[Any]) -> NDArray[Any]:
        """Return the values of pairs ``start:stop`` x ``start:``, written to `out`."""
        kept = self._kept.get(start)
        if kept is None:
            kept = self._compute(start, stop)
        if kept.dtype == np.int16:
            np.multiply(kept, self._unit, out=out, casting="unsafe", dtype=out.dtype)
        else:
            out[...] = kept
        return out


def part_coincident(points: NDArray[np.float64], noise: float, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a copy in which points at exactly the same place are moved apart by a little noise."""
    out = np.array(points, dtype=np.float64)
    _, inverse, counts = np.unique(out, axis=0, return_inverse=True, return_counts=True)
    same = counts[inverse.ravel()] > 1
    out[same] += rng.normal(scale=noise, size=(int(same.sum()), 2))
    return out
