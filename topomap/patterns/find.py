"""Finding patterns: clusters of the inputs of one layer, or of many."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any, overload

from topomap._check import at_least, choice, instance_of, listing, unknown, warn, whole_number
from topomap.patterns.base import Patterns
from topomap.patterns.cluster import Clustering, cluster, predict
from topomap.patterns.scale import Raw, read
from topomap.run import Activations, Run, versions

#: Metrics that HDBSCAN finds neighbours for by trees, and so predicts new inputs with.
METRICS = ("euclidean", "manhattan", "chebyshev")
#: Products of inputs, inputs and features from which on the work takes many minutes.
SLOW = 2e12


@overload
def find_patterns(
    source: Activations,
    layer: str | None = None,
    *,
    reduce: str | None = None,
    unit: int | None = None,
    min_cluster_size: int = 5,
    min_samples: int = 5,
    cluster_selection_epsilon: float = 0.0,
    selection: str = "leaf",
    metric: str = "euclidean",
    n_components: int | None = None,
    seed: int = 0,
) -> Patterns: ...


@overload
def find_patterns(
    source: Run,
    layer: Sequence[str] | None = None,
    *,
    reduce: str | None = None,
    unit: int | None = None,
    min_cluster_size: int = 5,
    min_samples: int = 5,
    cluster_selection_epsilon: float = 0.0,
    selection: str = "leaf",
    metric: str = "euclidean",
    n_components: int | None = None,
    seed: int = 0,
) -> Any: ...


def find_patterns(
    source: Activations | Run,
    layer: str | Sequence[str] | None = None,
    *,
    reduce: str | None = None,
    unit: int | None = None,
    min_cluster_size: int = 5,
    min_samples: int = 5,
    cluster_selection_epsilon: float = 0.0,
    selection: str = "leaf",
    metric: str = "euclidean",
    n_components: int | None = None,
    seed: int = 0,
) -> Patterns | dict[str, Patterns]:
    """Cluster the inputs by what a layer makes of them: Neural Activation Patterns.

    Each unit is scaled by its largest absolute value over the inputs, and the inputs are clustered by HDBSCAN; defaults
    are those published. The number of patterns grows with the number of inputs, and much of them is noise.

    Parameters
    ----------
    source
        The activations of one layer, or a run. Rows that are places of one input are reduced here.
    layer
        With a run: a layer; or a glob, several, or None for all of them, which give one result for each.
    reduce
        ``"mean"`` (the default where it can be had), ``"mean+std"``, ``"max"``, ``"min+max"``, any other reduction that
        was recorded, or ``"none"``, which lays the places of an input side by side. Two reductions take a run that has
        both, or one that kept the places; a layer without places is taken as it is.
    unit
        Cluster by this unit alone: by its map where places were kept and no other reduction is asked for, else by its
        value.
    min_cluster_size, min_samples, cluster_selection_epsilon, selection, metric
        HDBSCAN's: the least size of a pattern, the neighbours that make an input dense, the distance below which
        patterns are not split, ``"leaf"`` or ``"eom"``, and ``"euclidean"``, ``"manhattan"`` or ``"chebyshev"``.
    n_components
        Cluster by so many principal components of the scaled values: for layers of many units, where HDBSCAN is slow.
    seed
        For the randomised principal components; HDBSCAN has no randomness.

    Returns
    -------
    Patterns or dict
        One `Patterns`, or one for each layer by its name.

    Warns
    -----
    TopomapWarning
        If there is no pattern, more than 90 % of the inputs are noise, so many inputs are identical that densities are
        infinite, or the work will take many minutes.

    Raises
    ------
    ValueError
        If what is asked for was not recorded (with the ``reduce=`` to record), values are not finite, or a parameter
        makes no sense.

    Notes
    -----
    HDBSCAN joins inputs by the largest of their distance and those to their `min_samples`-th neighbours, so that equal
    steps are common. It takes the first of them: another order of the inputs can give somewhat other patterns.

    References
    ----------
    Bäuerle, Jönsson, Ropinski 2022, "Neural Activation Patterns (NAPs): Visual Explainability of Learned Concepts",
    arXiv 2206.10611 (equation 2: the scaling).

    Examples
    --------
    >>> import numpy as np
    >>> rng = np.random.default_rng(0)
    >>> centre = rng.uniform(1, 5, (3, 8))
    >>> values = np.concatenate([c + rng.normal(0, 0.1, (20, 8)) for c in centre])
    >>> patterns = find_patterns(Activations.from_array(values, layer="fc"))
    >>> len(patterns)
    3
    >>> bool((patterns.labels[:20] == patterns.labels[0]).mean() > 0.7)
    True
    """
    instance_of("source", source, (Activations, Run), "Pass a run or the activations of a layer: run['layer'].")
    at_least("cluster_selection_epsilon", cluster_selection_epsilon, 0)
    parameters = {
        "min_cluster_size": whole_number("min_cluster_size", min_cluster_size, 2),
        "min_samples": whole_number("min_samples", min_samples, 1),
        "cluster_selection_epsilon": float(cluster_selection_epsilon),
        "selection": choice("selection", selection, ("leaf", "eom")),
        "metric": choice("metric", metric, METRICS),
        "n_components": None if n_components is None else whole_number("n_components", n_components, 1),
    }
    seed = whole_number("seed", seed, 0)
    layers = _layers(source, layer)
    found = {}
    for name in _progress(layers):
        found[name] = _one(read(source, name, reduce, unit), name, unit, parameters, seed)
    several = isinstance(source, Run) and not (isinstance(layer, str) and layer in source.layers)
    return found if several else found[layers[0]]


def _layers(source: Activations | Run, layer: str | Sequence[str] | None) -> list[str]:
    if isinstance(source, Activations):
        if layer is not None and layer != source.layer:
            raise ValueError(f"these are the activations of layer {source.layer!r}; got layer={layer!r}. Leave it out.")
        return [source.layer]
    if layer is None:
        return list(source.layers)
    chosen: dict[str, None] = {}
    for pattern in [layer] if isinstance(layer, str) else layer:
        names = [pattern] if pattern in source.layers else [n for n in source.layers if fnmatchcase(n, pattern)]
        if not names:
            raise unknown("layer", pattern, source.layers)
        chosen.update(dict.fromkeys(names))
    if not chosen:
        raise ValueError(f"layer= is empty: name at least one of {listing(source.layers)}, or leave it out for all.")
    return list(chosen)


def _progress(layers: list[str]) -> Any:
    """Go through the layers, with a bar where there are several."""
    from tqdm.auto import tqdm

    return tqdm(layers, desc="patterns", unit="layer", disable=True if len(layers) == 1 else None, leave=False, delay=1)


def _one(raw: Raw, layer: str, unit: int | None, parameters: dict[str, Any], seed: int) -> Patterns:
    dead = int(raw.acts.dead.sum())
    features, scale = raw.scale(parameters["n_components"], seed)
    n, d = features.shape
    if float(n) * n * d > SLOW:
        warn(
            f"HDBSCAN compares all pairs of {n:,} inputs over {d:,} features of layer {layer!r}: this takes many "
            "minutes. n_components=50 clusters by principal components; acts.select(n=...) takes fewer inputs.",
            stacklevel=4,
        )
    settings = {name: value for name, value in parameters.items() if name != "n_components"}
    result = cluster(features, **settings)
    patterns = Patterns(
        labels=result.labels,
        probabilities=result.probabilities,
        outlier_scores=result.outlier_scores,
        persistence=result.persistence,
        features=features,
        rows=raw.rows,
        inputs=raw.acts.inputs,
        scale=scale,
        layer=layer,
        reduce=raw.reduce,
        unit=unit,
        parameters=parameters,
        provenance={
            "parameters": {"layer": layer, "reduce": raw.reduce, "unit": unit, **parameters, "seed": seed},
            "versions": versions(),
            "n_inputs": n,
            "n_dead": dead,
            "explained": scale.explained,
            "infinite_density": result.endless,
            "recording": dict(raw.acts.provenance),
        },
        model=result,
    )
    _remark(patterns, result)
    return patterns


def _remark(patterns: Patterns, result: Clustering) -> None:
    """Say what a user should know before taking the patterns for a finding."""
    least, n = patterns.parameters["min_cluster_size"], patterns.n_rows
    where = f"layer {patterns.layer!r}"
    if not len(patterns):
        few = f"{n} inputs are too few for two of {least}" if n < 2 * least else "no two groups stand apart"
        warn(
            f"no pattern found in {where}: {few}. Take more inputs, a smaller min_cluster_size, or another reduction.",
            stacklevel=5,
        )
    elif patterns.noise > 0.9:
        warn(
            f"{100 * patterns.noise:.0f} % of the inputs of {where} are noise, in no pattern. More inputs, smaller "
            "min_samples, or fewer features (n_components=50) leave less.",
            stacklevel=5,
        )
    if len(patterns) and result.endless:
        warn(
            f"more than min_samples={patterns.parameters['min_samples']} inputs of {where} have the same features, "
            "where density is infinite: HDBSCAN then gives every pattern persistence 1 (they are sorted by size), and "
            "outlier scores are 0 or 1 around them.",
            stacklevel=5,
        )


def assign(patterns: Patterns, source: Activations | Run) -> Patterns:
    """Put new inputs into known patterns; see `Patterns.assign`."""
    instance_of("source", source, (Activations, Run), "Pass a run or the activations of the same layer.")
    if isinstance(source, Activations) and source.layer != patterns.layer:
        raise ValueError(f"the patterns are of layer {patterns.layer!r}; got activations of {source.layer!r}.")
    raw = read(source, patterns.layer, patterns.reduce, patterns.unit)
    expected = len(patterns.scale.divisor)
    if raw.values.shape[1] != expected:
        raise ValueError(
            f"the patterns were found in {expected} values per input of layer {patterns.layer!r}; "
            f"got {raw.values.shape[1]}."
        )
    model = _model(patterns)
    if len(patterns) > 0 and model.n_rows < 2 * patterns.parameters["min_samples"]:
        raise ValueError(
            f"prediction looks at {2 * patterns.parameters['min_samples']} neighbours (twice min_samples), but the "
            f"patterns were found in {model.n_rows} inputs alone."
        )
    features = patterns.scale.apply(raw.values)
    labels, probabilities, scores = predict(model, features)
    return replace(
        patterns,
        labels=labels,
        probabilities=probabilities,
        outlier_scores=scores,
        features=features,
        rows=raw.rows,
        inputs=raw.acts.inputs,
        provenance={**patterns.provenance, "assigned": raw.acts.n_rows, "recording": dict(raw.acts.provenance)},
    )


def _model(patterns: Patterns) -> Clustering:
    """Return the fitted clustering; of patterns from a run folder it is made again, which gives the same."""
    if patterns.model is not None:
        return patterns.model  # type: ignore[no-any-return]
    if "assigned" in patterns.provenance:
        raise ValueError(
            "these inputs were assigned to patterns found elsewhere, which alone can take further ones: "
            "assign to the patterns that find_patterns() returned."
        )
    settings = {name: value for name, value in patterns.parameters.items() if name != "n_components"}
    return cluster(patterns.features, **settings)
