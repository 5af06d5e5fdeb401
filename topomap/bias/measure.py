"""measure_bias(): how groups of inputs differ in one layer, within classes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from topomap import _sparse
from topomap._check import choice, instance_of, same_length, warn, whole_number
from topomap.bias.clusters import adjacency
from topomap.bias.effects import Table
from topomap.bias.maps import class_maps
from topomap.bias.outcomes import Outcomes, measure_outcomes
from topomap.bias.probe import measure_probe
from topomap.bias.report import BiasReport
from topomap.bias.sample import Sample, compare, draw_sample
from topomap.bias.testing import plan_tests, run_tests
from topomap.groups import By
from topomap.layout import Layout
from topomap.run import Activations, take_rows, versions


def measure_bias(
    acts: Activations,
    by: By,
    within: By | None = None,
    reference: Any = "rest",
    unit: By | None = None,
    layout: Layout | None = None,
    *,
    n_permutations: int = 1000,
    alpha: float = 0.05,
    forming: float = 0.01,
    tfce: bool = False,
    min_size: int = 5,
    interval: str = "analytic",
    probe: bool = False,
    seed: int = 0,
    progress: bool = True,
) -> BiasReport:
    """Measure how groups of inputs differ in every neuron of a layer, and test it neuron by neuron and on the map.

    Parameters
    ----------
    acts
        Activations of one layer; where positions or tokens are kept as rows, those of an input are averaged first, so
        that an input counts once.
    by
        The groups: a column, a tuple of columns (intersections), a callable, a column of values, or `Groups`, as for
        `profile`. ``acts.with_labels(group=...)`` adds a column; numbers such as ages are cut into ranges first,
        ``by=lambda inputs: inputs["age"] >= 40``.
    within
        What is held fixed: differences are taken within each of its classes (``"label"``, as a rule), so that groups
        of other classes are not called biased. None compares all inputs with each other.
    reference
        ``"rest"`` compares each group with all others (two groups: the second with the first, True with False); the
        name of a group compares each other group with that one.
    unit
        What inputs belong together: a column that names a person with many images, say. Whole units are permuted.
    layout
        Of the same neurons, made without `by`; adds clusters.
    n_permutations
        Random permutations. Where there are no more distinct ones, all of them are compared.
    alpha
        Level of the tests.
    forming
        The permutation p, two-sided, at which a neuron may be part of a cluster.
    tfce
        Whether to add the threshold-free cluster enhancement; takes a layout.
    min_size
        Groups of fewer inputs (with `unit`, of fewer units), over all or in the classes that hold both sides, are not
        compared and listed as excluded.
    interval
        ``"analytic"``, or ``"bootstrap"`` (percentiles of 1,000 draws within cells, corrected for small cells; classes
        with a cell of fewer than 5 inputs are left out). Inputs of one unit are not independent, and no formula holds:
        with `unit`, units are drawn instead within each group, at least 5 of each.
    probe
        Whether to measure as well how well the groups can be read from this layer, with the defaults of
        `measure_probe`, which gives curves over layers and steps, and corrects over them.
    seed
        Of permutations, bootstrap and probe.
    progress
        Show a bar where standard error is a terminal.

    Returns
    -------
    BiasReport
        With error rates and confidence per group (`measure_outcomes`) where labels and predictions are known, and with
        the probe where it was asked for.

    Warns
    -----
    TopomapWarning
        If the layout was made from profiles by a column that is tested.

    Raises
    ------
    ValueError
        If fewer than two groups are large enough; no class holds two groups (the attribute is the class); the labels
        have fewer than ``1 / alpha`` distinct permutations; an attribute varies within a unit; there are more than
        100 groups; or a parameter is out of range.

    Notes
    -----
    *Estimate.* In class c with ``n_a`` inputs of the group and ``n_b`` of its reference, ``d_c`` is the difference of
    means and ``w_c = n_a n_b / (n_a + n_b)``. The pooled difference is ``D = sum w_c d_c / sum w_c``; the pooled
    variance ``s^2`` is the sum of squares within all cells over ``df``, the inputs less the cells. Hedges' g is
    ``J D / s`` with ``J = 1 - 3 / (4 df - 1)`` (Hedges 1981, doi 10.3102/10769986006002107). Classes in which one side
    does not occur are listed as untested.

    *Standard error.* ``e^2 = sum w_c^2 (v_ac / n_a + v_bc / n_b) / (sum w_c)^2``, with a variance of each side in each
    class, to which its side and both sides lend one degree of freedom, so that small cells have one too
    (`effects.shares`). Analytic intervals are those of Welch (1947, doi 10.1093/biomet/34.1-2.28): the variance of g is
    ``J^2 e^2 / s^2``, and g^2 times that of ``log s``; the quantile is Student's, with Welch's and Satterthwaite's
    degrees of freedom.

    *Permutation.* Labels change places within classes, and ``t = D / e`` is computed anew. Two-sided
    ``p = (1 + b) / (1 + B)``, b counting permutations at least as extreme (Phipson, Smyth 2010,
    doi 10.2202/1544-6115.1585); `p_family` compares with the largest of all neurons and contrasts (Westfall, Young
    1993), `q` is Benjamini's and Hochberg's (1995). Where values are distributed alike within classes this is exact.
    Where means are equal and spreads are not, it is so in the limit of many inputs, since t has a variance of each side
    (Janssen 1997, doi 10.1016/S0167-7152(97)00043-6; Chung, Romano 2013, doi 10.1214/13-AOS1090). Where 20 inputs have
    thrice the deviation of 180 others, one variance for both sides would give a third of the neurons a p of at most
    .05, and a variance of each 5 to 7 in 100. Far out, where `p_family` lies, few inputs of a wide side are still found
    too often, the more so the more skewed their values are (benchmarks/README.md), and a side of at most one input per
    class has no variance of its own: the report's text names such sides. The price is power where a side is small: of
    differences of which one variance finds 69 in 100 among 64 neurons, two find 55 with sides of 20 and 180, 45 with 10
    and 90, and 22 with 5 and 95. With sides of equal size nothing is lost.

    With `unit`, units change places that have the same proportions of classes: those of one class with each other,
    where units lie within classes; cells then change in size, and all weights with them. Variances are those of inputs:
    units whose values resemble each other as much on both sides only scale t, in all permutations alike.

    *Several contrasts.* Against the rest all contrasts share each permutation of the labels. Against a named group
    each contrast permutes the inputs of its two groups alone, since a third group that differs must not widen or shift
    its distribution, and draws its permutations independently of the other contrasts. The largest statistic of
    independent draws is, if anything, larger than that of dependent ones (proven for statistics that are jointly
    normal: Royen 2014, arXiv 1408.1028), so that the joint correction errs on the safe side. Each group against the
    rest is another question than each against one: a group that differs is in the rest of every other.

    *Clusters* (Maris, Oostenveld 2007, doi 10.1016/j.jneumeth.2007.03.024). Neighbours (`clusters.adjacency`) of one
    sign, each beyond its own permutation p of `forming`, form a cluster; its mass is the sum of ``|t|``. It is compared
    with the heaviest cluster of each permutation, over both signs and all contrasts. The observed labelling is one of
    those from which the thresholds are taken, so that all labellings are treated alike. Clusters of neurons that are
    all distributed alike are found in at most `alpha` of the cases, whatever other neurons do, since such a cluster is
    no heavier than those that permutations form; hence a cluster says that the groups differ somewhere in it, and not
    where. A cluster's p is not one of its neurons.

    Memory is about three times that of the values in float32, and twice that of permutations x neurons.

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> label, group = np.repeat([0, 1], 100), rng.integers(0, 2, 200)
    >>> values = rng.normal(size=(200, 12)) + label[:, None]
    >>> values[:, 3] += group
    >>> acts = Activations.from_array(values, label=label, group=group)
    >>> report = measure_bias(acts, by="group", within="label")
    >>> report
    BiasReport(layer by group within label: 0 (89), 1 (111); 12 neurons, 1 at corrected p <= 0.05)
    >>> np.flatnonzero(report["1"].p_family <= 0.05)
    array([3])
    """
    instance_of("acts", acts, Activations, "Pass the activations of one layer: run['layer'].")
    _check(n_permutations, alpha, forming, min_size, interval, seed)
    _check_layout(layout, acts, tfce)
    acts = acts.per_input()
    sample = draw_sample(acts, by, within, unit, min_size)
    _check_blind(layout, sample)
    values = take_rows(acts.values, sample.rows)
    if acts.sparse:
        _sparse.refuse_dense(
            "the values that are permuted", len(sample.rows), acts.n_neurons, "Take fewer inputs: acts.select(n=...)."
        )
    values = values.toarray() if acts.sparse else np.asarray(values)
    if not np.isfinite(values).all():
        _ = acts.mean  # raises with the way out
        raise ValueError(f"layer {acts.layer!r} has NaN or infinite values; record with nonfinite='mask'.")
    comparisons, excluded = compare(sample, reference, alpha, interval)
    plan = plan_tests(comparisons, n_permutations, forming if layout is not None else None)
    decoded = None
    if probe:
        decoded = measure_probe(acts, by, within, unit, min_size=min_size, seed=seed, progress=progress)
    table = Table.of(values, sample.classes)
    near = None if layout is None else adjacency(layout, table.dead)
    off = None if layout is None else layout.dead | table.dead
    contrasts, clusters = run_tests(
        values, table, comparisons, plan, near, off, tfce, interval, sample.unit is not None, seed, progress
    )
    drawn = [
        class_maps(values, comparison, contrast.deviation)
        for contrast, comparison in zip(contrasts, comparisons, strict=True)
    ]
    contrasts = tuple(
        replace(contrast, maps=maps, map_errors=errors)
        for contrast, (maps, errors) in zip(contrasts, drawn, strict=True)
    )
    parameters = {
        "by": list(sample.by),
        "within": list(sample.within),
        "reference": str(reference),
        "unit": sample.unit,
        "n_permutations": n_permutations,
        "alpha": alpha,
        "forming": forming,
        "tfce": tfce,
        "min_size": min_size,
        "interval": interval,
        "seed": seed,
    }
    return BiasReport(
        contrasts=contrasts,
        clusters=clusters,
        alpha=alpha,
        forming=forming,
        dead=table.dead,
        layer=acts.layer,
        reduce=acts.reduce,
        by=sample.by,
        within=sample.within,
        unit=sample.unit,
        names=sample.names,
        counts=sample.counts,
        excluded=(*sample.excluded, *excluded),
        left_out=sample.left_out,
        n_inputs=len(sample.rows),
        n_units=sample.n_units,
        n_permutations=plan.n,
        exact=plan.exact,
        layout=layout,
        outcomes=_outcomes(acts, sample, by, within, unit, min_size, seed, progress),
        probe=decoded,
        parameters=parameters,
        provenance={
            "parameters": parameters,
            "versions": versions(),
            "n_inputs": len(sample.rows),
            "n_dead": int(table.dead.sum()),
            "recording": dict(acts.provenance),
        },
    )


def _check(n_permutations: int, alpha: float, forming: float, min_size: int, interval: str, seed: int) -> None:
    for name, value in (("alpha", alpha), ("forming", forming)):
        if not 0 < value < 1:
            raise ValueError(f"{name} must lie between 0 and 1; got {value!r}.")
    choice("interval", interval, ("analytic", "bootstrap"))
    for name, value, least in (("n_permutations", n_permutations, 0), ("min_size", min_size, 1), ("seed", seed, 0)):
        whole_number(name, value, least)
    if (n_permutations + 1) * alpha < 1 - 1e-9:
        raise ValueError(
            f"n_permutations must be at least 1 / alpha - 1 = {1 / alpha - 1:g}, or no p can reach alpha = {alpha:g}; "
            f"got {n_permutations!r}."
        )


def _check_layout(layout: Layout | None, acts: Activations, tfce: bool) -> None:
    if layout is None:
        if tfce:
            raise ValueError("tfce=True takes a layout: pass layout=tm.embed(tm.correlate(acts)).")
        return
    instance_of("layout", layout, Layout, "Make one with tm.embed(tm.correlate(acts)).")
    same_length("layout", layout.n_neurons, "neuron", acts.n_neurons)


def _check_blind(layout: Layout | None, sample: Sample) -> None:
    similarity = {} if layout is None else layout.provenance.get("similarity") or {}
    seen = [name for name in similarity.get("by") or () if name in sample.by]
    if seen:
        warn(
            f"the layout was made from profiles by {' x '.join(similarity['by'])}, so that neurons that differ by "
            f"{seen[0]} lie together whether or not the difference is chance: its clusters claim too much. Lay the "
            "activations out instead: tm.embed(tm.correlate(acts)).",
            stacklevel=4,
        )


def _outcomes(
    acts: Activations,
    sample: Sample,
    by: By,
    within: By | None,
    unit: By | None,
    min_size: int,
    seed: int,
    progress: bool,
) -> Outcomes | None:
    """Return what the model made of the groups, where that is known and a question."""
    overlap = bool((sample.member.sum(axis=0) > 1).any())
    if acts.inputs.correct is None or overlap or {"correct", "prediction"} & {*sample.by, *sample.within}:
        return None
    try:
        return measure_outcomes(acts, by, within, unit, min_size=min_size, seed=seed, progress=progress)
    except ValueError:  # too few inputs with a prediction: what was asked for, the neurons, can be tested all the same
        return None
