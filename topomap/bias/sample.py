"""Who is compared with whom: groups, classes and units of the inputs, and what is left out and why."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import unknown
from topomap.bias.permute import Shuffle, blocks_of
from topomap.bias.report import Cell
from topomap.groups import By, Groups
from topomap.run import Activations

Bool = NDArray[np.bool_]
Int = NDArray[np.int64]

#: Groups that are compared at most: each takes all permutations anew.
MOST_GROUPS = 100

#: A bootstrap takes at least as many inputs per cell, and units per group.
BOOTSTRAP = 5


@dataclass(frozen=True, eq=False)
class Sample:
    """The inputs that take part, and what each belongs to.

    Parameters
    ----------
    rows
        Rows of the activations, shape ``(n_inputs,)``.
    member
        Of which groups each is, shape ``(n_groups, n_inputs)``.
    names, keys, counts
        Of the groups.
    classes, class_names
        The class of each input: codes that all occur.
    unit_of, n_units
        The unit of each input; its own where there are no units.
    by, within, unit
        Names of the columns.
    least
        Inputs (with `unit`, units) that a side of a comparison must have.
    excluded, left_out
        As in `BiasReport`.
    """

    rows: Int
    member: Bool
    names: tuple[str, ...]
    keys: tuple[Any, ...]
    counts: tuple[int, ...]
    classes: Int
    class_names: tuple[str, ...]
    unit_of: Int
    n_units: int
    by: tuple[str, ...]
    within: tuple[str, ...]
    unit: str | None
    least: int
    excluded: tuple[tuple[str, int, str], ...]
    left_out: tuple[tuple[str, int], ...]

    @property
    def what(self) -> str:
        """The columns of the groups in words."""
        return " x ".join(self.by) or "group"


@dataclass(frozen=True, eq=False)
class Comparison:
    """One group and its reference, over the inputs of both.

    Parameters
    ----------
    group, reference
        Names.
    rows
        Positions in the sample, shape ``(n_rows,)``.
    member
        Which of them are of the group.
    classes
        Codes that all occur.
    cells
        The classes in words, those without one of the sides included.
    unit_of
        The unit of each row among those that are shuffled.
    shuffle
        The labels of these units.
    is_group
        Which labels are those of the group.
    n_movable
        Units whose label can change from the group to its reference or back.
    stream
        Comparisons of one stream share their permutations.
    """

    group: str
    reference: str
    rows: Int
    member: Bool
    classes: Int
    cells: tuple[Cell, ...]
    unit_of: Int
    shuffle: Shuffle
    is_group: Bool
    n_movable: int
    stream: int = 0

    def members(self, codes: Int) -> Bool:
        """Return which rows are of the group for labels of units, shape ``(n_labellings, n_rows)``."""
        return np.asarray(self.is_group[codes][:, self.unit_of])


def draw_sample(acts: Activations, by: By, within: By | None, unit: By | None, min_size: int) -> Sample:
    """Find the inputs that can be compared. One row per input is expected."""
    groups = acts.groups(by)
    left_out: list[tuple[str, int]] = []
    keep = np.asarray(groups.membership.sum(axis=0)).ravel() > 0
    what = " x ".join(groups.by) or "group"
    _leave(left_out, f"no {what}", np.ones(acts.n_rows, dtype=bool), keep)
    classes, class_names, within_names = _codes(acts, within, "within", "all")
    _leave(left_out, f"no {' x '.join(within_names)}", keep, classes >= 0)
    keep &= classes >= 0
    units, unit_values, unit_names = _codes(acts, unit, "unit", "")
    unit_name = None if unit is None else " x ".join(unit_names)
    if unit is None:
        units = np.arange(acts.n_rows)
    _leave(left_out, f"no {unit_name}", keep, units >= 0)
    keep &= units >= 0
    if not keep.any():
        raise ValueError(f"no input has a value in all of {', '.join([what, *within_names, *unit_names])}.")

    membership = groups.membership[:, np.flatnonzero(keep)]
    kept_units = units[keep]
    counts = np.diff(membership.indptr)
    sizes = counts
    if unit is not None:
        ends = membership.indptr
        sizes = np.array([len(np.unique(kept_units[membership.indices[a:b]])) for a, b in pairwise(ends)])
    least = min_size if unit is None else max(min_size, BOOTSTRAP)
    excluded = []
    for g in np.flatnonzero(sizes < least).tolist():
        of = ("input" if sizes[g] == 1 else "inputs") if unit is None else f"of the units of {unit_name}"
        excluded.append((groups.names[g], int(counts[g]), f"{sizes[g]} {of}, fewer than {least}"))
    large = np.flatnonzero(sizes >= least)
    _enough(groups, large, excluded, what)
    member = membership[large].toarray().astype(bool)
    used = member.any(axis=0)
    rows = np.flatnonzero(keep)[used]
    member = member[:, used]
    class_codes, classes = np.unique(classes[rows], return_inverse=True)
    unit_codes, unit_of = np.unique(units[rows], return_inverse=True)
    if unit is not None:
        _constant_within(member, unit_of, [unit_values[u] for u in unit_codes.tolist()], what, str(unit_name))
    return Sample(
        rows=rows,
        member=member,
        names=tuple(groups.names[g] for g in large.tolist()),
        keys=tuple(groups.keys[g] for g in large.tolist()),
        counts=tuple(int(n) for n in member.sum(axis=1)),
        classes=classes.ravel().astype(np.int64),
        class_names=tuple(class_names[c] for c in class_codes.tolist()),
        unit_of=unit_of.ravel().astype(np.int64),
        n_units=len(unit_codes),
        by=groups.by or ("group",),
        within=within_names,
        unit=unit_name,
        least=least,
        excluded=tuple(excluded),
        left_out=tuple(left_out),
    )


def compare(
    sample: Sample, reference: Any, alpha: float, interval: str
) -> tuple[list[Comparison], list[tuple[str, int, str]]]:
    """Return the comparisons that can be tested, and the groups that cannot, with the reason."""
    pairs = _pairs(sample, reference)
    labels, codes = np.unique(sample.member.T, axis=0, return_inverse=True)  # groups may overlap
    codes = codes.ravel()
    joint = len(pairs) > 1 and all(other is None for _, other, _ in pairs)
    shared = _shuffle(sample, np.arange(len(sample.rows)), codes)[0] if joint else None
    found, excluded = [], []
    for stream, (group, other, name) in enumerate(pairs):
        member = sample.member[group]
        rows = np.arange(len(member)) if other is None else np.flatnonzero(member | sample.member[other])
        cells, tested = _cells(sample, rows, member[rows], sample.names[group], name, interval)
        if interval == "bootstrap" and sample.unit is None:
            rows = rows[tested[sample.classes[rows]]]
        member = member[rows]
        own, unit_of = _shuffle(sample, rows, member.astype(np.int64))
        n_movable = own.n_movable
        count = sample.counts[group]
        why = _refused(sample, rows, member, tested, own, alpha)
        if why:
            excluded.append((sample.names[group], count, why))
            continue
        is_group = np.array([False, True])
        if shared is not None:
            own, unit_of, is_group = shared, sample.unit_of[rows], labels[:, group]
        classes = np.unique(sample.classes[rows], return_inverse=True)[1].ravel().astype(np.int64)
        found.append(
            Comparison(
                sample.names[group],
                name,
                rows,
                member,
                classes,
                cells,
                unit_of,
                own,
                is_group,
                n_movable,
                0 if joint else stream,
            )
        )
    if not found:
        if all(why == _APART for _, _, why in excluded):
            raise ValueError(
                f"no class of {' x '.join(sample.within)} holds inputs of two groups of {sample.what}: the two go "
                "together, and nothing is left to compare within classes. Drop within= to compare across classes; a "
                "difference may then be one of class."
            )
        reasons = "; ".join(f"{name} ({count} inputs): {why}" for name, count, why in excluded[:5])
        raise ValueError(f"no group of {sample.what} can be tested. {reasons}.")
    return found, excluded


_APART = "no class holds both it and its reference"


def _refused(sample: Sample, rows: Int, member: Bool, tested: Bool, shuffle: Shuffle, alpha: float) -> str:
    if not len(rows) or not tested.any():
        return _APART
    classes = sample.classes[rows]
    for side, whose in ((member, "it"), (~member, "its reference")):
        n = len(np.unique(sample.unit_of[rows[side & tested[classes]]]))
        if n < sample.least:
            of = ("input" if n == 1 else "inputs") if sample.unit is None else f"of the units of {sample.unit}"
            return f"classes that hold both sides have {n} {of} of {whose}, fewer than {sample.least}"
    if int(tested[classes].sum()) - 2 * int(tested.sum()) < 2:
        return "too few inputs per class to estimate a deviation"
    least = ceil(1 / alpha - 1e-9)
    count = shuffle.count(least)
    if count < least:
        of = "labels" if sample.unit is None else f"labels of the {len(shuffle.codes)} units of {sample.unit}"
        why = (
            f"its {of} have {count} distinct permutation{'' if count == 1 else 's'}, fewer than 1 / alpha = {least}: "
            "no p could reach alpha"
        )
        if sample.unit is None or not sample.within:
            return why
        return (
            f"{why}. Units change places with those of the same proportions of {' x '.join(sample.within)}, of which "
            f"there are {len(shuffle.members)}: take inputs such that more units have the same, or coarser classes"
        )
    return ""


def _pairs(sample: Sample, reference: Any) -> list[tuple[int, int | None, str]]:
    """Return group, reference group (None for the rest) and the name of the reference."""
    n = len(sample.names)
    overlap = bool((sample.member.sum(axis=0) > 1).any())
    if isinstance(reference, str) and reference == "rest":
        if n == 2 and not overlap:
            return [(1, 0, sample.names[0])]
        return [(g, None, "rest") for g in range(n)]
    if overlap:
        raise ValueError("groups overlap, so that an input may be on both sides: pass reference='rest'.")
    key = reference if isinstance(reference, tuple) else (reference,)
    if str(reference) in sample.names:
        at = sample.names.index(str(reference))
    elif key in sample.keys:
        at = sample.keys.index(key)
    else:
        gone = {name: why for name, _, why in sample.excluded}
        if str(reference) in gone:
            raise ValueError(f"the reference {str(reference)!r} is too small: {gone[str(reference)]}. Lower min_size.")
        raise unknown("reference", reference, ("rest", *sample.names))
    return [(g, at, sample.names[at]) for g in range(n) if g != at]


def _cells(
    sample: Sample, rows: Int, member: Bool, group: str, reference: str, interval: str
) -> tuple[tuple[Cell, ...], Bool]:
    n_classes = len(sample.class_names)
    n = np.bincount(sample.classes[rows], minlength=n_classes)
    n_a = np.bincount(sample.classes[rows[member]], minlength=n_classes)
    n_b = n - n_a
    tested = (n_a > 0) & (n_b > 0)
    cells = []
    for c in np.flatnonzero(n).tolist():
        reason = ""
        if not tested[c]:
            side = group if n_a[c] == 0 else "the rest" if reference == "rest" else reference
            reason = f"no input of {side}"
        elif interval == "bootstrap" and sample.unit is None and min(n_a[c], n_b[c]) < BOOTSTRAP:
            reason = f"a cell of fewer than {BOOTSTRAP} inputs"
            tested[c] = False
        cells.append(Cell(sample.class_names[c], int(n_a[c]), int(n_b[c]), reason))
    return tuple(cells), tested


def _shuffle(sample: Sample, rows: Int, codes: Int) -> tuple[Shuffle, Int]:
    """Return the labels of the units that these rows belong to, and the unit of each row."""
    _, first, unit_of = np.unique(sample.unit_of[rows], return_index=True, return_inverse=True)
    unit_of = unit_of.ravel().astype(np.int64)
    blocks = blocks_of(unit_of, sample.classes[rows], len(first))
    return Shuffle(codes[first], blocks), unit_of


def _codes(acts: Activations, by: By | None, argument: str, alone: str) -> tuple[Int, tuple[str, ...], tuple[str, ...]]:
    """Return a code per row (-1 where it is missing), what the codes mean, and the names of the columns."""
    if by is None:
        return np.zeros(acts.n_rows, dtype=np.int64), (alone,), ()
    groups = acts.groups(by)
    if (np.asarray(groups.membership.sum(axis=0)) > 1).any():
        raise ValueError(f"{argument} must put an input into one class; its groups overlap.")
    codes = np.full(acts.n_rows, -1, dtype=np.int64)
    entries = groups.membership.tocoo()
    codes[entries.coords[1]] = entries.coords[0]
    known = isinstance(by, str | tuple | Groups) and bool(groups.by)
    return codes, groups.names, groups.by if known else (argument if argument == "unit" else "class",)


def _leave(left_out: list[tuple[str, int]], why: str, before: Bool, present: Bool) -> None:
    count = int((before & ~present).sum())
    if count:
        left_out.append((why, count))


def _enough(groups: Groups, large: Int, excluded: list[tuple[str, int, str]], what: str) -> None:
    if len(large) > MOST_GROUPS:
        raise ValueError(
            f"{what} has {len(large):,} groups that are large enough; at most {MOST_GROUPS} are compared at once, and "
            "so many would leave none of them a chance. Raise min_size, merge groups, or choose some of them with "
            "acts.select(where=...)."
        )
    if len(large) >= 2:
        return
    if len(groups) == 1:
        raise ValueError(
            f"every input is of one group of {what}, {groups.names[0]!r}: there is nothing to compare it with."
        )
    gone = "; ".join(f"{name}: {why}" for name, _, why in excluded[:5])
    more = f"; and {len(excluded) - 5:,} more" if len(excluded) > 5 else ""
    raise ValueError(
        f"a comparison takes two groups, and {len(large)} of {len(groups):,} by {what} is large enough: {gone}{more}. "
        "Lower min_size, or merge groups."
    )


def _constant_within(member: Bool, unit_of: Int, names: list[str], what: str, unit: str) -> None:
    _, first = np.unique(unit_of, return_index=True)
    differs = (member != member[:, first[unit_of]]).any(axis=0)
    if differs.any():
        bad = np.unique(unit_of[differs])
        raise ValueError(
            f"{what} must be the same for all inputs of a unit, since whole units are permuted; it varies within "
            f"{len(bad):,} of {len(names):,} units of {unit}, {names[bad[0]]!r} first. Choose a unit within which it "
            "is fixed, or drop unit= if inputs are independent."
        )
