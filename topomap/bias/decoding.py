"""Decoding a group from a layer, within classes: what is read, folds, fits and scores of a probe."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from topomap import _sparse
from topomap._check import instance_of
from topomap.bias.permute import Shuffle, blocks_of
from topomap.bias.sample import Sample
from topomap.run import Activations, Run, take_rows

Float = NDArray[np.float64]
Int = NDArray[np.int64]

#: Largest matrix, by its shorter side, whose principal components are computed exactly.
_EXACT = 400


@dataclass(frozen=True, eq=False)
class Design:
    """What does not depend on the layer: who is decoded, in which folds, and which labels may change places.

    Parameters
    ----------
    rows
        Positions in the sample, shape ``(n_rows,)``.
    classes
        The class of each row, codes that all occur.
    fold
        The fold of each row.
    unit_of
        The unit of each row.
    shuffle
        The groups of the units, which change places within fold and block: all folds keep the same numbers of units of
        each group and class.
    allowed
        Which groups occur in which class, shape ``(n_classes, n_groups)``.
    cv
        Number of folds.
    """

    rows: Int
    classes: Int
    fold: Int
    unit_of: Int
    shuffle: Shuffle
    allowed: NDArray[np.bool_]
    cv: int

    @classmethod
    def of(cls, sample: Sample, cv: int, seed: int) -> tuple[Design, tuple[str, ...]]:
        """Deal units to folds; return the design, and the classes in which no two groups have two units each."""
        group = sample.member.argmax(axis=0)
        n_groups, n_classes = len(sample.names), len(sample.class_names)
        seen = np.unique(np.stack([group, sample.classes, sample.unit_of]), axis=1)
        n_units = np.zeros((n_classes, n_groups), dtype=np.int64)
        np.add.at(n_units, (seen[1], seen[0]), 1)
        allowed = n_units >= 2  # one to learn from and one to be judged on
        allowed &= allowed.sum(axis=1, keepdims=True) >= 2
        untested = tuple(sample.class_names[c] for c in np.flatnonzero(~allowed.any(axis=1)))
        rows = np.flatnonzero(allowed[sample.classes, group])
        tested, classes = np.unique(sample.classes[rows], return_inverse=True)
        _, first, unit_of = np.unique(sample.unit_of[rows], return_index=True, return_inverse=True)
        classes, unit_of = classes.ravel().astype(np.int64), unit_of.ravel().astype(np.int64)
        codes = group[rows][first].astype(np.int64)
        blocks = blocks_of(unit_of, classes, len(first))
        fold = _deal(codes, blocks, np.bincount(unit_of, minlength=len(first)), cv, seed)
        shuffle = Shuffle(codes, np.unique(blocks * cv + fold, return_inverse=True)[1].ravel().astype(np.int64))
        return cls(rows, classes, fold[unit_of], unit_of, shuffle, allowed[tested], cv), untested

    def score(self, hits: Float, labels: Int) -> float:
        """Return balanced accuracy within classes: the mean over groups of the share that is right, over classes.

        Classes have the weights ``1 / sum_g (1 / n_gc)``, for two groups ``n_a n_b / (n_a + n_b)``.
        """
        counts, right = self._count(labels), self._count(labels, hits)
        present = counts > 0
        usable = present.sum(axis=1) > 1
        share = np.divide(right, counts, out=np.zeros_like(right), where=present)
        per_class = share.sum(axis=1) / np.maximum(present.sum(axis=1), 1)
        weight = np.where(usable, 1 / np.maximum(_inverse(counts).sum(axis=1), 1e-12), 0)
        return float(weight @ per_class / weight.sum()) if usable.any() else float("nan")

    def chance(self) -> float:
        """Return the expected score of a probe that knows nothing."""
        counts = self._count(self.shuffle.codes[self.unit_of])
        weight = 1 / np.maximum(_inverse(counts).sum(axis=1), 1e-12)
        return float(weight @ (1 / self.allowed.sum(axis=1)) / weight.sum())

    def of_fold(self, hits: Float, labels: Int, fold: int) -> float | None:
        """Return the score of one fold, over the classes of which it has every group; None where it has none."""
        at = self.fold == fold
        counts = self._count(labels, at.astype(float))
        whole = ((counts > 0) == self.allowed).all(axis=1)
        if not whole.any():
            return None
        right = self._count(labels, hits * at)[whole]
        counts = counts[whole]
        per_class = (right / np.maximum(counts, 1)).sum(axis=1) / self.allowed[whole].sum(axis=1)
        weight = 1 / _inverse(counts).sum(axis=1)
        return float(weight @ per_class / weight.sum())

    def _count(self, labels: Int, weights: Float | None = None) -> Float:
        n_classes, n_groups = self.allowed.shape
        cell = self.classes * n_groups + labels
        return np.bincount(cell, weights, n_classes * n_groups).reshape(n_classes, n_groups).astype(float)


def decode(
    values: NDArray[Any], design: Design, labellings: Int, n_components: int | None, seed: int
) -> Iterator[Float]:
    """Yield for each fold which of its rows are decoded right, for each labelling: shape ``(n_labellings, n_rows)``.

    What needs no label is done once per fold. Rows of other folds are 0.
    """
    for fold in range(design.cv):
        test = design.fold == fold
        hits = np.zeros((len(labellings), len(values)))
        if test.any() and not test.all():
            train = ~test
            learn, judge = _components(values, design.classes, train, n_components, seed)
            for i, units in enumerate(labellings):
                labels = units[design.unit_of]
                said = _said(learn, judge, labels[train], design.classes[train], design.classes[test], design.allowed)
                hits[i, test] = said == labels[test]
        yield hits


def _components(
    values: NDArray[Any], classes: Int, train: NDArray[np.bool_], n_components: int | None, seed: int
) -> tuple[Float, Float]:
    """Standardise, take classes' means away, and rotate to principal components; all learnt from training rows."""
    learn, judge = values[train].astype(np.float32), values[~train].astype(np.float32)
    mean, scale = learn.mean(axis=0, dtype=np.float64), learn.std(axis=0, dtype=np.float64)
    inverse = np.where(scale > 1e-6 * np.maximum(np.abs(mean), 1e-30), 1 / np.where(scale > 0, scale, 1), 0)
    learn = ((learn - mean) * inverse).astype(np.float32)
    judge = ((judge - mean) * inverse).astype(np.float32)
    n_classes = int(classes.max()) + 1
    counts = np.bincount(classes[train], minlength=n_classes)
    means = np.zeros((n_classes, learn.shape[1]), dtype=np.float32)
    for c in np.flatnonzero(counts):
        means[c] = learn[classes[train] == c].mean(axis=0)
    learn -= means[classes[train]]
    judge -= means[classes[~train]]
    k = min(*learn.shape, n_components or max(learn.shape))
    if min(learn.shape) <= _EXACT or k > min(learn.shape) // 2:
        axes = np.linalg.svd(learn, full_matrices=False)[2][:k]
    else:
        from sklearn.utils.extmath import randomized_svd

        axes = randomized_svd(learn, k, n_iter=4, random_state=seed)[2]
    return (learn @ axes.T).astype(np.float64), (judge @ axes.T).astype(np.float64)


def _said(learn: Float, judge: Float, labels: Int, of_learn: Int, of_judge: Int, allowed: NDArray[np.bool_]) -> Int:
    """Fit a logistic regression; return the group that it gives each row that is judged."""
    from sklearn.linear_model import LogisticRegression

    n_classes, n_groups = allowed.shape
    cell = of_learn * n_groups + labels
    counts = np.bincount(cell, minlength=n_classes * n_groups).reshape(n_classes, n_groups)
    is_of = sparse.csr_array((np.ones(len(cell)), (cell, np.arange(len(cell)))), shape=(counts.size, len(cell)))
    sums = is_of @ learn
    means = sums.reshape(n_classes, n_groups, -1) / np.maximum(counts, 1)[..., None]
    present = counts > 0
    # halfway between the groups, however many inputs each has: the same threshold then serves in every class
    centre = (means * present[..., None]).sum(axis=1) / np.maximum(present.sum(axis=1), 1)[:, None]
    weight = 1 / np.maximum(_inverse(counts).sum(axis=1), 1e-12)[:, None] * _inverse(counts)
    weight[present.sum(axis=1) < 2] = 0
    used = weight[of_learn, labels]
    known, codes = np.unique(labels[used > 0], return_inverse=True)
    if len(known) < 2 or not learn.any():
        return np.asarray(allowed[of_judge].argmax(axis=1), dtype=np.int64)  # nothing known: always the same group
    kept = used > 0
    model = LogisticRegression(solver="newton-cholesky" if len(known) == 2 else "lbfgs", max_iter=200, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # where it stopped is a probe too, and the same for every labelling
        model.fit((learn - centre[of_learn])[kept], codes.ravel(), sample_weight=used[kept] / used[kept].mean())
    decision = model.decision_function(judge - centre[of_judge])
    if len(known) == 2:
        decision = np.stack([-decision, decision], axis=1)
    full = np.full((len(judge), n_groups), -np.inf)
    full[:, known] = decision
    full[~allowed[of_judge]] = -np.inf
    return np.asarray(full.argmax(axis=1), dtype=np.int64)


def _inverse(counts: NDArray[Any]) -> Float:
    return np.asarray(np.divide(1.0, counts, out=np.zeros(counts.shape), where=counts > 0))


def _deal(codes: Int, blocks: Int, sizes: Int, cv: int, seed: int) -> Int:
    """Deal units to folds in turn, group by group within each block, large ones first."""
    rng = np.random.default_rng([seed, 1])
    shuffled = rng.permutation(len(codes))
    order = shuffled[np.lexsort((-sizes[shuffled], codes[shuffled], blocks[shuffled]))]
    fold = np.empty(len(codes), dtype=np.int64)
    fold[order] = np.arange(len(codes)) % cv
    return fold


def records_of(source: Any, layers: Any) -> Iterator[tuple[str, Any, Activations]]:
    """Yield layer, step and activations with one row per input."""
    if isinstance(source, Activations):
        if layers is not None:
            raise ValueError("layers= chooses among those of a run; these are the activations of one: leave it out.")
        yield source.layer, None, source.per_input()
        return
    if isinstance(source, Run) and source.steps:
        source = {step: source.at(step) for step in source.steps}
    if isinstance(source, Run):
        if layers is None:
            chosen = [key for key in source if isinstance(source[key], Activations)]
            if not chosen:
                raise ValueError("the run kept no values of single inputs, which a probe needs: record keep='values'.")
        else:
            chosen = [layers] if isinstance(layers, str) else list(layers)
        for key in chosen:
            acts = source[key]
            instance_of(f"layer {key!r}", acts, Activations, "A probe needs single inputs: record keep='values'.")
            assert isinstance(acts, Activations)
            yield key if isinstance(key, str) else ", ".join(key), None, acts.per_input()
        return
    instance_of("source", source, Mapping, "Pass run['layer'], a run, or a mapping from steps to either.")
    if not source:
        raise ValueError("the mapping from steps holds nothing: expected Activations or a Run for each step.")
    for step, each in source.items():
        instance_of(f"step {step!r}", each, (Activations, Run), "Pass run['layer'], or a run, for each step.")
        for layer, _, acts in records_of(each, layers):
            yield layer, step, acts


def common_inputs(records: list[tuple[str, Any, Activations]]) -> NDArray[np.int64]:
    """Return the positions of the inputs that every record has a row of."""
    first = records[0][2]
    common = np.asarray(first.rows)
    for layer, step, acts in records[1:]:
        if acts.inputs is not first.inputs and not np.array_equal(acts.inputs.ids, first.inputs.ids):
            where = f"layer {layer!r}" if step is None else f"layer {layer!r} at step {step!r}"
            raise ValueError(
                f"{where} was recorded of other inputs than {records[0][0]!r}: a curve compares the same ones."
            )
        common = np.intersect1d(common, np.asarray(acts.rows))
    if not len(common):
        raise ValueError("no input has a row in every layer: decode layers one by one.")
    return np.sort(common)


def values_of(acts: Activations, positions: NDArray[np.int64]) -> NDArray[Any]:
    """Return the values of inputs, shape ``(n, n_neurons)``."""
    rows = np.asarray(acts.rows)
    order = np.argsort(rows)
    at = order[np.searchsorted(rows, positions, sorter=order)]
    values = take_rows(acts.values, at)
    if acts.sparse:
        _sparse.refuse_dense("the values of these inputs", len(at), acts.n_neurons, "Take fewer: acts.select(n=...).")
        values = values.toarray()
    values = np.asarray(values)
    if not np.isfinite(values).all():
        raise ValueError(f"layer {acts.layer!r} has NaN or infinite values; record with nonfinite='mask'.")
    return values
