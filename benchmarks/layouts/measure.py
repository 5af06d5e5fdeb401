"""The measurements: layouts and their quality, stability, planted truth, cost. Each is one line of the results."""

from __future__ import annotations

import sys
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from nets import Recorded, recorded
from numpy.typing import NDArray
from peers import AS_PUBLISHED, ASSIGNED, EQUIVALENTS, PUBLISHED, Job, Points, TooLongError, assign, place
from planted import PLANTED
from results import Results, Row, save_positions

import topomap as tm
from topomap.quality.measure import MEASURES
from topomap.quality.stability import superpose

REGIONS = ("disc", "square")
METRICS = ("cosine", "euclidean", "pearson")

#: The paper measures by cosine and Euclidean distance; topomap's default is Pearson's correlation.
PAPER_METRICS = ("cosine", "euclidean")

#: Free layouts: topomap's, and the libraries used directly.
FREE = ("openTSNE", "tsne, free", "umap", "umap, free")

#: Largest layers: for assignment to a grid, for measuring free layouts in the square too, for the bootstrap.
_ASSIGNED, _BOTH, _BOOTSTRAP = 2048, 2048, 2048

#: Published methods that are looked at on one network alone where neurons are many.
_ONCE = ("random", "graph", "random+swarm", "pca+swarm", "som+swarm", "graph+swarm", "swarm")

#: Layouts per estimate of stability, and noise (in deviations of each neuron) that jitters the start.
_REPEATS, _JITTER = 5, 0.01

#: Seeds of the planted truth.
PLANTED_SEEDS = 12


@dataclass(frozen=True)
class Task:
    """What one process works on; `quick` takes what is needed to see that all works."""

    kind: str
    data: str = ""
    n: int = 0
    net: int = 0
    metric: str = "pearson"
    quick: bool = False


def work(task: Task, path: Path) -> None:
    """Make the measurements of a task that are not in the results yet."""
    results = Results(path)
    warnings.filterwarnings("ignore", message="n_jobs value|Tensorflow|.*SparseEfficiency")
    made = {"net": _net, "layout": _layouts, "stability": _stability, "planted": _planted, "cost": _cost}[task.kind]
    start = time.perf_counter()
    count = 0
    for row in made(task, results):
        results.add(row)
        count += 1
    if count:
        what = " ".join(str(part) for part in (task.kind, task.data, task.n or "", task.net, task.metric) if part != "")
        print(f"{what}: {count} measured in {time.perf_counter() - start:.0f} s", file=sys.stderr, flush=True)


def _net(task: Task, results: Results) -> Iterator[Row]:
    """Train and record a network, if that was not done yet."""
    who: Row = {"kind": "net", "data": task.data, "n": task.n, "net": task.net}
    layer = recorded(results.path.parent, task.data, task.n, task.net)
    if not results.has(**who):
        inputs, live = layer.values.shape
        yield {**who, "accuracy": layer.accuracy, "dead": layer.dead, "live": live, "inputs": inputs}


def methods_of(task: Task) -> list[str]:
    """Return the free and published methods of a task, those that others start from first."""
    if task.metric not in PAPER_METRICS:
        return list(FREE)
    if task.quick:
        return ["umap", "tsne", "openTSNE", "umap+swarm", "tsne, free", "umap>grid"]
    if task.n > _BOTH:  # the libraries were compared on smaller layers, and are here by Pearson's correlation
        methods = ["openTSNE", *PUBLISHED]
        return methods if task.net == 0 else [name for name in methods if name not in _ONCE]
    methods = [*FREE, *(name for name in PUBLISHED if name not in FREE)]
    if task.n <= _ASSIGNED:
        methods += ASSIGNED
    if task.n == AS_PUBLISHED and task.metric == "cosine" and task.net == 0:
        methods += [name for name in EQUIVALENTS if name not in methods]
    return methods


def _layouts(task: Task, results: Results) -> Iterator[Row]:
    layer = recorded(results.path.parent, task.data, task.n, task.net)
    acts = layer.activations
    similarity, profiles = tm.correlate(acts, task.metric), tm.profile(acts, by="label")
    correlation = None if task.metric == "pearson" else tm.correlate(acts)
    who: Row = {"kind": "layout", "data": task.data, "n": task.n, "net": task.net, "metric": task.metric}

    def file(method: str, region: str) -> Path:
        return results.positions_file(task.data, task.n, task.net, task.metric, method, region)

    def measured(layout: tm.Layout, method: str, region: str, seconds: float, by: str) -> Row:
        save_positions(file(method, region), layout.positions)
        quality = tm.measure_layout(layout, similarity, profiles, progress=False)
        found = {name: getattr(quality, name) for name in MEASURES}
        if correlation is not None and region == "disc":  # shapes do not matter here: once is enough
            judged = tm.measure_layout(layout, correlation, progress=False)
            found |= {f"{name}_r": getattr(judged, name) for name in ("trustworthiness", "continuity", "knn")}
        return {**who, "method": method, "region": region, **found, "seconds": seconds, "by": by}

    for region in REGIONS:
        if not results.has(**who, method="spread", region=region):
            layout, seconds = _timed(similarity, region, task.net)
            yield measured(layout, "spread", region, seconds, "topomap")

    def earlier(method: str) -> Points:
        return np.load(file(method, "disc")).astype(np.float64)

    job = Job(layer.values, similarity, task.net, earlier)
    wanted = REGIONS if task.n <= _BOTH else REGIONS[:1]
    for method in methods_of(task):
        missing = [region for region in wanted if not results.has(**who, method=method, region=region)]
        if not missing:
            continue
        if method in ASSIGNED:
            free = earlier(method.removesuffix(">grid"))
            for region in missing:
                start = time.perf_counter()
                layout = tm.Layout(assign(_fitted(similarity, free, region).positions, region), region, method)
                yield measured(layout, method, region, time.perf_counter() - start, "SciPy's assignment")
            continue
        try:
            start = time.perf_counter()
            positions, by = place(job, method)
            seconds = time.perf_counter() - start
        except (TooLongError, FileNotFoundError) as error:
            why = f"left out: {error}" if isinstance(error, TooLongError) else "left out with what it starts from"
            for region in missing:
                yield {**who, "method": method, "region": region, "by": why}
            continue
        if method == "tsne" and by.startswith("openTSNE"):  # its time is that of the layout it stands for
            seconds = results.median("seconds", **who, method="openTSNE", region="disc")
        for region in missing:
            yield measured(_fitted(similarity, positions, region), method, region, seconds, by)


def _timed(similarity: tm.Similarity, region: str, seed: int) -> tuple[tm.Layout, float]:
    start = time.perf_counter()
    layout = tm.embed(similarity, region=region, seed=seed)
    return layout, time.perf_counter() - start


def _fitted(similarity: tm.Similarity, positions: Points, region: str) -> tm.Layout:
    """Scale a free layout into a region: alike along both axes into the disc, each on its own into the square."""
    return tm.embed(similarity, lambda *_: positions, region=region)


def _stability(task: Task, results: Results) -> Iterator[Row]:
    layer = recorded(results.path.parent, task.data, task.n, task.net)
    repeats = 2 if task.quick else _REPEATS
    who: Row = {"kind": "stability", "data": task.data, "n": task.n, "net": task.net}
    cases = [("spread", region, over) for over in ("seeds", "jitter", "inputs") for region in REGIONS]
    cases += [("umap", "disc", "inputs"), ("tsne", "disc", "inputs")]
    for method, region, over in cases:
        if (over == "inputs" and task.n > _BOOTSTRAP) or results.has(**who, method=method, region=region, over=over):
            continue
        if over == "jitter":
            layouts = tuple(_jittered(layer.values, region, seed) for seed in range(repeats))
            disparities, displacement = superpose(layouts)
        else:
            stability = tm.measure_stability(
                layer.activations, method, region, n=repeats, over=over, seed=task.net, progress=False
            )
            disparities, displacement = stability.disparities, stability.displacement
        found = {"disparity": np.mean(disparities), "worst": np.max(disparities), "moved": np.median(displacement)}
        yield {**who, "method": method, "region": region, "over": over, **found, "repeats": repeats}


def _jittered(values: NDArray[np.float32], region: str, seed: int) -> tm.Layout:
    """Lay out after noise on the values, which jitters the start and, beyond that, the neighbours."""
    rng = np.random.default_rng(seed)
    noise = _JITTER * values.std(axis=0) * rng.normal(size=values.shape)
    return tm.embed(tm.correlate((values + noise).astype(np.float32)), region=region, seed=seed)


def _planted(task: Task, results: Results) -> Iterator[Row]:
    for name, measured in PLANTED.items():
        for region in REGIONS:
            for seed in range(2 if task.quick else PLANTED_SEEDS):
                who = {"kind": "planted", "data": name, "net": seed, "region": region}
                if not results.has(**who):
                    yield {**who, **measured(seed, region)}


def _cost(task: Task, results: Results) -> Iterator[Row]:
    """Time the default layout and warm seeded umap-learn in turn; the fastest case of a slow machine would be luck."""
    who: Row = {"kind": "cost", "data": task.data, "n": task.n, "net": task.net}
    if results.has(**who):
        return
    layer: Recorded = recorded(results.path.parent, task.data, task.n, task.net)
    few = layer.values[:, : 60 if task.n <= 4096 else 4200]  # umap-learn searches neighbours otherwise above 4,096
    candidates = {
        "disc": lambda values: tm.embed(tm.correlate(values), seed=task.net),
        "square": lambda values: tm.embed(tm.correlate(values), region="square", seed=task.net),
        "umap": lambda values: place(Job(values, tm.correlate(values), task.net, np.load), "umap"),
    }
    for run in candidates.values():
        run(few if task.n > AS_PUBLISHED else layer.values)  # what is compiled or imported at a first call is no work
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(1 if task.quick or task.n > 2048 else 3):
        for name, run in candidates.items():
            start = time.perf_counter()
            run(layer.values)
            times[name].append(time.perf_counter() - start)
    seconds = {name: float(np.median(found)) for name, found in times.items()}
    ratios = {f"ratio_{region}": seconds[region] / seconds["umap"] for region in REGIONS}
    yield {**who, **{f"seconds_{name}": found for name, found in seconds.items()}, **ratios}
