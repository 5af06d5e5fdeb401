"""Spreading any layout evenly over a region, by geometry alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from topomap.layout import regions

if TYPE_CHECKING:
    from topomap.layout.base import Layout

#: Steps of pressure per spacing across the region: it moves neurons by 1.5 spacings at most.
_STEPS = 4

#: Steps in which neurons settle after that.
_SETTLE = 20


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
