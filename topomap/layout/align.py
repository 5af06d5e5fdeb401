"""Turning a layout so that neurons lie as close as possible to their places in another."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from topomap import _compute
from topomap._check import instance_of, same_length
from topomap.layout.base import Layout

if TYPE_CHECKING:
    from topomap.profiles import Profiles

Points = NDArray[np.float64]

#: A turn must bring places closer by this much (mean product of coordinates), or the layout stays as it is.
_BETTER = 1e-9

#: Reflection at the first axis.
_MIRROR = np.diag([1.0, -1.0])


def align(layout: Layout, other: Layout, profiles: tuple[Profiles, Profiles] | None = None) -> Layout:
    """Return the layout turned, and reflected where that helps, towards another; see `Layout.align_to`."""
    instance_of("other", other, Layout, "A layout is aligned to another layout: layout.align_to(other).")
    sums = _same_neurons(layout, other) if profiles is None else _alike_neurons(layout, other, profiles)
    products, mine, theirs = sums.means()
    centre = np.zeros(2)
    if layout.region == "hull":
        centre, products = mine, products - np.outer(mine, theirs)
    turn = best_turn(products, symmetries(layout))
    positions = layout.positions @ turn + (centre - centre @ turn)
    record = {
        "to": repr(other),
        "over": "neurons" if profiles is None else "profiles",
        # counter-clockwise, after the reflection y -> -y if there is one
        "degrees": float(np.degrees(np.arctan2(turn[0, 1], turn[0, 0]))),
        "reflected": bool(np.linalg.det(turn) < 0),
    }
    earlier = layout.provenance.get("alignments", [])
    return replace(layout, positions=positions, provenance={**layout.provenance, "alignments": [*earlier, record]})


def symmetries(layout: Layout) -> Points | None:
    """Return the matrices that turn the layout's region onto itself, the identity first; None if any turn does.

    Shape ``(n_turns, 2, 2)``, to be multiplied to positions from the right.
    """
    region = layout.region
    if region in ("disc", "hull"):
        return None
    fold = 6 if region == "hexagon" else 4
    turns = np.array([_rotation(2 * np.pi * step / fold) for step in range(fold)])
    turns[np.abs(turns) < 1e-15] = 0  # a quarter turn is exact, so that edges stay edges
    turns = np.concatenate([turns, _MIRROR @ turns])
    pixels = getattr(region, "pixels", None)
    if pixels is None:
        return turns
    pictures = [np.rot90(picture, step) for picture in (pixels, pixels[::-1]) for step in range(fold)]
    return turns[[np.array_equal(picture, pixels) for picture in pictures]]


def best_turn(products: Points, turns: Points | None) -> Points:
    """Return the orthogonal matrix R that maximises ``trace(R.T @ products)``.

    Parameters
    ----------
    products
        ``sum_ij w_ij x_i^T y_j`` of the positions x to be turned and y to be met, shape ``(2, 2)``. As turning keeps
        lengths, the maximum is the least of ``sum_ij w_ij |x_i R - y_j|^2``.
    turns
        The matrices to choose from, the identity first; None for all rotations and reflections, whose best one has a
        closed form (Schönemann 1966, doi 10.1007/BF02289451).
    """
    if turns is None:
        (a, b), (c, d) = products
        rotation, reflection = np.arctan2(b - c, a + d), np.arctan2(b + c, a - d)
        turns = np.array([np.eye(2), _rotation(rotation), _MIRROR @ _rotation(reflection)])
    gains = (turns * products).sum(axis=(1, 2))
    return np.asarray(turns[np.argmax(gains)] if gains.max() > gains[0] + _BETTER else turns[0])


def _rotation(angle: float) -> Points:
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, sin], [-sin, cos]])


class _Sums(NamedTuple):
    """Weighted sums over pairs of neurons: of products of coordinates, of places here and there, and of weights."""

    products: Points
    mine: Points
    theirs: Points
    total: float

    def means(self) -> tuple[Points, Points, Points]:
        total = self.total if self.total > 0 else 1.0
        return self.products / total, self.mine / total, self.theirs / total


def _same_neurons(layout: Layout, other: Layout) -> _Sums:
    if layout.n_neurons != other.n_neurons:
        raise ValueError(
            f"layouts are aligned neuron by neuron, and these have {layout.n_neurons} and {other.n_neurons}. Layers of "
            "different neurons are aligned by what drives them: pass profiles=(mine, theirs), one tm.profile of each."
        )
    common = np.flatnonzero(~(layout.dead | other.dead))
    x, y = layout.positions[common], other.positions[common]
    return _Sums(x.T @ y, x.sum(axis=0), y.sum(axis=0), float(len(common)))


def _alike_neurons(layout: Layout, other: Layout, profiles: Any) -> _Sums:
    """Take pairs of neurons whose profiles correlate, weighted by the correlation, by blocks of rows."""
    mine, theirs = _unit_profiles(layout, other, profiles)
    x, y = layout.positions, other.positions
    sums = _Sums(np.zeros((2, 2)), np.zeros(2), np.zeros(2), 0.0)
    step = _compute.block_rows(len(theirs))
    for start in range(0, len(mine), step):
        weights = np.maximum(mine[start : start + step] @ theirs.T, 0)
        here, rows, columns = x[start : start + step], weights.sum(axis=1), weights.sum(axis=0)
        added = (here.T @ (weights @ y), rows @ here, columns @ y, float(rows.sum()))
        sums = _Sums(*(one + more for one, more in zip(sums, added, strict=True)))
    return sums


def _unit_profiles(layout: Layout, other: Layout, profiles: Any) -> tuple[Points, Points]:
    """Rows of one table of groups for the neurons of both layouts: centred, of unit length, dead neurons 0."""
    from topomap.profiles import Profiles

    if not isinstance(profiles, tuple | list) or len(profiles) != 2:
        raise ValueError("profiles must be a pair: (mine, theirs), of this layout's layer and of the other's.")
    for each, place in zip(profiles, (layout, other), strict=True):
        instance_of("profiles", each, Profiles, "Pass (mine, theirs), one tm.profile(acts, by=...) of each layer.")
        same_length("profiles", each.n_neurons, "neuron of the layout", place.n_neurons)
    mine, theirs = (each.over_places() for each in profiles)
    if sorted(mine.names) != sorted(theirs.names):
        odd = sorted(set(mine.names) ^ set(theirs.names))
        raise ValueError(
            f"both profiles must be of the same groups; {', '.join(map(repr, odd[:5]))} occurs in one alone. Profile "
            "both layers by the same columns over the same inputs."
        )
    if len(mine.names) < 2:
        raise ValueError("one group cannot tell neurons apart: profile both layers by a column of two groups or more.")
    order = [theirs.names.index(name) for name in mine.names]
    out = []
    for each, rows, place in ((mine, slice(None), layout), (theirs, order, other)):
        table = np.array(each.values[rows].T, dtype=np.float64)
        table -= table.mean(axis=1, keepdims=True)
        table[place.dead | each.dead] = 0
        norms = np.linalg.norm(table, axis=1, keepdims=True)
        out.append(table / np.where(norms > 0, norms, 1))
    return out[0], out[1]
