"""BiasReport and its parts: what `measure_bias` found, and how it says so."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import unknown
from topomap.layout import Layout
from topomap.layout.base import _plain as plain

if TYPE_CHECKING:
    import xarray

Float = NDArray[np.float64]

_ARRAYS = ("effect", "low", "high", "difference", "deviation", "statistic", "p", "p_family", "q", "tfce", "p_tfce")


@dataclass(frozen=True, eq=False)
class Cell:
    """One class of one contrast.

    Parameters
    ----------
    name
        Of the class; ``"all"`` where nothing was held fixed.
    n_group, n_reference
        Inputs of the group and of its reference.
    reason
        Why the class takes no part; nothing where it does.
    """

    name: str
    n_group: int
    n_reference: int
    reason: str = ""

    @property
    def tested(self) -> bool:
        """Whether the class takes part."""
        return not self.reason

    def __repr__(self) -> str:
        return f"Cell({self.name}: {self.n_group} and {self.n_reference}{', ' + self.reason if self.reason else ''})"


@dataclass(frozen=True, eq=False)
class Contrast:
    """One group against its reference, neuron by neuron. Arrays have shape ``(n_neurons,)`` and hold no NaN.

    Parameters
    ----------
    group, reference
        Names; the reference is ``"rest"`` where it is every other group.
    effect, low, high
        Hedges' g and its 95 % interval; positive where the group's values are higher. All 0 for a dead neuron.
    difference
        The pooled difference of means, in the units of the layer.
    deviation
        The pooled deviation within cells, in the units of the layer.
    statistic
        What was permuted: the difference over its standard error, for which each side has a variance of its own
        (Welch's t).
    p
        Of the neuron alone, two-sided. 1 for a dead neuron.
    p_family
        Corrected over all neurons and contrasts of the report by the largest statistic.
    q
        Benjamini and Hochberg's, over the live neurons of this contrast.
    cells
        The classes and their counts.
    n_group, n_reference
        Inputs of the tested classes.
    df
        Degrees of freedom of the pooled deviation: inputs less cells.
    interval
        How `low` and `high` were made: ``"analytic"``, ``"bootstrap over inputs"`` or ``"bootstrap over units"``.
    n_units, n_movable
        Units of both sides (the inputs themselves where there is no `unit`), and those whose label can change: they
        share class or composition of classes with a unit of the other side.
    tfce, p_tfce
        Threshold-free cluster enhancement and its family-wise p, where asked for.
    maps
        Means of group and reference in every tested class, less each neuron's mean over all inputs, in units of
        `deviation`; shape ``(n_tested, 2, n_neurons)``.
    map_errors
        Standard error of the difference of these two, inputs taken as independent; shape ``(n_tested, n_neurons)``.
    """

    group: str
    reference: str
    effect: Float
    low: Float
    high: Float
    difference: Float
    deviation: Float
    statistic: Float
    p: Float
    p_family: Float
    q: Float
    cells: tuple[Cell, ...]
    n_group: int
    n_reference: int
    df: int
    interval: str = "analytic"
    n_units: int = 0
    n_movable: int = 0
    tfce: Float | None = None
    p_tfce: Float | None = None
    maps: Float | None = None
    map_errors: Float | None = None

    @property
    def error(self) -> Float:
        """The standard error of `effect` where means do not differ, inputs taken as independent; 0 where it is 0."""
        return np.abs(np.divide(self.effect, self.statistic, out=np.zeros_like(self.effect), where=self.statistic != 0))

    @property
    def name(self) -> str:
        """Group and reference in words."""
        return f"{self.group} against {'the rest' if self.reference == 'rest' else self.reference}"

    @property
    def untested(self) -> tuple[Cell, ...]:
        """The classes that take no part."""
        return tuple(cell for cell in self.cells if not cell.tested)

    def __repr__(self) -> str:
        tested = len(self.cells) - len(self.untested)
        classes = f" in {tested} of {len(self.cells)} classes" if len(self.cells) > 1 else ""
        return (
            f"Contrast({self.name}: {self.n_group} and {self.n_reference} inputs{classes}; "
            f"largest |g| {np.abs(self.effect).max(initial=0):.2f}, smallest corrected p "
            f"{self.p_family.min(initial=1):.3g})"
        )


@dataclass(frozen=True, eq=False)
class Cluster:
    """Neighbouring neurons of one layout that differ between a group and its reference in the same direction.

    The p is that of the cluster: it says that the groups differ somewhere in it, of no single neuron that it does.

    Parameters
    ----------
    group, reference
        Those of the contrast.
    sign
        1 where the group's values are higher, -1 where they are lower.
    neurons
        Indices, ascending.
    mass
        Sum of the absolute statistics.
    p
        Share of permutations whose largest cluster, over both signs and all contrasts, is at least as heavy.
    peak
        The neuron of the largest statistic.
    """

    group: str
    reference: str
    sign: int
    neurons: NDArray[np.int64]
    mass: float
    p: float
    peak: int

    def __len__(self) -> int:
        return len(self.neurons)

    def __repr__(self) -> str:
        way = "higher" if self.sign > 0 else "lower"
        neurons = "1 neuron" if len(self) == 1 else f"{len(self)} neurons"
        return f"Cluster({self.group} {way}: {neurons}, mass {self.mass:.1f}, p {self.p:.3g})"


@dataclass(frozen=True, eq=False)
class BiasReport:
    """How groups differ in one layer, and what can be claimed from it; made by `measure_bias`.

    Parameters
    ----------
    contrasts
        One per group against the reference.
    clusters
        Over all contrasts, by p, heavier ones first; empty without a layout.
    alpha, forming
        The level of the tests, and the p from which a neuron may be part of a cluster.
    dead
        Neurons that do not vary within any class, shape ``(n_neurons,)``.
    layer, reduce
        Of the activations.
    by, within, unit
        Names of the columns.
    names, counts
        The groups that were compared, and their inputs.
    excluded
        Groups that were not compared: name, inputs, reason.
    left_out
        Inputs that took no part: reason and count.
    n_inputs, n_units
        Inputs that took part, and the units that they belong to (the inputs themselves where there is no `unit`).
    n_permutations
        Permutations that the observed labels were compared with.
    exact
        Whether these are all that there are.
    layout
        Where the clusters were looked for.
    outcomes, probe
        Error rate and confidence per group, and how well the layer tells the groups, where they were measured.
    parameters, provenance
        What `measure_bias` was called with; versions, seed and the recording.

    Examples
    --------
    >>> import topomap as tm
    >>> values = np.random.default_rng(0).normal(size=(60, 3)) + np.outer(np.arange(60) % 2, [0, 2, 0])
    >>> acts = tm.Activations.from_array(values, group=np.tile(["a", "b"], 30))
    >>> report = tm.measure_bias(acts, by="group")
    >>> report["b"].effect.round(1)
    array([-0.2,  1.9,  0.3])
    >>> print(report.method_text())
    Layer layer, 3 neurons; 60 inputs by group: a (30), b (30), against a. ...
    """

    contrasts: tuple[Contrast, ...]
    clusters: tuple[Cluster, ...]
    alpha: float
    forming: float
    dead: NDArray[np.bool_]
    layer: str
    reduce: str
    by: tuple[str, ...]
    within: tuple[str, ...]
    unit: str | None
    names: tuple[str, ...]
    counts: tuple[int, ...]
    excluded: tuple[tuple[str, int, str], ...]
    left_out: tuple[tuple[str, int], ...]
    n_inputs: int
    n_units: int
    n_permutations: int
    exact: bool
    layout: Layout | None = None
    outcomes: Any | None = None
    probe: Any | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, group: str) -> Contrast:
        """Return the contrast of one group."""
        for contrast in self.contrasts:
            if contrast.group == group:
                return contrast
        raise unknown("group", group, tuple(contrast.group for contrast in self.contrasts))

    @property
    def n_neurons(self) -> int:
        """Number of neurons, dead ones included."""
        return len(self.dead)

    @property
    def significant(self) -> tuple[Cluster, ...]:
        """The clusters with p of at most `alpha`."""
        return tuple(cluster for cluster in self.clusters if cluster.p <= self.alpha)

    @property
    def untested(self) -> tuple[tuple[str, str, str], ...]:
        """Classes that took no part: group, class, reason."""
        return tuple((c.group, cell.name, cell.reason) for c in self.contrasts for cell in c.untested)

    def method_text(self) -> str:
        """Return one paragraph that says what was compared, how, and what it does not mean."""
        from topomap.bias.text import method_text

        return method_text(self)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the layout such that JSON can hold it."""
        arrays = {
            contrast.group: {
                name: values.tolist() for name in _ARRAYS if (values := getattr(contrast, name)) is not None
            }
            for contrast in self.contrasts
        }
        contrasts = [
            {
                "group": c.group,
                "reference": c.reference,
                "n_group": c.n_group,
                "n_reference": c.n_reference,
                "df": c.df,
                "interval": c.interval,
                "n_units": c.n_units,
                "n_movable": c.n_movable,
                "cells": [
                    {"class": x.name, "n_group": x.n_group, "n_reference": x.n_reference, "reason": x.reason}
                    for x in c.cells
                ],
                **arrays[c.group],
            }
            for c in self.contrasts
        ]
        clusters = [
            {
                "group": c.group,
                "reference": c.reference,
                "sign": c.sign,
                "neurons": c.neurons.tolist(),
                "mass": c.mass,
                "p": c.p,
                "peak": c.peak,
            }
            for c in self.clusters
        ]
        single = ("alpha", "forming", "layer", "reduce", "unit", "n_inputs", "n_units", "n_permutations", "exact")
        return {
            **{name: getattr(self, name) for name in single},
            "by": list(self.by),
            "within": list(self.within),
            "groups": dict(zip(self.names, self.counts, strict=True)),
            "excluded": [{"group": name, "count": count, "reason": why} for name, count, why in self.excluded],
            "left_out": [{"reason": why, "count": count} for why, count in self.left_out],
            "dead": np.flatnonzero(self.dead).tolist(),
            "contrasts": contrasts,
            "clusters": clusters,
            "outcomes": None if self.outcomes is None else self.outcomes.to_dict(),
            "probe": None if self.probe is None else self.probe.to_dict(),
            "method": self.method_text(),
            "parameters": plain(self.parameters),
            "provenance": plain(self.provenance),
        }

    def to_xarray(self) -> xarray.Dataset:
        """Return the numbers over ``contrast`` and ``neuron``; clusters as numbers per neuron, 0 where there is none.

        ``cluster`` holds the position in `clusters`, counted from 1.
        """
        import json

        import xarray

        data: dict[str, Any] = {
            name: (("contrast", "neuron"), np.stack([getattr(c, name) for c in self.contrasts]))
            for name in _ARRAYS
            if getattr(self.contrasts[0], name) is not None
        }
        groups = [contrast.group for contrast in self.contrasts]
        member = np.zeros((len(groups), self.n_neurons), dtype=np.int64)
        for number, cluster in enumerate(self.clusters, 1):
            member[groups.index(cluster.group), cluster.neurons] = number
        data["cluster"] = ("contrast", "neuron"), member
        data["cluster_p"] = ("number",), np.array([cluster.p for cluster in self.clusters])
        data["cluster_mass"] = ("number",), np.array([cluster.mass for cluster in self.clusters])
        data["dead"] = ("neuron",), self.dead
        attrs = {
            "layer": self.layer,
            "reduce": self.reduce,
            "alpha": self.alpha,
            "method": self.method_text(),
            "parameters": json.dumps(plain(self.parameters)),
            "provenance": json.dumps(plain(self.provenance)),
        }
        coords = {
            "contrast": np.array(groups, dtype=object),
            "reference": ("contrast", np.array([contrast.reference for contrast in self.contrasts], dtype=object)),
            "number": np.arange(1, len(self.clusters) + 1),
        }
        return xarray.Dataset(data, coords=coords, attrs=attrs)

    def __repr__(self) -> str:
        within = f" within {' x '.join(self.within)}" if self.within else ""
        comma = "; " if any(", " in name for name in self.names) else ", "
        groups = comma.join(f"{name} ({count})" for name, count in zip(self.names[:6], self.counts[:6], strict=True))
        more = f", ... {len(self.names) - 6} more" if len(self.names) > 6 else ""
        found = ""
        if self.layout is not None:
            found = f"; {len(self.significant)} of {len(self.clusters)} clusters at p <= {self.alpha:g}"
        single = int((np.min([contrast.p_family for contrast in self.contrasts], axis=0) <= self.alpha).sum())
        return (
            f"BiasReport({self.layer} by {' x '.join(self.by)}{within}: {groups}{more}; {self.n_neurons} neurons, "
            f"{single} at corrected p <= {self.alpha:g}{found})"
        )
