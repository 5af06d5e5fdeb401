"""The spanning tree that HDBSCAN starts from, by matrix products.

In more than 60 dimensions ``hdbscan`` compares all pairs of rows one by one; matrix products do the same many times
faster. They only rule out what cannot matter: every distance that is compared or enters the result is taken anew from
the difference of its two rows, summed as ``hdbscan`` does. The tree is the same to the last bit, and so are the
clusters where distances are equal, which is common: that of a row to its `min_samples`-th neighbour counts for both.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topomap import _compute

Float = NDArray[np.float64]

#: Rows whose distances to all are computed at a time.
_BLOCK = 128
#: What products may be off by, of the squares of their rows.
_ROUNDING = 64 * np.finfo(float).eps
#: Neighbours beyond those asked for whose distances are taken anew, as products may order close ones wrongly.
_SPARE = 4


class Distances:
    """Euclidean distances to the rows of features: bounds by products, and the distances themselves.

    Parameters
    ----------
    features
        Shape ``(n, n_features)``.
    """

    def __init__(self, features: Float, metric: str = "euclidean") -> None:
        from sklearn.metrics import DistanceMetric

        self.features = np.ascontiguousarray(features, dtype=np.float64)
        self.mean = self.features.mean(axis=0)
        self._rows = self.features - self.mean  # about the mean, where products lose the fewest digits
        self._squares = np.einsum("ij,ij->i", self._rows, self._rows)
        self._slack = _ROUNDING * (self._squares + np.einsum("ij,ij->i", self.features, self.features))
        self._metric = DistanceMetric.get_metric("euclidean")

    def __len__(self) -> int:
        return len(self.features)

    def of(self, index: NDArray[np.int64]) -> Float:
        """Lower bounds, by no more than rounding, of the distances of these rows to all, ``(len(index), n)``."""
        return self._between(self._rows[index], self._squares[index], self._slack[index])

    def _between(self, rows: Float, squares: Float, slack: Float) -> Float:
        out = rows @ self._rows.T
        out *= -2
        out += self._squares - self._slack
        out += (squares - slack)[:, None]
        np.maximum(out, 0, out=out)
        return np.asarray(np.sqrt(out, out=out))

    def exactly(self, point: Float, index: NDArray[np.int64]) -> Float:
        """Distances of one point to these rows, from their differences, shape ``(len(index),)``."""
        out = np.empty(len(index))
        for start in range(0, len(index), _BLOCK):  # few rows are copied at a time
            part = slice(start, start + _BLOCK)
            out[part] = self._metric.pairwise(point[None], self.features[index[part]])[0]
        return out

    def nearest(self, near: Float, points: Float, k: int) -> tuple[Float, NDArray[np.int64]]:
        """Return the distances and positions of the k nearest rows of points, chosen by their bounds."""
        width = min(k + _SPARE, len(self))
        index = np.sort(np.argpartition(near, width - 1, axis=1)[:, :width], axis=1)
        exact = np.array([self.exactly(point, rows) for point, rows in zip(points, index, strict=True)])
        order = np.argsort(exact, axis=1, kind="stable")[:, :k]
        return np.take_along_axis(exact, order, 1), np.take_along_axis(index, order, 1).astype(np.int64)

    def query(self, points: Float, k: int) -> tuple[Float, NDArray[np.int64]]:
        """Return distances and positions of the k nearest rows, as scikit-learn's trees do."""
        gaps, index = np.empty((len(points), k)), np.empty((len(points), k), dtype=np.int64)
        for start in range(0, len(points), _BLOCK):
            part = slice(start, start + _BLOCK)
            rows = points[part] - self.mean
            squares = np.einsum("ij,ij->i", rows, rows)
            slack = _ROUNDING * (squares + np.einsum("ij,ij->i", points[part], points[part]))
            near = self._between(rows, squares, slack)
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
            dense = np.maximum(core, core[row])
            maybe = np.flatnonzero(outside & (np.maximum(known.pop(row), dense) < key))
            reach = np.maximum(distances.exactly(features[row], maybe), dense[maybe])
            closer = reach < key[maybe]
            key[maybe[closer]] = reach[closer]
            source[maybe[closer]] = row
            row = int(np.argmin(key))
            edges[step] = source[row], row, key[row]
            progress.update()
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
