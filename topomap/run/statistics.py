"""Means and variances of groups that are merged pairwise, block by block."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


class Statistics:
    """Count, mean and sum of squared deviations per group and neuron.

    Blocks of rows are merged by the pairwise update of Chan, Golub and LeVeque (COMPSTAT 1982, equations 2.1), so that
    nothing cancels whatever the offset of the values.

    Examples
    --------
    >>> statistics = Statistics(n_neurons=1)
    >>> for block in ([1e9, 1e9 + 2], [1e9 + 4]):
    ...     block = np.array(block)
    ...     squares = ((block - block.mean()) ** 2).sum()
    ...     statistics.merge(np.array([0]), np.array([len(block)]), np.array([[block.mean()]]), np.array([[squares]]))
    >>> statistics.total, float(statistics.mean[0, 0] - 1e9), float(statistics.squares[0, 0])
    (3, 2.0, 8.0)
    """

    def __init__(self, n_neurons: int, n_groups: int = 1) -> None:
        self.count = np.zeros(n_groups, dtype=np.int64)
        self.mean = np.zeros((n_groups, n_neurons))
        self.squares = np.zeros((n_groups, n_neurons))

    @property
    def total(self) -> int:
        """Rows of all groups."""
        return int(self.count.sum())

    def parts(self, group: Any = None) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
        """Return counts, means and sums of squares: of all groups, or of one."""
        index = slice(None) if group is None else [group]
        return self.count[index], self.mean[index], self.squares[index]

    def grow(self, n_groups: int) -> None:
        """Make room for more groups, empty so far."""
        more = Statistics(self.mean.shape[1], n_groups - len(self.count))
        self.count = np.concatenate([self.count, more.count])
        self.mean = np.concatenate([self.mean, more.mean])
        self.squares = np.concatenate([self.squares, more.squares])

    def merge(
        self,
        groups: NDArray[np.int64],
        count: NDArray[np.int64],
        mean: NDArray[np.float64],
        squares: NDArray[np.float64],
    ) -> None:
        """Merge the statistics of new rows into these (distinct) groups, by the pairwise update."""
        before = self.count[groups]
        share = (count / np.maximum(before + count, 1))[:, None]
        delta = mean - self.mean[groups]
        self.squares[groups] += squares + delta**2 * (before[:, None] * share)
        # Where there was nothing the share is 1 and the mean is taken as it is, without rounding.
        self.mean[groups] = np.where(share == 1, mean, self.mean[groups] + delta * share)
        self.count[groups] = before + count
