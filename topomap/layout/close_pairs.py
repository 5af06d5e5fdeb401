"""All pairs of points closer than a distance, by a list of cells. Numba caches what it compiles."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from topomap.layout.spread.kernels import compiled

Array = NDArray[Any]


class Cells:
    """Points sorted into square cells as wide as the distance, so that close pairs lie in cells that touch.

    Parameters
    ----------
    points
        Shape ``(n, 2)``.
    distance
        Above which pairs are left out. Memory is proportional to the number of cells in the box of the points.
    """

    def __init__(self, points: NDArray[np.float64], distance: float) -> None:
        cell = ((points - points.min(axis=0)) / distance).astype(np.int64) + 1
        self._columns = int(cell[:, 1].max()) + 2  # an empty column on both sides: no cell wraps around
        count = (int(cell[:, 0].max()) + 2) * self._columns
        index = cell[:, 0] * self._columns + cell[:, 1]
        self._order = np.argsort(index, kind="stable")
        self._first = np.concatenate([[0], np.cumsum(np.bincount(index, minlength=count))])
        self._points = points[self._order]
        self._limit = distance**2

    @property
    def n_candidates(self) -> int:
        """Number of pairs that `pairs` looks at."""
        size = np.diff(self._first)
        ahead = np.zeros_like(size)
        for step in (1, self._columns - 1, self._columns, self._columns + 1):
            ahead[:-step] += size[step:]
        return int((size * (size - 1) // 2 + size * ahead).sum())

    def pairs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return both points of each close pair, every pair once."""
        count = _close(self._points, self._first, self._columns, self._limit, np.empty((2, 0), dtype=np.int64))
        found = np.empty((2, count), dtype=np.int64)
        _close(self._points, self._first, self._columns, self._limit, found)
        return self._order[found[0]], self._order[found[1]]


@compiled
def _close(points: Array, first: Array, columns: int, limit: float, out: Array) -> int:
    """Count the close pairs, and write as many as there is room for."""
    room = out.shape[1]
    count = 0
    for cell in range(len(first) - 1):
        for i in range(first[cell], first[cell + 1]):
            # the rest of this cell and the next one, then the three of the next row: each a run of sorted points
            for part in range(2):
                if part == 0:
                    start, stop = i + 1, first[min(cell + 2, len(first) - 1)]
                else:
                    start = first[min(cell + columns - 1, len(first) - 1)]
                    stop = first[min(cell + columns + 2, len(first) - 1)]
                for j in range(start, stop):
                    dx, dy = points[i, 0] - points[j, 0], points[i, 1] - points[j, 1]
                    if dx * dx + dy * dy < limit:
                        if count < room:
                            out[0, count], out[1, count] = i, j
                        count += 1
    return count
