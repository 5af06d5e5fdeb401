"""Regions: what a layout fills, by name or by any mask."""

from topomap.layout.regions.fit import contains, fit, normalise, smallest_circle, sunflower
from topomap.layout.regions.mask import Mask
from topomap.layout.regions.names import REGIONS, SHAPES, check, shape_of
from topomap.layout.regions.shapes import Region

__all__ = [
    "REGIONS",
    "SHAPES",
    "Mask",
    "Region",
    "check",
    "contains",
    "fit",
    "normalise",
    "shape_of",
    "smallest_circle",
    "sunflower",
]
