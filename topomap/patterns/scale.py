"""From what was recorded to the features that are clustered: which values, and how they are scaled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topomap import _sparse
from topomap._check import listing
from topomap.run import ROW_REDUCTIONS, Activations, Moments, Run

#: The published reductions, and the recorded ones that each is made of.
REDUCTIONS = {"mean": ("mean",), "mean+std": ("mean", "std"), "max": ("max",), "min+max": ("min", "max"), "none": ()}
#: Statistics that can be taken of places that were kept.
_OF_PLACES = ("mean", "std", "max", "min")

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Scale:
    """What raw values are divided by, and the principal components they are projected on.

    Parameters
    ----------
    divisor
        Per raw feature, shape ``(n_raw,)``; 0 where the unit is zero throughout, and stays so.
    components, center
        Principal components, shape ``(n_components, n_raw)``, and the mean of the scaled values, or None.
    explained
        Share of the variance of the scaled values that the components keep; 1 without PCA.

    Examples
    --------
    >>> Scale(np.array([2.0, 0.0])).apply(np.array([[-1.0, 3.0]]))
    array([[-0.5,  0. ]])
    """

    divisor: Float
    components: Float | None = None
    center: Float | None = None
    explained: float = 1.0

    def apply(self, raw: Float) -> Float:
        """Turn raw values ``(n, n_raw)`` into features; the raw values are overwritten."""
        np.divide(raw, self.divisor, out=raw, where=self.divisor > 0)
        raw[:, self.divisor == 0] = 0
        if self.components is None or self.center is None:
            return raw
        raw -= self.center
        return np.asarray(raw @ self.components.T)


@dataclass(frozen=True, eq=False)
class Raw:
    """Values of one layer, one row per input, before scaling.

    Parameters
    ----------
    values
        Shape ``(n, n_parts * n_units)``: part by part (mean and deviation, say), or place by place.
    acts
        The activations that they come from.
    rows
        Position of each in the table of inputs.
    reduce
        What was done with the places; ``"none"`` where there are none, or where they lie side by side.
    n_units
        Number of units.
    """

    values: Float
    acts: Activations
    rows: NDArray[np.int64]
    reduce: str
    n_units: int

    def scale(self, n_components: int | None = None, seed: int = 0) -> tuple[Float, Scale]:
        """Scale the values as published, and project them where asked to; return features and the scale.

        Each unit is divided by its largest absolute value (over places too, where they lie side by side); the
        deviations of ``"mean+std"`` are divided by the square root of the unit's largest absolute mean.
        """
        largest = np.zeros(self.values.shape[1])
        for start in range(0, len(self.values), 1024):
            np.maximum(largest, np.abs(self.values[start : start + 1024]).max(axis=0), out=largest)
        if self.reduce == "mean+std":
            largest[self.n_units :] = np.sqrt(largest[: self.n_units])
        elif self.reduce == "none":
            largest = np.tile(largest.reshape(-1, self.n_units).max(axis=0), len(largest) // self.n_units)
        scale = Scale(largest)
        features = scale.apply(self.values)
        return (features, scale) if n_components is None else _project(features, scale, n_components, seed)


def _project(features: Float, scale: Scale, n_components: int, seed: int) -> tuple[Float, Scale]:
    most = min(features.shape)
    if n_components > most:
        raise ValueError(
            f"n_components must be at most {most}, the smaller of {features.shape[0]} inputs and {features.shape[1]} "
            f"features; got {n_components}. Leave it out to cluster the values themselves."
        )
    from sklearn.decomposition import PCA
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=1, user_api="blas"):  # the same bytes on any number of cores
        pca = PCA(n_components, random_state=seed)
        projected = pca.fit_transform(features)
    total = features.var(axis=0, ddof=1).sum()
    explained = float(pca.explained_variance_.sum() / total) if total > 0 else 1.0
    return projected, Scale(scale.divisor, pca.components_, pca.mean_, min(explained, 1.0))


def read(source: Activations | Run, layer: str, reduce: str | None, unit: int | None) -> Raw:
    """Read the values of one layer under a reduction from what was recorded.

    Raises
    ------
    ValueError
        If it was not recorded, with the ``reduce=`` to record.
    """
    records = _records(source, layer)
    reduce = _chosen(records, layer, reduce, unit)
    single = next((acts for acts in records.values() if acts.reduce == "none" and acts.places is None), None)
    if single is not None and not _several(single):  # one value per input: there is nothing to reduce
        return _together([single], "none", unit)
    if reduce in ROW_REDUCTIONS:
        raise ValueError(
            f"reduce={reduce!r} keeps several rows of each input: reduce='none' lays them side by side, and "
            f"{listing(list(REDUCTIONS)[:4])} take statistics of them."
        )
    parts = REDUCTIONS.get(reduce, (reduce,))
    if parts and all(part in records for part in parts):
        return _together([records[part] for part in parts], reduce, unit)
    places = _kept(records, shifted=reduce == "none")
    if places is None or not set(parts) <= set(_OF_PLACES):
        raise _not_recorded(source, records, layer, reduce, parts)
    return _beside(places, unit) if reduce == "none" else _of_places(places, reduce, parts, unit)


def _records(source: Activations | Run, layer: str) -> dict[str, Activations]:
    if isinstance(source, Activations):
        return {source.reduce: source}
    records: dict[str, Activations] = {}
    for reduce in source.reductions(layer):
        record = source[layer, reduce]
        if isinstance(record, Moments):
            raise ValueError(
                f"only moments of layer {layer!r} were kept: patterns need the values of single inputs. "
                "Record with keep='values'."
            )
        records[reduce] = record
    return records


def _rows(acts: Activations) -> NDArray[np.int64]:
    return np.asarray(acts.rows, dtype=np.int64)


def _several(acts: Activations) -> bool:
    """Return whether some input has several rows."""
    return bool(acts.n_rows and np.bincount(_rows(acts)).max() > 1)


def _kept(records: dict[str, Activations], shifted: bool = True) -> Activations | None:
    """Return the record that kept the places, if there is one: a shifted one (zeros moved in) if nothing else."""
    found = [acts for acts in records.values() if acts.reduce in ROW_REDUCTIONS or _several(acts)]
    found = [acts for acts in found if shifted or acts.reduce != "aligned"]
    return min(found, key=lambda acts: acts.reduce == "aligned", default=None)


def _chosen(records: dict[str, Activations], layer: str, reduce: str | None, unit: int | None) -> str:
    """Return the reduction that was asked for, or the default that what was recorded allows."""
    if reduce is not None:
        return reduce
    if unit is not None and _kept(records) is not None:
        return "none"
    if "mean" in records or _kept(records, shifted=False) is not None:
        return "mean"
    if _kept(records) is not None:
        return "none"
    if len(records) == 1:
        return next(iter(records))
    raise ValueError(f"layer {layer!r} was recorded as {listing(records)}: say which reduce= to take.")


def _not_recorded(
    source: Any, records: dict[str, Activations], layer: str, reduce: str, parts: Sequence[str]
) -> ValueError:
    have = listing(records)
    if reduce != "none" and not set(parts) <= {*_OF_PLACES, "first", "last", "random"}:
        return ValueError(f"reduce must be one of {listing(REDUCTIONS)} or one that was recorded; got {reduce!r}.")
    if reduce == "none":
        want, such = "reduce='positions' (or 'tokens')", "keeps the places of each input"
    else:
        want = f"reduce={parts[0]!r}" if len(parts) == 1 else f"reduce={list(parts)}"
        such = "has it"
    take = "" if isinstance(source, Run) else f" and pass the run: find_patterns(run, {layer!r}, reduce={reduce!r})"
    return ValueError(
        f"reduce={reduce!r} of layer {layer!r} needs a recording that {such}; it was recorded as {have}. "
        f"Record with {want}{take}."
    )


def _together(parts: Sequence[Activations], reduce: str, unit: int | None) -> Raw:
    """Lay the values of several reductions side by side."""
    first = parts[0]
    n, n_units = first.n_rows, first.n_neurons
    for acts in parts[1:]:
        if not np.array_equal(_rows(acts), _rows(first)):
            raise ValueError(f"the reductions of layer {first.layer!r} hold different inputs: select the same of each.")
    for acts in parts:
        _check(acts, unit)
    width = n_units if unit is None else 1
    values = np.empty((n, len(parts) * width))
    for k, acts in enumerate(parts):
        columns = slice(k * width, (k + 1) * width)
        for part, block in acts.blocks():
            values[part, columns] = block if unit is None else block[:, [unit]]
    return Raw(values, first, _rows(first), reduce, width)


def _check(acts: Activations, unit: int | None, n_places: int = 1) -> None:
    if acts.n_rows == 0 or acts.n_neurons == 0:
        raise ValueError(f"layer {acts.layer!r} has {acts.n_rows} rows x {acts.n_neurons} neurons: nothing to cluster.")
    if unit is not None and not (isinstance(unit, int | np.integer) and 0 <= unit < acts.n_neurons):
        raise ValueError(f"unit of layer {acts.layer!r} must be one of 0 to {acts.n_neurons - 1}; got {unit!r}.")
    if acts.sparse and unit is None:
        n_rows = acts.n_rows // n_places
        way_out = "Take fewer inputs: acts.select(n=...)."
        _sparse.refuse_dense("the features of sparse values", n_rows, n_places * acts.n_neurons, way_out)
    acts.dead  # noqa: B018  (says so where there is NaN)


def _of_places(acts: Activations, reduce: str, parts: Sequence[str], unit: int | None) -> Raw:
    """Take statistics over the places of each input."""
    _check(acts, unit)
    rows, inverse, counts = np.unique(_rows(acts), return_inverse=True, return_counts=True)
    width = acts.n_neurons if unit is None else 1
    values = np.zeros((len(rows), len(parts) * width))
    of = {part: values[:, k * width : (k + 1) * width] for k, part in enumerate(parts)}
    mean = of.get("mean", np.zeros((len(rows), width)) if "std" in of else None)
    for part, low in (("max", -np.inf), ("min", np.inf)):
        if part in of:
            of[part][:] = low
    for some, block in acts.blocks():
        block, where = _units(block, unit), inverse[some]
        if mean is not None:
            np.add.at(mean, where, block)
        if "max" in of:
            np.maximum.at(of["max"], where, block)
        if "min" in of:
            np.minimum.at(of["min"], where, block)
    if mean is not None:
        mean /= counts[:, None]
    if "std" in of and mean is not None:
        for some, block in acts.blocks():
            np.add.at(of["std"], inverse[some], (_units(block, unit) - mean[inverse[some]]) ** 2)
        of["std"][:] = np.sqrt(of["std"] / counts[:, None])
    return Raw(values, acts, rows, reduce, width)


def _units(block: NDArray[Any], unit: int | None) -> Float:
    return np.asarray(block if unit is None else block[:, [unit]], dtype=np.float64)


def _beside(acts: Activations, unit: int | None) -> Raw:
    """Lay the places of each input side by side, in one order for all."""
    rows, counts = np.unique(_rows(acts), return_counts=True)
    n_places = int(counts.max()) if len(counts) else 0
    if len(counts) and counts.min() != n_places:
        raise ValueError(
            f"inputs of layer {acts.layer!r} have from {counts.min()} to {n_places} places: reduce='none' lays them "
            "side by side, which takes equally many. Reduce them: reduce='mean'."
        )
    _check(acts, unit, n_places)
    places = np.arange(acts.n_rows)[:, None] if acts.places is None else acts.places
    order = np.lexsort((*places.T[::-1], _rows(acts)))
    if acts.places is not None and (places[order].reshape(len(rows), n_places, -1) != places[order][:n_places]).any():
        raise ValueError(
            f"inputs of layer {acts.layer!r} have different places, which reduce='none' cannot lay side by side. "
            "Reduce them: reduce='mean'."
        )
    target = np.empty(acts.n_rows, dtype=np.int64)
    target[order] = np.arange(acts.n_rows)
    width = acts.n_neurons if unit is None else 1
    values = np.empty((acts.n_rows, width))
    for part, block in acts.blocks():
        values[target[part]] = _units(block, unit)
    return Raw(values.reshape(len(rows), n_places * width), acts, rows, "none", width)
