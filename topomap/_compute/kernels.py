"""The compiled loops of the search for neighbours. Numba keeps the machine code on disk."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@numba.njit(cache=True, nogil=True)
def keep(indices: Array, keys: Array, queries: Array, candidates: Array, block: Array, start: int, stop: int) -> None:
    """Keep the smallest keys of some queries: rows of `keys` are heaps whose first entry is the largest kept.

    ``block[i, j]`` is the key of candidate j for query i; a query is no candidate of its own.
    """
    size = keys.shape[1]
    for i in range(start, stop):
        q = queries[i]
        worst = keys[q, 0]
        for j in range(len(candidates)):
            key = block[i, j]
            if key >= worst or candidates[j] == q:
                continue
            hole = 0
            while True:
                child = 2 * hole + 1
                if child >= size:
                    break
                if child + 1 < size and keys[q, child + 1] > keys[q, child]:
                    child += 1
                if keys[q, child] <= key:
                    break
                keys[q, hole] = keys[q, child]
                indices[q, hole] = indices[q, child]
                hole = child
            keys[q, hole] = key
            indices[q, hole] = candidates[j]
            worst = keys[q, 0]


@numba.njit(cache=True, nogil=True, fastmath=True)
def compare(rows: Array, kind: int, order: Array, candidates: Array, out: Array, start: int, stop: int) -> None:
    """Distances of candidates by their full rows: 0 for ``1 - r``, 1 for ``1 - |r|``, 2 for Euclidean."""
    for at in range(start, stop):
        i = order[at]
        for c in range(candidates.shape[1]):
            j = candidates[i, c]
            total = np.float32(0.0)
            if kind == 2:
                for f in range(rows.shape[1]):
                    difference = rows[i, f] - rows[j, f]
                    total += difference * difference
                out[i, c] = np.sqrt(total)
            else:
                for f in range(rows.shape[1]):
                    total += rows[i, f] * rows[j, f]
                out[i, c] = max(1 - (abs(total) if kind == 1 else total), np.float32(0.0))
