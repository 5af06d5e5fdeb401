"""Spreading any layout evenly over a region, by geometry alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap.layout import regions

if TYPE_CHECKING:
    from topomap.layout.base import Layout

#: Steps of pressure per spacing across the region: it moves neurons by 1.5 spacings at most.
_STEPS = 4

#: Steps in which neurons settle after that.
_SETTLE = 20


#: How far apart neurons that share a place start, in spacings: pressure would move them all alike.
_APART = 0.5


def even(layout: Layout, region: Any) -> Layout:
    """Return a layout with its neurons spread evenly over a region (see `Layout.spread`)."""
    from topomap.layout.spread.cover import Cover
    from topomap.layout.spread.ground import Ground

    region = regions.check(region, hulls=False)
    live = ~layout.dead
    ground = Ground(region, layout.n_neurons, int(layout.dead.sum()))
    positions = np.empty((layout.n_neurons, 2))
    positions[~live] = ground.spare_sites / ground.half
    if live.any():
        alive = layout.positions[live]
        if isinstance(region, regions.Mask):  # ranks reach every piece of it; pressure does not leap over gaps
            points = ground.start(alive)
        else:
            points = regions.fit(alive, np.zeros(len(alive), dtype=bool), region) * ground.half
        _part(points)
        ground.press(points, int(np.ceil(_STEPS * 2 * ground.half)))
        positions[live] = Cover(ground).settle(points, _SETTLE) / ground.half
    return type(layout)(
        positions=positions,
        region=region,
        method=f"{layout.method}+even",
        dead=layout.dead,
        params={**layout.params, "spread": {"region": region}},
        seed=layout.seed,
        provenance=layout.provenance,
    )


def _part(points: NDArray[np.float64]) -> None:
    """Lay points that share a place around the first of them, in place."""
    _, place, count = np.unique(points, axis=0, return_inverse=True, return_counts=True)
    order = np.argsort(place.ravel(), kind="stable")
    rank = np.empty(len(points), dtype=np.int64)
    rank[order] = np.arange(len(points)) - np.repeat(np.cumsum(count) - count, count)
    seeds = regions.sunflower(int(count.max()))
    points += _APART * np.sqrt(count.max()) * (seeds - seeds[0])[rank]
