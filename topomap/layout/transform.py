"""Places in a layout for neurons that were not laid out with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from topomap import _compute
from topomap._check import at_least, instance_of, same_length
from topomap.layout import regions
from topomap.layout.base import Layout
from topomap.similarity import Similarity

Points = NDArray[np.float64]

#: At most this share of the reference neurons is the perplexity.
_SHARE = 0.1

#: Iterations that bring a neuron to rest.
_STEPS = 100


def transform(layout: Layout, similarity: Similarity, reference: Similarity, perplexity: float = 30) -> Layout:
    """Return a layout of the similarity's neurons in the reference's; see `Layout.transform`."""
    at_least("perplexity", perplexity, 1)
    check_comparable({"similarity_of_new": similarity, "reference": reference})
    same_length("reference", reference.n_neurons, "neuron of the layout", layout.n_neurons)
    known = np.flatnonzero(~(layout.dead | reference.dead))
    live = np.flatnonzero(~similarity.dead)
    if len(live) and not len(known):
        raise ValueError("no neuron is alive in both the layout and the reference, so there is nothing to go by.")
    positions = np.empty((similarity.n_neurons, 2))
    if len(live):
        mine, theirs = rows_of(similarity)[live], rows_of(reference)[known].T

        def distances(start: int, stop: int) -> NDArray[Any]:
            products = mine[start:stop] @ theirs
            return np.asarray(np.maximum(1 - (np.abs(products) if similarity.absolute else products), 0))

        positions[live] = settle(distances, len(live), layout.positions[known], perplexity)
    positions[similarity.dead] = _dead_places(layout, int(similarity.dead.sum()))
    shape = regions.shape_of(layout.region)
    if shape is not None:
        positions = shape.clamp(positions)
    return replace(
        layout,
        positions=positions,
        dead=similarity.dead,
        params={**layout.params, "transform": {"perplexity": perplexity}},
        provenance={
            **layout.provenance,
            "transform": {"from": repr(layout), "similarity": dict(similarity.provenance)},
        },
    )


def settle(
    distances: Callable[[int, int], NDArray[Any]], n: int, places: Points, perplexity: float, name: str = "placing"
) -> Points:
    """Return the places where neurons come to rest between the neurons they resemble, shape ``(n, 2)``.

    Parameters
    ----------
    distances
        Called with start and stop: distances of new neurons to those that have places, shape
        ``(stop - start, n_places)``.
    n
        How many new neurons.
    places
        Shape ``(n_places, 2)``, at least one.
    perplexity
        Effective number of neighbours, at most a tenth of the places.
    name
        Of the progress bar.
    """
    from topomap.layout.perplexity import calibrate

    perplexity = max(1.0, min(perplexity, _SHARE * len(places)))
    k = min(len(places), max(1, int(3 * perplexity)))
    # what a neuron has of the area of an ellipse, evenly filled, of the same covariance; a share of it in one place
    area = 4 * np.pi * np.sqrt(max(0.0, float(np.linalg.det(np.cov(places.T, bias=True)))))
    spacing = np.sqrt(area / len(places))
    out = np.empty((n, 2))
    step = min(_compute.block_rows(len(places)), max(1, _compute.BLOCK_ENTRIES // (8 * k)))
    for start in tqdm(range(0, n, step), desc=name, disable=None, leave=False, delay=1):
        stop = min(start + step, n)
        block = distances(start, stop)
        nearest = np.argpartition(block, k - 1, axis=1)[:, :k]
        order = np.lexsort((nearest, np.take_along_axis(block, nearest, axis=1)), axis=1)
        nearest = np.take_along_axis(nearest, order, axis=1)
        weights = calibrate(np.take_along_axis(block, nearest, axis=1), perplexity)
        out[start:stop] = _rest(places[nearest], weights, spacing)
    return out


def _rest(places: Points, weights: Points, scale: float) -> Points:
    """Minimise ``sum_k w_k log(1 + |x - y_k|^2 / scale^2)`` from the weighted median of each coordinate."""
    at = np.column_stack([_weighted_median(places[:, :, axis], weights) for axis in range(2)])
    if scale == 0:
        return at
    for _ in range(_STEPS):
        pull = weights / (1 + ((at[:, None] - places) ** 2).sum(axis=2) / scale**2)
        at = np.einsum("nk,nka->na", pull, places) / pull.sum(axis=1, keepdims=True)
    return at


def _weighted_median(values: Points, weights: Points) -> Points:
    order = np.argsort(values, axis=1, kind="stable")
    mass = np.cumsum(np.take_along_axis(weights, order, axis=1), axis=1)
    middle = (mass >= mass[:, -1:] / 2).argmax(axis=1)
    return np.asarray(np.take_along_axis(values, order, axis=1)[np.arange(len(values)), middle])


def _dead_places(layout: Layout, n: int) -> Points:
    """Return the places of the layout's own dead, again from the first where there are more; else its bottom."""
    own = layout.positions[layout.dead]
    if len(own):
        return np.asarray(own[np.arange(n) % len(own)])
    return regions.fit(np.zeros((0, 2)), np.ones(n, dtype=bool), layout.region)


def start_from(init: Layout | Any, similarity: Similarity) -> Points:
    """Return where an algorithm starts the similarity's live neurons, shape ``(n_live, 2)``.

    Parameters
    ----------
    init
        A layout, or positions in any frame, of all the neurons. Neurons that are dead in a layout and alive now start
        among those that they resemble.
    """
    given = init.positions if isinstance(init, Layout) else np.asarray(init, dtype=np.float64)
    if given.shape != (similarity.n_neurons, 2) or not np.isfinite(given).all():
        raise ValueError(
            f"init must be a layout, or finite positions, of the same {similarity.n_neurons} neurons, dead ones "
            f"included; got shape {given.shape}{'' if np.isfinite(given).all() else ' with NaN or infinity'}. "
            "Neurons of another layer are placed by layout.transform."
        )
    live = ~np.asarray(similarity.dead)
    known = live & ~init.dead if isinstance(init, Layout) else live
    risen = np.flatnonzero(live & ~known)
    out = np.array(given)
    if len(risen) and known.any():
        others = np.flatnonzero(known)

        def distances(start: int, stop: int) -> NDArray[Any]:
            return np.concatenate([similarity.distance_block(i, i + 1)[:, others] for i in risen[start:stop]])

        out[risen] = settle(distances, len(risen), given[others], 30)
    return np.asarray(out[live])


def check_comparable(similarities: dict[str, Similarity]) -> None:
    """Raise unless the features of all similarities stand for the same inputs under the same metric."""
    for name, each in similarities.items():
        instance_of(name, each, Similarity, "Pass tm.correlate(acts) of each.")
        if each.features is None:
            raise ValueError(
                f"{name} has no features to compare its neurons with others by, only {_kind(each)}. Correlate dense "
                "recorded values (keep='values')."
            )
        if each.metric == "euclidean":
            raise ValueError(
                f"{name} is Euclidean: its features are centred over its own neurons, and cannot be compared with "
                "others. Use metric='pearson', 'spearman' or 'cosine'."
            )
    (first_name, first), *others = similarities.items()
    for name, each in others:
        kinds = [f"{'absolute ' if s.absolute else ''}{s.metric}" for s in (first, each)]
        if kinds[0] != kinds[1]:
            raise ValueError(f"{first_name} and {name} must be of one metric; got {kinds[0]} and {kinds[1]}.")
        sizes = [rows_of(s).shape[1] for s in (first, each)]
        if sizes[0] != sizes[1]:
            raise ValueError(
                f"{first_name} and {name} must be correlated over the same inputs, in the same order; got "
                f"{sizes[0]} and {sizes[1]} features."
            )


def rows_of(similarity: Similarity) -> NDArray[np.float32]:
    """Return the features of a similarity that passed `check_comparable`."""
    assert similarity.features is not None
    return similarity.features


def _kind(similarity: Similarity) -> str:
    return "the matrix of its own" if similarity.given is not None else "what is active together"
