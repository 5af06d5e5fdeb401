"""Streaming statistics of one layer, kept instead of values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import listing
from topomap.groups import Groups, Key
from topomap.run.activations import constant
from topomap.run.statistics import Statistics

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True, eq=False)
class GroupMoments:
    """Counts, means and variances per group of one grouping, from one streaming pass.

    ``by`` and ``keys`` are those of `Groups`; ``mean`` and ``variance`` (ddof 1, 0 for a group of one) have shape
    ``(n_groups, n_neurons)``.
    """

    by: tuple[str, ...]
    names: tuple[str, ...]
    keys: tuple[Key, ...]
    counts: NDArray[np.int64]
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]

    def merged(self, by: tuple[str, ...]) -> GroupMoments:
        """Return the groups by some of the columns, in this order, as if rows had been grouped by those alone."""
        at = [self.by.index(name) for name in by]
        parts = [name.split(", ") for name in self.names]
        columns, names = {}, {}
        for name, i in zip(by, at, strict=True):
            column = np.empty(len(self.keys), dtype=object)
            column[:] = [key[i] for key in self.keys]
            columns[name] = column
            # What a value is called is in the names of the groups, unless one of them has a comma of its own.
            if all(len(part) == len(self.by) for part in parts):
                names[name] = {key[i]: part[i] for key, part in zip(self.keys, parts, strict=True)}
        groups = Groups.from_columns(columns)
        result = Statistics(self.mean.shape[1], len(groups))
        squares = self.variance * np.maximum(self.counts - 1, 0)[:, None]
        for row, name in enumerate(groups.names):
            for i in groups.rows_of(name):
                result.merge(np.array([row]), self.counts[[i]], self.mean[[i]], squares[[i]])
        called = groups.names
        if names:
            called = tuple(", ".join(names[c][v] for c, v in zip(by, key, strict=True)) for key in groups.keys)
            called = called if len(set(called)) == len(called) else groups.names
        variance = result.squares / np.maximum(result.count - 1, 1)[:, None]
        return GroupMoments(groups.by, called, groups.keys, result.count, result.mean, variance)


@dataclass(frozen=True, eq=False)
class Moments:
    """Streaming statistics of one layer under one reduction, kept instead of values.

    Parameters
    ----------
    count
        Number of rows seen.
    mean, variance
        Per neuron, shape ``(n_neurons,)``; variance with ddof 1.
    covariance
        Exact covariance of neurons (ddof 1), shape ``(n_neurons, n_neurons)``, or None above a number of neurons.
    sketch
        Random projection of the centred rows, shape ``(n_neurons, n_features)``: its rows have, up to a relative
        error of about ``1 / sqrt(n_features)``, the inner products of the neurons; None where covariance is kept.
    groupings
        One `GroupMoments` per grouping that was asked for with ``by=``.
    minimum, maximum
        Smallest and largest value per neuron, shape ``(n_neurons,)``; without them `dead` is judged by the deviation.

    Examples
    --------
    >>> Moments(count=100, mean=np.zeros(3), variance=np.array([1.0, 4.0, 0.0]), layer="fc")
    Moments(fc: 100 rows x 3 neurons, 1 dead)
    """

    count: int
    mean: NDArray[np.float64]
    variance: NDArray[np.float64]
    covariance: NDArray[np.float64] | None = None
    sketch: NDArray[np.float32] | None = None
    groupings: tuple[GroupMoments, ...] = ()
    layer: str = "layer"
    reduce: str = "none"
    provenance: Mapping[str, Any] = field(default_factory=dict)
    minimum: NDArray[np.float64] | None = None
    maximum: NDArray[np.float64] | None = None

    @property
    def n_rows(self) -> int:
        """Number of rows seen."""
        return self.count

    @property
    def n_neurons(self) -> int:
        """Number of neurons."""
        return len(self.mean)

    @property
    def std(self) -> NDArray[np.float64]:
        """Standard deviation per neuron (ddof 0, as `Activations.std`)."""
        return np.sqrt(self.variance * max(self.count - 1, 0) / max(self.count, 1))

    @property
    def dead(self) -> NDArray[np.bool_]:
        """Which neurons never vary, by the same measure as `Activations.dead` where the extremes are known."""
        if self.minimum is not None and self.maximum is not None:
            return constant(self.minimum, self.maximum)
        return constant(self.mean - self.std, self.mean + self.std)

    def grouping(self, by: str | tuple[str, ...]) -> GroupMoments:
        """Return the statistics of one grouping: as recorded, or merged from a finer one.

        The order of columns does not matter. Groups by some of the columns of a recorded tuple are merged from those of
        the tuple, which is exact as long as every input is in one of them.

        Raises
        ------
        ValueError
            If no recorded grouping gives this one.
        """
        names = (by,) if isinstance(by, str) else tuple(dict.fromkeys(by))
        finer = sorted((g for g in self.groupings if set(names) <= set(g.by)), key=lambda g: len(g.by))
        for g in finer:
            if g.by == names:
                return g
        for g in finer:
            if len(g.by) == len(set(names)) or g.counts.sum() == self.count:
                return g.merged(names)
        recorded = [g.by for g in self.groupings]
        have = listing([g[0] if len(g) == 1 else g for g in recorded]) or "nothing"
        want = by if isinstance(by, str) else tuple(by)
        missing = ""
        if finer:
            lost = self.count - int(finer[0].counts.sum())
            missing = f" ({lost} inputs have a missing value there, so that their groups cannot be merged)"
        raise ValueError(f"these moments were recorded by {have}{missing}; record with by={want!r} to group so.")

    def to_xarray(self) -> xarray.Dataset:
        """Return the statistics over the dimension ``neuron``."""
        import xarray

        data: dict[str, Any] = {"mean": (("neuron",), self.mean), "variance": (("neuron",), self.variance)}
        if self.minimum is not None:
            data["minimum"] = (("neuron",), self.minimum)
        if self.maximum is not None:
            data["maximum"] = (("neuron",), self.maximum)
        if self.covariance is not None:
            data["covariance"] = (("neuron", "other"), self.covariance)
        if self.sketch is not None:
            data["sketch"] = (("neuron", "feature"), self.sketch)
        for g in self.groupings:
            name = "_".join(g.by)
            data[f"mean_by_{name}"] = ((f"by_{name}", "neuron"), g.mean)
            data[f"variance_by_{name}"] = ((f"by_{name}", "neuron"), g.variance)
            data[f"count_by_{name}"] = ((f"by_{name}",), g.counts)
        return xarray.Dataset(data, attrs={"layer": self.layer, "reduce": self.reduce, "count": self.count})

    def __repr__(self) -> str:
        by = "; ".join(" x ".join(g.by) for g in self.groupings)
        where = self.layer if self.reduce == "none" else f"{self.layer}, {self.reduce}"
        dead = int(self.dead.sum())
        grouped = f", by {by}" if by else ""
        return f"Moments({where}: {self.count} rows x {self.n_neurons} neurons, {dead} dead{grouped})"
