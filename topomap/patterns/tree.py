"""The spanning tree that HDBSCAN starts from, by matrix products.

In more than 60 dimensions ``hdbscan`` compares all pairs of rows one by one; matrix products do the same many times
faster. They are used to find neighbours and the order of joining alone: every distance that enters the result is taken
anew from the difference of its two rows, so that rounding of products cannot show in it.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topomap import _compute

Float = NDArray[np.float64]

#: Rows whose distances to all are computed at a time.
_BLOCK = 128
#: Neighbours beyond those asked for whose distances are taken anew, as products may order close ones wrongly.
_SPARE = 4


class Distances:
    """Euclidean distances to the rows of features, by products.

    Parameters
    ----------
    features
        Shape ``(n, n_features)``.
    """

    def __init__(self, features: Float, metric: str = "euclidean") -> None:
        self.features = features
        self.mean = features.mean(axis=0)
        self._rows = features - self.mean  # about the mean, where products lose the fewest digits
        self._squares = np.einsum("ij,ij->i", self._rows, self._rows)

    def __len__(self) -> int:
        return len(self.features)

    def of(self, index: NDArray[np.int64]) -> Float:
        """Distances of these rows to all, shape ``(len(index), n)``."""
        return self._between(self._rows[index], self._squares[index])

    def _between(self, rows: Float, squares: Float) -> Float:
        out = rows @ self._rows.T
        out *= -2
        out += self._squares
        out += squares[:, None]
        # what is below is rounding: such rows are taken as equal, until their distance is taken anew
        rounding = 8 * np.finfo(float).eps
        out[out <= rounding * self._squares + rounding * squares[:, None]] = 0
        return np.asarray(np.sqrt(out, out=out))

    def exactly(self, points: Float, index: NDArray[np.int64]) -> Float:
        """Distances of points to rows, shape ``(n_points, k)`` as `index`, from their differences."""
        out = np.empty(index.shape)
        step = max(1, _compute.BLOCK_ENTRIES // 8 // max(self.features.shape[1] * index.shape[1], 1))
        for start in range(0, len(points), step):
            part = slice(start, start + step)
            gap = self.features[index[part]] - points[part, None]
            out[part] = np.sqrt(np.einsum("ijk,ijk->ij", gap, gap))
        return out

    def nearest(self, near: Float, points: Float, k: int) -> tuple[Float, NDArray[np.int64]]:
        """Return the k nearest rows of points, by distances from products, and their distances taken anew."""
        width = min(k + _SPARE, len(self))
        index = np.sort(np.argpartition(near, width - 1, axis=1)[:, :width], axis=1)
        exact = self.exactly(points, index)
        order = np.argsort(exact, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(exact, order, 1), np.take_along_axis(index, order, 1).astype(np.int64)

    def query(self, points: Float, k: int) -> tuple[Float, NDArray[np.int64]]:
        """Return distances and positions of the k nearest rows, as scikit-learn's trees do."""
        gaps, index = np.empty((len(points), k)), np.empty((len(points), k), dtype=np.int64)
        for start in range(0, len(points), _BLOCK):
            part = slice(start, start + _BLOCK)
            rows = points[part] - self.mean
            near = self._between(rows, np.einsum("ij,ij->i", rows, rows))
            gaps[part], index[part] = self.nearest(near, points[part], k)
        return gaps, index


def spanning_tree(features: Float, min_samples: int) -> Float:
    """Return the minimum spanning tree of mutual reachability distances.

    The reachability of two rows is their Euclidean distance, or the distance of either to its `min_samples`-th
    neighbour where that is larger. Prim's algorithm from the first row, ties to the first, as in ``hdbscan``; rows that
    will be joined soon have their distances computed together.

    Parameters
    ----------
    features
        Shape ``(n, n_features)``, ``n >= 2``.
    min_samples
        The neighbours that make a row dense.

    Returns
    -------
    edges : (n - 1, 3) float64
        Row that is in the tree, row that joins, and their reachability, in the order of joining.
    """
    from tqdm.auto import tqdm

    distances = Distances(features)
    n, k = len(distances), min(min_samples, len(distances) - 1)
    heavy = float(n) * n * features.shape[1] > 1e10
    with tqdm(
        total=2 * n, desc="patterns", unit="input", disable=None if heavy else True, leave=False, delay=1
    ) as progress:
        core = np.empty(n)
        for start in range(0, n, _BLOCK):
            rows = np.arange(start, min(start + _BLOCK, n))
            near = distances.of(rows)
            near[np.arange(len(rows)), rows] = 0  # itself
            core[rows] = distances.nearest(near, features[rows], k + 1)[0][:, -1]
            progress.update(len(rows))
        edges = np.empty((n - 1, 3))
        key, source, outside = np.full(n, np.inf), np.zeros(n, dtype=np.int64), np.ones(n, dtype=bool)
        known: dict[int, Float] = {}
        most = max(2 * _BLOCK, _compute.BLOCK_ENTRIES * 2 // n)  # rows of distances held at a time
        row = 0
        for step in range(n - 1):
            outside[row] = False
            key[row] = np.inf
            if row not in known:
                _look_ahead(distances, row, key, outside, known, most)
            reach = np.maximum(np.maximum(known.pop(row), core), core[row])
            closer = outside & (reach < key)
            key[closer] = reach[closer]
            source[closer] = row
            row = int(np.argmin(key))
            edges[step, :2] = source[row], row
            progress.update()
    one, other = edges[:, 0].astype(np.int64), edges[:, 1].astype(np.int64)
    for start in range(0, n - 1, _BLOCK):
        part = slice(start, start + _BLOCK)
        exact = distances.exactly(features[one[part]], other[part, None])[:, 0]
        edges[part, 2] = np.maximum(np.maximum(core[one[part]], core[other[part]]), exact)
    return edges


def _look_ahead(
    distances: Distances,
    row: int,
    key: Float,
    outside: NDArray[np.bool_],
    known: dict[int, Float],
    most: int,
) -> None:
    """Compute the distances of one row, and of those likely to join soon: the closest ones that are not known."""
    if len(known) + _BLOCK > most:  # forget those that are farthest from joining
        for far in sorted(known, key=lambda other: -key[other])[: len(known) // 2]:
            del known[far]
    waiting = np.flatnonzero(outside)
    waiting = waiting[~np.isin(waiting, np.fromiter(known, dtype=np.int64, count=len(known)))]
    if len(waiting) >= _BLOCK:
        waiting = waiting[np.argpartition(key[waiting], _BLOCK - 2)[: _BLOCK - 1]]
    index = np.append(waiting, row)
    # copies: a view of one row would hold those of its whole block
    known.update((i, gaps.copy()) for i, gaps in zip(index.tolist(), distances.of(index), strict=True))
