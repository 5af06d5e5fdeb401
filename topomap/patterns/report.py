"""PatternReport: how far patterns can be trusted, and what their members have in common."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap.patterns.base import Patterns
from topomap.patterns.enrichment import Enrichment, Shift

if TYPE_CHECKING:
    import xarray

Float = NDArray[np.float64]

#: Hennig (2007): of at most so much a cluster has dissolved, of at least so much it has been recovered.
DISSOLVED, RECOVERED = 0.5, 0.75

#: Patterns that the printed table has, at most.
_SHOWN = 40

#: Below it, the documentation of his clusterboot (R package fpc) says, clusters should not be trusted.
TRUSTED = 0.6


@dataclass(frozen=True, slots=True)
class Growth:
    """Patterns found in random samples of ``n`` inputs: mean, least and most of them, and the mean share of noise."""

    n: int
    repetitions: int
    patterns: float
    least: int
    most: int
    noise: float


@dataclass(frozen=True, slots=True)
class PatternRow:
    """One pattern in short (-1: noise); `stability` and what it says are None where it was not measured.

    ``dissolved`` and ``recovered`` are the shares of the samples in which its best Jaccard index was at most 0.5, and
    at least 0.75. ``persistence`` is None for noise, and its verdict empty. ``common`` is what its members share more
    than other inputs do, surest first: the values enriched in it, and the measurements that are higher or lower in it.
    """

    pattern: int
    name: str
    count: int
    persistence: float | None
    stability: float | None
    dissolved: float | None
    recovered: float | None
    verdict: str
    common: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class PatternReport:
    """How far patterns can be trusted, and what their members have in common; what `measure_patterns` returns.

    ``print(report)`` shows the table and how it came about.

    Parameters
    ----------
    patterns
        The patterns, with their `stability`.
    jaccard
        Best Jaccard index in every sample, shape ``(n_bootstrap, len(patterns.ids))``, in the order of
        ``patterns.ids`` (noise, against noise, last where there is any).
    enrichment
        One row per value of a column that occurs in a pattern or in noise, surest first within a pattern.
    shifts
        One row per column of measurements and pattern.
    growth
        Number of patterns and share of noise in samples of growing size; the last are all inputs.
    n_tests
        Tests that the false discovery rate is over: pairs of a pattern and a value that never occur together
        included, which have no row.
    left_out
        Columns that were not tested, with the reason.
    alpha
        False discovery rate below which `PatternRow.common` names a value or a measurement.
    provenance
        Parameters, versions, and the provenance of the patterns.

    Examples
    --------
    >>> import topomap as tm
    >>> rng = np.random.default_rng(0)
    >>> values = np.concatenate([rng.normal(3, 0.3, (40, 4)), rng.normal(-3, 0.3, (40, 4))])
    >>> acts = tm.Activations.from_array(values, label=np.repeat(["cat", "dog"], 40))
    >>> report = tm.measure_patterns(tm.find_patterns(acts, min_cluster_size=20), n_bootstrap=4)
    >>> report
    PatternReport(layer: 2 patterns in 80 inputs, 2 stable over 4 samples; 2 of 4 tests at q <= 0.05)
    >>> report.enriched(0)[0].value, report.growth[-1].patterns
    ('cat', 2.0)
    """

    patterns: Patterns
    jaccard: Float = field(repr=False)
    enrichment: tuple[Enrichment, ...]
    shifts: tuple[Shift, ...]
    growth: tuple[Growth, ...]
    n_tests: int
    left_out: Mapping[str, str] = field(default_factory=dict)
    alpha: float = 0.05
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def stability(self) -> Float | None:
        """Mean best Jaccard index of each pattern, in [0, 1], shape ``(n_patterns,)``; None if not measured."""
        return self.patterns.stability

    @property
    def noise_stability(self) -> float | None:
        """Mean Jaccard index of noise with the noise of the samples; None without noise, or if not measured."""
        if not len(self.jaccard) or -1 not in self.patterns.ids:
            return None
        return float(self.jaccard[:, -1].mean())

    def enriched(self, k: int, alpha: float | None = None) -> tuple[Enrichment, ...]:
        """Return the values enriched in one pattern (-1: noise) at a false discovery rate, `alpha` unless given."""
        alpha = self.alpha if alpha is None else alpha
        self.patterns.members(k)  # raises for unknown ones
        return tuple(row for row in self.enrichment if row.pattern == k and row.q <= alpha and row.share > row.overall)

    @property
    def table(self) -> tuple[PatternRow, ...]:
        """One `PatternRow` per pattern, and for noise where there is any."""
        common: dict[int, list[str]] = {}
        tests: list[Enrichment | Shift] = [*self.enrichment, *self.shifts]
        for row in sorted(tests, key=lambda row: (row.q, row.p)):
            if row.q <= self.alpha and (isinstance(row, Shift) or row.share > row.overall):
                common.setdefault(row.pattern, []).append(_told(row))
        rows = []
        for i, (k, name) in enumerate(zip(self.patterns.ids, self.patterns.names, strict=True)):
            values = self.jaccard[:, i]
            known = len(values) > 0
            stability = float(values.mean()) if known else None
            rows.append(
                PatternRow(
                    pattern=k,
                    name=name,
                    count=int(self.patterns.counts[i]),
                    persistence=float(self.patterns.persistence[k]) if k >= 0 else None,
                    stability=stability,
                    dissolved=float(np.mean(values <= DISSOLVED)) if known else None,
                    recovered=float(np.mean(values >= RECOVERED)) if known else None,
                    verdict=verdict(stability) if k >= 0 else "",
                    common=tuple(common.get(k, ())),
                )
            )
        return tuple(rows)

    @property
    def text(self) -> str:
        """How the numbers came about and what they do not say, in words."""
        told = []
        asked = self.provenance.get("parameters", {})
        if len(self.jaccard):
            told.append(
                f"Stability: mean best Jaccard index (Hennig 2007) over {len(self.jaccard)} random samples of "
                f"{100 * asked.get('share', 0):.0f} % of every pattern and of noise, drawn without replacement; "
                "0.75 or more is stable, below 0.6 a pattern should not be trusted."
            )
        if len(self.growth) > 1:
            first, last = self.growth[0], self.growth[-1]
            told.append(
                f"The count of patterns depends on the sample: {first.patterns:.3g} in {first.n} inputs, "
                f"{last.patterns:.3g} in {last.n} (noise {100 * first.noise:.0f} % and {100 * last.noise:.0f} %). It "
                "is no property of the layer, and counts of samples of different sizes are not comparable."
            )
        if self.n_tests:
            told.append(
                f"Enrichment: {self.n_tests} tests against all inputs used (one-sided hypergeometric for categories, "
                f"two-sided Mann-Whitney for measurements), false discovery rate {self.alpha:g} after Benjamini and "
                "Hochberg. It says what members share, not why the layer treats them alike."
            )
        if self.left_out:
            told.append("Not tested: " + "; ".join(f"{name} ({why})" for name, why in self.left_out.items()) + ".")
        return " ".join(told)

    def to_xarray(self) -> xarray.Dataset:
        """Return samples over ``sample`` and ``group``, growth over ``size``, tests over ``enriched`` and ``shift``.

        ``group`` are the patterns, and noise where there is any.
        """
        import xarray

        names = np.array(self.patterns.names, dtype=object)
        data: dict[str, Any] = {
            "jaccard": (("sample", "group"), self.jaccard),
            "count": (("group",), self.patterns.counts),
        }
        if self.stability is not None:
            data["stability"] = (("pattern",), self.stability)
        for dimension, rows, kind in (
            ("size", self.growth, Growth),
            ("enriched", self.enrichment, Enrichment),
            ("shift", self.shifts, Shift),
        ):
            for name in kind.__dataclass_fields__:
                values = [getattr(row, name) for row in rows]
                text = kind.__dataclass_fields__[name].type == "str"
                data[f"{dimension}_{name}"] = ((dimension,), np.array(values, dtype=object if text else None))
        attrs = {"layer": self.patterns.layer, "reduce": self.patterns.reduce, "n_tests": self.n_tests}
        return xarray.Dataset(data, {"group": names}, {**attrs, "alpha": self.alpha, "text": self.text})

    def __str__(self) -> str:
        header = ["pattern", "inputs", "persistence", "stability", "", "in common"]
        lines = [header]
        table = self.table
        shown = [row for row in table if row.pattern < _SHOWN]  # noise is always among them
        for row in shown:
            numbers = ["-" if v is None else f"{v:.2f}" for v in (row.persistence, row.stability)]
            lines.append([row.name, str(row.count), *numbers, row.verdict, ", ".join(row.common[:3])])
        widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
        told = []
        for line in lines:
            # numbers to the right, words to the left
            cells = [
                c.rjust(w) if 1 <= i <= 3 else c.ljust(w) for i, (c, w) in enumerate(zip(line, widths, strict=True))
            ]
            told.append("  ".join(cells).rstrip())
        if len(shown) < len(table):
            told.append(f"({len(table) - len(shown)} more patterns in .table)")
        return "\n".join([*told, *(["", self.text] if self.text else [])])

    def __repr__(self) -> str:
        told = f"{len(self.patterns)} patterns in {self.patterns.n_rows} inputs"
        if self.stability is not None:
            stable = int(np.count_nonzero(self.stability >= RECOVERED))
            told += f", {stable} stable over {len(self.jaccard)} samples"
        q = [row.q for row in self.enrichment] + [row.q for row in self.shifts]
        found = sum(each <= self.alpha for each in q)
        return f"PatternReport({self.patterns.layer}: {told}; {found} of {self.n_tests} tests at q <= {self.alpha:g})"


def _told(row: Enrichment | Shift) -> str:
    """Return a value with how many have it, or a measurement with its medians.

    Values in words (correct, wrong) are told without their column.

    Examples
    --------
    >>> _told(Shift(0, "age", 12, 61.0, 40.0, 0.9, 0.001, 0.01))
    'age higher (median 61, others 40)'
    >>> _told(Enrichment(0, "label", "cat", 8, 10, 0.8, 0.3, 9.3, 0.001, 0.01))
    'label cat (8 of 10)'
    """
    if isinstance(row, Shift):
        way = "higher" if row.superiority > 0.5 else "lower"
        return f"{row.column} {way} (median {row.median:.4g}, others {row.median_rest:.4g})"
    value = row.value if row.column == "correct" else f"{row.column} {row.value}"
    return f"{value} ({row.count} of {row.n})"


def percent(share: float) -> str:
    """Return a share as percent without the sign; 0 and 100 are exact.

    Examples
    --------
    >>> percent(1.0), percent(0.999), percent(0.001), percent(0.0), percent(0.25)
    ('100', '>99', '<1', '0', '25')
    """
    if 0 < share < 1:
        return ">99" if share > 0.99 else "<1" if share < 0.01 else f"{100 * share:.0f}"
    return f"{100 * share:.0f}"


def verdict(stability: float | None) -> str:
    """Return a mean best Jaccard index in a word."""
    if stability is None:
        return "not measured"
    return "stable" if stability >= RECOVERED else "doubtful" if stability >= TRUSTED else "unstable"
