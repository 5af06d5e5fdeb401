"""The heavy products behind similarities: unit rows, distances by blocks, nearest neighbours."""

from __future__ import annotations

import os
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float32]

#: Entries of a distance matrix that are held at one time (float32: 32 MB).
BLOCK_ENTRIES = 8_000_000

#: Above this number of rows neighbours are found approximately, by nearest-neighbour descent.
EXACT_NEIGHBORS = 32_768


def n_threads() -> int:
    """Return how many threads this process may keep busy."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def block_rows(n_columns: int) -> int:
    """Return how many rows of a matrix with so many columns make one block."""
    return max(1, BLOCK_ENTRIES // max(n_columns, 1))


def normalize_rows(rows: Float) -> NDArray[np.bool_]:
    """Scale rows to unit length in place; return which rows were zero (they stay zero)."""
    zero = np.zeros(len(rows), dtype=bool)
    step = block_rows(rows.shape[1])
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        norms = np.sqrt(np.einsum("ij,ij->i", block, block, dtype=np.float64))
        zero[start : start + step] = norms == 0
        block /= np.where(norms == 0, 1, norms)[:, None].astype(np.float32)
    return zero


def gram(rows: Float) -> Float:
    """Return ``rows @ rows.T``; NumPy computes one triangle of it (syrk)."""
    return np.asarray(rows @ rows.T)


def euclidean_block(rows: Float, squares: Float, start: int, stop: int) -> Float:
    """Euclidean distances of rows ``start:stop`` to all rows."""
    block = rows[start:stop] @ rows.T
    block *= -2
    block += squares[start:stop, None]
    block += squares
    np.maximum(block, 0, out=block)
    np.sqrt(block, out=block)
    return np.asarray(block)


def nearest(distance_block: Callable[[int, int], Float], n_rows: int, k: int) -> tuple[NDArray[np.int64], Float]:
    """Exact k nearest neighbours from blocks of distances, nearest first, self excluded; ties by index."""
    indices = np.empty((n_rows, k), dtype=np.int64)
    distances = np.empty((n_rows, k), dtype=np.float32)
    step = block_rows(n_rows)
    for start in range(0, n_rows, step):
        stop = min(start + step, n_rows)
        block = distance_block(start, stop)
        block[np.arange(stop - start), np.arange(start, stop)] = np.inf
        which = np.argpartition(block, k - 1, axis=1)[:, :k]
        near = np.take_along_axis(block, which, axis=1)
        order = np.lexsort((which, near), axis=1)
        indices[start:stop] = np.take_along_axis(which, order, axis=1)
        distances[start:stop] = np.take_along_axis(near, order, axis=1)
    return indices, distances


def approximate_nearest(rows: Float, k: int, metric: str, absolute: bool = False) -> tuple[NDArray[np.int64], Float]:
    """Approximate k nearest neighbours by nearest-neighbour descent (Dong et al. 2011), self excluded.

    With ``absolute`` every row also stands with its sign reversed, so that opposite rows are neighbours.
    """
    from pynndescent import NNDescent

    n = len(rows)
    table = np.concatenate([rows, -rows]) if absolute else rows
    index = NNDescent(table, metric=metric, n_neighbors=min(k + 16, len(table) - 1), random_state=0)
    which, near = index.neighbor_graph
    which, near = which[:n] % n, near[:n]
    indices = np.empty((n, k), dtype=np.int64)
    distances = np.empty((n, k), dtype=np.float32)
    for i in range(n):
        others, first = np.unique(which[i], return_index=True)
        first = np.sort(first[(others != i)])[:k]
        if len(first) < k:  # a row among fewer distinct neighbours than asked for: repeat the last
            first = np.concatenate([first, np.full(k - len(first), first[-1])])
        indices[i], distances[i] = which[i, first], near[i, first]
    return indices, distances
