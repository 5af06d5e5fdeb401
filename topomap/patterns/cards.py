"""describe_pattern(): what one pattern looks like."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import instance_of, whole_number
from topomap.groups import _missing
from topomap.patterns.base import Patterns
from topomap.patterns.top import mean_scores, members_in, rows_of
from topomap.run import Activations, Inputs, take_rows, versions

if TYPE_CHECKING:
    import xarray

Float = NDArray[np.float64]
Int = NDArray[np.int64]

#: What boxes hold, in this order.
BOX = ("least", "lower quartile", "median", "upper quartile", "greatest")

#: Thumbnails averaged at a time.
_BLOCK = 256


@dataclass(frozen=True, slots=True)
class Bar:
    """How many members have one value of a column: their number, share of members, and share of all inputs used."""

    value: str
    count: int
    share: float
    overall: float


@dataclass(frozen=True, eq=False)
class PatternCard:
    """What one pattern looks like; what `describe_pattern` returns.

    Parameters
    ----------
    pattern
        Its number; -1 is noise.
    members
        Positions in the table of inputs, the most probable first (of noise: the least outlying), shape ``(count,)``.
    probabilities
        How strongly each member belongs to the pattern, in [0, 1]; of noise, their outlier scores instead. Same shape.
    probable, improbable
        The first and the last of the members, the last first: at most `n`, and of a small pattern the same ones.
        Bäuerle et al. call them most and least stable; `stability` is another thing, and the pattern's.
    share
        Share of the inputs used.
    persistence, stability
        Of the pattern, as in `Patterns`; None for noise, and where stability was not measured.
    bars
        By column, ``"label"`` and ``"prediction"`` where known: one `Bar` per value that members have, most frequent
        first.
    average
        Mean of the members' thumbnails in units of these (0 to 255), shape as one of them; None without thumbnails.
    texts
        Of the most probable members; None without texts.
    scores
        Mean score of the members per neuron, shape ``(n_neurons,)``, to be painted on a layout; None without
        activations.
    units
        The units that distinguish the pattern most, by the absolute value of that score, shape ``(n_units,)``.
    boxes, boxes_all
        Least value, quartiles (median in the middle) and greatest value of each of these units over the members, and
        over all inputs; shape ``(n_units, 5)``, in the units of the layer.
    inputs
        The table of inputs.
    layer, reduce
        Where the activations came from, or those of the patterns without any.
    provenance
        How it came about.

    Examples
    --------
    >>> import topomap as tm
    >>> rng = np.random.default_rng(0)
    >>> values = np.concatenate([rng.normal(3, 0.3, (40, 4)), rng.normal(-3, 0.3, (40, 4))])
    >>> acts = tm.Activations.from_array(values, label=np.repeat(["cat", "dog"], 40))
    >>> card = describe_pattern(tm.find_patterns(acts, min_cluster_size=20), 0, acts)
    >>> card
    PatternCard(pattern 0 of layer: 40 inputs (50 %); label cat 100 %; units ...)
    """

    pattern: int
    members: Int
    probabilities: Float
    probable: Int
    improbable: Int
    share: float
    persistence: float | None
    stability: float | None
    bars: Mapping[str, tuple[Bar, ...]]
    inputs: Inputs = field(repr=False)
    average: Float | None = field(default=None, repr=False)
    texts: tuple[str, ...] | None = None
    scores: Float | None = field(default=None, repr=False)
    units: Int | None = None
    boxes: Float | None = field(default=None, repr=False)
    boxes_all: Float | None = field(default=None, repr=False)
    layer: str = "layer"
    reduce: str = "none"
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """``"pattern 3"``, or ``"noise"``."""
        return f"pattern {self.pattern}" if self.pattern >= 0 else "noise"

    @property
    def count(self) -> int:
        """Number of members."""
        return len(self.members)

    def to_xarray(self) -> xarray.Dataset:
        """Return what is known over ``member``, ``neuron``, ``unit`` and ``box``; bars over a dimension per column."""
        import xarray

        coords: dict[str, Any] = {}
        data: dict[str, Any] = {
            "position": (("member",), self.members),
            "id": (("member",), self.inputs.ids[self.members]),
            "probability": (("member",), self.probabilities),
        }
        for column, bars in self.bars.items():
            data[f"{column}_count"] = ((column,), np.array([bar.count for bar in bars], dtype=np.int64))
            data[f"{column}_overall"] = ((column,), np.array([bar.overall for bar in bars]))
            data[column] = ((column,), np.array([bar.value for bar in bars], dtype=object))
        if self.average is not None:
            data["average"] = (("y", "x", "channel")[: self.average.ndim], self.average)
        if self.scores is not None:
            data["scores"] = (("neuron",), self.scores)
            data["boxes"] = (("unit", "box"), self.boxes)
            data["boxes_all"] = (("unit", "box"), self.boxes_all)
            coords = {"unit": self.units, "box": list(BOX)}
        attrs: dict[str, Any] = {"pattern": self.pattern, "layer": self.layer, "reduce": self.reduce}
        known = {"share": self.share, "persistence": self.persistence, "stability": self.stability}
        return xarray.Dataset(data, coords, {**attrs, **{k: v for k, v in known.items() if v is not None}})

    def __repr__(self) -> str:
        share = f"{100 * self.share:.{0 if self.share > 0.1 else 1}f} %"
        told = f"{self.name} of {self.layer}: {self.count} inputs ({share})"
        for column, bars in self.bars.items():
            if bars:
                told += f"; {column} {bars[0].value} {100 * bars[0].share:.0f} %"
        if self.units is not None:
            told += f"; units {', '.join(map(str, self.units[:3]))}" + (", ..." if len(self.units) > 3 else "")
        return f"PatternCard({told})"


def describe_pattern(
    patterns: Patterns, k: int, acts: Activations | None = None, n: int = 5, n_units: int = 50
) -> PatternCard:
    """Describe one pattern: its members, what they look like, and which units they activate.

    Parameters
    ----------
    patterns
        What `find_patterns` returned for one layer.
    k
        Number of the pattern; -1 for noise.
    acts
        The activations to describe it by: those that it was found in, or of the same inputs in any other layer. Places
        of an input are averaged. Without them there are neither scores nor boxes.
    n
        How many of the most and of the least probable members to name.
    n_units
        Units to make boxes of, those that distinguish the pattern most.

    Returns
    -------
    PatternCard

    Raises
    ------
    ValueError
        If there is no such pattern, or the activations are not of all its members.

    Notes
    -----
    Scores are in standard deviations over all inputs, so that the mean score of a pattern's members is how far from
    the average input they lie in each unit: what its map shows, and what units are sorted by. Box plots of the members
    beside all inputs are those of the viewer of Bäuerle et al. (2022, arXiv 2206.10611).

    Examples
    --------
    >>> import topomap as tm
    >>> rng = np.random.default_rng(0)
    >>> values = np.concatenate([rng.normal(3, 0.3, (40, 4)), rng.normal(-3, 0.3, (40, 4))])
    >>> acts = tm.Activations.from_array(values)
    >>> card = describe_pattern(tm.find_patterns(acts, min_cluster_size=20), 0, acts, n=2)
    >>> card.count, len(card.probable), card.boxes.shape
    (40, 2, (4, 5))
    >>> bool((abs(card.scores) > 0.9).all())
    True
    """
    instance_of("patterns", patterns, Patterns, "Take what find_patterns() returned for one layer.")
    if acts is not None:
        instance_of("acts", acts, Activations, "Pass those of one layer, run['layer'].")
    whole_number("n", n, 1)
    whole_number("n_units", n_units, 1)
    members = patterns.members(k) if acts is None else members_in(acts, patterns, k)
    position = np.full(len(patterns.inputs), -1, dtype=np.int64)
    position[patterns.rows] = np.arange(patterns.n_rows)
    strength = patterns.probabilities if k >= 0 else patterns.outlier_scores
    inputs = patterns.inputs
    probable = members[:n]
    return PatternCard(
        pattern=int(k),
        members=members,
        probabilities=strength[position[members]],
        probable=probable,
        improbable=members[::-1][:n],
        share=len(members) / max(patterns.n_rows, 1),
        persistence=float(patterns.persistence[k]) if k >= 0 else None,
        stability=float(patterns.stability[k]) if k >= 0 and patterns.stability is not None else None,
        bars={name: _bars(patterns, name, members) for name in ("label", "prediction") if name in inputs.columns},
        inputs=inputs,
        average=_average(inputs, members),
        texts=None if inputs.texts is None else tuple(str(text) for text in inputs.texts[probable]),
        layer=patterns.layer if acts is None else acts.layer,
        reduce=patterns.reduce if acts is None else acts.reduce,
        provenance={
            "parameters": {"pattern": int(k), "n": n, "n_units": n_units},
            "versions": versions(),
            "patterns": dict(patterns.provenance),
        },
        **({} if acts is None or not len(members) else _units(acts.per_input(), members, n_units)),
    )


def _bars(patterns: Patterns, name: str, members: Int) -> tuple[Bar, ...]:
    """Count the values of a column among members and among all inputs used, missing ones left out."""
    if _missing(patterns.inputs[name]).all():
        return ()
    text = patterns.inputs.named(name)
    values, counts = np.unique([value for value in text[patterns.rows] if value], return_counts=True)
    overall = dict(zip(values.tolist(), (counts / max(counts.sum(), 1)).tolist(), strict=True))
    own, own_counts = np.unique([value for value in text[members] if value], return_counts=True)
    total = max(int(own_counts.sum()), 1)
    order = np.argsort(-own_counts, kind="stable")
    return tuple(
        Bar(str(own[i]), int(own_counts[i]), float(own_counts[i] / total), overall[str(own[i])]) for i in order
    )


def _average(inputs: Inputs, members: Int) -> Float | None:
    """Return the mean thumbnail, read by blocks."""
    if inputs.thumbnails is None or not len(members):
        return None
    total = np.zeros(inputs.thumbnails.shape[1:])
    ordered = np.sort(members)
    for start in range(0, len(ordered), _BLOCK):
        part = take_rows(inputs.thumbnails, ordered[start : start + _BLOCK])
        total += np.asarray(part).sum(axis=0, dtype=np.float64)
    return total / len(members)


def _units(acts: Activations, members: Int, n_units: int) -> dict[str, Any]:
    """Return mean scores, the most distinguishing units, and their boxes over members and over all inputs."""
    scores = mean_scores(acts, members)
    units = np.argsort(-np.abs(scores), kind="stable")[:n_units]
    every = np.empty((acts.n_rows, len(units)))
    for part, block in acts.blocks():
        every[part] = block[:, units]
    return {
        "scores": scores,
        "units": units,
        "boxes": _box(every[rows_of(acts, members)]),
        "boxes_all": _box(every),
    }


def _box(values: Float) -> Float:
    """Least, quartiles and greatest value per column, shape ``(n_columns, 5)``."""
    return np.asarray(np.quantile(values, (0, 0.25, 0.5, 0.75, 1), axis=0).T)
