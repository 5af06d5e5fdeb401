"""Permutations of labels: within blocks, of whole units, all of them where they are few."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from math import lgamma, log, prod

import numpy as np
from numpy.typing import NDArray

Int = NDArray[np.int64]

#: Labellings that are drawn at one time. Part of what a seed means: another number gives other permutations.
CHUNK = 256


@dataclass(frozen=True, eq=False)
class Shuffle:
    """Labels of units that may change places within blocks.

    Parameters
    ----------
    codes
        The label of each unit, codes from 0, shape ``(n_units,)``.
    blocks
        The block of each unit, shape ``(n_units,)``.
    """

    codes: Int
    blocks: Int

    @cached_property
    def members(self) -> list[Int]:
        """The units of each block."""
        order = np.argsort(self.blocks, kind="stable")
        return np.split(order, np.flatnonzero(np.diff(self.blocks[order])) + 1)

    @cached_property
    def n_movable(self) -> int:
        """The number of units whose label can change: those that share a block with one of another label."""
        return sum(len(units) for units in self.members if (self.codes[units] != self.codes[units[0]]).any())

    def log_count(self) -> float:
        """Return the natural logarithm of the number of distinct labellings, the observed one included."""
        total = 0.0
        for units in self.members:
            times = np.bincount(self.codes[units])
            total += lgamma(len(units) + 1) - sum(lgamma(k + 1) for k in times[times > 1].tolist())
        return total

    def count(self, most: int) -> int:
        """Return the number of distinct labellings, or ``most + 1`` where there are more."""
        if self.log_count() > log(most + 1) + 1:
            return most + 1
        return min(most + 1, prod(_arrangements(self.codes[units]) for units in self.members))

    def every(self) -> Int:
        """Return all distinct labellings, the observed one first, shape ``(n_labellings, n_units)``."""
        rows = self.codes[None].copy()
        for units in self.members:
            ways = _all_arrangements(self.codes[units])
            if len(ways) > 1:
                repeated = np.repeat(rows, len(ways), axis=0)
                repeated[:, units] = np.tile(ways, (len(rows), 1))
                rows = repeated
        same = (rows == self.codes).all(axis=1)
        return np.concatenate([rows[same], rows[~same]])

    def draw(self, n: int, seed: list[int]) -> Iterator[Int]:
        """Draw labellings at random, by chunks of shape ``(at most CHUNK, n_units)``; the seed gives the same again."""
        rng = np.random.default_rng(seed)
        for start in range(0, n, CHUNK):
            rows = np.tile(self.codes, (min(CHUNK, n - start), 1))
            for units in self.members:
                if len(units) > 1:
                    rows[:, units] = rng.permuted(rows[:, units], axis=1)
            yield rows


def blocks_of(unit_of: Int, classes: Int, n_units: int) -> Int:
    """Return the block of each unit: units whose rows are distributed alike over the classes.

    A unit of one class has all its rows there, so that units nested in classes are permuted within their class.
    Units of several classes change places with those of the same proportions, however many rows they have. Without
    units (each row its own) blocks are classes.
    """
    from scipy import sparse

    counts = sparse.csr_array(
        (np.ones(len(unit_of), dtype=np.int64), (unit_of, classes)), shape=(n_units, int(classes.max(initial=0)) + 1)
    )
    counts.sum_duplicates()  # sorted by class within each unit, so that equal compositions have equal bytes
    seen: dict[bytes, int] = {}
    blocks = np.empty(n_units, dtype=np.int64)
    for unit, (start, stop) in enumerate(zip(counts.indptr[:-1], counts.indptr[1:], strict=True)):
        times = counts.data[start:stop]
        key = counts.indices[start:stop].tobytes() + b"|" + (times // np.gcd.reduce(times)).tobytes()
        blocks[unit] = seen.setdefault(key, len(seen))
    return blocks


def _arrangements(codes: Int) -> int:
    total, left = 1, len(codes)
    for times in np.bincount(codes).tolist():
        total *= _choose(left, times)
        left -= times
    return total


def _choose(n: int, k: int) -> int:
    from math import comb

    return comb(n, k)


def _all_arrangements(codes: Int) -> Int:
    """Return the distinct orders of codes with repetitions, shape ``(n_orders, len(codes))``."""
    times = np.bincount(codes)
    present = np.flatnonzero(times)
    rows = np.full((1, len(codes)), present[-1] if len(present) else 0, dtype=np.int64)
    free = [np.arange(len(codes))]
    for code in present[:-1]:  # what is left over is of the last code
        placed, rest = [], []
        for row, places in zip(rows, free, strict=True):
            for chosen in combinations(range(len(places)), int(times[code])):
                new = row.copy()
                new[places[list(chosen)]] = code
                placed.append(new)
                rest.append(np.delete(places, list(chosen)))
        rows, free = np.array(placed), rest
    return rows
