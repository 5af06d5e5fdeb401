"""Label errors: pairs of classes that a net confuses although its own map keeps their inputs apart."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap import _compute
from topomap._check import instance_of, whole_number
from topomap.bias.rates import wilson
from topomap.groups import Groups, _missing
from topomap.run import Activations

if TYPE_CHECKING:
    import xarray

#: The lower bound of ordinary confusions' scores does not reach this: see "Label errors" in benchmarks/README.md.
STRONG = 0.1

#: The normal quantile of a one-sided 95 % bound.
ONE_SIDED = 1.6448536269514722


@dataclass(frozen=True, eq=False)
class LabelError:
    """A pair of classes, and what says that inputs of the one were given the label of the other in training.

    Parameters
    ----------
    label, prediction
        What the inputs are, and what the net calls them: values of the columns of the inputs.
    names
        Both in words.
    inputs
        Positions in the table of inputs, those that say most first, shape ``(n,)``.
    evidence
        Of each of them, between 0 and 1, shape ``(n,)``.
    score
        The sum of the evidence over all inputs of this label, from 0 to 1.
    low
        One-sided 95 % lower bound of the score.
    n_label
        Inputs of this label.
    confidence
        Mean confidence of the wrong predictions; None where it was not recorded.
    own, other
        Mean share of the inputs' neighbours in the layer that have their label, and that have the predicted one.
    strong
        Whether `low` is above the threshold that ordinary confusions do not reach.
    layer
        The layer whose map was used.
    alike
        Other labels of which as much says that they were given the same prediction: a net that leans towards one class,
        or a shortcut to it, takes many labels for that class, and swapped labels rarely more than one.

    Examples
    --------
    >>> values = np.repeat([[0.0, 9.0], [9.0, 0.0]], 20, axis=0) + np.random.default_rng(0).normal(size=(40, 2))
    >>> acts = Activations.from_array(values, label=np.arange(40) // 20, prediction=np.ones(40, dtype=int))
    >>> error = find_label_errors(acts)[0]
    >>> error.label, error.prediction, error.n
    (0, 1, 20)
    """

    label: Any
    prediction: Any
    names: tuple[str, str]
    inputs: NDArray[np.int64]
    evidence: NDArray[np.float64] = field(repr=False)
    score: float
    low: float
    n_label: int
    confidence: float | None
    own: float
    other: float
    strong: bool
    layer: str = "layer"
    alike: tuple[str, ...] = ()

    @property
    def n(self) -> int:
        """Inputs of this label with this prediction."""
        return len(self.inputs)

    @property
    def share(self) -> float:
        """Share of the label's inputs with this prediction."""
        return self.n / self.n_label

    def to_xarray(self) -> xarray.Dataset:
        """Return the inputs and their evidence over the dimension ``input``."""
        import xarray

        plain = ("score", "low", "n_label", "share", "own", "other", "layer")
        attrs: dict[str, Any] = {name: getattr(self, name) for name in plain}
        attrs |= {"label": self.names[0], "prediction": self.names[1], "strong": int(self.strong)}
        attrs["alike"] = list(self.alike)
        return xarray.Dataset(
            {"position": (("input",), self.inputs), "evidence": (("input",), self.evidence)}, attrs=attrs
        )

    def to_dict(self) -> dict[str, Any]:
        """Return everything such that JSON can hold it."""
        plain = ("n", "n_label", "share", "score", "low", "confidence", "own", "other", "strong", "layer")
        found: dict[str, Any] = {"label": self.names[0], "prediction": self.names[1]}
        found |= {name: getattr(self, name) for name in plain}
        return {**found, "alike": list(self.alike), "inputs": self.inputs.tolist(), "evidence": self.evidence.tolist()}

    def __repr__(self) -> str:
        sure = "" if self.confidence is None else f", confidence {self.confidence:.2f}"
        what = "labels swapped in training?" if self.strong else "weak, as ordinary confusion"
        if self.alike:
            what = f"labels swapped in training, or, as of {len(self.alike) + 1} labels, a net that leans there?"
        return (
            f"LabelError({self.names[0]} -> {self.names[1]}: {self.n} of {self.n_label}{sure}; neighbours "
            f"{self.own:.0%} {self.names[0]}, {self.other:.0%} {self.names[1]}; score {self.score:.2f}: {what})"
        )


def find_label_errors(
    acts: Activations, *, min_size: int = 5, n: int = 10, n_neighbors: int = 10, threshold: float = STRONG
) -> tuple[LabelError, ...]:
    """Rank pairs of classes by how much says that labels were swapped in training.

    **The labels recorded with these inputs are taken as clean**: what is looked for are errors in the labels that the
    net learnt from. Inputs whose own recorded label is wrong look the same the other way round.

    A net that learnt a wrong label calls inputs of one class another, surely, while its layer still places them among
    their own kind. In an ordinary confusion input, map and prediction agree: the input lies at the border, or among the
    class that it is taken for.

    Parameters
    ----------
    acts
        One layer, with label and prediction of each input. Where positions or tokens are kept, their mean is taken.
    min_size
        Pairs of fewer inputs are not judged.
    n
        Return at most so many pairs.
    n_neighbors
        Nearest inputs that say where an input lies.
    threshold
        A pair is strong where the lower bound of its score is above this. No pair was in 72 layers of nets that had
        learnt clean labels, even for one epoch, and every planted one was where 90 % of a class had another label: see
        ``benchmarks/README.md``.

    Returns
    -------
    tuple of LabelError
        By score, highest first; empty where no pair of classes is confused `min_size` times. Weak pairs are among them:
        look at ``.strong``.

    Raises
    ------
    ValueError
        If there is no label or prediction, or the two cannot be compared.

    Notes
    -----
    With ``o_i`` the share of label a, and ``q_i`` of label b, among the nearest neighbours of input i (cosine of the
    scores, itself left out, each neighbour weighted by one over the size of its class) and ``c_i`` the confidence of
    the prediction (1 where unknown), the evidence of an input of label a with prediction b is
    ``c_i max(0, o_i - q_i)``. The score is its sum over all such inputs divided by the number of inputs of label a: the
    share that is called b against the map. Its lower bound is Wilson's for a mean in [0, 1], whose variance is at most
    that of a share.

    A class whose labels were changed in fewer than about half of the cases is mostly still predicted right: then only
    its confidence falls, and no pair is found. A net that is biased towards a class for another reason (one class much
    rarer in training, say), or that learnt a shortcut to it (a mark that only one class had, and that inputs of all
    classes have now), can look the same, of several labels at once (``.alike``): look at the inputs, and at the map of
    the pair, ``profile(acts, by=("label", "prediction"))``.

    That confident disagreement with a clean label tells systematic label noise between classes is the idea of
    confident learning (Northcutt, Jiang and Chuang 2021, doi 10.1613/jair.1.12125); that neighbours in a hidden layer
    tell wrong labels from hard inputs is that of deep k-nearest neighbours (Bahri, Jiang and Gupta 2020, ICML).

    Examples
    --------
    >>> values = np.repeat([[0.0, 9.0], [9.0, 0.0]], 20, axis=0) + np.random.default_rng(0).normal(size=(40, 2))
    >>> labels, confidence = np.arange(40) // 20, np.full(40, 0.9)
    >>> acts = Activations.from_array(values, label=labels, prediction=np.ones(40, dtype=int), confidence=confidence)
    >>> find_label_errors(acts)
    (LabelError(0 -> 1: 20 of 20, confidence 0.90; neighbours 100% 0, 0% 1; score 0.90: labels swapped in training?),)
    """
    instance_of("acts", acts, Activations, "Pass those of one layer: run['layer'].")
    whole_number("min_size", min_size, 1)
    whole_number("n", n, 1)
    whole_number("n_neighbors", n_neighbors, 1)
    acts = acts.per_input()
    for name in ("label", "prediction"):
        if name not in acts.inputs.columns:
            raise ValueError(
                f"find_label_errors compares labels with predictions; the inputs have no {name}. Record a model that "
                f"predicts classes, with labels, or add the column: acts.with_labels({name}=...)."
            )
    if acts.inputs.correct is None:
        raise ValueError(
            "label and prediction must both be codes or both be names; got "
            f"{acts.column('label').dtype} and {acts.column('prediction').dtype}. Map one to the other: "
            "acts.with_labels(label=...)."
        )
    known = ~(_missing(acts.column("label")) | _missing(acts.column("prediction")))
    if not known.any():
        raise ValueError("no input has both a label and a prediction: there is nothing to compare.")
    groups = acts.groups("label")
    label = np.full(acts.n_rows, -1)
    for code, name in enumerate(groups.names):
        label[groups.rows_of(name)] = code
    pairs = _pairs(acts, groups, known, min_size)
    wrong = np.unique(np.concatenate([np.zeros(0, dtype=np.int64), *(rows for *_, rows in pairs)]))
    shares = _neighbour_shares(acts, wrong, label, len(groups), n_neighbors)
    confidence = acts.inputs.confidence
    sure = None if confidence is None else np.asarray(acts.column("confidence"), dtype=np.float64)
    labels = [key[0] for key in groups.keys]
    found = []
    for code, prediction, names, rows in pairs:
        at = shares[np.searchsorted(wrong, rows)]
        own = at[:, code]
        other = at[:, labels.index(prediction)] if prediction in labels else np.zeros(len(rows))
        weight = np.ones(len(rows)) if sure is None else np.nan_to_num(sure[rows], nan=0.0)
        evidence = weight * np.maximum(own - other, 0)
        order = np.argsort(-evidence, kind="stable")
        n_label = int(groups.counts[code])
        score = float(evidence.sum() / n_label)
        low = wilson(score, n_label, ONE_SIDED)[0]
        found.append(
            LabelError(
                label=labels[code],
                prediction=prediction,
                names=names,
                inputs=_positions(acts)[rows[order]],
                evidence=evidence[order],
                score=score,
                low=low,
                n_label=n_label,
                confidence=None if sure is None else float(weight.mean()),
                own=float(own.mean()),
                other=float(other.mean()),
                strong=low > threshold,
                layer=acts.layer,
            )
        )
    found.sort(key=lambda error: (-error.score, error.names))
    return tuple(replace(error, alike=_alike(error, found)) for error in found[:n])


def _alike(error: LabelError, found: list[LabelError]) -> tuple[str, ...]:
    """Return the other labels that are strongly taken for the same class."""
    if not error.strong:
        return ()
    same = [one.names[0] for one in found if one.strong and one.names[1] == error.names[1]]
    return tuple(name for name in same if name != error.names[0])


def _pairs(
    acts: Activations, groups: Groups, known: NDArray[np.bool_], min_size: int
) -> list[tuple[int, Any, tuple[str, str], NDArray[np.int64]]]:
    """Return label (its number among the groups), prediction, names and rows of each pair that is confused."""
    predicted = acts.groups("prediction")
    right = np.asarray(acts.column("label") == acts.column("prediction"))
    rows_of = [np.flatnonzero(predicted.membership[[i]].toarray().ravel()) for i in range(len(predicted))]
    members = groups.membership.toarray().astype(bool)
    pairs = []
    for code, name in enumerate(groups.names):
        wrong = members[code] & known & ~right
        for number, rows in enumerate(rows_of):
            both = rows[wrong[rows]]
            if len(both) >= min_size:
                pairs.append((code, predicted.keys[number][0], (name, predicted.names[number]), both))
    return pairs


def _positions(acts: Activations) -> NDArray[np.int64]:
    assert acts.rows is not None  # set by its __post_init__
    return acts.rows


def _neighbour_shares(
    acts: Activations, rows: NDArray[np.int64], label: NDArray[np.int64], n_classes: int, k: int
) -> NDArray[np.float64]:
    """Return the share of each label among the neighbours of some rows, classes weighted alike."""
    out = np.zeros((len(rows), n_classes))
    if not len(rows):
        return out
    candidates = np.flatnonzero(label >= 0)
    among = label[candidates]
    unit = acts.scores_of(candidates)
    _compute.normalize_rows(unit)
    k = min(k, len(candidates) - 1)
    if k < 1:
        return out
    step = _compute.block_rows(len(candidates))
    place = np.searchsorted(candidates, rows)
    is_of = np.eye(n_classes, dtype=np.float32)[among]
    sizes = is_of.sum(axis=0, dtype=np.float64)
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        nearness = unit[place[part]] @ unit.T
        nearness[np.arange(len(nearness)), place[part]] = -np.inf
        last = np.partition(nearness, -k, axis=1)[:, -k, None]
        # inputs that are equally near share what is left of k: no order of the rows decides
        nearer, as_near = nearness > last, nearness == last
        spare = (k - nearer.sum(axis=1)) / as_near.sum(axis=1)
        counts = nearer.astype(np.float32) @ is_of + spare[:, None] * (as_near.astype(np.float32) @ is_of)
        counts /= np.maximum(sizes - is_of[place[part]], 1)  # others of each class: not the input itself
        out[part] = counts / counts.sum(axis=1, keepdims=True)
    return out
