"""What the members of patterns have in common: labels, predictions and metadata, tested against all inputs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from topomap.groups import By, Groups, _missing
from topomap.run import Activations

if TYPE_CHECKING:
    from topomap.patterns.base import Patterns

Float = NDArray[np.float64]

#: A float column of more distinct values is a measurement, and compared by ranks; of fewer, each value is a category.
MOST_LEVELS = 10


@dataclass(frozen=True, slots=True)
class Enrichment:
    """How often one value of a column occurs in one pattern (-1: noise), against all inputs used.

    ``share`` is that of the value among the pattern's ``n`` inputs that have one, ``overall`` among all inputs used.
    ``odds_ratio`` is that of the 2 x 2 table (in the pattern or not, this value or not), 1/2 added to all four
    counts where one of them is zero (Haldane 1956), so that it is finite. ``p`` is one-sided: of so many or more by
    chance, from the hypergeometric distribution (Fisher's exact test). ``q`` is p after Benjamini and Hochberg (1995)
    over all tests of the report.
    """

    pattern: int
    column: str
    value: str
    count: int
    n: int
    share: float
    overall: float
    odds_ratio: float
    p: float
    q: float


@dataclass(frozen=True, slots=True)
class Shift:
    """How a column of measurements differs between the ``n`` members of one pattern (-1: noise) and the other inputs.

    ``median`` is that of the members, ``median_rest`` that of the others. ``superiority`` is the chance that a member
    has the larger value of two, ties counted half: 0.5 where there is no difference. ``p`` is two-sided, of the
    Mann-Whitney test (normal approximation, corrected for ties and continuity); ``q`` as for `Enrichment`.
    """

    pattern: int
    column: str
    n: int
    median: float
    median_rest: float
    superiority: float
    p: float
    q: float


@dataclass(frozen=True, slots=True)
class Findings:
    """All tests of a report: those of categories, those of measurements, their number, and columns left out."""

    enrichment: tuple[Enrichment, ...]
    shifts: tuple[Shift, ...]
    n_tests: int
    left_out: dict[str, str]


def enrich(patterns: Patterns, by: By | Sequence[By] | None) -> Findings:
    """Test every column (or tuple of columns) in every pattern and in noise; see `measure_patterns`."""
    categories, numbers, left_out = _columns(patterns, by)
    position = np.full(len(patterns.inputs), -1)
    position[patterns.rows] = np.arange(patterns.n_rows)
    membership = sparse.csr_array(patterns.groups.membership[:, patterns.rows])
    found = [_categories(membership, name, groups, patterns) for name, groups in categories]
    ranks = [_ranks(membership, name, patterns) for name in numbers]
    # pairs that never occur together have p = 1: tested too, though no row is kept of them
    n_tests = sum(n for _, n in found) + sum(len(rows) for rows in ranks)
    flat = [row for rows, _ in found for row in rows]
    moved = [row for rows in ranks for row in rows]
    q = adjusted(np.array([row.p for row in flat] + [row.p for row in moved], dtype=np.float64), n_tests).tolist()
    order = {k: i for i, k in enumerate(patterns.ids)}
    enrichment = [replace(row, q=each) for row, each in zip(flat, q[: len(flat)], strict=True)]
    shifts = [replace(row, q=each) for row, each in zip(moved, q[len(flat) :], strict=True)]
    enrichment.sort(key=lambda row: (order[row.pattern], row.q, row.p, -row.count, row.column, row.value))
    shifts.sort(key=lambda row: (order[row.pattern], row.q, row.p, row.column))
    return Findings(tuple(enrichment), tuple(shifts), n_tests, left_out)


def adjusted(p: Float, n_tests: int) -> Float:
    """Return the false discovery rates (Benjamini and Hochberg 1995) of some of `n_tests` tests, the others at p = 1.

    Examples
    --------
    >>> adjusted(np.array([0.01, 0.5]), 4).round(3)
    array([0.04, 1.  ])
    """
    if not len(p):
        return np.empty(0)
    from scipy.stats import false_discovery_control

    every = np.concatenate([np.clip(p, 0, 1), np.ones(n_tests - len(p))])
    return np.asarray(false_discovery_control(every)[: len(p)], dtype=np.float64)


def _columns(
    patterns: Patterns, by: By | Sequence[By] | None
) -> tuple[list[tuple[str, Groups]], list[str], dict[str, str]]:
    """Return the groups of every column of categories, the names of those of measurements, and why some are not."""
    inputs = patterns.inputs
    every = Activations(np.zeros((len(inputs), 0), dtype=np.float32), inputs)  # so that by= means what it does anywhere
    chosen: list[Any] = list(inputs.columns) if by is None else [by] if isinstance(by, str) else list(by)  # type: ignore[arg-type]
    categories: list[tuple[str, Groups]] = []
    numbers: list[str] = []
    left_out: dict[str, str] = {}
    for each in chosen:
        if not isinstance(each, str):
            groups = every.groups(each)
            categories.append((" x ".join(groups.by), groups))
            continue
        column = inputs[each][patterns.rows]
        present = ~_missing(column)
        distinct = len(np.unique(column[present].astype(str)))
        if not present.any():
            left_out[each] = "no input used has a value"
        elif distinct == 1:
            left_out[each] = "all inputs used have the same value"
        elif each not in ("label", "prediction") and column.dtype.kind == "f" and distinct > MOST_LEVELS:
            numbers.append(each)
        elif by is None and distinct == np.count_nonzero(present) > MOST_LEVELS:
            left_out[each] = "every input has a value of its own, as identifiers have"
        else:
            categories.append((each, every.groups(each)))
    return categories, numbers, left_out


def _categories(
    membership: sparse.csr_array, name: str, groups: Groups, patterns: Patterns
) -> tuple[list[Enrichment], int]:
    """Return the rows (q not yet known) of the values that occur in a pattern, and how many tests they are part of."""
    from scipy.stats import hypergeom

    values = sparse.csr_array(groups.membership[:, patterns.rows])
    totals = np.asarray(values.sum(axis=1)).ravel().astype(np.int64)
    present = np.asarray(values.sum(axis=0)).ravel() > 0
    n_all = int(np.count_nonzero(present))
    sizes = np.asarray(membership @ present.astype(np.float64)).astype(np.int64)
    together = sparse.coo_array(membership @ values.T)
    row, column = together.coords
    count, size, total = together.data.astype(np.int64), sizes[row], totals[column]
    p = hypergeom.sf(count - 1, n_all, total, size)
    ratio = odds_ratio(count, size, total, n_all)
    rows = [
        Enrichment(
            pattern=patterns.ids[r],
            column=name,
            value=groups.names[c],
            count=int(k),
            n=int(s),
            share=float(k / s),
            overall=float(t / n_all),
            odds_ratio=float(o),
            p=float(each),
            q=1.0,
        )
        for r, c, k, s, t, o, each in zip(row, column, count, size, total, ratio, p, strict=True)
    ]
    return rows, int(np.count_nonzero(sizes)) * int(np.count_nonzero(totals))


def odds_ratio(count: NDArray[Any], size: NDArray[Any], total: NDArray[Any], n: int) -> Float:
    """Return the odds ratio of 2 x 2 tables, 1/2 added to all counts of those with a zero.

    Parameters
    ----------
    count
        Members with the value.
    size, total
        Members; inputs with the value.
    n
        Inputs in all.

    Examples
    --------
    >>> odds_ratio(np.array([8, 2]), np.array([10, 2]), np.array([9, 10]), 12)
    array([4.        , 1.47058824])
    """
    cells = np.stack([count, size - count, total - count, n - size - total + count]).astype(np.float64)
    cells += 0.5 * (cells == 0).any(axis=0)
    return np.asarray(cells[0] * cells[3] / (cells[1] * cells[2]))


def _ranks(membership: sparse.csr_array, name: str, patterns: Patterns) -> list[Shift]:
    """Return one row (q not yet known) per pattern with members and others that have a value."""
    from scipy.stats import mannwhitneyu

    column = patterns.inputs[name][patterns.rows].astype(np.float64)
    present = ~np.isnan(column)
    rows = []
    for i, k in enumerate(patterns.ids):
        inside = np.zeros(len(column), dtype=bool)
        inside[membership.indices[membership.indptr[i] : membership.indptr[i + 1]]] = True
        members, rest = column[inside & present], column[~inside & present]
        if not len(members) or not len(rest):
            continue
        # asymptotic also where n is small: the exact distribution takes long for 5 inputs against 10,000
        u, p = mannwhitneyu(members, rest, alternative="two-sided", method="asymptotic")
        superiority = float(u) / (len(members) * len(rest))
        medians = float(np.median(members)), float(np.median(rest))
        rows.append(Shift(k, name, len(members), *medians, superiority, float(p), 1.0))
    return rows
