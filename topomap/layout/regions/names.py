"""Regions by name, and what a user may give for one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import did_you_mean, listing
from topomap.layout.regions.mask import Mask
from topomap.layout.regions.shapes import Disc, Polygon, Region, Square, hull

Points = NDArray[np.float64]

_ANGLES = np.pi / 3 * np.arange(6)

#: Regions that are the same whatever lies in them. The hexagon is regular, in the unit disc, with sides at the top and
#: the bottom and corners at the left and the right.
SHAPES: Mapping[str, Region] = {
    "disc": Disc(),
    "square": Square(),
    "hexagon": Polygon("hexagon", np.column_stack([np.cos(_ANGLES), np.sin(_ANGLES)])),
}

#: Names that a user can give.
REGIONS = (*SHAPES, "hull")


def check(region: Any, hulls: bool = True) -> str | Region:
    """Return a region as a layout keeps it: a name, or the `Region` of a mask.

    Parameters
    ----------
    region
        ``"disc"``, ``"square"``, ``"hexagon"``, ``"hull"``, a mask (see `Mask`), or a `Region`.
    hulls
        Whether ``"hull"``, which cannot be filled, is allowed.

    Raises
    ------
    ValueError
        If the name is unknown or the array no mask.

    Examples
    --------
    >>> check("disc"), check(np.ones((40, 60), dtype=bool))
    ('disc', Region(mask: 60 x 40 pixels))
    """
    names = REGIONS if hulls else tuple(SHAPES)
    if isinstance(region, Region):
        return region if isinstance(region, Mask) else region.name
    if isinstance(region, str):
        if region in names:
            return region
    elif region is not None and np.ndim(region) > 0:
        return Mask(region)
    hint = did_you_mean(region, names)
    raise ValueError(f"region must be one of {listing(names)}, or a mask (2-D boolean array); got {region!r}.{hint}")


def shape_of(region: Any, points: Points | None = None) -> Region | None:
    """Return the `Region` of what a user gives; that of ``"hull"`` is the points' own, None where they have no area."""
    given = check(region)
    if isinstance(given, Region):
        return given
    if given in SHAPES:
        return SHAPES[given]
    return None if points is None else hull(points)
