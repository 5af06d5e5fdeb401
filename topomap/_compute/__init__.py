"""The heavy products behind similarities: unit rows, distances by blocks, nearest neighbours."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

Float = NDArray[np.float32]

#: Entries of a distance matrix that are held at one time (float32: 32 MB).
BLOCK_ENTRIES = 8_000_000

#: Above this number of rows neighbours are found approximately (see `search`).
EXACT_NEIGHBORS = 16_384


def n_threads() -> int:
    """Return how many threads this process may keep busy."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(work: Callable[[int, int], object], n: int) -> None:
    """Call ``work(start, stop)`` on as many stretches of `n` items as there are threads.

    For work that lets go of the interpreter's lock, on items that do not touch each other.
    """
    threads = min(n_threads(), n)
    if threads < 2:
        work(0, n)
        return
    bounds = np.linspace(0, n, threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, bounds[:-1], bounds[1:]))


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

    def select(block: Float, first: int, start: int, stop: int) -> None:
        block = block[start:stop]
        which = np.argpartition(block, k - 1, axis=1)[:, :k]
        near = np.take_along_axis(block, which, axis=1)
        order = np.lexsort((which, near), axis=1)
        indices[first + start : first + stop] = np.take_along_axis(which, order, axis=1)
        distances[first + start : first + stop] = np.take_along_axis(near, order, axis=1)

    step = block_rows(n_rows)
    with tqdm(total=n_rows, desc="neighbours", disable=None, leave=False, delay=1) as bar:
        for start in range(0, n_rows, step):
            stop = min(start + step, n_rows)
            block = distance_block(start, stop)
            block[np.arange(stop - start), np.arange(start, stop)] = np.inf
            in_threads(partial(select, block, start), stop - start)
            bar.update(stop - start)
    return indices, distances
