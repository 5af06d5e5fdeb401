"""measure_patterns(): do patterns come back, what do their members share, and does their number mean anything."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import instance_of, whole_number
from topomap.groups import By
from topomap.patterns.base import Patterns
from topomap.patterns.cluster import cluster
from topomap.patterns.enrichment import enrich
from topomap.patterns.report import Growth, PatternReport
from topomap.run import versions

Float = NDArray[np.float64]
Int = NDArray[np.int64]

#: Shares of the inputs in which patterns are counted, beside all of them, and most samples of each.
_GROWTH, _REPETITIONS = (0.125, 0.25, 0.5, 0.75), 5

#: Up to so many inputs, distances are computed once for all samples: a matrix of 128 MB.
_MOST_DISTANCES = 4_096


def measure_patterns(
    patterns: Patterns,
    by: By | Sequence[By] | None = None,
    n_bootstrap: int = 20,
    seed: int = 0,
    share: float = 0.8,
    alpha: float = 0.05,
    progress: bool = True,
) -> PatternReport:
    """Measure how stable patterns are, what their members have in common, and how their number grows with inputs.

    Parameters
    ----------
    patterns
        What `find_patterns` returned for one layer.
    by
        A column, or several: each is tested by itself, and a tuple within a list means intersections, as in
        ``[("label", "correct")]``. By default all columns, but for those that are identifiers.
    n_bootstrap
        Random samples to cluster anew; 0 leaves stability and growth out.
    seed
        For the samples.
    share
        Share of the inputs in a sample, below 1: as many of every pattern and of noise.
    alpha
        False discovery rate for what `PatternReport.table` names.
    progress
        Show a bar where standard error is a terminal.

    Returns
    -------
    PatternReport

    Raises
    ------
    ValueError
        If patterns are of another type, a column does not exist, or a number is out of range.

    Notes
    -----
    **Stability** is Hennig's clusterwise one: for each pattern, the largest Jaccard index of its members in the
    sample with a cluster found in the sample, averaged over samples. He takes 0.5 or less as dissolved and 0.75 or
    more as recovered. Samples are subsets, his second scheme, not bootstrap samples, as these hold inputs several
    times: to HDBSCAN copies are neighbours at distance 0, which fill `min_samples` by themselves, and every input drawn
    often becomes a dense cluster of its own. So that patterns of the smallest size can come back, every pattern and
    noise give `share` of their members, and `min_cluster_size` and `min_samples` are multiplied by it (all rounded):
    of five members four are drawn, which is the smallest size then. With plain subsets, planted patterns of five to
    seven inputs got 0.4 (0.7 with sizes multiplied) as against 0.99, and patterns found in pure noise 0.5 both ways.
    Scales and principal components are those of all inputs. This is stability against the choice of inputs from those
    at hand.

    **Growth**: patterns are counted in random samples of 1/8, 1/4, 1/2 and 3/4 of the inputs, with parameters as they
    are. The published counts (Bäuerle et al. 2022: 19 to 483 per layer of InceptionV3) are of 12,811 inputs; the count
    grows with the inputs, for each rare kind of them gets `min_cluster_size` members in the end.

    **Enrichment**: see `Enrichment` and `Shift`. Missing values count neither as members nor as inputs. Patterns are
    taken as given and inputs as independent: with several inputs of one person or scene, p is too small.

    References
    ----------
    Hennig (2007), Cluster-wise assessment of cluster stability, doi 10.1016/j.csda.2006.11.025. Benjamini, Hochberg
    (1995), doi 10.1111/j.2517-6161.1995.tb02031.x.

    Examples
    --------
    >>> import topomap as tm
    >>> rng = np.random.default_rng(0)
    >>> values = np.concatenate([rng.normal(3, 0.3, (40, 4)), rng.normal(-3, 0.3, (40, 4))])
    >>> acts = tm.Activations.from_array(values, label=np.repeat(["cat", "dog"], 40))
    >>> from topomap.patterns import find_patterns
    >>> patterns = find_patterns(acts, min_cluster_size=20)
    >>> report = measure_patterns(patterns, by="label", n_bootstrap=5)
    >>> [row.common[0] for row in report.table if row.pattern >= 0]
    ['label cat (40 of 40)', 'label dog (40 of 40)']
    """
    instance_of("patterns", patterns, Patterns, "Take those of one layer: find_patterns(run['layer']).")
    n_bootstrap = whole_number("n_bootstrap", n_bootstrap, 0)
    seed = whole_number("seed", seed, 0)
    if not 0 < share < 1:
        raise ValueError(f"share must be above 0 and below 1, as samples are drawn without replacement; got {share!r}.")
    if not 0 < alpha <= 1:
        raise ValueError(f"alpha must be above 0 and at most 1; got {alpha!r}.")
    if n_bootstrap and "assigned" in patterns.provenance:
        raise ValueError(
            "these patterns were assigned to new inputs, not found in them, so nothing can come back: measure those "
            "that find_patterns() gave, or pass n_bootstrap=0 for enrichment alone."
        )
    tested = enrich(patterns, by)
    jaccard, growth = _resample(patterns, n_bootstrap, seed, share, progress)
    parameters = {"n_bootstrap": n_bootstrap, "seed": seed, "share": share, "alpha": alpha}
    return PatternReport(
        patterns=replace(patterns, stability=jaccard.mean(axis=0)[: len(patterns)]) if n_bootstrap else patterns,
        jaccard=jaccard,
        enrichment=tested.enrichment,
        shifts=tested.shifts,
        growth=growth,
        n_tests=tested.n_tests,
        left_out=tested.left_out,
        alpha=alpha,
        provenance={"parameters": parameters, "versions": versions(), "patterns": dict(patterns.provenance)},
    )


def _resample(
    patterns: Patterns, n_bootstrap: int, seed: int, share: float, progress: bool
) -> tuple[Float, tuple[Growth, ...]]:
    """Cluster samples anew; return best Jaccard indices, shape ``(n_bootstrap, len(patterns.ids))``, and the counts."""
    from tqdm.auto import tqdm

    rng = np.random.default_rng(seed)
    n = patterns.n_rows
    jaccard = np.zeros((n_bootstrap, len(patterns.ids)))
    growth: list[Growth] = []
    if not n_bootstrap:
        return jaccard, ()
    again = _Clusterer(patterns)
    sizes = sorted({round(part * n) for part in _GROWTH} - {0, n})
    repetitions = min(n_bootstrap, _REPETITIONS)
    total = n_bootstrap + repetitions * len(sizes)
    with tqdm(total=total, desc="resampling", unit="sample", leave=False, disable=None if progress else True) as bar:
        for b in range(n_bootstrap):
            sample = _draw(patterns, share, rng)
            jaccard[b] = best_jaccard(patterns.labels[sample], again.labels(sample, share), np.array(patterns.ids))
            bar.update()
        for size in sizes:
            found = []
            for _ in range(repetitions):
                found.append(again.labels(np.sort(rng.permutation(n)[:size]), 1.0))
                bar.update()
            growth.append(_count(found, size))
    growth.append(_count([patterns.labels], n))
    return jaccard, tuple(growth)


def _draw(patterns: Patterns, share: float, rng: np.random.Generator) -> Int:
    """Draw a share of every pattern and of noise without replacement, at least one of each; sorted positions."""
    order = rng.permutation(patterns.n_rows)
    groups = (order[patterns.labels[order] == k] for k in patterns.ids)
    return np.sort(np.concatenate([group[: max(round(share * len(group)), 1)] for group in groups]))


def _count(found: list[Int], n: int) -> Growth:
    counts = [int(labels.max(initial=-1)) + 1 for labels in found]
    noise = float(np.mean([np.mean(labels < 0) for labels in found]))
    return Growth(n, len(found), float(np.mean(counts)), min(counts), max(counts), noise)


class _Clusterer:
    """Clusters samples of the features that patterns were found in, with their parameters."""

    def __init__(self, patterns: Patterns) -> None:
        names = ("min_cluster_size", "min_samples", "cluster_selection_epsilon", "selection", "metric")
        self.parameters: dict[str, Any] = {k: patterns.parameters[k] for k in names if k in patterns.parameters}
        self.features = patterns.features
        self.distances: Float | None = None
        n, metric = patterns.n_rows, self.parameters.get("metric", "euclidean")
        # in a few dimensions hdbscan's trees are faster than a matrix
        if n <= _MOST_DISTANCES and metric == "euclidean" and self.features.shape[1] > 60:
            from scipy.spatial.distance import pdist, squareform

            self.distances = squareform(pdist(self.features))

    def labels(self, sample: Int, share: float) -> Int:
        """Cluster some of the inputs, with sizes for samples that hold a share of them; shape ``(len(sample),)``."""
        parameters = dict(self.parameters)
        for name, least in (("min_cluster_size", 2), ("min_samples", 1)):
            parameters[name] = max(round(share * parameters.get(name, 5)), least)
        if self.distances is not None:
            parameters["metric"] = "precomputed"
            return cluster(self.distances[np.ix_(sample, sample)], **parameters).labels
        return cluster(self.features[sample], **parameters).labels


def best_jaccard(labels: Int, found: Int, ids: Int) -> Float:
    """Return the best Jaccard index of each of some clusters with those found anew.

    Parameters
    ----------
    labels
        Cluster of each row before, -1 for noise, shape ``(n,)``.
    found
        Cluster of each row now, shape ``(n,)``.
    ids
        The clusters to look for; -1 is compared with noise alone.

    Examples
    --------
    >>> before, now = np.array([0, 0, 0, 1, 1, -1]), np.array([2, 2, 0, 0, -1, -1])
    >>> best_jaccard(before, now, np.array([0, 1, -1])).round(2)
    array([0.67, 0.33, 0.5 ])
    """
    n_before, n_found = max(int(ids.max(initial=-1)), int(labels.max(initial=-1))) + 2, int(found.max(initial=-1)) + 2
    both = np.bincount((labels + 1) * n_found + found + 1, minlength=n_before * n_found).reshape(n_before, n_found)
    either = both.sum(axis=1)[:, None] + both.sum(axis=0) - both
    index = both / np.maximum(either, 1)
    best = np.zeros(n_before)
    best[1:] = index[1:, 1:].max(axis=1, initial=0)
    best[0] = index[0, 0]
    return best[ids + 1]
