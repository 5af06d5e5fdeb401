"""Names and numbers of a report of bias in words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from topomap.bias import BiasReport, Cluster, Contrast
from topomap.bias.rates import Interval


def layer_of(report: BiasReport) -> str:
    """Return the layer, with its reduction where it has one."""
    return report.layer if report.reduce == "none" else f"{report.layer} ({report.reduce})"


def reference_of(contrast: Contrast) -> str:
    """Return what a group is compared with."""
    return "the rest" if contrast.reference == "rest" else contrast.reference


def columns_of(columns: Sequence[str]) -> str:
    """Return the columns that make groups."""
    return " x ".join(columns) or "group"


def joined(names: Sequence[str]) -> str:
    """Return a list as it is spoken.

    Examples
    --------
    >>> joined(["a"]), joined(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def rounded_p(p: float) -> str:
    """Return a p with two digits.

    Examples
    --------
    >>> rounded_p(0.000999), rounded_p(0.0431), rounded_p(0.998)
    ('0.001', '0.043', '1')
    """
    return "1" if p >= 0.995 else f"{p:.2g}"


def signed(value: float, form: str = ".2f") -> str:
    """Return a number with its sign.

    Examples
    --------
    >>> signed(-0.5), signed(2)
    ('−0.50', '+2.00')
    """
    return f"{value:+{form}}".replace("-", "−", 1)


def share(found: Interval | None, unit: str = "%") -> str:
    """Return a share in percent with its interval, or why there is none.

    Examples
    --------
    >>> share(Interval(0.125, 0.0546, 0.261)), share(Interval(0.2, -0.01, 0.41), "points")
    ('12.5 % [5.5, 26.1]', '20.0 points [−1.0, 41.0]')
    """
    if found is None or found.value is None:
        return "unknown" if found is None else found.reason
    return f"{100 * found.value:.1f} {unit}" + limits(found, 100, ".1f")


def ratio(found: Interval) -> str:
    """Return a ratio with its interval, or why there is none.

    Examples
    --------
    >>> ratio(Interval(0.0727, 0.047, 0.127)), ratio(Interval(None, reason="no errors"))
    ('0.07 [0.05, 0.13]', 'no errors')
    """
    return found.reason if found.value is None else f"{found.value:.2f}{limits(found, 1, '.2f')}"


def limits(found: Interval, factor: float, form: str) -> str:
    """Return the limits of an interval in brackets; nothing where there are none."""
    if found.low is None or found.high is None:
        return ""
    return f" [{factor * found.low:{form}}, {factor * found.high:{form}}]".replace("-", "−")


def runs(numbers: Sequence[int], most: int) -> str:
    """Return ascending numbers, those that follow each other joined.

    Examples
    --------
    >>> runs([1, 2, 3, 7, 9, 10], 60), runs([1, 2, 5, 8], 3)
    ('1-3, 7, 9, 10', '1, 2, 5, ... (4 in all)')
    """
    named = numbers[:most]
    cuts = [0, *(i + 1 for i, (a, b) in enumerate(pairwise(named)) if b != a + 1), len(named)]
    parts: list[str] = []
    for start, end in pairwise(cuts):
        run = named[start:end]
        parts += [f"{run[0]}-{run[-1]}"] if len(run) > 2 else map(str, run)
    more = f", ... ({len(numbers):,} in all)" if len(numbers) > most else ""
    return ", ".join(parts) + more


def told(value: Any) -> str:
    """Return a parameter.

    Examples
    --------
    >>> told(["label", "hand"]), told(None), told(True)
    ('label, hand', 'none', 'yes')
    """
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else "yes" if value is True else "no" if value is False else str(value)


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested parameters side by side.

    Examples
    --------
    >>> flat({"seed": 0, "versions": {"numpy": "2.0"}})
    {'seed': '0', 'versions.numpy': '2.0'}
    """
    found: dict[str, str] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, Mapping) else {f"{prefix}{name}": told(value)}
    return found


def stem(*names: str) -> str:
    """Return names as part of the name of a file.

    Examples
    --------
    >>> stem("layer3/0", "a <b>")
    'layer3-0-a-b'
    """
    return re.sub(r"[^A-Za-z0-9._]+", "-", " ".join(names)).strip("-.")[:60] or "map"


def caption_of(report: BiasReport | Sequence[BiasReport], group: str | None = None, method: str | None = None) -> str:
    """Return what the marks of a figure mean and how the tests were made.

    Parameters
    ----------
    report
        One, drawn in full, or the several of a summary.
    group
        The contrast that is drawn in full; of one report without a group all contrasts are drawn.
    method
        What to write instead of how the tests were made.
    """
    reports = [report] if isinstance(report, BiasReport) else list(report)
    first = reports[0]
    found = [c for each in reports for c in each.contrasts if group in (None, c.group)]
    outlined = [one for each in reports for c in found for one in outlined_of(each, c.group)]
    marks = []
    if outlined and group is not None:
        told = [
            f"{number}: {'higher' if c.sign > 0 else 'lower'}, {len(c)} neuron{'s' * (len(c) != 1)}, p = {c.p:.2g}"
            for number, c in outlined[:8]
        ]
        rest = f"; {len(outlined) - 8} more" if len(outlined) > 8 else ""
        marks.append(f"Outlined: clusters at p <= {first.alpha:g} ({'; '.join(told)}{rest}).")
    elif outlined:
        marks.append(f"Outlined: clusters at p <= {first.alpha:g}.")
    if any((c.p_family <= first.alpha).any() for c in found):
        marks.append(f"Dots: single neurons at corrected p <= {first.alpha:g}.")
    if first.unit is None:
        marks.append("Faded: differences of less than 1.96 standard errors, which is no test.")
    if any(each.dead.any() for each in reports):
        marks.append("Grey: neurons without variation.")
    if len(reports) > 1:
        marks.append("Every layer was tested by itself, without correction over layers. Of the first:")
    return " ".join([*marks, first.method_text() if method is None else method])


def outlined_of(report: BiasReport, group: str) -> list[tuple[int, Cluster]]:
    """Return the clusters of one contrast that survive, under their numbers among all clusters of the report."""
    return [(i, c) for i, c in enumerate(report.clusters, 1) if c.group == group and c.p <= report.alpha]
