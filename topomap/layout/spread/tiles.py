"""The exchange of large layers, in parallel: neurons trade places within tiles that cannot touch each other.

A swap changes the field within the stage's reach of two sites. Tiles of one colour of a checkerboard with four colours
lie a whole side apart, more than twice the reach, so that all of them can be worked on at once. Every tile draws from a
generator of its own, and the checkerboard is laid anew for every sweep: the result does not depend on the number of
threads.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import cKDTree

from topomap._compute import n_threads
from topomap.layout.spread.kernels import _below, _kernel, _tail, _uniform, compiled, fields

if TYPE_CHECKING:
    from topomap.layout.spread import Stage

Points = NDArray[np.float64]
Array = NDArray[Any]

#: Smallest and largest side of a tile, in spacings. Narrow tiles refuse many a way to a friend (at 24 spacings a
#: quarter of them), wide ones are too few for all threads and outgrow the cache of a core.
_NARROW, _WIDE = 24.0, 48.0

#: From this number of sites on there are enough tiles for two threads.
FEWEST = 4096

#: Least scale of temperatures: far pieces of a region may have no pairs within reach to take one from.
LEAST = 1e-12

#: Sites are numbered block by block, so that what is near in the plane is near in memory.
_BLOCK = 8.0


def exchange(
    sites: Points,
    anchor: Points,
    rows: NDArray[np.float32],
    local: sparse.csr_array,
    choices: NDArray[np.int64],
    stage: Stage,
    seed: NDArray[np.uint64],
) -> Points:
    """Run one stage of swaps between neurons, the first on the first site; return where each ends.

    The energy, the proposals and the temperatures are those of `kernels.swap`; only, a proposal that would leave the
    tile of the sweep is void.
    """
    n = len(sites)
    # numbered block by block, neurons along with the sites they start from, a tile's work lies in few pages of memory
    order = _by_block(sites)
    label = np.empty(n, dtype=np.int32)
    label[order] = np.arange(n, dtype=np.int32)
    sites = np.ascontiguousarray(sites[order])
    rows = np.ascontiguousarray(rows[order])
    anchor = np.ascontiguousarray(anchor[order])
    hold = stage.hold * np.pi / n
    friends = label[choices[order]]
    pull = local[order][:, order]
    links = pull.indptr.astype(np.int64), pull.indices.astype(np.int32), (stage.weight * pull.data).astype(np.float32)
    around = pairs_within(sites, stage.reach)
    at, site_of = np.arange(n, dtype=np.int32), np.arange(n, dtype=np.int32)
    field = np.empty_like(rows)
    fields(sites, *around, at, rows, field)
    level = max(0.3 * float(around[2].sum(dtype=np.float64)) / n, LEAST)
    low, high = sites.min(axis=0), sites.max(axis=0)
    side = max(2.01 * stage.reach, min(_WIDE, max(_NARROW, float((high - low).max()) / 4)))
    near = nearest_sites(sites, stage.near, side)
    tile_of, members = np.empty(n, dtype=np.int32), np.empty(n, dtype=np.int32)
    where = sites.copy()  # of each neuron; `seen` is where tiles that are worked on at the same time see it
    rng = np.random.default_rng(int(seed[0]))
    seed[0] = rng.integers(1, 2**63)
    with ThreadPoolExecutor(n_threads()) as pool:
        for heat in np.geomspace(stage.hot, stage.cold, stage.sweeps) * level:
            corner = low - rng.random(2) * side
            columns, lines = (np.floor((high - corner) / side).astype(int) + 1).tolist()
            bounds = _deal(sites, corner[0], corner[1], side, columns, columns * lines, tile_of, members)
            states = rng.integers(1, 2**63, size=columns * lines, dtype=np.uint64)
            inside = tile_of[site_of]
            filled = np.flatnonzero(np.diff(bounds) > 1)
            colour = 2 * (filled // columns % 2) + filled % columns % 2
            for one in rng.permutation(4):
                seen = where.copy()
                jobs = [
                    pool.submit(
                        _swap, tile, members[bounds[tile] : bounds[tile + 1]], tile_of, inside, sites, *around, near,
                        site_of, at, where, seen, rows, field, *links, friends, stage.reach**2, anchor, hold, heat,
                        states[tile : tile + 1],
                    )
                    for tile in filled[colour == one].tolist()
                ]  # fmt: skip
                for job in jobs:
                    job.result()
    out = np.empty_like(sites)
    out[order] = where
    return out


def _by_block(sites: Points) -> NDArray[np.int64]:
    block = np.floor(sites / _BLOCK)
    return np.lexsort((sites[:, 0], sites[:, 1], block[:, 0], block[:, 1]))


def nearest_sites(sites: Points, k: int, most: float = np.inf) -> NDArray[np.int32]:
    """Each site and its nearest, `k` in all or as many as there are; the site again for those further than `most`.

    Between far pieces of a region there is no way: it could lead to another tile that is worked on.
    """
    tree = cKDTree(sites)
    near = np.empty((len(sites), min(k, len(sites))), dtype=np.int32)
    for start in range(0, len(sites), 65_536):
        stop = min(start + 65_536, len(sites))
        far, found = tree.query(sites[start:stop], k=np.arange(1, near.shape[1] + 1), workers=n_threads())
        near[start:stop] = np.where(far < most, found, found[:, :1])
    return near


def pairs_within(sites: Points, reach: float) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[np.float32]]:
    """Other sites within reach of each, in compressed rows, with their weights ``(1 - r^2 / R^2)^3``."""
    low, high = sites.min(axis=0), sites.max(axis=0)
    columns, lines = (np.floor((high - low) / reach).astype(int) + 1).tolist()
    cell, members = np.empty(len(sites), dtype=np.int32), np.empty(len(sites), dtype=np.int32)
    bounds = _deal(sites, low[0], low[1], reach, columns, columns * lines, cell, members)
    start = np.zeros(len(sites) + 1, dtype=np.int64)
    within, weight = np.empty(0, dtype=np.int32), np.empty(0, dtype=np.float32)
    _pairs(sites, reach * reach, cell, members, bounds, columns, start, within, weight)
    np.cumsum(start, out=start)
    within, weight = np.empty(start[-1], dtype=np.int32), np.empty(start[-1], dtype=np.float32)
    _pairs(sites, reach * reach, cell, members, bounds, columns, start, within, weight)
    return start, within, weight


@compiled
def _deal(
    sites: Array, left: float, low: float, side: float, columns: int, n_tiles: int, tile_of: Array, members: Array
) -> Array:
    """Sort sites by the tile of a grid they lie in; return where each tile's members start."""
    bounds = np.zeros(n_tiles + 1, dtype=np.int64)
    for c in range(len(sites)):
        tile = int((sites[c, 1] - low) / side) * columns + int((sites[c, 0] - left) / side)
        tile_of[c] = tile
        bounds[tile + 1] += 1
    for tile in range(n_tiles):
        bounds[tile + 1] += bounds[tile]
    fill = bounds.copy()
    for c in range(len(sites)):
        members[fill[tile_of[c]]] = c
        fill[tile_of[c]] += 1
    return bounds


@compiled
def _pairs(
    sites: Array, reach2: float, cell: Array, members: Array, bounds: Array, columns: int,
    start: Array, within: Array, weight: Array,
) -> None:  # fmt: skip
    """Count pairs, into ``start[1:]``, where there is no room for them yet; else write them."""
    count = len(within) == 0
    n_cells = len(bounds) - 1
    for c in range(len(sites)):
        found = 0
        x, y = cell[c] % columns, cell[c] // columns
        for line in range(max(y - 1, 0), y + 2):
            for column in range(max(x - 1, 0), min(x + 2, columns)):
                other = line * columns + column
                if other >= n_cells:
                    continue
                for m in range(bounds[other], bounds[other + 1]):
                    d = members[m]
                    gx, gy = sites[c, 0] - sites[d, 0], sites[c, 1] - sites[d, 1]
                    r2 = gx * gx + gy * gy
                    if d == c or r2 >= reach2:
                        continue
                    if not count:
                        within[start[c] + found] = d
                        weight[start[c] + found] = _kernel(r2, reach2)
                    found += 1
        if count:
            start[c + 1] = found


@compiled
def _swap(
    tile: int, members: Array, tile_of: Array, inside: Array, sites: Array, start: Array, within: Array,
    weight: Array, near: Array, site_of: Array, at: Array, where: Array, seen: Array, rows: Array, field: Array,
    p_start: Array, p_other: Array, p_weight: Array, friends: Array, reach2: float, anchor: Array,
    hold: float, heat: float, state: Array,
) -> None:  # fmt: skip
    """One sweep over a tile: `kernels.swap` between its members alone.

    Neurons of other tiles may move meanwhile, each within its own: their places are read where they were `seen`, and
    wherever such a neuron happens to be found, the sites near it are not of this tile.
    """
    n_features = rows.shape[1]
    for _ in range(len(members)):
        a = at[members[_below(state, len(members))]]
        friend = friends[a, _below(state, friends.shape[1])]
        cb = near[site_of[friend], _below(state, near.shape[1])]
        if tile_of[cb] != tile:
            continue
        ca, b = site_of[a], at[cb]
        if a == b:
            continue
        gx, gy = sites[ca, 0] - sites[cb, 0], sites[ca, 1] - sites[cb, 1]
        h = _kernel(gx * gx + gy * gy, reach2)
        gain, norm = np.float32(0.0), np.float32(0.0)
        for f in range(n_features):
            d = rows[b, f] - rows[a, f]
            gain += d * (field[ca, f] - field[cb, f])
            norm += d * d
        change = float(gain) - h * float(norm)
        change -= 2 * hold * (gx * (anchor[a, 0] - anchor[b, 0]) + gy * (anchor[a, 1] - anchor[b, 1]))
        for who, here, there, fellow in ((a, ca, cb, b), (b, cb, ca, a)):
            for e in range(p_start[who], p_start[who + 1]):
                j = p_other[e]
                if j == fellow:
                    continue
                x, y = (where[j, 0], where[j, 1]) if inside[j] == tile else (seen[j, 0], seen[j, 1])
                tx, ty = sites[there, 0] - x, sites[there, 1] - y
                ox, oy = sites[here, 0] - x, sites[here, 1] - y
                change += p_weight[e] * (_tail(tx * tx + ty * ty, reach2) - _tail(ox * ox + oy * oy, reach2))
        if change <= 0 and _uniform(state) >= np.exp(change / heat):
            continue
        at[ca], at[cb] = b, a
        site_of[a], site_of[b] = cb, ca
        where[a, 0], where[a, 1] = sites[cb, 0], sites[cb, 1]
        where[b, 0], where[b, 1] = sites[ca, 0], sites[ca, 1]
        for e in range(start[ca], start[ca + 1]):
            c, w = within[e], weight[e]
            for f in range(n_features):
                field[c, f] += w * (rows[b, f] - rows[a, f])
        for e in range(start[cb], start[cb + 1]):
            c, w = within[e], weight[e]
            for f in range(n_features):
                field[c, f] -= w * (rows[b, f] - rows[a, f])
