"""Neurons exchange places wherever the ranks of their neighbours then agree better: simulated annealing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from topomap._compute import n_threads
from topomap.layout.spread.graph import both_ways
from topomap.layout.spread.kernels import compiled
from topomap.layout.spread.ranks import FAR, Penalties, estimate

Points = NDArray[np.float64]
Index = NDArray[np.int64]
Array = NDArray[Any]

#: Weight of continuity against trustworthiness: this multiple of this power of n.
_CONTINUITY, _POWER = 0.86, 0.1

#: Weight of a neuron's anchor, as that of a neighbour.
_HOLD = 1.0

#: Places around that of a similar neuron of which one is tried, its own among them.
_NEAR = 13

#: Parts of a sweep: exchanges are weighed against the state at the part's beginning, then carried out.
_PARTS = 8

#: Stands for a penalty that is not known.
_NONE = np.int16(-32_768)

#: Neurons of a layer for each of the threads that weigh exchanges: fewer are done before a thread has started.
_EACH = 2_048

#: Neurons tried between two looks at the keyboard and the progress bar, where there is one thread.
_AT_ONCE = 100_000


class Heat(NamedTuple):
    """Temperatures of an exchange, first and last, in mean ranks, and the number of sweeps between them."""

    hot: float
    cold: float
    sweeps: int


def exchange(
    points: Points, anchor: Points, friends: Index, costs: Penalties, heat: Heat, seed: int, bar: Any = None
) -> Points:
    """Run sweeps of exchanges between neurons, the first on the first place; return where each ends.

    The sum of two penalties is lowered: of pairs that are neighbours in the plane, by their ranks among the features
    (`Penalties`), and of pairs that are neighbours among the features, by their ranks in the plane. There neurons lie
    evenly: as many as a circle has area, in spacings, are nearer than its radius. Each neuron is also held by
    its anchor as by one neighbour: else layouts of other seeds and of resampled inputs turn out less alike.

    A neuron is put beside one it resembles, and who was there takes its place: always where that lowers the sum, else
    with the probability that the temperature gives it (Metropolis et al. 1953, doi 10.1063/1.1699114). The exchanges of
    a part of a sweep are weighed independently of each other, each with random numbers of its own: the result does
    not depend on the number of threads.

    Parameters
    ----------
    points
        Places, in spacings, shape ``(n, 2)``.
    anchor
        Where the fluid left each neuron, in spacings, shape ``(n, 2)``.
    friends
        The k nearest neighbours of each neuron among the features, nearest first, shape ``(n, k)``.
    costs
        Penalties of pairs.
    heat
        Temperatures and sweeps.
    seed
        Of the random numbers.
    bar
        Progress bar, moved on by every sweep.

    Returns
    -------
    Where each neuron ends, shape ``(n, 2)``: the same places in another order.
    """
    n, k = friends.shape
    near = cKDTree(points).query(points, k=np.arange(1, min(max(_NEAR, k + 1), n) + 1))[1].astype(np.int32)
    close, alike = both_ways(near[:, 1 : k + 1]), both_ways(friends)
    place_of, at = np.arange(n, dtype=np.int32), np.arange(n, dtype=np.int32)
    state = (
        points.astype(np.float32), anchor.astype(np.float32), np.ascontiguousarray(near[:, :_NEAR]),
        friends.astype(np.int32), place_of, at
    )  # fmt: skip
    graphs = (close.indptr, close.indices, close.data, alike.indptr, alike.indices, alike.data)
    bounds = np.linspace(0, n, min(_PARTS, n) + 1).astype(np.int64)
    order, turn = np.arange(n, dtype=np.int32), np.empty(n, dtype=np.int8)
    wish, moved = np.empty(n, dtype=np.int32), np.zeros(n, dtype=np.int64)
    most = min(n, FAR)
    heats = np.geomspace(heat.hot, heat.cold, heat.sweeps) * most / 2
    weight = _CONTINUITY * most**_POWER
    threads = max(1, min(n_threads(), n // _EACH))
    numbers = np.random.default_rng(seed).integers(2**63, size=(heat.sweeps, len(bounds)), dtype=np.uint64)
    if threads == 1:
        step = max(1, _AT_ONCE // n)
        for start in range(0, heat.sweeps, step):
            stop = start + step
            some = heats[start:stop], numbers[start:stop]
            _sweeps(order, turn, wish, moved, bounds, *state, *graphs, *costs, weight, *some, start)
            if bar is not None:
                bar.update(min(stop, heat.sweeps) - start)
        return np.asarray(points[place_of])
    cuts = list(pairwise(np.linspace(0, n, threads + 1).astype(np.int64)))
    with ThreadPoolExecutor(threads - 1) as pool:
        for sweep, (temperature, (first, *others)) in enumerate(zip(heats, numbers, strict=True)):
            _deal(order, turn, bounds, first)
            for part, number in enumerate(others):
                given = turn, part, wish, *state, *graphs, *costs, weight, temperature, number
                jobs = [pool.submit(_weigh, *given, *cut) for cut in cuts[1:]]
                _weigh(*given, *cuts[0])
                for job in jobs:
                    job.result()
                mark = sweep * len(bounds) + part + 1
                _carry_out(order, wish, place_of, at, moved, mark, bounds[part], bounds[part + 1])
            if bar is not None:
                bar.update()
    return np.asarray(points[place_of])


@compiled
def _mixed(number: Any) -> Any:
    """Return the next of a chain of random numbers (SplitMix64: Steele, Lea, Flood 2014)."""
    x = np.uint64(number) + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@compiled
def _deal(order: Array, turn: Array, bounds: Array, number: Any) -> None:
    """Shuffle the order, and write in which of its parts each neuron then is."""
    x = number
    for i in range(len(order) - 1, 0, -1):
        x = _mixed(x)
        j = np.int64(x % np.uint64(i + 1))
        order[i], order[j] = order[j], order[i]
    for part in range(len(bounds) - 1):
        for i in range(bounds[part], bounds[part + 1]):
            turn[order[i]] = part


@compiled
def _beyond(points: Array, place: int, other: int, most: float, k: float) -> float:
    """By how much the rank of one place among the neighbours of another exceeds k, from its distance."""
    gx, gy = points[place, 0] - points[other, 0], points[place, 1] - points[other, 1]
    return max(min(np.float32(np.pi) * (gx * gx + gy * gy), most) - k, np.float32(0))  # type: ignore[no-any-return]


@compiled
def _weigh(
    turn: Array, part: int, wish: Array, points: Array, anchor: Array, near: Array, friends: Array, place_of: Array,
    at: Array, close_start: Array, close: Array, close_weight: Array, alike_start: Array, alike: Array,
    alike_weight: Array, matrix: Array, known_start: Array, known_other: Array, known: Array, rows: Any, offset: Any,
    inverse: Any, curve: Any, k: float, continuity: float, temperature: float, number: Any, start: int, stop: int,
) -> None:  # fmt: skip
    """Find where neurons of a part would go, -1 if nowhere; no neuron moves.

    By number, not in the shuffled order: what one neuron looks up is in the cache when its neighbour comes.
    """
    most = np.float32(min(len(points), FAR))
    # where a neuron stands among those around two places; 0 for all others
    slot = np.zeros(1 if rows is None else len(points), dtype=np.int16)
    size = 0
    for place in range(0 if rows is None else len(points)):
        size = max(size, close_start[place + 1] - close_start[place])
    around, weights = np.empty(2 * size + 1, dtype=np.int32), np.empty(2 * size + 1, dtype=np.float32)
    of_a, of_b = np.empty(2 * size + 1, dtype=np.int16), np.empty(2 * size + 1, dtype=np.int16)
    for neuron in range(start, stop):
        a = np.int32(neuron)
        if turn[a] != part:
            continue
        x = _mixed(number + np.uint64(a))
        friend = friends[a, np.int64(x % np.uint64(friends.shape[1]))]
        x = _mixed(x)
        there = near[place_of[friend], np.int64(x % np.uint64(near.shape[1]))]
        here, b = place_of[a], at[there]
        wish[a] = -1
        if a == b:
            continue
        change, count = np.float32(0), 0  # what is lost for a loss
        for side in range(2):
            place, sign = (here, np.float32(-1)) if side == 0 else (there, np.float32(1))
            for e in range(close_start[place], close_start[place + 1]):
                j = at[close[e]]
                if j in (a, b):
                    continue
                if rows is None:
                    change += sign * close_weight[e] * (np.float32(matrix[a, j]) - np.float32(matrix[b, j]))
                    continue
                if slot[j] == 0:
                    count += 1
                    slot[j], around[count], weights[count] = count, j, 0
                    of_a[count], of_b[count] = _NONE, _NONE
                weights[slot[j]] += sign * close_weight[e]
        if rows is not None:
            for e in range(known_start[a], known_start[a + 1]):
                of_a[slot[known_other[e]]] = known[e]
            for e in range(known_start[b], known_start[b + 1]):
                of_b[slot[known_other[e]]] = known[e]
            for c in range(1, count + 1):
                j = around[c]
                slot[j] = 0
                if weights[c] != 0:
                    more = np.float32(of_a[c]) if of_a[c] != _NONE else estimate(rows, offset, inverse, curve, a, j)
                    more -= np.float32(of_b[c]) if of_b[c] != _NONE else estimate(rows, offset, inverse, curve, b, j)
                    change += weights[c] * more
        way = np.float32(0)
        for side in range(2):
            who, fellow, old, new = (a, b, here, there) if side == 0 else (b, a, there, here)
            for e in range(alike_start[who], alike_start[who + 1]):
                if alike[e] != fellow:
                    p = place_of[alike[e]]
                    way += alike_weight[e] * (_beyond(points, new, p, most, k) - _beyond(points, old, p, most, k))
        gx, gy = points[here, 0] - points[there, 0], points[here, 1] - points[there, 1]
        # squared ways from the anchors, after less before
        away = 2 * (gx * (anchor[a, 0] - anchor[b, 0]) + gy * (anchor[a, 1] - anchor[b, 1]))
        change += np.float32(continuity) * (way + np.float32(_HOLD * np.pi) * away)
        if change <= 0 or np.float64(_mixed(x) >> np.uint64(11)) * 2.0**-53 < np.exp(-change / temperature):
            wish[a] = there


@compiled
def _carry_out(
    order: Array, wish: Array, place_of: Array, at: Array, moved: Array, part: int, start: int, stop: int
) -> None:
    """Exchange neurons as they wish, but those that moved in this part already."""
    for i in range(start, stop):
        a = order[i]
        there = wish[a]
        if there < 0:
            continue
        b = at[there]
        if moved[a] == part or moved[b] == part:
            continue
        moved[a], moved[b] = part, part
        here = place_of[a]
        place_of[a], place_of[b] = there, here
        at[there], at[here] = a, b


@compiled
def _sweeps(
    order: Array, turn: Array, wish: Array, moved: Array, bounds: Array, points: Array, anchor: Array, near: Array,
    friends: Array, place_of: Array, at: Array, close_start: Array, close: Array, close_weight: Array,
    alike_start: Array, alike: Array, alike_weight: Array, matrix: Array, known_start: Array, known_other: Array,
    known: Array, rows: Any, offset: Any, inverse: Any, curve: Any, k: float, continuity: float, heats: Array,
    numbers: Array, before: int,
) -> None:  # fmt: skip
    """Run whole sweeps, of which there were some `before`, in one thread."""
    for sweep in range(len(heats)):
        _deal(order, turn, bounds, numbers[sweep, 0])
        for part in range(len(bounds) - 1):
            _weigh(
                turn, part, wish, points, anchor, near, friends, place_of, at, close_start, close, close_weight,
                alike_start, alike, alike_weight, matrix, known_start, known_other, known, rows, offset, inverse, curve,
                k, continuity, heats[sweep], numbers[sweep, part + 1], 0, len(order),
            )  # fmt: skip
            mark = (before + sweep) * len(bounds) + part + 1
            _carry_out(order, wish, place_of, at, moved, mark, bounds[part], bounds[part + 1])
