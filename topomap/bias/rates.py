"""Error rates and confidences of groups, and how far apart they are, with their intervals."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from math import exp, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topomap.bias.sample import Sample
from topomap.run import Activations

Float = NDArray[np.float64]

#: What is measured, in this order.
METRICS = ("error_rate", "confidence")

#: Entries of the arrays (draws x units) that are held at one time.
_BLOCK = 4_000_000


@dataclass(frozen=True)
class Interval:
    """A number with its 95 % interval; None, and `reason`, where there is none.

    Examples
    --------
    >>> Interval(0.25, 0.1, 0.4)
    0.25 [0.1, 0.4]
    """

    value: float | None
    low: float | None = None
    high: float | None = None
    reason: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return everything such that JSON can hold it."""
        return {"value": self.value, "low": self.low, "high": self.high, "reason": self.reason}

    def __repr__(self) -> str:
        if self.value is None:
            return f"none ({self.reason})"
        known = self.low is not None and self.high is not None
        return f"{self.value:.3g} [{self.low:.3g}, {self.high:.3g}]" if known else f"{self.value:.3g} ({self.reason})"


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a model made of one group of inputs, in all or in one class.

    Parameters
    ----------
    group
        Its name; ``"overall"`` for all inputs.
    within
        The class; nothing where all classes are taken together.
    n, n_units, n_wrong
        Inputs, the units that they belong to (inputs themselves without units), and inputs that got another label.
    error_rate
        Share of wrong predictions.
    confidence
        Mean probability of the predicted class; None where it was not recorded.
    """

    group: str
    within: str
    n: int
    n_units: int
    n_wrong: int
    error_rate: Interval
    confidence: Interval | None

    def to_dict(self) -> dict[str, Any]:
        """Return everything such that JSON can hold it."""
        plain = ("group", "within", "n", "n_units", "n_wrong")
        rates = {name: getattr(self, name) for name in METRICS}
        found: dict[str, Any] = {name: getattr(self, name) for name in plain}
        return found | {name: None if rate is None else rate.to_dict() for name, rate in rates.items()}

    def __repr__(self) -> str:
        where = f" in {self.within}" if self.within else ""
        sure = "" if self.confidence is None else f", confidence {self.confidence}"
        return f"Outcome({self.group}{where}: {self.n_wrong} of {self.n} wrong, error rate {self.error_rate}{sure})"


@dataclass(frozen=True)
class Gap(Interval):
    """How far apart two groups are: highest less lowest, or lowest over highest, with its 95 % interval.

    Parameters
    ----------
    value, low, high, reason
        As in `Interval`.
    highest, lowest
        The two groups: those of all pairs that are furthest apart.
    """

    highest: str = ""
    lowest: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return everything such that JSON can hold it."""
        return super().to_dict() | {"highest": self.highest, "lowest": self.lowest}

    def __repr__(self) -> str:
        pair = f" (highest {self.highest}; lowest {self.lowest})" if self.highest else ""
        return super().__repr__() + pair


@dataclass(frozen=True, eq=False)
class Tally:
    """Sums per group and class, and how they vary when units are drawn anew.

    `table` holds, per input: 1, whether it is wrong, whether its confidence is known, and the confidence. `sums` are
    its sums, shape ``(n_groups, n_classes, 4)``.
    """

    sample: Sample
    table: Float
    sums: Float

    @classmethod
    def of(cls, sample: Sample, acts: Activations) -> Tally:
        """Count errors and add up confidences of a sample; the activations hold the columns, row by row."""
        table = np.zeros((len(sample.rows), 4))
        table[:, 0] = 1
        table[:, 1] = 1 - acts.column("correct")[sample.rows].astype(float)
        if acts.inputs.confidence is not None:
            sure = acts.column("confidence")[sample.rows].astype(float)
            table[:, 2] = ~np.isnan(sure)
            table[:, 3] = np.nan_to_num(sure)
        sums = np.zeros((len(sample.names), len(sample.class_names), 4))
        np.add.at(sums, (sample.member.argmax(axis=0), sample.classes), table)
        return cls(sample, table, sums)

    def draw(self, n: int, seed: int, progress: bool) -> Float:
        """Draw units with replacement within each group; return the sums, shape ``(n, n_groups, n_classes, 4)``."""
        from scipy import sparse
        from tqdm.auto import tqdm

        n_classes = len(self.sample.class_names)
        out = np.empty((n, len(self.sample.names), n_classes, 4))
        rng = np.random.default_rng([seed, 0])
        bar = tqdm(total=n * len(out[0]), desc="bootstrap", disable=None if progress else True, leave=False, delay=1)
        with bar:
            for g, member in enumerate(self.sample.member):
                rows = np.flatnonzero(member)
                units, unit_of = np.unique(self.sample.unit_of[rows], return_inverse=True)
                column = (4 * self.sample.classes[rows][:, None] + np.arange(4)).ravel()
                entries = (self.table[rows].ravel(), (column, np.repeat(unit_of.ravel(), 4)))
                of_units = sparse.csr_array(entries, shape=(4 * n_classes, len(units)))
                step = max(1, _BLOCK // len(units))
                for start in range(0, n, step):
                    size = min(step, n - start)
                    drawn = rng.integers(len(units), size=(size, len(units))) + len(units) * np.arange(size)[:, None]
                    times = np.bincount(drawn.ravel(), minlength=size * len(units)).reshape(size, -1)
                    out[start : start + size, g] = (of_units @ times.T.astype(float)).T.reshape(size, n_classes, 4)
                    bar.update(size)
        return out

    def outcome(self, group: str, within: str, at: NDArray[np.bool_], draws: Float) -> Outcome:
        """Return the rates of some inputs; `draws` are their sums, shape ``(n_draws, 4)``."""
        own = self.table[at]
        n, wrong, known, total = own.sum(axis=0).tolist()
        n_units = len(np.unique(self.sample.unit_of[at]))
        units = self.sample.unit is not None
        if units:
            error_rate = _drawn(wrong / n, draws[:, 1], draws[:, 0], n_units)
        else:
            error_rate = Interval(wrong / n, *wilson(wrong / n, int(n)))
        confidence = None
        if known:
            values = own[own[:, 2] > 0, 3]
            confidence = _drawn(total / known, draws[:, 3], draws[:, 2], n_units) if units else _students(values)
        elif self.table[:, 2].any():
            confidence = Interval(None, reason="no confidence known")
        return Outcome(group, within, int(n), n_units, round(wrong), error_rate, confidence)


def wilson(mean: float, n: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Return Wilson's interval of a share, or (as its variance is at most that) of a mean of n values in [0, 1].

    Parameters
    ----------
    mean
        The share.
    n
        Of how many.
    z
        The normal quantile: that of a two-sided 95 % interval by default.

    Returns
    -------
    tuple of float
        Lower and upper limit.

    Examples
    --------
    >>> wilson(0.5, 10)
    (0.2365..., 0.7634...)
    """
    centre = mean + z**2 / (2 * n)
    half = z * sqrt(mean * (1 - mean) / n + z**2 / (4 * n**2))
    return max(0.0, (centre - half) / (1 + z**2 / n)), min(1.0, (centre + half) / (1 + z**2 / n))


def _students(values: Float) -> Interval:
    mean = float(values.mean())
    if len(values) < 2:
        return Interval(mean, reason="one input alone")
    from scipy.special import stdtrit

    half = float(stdtrit(len(values) - 1, 0.975) * values.std(ddof=1) / sqrt(len(values)))
    return Interval(mean, max(0.0, mean - half), min(1.0, mean + half))


def _drawn(value: float, totals: Float, counts: Float, n_units: int) -> Interval:
    """Return percentiles of the drawn rates; Wilson's interval over units where no draw can differ."""
    rates = totals[counts > 0] / counts[counts > 0]
    if n_units < 2:
        return Interval(value, reason="one unit alone")
    if np.ptp(rates) < 1e-12:
        return Interval(value, *wilson(value, n_units))
    low, high = np.quantile(rates, [0.025, 0.975])
    return Interval(value, float(low), float(high))


def gaps(sums: Float, draws: Float, metric: str, names: tuple[str, ...]) -> tuple[Gap, Gap]:
    """Return difference and ratio of the two groups furthest apart, with intervals that hold for all pairs at once."""
    columns = [0, 1] if metric == "error_rate" else [2, 3]
    added = 0.5 if metric == "error_rate" else 0.0
    pairs, compared, deviations = [], [], []
    for a, b in combinations(range(len(names)), 2):
        ours = _compared(sums[None, a][..., columns], sums[None, b][..., columns])
        if ours[2][0] == 0:
            continue  # no class holds both
        drawn = _compared(draws[:, a][..., columns], draws[:, b][..., columns])
        found = []
        for measure in (_difference, _log_ratio):
            value, many = measure(*ours, added)[0], measure(*drawn, added)
            many = np.where(np.isfinite(many), many - value, 0.0)
            found.append((float(value), many, float(many.std())))
        pairs.append((a, b))
        compared.append((float(ours[0][0] / ours[2][0]), float(ours[1][0] / ours[2][0])))
        deviations.append(found)
    if not pairs:
        none = Gap(None, reason="no class holds two groups")
        return none, none
    best = int(np.argmax([abs(a - b) for a, b in compared]))
    (a, b), (rate_a, rate_b) = pairs[best], compared[best]
    sign = 1 if rate_a >= rate_b else -1
    highest, lowest = (names[a], names[b]) if sign > 0 else (names[b], names[a])
    halves, still = [], []
    for which in range(2):
        spread = [found[which] for found in deviations if found[which][2] > 1e-12]
        widest = np.max([np.abs(many) / sd for _, many, sd in spread], axis=0) if spread else np.zeros(1)
        halves.append(float(np.quantile(widest, 0.95)) * deviations[best][which][2])
        still.append(deviations[best][which][2] <= 1e-12)
    gap = abs(rate_a - rate_b)
    flat = "the same in every draw: no interval"
    difference = Gap(gap, max(-1.0, gap - halves[0]), min(1.0, gap + halves[0]), "", highest, lowest)
    if still[0]:
        difference = Gap(gap, None, None, flat, highest, lowest)
    if max(rate_a, rate_b) == 0:
        return difference, Gap(None, reason="no error in either group")
    value = min(rate_a, rate_b) / max(rate_a, rate_b)
    centre = -sign * deviations[best][1][0]
    ratio = Gap(value, exp(centre - halves[1]) if value else 0.0, exp(centre + halves[1]), "", highest, lowest)
    if still[1]:
        ratio = Gap(value, None, None, flat, highest, lowest)
    return difference, ratio


def _compared(a: Float, b: Float) -> tuple[Float, Float, Float]:
    """Return ``sum w_c rate_a``, ``sum w_c rate_b`` and ``sum w_c`` of counts and totals ``(n, n_classes, 2)``."""
    both = np.maximum(a[..., 0] + b[..., 0], 1)
    weight = a[..., 0] * b[..., 0] / both
    return (a[..., 1] * b[..., 0] / both).sum(-1), (b[..., 1] * a[..., 0] / both).sum(-1), weight.sum(-1)


def _difference(a: Float, b: Float, weight: Float, added: float) -> Float:
    return np.asarray(np.divide(a - b, weight, out=np.full(len(a), np.nan), where=weight > 0))


def _log_ratio(a: Float, b: Float, weight: Float, added: float) -> Float:
    usable = (weight > 0) & (a + added > 0) & (b + added > 0)
    ratio = np.divide(a + added, b + added, out=np.ones(len(a)), where=usable)
    return np.where(usable, np.log(ratio), np.nan)
