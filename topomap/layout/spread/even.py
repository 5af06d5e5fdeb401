"""Spreading any layout evenly over a region, by geometry alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from topomap.layout import regions

if TYPE_CHECKING:
    from topomap.layout.base import Layout

#: Steps of pressure per spacing across the region: it moves neurons by 1.5 spacings at most.
_STEPS = 4


def even(layout: Layout, region: Any) -> Layout:
    """Return a layout with its neurons spread evenly over a region (see `Layout.spread`)."""
    from topomap.layout.spread.fill import snap
    from topomap.layout.spread.ground import Ground

    region = regions.check(region, hulls=False)
    live = ~layout.dead
    ground = Ground(region, layout.n_neurons, int(layout.dead.sum()))
    positions = np.empty((layout.n_neurons, 2))
    positions[~live] = ground.spare_sites / ground.half
    if live.any():
        points = regions.fit(layout.positions[live], np.zeros(int(live.sum()), dtype=bool), region) * ground.half
        ground.press(points, int(np.ceil(_STEPS * 2 * ground.half)))
        placed = ground.sites[snap(points, ground.sites)] / ground.half
        positions[live] = ground.shape.clamp(placed)  # the outermost sites of a small disc lie a little outside
    return type(layout)(
        positions=positions,
        region=region,
        method=f"{layout.method}+even",
        dead=layout.dead,
        params={**layout.params, "spread": {"region": region}},
        seed=layout.seed,
        provenance=layout.provenance,
    )
