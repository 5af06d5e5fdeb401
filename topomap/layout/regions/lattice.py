"""Sites that fill a region evenly, as many as there are neurons, in rows."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

if TYPE_CHECKING:
    from topomap.layout.regions.shapes import Region

Points = NDArray[np.float64]
Bands = tuple[NDArray[np.int64], NDArray[np.int64]]

#: Height of a row of a hexagonal lattice, and area of its cells, in pitches.
_ROW = np.sqrt(3) / 2

#: Pitches between sites and the border, so that those along it own as much of the region as those inside.
_MARGIN = 0.45

#: Sites within so many spacings of the border move to the centres of their cells, so many times; grid points per
#: spacing that stand for the region.
_RIM, _STEPS, _PARTS = 3, 12, 5

#: Offsets of the lattice that are tried along each axis, for few and for many sites.
_OFFSETS, _FEW = 3, 1_000


def rows(n: int) -> Points:
    """Fill the square by rows whose counts differ by one at most, each spaced evenly."""
    n_rows = max(1, round(np.sqrt(n)))
    counts = np.diff(np.round(np.linspace(0, n, n_rows + 1)).astype(int))
    x = np.concatenate([(np.arange(count) + 0.5) / count for count in counts])
    y = np.repeat((np.arange(n_rows) + 0.5) / n_rows, counts)
    return np.column_stack([x, y]) * 2 - 1


def innermost(n: int) -> Points:
    """Fill the disc by the innermost sites of a hexagonal lattice whose cells have the area of the disc over n."""
    radius = np.sqrt(n / np.pi)
    pitch = np.sqrt(1 / _ROW)
    # off the centre of symmetry, so that few sites are equally far
    sites = _hexagonal(pitch, 1.2 * radius + 3 * pitch, (-0.25, -0.15 / _ROW))
    inner = sites[np.argsort((sites**2).sum(axis=1), kind="stable")[:n]]
    return np.asarray((inner - inner.mean(axis=0)) / radius)


def fitted(shape: Region, n: int) -> Points:
    """Fill any region by a hexagonal lattice that gives way to the border.

    Of several offsets the lattice has the one that allows the widest pitch, found by bisection: the widest at which n
    sites lie 0.45 of it, or more, within the border. Where more do, the outermost are left out. Sites near the border
    then move to the centres of what is nearest to them (Lloyd 1982, doi 10.1109/TIT.1982.1056489).
    """
    sites = _widest(shape.area, shape.depth, n)
    mean = np.sqrt(shape.area / max(n, 1))
    rim = np.flatnonzero(shape.depth(sites) < _RIM * mean)
    steps = (2 * np.arange(_count(mean)) + 1) / _count(mean) - 1
    strips = np.array_split(steps, len(steps) // 64 + 1)
    grid = np.concatenate([_strip(shape, steps, strip, (_RIM + 2) * mean) for strip in strips])
    for _ in range(_STEPS if len(grid) else 0):
        owner = cKDTree(sites).query(grid)[1]
        owned = np.maximum(np.bincount(owner, minlength=n), 1)
        centres = np.column_stack([np.bincount(owner, grid[:, axis], minlength=n) / owned for axis in (0, 1)])
        sites[rim] = shape.clamp(np.where(owned[rim, None] > 1, centres[rim], sites[rim]))
    return sites


def _count(mean: float) -> int:
    """Return the number of grid points along a side of the frame."""
    return int(np.ceil(2 * _PARTS / mean))


def _strip(shape: Region, x: NDArray[np.float64], y: NDArray[np.float64], reach: float) -> Points:
    """Return points of a grid within the region, no further than `reach` from its border."""
    points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
    depth = shape.depth(points)
    return points[(depth >= 0) & (depth < reach)]


def _widest(area: float, depth: Callable[[Points], NDArray[np.float64]], n: int) -> Points:
    mean = np.sqrt(area / max(n, 1) / _ROW)
    tries = _OFFSETS if n <= _FEW else 1
    best, found = 0.0, np.zeros((0, 2))
    for a in range(tries):
        for b in range(tries):
            offset = (a / tries, b / tries)
            low, high = best or mean, 1.5 * mean
            if best and len(_within(depth, best * 1.0005, offset)[0]) < n:
                continue  # no wider than what is known
            while len(_within(depth, low, offset)[0]) < n:
                low, high = 0.8 * low, low
            for _ in range(14):
                middle = (low + high) / 2
                enough = len(_within(depth, middle, offset)[0]) >= n
                low, high = (middle, high) if enough else (low, middle)
            if low > best:
                sites, deep = _within(depth, low, offset)
                best, found = low, sites[np.sort(np.argsort(-deep, kind="stable")[:n])]
    return found


def lowest(sites: Points, n: int, spacing: float) -> NDArray[np.bool_]:
    """Mark the n lowest sites: one stretch along the bottom, its top row filled from the middle."""
    # what lies at the sides counts as higher by less than a row
    order = np.argsort((sites[:, 1] + 0.8 * spacing * np.abs(sites[:, 0])).round(9), kind="stable")
    last = np.zeros(len(sites), dtype=bool)
    last[order[:n]] = True
    return last


def bands(sites: Points) -> Bands:
    """Return the sites in bands from the bottom to the top, from left to right within each: the rows if there are any.

    Returns
    -------
    tuple of arrays
        The order of the sites, and the bounds of the bands in it.
    """
    n = len(sites)
    heights, row = np.unique(sites[:, 1].round(9), return_inverse=True)
    if len(heights) > 2 * np.sqrt(n) + 1:  # no rows
        rank = np.empty(n, dtype=np.int64)
        rank[np.argsort(sites[:, 1], kind="stable")] = np.arange(n)
        row = rank // max(1, round(np.sqrt(n)))
    return np.lexsort((sites[:, 0], row)), np.concatenate([[0], np.cumsum(np.bincount(row))])


def _within(
    depth: Callable[[Points], NDArray[np.float64]], pitch: float, offset: tuple[float, float]
) -> tuple[Points, NDArray[np.float64]]:
    sites = _hexagonal(pitch, 1 + pitch, offset)
    sites = sites[np.abs(sites).max(axis=1) <= 1]
    deep = depth(sites)
    inside = deep >= _MARGIN * pitch
    return sites[inside], deep[inside]


def _hexagonal(pitch: float, reach: float, offset: tuple[float, float]) -> Points:
    """Return a hexagonal lattice over [-reach, reach]^2, row by row, moved by shares of its pitch and of its rows."""
    along, across = int(reach / pitch) + 2, int(reach / pitch / _ROW) + 2
    i, j = np.meshgrid(np.arange(-along, along + 1), np.arange(-across, across + 1))
    x = (i + 0.5 * (j % 2) + offset[0]) * pitch
    return np.column_stack([x.ravel(), ((j + offset[1]) * pitch * _ROW).ravel()])
