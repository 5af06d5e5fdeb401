"""The tests of a report: every labelling's statistics, their largest ones, and the clusters they form."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from tqdm.auto import tqdm

from topomap.bias.clusters import enhance, find_clusters, largest_masses
from topomap.bias.effects import Estimate, Table, estimate, statistics
from topomap.bias.intervals import bootstrap
from topomap.bias.permute import CHUNK
from topomap.bias.report import Cluster, Contrast
from topomap.bias.sample import Comparison

Bool = NDArray[np.bool_]
Int = NDArray[np.int64]
Float = NDArray[np.float64]

#: Two statistics are the same if they differ by less than this, absolutely and relatively: the rounding of float32
#: products. Labellings that mirror each other give the same statistic, and must count as such.
SAME = 1e-5


@dataclass(frozen=True)
class Plan:
    """How many labellings the observed one is compared with, and whether they are all that there are.

    `rank` is how many labellings may have a neuron in a cluster; 0 without a layout.
    """

    n: int
    exact: bool
    rank: int = 0


@dataclass(frozen=True, eq=False)
class _Result:
    """One comparison, before it is known how large the statistics of the others are."""

    estimate: Estimate
    limits: tuple[Float, Float]
    scale: Float
    live: Bool
    p: Float
    largest: Float  # of each labelling, the observed one first
    clusters: list[Int]
    masses: Float
    heaviest: Float
    enhanced: Float | None
    most_enhanced: Float


def plan_tests(comparisons: list[Comparison], n_permutations: int, forming: float | None) -> Plan:
    """Decide between all distinct labellings and random ones; `forming` is None where no clusters are formed."""
    n, exact = n_permutations, False
    if len({comparison.stream for comparison in comparisons}) == 1:
        count = comparisons[0].shuffle.count(n_permutations)
        if count <= n_permutations:
            n, exact = count - 1, True
    if forming is None:
        return Plan(n, exact)
    rank = int(forming * (n + 1) + 1e-9)
    if rank < 1:
        which = "distinct" if exact else "random"
        raise ValueError(
            f"no neuron can reach forming={forming:g} among {n + 1:,} {which} labellings: pass forming= of at least "
            f"{1 / (n + 1):.3g}" + (", or no layout." if exact else ", or more n_permutations.")
        )
    return Plan(n, exact, rank)


def run_tests(
    values: NDArray[np.floating],
    table: Table,
    comparisons: list[Comparison],
    plan: Plan,
    graph: sparse.csr_array | None,
    off: Bool | None,
    tfce: bool,
    interval: str,
    units: bool,
    seed: int,
    progress: bool = True,
) -> tuple[tuple[Contrast, ...], tuple[Cluster, ...]]:
    """Test all comparisons, and correct over them jointly.

    `table` holds all of the values; comparisons of some rows have their own. Neurons that are `off` the map are in no
    cluster.
    """
    results = []
    rows = np.arange(len(values))
    total = len(comparisons) * (plan.n + 1)
    with tqdm(total=total, desc="permutations", disable=None if progress else True, leave=False, delay=1) as bar:
        for comparison in comparisons:
            if not np.array_equal(rows, comparison.rows):
                rows = comparison.rows
                table = Table.of(values[rows], comparison.classes)
            results.append(_test(table, comparison, plan, graph, off, tfce, interval, units, seed, bar, progress))
    largest = np.max([result.largest for result in results], axis=0)
    heaviest = np.max([result.heaviest for result in results], axis=0)
    enhanced = np.max([result.most_enhanced for result in results], axis=0)
    how = "bootstrap over units" if units else "bootstrap over inputs" if interval == "bootstrap" else "analytic"
    contrasts = tuple(_contrast(c, r, largest, enhanced, how) for c, r in zip(comparisons, results, strict=True))
    clusters = [
        Cluster(
            contrast.group,
            contrast.reference,
            int(np.sign(contrast.statistic[neurons[0]])),
            neurons,
            float(mass),
            float(share_above(heaviest, np.array([mass]))[0]),
            int(neurons[np.argmax(np.abs(contrast.statistic[neurons]))]),
        )
        for contrast, result in zip(contrasts, results, strict=True)
        for neurons, mass in zip(result.clusters, result.masses, strict=True)
    ]
    return contrasts, tuple(sorted(clusters, key=lambda cluster: (cluster.p, -cluster.mass)))


def share_above(of_labellings: Float, observed: Float) -> Float:
    """Return the share of labellings at least as large as each value, rounding aside, shape ``(n_values,)``."""
    ordered = np.sort(of_labellings)
    below = np.searchsorted(ordered, observed * (1 - SAME) - SAME, side="left")
    return np.asarray((len(ordered) - below) / len(ordered))


def _test(
    table: Table,
    comparison: Comparison,
    plan: Plan,
    graph: sparse.csr_array | None,
    off: Bool | None,
    tfce: bool,
    interval: str,
    units: bool,
    seed: int,
    bar: tqdm,
    progress: bool,
) -> _Result:
    member = comparison.member[table.order]
    found = estimate(table, member)
    # float32 holds what is needed: see SAME
    stats = np.empty((plan.n + 1, table.n_neurons), dtype=np.float32)
    stats[0] = found.statistic
    at = 1
    bar.update(1)
    for codes in _labellings(comparison, plan, seed):
        stats[at : at + len(codes)] = statistics(table, comparison.members(codes)[:, table.order])
        at += len(codes)
        bar.update(len(codes))
    size = np.abs(stats)
    observed = size[0] * (1 - SAME) - SAME
    p = np.mean(size >= observed, axis=0)
    clusters: list[Int] = []
    masses, heaviest = np.zeros(0), np.zeros(len(stats))
    enhanced, most_enhanced = None, np.zeros(len(stats))
    if graph is not None and off is not None:
        last = len(size) - 1 - plan.rank
        beyond = np.partition(np.ascontiguousarray(size.T), last, axis=1)[:, last]
        thresholds = beyond * (1 + SAME) + SAME
        thresholds[off] = np.inf
        clusters = find_clusters(stats[0], thresholds, graph)
        masses = np.array([size[0, neurons].sum(dtype=np.float64) for neurons in clusters])
        heaviest = largest_masses(stats, thresholds, graph)
        if tfce:
            stats[:, off] = 0
            scores = [enhance(stats[start : start + CHUNK], graph) for start in range(0, len(stats), CHUNK)]
            enhanced = scores[0][0]
            most_enhanced = np.concatenate([block.max(axis=1) for block in scores])
    if units:
        limits = bootstrap(table, member, comparison.unit_of[table.order], [seed, 1], progress=progress)
    elif interval == "bootstrap":
        limits = bootstrap(table, member, None, [seed, 1], progress=progress)
    else:
        limits = found.interval()
    live = found.variance > 0
    return _Result(
        found,
        limits,
        table.scale,
        live,
        p,
        size.max(axis=1).astype(np.float64),
        clusters,
        masses,
        heaviest,
        enhanced,
        most_enhanced,
    )


def _labellings(comparison: Comparison, plan: Plan, seed: int) -> Iterator[Int]:
    """Yield the labels of units, by chunks, without the observed ones."""
    if plan.exact:
        every = comparison.shuffle.every()[1:]
        yield from (every[start : start + CHUNK] for start in range(0, len(every), CHUNK))
    else:
        yield from comparison.shuffle.draw(plan.n, [seed, 0, comparison.stream])


def _contrast(comparison: Comparison, result: _Result, largest: Float, enhanced: Float, interval: str) -> Contrast:
    from scipy.stats import false_discovery_control

    q = np.ones(len(result.p))
    if result.live.any():
        q[result.live] = false_discovery_control(result.p[result.live])
    statistic = result.estimate.statistic
    return Contrast(
        group=comparison.group,
        reference=comparison.reference,
        effect=result.estimate.effect,
        low=result.limits[0],
        high=result.limits[1],
        difference=result.estimate.difference * result.scale,
        deviation=np.sqrt(result.estimate.variance) * result.scale,
        statistic=statistic,
        p=result.p,
        p_family=share_above(largest, np.abs(statistic)),
        q=q,
        cells=comparison.cells,
        n_group=sum(cell.n_group for cell in comparison.cells if cell.tested),
        n_reference=sum(cell.n_reference for cell in comparison.cells if cell.tested),
        df=result.estimate.df,
        interval=interval,
        n_units=len(np.unique(comparison.unit_of)),
        n_movable=comparison.n_movable,
        tfce=result.enhanced,
        p_tfce=None if result.enhanced is None else share_above(enhanced, result.enhanced),
    )
