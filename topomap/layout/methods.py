"""The methods by name, chains of them, and embed()."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import at_least, choice, instance_of, listing, same_length, unknown, warn
from topomap.layout import regions
from topomap.layout.base import Algorithm, Layout, Points
from topomap.layout.forces import Force, Graph, Swarm
from topomap.layout.neighbors import TSNE, UMAP
from topomap.layout.regions import Region
from topomap.layout.som import SOM
from topomap.layout.som_batch import BatchSOM
from topomap.layout.spectral import MDS, PCA, Random
from topomap.layout.spread import Spread
from topomap.layout.transform import start_from
from topomap.run import versions
from topomap.similarity import Similarity

METHODS: Mapping[str, Any] = {
    "spread": Spread,
    "random": Random,
    "pca": PCA,
    "mds": MDS,
    "umap": UMAP,
    "tsne": TSNE,
    "som": SOM,
    "som-batch": BatchSOM,
    "force": Force,
    "graph": Graph,
    "swarm": Swarm,
}

PRESETS = ("krug2023",)

#: Fewest live neurons that any method can arrange.
FEWEST = 4

#: Distances below this are rounding: neurons that are the same.
_SAME = 5e-6

Method = str | Algorithm | Sequence[Any] | Any


def embed(
    similarity: Similarity,
    method: Method | None = None,
    region: str | Region | NDArray[np.bool_] | None = None,
    seed: int = 0,
    preset: str | None = None,
    init: Layout | NDArray[Any] | None = None,
    align_to: Layout | None = None,
) -> Layout:
    """Lay the neurons out in the plane, similar ones close together.

    Parameters
    ----------
    similarity
        From `correlate`.
    method
        - a name: ``"spread"`` (the default), which fills the region evenly; ``"tsne"`` and ``"umap"``, free layouts
          whose gaps mean something; ``"random"``, ``"pca"``, ``"mds"``, ``"som"``, ``"som-batch"``, ``"force"``,
          ``"graph"``, ``"swarm"``;
        - a chain such as ``"umap+spread"``, whose later steps start from the earlier;
        - an instance with parameters, ``topomap.layout.TSNE(perplexity=10)``, or a sequence of them as a chain;
        - any object with scikit-learn's ``fit_transform`` (or ``fit``, as ``openTSNE.TSNE()``). It is given the
          features, or the distances if its ``metric`` is ``"precomputed"``, and a seed if its ``random_state`` is None.
    region
        What the neurons are scaled to fill: ``"disc"`` (the default), ``"square"`` (each axis on its own),
        ``"hexagon"``, a mask (a 2-D boolean array of any shape, True inside, the first row at the top) or ``"hull"``
        (their own outline, in the frame; not with ``"spread"``). A free layout is drawn into a hexagon or a mask about
        its deepest place, at the largest size at which all neurons lie inside.
    seed
        The same seed gives the same bytes on the same machine. Global random states are left as they are.
    preset
        ``"krug2023"``: the recommendation of Krug et al. (2023), ``"umap+swarm"`` in a ``"square"``, each axis
        scaled by its smallest and largest coordinate. Any method or region that is given goes first. The paper says
        nothing of dead neurons; they are set apart as always.
    init
        Where to start instead of at the method's own start: a layout, or positions of shape ``(n_neurons, 2)``, of the
        same neurons, such as another checkpoint's. What is similar enough stays near its place; ``"spread"`` then moves
        neurons within about an eighth of the region. Not for methods that have no start (``"pca"``, ``"random"``, given
        objects).
    align_to
        A layout of the same neurons to turn the finished one to, as by `Layout.align_to`. It changes no distances.

    Returns
    -------
    Layout
        Dead neurons lie along the bottom of the region, apart from the live ones, unless it was turned.

    Warns
    -----
    TopomapWarning
        If a layout has no meaning, or little: all neurons dead, fewer than four alive, all live ones the same, or
        copies of two or three.

    Raises
    ------
    ValueError
        If what is given is no similarity, a name is unknown, the seed is negative, a later step of a chain (or the
        first, with `init`) cannot start from another layout, a given object returns no finite positions, or `init` or
        `align_to` is of other neurons.

    Examples
    --------
    >>> import numpy as np
    >>> import topomap as tm
    >>> values = np.random.default_rng(0).normal(size=(100, 20))
    >>> tm.embed(tm.correlate(values), method="pca")
    Layout(pca: 20 neurons in a disc, seed 0)
    """
    instance_of("similarity", similarity, Similarity, "embed takes a Similarity: tm.embed(tm.correlate(acts)).")
    instance_of("seed", seed, (int, np.integer), "A layout is repeated by its seed, a whole number from 0.")
    at_least("seed", seed, 0)
    if preset is not None:
        choice("preset", preset, PRESETS)
    method = method if method is not None else "spread" if preset is None else "umap+swarm"
    region = region if region is not None else "disc" if preset is None else "square"
    region = regions.check(region)
    dead = np.asarray(similarity.dead, dtype=bool)
    steps = [(name, _bound(step, region, int(dead.sum()))) for name, step in _steps(method, warm=init is not None)]
    start = None if init is None else start_from(init, similarity)
    if align_to is not None:
        instance_of("align_to", align_to, Layout, "Pass a layout of the same neurons.")
        same_length("align_to", align_to.n_neurons, "neuron of the similarity", len(dead))
    rng = np.random.default_rng(seed)
    n = int((~dead).sum())
    live = similarity.take(np.flatnonzero(~dead)) if dead.any() else similarity
    last = None
    if n < FEWEST:
        way_out = "Lay out another layer" if n == len(dead) else "Record more inputs or another layer"
        warn(f"{_too_few(n, len(dead))}: the layout has no meaning. {way_out}.")
        positions = regions.sunflower(n)
    elif (kinds := _kinds(live)) == 1:
        warn(f"all {n} live neurons are the same: the layout has no meaning. Record more, and more varied, inputs.")
        positions = regions.sunflower(n)
    else:
        if kinds < FEWEST:
            warn(
                f"as they are compared, the {n} live neurons are copies of only {kinds}: which lie together has a "
                "meaning, how they lie has none. Compare them over more, and more varied, inputs or groups."
            )
        positions = _run(steps, live, rng, start)
        last = steps[-1][1]
    layout = Layout(
        positions=_place(positions, dead, region, last),
        region=region,
        method="+".join(name for name, _ in steps),
        dead=dead,
        params={"steps": [{"name": name, **_parameters(step)} for name, step in steps]},
        seed=int(seed),
        provenance={
            "similarity": dict(similarity.provenance),
            "metric": similarity.metric,
            "absolute": similarity.absolute,
            "preset": preset,
            "init": repr(init) if isinstance(init, Layout) else "positions" if init is not None else None,
            "versions": versions(),
        },
    )
    return layout if align_to is None else layout.align_to(align_to)


@dataclass(frozen=True)
class FitTransform:
    """An object with scikit-learn's ``fit_transform``, or only ``fit``, as an algorithm."""

    estimator: Any
    chains = False

    def __call__(self, similarity: Similarity, init: Points | None, rng: np.random.Generator) -> Points:
        """Return positions, shape ``(n, 2)``."""
        estimator = self.estimator
        if "precomputed" in (getattr(estimator, "metric", None), getattr(estimator, "dissimilarity", None)):
            data = similarity.distance()
        elif similarity.features is not None and not similarity.absolute:
            data = similarity.features
        else:
            raise ValueError(
                f"{type(estimator).__name__} needs features, but this similarity is known by its distances alone; "
                "make it with metric='precomputed'."
            )
        if getattr(estimator, "random_state", 0) is None and hasattr(estimator, "set_params"):
            from sklearn.base import clone

            # None would draw from NumPy's global state; a copy leaves the user's object as it was
            estimator = clone(estimator).set_params(random_state=int(rng.integers(2**31 - 1)))
        fit = estimator.fit_transform if hasattr(estimator, "fit_transform") else estimator.fit
        return np.array(fit(data), dtype=np.float64)


def _run(
    steps: list[tuple[str, Any]], similarity: Similarity, rng: np.random.Generator, start: Points | None
) -> Points:
    positions = start
    for name, step in steps:
        with _same_random_states():
            positions = np.asarray(step(similarity, positions, rng), dtype=np.float64)
        expected = f"{name} must return finite positions of shape {(similarity.n_neurons, 2)}; got"
        if positions.shape != (similarity.n_neurons, 2):
            raise ValueError(f"{expected} shape {positions.shape}.")
        if not np.isfinite(positions).all():
            wrong = int((~np.isfinite(positions).all(axis=1)).sum())
            raise ValueError(f"{expected} NaN or infinity for {wrong} neurons.")
    assert positions is not None
    return positions


@contextmanager
def _same_random_states() -> Iterator[None]:
    """Put the global random states back: importing umap-learn draws from Python's, a given object may from NumPy's."""
    python, legacy = random.getstate(), np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002


def _steps(method: Method, warm: bool = False) -> list[tuple[str, Any]]:
    """Return names and algorithms of a method in any of its spellings."""
    given = method if isinstance(method, list | tuple) else [method]
    parts = [step for part in given for step in (part.split("+") if isinstance(part, str) else [part])]
    steps = [_step(part) for part in parts]
    if not steps:
        raise ValueError("method must name at least one algorithm; got none.")
    for place, (name, step) in enumerate(steps):
        if not getattr(step, "chains", True) and (place or warm):
            way_out = "put it first in the chain" if place else "it takes no init; use another method"
            raise ValueError(f"{name} does not start from another layout: {way_out}.")
    return steps


def _step(part: Any) -> tuple[str, Any]:
    if isinstance(part, str):
        return part.strip(), METHODS[choice("method", part.strip(), tuple(METHODS))]()
    if isinstance(part, type):
        raise ValueError(f"method must be an instance; got the class {part.__name__}. Pass {part.__name__}().")
    if hasattr(part, "fit_transform") or hasattr(part, "fit"):
        return type(part).__name__.lower(), FitTransform(part)
    if callable(part):
        return getattr(part, "__name__", type(part).__name__).lower(), part
    raise unknown("method", part, tuple(METHODS))


def _bound(step: Any, region: str | Region, n_dead: int) -> Any:
    """Tell a filled layout what it fills, and how many sites the dead neurons take."""
    if not isinstance(step, Spread):
        return step
    if region == "hull":
        raise ValueError(f"'spread' fills a {listing(regions.SHAPES)} or a mask; got region='hull'.")
    return replace(step, region=region, spare=n_dead)


def _place(positions: Points, dead: NDArray[np.bool_], region: str | Region, last: Any) -> Points:
    """Put live and dead neurons into the region; a filled layout is there already."""
    if not isinstance(last, Spread):
        return regions.fit(positions, dead, region)
    placed = np.empty((len(dead), 2))
    placed[~dead] = positions
    placed[dead] = last.spare_positions(len(positions))
    return placed


def _parameters(step: Any) -> dict[str, Any]:
    if isinstance(step, FitTransform):
        parameters: dict[str, Any] = getattr(step.estimator, "get_params", dict)()
        return {key: value for key, value in parameters.items() if isinstance(value, str | int | float | bool | None)}
    return {f.name: getattr(step, f.name) for f in fields(step)} if is_dataclass(step) else {}


def _too_few(n_live: int, n: int) -> str:
    if n_live == 0:
        return "all neurons are dead (they never vary)"
    if n_live < n:
        return f"only {n_live} of {n} neurons {'varies' if n_live == 1 else 'vary'}, fewer than {FEWEST}"
    return f"the layer has only {n} neuron{'' if n == 1 else 's'}, fewer than {FEWEST}"


def _kinds(similarity: Similarity) -> int:
    """Count neurons that differ from each other, up to `FEWEST`."""
    size = 1.0
    if similarity.metric == "euclidean":
        size = float(np.abs(similarity.features).max()) if similarity.features is not None else 0.0
    left = np.ones(similarity.n_neurons, dtype=bool)
    kinds = 0
    while left.any() and kinds < FEWEST:
        first = int(left.argmax())
        left &= similarity.distance_block(first, first + 1)[0] > _SAME * size
        left[first] = False
        kinds += 1
    return kinds
