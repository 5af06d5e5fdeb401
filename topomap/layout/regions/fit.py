"""Fitting positions into the unit frame, and a place for the dead."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topomap import _compute
from topomap.layout.regions.lattice import lowest
from topomap.layout.regions.names import SHAPES, shape_of
from topomap.layout.regions.shapes import Region

Points = NDArray[np.float64]

#: How far apart dead neurons lie at most.
_DEAD_SPACING = 0.08

#: Share of the region, or of the frame's height, that dead neurons may take.
_DEAD_SHARE = 0.3

#: Places along each axis among which the deepest one of a region is looked for, and of a thin one.
_STEPS, _FINE = 129, 513

#: Where the dead leave the living less than this share of the room, they share it all (in a region of one row).
_LEAST_ROOM = 0.1

#: A coordinate that varies by less than this share of the other one is constant.
_FLAT = 1e-9


def fit(positions: Points, dead: NDArray[np.bool_], region: str | Region) -> Points:
    """Place live neurons in the region and dead ones along its bottom.

    Parameters
    ----------
    positions
        Of the live neurons, in any frame, shape ``(n_live, 2)``.
    dead
        Which of all neurons are dead, shape ``(n_neurons,)``.
    region
        ``"square"``: each axis scaled to [-1, 1]. ``"hull"``: scaled alike along both axes into the frame, centred.
        ``"disc"``, ``"hexagon"`` or a mask: scaled alike along both axes, the centre of the smallest circle around
        the neurons where the region is deepest, to the largest size at which all lie inside.

    Returns
    -------
    Shape ``(n_neurons, 2)``, all within the frame [-1, 1]^2.

    Notes
    -----
    Where there are dead neurons the live ones leave them a band: one row, or several closer ones where there are many,
    along the bottom edge of the square or the frame, or the lowest sites of a lattice over another region.
    """
    out = np.zeros((len(dead), 2))
    n_dead = int(dead.sum())
    if region not in ("square", "hull"):
        shape = shape_of(region)
        assert shape is not None  # only a hull can have none
        sites, floor = _bottom(shape, n_dead, len(dead))
        out[~dead] = _into_shape(positions, shape, floor)
        out[dead] = sites
        return out
    sites, floor = _edge(n_dead, len(dead))
    live = _into_square(positions) if region == "square" else _into_frame(positions, height=1 - floor)
    if n_dead and region == "square":
        live[:, 1] = floor + (live[:, 1] + 1) / 2 * (1 - floor)
    elif n_dead:
        live[:, 1] += (1 + floor) / 2
    out[~dead] = live
    out[dead] = sites
    return out


def contains(positions: Points, region: str | Region, slack: float = 1e-9) -> bool:
    """Whether all positions lie within the unit frame's region; that of a hull is the frame."""
    shape = shape_of(region) or SHAPES["square"]
    return bool(shape.contains(positions, slack).all())


def normalise(positions: Points, region: str | Region) -> Points:
    """Scale alike along both axes into the unit frame, or into its region."""
    if region in ("square", "hull"):
        return _into_frame(positions, height=2)
    shape = shape_of(region)
    assert shape is not None  # only a hull can have none
    return _into_shape(positions, shape)


def sunflower(n: int) -> Points:
    """Return n points that fill a disc evenly (Vogel 1979, doi 10.1016/0025-5564(79)90080-4)."""
    index = np.arange(n)
    radius = np.sqrt((index + 0.5) / max(n, 1)) if n > 1 else np.zeros(n)
    angle = index * np.pi * (3 - np.sqrt(5))
    return np.column_stack([radius * np.cos(angle), radius * np.sin(angle)])


def _into_frame(points: Points, height: float) -> Points:
    if not len(points):
        return points.copy()
    low, high = points.min(axis=0), points.max(axis=0)
    width = high - low
    scale = max(width[0] / 2, width[1] / height)
    return (points - (low + high) / 2) / scale if scale > 0 else np.zeros_like(points)


def _into_square(points: Points) -> Points:
    if not len(points):
        return points.copy()
    low, high = points.min(axis=0), points.max(axis=0)
    width = high - low
    varies = width > _FLAT * width.max()
    out: Points = np.where(varies, 2 * (points - low) / np.where(varies, width, 1) - 1, 0.0)
    return np.clip(out, -1, 1)


def _into_shape(points: Points, shape: Region, floor: float = -np.inf) -> Points:
    """Scale into what of a region lies above the floor, about its deepest place, as large as it holds them all."""
    if not len(points):
        return points.copy()
    centred = points - smallest_circle(points)
    for count in (_STEPS, _FINE):
        steps = np.linspace(-1, 1, count)
        # thin regions may lie between the points of a grid: those outside are brought in
        grid = shape.clamp(np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2))
        depth = shape.depth(grid)
        if depth.max() > 2 / count:
            break
    room = np.minimum(depth, grid[:, 1] - floor)
    if room.max() < _LEAST_ROOM * depth.max():
        room, floor = depth, -np.inf
    centre = grid[room.argmax()]
    radius = float(np.linalg.norm(centred, axis=1).max())
    if radius <= 0:
        return np.asarray(centre + 0 * centred)

    def inside(scale: float) -> bool:
        placed = centre + scale * centred
        return bool((placed[:, 1] >= floor).all() and shape.contains(placed, 0).all())

    # regions with dents hold some large sizes and not some smaller ones: look from the largest down
    low = high = 3 / radius
    while not inside(low) and low * radius > room.max():
        low, high = 0.97 * low, low
    low = min(low, high)
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if inside(middle) else (low, middle)
    while not inside(low):
        low *= 0.97
    return np.asarray(centre + low * centred)


def _bottom(shape: Region, n_dead: int, n_total: int) -> tuple[Points, float]:
    """Return the lowest sites of a region, and the lowest y left to the living."""
    if not n_dead:
        return np.zeros((0, 2)), -np.inf
    n = max(n_total, int(np.ceil(shape.area / _DEAD_SPACING**2)), int(np.ceil(n_dead / _DEAD_SHARE)))
    sites = shape.clamp(shape.sites(n))  # the outermost of a small disc lie a little outside
    spacing = float(np.sqrt(shape.area / n))
    sites = sites[lowest(sites, n_dead, spacing)]
    return sites, float(sites[:, 1].max()) + spacing


def smallest_circle(points: Points, n_steps: int = 1000) -> Points:
    """Return the centre of the smallest circle around the points, to about a thousandth of its radius.

    Steps towards the furthest point (Badoiu, Clarkson 2003) over the points that are extreme in some direction.
    """
    middle = (points.min(axis=0) + points.max(axis=0)) / 2
    shifted = points - middle
    if len(shifted) > 400:
        angle = np.linspace(0, 2 * np.pi, 360, endpoint=False)
        ways = np.stack([np.cos(angle), np.sin(angle)])
        step = _compute.block_rows(len(shifted))
        parts = [(shifted @ ways[:, start : start + step]).argmax(axis=0) for start in range(0, len(angle), step)]
        shifted = shifted[np.unique(np.concatenate(parts))]
    centre = np.zeros(2)
    for step in range(2, n_steps + 2):
        furthest = shifted[((shifted - centre) ** 2).sum(axis=1).argmax()]
        centre = centre + (furthest - centre) / step
    out: Points = middle + centre
    return out


def _spacing(n_total: int) -> float:
    return min(_DEAD_SPACING, float(np.sqrt(np.pi / max(n_total, 1))))


def _edge(n_dead: int, n_total: int) -> tuple[Points, float]:
    """Return sites along the bottom edge of the frame, and the lowest y left to the living."""
    if not n_dead:
        return np.zeros((0, 2)), -1.0
    spacing = _spacing(n_total)
    while True:
        heights = np.arange(-1 + spacing / 2, -1 + 2 * _DEAD_SHARE, spacing)
        most = int(2 / spacing)
        if most * len(heights) >= n_dead:
            break
        spacing *= 0.95
    n_rows = -(-n_dead // most)
    rows, left = [], n_dead
    for height in heights[:n_rows]:
        count = min(left, most)
        x = (np.arange(count) - (count - 1) / 2) * spacing
        rows.append(np.column_stack([x, np.full(count, height)]))
        left -= count
    return np.concatenate(rows), float(max(-0.9, heights[n_rows - 1] + spacing))
