"""What neurons fill: the disc and convex polygons, in the unit frame [-1, 1]^2."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import ConvexHull, QhullError

from topomap.layout.regions import lattice

Points = NDArray[np.float64]
Floats = NDArray[np.float64]


class Region(ABC):
    """A part of the unit frame [-1, 1]^2.

    Attributes
    ----------
    name
        ``"disc"``, ``"square"``, ``"hexagon"``, ``"hull"`` or ``"mask"``.
    """

    name: str

    @property
    @abstractmethod
    def outline(self) -> tuple[Points, ...]:
        """Closed rings around the region, counter-clockwise; those around holes clockwise."""

    @abstractmethod
    def depth(self, points: Points) -> Floats:
        """Return the distance to the border, negative outside, shape ``(n_points,)``."""

    @abstractmethod
    def normal(self, points: Points) -> Points:
        """Return unit vectors pointing out of the region at the border nearest to each point."""

    @abstractmethod
    def clamp(self, points: Points) -> Points:
        """Return the points, those outside replaced by the nearest place inside."""

    @cached_property
    def area(self) -> float:
        """Area; that of the frame is 4."""
        return float(sum(np.sum(r[:-1, 0] * r[1:, 1] - r[1:, 0] * r[:-1, 1]) / 2 for r in self.outline))

    def contains(self, points: Points, slack: float = 1e-9) -> NDArray[np.bool_]:
        """Whether points lie in the region, or outside by no more than `slack`."""
        return np.asarray(self.depth(points) >= -slack)

    def border(self, step: float) -> Points:
        """Return points along the border, no further apart than `step`, the corners among them."""
        sides = []
        for ring in self.outline:
            for a, b in pairwise(ring):
                count = max(1, int(np.ceil(np.hypot(*(b - a)) / step)))
                sides.append(a + np.arange(count)[:, None] / count * (b - a))
        return np.concatenate(sides)

    def sites(self, n: int) -> Points:
        """Return n sites that fill the region evenly, in rows, shape ``(n, 2)``."""
        return lattice.fitted(self, n)

    def fill(self, ranks: Points, sites: Callable[[], Points]) -> Points:
        """Fill the region by ranks along two axes, those in [-1, 1]: rows of `sites` by y, within rows by x.

        The map keeps areas (Rosenblatt 1952, doi 10.1214/aoms/1177729394); `sites` makes the region's, one per rank: a
        search that other regions do without.
        """
        out = np.empty_like(ranks)
        rising = np.argsort(ranks[:, 1], kind="stable")
        places = sites()
        order, bounds = lattice.bands(places)
        for low, high in pairwise(bounds):
            strip = rising[low:high]
            out[strip[np.argsort(ranks[strip, 0], kind="stable")]] = places[order[low:high]]
        return out

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Region({self.name})"


@dataclass(frozen=True, eq=False, repr=False)
class Disc(Region):
    """The unit disc."""

    name: str = "disc"

    @cached_property
    def area(self) -> float:
        """Area: pi."""
        return float(np.pi)

    @cached_property
    def outline(self) -> tuple[Points, ...]:
        """A ring of 720 corners."""
        angle = np.linspace(0, 2 * np.pi, 721)
        return (np.column_stack([np.cos(angle), np.sin(angle)]),)

    def depth(self, points: Points) -> Floats:
        """Return the distance to the circle, negative outside."""
        return np.asarray(1 - np.sqrt((points**2).sum(axis=1)))

    def normal(self, points: Points) -> Points:
        """Return the directions away from the centre."""
        radius = np.linalg.norm(points, axis=1, keepdims=True)
        return np.where(radius > 0, points / np.maximum(radius, 1e-300), [0.0, -1.0])

    def clamp(self, points: Points) -> Points:
        """Return the points, those outside brought onto the circle."""
        return np.asarray(points / np.maximum(np.linalg.norm(points, axis=1, keepdims=True), 1))

    def border(self, step: float) -> Points:
        """Return points along the circle, no further apart than `step`."""
        angle = np.linspace(0, 2 * np.pi, int(np.ceil(2 * np.pi / step)) + 1)
        return np.column_stack([np.cos(angle), np.sin(angle)])

    def sites(self, n: int) -> Points:
        """Return the innermost n sites of a hexagonal lattice."""
        return lattice.innermost(n)

    def fill(self, ranks: Points, sites: Callable[[], Points]) -> Points:
        """Map each concentric square to the circle that takes the same share of the area."""
        radius = np.maximum(np.linalg.norm(ranks, axis=1), 1e-12)
        return np.asarray(ranks * (np.abs(ranks).max(axis=1) / radius)[:, None])


@dataclass(frozen=True, eq=False, repr=False)
class Polygon(Region):
    """A convex polygon.

    Parameters
    ----------
    name
        What it is called.
    corners
        Counter-clockwise, shape ``(n_corners, 2)``.
    """

    name: str
    corners: Points

    @cached_property
    def outline(self) -> tuple[Points, ...]:
        """The corners, the first one again at the end."""
        return (np.vstack([self.corners, self.corners[:1]]),)

    @cached_property
    def _sides(self) -> Points:
        return np.asarray(np.roll(self.corners, -1, axis=0) - self.corners)

    @cached_property
    def _normals(self) -> Points:
        out = np.column_stack([self._sides[:, 1], -self._sides[:, 0]])
        return np.asarray(out / np.linalg.norm(out, axis=1, keepdims=True))

    def _behind(self, points: Points) -> Floats:
        """How far behind the line of the nearest side points lie."""
        out = np.full(len(points), np.inf)
        for corner, normal in zip(self.corners, self._normals, strict=True):
            np.minimum(out, (corner - points) @ normal, out=out)
        return out

    def _nearest(self, points: Points) -> tuple[Points, NDArray[np.int64]]:
        """Return the nearest place on the border, and the side that it lies on."""
        along = ((points[:, None] - self.corners) * self._sides).sum(axis=2) / (self._sides**2).sum(axis=1)
        places = self.corners + np.clip(along, 0, 1)[..., None] * self._sides
        side = ((points[:, None] - places) ** 2).sum(axis=2).argmin(axis=1)
        return places[np.arange(len(points)), side], side

    def contains(self, points: Points, slack: float = 1e-9) -> NDArray[np.bool_]:
        """Whether points lie behind every side, or before one by no more than `slack`."""
        return np.asarray(self._behind(points) >= -slack)

    def depth(self, points: Points) -> Floats:
        """Return the distance to the nearest side, negative outside."""
        out = self._behind(points)
        outside = out < 0
        if outside.any():
            out[outside] = -np.linalg.norm(points[outside] - self._nearest(points[outside])[0], axis=1)
        return out

    def normal(self, points: Points) -> Points:
        """Return the outward normal of the nearest side."""
        return np.asarray(self._normals[self._nearest(points)[1]])

    def fill(self, ranks: Points, sites: Callable[[], Points]) -> Points:
        """Stretch each concentric square to the polygon that takes the same share of the area; the origin is inside."""
        reach = (self.corners * self._normals).sum(axis=1)
        gauge = (ranks @ self._normals.T / reach).max(axis=1)
        return np.asarray(ranks * (np.abs(ranks).max(axis=1) / np.maximum(gauge, 1e-12))[:, None])

    def clamp(self, points: Points) -> Points:
        """Return the points, those outside brought onto the nearest side."""
        out = points.copy()
        outside = self._behind(points) < 0
        if outside.any():
            out[outside] = self._nearest(points[outside])[0]
        return out


@dataclass(frozen=True, eq=False, repr=False)
class Square(Polygon):
    """The whole frame."""

    name: str = "square"
    corners: Points = field(default_factory=lambda: np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]]))

    def clamp(self, points: Points) -> Points:
        """Return the points, both coordinates within [-1, 1]."""
        return np.asarray(np.clip(points, -1, 1))

    def sites(self, n: int) -> Points:
        """Return n sites in rows whose counts differ by one at most."""
        return lattice.rows(n)

    def fill(self, ranks: Points, sites: Callable[[], Points]) -> Points:
        """Return the ranks: they fill the square."""
        return ranks.copy()


def hull(points: Points) -> Polygon | None:
    """Return the convex hull of points, None where they are fewer than three or lie on one line."""
    if len(points) < 3:
        return None
    try:
        return Polygon("hull", np.asarray(points[ConvexHull(points).vertices]))
    except QhullError:
        return None
