"""The region as ground to fill: its sites, its walls, and the pressure that spreads neurons over it.

Lengths are in spacings: one site is one unit of area, so a region of n sites has the area n: it is a
square of side sqrt(n) or a disc of radius sqrt(n / pi).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dctn, idctn

from topomap.layout.regions import Region, shape_of
from topomap.layout.regions.lattice import lowest
from topomap.layout.spread import kernels

Points = NDArray[np.float64]

#: Deviation of the Gaussian that smooths the density, in spacings.
_SMOOTH = 0.8

#: Longest way that pressure moves a neuron in one iteration, in spacings.
_CAP = 1.5


#: Sites nearer to the border than this lie along it; where its direction turns by more than 45 degrees within as much,
#: they lie in a corner.
_BORDER, _CORNER = 0.9, np.sqrt(0.5)

#: How far neurons move along the border at most, in spacings.
_ALONG = 0.25

#: Parts of a grid cell, and of cells along a side at most, by which the cells that walls cut are measured.
_PARTS, _MOST_PARTS = 8, 4096


@dataclass(frozen=True, eq=False)
class Ground:
    """A region of `n` sites, of which the last `spare` are left free along the bottom.

    Parameters
    ----------
    region
        ``"disc"``, ``"square"``, ``"hexagon"``, a mask or a `Region`.
    n
        Number of sites.
    spare
        Number of sites that stay free.
    """

    region: str | Region
    n: int
    spare: int = 0

    @cached_property
    def shape(self) -> Region:
        """The region in the unit frame."""
        shape = shape_of(self.region)
        if shape is None:
            raise ValueError("a hull cannot be filled: it is what the neurons themselves span.")
        return shape

    @cached_property
    def half(self) -> float:
        """Half the side of the frame."""
        return float(np.sqrt(self.n / self.shape.area))

    @cached_property
    def sites(self) -> Points:
        """The sites to fill, shape ``(n - spare, 2)``."""
        return self._ordered[: self.n - self.spare]

    @cached_property
    def spare_sites(self) -> Points:
        """The lowest sites, shape ``(spare, 2)``: one stretch at the rim, its top row filled from the middle."""
        return self._ordered[self.n - self.spare :] if self.spare else np.zeros((0, 2))

    @cached_property
    def _ordered(self) -> Points:
        every = self.shape.sites(self.n)
        last = lowest(every, self.spare, 1 / self.half)
        return np.concatenate([every[~last], every[last]]) * self.half

    def depth(self, points: Points) -> NDArray[np.float64]:
        """How far within the region points lie."""
        return np.asarray(self.shape.depth(points / self.half) * self.half)

    def clamp(self, points: Points) -> None:
        """Bring points that are outside onto the border, in place."""
        points[:] = self.shape.clamp(points / self.half) * self.half

    def along_border(self, home: Points) -> Callable[[Points], None]:
        """Return what takes from moves, in place, their way out of the region where home lies along its border.

        In corners it leaves none of the move, elsewhere a quarter of a spacing: more would open holes at the border,
        where there are no neurons beyond to give way.
        """
        rim = np.flatnonzero(self.depth(home) < _BORDER)
        places = home[rim] / self.half
        normal = self.shape.normal(places)
        along = np.column_stack([-normal[:, 1], normal[:, 0]])
        straight = np.ones(len(rim), dtype=bool)
        for step in (-_BORDER, _BORDER):
            straight &= (self.shape.normal(places + step / self.half * along) * normal).sum(axis=1) > _CORNER

        def slide(moves: Points) -> None:
            ways = np.clip((moves[rim] * along).sum(axis=1), -_ALONG, _ALONG)
            moves[rim] = (ways * straight)[:, None] * along

        return slide

    def start(self, scores: Points) -> Points:
        """Fill the region by the ranks of two coordinates (see `Region.fill`)."""
        n = len(scores)
        ranks = np.empty((n, 2))
        for axis in range(2):
            ranks[np.argsort(scores[:, axis], kind="stable"), axis] = (2 * np.arange(n) + 1) / n - 1
        return self.shape.fill(ranks, lambda: self.sites / self.half) * self.half

    def press(self, points: Points, times: int = 1) -> None:
        """Move points, in place, so that their density evens out.

        One Poisson solve removes the compression: with ``laplace(psi) = density - mean`` the displacement
        ``grad(psi) / density`` expands where points are dense. Walls are Neumann's; what lies outside the region or is
        spare is filled to density 1 beforehand.
        """
        for _ in range(times):
            density = self._walls.copy()
            kernels.deposit(points, -self.half, self._spacing, density)
            spectrum = dctn(density, norm="ortho") * self._filters[0]
            smooth = idctn(spectrum, norm="ortho")
            psi = idctn(spectrum * self._filters[1], norm="ortho")
            kernels.push(points, -self.half, self._spacing, psi, smooth, _CAP)
            self.clamp(points)

    @property
    def _cells(self) -> int:
        return max(4, round(2 * self.half))

    @property
    def _spacing(self) -> float:
        return 2 * self.half / self._cells

    @cached_property
    def _walls(self) -> NDArray[np.float64]:
        """The share of each cell that lies outside the region, and the spare sites, as density."""
        cells = self._cells
        parts = max(1, min(_PARTS, _MOST_PARTS // cells))
        steps = (2 * np.arange(parts * cells) + 1) / (parts * cells) - 1
        walls = np.empty((cells, cells))
        for row, y in enumerate(steps.reshape(cells, parts)):
            places = np.stack(np.meshgrid(steps, y), axis=-1).reshape(-1, 2)
            outside = ~self.shape.contains(places)
            walls[row] = outside.reshape(parts, cells, parts).mean(axis=(0, 2))
        if self.spare:
            kernels.deposit(np.ascontiguousarray(self.spare_sites), -self.half, self._spacing, walls)
        return walls

    @cached_property
    def _filters(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """The Gaussian and the inverse Laplacian in cosine space."""
        wave = np.pi * np.arange(self._cells) / (2 * self.half)
        squared = wave[:, None] ** 2 + wave**2
        gaussian = np.exp(-squared * _SMOOTH**2 / 2)
        squared[0, 0] = np.inf
        return gaussian, np.asarray(-1 / squared)
