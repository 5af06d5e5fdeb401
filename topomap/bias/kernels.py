"""The compiled loops over permutations of clusters. Numba keeps the machine code on disk."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@numba.njit(cache=True, nogil=True)
def _root(parent: Array, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = parent[i]
    return i


@numba.njit(cache=True, nogil=True)
def heaviest(stats: Array, thresholds: Array, starts: Array, near: Array, out: Array, start: int, stop: int) -> None:
    """Write the mass of the heaviest cluster of each row of `stats`; neighbours of i are ``near[starts[i]:...]``."""
    n = stats.shape[1]
    parent = np.empty(n, dtype=np.int64)
    mass = np.empty(n)
    for b in range(start, stop):
        for i in range(n):
            parent[i] = i if abs(stats[b, i]) > thresholds[i] else -1
            mass[i] = 0.0
        for i in range(n):
            if parent[i] < 0:
                continue
            for e in range(starts[i], starts[i + 1]):
                j = near[e]
                if j < i and parent[j] >= 0 and (stats[b, i] > 0) == (stats[b, j] > 0):
                    first, second = _root(parent, i), _root(parent, j)
                    if first != second:
                        parent[first] = second
        most = 0.0
        for i in range(n):
            if parent[i] >= 0:
                root = _root(parent, i)
                mass[root] += abs(stats[b, i])
                most = max(most, mass[root])
        out[b] = most


@numba.njit(cache=True, nogil=True)
def enhance(stats: Array, starts: Array, near: Array, step: float, out: Array, start: int, stop: int) -> None:
    """Write the threshold-free enhancement (E = 0.5, H = 2) of each row of `stats`, unsigned.

    Thresholds fall from the largest statistic, so that clusters only ever grow and merge.
    """
    n = stats.shape[1]
    parent = np.empty(n, dtype=np.int64)
    size = np.empty(n, dtype=np.int64)
    for b in range(start, stop):
        order = np.argsort(-np.abs(stats[b]))
        for i in range(n):
            parent[i] = -1
            size[i] = 1
            out[b, i] = 0.0
        active = 0
        top = int(np.ceil(abs(stats[b, order[0]]) / step)) if n else 0
        for level in range(top, 0, -1):
            height = level * step
            while active < n and abs(stats[b, order[active]]) > height:
                i = order[active]
                parent[i] = i
                for e in range(starts[i], starts[i + 1]):
                    j = near[e]
                    if parent[j] >= 0 and (stats[b, i] > 0) == (stats[b, j] > 0):
                        first, second = _root(parent, i), _root(parent, j)
                        if first != second:
                            parent[first] = second
                            size[second] += size[first]
                active += 1
            for k in range(active):
                out[b, order[k]] += np.sqrt(size[_root(parent, order[k])]) * height * height * step
