"""Masks: regions of any shape, from pictures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topomap.layout.regions.shapes import Floats, Points, Region

#: Pixels along the longer side that a mask is repeated to at least, and that it is averaged down to at most.
_FEWEST_PIXELS, _MOST_PIXELS = 32, 1024

#: Pixels around a mask, and the Gaussian that takes the stairs off its border: a hundredth of its longer side, within
#: bounds (pixels), of which the lower one keeps lines a pixel wide.
_PAD, _SMOOTH, _LEAST, _MOST = 6, 0.01, 0.7, 1.5

#: How often the way of a point from outside to the nearest pixel inside is halved to find the border on it.
_HALVINGS = 8


@dataclass(frozen=True, eq=False, repr=False)
class Mask(Region):
    """Whatever is True in a picture, of any shape, in any number of pieces.

    Parameters
    ----------
    pixels
        Booleans (or numbers of which 0 is outside and one other value inside), shape ``(height, width)``, the first
        row at the top. Rows and columns around what is True are cut off; the longer side of the rest spans [-1, 1].

    Raises
    ------
    ValueError
        If pixels are no such array, or none is True.

    Notes
    -----
    The border is where a signed distance field, bilinear between the centres of pixels and smoothed over about a
    pixel, is 0: between the pixels inside and those outside, without stairs. Masks of fewer than 32 pixels are taken
    as blocks; those of more than 1,024 are read at a lower resolution.
    """

    pixels: NDArray[np.bool_]
    name: str = "mask"

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", _checked(self.pixels))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Mask) and np.array_equal(self.pixels, other.pixels)

    def __hash__(self) -> int:
        return hash((self.pixels.shape, self.pixels.tobytes()))

    def __repr__(self) -> str:
        height, width = self.pixels.shape
        return f"Region(mask: {width} x {height} pixels)"

    @cached_property
    def _field(self) -> Floats:
        """Depth at the centres of padded pixels, in pixels."""
        from scipy.ndimage import distance_transform_edt, gaussian_filter

        times = -(-_FEWEST_PIXELS // max(self.pixels.shape))
        inside = np.pad(np.kron(self.pixels, np.ones((times, times), dtype=bool)), _PAD)
        sharp = np.where(inside, distance_transform_edt(inside) - 0.5, 0.5 - distance_transform_edt(~inside))
        deviation = np.clip(_SMOOTH * max(inside.shape), _LEAST, _MOST)
        smooth = gaussian_filter(sharp, float(deviation), mode="nearest")
        return np.asarray(smooth if (smooth > 0).any() else sharp)

    @cached_property
    def _pixel(self) -> float:
        return 2 / float(max(self._field.shape) - 2 * _PAD)

    def _index(self, points: Points) -> Floats:
        """Rows and columns of places in the padded field, shape ``(2, n_points)``."""
        height, width = self._field.shape
        return np.stack([(height - 1) / 2 - points[:, 1] / self._pixel, (width - 1) / 2 + points[:, 0] / self._pixel])

    def _place(self, index: Floats) -> Points:
        height, width = self._field.shape
        return np.column_stack([index[1] - (width - 1) / 2, (height - 1) / 2 - index[0]]) * self._pixel

    @cached_property
    def outline(self) -> tuple[Points, ...]:
        """The rings where the depth is 0."""
        from contourpy import contour_generator

        height, width = self._field.shape
        x, y = ((np.arange(count) - (count - 1) / 2) * self._pixel for count in (width, height))
        filled: Any = contour_generator(x, y, self._field[::-1], fill_type="OuterOffset").filled(0, np.inf)
        pieces, bounds = filled
        return tuple(
            np.asarray(piece[low:high], dtype=np.float64)
            for piece, cuts in zip(pieces, bounds, strict=True)
            for low, high in pairwise(cuts)
        )

    def depth(self, points: Points) -> Floats:
        """Return the distance to the border, negative outside."""
        from scipy.ndimage import map_coordinates

        index = self._index(points)
        last = np.array(self._field.shape)[:, None] - 1.0
        within = np.clip(index, 0, last)
        found = map_coordinates(self._field, within, order=1) - np.linalg.norm(index - within, axis=0)
        return np.asarray(found * self._pixel)

    def normal(self, points: Points) -> Points:
        """Return the directions in which the depth falls most; downwards where it is level."""
        moves = self._pixel * np.eye(2)
        slope = np.column_stack([self.depth(points - move) - self.depth(points + move) for move in moves])
        size = np.linalg.norm(slope, axis=1, keepdims=True)
        return np.where(size > 1e-9, slope / np.maximum(size, 1e-9), [0.0, -1.0])

    def clamp(self, points: Points) -> Points:
        """Return the points, those outside brought to the border, on their way to the nearest pixel inside."""
        out = points.copy()
        outside = np.flatnonzero(self.depth(points) < 0)
        if not len(outside):
            return out
        size = np.array(self._field.shape)[:, None] - 1
        row, column = np.clip(np.rint(self._index(points[outside])).astype(int), 0, size)
        there, inside = points[outside], self._place(self._nearest_inside[:, row, column].astype(np.float64))
        for _ in range(_HALVINGS):
            middle = (there + inside) / 2
            within = (self.depth(middle) >= 0)[:, None]
            there, inside = np.where(within, there, middle), np.where(within, middle, inside)
        out[outside] = inside
        return out

    @cached_property
    def _nearest_inside(self) -> NDArray[np.int32]:
        from scipy.ndimage import distance_transform_edt

        return np.asarray(distance_transform_edt(self._field <= 0, return_distances=False, return_indices=True))


def _checked(pixels: Any) -> NDArray[np.bool_]:
    """Return a mask as booleans, cut to what is True, and no larger than needed."""
    array = np.asarray(pixels)
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        what = f"shape {array.shape} and dtype {array.dtype}" if array.dtype.kind != "O" else type(pixels).__name__
        raise ValueError(f"a mask must be a boolean array of shape (height, width), True inside; got {what}.")
    if array.dtype.kind != "b" and len(set(np.unique(array[array != 0]).tolist())) > 1:
        raise ValueError("a mask must be boolean, or 0 outside and one other number inside; compare first: mask > 0.5.")
    inside = array.astype(bool)
    if not inside.any():
        raise ValueError(f"a mask must be True somewhere; got {inside.shape[0]} x {inside.shape[1]} pixels outside.")
    inside = _cut(inside)
    times = -(-max(inside.shape) // _MOST_PIXELS)
    if times > 1:
        height, width = (-(-side // times) * times for side in inside.shape)
        whole = np.pad(inside, ((0, height - inside.shape[0]), (0, width - inside.shape[1])))
        share = whole.reshape(height // times, times, width // times, times).mean(axis=(1, 3))
        inside = _cut(share >= min(0.5, share.max()))
    inside = inside.copy()
    inside.setflags(write=False)
    return inside


def _cut(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    return inside[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
