"""compare_layouts(): every method on one layer."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import TopomapWarning, choice, same_length, warn, whole_number
from topomap.layout import embed, regions
from topomap.layout.methods import METHODS
from topomap.layout.regions import Region
from topomap.profiles import Profiles
from topomap.quality.comparison import Comparison, Trial
from topomap.quality.measure import measure_layout
from topomap.quality.smoothness import measure_smoothness
from topomap.quality.stability import Stability, measure_stability
from topomap.run import Activations
from topomap.similarity import Similarity, correlate

#: The chains of Krug et al. (2023), which calls the swarm PSO; that from random positions adds nothing to the swarm.
CHAINS = ("pca+swarm", "tsne+swarm", "umap+swarm", "som+swarm", "graph+swarm")

#: Above this many live neurons a step takes over a minute on two cores, and what has it is run only if it is named.
MOST = {"som": 1_024, "swarm": 2_048, "mds": 4_096, "graph": 4_096, "force": 8_192, "som-batch": 8_192}

#: Neurons of the layout that is made before the clock runs: libraries are loaded and compiled by it.
_WARM = 40


def compare_layouts(
    acts: Activations | Similarity,
    profiles: Profiles | None = None,
    methods: Sequence[Any] | Mapping[str, Any] | None = None,
    region: str | Region | NDArray[np.bool_] = "disc",
    n: int = 3,
    seed: int = 0,
    k: int = 10,
    stability: bool = False,
    metric: str = "pearson",
    absolute: bool = False,
    progress: bool = True,
) -> Comparison:
    """Lay one layer out by several methods, several times each, and measure all layouts alike.

    Parameters
    ----------
    acts
        Activations, or the similarity of the neurons.
    profiles
        Of the same neurons, for what is measured on group maps: `Quality.moran` and `Quality.blobs`, and `Smoothness`.
    methods
        As for `embed`, each; a mapping gives them names of one's own. By default all methods by name and the chains of
        Krug et al. (2023). Of these, methods that take over a minute for a layout of this many neurons are left
        out, and so are those that cannot fill the region; `Comparison.left_out` says why. A named one is always run.
    region
        As for `embed`.
    n
        Repetitions of each method, with seeds ``seed``, ``seed + 1``, ...
    seed
        The first seed.
    k
        Neighbours to look at.
    stability
        Whether to lay out `n` bootstrap samples of the inputs too (at least 2), for `Comparison.stability`; takes
        activations, and as long again.
    metric, absolute
        As for `correlate`; not used for a similarity.
    progress
        Show a bar where standard error is a terminal.

    Returns
    -------
    Comparison
        Of what was done so far, with a warning, if Ctrl-C stops it after the first layout.

    Warns
    -----
    TopomapWarning
        If it was interrupted.

    Raises
    ------
    ValueError
        If a name is unknown or given twice, profiles are of other neurons, ``n < 1``, stability is asked of a
        similarity, or every method failed.

    Notes
    -----
    A method that fails, for an input sample too, is named in `Comparison.failed` with its reason; the others go on.
    `Trial.seconds` is the time of `embed` alone: similarity and measures are not in it, and libraries were loaded and
    compiled before.

    All layouts are brought into the same region, but free ones leave parts of it empty, which `Smoothness` sees as
    black: see `measure_smoothness`. In a ``"hull"`` each layout has an outline of its own, and smoothness is not
    measured.

    References
    ----------
    Krug et al. (2023), doi 10.3233/FAIA230080, compare layouts so, by `Smoothness` alone.

    Examples
    --------
    >>> import numpy as np
    >>> import topomap as tm
    >>> similarity = tm.correlate(np.random.default_rng(0).normal(size=(100, 30)))
    >>> comparison = tm.compare_layouts(similarity, methods=["pca", "random"], n=1)
    >>> comparison.best("trustworthiness")
    ('pca',)
    """
    whole_number("n", n, 1)
    whole_number("seed", seed, 0)
    whole_number("k", k, 1)
    if stability and not isinstance(acts, Activations):
        raise ValueError(
            "stability draws inputs anew: pass the activations instead of a similarity, or stability=False."
        )
    shape = regions.check(region)
    similarity = acts if isinstance(acts, Similarity) else correlate(acts, metric, absolute)
    if profiles is not None:
        same_length("profiles", profiles.n_neurons, "neuron", similarity.n_neurons)
    live = np.flatnonzero(~np.asarray(similarity.dead, dtype=bool))
    chosen, left_out = _choose(methods, len(live), shape)
    run = _Run(similarity, profiles, shape, k, progress)
    failed: dict[str, str] = {}
    found: dict[str, Stability] = {}
    interrupted = False
    try:
        run.all(chosen, range(seed, seed + n), failed)
        if stability:
            assert isinstance(acts, Activations)  # checked above
            for name, method in chosen.items():
                if name not in failed:
                    try:
                        found[name] = measure_stability(
                            acts, method, shape, max(n, 2), "inputs", seed, metric, absolute, progress
                        )
                    except Exception as error:  # one method must not end the others
                        failed[name] = f"stability: {_reason(error)}"
    except KeyboardInterrupt:
        if not run.trials:
            raise
        interrupted = True
        done = {trial.method for trial in run.trials}
        left_out |= {name: "interrupted" for name in chosen if name not in done and name not in failed}
        warn(f"interrupted: the comparison holds the {len(run.trials)} layouts made so far.")
    if not run.trials:
        reasons = "; ".join(f"{name}: {why}" for name, why in failed.items())
        raise ValueError(f"no method could lay the neurons out. {reasons}")
    order = [name for name in chosen if any(trial.method == name for trial in run.trials)]
    trials = sorted(run.trials, key=lambda trial: order.index(trial.method))  # seeds stay in order
    layer = str(similarity.provenance.get("layer", ""))
    return Comparison(tuple(trials), tuple(order), left_out, failed, found, similarity.metric, layer, interrupted)


class _Run:
    """What all layouts have in common, and the trials so far."""

    def __init__(
        self, similarity: Similarity, profiles: Profiles | None, region: str | Region, k: int, progress: bool
    ) -> None:
        self.similarity, self.profiles, self.region, self.k = similarity, profiles, region, k
        self.progress = progress
        self.trials: list[Trial] = []

    def all(self, methods: Mapping[str, Any], seeds: Iterable[int], failed: dict[str, str]) -> None:
        """Run all methods with one seed after the other, so that an interrupted comparison has all methods."""
        from tqdm.auto import tqdm

        seeds = list(seeds)
        with tqdm(total=len(seeds) * len(methods), unit="layout", disable=None if self.progress else True) as bar:
            for each in seeds:
                for name, method in methods.items():
                    bar.set_description(name)
                    if name not in failed:
                        try:
                            if each == seeds[0]:
                                self._warm(method)
                            self.trials.append(self._trial(name, method, each))
                        except Exception as error:  # one method must not end the others
                            failed[name] = f"seed {each}: {_reason(error)}"
                    bar.update()

    def _warm(self, method: Any) -> None:
        live = np.flatnonzero(~np.asarray(self.similarity.dead, dtype=bool))[:_WARM]
        with suppress(Exception), warnings.catch_warnings():  # the layout proper says what is wrong
            warnings.simplefilter("ignore", TopomapWarning)
            embed(self.similarity.take(live), method=method, region=self.region)

    def _trial(self, name: str, method: Any, seed: int) -> Trial:
        start = time.perf_counter()
        layout = embed(self.similarity, method=method, region=self.region, seed=seed)
        seconds = time.perf_counter() - start
        # always the same sample of neurons: what differs between repetitions is the layout
        quality = measure_layout(layout, self.similarity, self.profiles, self.k, progress=False)
        smooth = None
        if self.profiles is not None and self.region != "hull" and len(layout.live):
            smooth = measure_smoothness(self.profiles, layout)
        return Trial(name, layout, seconds, quality, smooth)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _choose(
    methods: Sequence[Any] | Mapping[str, Any] | None, n_live: int, region: str | Region
) -> tuple[dict[str, Any], dict[str, str]]:
    """Return the methods to run by name, and why others are not."""
    if methods is not None:
        return _named(methods), {}
    chosen: dict[str, Any] = {}
    left_out: dict[str, str] = {}
    for name in (*METHODS, *CHAINS):
        slow = [step for step in name.split("+") if n_live > MOST.get(step, n_live)]
        if slow:
            most = f"{MOST[slow[0]]:,}"
            left_out[name] = f"{slow[0]} takes over a minute above {most} neurons; it is run where it is named"
        elif region == "hull" and name == "spread":
            left_out[name] = "it fills its region, and a hull has no outline to fill"
        else:
            chosen[name] = name
    return chosen, left_out


def _named(methods: Sequence[Any] | Mapping[str, Any]) -> dict[str, Any]:
    pairs: list[tuple[str, Any]]
    if isinstance(methods, Mapping):
        pairs = [(str(name), method) for name, method in methods.items()]
    else:
        given = [methods] if isinstance(methods, str) else list(methods)
        pairs = [(_name(method), method) for method in given]
    if not pairs:
        raise ValueError("methods must name at least one; got none.")
    names = [name for name, _ in pairs]
    for name, method in pairs:
        if names.count(name) > 1:
            raise ValueError(f"methods has {name!r} twice: tell them apart with a mapping, {{'mine': method, ...}}.")
        for part in [method] if isinstance(method, str) else method if isinstance(method, list | tuple) else []:
            for step in part.split("+") if isinstance(part, str) else []:
                choice("method", step.strip(), tuple(METHODS))
    return dict(pairs)


def _name(method: Any) -> str:
    if isinstance(method, str):
        return "+".join(step.strip() for step in method.split("+"))
    if isinstance(method, list | tuple):
        return "+".join(_name(step) for step in method)
    return str(getattr(method, "__name__", type(method).__name__)).lower()
