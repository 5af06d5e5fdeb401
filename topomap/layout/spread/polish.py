"""The last exchange: neurons trade the places they ended at wherever that keeps more neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from topomap.layout.spread.kernels import _below, _uniform, compiled

Points = NDArray[np.float64]
Index = NDArray[np.int64]
Array = NDArray[Any]

#: Neighbours in the plane, and among the features, that an arrangement should keep.
_K = 10

#: Up to this number of neurons all ranks are known.
EXACT = 1_024

#: Sweeps over fewer than 200 neurons, over those whose ranks are all known, and over more.
_SWEEPS, _FEW = (200, 40, 20), 200

#: Near places that a neuron may be put on beside one it resembles, and temperatures in units of the worst rank.
_NEAR, _HOT, _COLD = 13, 0.3, 0.01


def polish(points: Points, indices: Index, seed: NDArray[np.uint64]) -> Points:
    """Exchange the places of neurons so that ranks of neighbours agree better.

    Trustworthiness sums by how much the ranks, among the features, of a neuron's 10 neighbours in the plane exceed 10;
    continuity sums the same with both spaces exchanged (Venna and Kaski 2006, doi 10.1016/j.neunet.2006.05.014). Their
    sum is lowered, and every neighbour kept counts against it.

    Where only the m nearest neighbours of each are given, no ranks of all pairs are needed: among the features, a
    neuron that is none of them counts as one of rank 5/3 m; in the plane, where neurons lie evenly, the rank at
    distance r is about ``pi r^2``, counted up to 10/3 m.

    Parameters
    ----------
    points
        In spacings, shape ``(n, 2)``.
    indices
        Neighbours of each neuron among the features, nearest first: the nearest ones, shape ``(n, m)``, or all,
        ``(n, n - 1)``.
    seed
        State of the generator, shape ``(1,)``; moved on.
    """
    n, m = indices.shape
    k = min(_K, n // 2, m)
    near = cKDTree(points).query(points, k=np.arange(1, min(max(_NEAR, k + 1), n) + 1))[1]
    close, alike = np.ascontiguousarray(near[:, 1 : k + 1]), np.ascontiguousarray(indices[:, :k])
    if m == n - 1:
        known, rank = np.empty((n, 0), dtype=np.int32), _ranked(indices)
        plane = _ranked(np.argsort(((points[:, None] - points) ** 2).sum(axis=2), axis=1, kind="stable")[:, 1:])
        worst, kept = n / 2, 0.4 * (n - 1.5 * k - 0.5)
    else:
        order = np.argsort(indices, axis=1)
        known, rank = np.take_along_axis(indices, order, axis=1).astype(np.int32), (order + 1).astype(np.int16)
        plane = np.empty((0, 0), dtype=np.int16)
        worst = kept = 5 * m / 3
    sweeps = _SWEEPS[0] if n < _FEW else _SWEEPS[1 if m == n - 1 else 2]
    at, place_of = np.arange(n), np.arange(n)
    _polish(
        points, known, rank, plane, close, *_reversed(close), alike, *_reversed(alike), np.ascontiguousarray(near),
        place_of, at, worst, kept, np.geomspace(_HOT, _COLD, sweeps) * worst, seed,
    )  # fmt: skip
    return np.asarray(points[place_of])


def _ranked(order: Index) -> NDArray[np.int16]:
    """Return the rank of each neuron among the neighbours of each, 0 for itself."""
    rank = np.zeros((len(order), len(order)), dtype=np.int16)
    ranks = np.arange(1, len(order), dtype=np.int16)
    np.put_along_axis(rank, order, np.broadcast_to(ranks, order.shape), axis=1)
    return rank


def _reversed(neighbors: Index) -> tuple[Index, Index]:
    """Return, in compressed rows, whose neighbours each one is."""
    n, k = neighbors.shape
    start = np.concatenate([[0], np.cumsum(np.bincount(neighbors.ravel(), minlength=n))])
    return start, np.argsort(neighbors.ravel(), kind="stable") // k


@compiled
def _rank(known: Array, rank: Array, i: int, j: int, worst: float) -> float:
    """Rank of j among the neighbours of i."""
    if known.shape[1] == 0:
        return float(rank[i, j])
    low, high = 0, known.shape[1]
    while low < high:
        middle = (low + high) // 2
        if known[i, middle] < j:
            low = middle + 1
        else:
            high = middle
    if low < known.shape[1] and known[i, low] == j:
        return float(rank[i, low])
    return worst


@compiled
def _cost(
    a: int, place: int, fellow: int, points: Array, known: Array, rank: Array, plane: Array, close: Array,
    seen_start: Array, seen: Array, alike: Array, liked_start: Array, liked: Array, place_of: Array, at: Array,
    worst: float, kept: float,
) -> float:  # fmt: skip
    """Sum the penalties of neuron a at a place, but for those with its fellow: they hardly change by a trade."""
    k = close.shape[1]
    total = 0.0
    for e in range(k):
        j = at[close[place, e]]
        if j != fellow:
            r = _rank(known, rank, a, j, worst)
            total += r - k if r > k else -kept
    for e in range(seen_start[place], seen_start[place + 1]):
        j = at[seen[e]]
        if j != fellow:
            r = _rank(known, rank, j, a, worst)
            total += r - k if r > k else -kept
    x, y = points[place, 0], points[place, 1]
    for e in range(k + liked_start[a + 1] - liked_start[a]):
        j = alike[a, e] if e < k else liked[liked_start[a] + e - k]
        if j != fellow:
            if len(plane):
                r = float(plane[place, place_of[j]] if e < k else plane[place_of[j], place])
            else:
                gx, gy = points[place_of[j], 0] - x, points[place_of[j], 1] - y
                r = min(np.pi * (gx * gx + gy * gy), 2 * worst)
            total += max(r - k, 0.0)
    return total


@compiled
def _polish(
    points: Array, known: Array, rank: Array, plane: Array, close: Array, seen_start: Array, seen: Array, alike: Array,
    liked_start: Array, liked: Array, near: Array, place_of: Array, at: Array, worst: float, kept: float,
    temperatures: Array, state: Array,
) -> None:  # fmt: skip
    n = len(points)
    for t in range(len(temperatures)):
        for _ in range(n):
            a = _below(state, n)
            friend = alike[a, _below(state, alike.shape[1])]
            there = near[place_of[friend], _below(state, near.shape[1])]
            here, b = place_of[a], at[there]
            if a == b:
                continue
            gain = 0.0
            for who, place, fellow in ((a, here, b), (b, there, a)):
                gain += _cost(
                    who, place, fellow, points, known, rank, plane, close, seen_start, seen, alike, liked_start,
                    liked, place_of, at, worst, kept,
                )  # fmt: skip
            place_of[a], place_of[b] = there, here
            at[there], at[here] = a, b
            for who, place, fellow in ((a, there, b), (b, here, a)):
                gain -= _cost(
                    who, place, fellow, points, known, rank, plane, close, seen_start, seen, alike, liked_start,
                    liked, place_of, at, worst, kept,
                )  # fmt: skip
            if gain < 0 and _uniform(state) >= np.exp(gain / temperatures[t]):
                place_of[a], place_of[b] = here, there
                at[there], at[here] = b, a
