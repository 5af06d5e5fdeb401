"""Outcomes: how often a model errs, and how sure it is, per group of inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from topomap._check import instance_of, whole_number
from topomap.bias.rates import METRICS, Gap, Outcome, Tally, gaps
from topomap.bias.sample import draw_sample
from topomap.groups import By, _missing
from topomap.run import Activations, Inputs, versions

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Error rate and confidence per group; the words are Fairlearn's.

    Parameters
    ----------
    by_group
        One per group.
    by_class
        One per class and group; empty where nothing is held fixed.
    overall
        Of all inputs of these groups.
    difference, ratio
        Per metric (``"error_rate"``, ``"confidence"``), of the two groups that are furthest apart: the larger value
        less the smaller one, and the smaller one over the larger one.
    adjusted_difference, adjusted_ratio
        The same within classes; empty where nothing is held fixed.
    untested
        Classes in which only one group occurs: they take no part in what is adjusted.
    by, within, unit
        Names of the columns.
    excluded, left_out
        Groups that were not compared (name, inputs, reason), and inputs that took no part (reason, count).
    parameters, provenance
        What `measure_outcomes` was called with; versions, seed and the recording.

    Examples
    --------
    >>> label, group = np.arange(80) % 2, np.repeat(["a", "b"], 40)
    >>> prediction = np.where(np.arange(80) < 10, 1, label)
    >>> inputs = Inputs(np.arange(80), {"label": label, "prediction": prediction, "group": group})
    >>> outcomes = measure_outcomes(inputs, by="group")
    >>> outcomes.by_group[0]
    Outcome(a: 5 of 40 wrong, error rate 0.125 [0.0546, 0.261])
    >>> outcomes.difference["error_rate"].value
    0.125
    """

    by_group: tuple[Outcome, ...]
    by_class: tuple[Outcome, ...]
    overall: Outcome
    difference: Mapping[str, Gap]
    ratio: Mapping[str, Gap]
    adjusted_difference: Mapping[str, Gap]
    adjusted_ratio: Mapping[str, Gap]
    untested: tuple[str, ...]
    by: tuple[str, ...]
    within: tuple[str, ...]
    unit: str | None
    excluded: tuple[tuple[str, int, str], ...]
    left_out: tuple[tuple[str, int], ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def metrics(self) -> tuple[str, ...]:
        """What was measured: ``"confidence"`` only where it was recorded."""
        return tuple(self.difference)

    def method_text(self) -> str:
        """Return what was measured and how, in plain sentences."""
        over = "inputs" if self.unit is None else f"units of {self.unit}"
        single = "Wilson's for error rates, Student's for mean confidence"
        text = [
            f"Error rate and mean confidence by {' x '.join(self.by)}; 95 % intervals "
            f"{single if self.unit is None else f'from a bootstrap over {over}'}. Differences (highest less lowest) "
            "and ratios (lowest over highest) are those of the two groups furthest apart; their intervals hold for all "
            f"pairs of groups at once (bootstrap over {over})."
        ]
        if self.within:
            text.append(
                f"Adjusted values compare groups within each class of {' x '.join(self.within)}, pooled with weights "
                "n_a n_b / (n_a + n_b)."
            )
        return " ".join(text)

    def to_dict(self) -> dict[str, Any]:
        """Return everything such that JSON can hold it."""
        gaps = ("difference", "ratio", "adjusted_difference", "adjusted_ratio")
        return {
            "by": list(self.by),
            "within": list(self.within),
            "unit": self.unit,
            "overall": self.overall.to_dict(),
            "by_group": [outcome.to_dict() for outcome in self.by_group],
            "by_class": [outcome.to_dict() for outcome in self.by_class],
            **{name: {metric: gap.to_dict() for metric, gap in getattr(self, name).items()} for name in gaps},
            "untested": list(self.untested),
            "excluded": [{"group": name, "count": count, "reason": why} for name, count, why in self.excluded],
            "left_out": [{"reason": why, "count": count} for why, count in self.left_out],
            "method": self.method_text(),
            "parameters": dict(self.parameters),
            "provenance": dict(self.provenance),
        }

    def to_xarray(self) -> xarray.Dataset:
        """Return values and limits over ``outcome`` (overall, groups, groups by class) and ``metric``.

        What does not exist is NaN here: an array holds no words.
        """
        import xarray

        every = (self.overall, *self.by_group, *self.by_class)
        data: dict[str, Any] = {
            name: (("outcome", "metric"), np.array([[_number(o, metric, name) for metric in METRICS] for o in every]))
            for name in ("value", "low", "high")
        }
        data["n"] = ("outcome",), np.array([o.n for o in every])
        coords = {
            "group": ("outcome", np.array([o.group for o in every], dtype=object)),
            "within": ("outcome", np.array([o.within for o in every], dtype=object)),
            "metric": list(METRICS),
        }
        return xarray.Dataset(data, coords=coords, attrs={"by": list(self.by), "method": self.method_text()})

    def __repr__(self) -> str:
        within = f" within {' x '.join(self.within)}" if self.within else ""
        groups = ", ".join(f"{o.group} {o.n_wrong}/{o.n}" for o in self.by_group[:6])
        more = f", ... {len(self.by_group) - 6} more" if len(self.by_group) > 6 else ""
        gap = self.adjusted_difference.get("error_rate", self.difference["error_rate"])
        return (
            f"Outcomes(by {' x '.join(self.by)}{within}: wrong {groups}{more}; "
            f"{'adjusted ' if self.within else ''}difference of error rates {gap})"
        )


def _number(outcome: Outcome, metric: str, name: str) -> float:
    rate = getattr(outcome, metric)
    value = None if rate is None else getattr(rate, name)
    return np.nan if value is None else float(value)


def measure_outcomes(
    source: Activations | Inputs,
    by: By,
    within: By | None = None,
    unit: By | None = None,
    min_size: int = 5,
    n_bootstrap: int = 1000,
    seed: int = 0,
    progress: bool = True,
) -> Outcomes:
    """Measure how often a model errs and how sure it is, per group, with intervals.

    Parameters
    ----------
    source
        The table of inputs, with label and prediction (and confidence, where it was recorded); or activations, for
        those of their inputs.
    by
        The groups: a column, a tuple of columns (intersections), a callable, a column of values, or `Groups` that do
        not overlap.
    within
        What is held fixed for the adjusted values: ``"label"``, as a rule.
    unit
        What inputs belong together: a column that names a person with many images, say. They are not independent, so
        that all intervals come from a bootstrap over units.
    min_size
        Groups of fewer inputs (with `unit`, of fewer units) are not compared and listed as excluded.
    n_bootstrap
        Draws.
    seed
        Of the bootstrap.
    progress
        Show a bar where standard error is a terminal.

    Returns
    -------
    Outcomes

    Raises
    ------
    ValueError
        If labels or predictions are not known, groups overlap, fewer than two are large enough, or an attribute varies
        within a unit.

    Notes
    -----
    *Rates.* Without units, the interval of an error rate is Wilson's (1927, doi 10.1080/01621459.1927.10502953), that
    of a mean confidence Student's. With units, they are percentiles of a bootstrap over units; where no draw can differ
    (no input of a group is wrong, or all are) the interval is Wilson's with units for inputs.

    *Gaps.* Difference and ratio "between groups" are Fairlearn's (Weerts et al. 2023, JMLR 24): largest less smallest,
    smallest over largest. A bootstrap of the largest difference itself would never reach 0. So all pairs of groups are
    drawn (units within groups, with replacement), and the 95 % quantile of the largest of their studentised deviations
    makes the intervals of all pairs hold at once, that of the pair that is picked among them. Ratios go the same way
    by their logarithms, with half an error added to each side while drawing; where neither group has an error there is
    no ratio.

    *Adjusted.* As in `measure_bias`: in class c, ``w_c = n_a n_b / (n_a + n_b)``, and the difference is
    ``sum w_c (rate_a - rate_b) / sum w_c``, the ratio ``sum w_c rate_b / sum w_c rate_a``. A group that has more of a
    class that is hard has the higher error rate, and the same adjusted one.

    Examples
    --------
    >>> label = np.repeat([0, 1], 100)  # class 1 is hard, and more often of group "b"
    >>> group = np.where(np.arange(200) % 100 < np.where(label == 1, 20, 80), "a", "b")
    >>> prediction = label * (np.arange(200) % 5 > 0)
    >>> inputs = Inputs(np.arange(200), {"label": label, "group": group, "prediction": prediction})
    >>> outcomes = measure_outcomes(inputs, by="group", within="label")
    >>> outcomes.difference["error_rate"].value, outcomes.adjusted_difference["error_rate"].value
    (0.12, 0.0)
    """
    instance_of("source", source, (Activations, Inputs), "Pass run['layer'], or the table alone: run.inputs.")
    whole_number("min_size", min_size, 1)
    whole_number("n_bootstrap", n_bootstrap, 40)
    acts, unknown = _known(source)
    sample = draw_sample(acts, by, within, unit, min_size)
    if (sample.member.sum(axis=0) > 1).any():
        raise ValueError("groups overlap, so that an input would be compared with itself: pass groups that do not.")
    tally = Tally.of(sample, acts)
    metrics = METRICS if tally.sums[..., 2].any() else METRICS[:1]
    draws = tally.draw(n_bootstrap, seed, progress)
    flat, flat_draws = tally.sums.sum(axis=1, keepdims=True), draws.sum(axis=2, keepdims=True)
    crude = {name: gaps(flat, flat_draws, name, sample.names) for name in metrics}
    inner = {name: gaps(tally.sums, draws, name, sample.names) for name in metrics} if sample.within else {}
    classes = sample.class_names if sample.within else ()
    every = np.ones(len(sample.rows), dtype=bool)
    parameters = {
        "by": list(sample.by),
        "within": list(sample.within),
        "unit": sample.unit,
        "min_size": min_size,
        "n_bootstrap": n_bootstrap,
        "seed": seed,
    }
    recording = {"recording": dict(source.provenance)} if isinstance(source, Activations) else {}
    return Outcomes(
        by_group=tuple(
            tally.outcome(name, "", member, flat_draws[:, g, 0])
            for g, (name, member) in enumerate(zip(sample.names, sample.member, strict=True))
        ),
        by_class=tuple(
            tally.outcome(name, where, at, draws[:, g, c])
            for c, where in enumerate(classes)
            for g, (name, member) in enumerate(zip(sample.names, sample.member, strict=True))
            if (at := member & (sample.classes == c)).any()
        ),
        overall=tally.outcome("overall", "", every, draws.sum(axis=(1, 2))),
        difference={name: difference for name, (difference, _) in crude.items()},
        ratio={name: ratio for name, (_, ratio) in crude.items()},
        adjusted_difference={name: difference for name, (difference, _) in inner.items()},
        adjusted_ratio={name: ratio for name, (_, ratio) in inner.items()},
        untested=tuple(classes[c] for c in np.flatnonzero((tally.sums[..., 0] > 0).sum(axis=0) < 2) if classes),
        by=sample.by,
        within=sample.within,
        unit=sample.unit,
        excluded=sample.excluded,
        left_out=((("no label or prediction", unknown),) if unknown else ()) + sample.left_out,
        parameters=parameters,
        provenance={"parameters": parameters, "versions": versions(), "n_inputs": len(sample.rows), **recording},
    )


def _known(source: Activations | Inputs) -> tuple[Activations, int]:
    """Return one row without neurons per input whose outcome is known, and the number of inputs where it is not."""
    inputs = source.inputs if isinstance(source, Activations) else source
    if inputs.correct is None:
        have = [f"{name} ({inputs[name].dtype})" for name in ("label", "prediction") if name in inputs.columns]
        raise ValueError(
            "outcomes compare predictions with labels, both codes or both names; got "
            f"{' and '.join(have) or 'neither'}. Record a model that predicts classes, with labels, or add columns: "
            "inputs.with_columns(label=..., prediction=...)."
        )
    rows = np.arange(len(inputs)) if isinstance(source, Inputs) else np.unique(np.asarray(source.rows))
    known = rows[~_missing(np.asarray(inputs.correct)[rows])]
    if not len(known):
        raise ValueError("no input has both a label and a prediction: there are no outcomes.")
    return Activations(np.zeros((len(known), 0), dtype=np.float32), inputs, rows=known), len(rows) - len(known)
