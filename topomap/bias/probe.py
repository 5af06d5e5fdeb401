"""measure_probe(): how well a layer tells the groups of its inputs apart, within classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import whole_number
from topomap.bias.decoding import Design, common_inputs, decode, records_of, values_of
from topomap.bias.sample import draw_sample
from topomap.groups import By
from topomap.run import Activations, Run, versions

if TYPE_CHECKING:
    import xarray

Float = NDArray[np.float64]

#: No p can reach this with fewer than 20 distinct permutations.
ALPHA = 0.05


@dataclass(frozen=True, eq=False)
class Probe:
    """How well each layer, at each step of a training, tells groups apart; made by `measure_probe`.

    Parameters
    ----------
    layers, steps
        What each row is of, shape ``(n_rows,)``; steps are None where there are none.
    accuracy
        Cross-validated balanced accuracy within classes, shape ``(n_rows,)``.
    folds
        The same per fold, shape ``(n_rows, cv)``; NaN where a fold lacks a group in every class.
    null
        The same for permuted labels, shape ``(n_rows, n_permutations)``.
    p
        Share of permutations that do at least as well, ``(1 + b) / (1 + B)``, shape ``(n_rows,)``.
    p_family
        Against the best row of each permutation: corrected over the rows.
    chance
        What a probe that knows nothing has: one over the number of groups.
    names, counts
        The groups, and their inputs that took part.
    by, within, unit
        Names of the columns.
    excluded, left_out, untested
        Groups that were not decoded (name, inputs, reason), inputs that took no part (reason, count), and classes in
        which fewer than two groups have two units (inputs, without units) each.
    parameters, provenance
        What `measure_probe` was called with; versions, seed and the recording.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> group = rng.integers(0, 2, 200)
    >>> acts = Activations.from_array(rng.normal(size=(200, 5)) + group[:, None], group=group)
    >>> probe = measure_probe(acts, by="group", n_permutations=19)
    >>> probe.layers, bool(probe.accuracy[0] > 0.8), probe.p.tolist()
    (('layer',), True, [0.05])
    """

    layers: tuple[str, ...]
    steps: tuple[Any, ...] | None
    accuracy: Float
    folds: Float
    null: Float
    p: Float
    p_family: Float
    chance: float
    names: tuple[str, ...]
    counts: tuple[int, ...]
    by: tuple[str, ...]
    within: tuple[str, ...]
    unit: str | None
    excluded: tuple[tuple[str, int, str], ...]
    left_out: tuple[tuple[str, int], ...]
    untested: tuple[str, ...]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.layers)

    @property
    def baseline(self) -> Float:
        """Mean accuracy of permuted labels, shape ``(n_rows,)``."""
        return np.asarray(self.null.mean(axis=1))

    @property
    def ceiling(self) -> Float:
        """What 95 % of permuted labels stay below, shape ``(n_rows,)``."""
        return np.asarray(np.quantile(self.null, 0.95, axis=1))

    def method_text(self) -> str:
        """Return what was measured and how, in plain sentences."""
        units = "inputs" if self.unit is None else f"whole units ({self.unit})"
        within = f" within classes of {' x '.join(self.within)}" if self.within else ""
        centred = " from which class means were taken away" if self.within else ""
        components = self.parameters.get("n_components")
        kept = "all" if components is None else f"the leading {components}"
        return (
            f"Logistic regression (L2) for {' x '.join(self.by)} from {kept} principal components of standardised "
            f"values{centred}, all learnt from the training part of each of {self.parameters.get('cv')} folds of "
            f"{units}; balanced accuracy{within}, chance {self.chance:.3g}. Against {self.null.shape[1]:,} "
            f"permutations of the labels of {units}{within}, the same for every layer; p = (1 + b) / (1 + B)."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything such that JSON can hold it."""
        rows = [
            {
                "layer": self.layers[i],
                "step": None if self.steps is None else _plain(self.steps[i]),
                "accuracy": float(self.accuracy[i]),
                "baseline": float(self.baseline[i]),
                "ceiling": float(self.ceiling[i]),
                "p": float(self.p[i]),
                "p_family": float(self.p_family[i]),
                "folds": [None if np.isnan(score) else float(score) for score in self.folds[i]],
                "null": self.null[i].tolist(),
            }
            for i in range(len(self))
        ]
        return {
            "by": list(self.by),
            "within": list(self.within),
            "unit": self.unit,
            "chance": self.chance,
            "groups": dict(zip(self.names, self.counts, strict=True)),
            "rows": rows,
            "excluded": [{"group": name, "count": count, "reason": why} for name, count, why in self.excluded],
            "left_out": [{"reason": why, "count": count} for why, count in self.left_out],
            "untested": list(self.untested),
            "method": self.method_text(),
            "parameters": dict(self.parameters),
            "provenance": dict(self.provenance),
        }

    def to_xarray(self) -> xarray.Dataset:
        """Return the scores over ``row``, ``fold`` and ``permutation``."""
        import xarray

        data: dict[str, Any] = {name: (("row",), getattr(self, name)) for name in ("accuracy", "p", "p_family")}
        data["folds"] = ("row", "fold"), self.folds
        data["null"] = ("row", "permutation"), self.null
        coords = {"layer": ("row", np.array(self.layers, dtype=object))}
        if self.steps is not None:
            coords["step"] = ("row", np.array(self.steps))
        return xarray.Dataset(data, coords=coords, attrs={"chance": self.chance, "method": self.method_text()})

    def __repr__(self) -> str:
        within = f" within {' x '.join(self.within)}" if self.within else ""
        rows = []
        for i, layer in enumerate(self.layers[:4]):
            step = "" if self.steps is None else f" at {self.steps[i]}"
            rows.append(f"{layer}{step} {self.accuracy[i]:.3f} (p {self.p[i]:.3g})")
        more = f", ... {len(self) - 4} more" if len(self) > 4 else ""
        return f"Probe({' x '.join(self.by)}{within}: {', '.join(rows)}{more}; chance {self.chance:.3g})"


def _plain(step: Any) -> Any:
    return step.item() if isinstance(step, np.generic) else step if isinstance(step, int | float | str) else str(step)


def measure_probe(
    source: Activations | Run | Mapping[Any, Activations | Run],
    by: By,
    within: By | None = None,
    unit: By | None = None,
    layers: str | Sequence[Any] | None = None,
    cv: int = 5,
    n_permutations: int = 100,
    *,
    min_size: int = 5,
    n_components: int | None = 64,
    seed: int = 0,
    progress: bool = True,
) -> Probe:
    """Measure how well a linear probe decodes the group of an input from a layer, against permuted labels.

    Parameters
    ----------
    source
        Activations of one layer; a run, for a curve over its layers (and over the steps of a recorded training); or a
        mapping from steps to either. Where positions or tokens are kept, their mean is taken.
    by
        The groups, two or more: a column, a tuple of columns (intersections), a callable, a column of values, or
        `Groups` that do not overlap.
    within
        What is held fixed: ``"label"``, as a rule. The probe then has to tell groups of the same class apart.
    unit
        What inputs belong together: a column that names a person with many images, say. A unit is in one fold, and
        units are permuted.
    layers
        Of a run: names, or ``(layer, reduce)``; by default all whose values were kept.
    cv
        Folds, at least 2.
    n_permutations
        Permutations of the labels; where there are no more distinct ones, all of them.
    min_size
        Groups of fewer inputs (with `unit`, of fewer units) are not decoded and listed as excluded.
    n_components
        The probe sees so many principal components of the training values, so that it is fitted in milliseconds for
        every fold and permutation; None for all.
    seed
        Of folds, components and permutations.
    progress
        Show a bar where standard error is a terminal.

    Returns
    -------
    Probe
        One row per layer and step.

    Raises
    ------
    ValueError
        If fewer than two groups are large enough; no class holds two groups (the attribute is the class); the labels
        have fewer than 20 distinct permutations; an attribute varies within a unit; steps are of different inputs; or a
        parameter is out of range.

    Notes
    -----
    In each fold, from its training part alone: values are standardised, the mean of each class is taken away, they are
    rotated to principal components, and centred halfway between the groups of each class. A logistic regression with
    an L2 penalty (scikit-learn's, ``C = 1``) is fitted with weights that give every group of a class the same say,
    and classes the weights ``w_c = 1 / sum_g (1 / n_gc)`` (for two groups ``n_a n_b / (n_a + n_b)``, as in
    `measure_bias`).

    The score is the mean over the groups of a class of the share decoded right, averaged over classes with these
    weights; only groups that occur in a class are candidates there. **The class cannot help**: if groups do not differ
    within a class, what the probe says there does not depend on the group, so that the shares add up to 1 and the
    class counts one over its number of groups, however unevenly groups are spread over classes. (Plain accuracy would
    rise to the share of the most frequent group of each class.)

    Labels change places within classes and folds (of units: among units of the same proportions of classes), so that
    folds stay stratified and nothing that is done without labels is done twice. Given the folds this is an exact
    permutation test. Permuted labels do slightly worse than chance: what one group has in the training part, it lacks
    in the other. All rows share folds and permutations; `p_family` compares with the best row of each permutation.

    A probe shows what can be read from a layer, not what the model uses (Belinkov 2022, doi 10.1162/coli_a_00422).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> label = rng.integers(0, 2, 300)
    >>> group = (rng.random(300) < np.where(label, 0.8, 0.2)).astype(int)
    >>> acts = Activations.from_array(rng.normal(size=(300, 8)) + 3 * label[:, None], label=label, group=group)
    >>> plain = measure_probe(acts, by="group", n_permutations=19)
    >>> inside = measure_probe(acts, by="group", within="label", n_permutations=19)
    >>> bool(plain.accuracy[0] > 0.75), bool(abs(inside.accuracy[0] - 0.5) < 0.1)
    (True, True)
    """
    from threadpoolctl import threadpool_limits
    from tqdm.auto import tqdm

    whole_number("cv", cv, 2)
    whole_number("n_permutations", n_permutations, 1)
    whole_number("min_size", min_size, 1)
    if n_components is not None:
        whole_number("n_components", n_components, 1)
    records = list(records_of(source, layers))
    common = common_inputs(records)
    base = Activations(np.zeros((len(common), 0), dtype=np.float32), records[0][2].inputs, rows=common)
    sample = draw_sample(base, by, within, unit, min_size)
    if (sample.member.sum(axis=0) > 1).any():
        raise ValueError("groups overlap, so that an input would have several answers: pass groups that do not.")
    design, untested = Design.of(sample, cv, seed)
    if not len(design.rows):
        raise ValueError(
            f"no class of {' x '.join(sample.within) or 'inputs'} holds two groups of {' x '.join(sample.by)} with two "
            f"{'inputs' if sample.unit is None else 'units'} each: nothing is left to tell apart. Drop within= to "
            "decode across classes; what is found may then be the class."
        )
    labellings = _labellings(design, n_permutations, seed)
    positions = common[sample.rows[design.rows]]
    labels = labellings[:, design.unit_of]
    scores = np.zeros((len(records), len(labellings)))
    folds = np.full((len(records), cv), np.nan)
    bar = tqdm(total=len(records) * cv, desc="probe", unit="fold", disable=None if progress else True, leave=False)
    # the fits are so small that threads cost more than they bring, and with one the sums have one order
    with bar, threadpool_limits(1):
        for i, (_, _, acts) in enumerate(records):
            hits = np.zeros((len(labellings), len(positions)))
            for part in decode(values_of(acts, positions), design, labellings, n_components, seed):
                hits += part
                bar.update()
            scores[i] = [design.score(hit, label) for hit, label in zip(hits, labels, strict=True)]
            found = [design.of_fold(hits[0], labels[0], fold) for fold in range(cv)]
            folds[i] = [np.nan if score is None else score for score in found]
    accuracy, null = scores[:, 0], scores[:, 1:]
    parameters = {
        "by": list(sample.by),
        "within": list(sample.within),
        "unit": sample.unit,
        "cv": cv,
        "n_permutations": n_permutations,
        "min_size": min_size,
        "n_components": n_components,
        "seed": seed,
    }
    return Probe(
        layers=tuple(layer for layer, _, _ in records),
        steps=None if records[0][1] is None else tuple(step for _, step, _ in records),
        accuracy=accuracy,
        folds=folds,
        null=null,
        p=_p(accuracy, null),
        p_family=_p(accuracy, np.broadcast_to(null.max(axis=0), null.shape)),
        chance=design.chance(),
        names=sample.names,
        counts=tuple(np.bincount(labels[0], minlength=len(sample.names)).tolist()),
        by=sample.by,
        within=sample.within,
        unit=sample.unit,
        excluded=sample.excluded,
        left_out=sample.left_out,
        untested=untested,
        parameters=parameters,
        provenance={
            "parameters": parameters,
            "versions": versions(),
            "n_inputs": len(positions),
            "recording": dict(records[0][2].provenance),
        },
    )


def _p(accuracy: Float, null: Float) -> Float:
    better = (null >= accuracy[:, None] - 1e-9).sum(axis=1)
    return np.asarray((1 + better) / (1 + null.shape[1]))


def _labellings(design: Design, n: int, seed: int) -> NDArray[np.int64]:
    """Return the groups of the units: the observed ones first, then permuted ones."""
    least = round(1 / ALPHA)
    most = max(n, least)
    count = design.shuffle.count(most)  # one more than that where there are more
    if count < least:
        raise ValueError(
            f"the labels have {count} distinct permutations within classes and folds, fewer than 1 / {ALPHA} = "
            f"{least}: no p could reach it. Take more inputs (or units), or fewer folds, cv=2."
        )
    if count <= min(n + 1, most):
        return design.shuffle.every()
    return np.concatenate([design.shuffle.codes[None], *design.shuffle.draw(n, [seed, 2])])
