"""A fine grid over the ground: who is nearest where, how points settle evenly, and where gaps are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from topomap.layout.spread import kernels

if TYPE_CHECKING:
    from topomap.layout.spread.ground import Ground

Points = NDArray[np.float64]
Index = NDArray[np.int64]

#: Grid points per spacing, for few and for many neurons.
_PARTS, _FEWER_PARTS, _MANY = 6, 4, 20_000

#: Points move beyond the centre of what is theirs, which takes fewer steps to settle.
_BEYOND = 1.5

#: How far beyond the border is rounding, in spacings.
_OUTSIDE = 1e-9

#: Angle that spreads any number of directions evenly, and how far points part that share a place.
_GOLDEN, _APART = np.pi * (3 - np.sqrt(5)), 0.25


@dataclass(frozen=True, eq=False)
class Cover:
    """Grid points that stand for the region of a ground; its spare sites count as neurons that stay."""

    ground: Ground

    @cached_property
    def grid(self) -> Points:
        """Grid points within the region, in spacings, shape ``(n_points, 2)``."""
        half = self.ground.half
        count = int(np.ceil(2 * half * (_PARTS if self.ground.n <= _MANY else _FEWER_PARTS)))
        steps = (2 * np.arange(count) + 1) / count - 1
        parts = []
        for strip in np.array_split(steps, count // 64 + 1):
            places = np.stack(np.meshgrid(steps, strip), axis=-1).reshape(-1, 2)
            parts.append(places[self.ground.shape.contains(places)])
        return np.concatenate(parts) * half

    def owners(self, points: Points, grid: Points) -> tuple[Index, Points]:
        """Return which point, or spare site after them, is nearest to each grid point, and its squared distance."""
        every = np.concatenate([points, self.ground.spare_sites])
        columns = int(np.ceil(2 * self.ground.half)) + 1
        cell = np.clip((every + self.ground.half).astype(np.int64), 0, columns - 1)
        index = cell[:, 1] * columns + cell[:, 0]
        first = np.concatenate([[0], np.cumsum(np.bincount(index, minlength=columns**2))])
        owner, squares = np.empty(len(grid), dtype=np.int64), np.empty(len(grid))
        order = np.argsort(index, kind="stable")
        kernels.owners(grid, every, order, first, columns, -self.ground.half, owner, squares)
        return owner, squares

    def settle(self, points: Points, n_steps: int) -> Points:
        """Move points to the centres of what is nearest to them (Lloyd 1982, doi 10.1109/TIT.1982.1056489)."""
        n = len(points)
        points = points.copy()
        for _ in range(n_steps):
            owner, _ = self.owners(points, self.grid)
            count = np.bincount(owner, minlength=n)[:n]
            sums = [np.bincount(owner, self.grid[:, axis], minlength=n)[:n] for axis in (0, 1)]
            centres = np.column_stack(sums) / np.maximum(count, 1)[:, None]
            points += np.where(count[:, None] > 0, _BEYOND * (centres - points), 0)
            without = np.flatnonzero(count == 0)  # others share their places
            points[without] += _APART * np.column_stack([np.cos(_GOLDEN * without), np.sin(_GOLDEN * without)])
            self.ground.clamp(points)
        return points

    def mend(self, points: Points, home: Points, limit: float, n_steps: int = 12) -> Points:
        """Send points around empty circles wider than `limit`, in spacings, a part of their way back home."""
        from scipy.spatial import cKDTree

        squares = self.owners(points, self.grid)[1]
        gaps = self.grid[squares > (limit - 0.15) ** 2]  # what they leave behind may open elsewhere
        for _ in range(n_steps):
            squares = self.owners(points, gaps)[1]
            wide = squares > limit**2
            if not wide.any():
                break
            around = cKDTree(points).query_ball_point(gaps[wide], np.sqrt(squares[wide]) + 0.25)
            who = np.unique(np.concatenate([np.asarray(near, dtype=np.int64) for near in around]))
            points = points.copy()
            moved = home[who] + 0.75 * (points[who] - home[who])
            away = self.ground.depth(moved) < -_OUTSIDE
            if away.any():  # of a region with dents
                moved[away] = self.ground.shape.clamp(moved[away] / self.ground.half) * self.ground.half
            points[who] = moved
        return points
