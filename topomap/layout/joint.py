"""Layouts of several layers, or of several checkpoints of one layer, that can be read side by side."""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar, overload

import numpy as np

from topomap._check import TopomapWarning, choice, instance_of
from topomap.layout import regions
from topomap.layout.base import Layout
from topomap.layout.methods import embed
from topomap.layout.transform import check_comparable, rows_of
from topomap.similarity import Similarity

Key = TypeVar("Key", bound=Hashable)

OVER = ("layers", "checkpoints")


@overload
def embed_jointly(
    similarities: Mapping[Key, Similarity],
    over: str,
    method: Any = None,
    region: Any = None,
    seed: int = 0,
    together: bool = False,
) -> dict[Key, Layout]: ...


@overload
def embed_jointly(
    similarities: Sequence[Similarity],
    over: str,
    method: Any = None,
    region: Any = None,
    seed: int = 0,
    together: bool = False,
) -> list[Layout]: ...


def embed_jointly(
    similarities: Mapping[Any, Similarity] | Sequence[Similarity],
    over: str,
    method: Any = None,
    region: Any = None,
    seed: int = 0,
    together: bool = False,
) -> dict[Any, Layout] | list[Layout]:
    """Lay out several layers, or several checkpoints of one layer, so that their maps can be compared by place.

    Parameters
    ----------
    similarities
        A mapping from names, or a sequence, of what `correlate` returns. Layers must have been recorded over the same
        inputs, and compared by the same metric; checkpoints must be of the same neurons, the earliest first.
    over
        - ``"layers"``: neurons of all layers are rows of one table of the same inputs, which is laid out as a whole.
          Each layer then starts from its neurons' places there, and is laid out on its own: the same place means about
          the same activity in every layer.
        - ``"checkpoints"``: the last is laid out; from there backwards each starts from the one after it, and is turned
          to it, so that a neuron can be followed by eye.
    method, region, seed
        As for `embed`. The method must be able to start from another layout, unless `together`.
    together
        Make one layout of all instead, in which nothing moves. Each layer then shows its own neurons' places in the
        common layout, so that neurons nearby are alike whatever their layers, but a layer by itself need not fill the
        region. Checkpoints all have one layout, of the features of all of them side by side; what is dead at one
        checkpoint alone keeps its place there.

    Returns
    -------
    list of Layout, or dict
        As the similarities were given.

    Raises
    ------
    ValueError
        If there are none, layers (or checkpoints that are laid out together) cannot be compared feature by feature, or
        checkpoints are of different numbers of neurons.

    Examples
    --------
    >>> import numpy as np
    >>> import topomap as tm
    >>> inputs = np.random.default_rng(0).normal(size=(100, 5))
    >>> early, late = (np.random.default_rng(i).normal(size=(5, n)) for i, n in ((1, 30), (2, 20)))
    >>> layers = {"fc1": tm.correlate(inputs @ early), "fc2": tm.correlate(inputs @ late)}
    >>> embed_jointly(layers, over="layers", method="tsne")
    {'fc1': Layout(tsne: 30 neurons in a disc, seed 0), 'fc2': Layout(tsne: 20 neurons in a disc, seed 0)}
    """
    choice("over", over, OVER)
    named = isinstance(similarities, Mapping)
    given: dict[Any, Similarity] = dict(similarities if named else enumerate(similarities))  # type: ignore[arg-type]
    if not given:
        raise ValueError(f"similarities must hold at least one of the {over} to lay out; got none.")
    options = {"method": method, "region": region, "seed": seed}
    if over == "layers":
        check_comparable(_labelled(given))
        layouts = _layers(given, options, together)
    else:
        _same_neurons(given)
        layouts = _checkpoints(given, options, together)
    return layouts if named else list(layouts.values())


def _layers(given: dict[Any, Similarity], options: dict[str, Any], together: bool) -> dict[Any, Layout]:
    stacked = _combined(
        given, np.concatenate([rows_of(s) for s in given.values()]), np.concatenate([s.dead for s in given.values()])
    )
    if together:
        whole = embed(stacked, **options)
    else:
        region = regions.check("disc" if options["region"] is None else options["region"])
        with warnings.catch_warnings():
            # that a layout has no meaning is said for each layer that it is true of
            warnings.simplefilter("ignore", TopomapWarning)
            whole = embed(stacked, "spread", "disc" if region == "hull" else region, options["seed"])
    ends = np.cumsum([s.n_neurons for s in given.values()])[:-1]
    parts = zip(given.items(), np.split(whole.positions, ends), strict=True)
    if together:
        return {
            name: replace(whole, positions=part, dead=each.dead, provenance=_provenance(whole, each))
            for (name, each), part in parts
        }
    return {name: embed(each, **options, init=part) for (name, each), part in parts}


def _checkpoints(given: dict[Any, Similarity], options: dict[str, Any], together: bool) -> dict[Any, Layout]:
    if together:
        check_comparable(_labelled(given))
        beside = np.concatenate([rows_of(s) for s in given.values()], axis=1)
        beside /= np.maximum(np.linalg.norm(beside, axis=1, keepdims=True), 1e-30)
        whole = embed(_combined(given, beside, np.all([s.dead for s in given.values()], axis=0)), **options)
        return {
            name: replace(whole, dead=each.dead, provenance=_provenance(whole, each)) for name, each in given.items()
        }
    out: dict[Any, Layout] = {}
    later: Layout | None = None
    for name, each in reversed(given.items()):
        later = out[name] = embed(each, **options, init=later, align_to=later)
    return {name: out[name] for name in given}


def _combined(given: dict[Any, Similarity], features: Any, dead: Any) -> Similarity:
    first = next(iter(given.values()))
    provenance = {"joint": {str(name): dict(each.provenance) for name, each in given.items()}}
    return replace(first, features=features, dead=dead, provenance=provenance)


def _provenance(whole: Layout, each: Similarity) -> dict[str, Any]:
    return {**whole.provenance, "similarity": dict(each.provenance), "together": repr(whole)}


def _labelled(given: dict[Any, Similarity]) -> dict[str, Similarity]:
    return {f"similarities[{name!r}]": each for name, each in given.items()}


def _same_neurons(given: dict[Any, Similarity]) -> None:
    for name, each in given.items():
        instance_of(f"similarities[{name!r}]", each, Similarity, "Pass tm.correlate(acts) of each.")
    sizes = {name: each.n_neurons for name, each in given.items()}
    if len(set(sizes.values())) > 1:
        found = ", ".join(f"{name!r}: {size}" for name, size in sizes.items())
        raise ValueError(
            f"checkpoints must be of the same neurons; got {found}. Different layers go with over='layers'."
        )
