"""The paragraph that goes under every figure of bias and into its report."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from topomap.bias.report import BiasReport

#: Names and reasons that are written out; what is more is counted.
_MOST = 6

#: A side with fewer degrees of freedom for its variance is small: a spread three times the other's is found too often.
_FEW = 50


def method_text(report: BiasReport) -> str:
    """Return what was compared, how, and what it does not mean, in plain sentences."""
    parts = [_compared(report), _estimate(report), _permuted(report), _corrected(report), *_clusters(report)]
    return " ".join([*parts, *_not_compared(report)])


def _compared(report: BiasReport) -> str:
    groups = _some([f"{name} ({count:,})" for name, count in zip(report.names, report.counts, strict=True)])
    against = {contrast.reference for contrast in report.contrasts}
    name = next(iter(against))
    how = "each against all others" if name == "rest" else f"against {name}"
    if name == "rest" and len(report.contrasts) > 1:
        how += " (of which one that differs moves the reference of every other)"
    where = report.layer if report.reduce == "none" else f"{report.layer} ({report.reduce})"
    dead = f", {int(report.dead.sum())} of them without variation and not tested" if report.dead.any() else ""
    return (
        f"Layer {where}, {report.n_neurons:,} neurons{dead}; {report.n_inputs:,} inputs by {' x '.join(report.by)}: "
        f"{groups}, {how}."
    )


def _estimate(report: BiasReport) -> str:
    pooled = "Difference of means over the deviation within groups (Hedges' g"
    if report.within:
        pooled = (
            f"Difference of means within each class of {' x '.join(report.within)}, pooled with weights "
            "n_a n_b / (n_a + n_b), over the pooled deviation within cells (Hedges' g"
        )
    interval = report.contrasts[0].interval
    how = "by formula" if interval == "analytic" else f"by {interval}"
    return f"{pooled}; 95 % intervals {how}, one neuron at a time, not corrected)."


def _permuted(report: BiasReport) -> str:
    what = "labels" if report.unit is None else f"labels of whole units ({report.unit}, {report.n_units:,} units)"
    where = ""
    if report.within:
        where = " within classes" if report.unit is None else " among units of equal class composition"
    if len(report.contrasts) > 1 and report.contrasts[0].reference != "rest":
        where += ", for each contrast among its two groups"
    if report.exact:
        text = f"All {report.n_permutations + 1:,} distinct arrangements of the {what}{where} were compared."
    else:
        text = (
            f"{report.n_permutations:,} random permutations of the {what}{where} "
            f"(seed {report.parameters.get('seed', 0)}); p = (1 + b) / (1 + B)."
        )
    stuck = [c for c in report.contrasts if c.n_movable < c.n_units]
    if report.unit is not None and stuck:
        text += " Units that have one of the other side to change places with: " + _some(
            [f"{c.n_movable:,} of {c.n_units:,}{f' for {c.group}' if len(report.contrasts) > 1 else ''}" for c in stuck]
        )
        text += "."
    return f"{text} {_spreads(report)}"


def _spreads(report: BiasReport) -> str:
    """Say what a difference in spread does to the test, and to which contrasts."""
    several = len(report.contrasts) > 1
    single, few = [], []
    for contrast in report.contrasts:
        tested = [cell for cell in contrast.cells if cell.tested]
        per_input = contrast.n_units / sum(cell.n_group + cell.n_reference for cell in contrast.cells)
        sides = (contrast.group, [c.n_group for c in tested]), (contrast.reference, [c.n_reference for c in tested])
        for side, counts in sides:
            name = "the rest" if side == "rest" else side
            if several and side == contrast.reference:
                name += f" (for {contrast.group})"
            if max(counts) == 1:
                single.append(name)
            elif (sum(counts) - len(counts)) * per_input < _FEW:  # inputs of one unit are hardly more than one
                few.append(f"{name} ({sum(counts):,} inputs)")
    text = "Each side has its own variance (Welch's t), so that a difference in spread is not taken for one in means."
    if few:
        text += f" That holds but roughly for a small side whose spread is much the larger: {_some(few)}."
    if single:
        text += (
            f" No class holds two inputs of {_some(single)}, whose spread is taken to be that of the other side: a "
            "larger one passes for a difference in means."
        )
    return text


def _corrected(report: BiasReport) -> str:
    several = " and contrasts" if len(report.contrasts) > 1 else ""
    single = sum(int((contrast.p_family <= report.alpha).sum()) for contrast in report.contrasts)
    found = "none" if single == 0 else f"{single:,}"
    counted = "neurons" if len(report.contrasts) == 1 else "pairs of neuron and contrast"
    return (
        f"Single neurons: corrected over all neurons{several} by the largest statistic; {found} of the {counted} at "
        f"corrected p <= {report.alpha:g}."
    )


def _clusters(report: BiasReport) -> list[str]:
    if report.layout is None:
        return []
    several = ", over all contrasts" if len(report.contrasts) > 1 else ""
    text = [
        f"Clusters: neighbours on the layout ({report.layout.method}; Delaunay edges but long ones) of the same sign "
        f"beyond each neuron's own permutation p of {report.forming:g}, their summed statistic against the heaviest "
        f"cluster of each permutation{several}; {len(report.significant)} of {len(report.clusters)} at "
        f"p <= {report.alpha:g}.",
        "A cluster's p says that the groups differ somewhere in it; its outline and its single neurons are not tested.",
    ]
    if report.contrasts[0].tfce is not None:
        text.append(
            "Threshold-free cluster enhancement (E = 0.5, H = 2) against its largest value of each permutation; it "
            "borrows from neighbours, so that it is no test of single neurons either."
        )
    return text


def _not_compared(report: BiasReport) -> list[str]:
    text = []
    if report.untested:
        several, first = len(report.contrasts) > 1, report.contrasts[0]
        cells = [f"{name}{f' for {group}' if several else ''} ({why})" for group, name, why in report.untested]
        left = "" if several else f"; {first.n_group:,} and {first.n_reference:,} inputs of the others were compared"
        text.append(f"Classes not tested: {_some(cells)}{left}.")
    if report.excluded:
        text.append(
            "Groups not compared: "
            + _some([f"{name} ({count:,}; {why})" for name, count, why in report.excluded])
            + "."
        )
    if report.left_out:
        text.append("Inputs left out: " + _some([f"{count:,} ({why})" for why, count in report.left_out]) + ".")
    return text


def _some(items: list[str]) -> str:
    more = f" and {len(items) - _MOST:,} more" if len(items) > _MOST else ""
    return ("; " if any(", " in item for item in items) else ", ").join(items[:_MOST]) + more
