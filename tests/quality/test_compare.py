"""Comparisons of methods: the numbers are those of the measures, and nothing is left out silently."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

import topomap as tm
from topomap.layout import TSNE, Swarm
from topomap.quality import compare
from topomap.quality.comparison import MEASURES
from topomap.quality.measure import MEASURES as OF_LAYOUTS

CHEAP = ["pca", "random"]


@pytest.fixture(scope="module")
def acts() -> tm.Activations:
    rng = np.random.default_rng(0)
    label = np.arange(60) % 3
    values = rng.normal(size=(60, 4)) @ rng.normal(size=(4, 40)) + rng.normal(size=(60, 40))
    values += rng.normal(size=(3, 40))[label]
    values[:, 5] = 1.0
    return tm.Activations.from_array(values, label=label, layer="fc")


@pytest.fixture(scope="module")
def profiles(acts: tm.Activations) -> tm.Profiles:
    return tm.profile(acts, by="label")


@pytest.fixture(scope="module")
def comparison(acts: tm.Activations, profiles: tm.Profiles) -> tm.Comparison:
    return tm.compare_layouts(acts, profiles, CHEAP, n=3, seed=4, k=7, stability=True)


class Broken:
    def __call__(self, similarity: tm.Similarity, init: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
        raise RuntimeError("out of\nluck")


class BreaksAtSeed1:
    def __call__(self, similarity: tm.Similarity, init: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
        points = rng.random((similarity.n_neurons, 2))
        if np.array_equal(points, np.random.default_rng(1).random((similarity.n_neurons, 2))):
            raise ValueError("no")
        return points


class BreaksAtSecond:
    """Lays out the same neurons again, but no other ones."""

    def __init__(self) -> None:
        self.seen: np.ndarray | None = None

    def __call__(self, similarity: tm.Similarity, init: np.ndarray | None, rng: np.random.Generator) -> np.ndarray:
        if self.seen is None and similarity.n_neurons < 39:  # warming up
            return rng.random((similarity.n_neurons, 2))
        distance = similarity.distance()
        if self.seen is not None and not np.array_equal(distance, self.seen):
            raise ValueError("of those inputs")
        self.seen = distance
        return rng.random((similarity.n_neurons, 2))


def test_numbers_are_those_of_the_measures(
    acts: tm.Activations, profiles: tm.Profiles, comparison: tm.Comparison
) -> None:
    similarity = tm.correlate(acts)
    for method in CHEAP:
        for i, seed in enumerate((4, 5, 6)):
            layout = tm.embed(similarity, method, seed=seed)
            trial = comparison.of(method)[i]
            np.testing.assert_array_equal(trial.layout.positions, layout.positions)
            expected = tm.measure_layout(layout, similarity, profiles, k=7)
            for name in OF_LAYOUTS:
                assert comparison.values(name, method)[i] == getattr(expected, name), name
            smooth = tm.measure_smoothness(profiles, layout)
            np.testing.assert_array_equal(trial.smoothness.blur_mse, smooth.blur_mse)
            for name, value in smooth.to_dict().items():
                assert comparison.values(name, method)[i] == value
        stable = tm.measure_stability(acts, method, n=3, seed=4)
        np.testing.assert_array_equal(comparison.values("disparity", method), stable.disparities)
    assert (comparison.values("seconds", "pca") > 0).all()
    assert set(OF_LAYOUTS) < set(MEASURES)
    assert (comparison.n, comparison.n_neurons, comparison.n_live) == (3, 40, 39)


def test_rows_are_medians_and_the_table_marks_the_best(comparison: tm.Comparison) -> None:
    rows = {row["method"]: row for row in comparison.rows()}
    assert list(rows) == CHEAP
    for name in set(MEASURES) - {"disparity"}:
        assert rows["random"][name] == np.median(comparison.values(name, "random"))
    assert rows["random"]["disparity"] == np.mean(comparison.values("disparity", "random")) == 0
    assert comparison.best("knn") == ("pca",)
    assert comparison.best("disparity") == ("random",)
    assert comparison.best("component_area") == ()  # neither end is better
    lines = str(comparison).splitlines()
    assert lines[0] == "Layer fc: 40 neurons (1 dead), region disc, pearson, k = 7, seeds 4-6; medians, best *"
    header, pca, random = (line.split() for line in lines[2:5])
    column = header.index("kNN")
    assert pca[column] == f"*{rows['pca']['knn']:.3f}"
    assert random[column] == f"{rows['random']['knn']:.3f}"
    assert "black" in str(comparison)
    assert f"**{rows['pca']['knn']:.3f}**" in comparison.to_markdown()
    assert repr(comparison) == "Comparison(40 neurons in a disc, 3 repetitions: pca, random)"


def test_ties_are_all_marked(acts: tm.Activations) -> None:
    twins = tm.compare_layouts(acts, methods={"one": "pca", "other": "pca", "third": "random"}, n=1)
    assert twins.best("knn") == ("one", "other")
    alone = tm.compare_layouts(acts, methods=["pca"], n=1)
    assert "*" not in str(alone).split("best *")[1]


def test_failures_are_told_and_end_nothing(acts: tm.Activations, tmp_path: Path) -> None:
    methods = {"broken": Broken(), "pca": "pca", "wrong": "random+pca", "late": BreaksAtSeed1()}
    found = tm.compare_layouts(acts, methods=methods, n=3)
    assert found.methods == ("pca", "late")
    assert found.failed["broken"] == "seed 0: out of luck"
    assert "put it first" in found.failed["wrong"]
    assert found.failed["late"] == "seed 1: no"
    assert len(found.of("pca")) == 3 and len(found.of("late")) == 1
    assert "failed: broken (seed 0: out of luck)." in str(found)
    with found.to_csv(tmp_path / "new" / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["method"] for row in rows] == ["pca"] * 3 + ["late", "broken", "wrong"]
    assert float(rows[2]["knn"]) == found.values("knn", "pca")[2]
    assert rows[4]["note"] == "seed 0: out of luck" and rows[4]["knn"] == ""
    with pytest.raises(ValueError, match=r"no method could lay the neurons out\. broken: seed 0: out of luck"):
        tm.compare_layouts(acts, methods={"broken": Broken()}, n=1)


def test_a_method_that_fails_on_samples_ends_nothing(acts: tm.Activations) -> None:
    methods = {"late": BreaksAtSecond(), "pca": "pca"}
    found = tm.compare_layouts(acts, methods=methods, n=1, stability=True)
    assert found.methods == ("late", "pca") and found.failed == {"late": "stability: of those inputs"}
    assert list(found.stability) == ["pca"]


def test_default_methods_and_what_is_left_out() -> None:
    from topomap.layout.methods import METHODS

    chosen, left_out = compare._choose(None, 100, "disc")
    assert list(chosen) == [*METHODS, *compare.CHAINS] and not left_out
    chosen, left_out = compare._choose(None, 5_000, "disc")
    assert {"spread", "tsne", "umap"} < set(chosen)
    assert {"swarm", "som", "umap+swarm", "som+swarm"} <= set(left_out)
    assert not set(chosen) & set(left_out) and set(chosen) | set(left_out) == {*METHODS, *compare.CHAINS}
    assert "2,048" in left_out["umap+swarm"]
    chosen, left_out = compare._choose(None, 100, "hull")
    assert list(left_out) == ["spread"] and "spread" not in chosen
    assert compare._choose(["swarm"], 5_000, "disc") == ({"swarm": "swarm"}, {})  # a named one is always run


def test_left_out_methods_are_in_the_table(acts: tm.Activations, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compare, "METHODS", {"pca": None, "random": None, "som": None})
    monkeypatch.setattr(compare, "CHAINS", ("som+swarm",))
    monkeypatch.setattr(compare, "MOST", {"som": 20})
    found = tm.compare_layouts(acts, n=1)
    assert found.methods == ("pca", "random")
    assert "left out: som, som+swarm (som takes over a minute above 20 neurons" in str(found)


def test_hulls_have_no_smoothness_in_common(acts: tm.Activations, profiles: tm.Profiles) -> None:
    found = tm.compare_layouts(acts, profiles, ["pca"], region="hull", n=1)
    assert found.trials[0].smoothness is None
    assert "resize_auc" not in found.measured and "moran" in found.measured


def test_chains_and_instances_get_names(acts: tm.Activations) -> None:
    assert list(compare._named([TSNE(perplexity=5), ["pca", Swarm()], "umap + swarm"])) == [
        "tsne", "pca+swarm", "umap+swarm"
    ]  # fmt: skip
    with pytest.raises(ValueError, match=r"'pca\+swarm' twice: tell them apart with a mapping"):
        compare._named([["pca", Swarm()], "pca + swarm"])
    with pytest.raises(ValueError, match="Did you mean 'umap'"):
        tm.compare_layouts(acts, methods=["umpa"])
    with pytest.raises(ValueError, match="Did you mean 'umap'"):
        tm.compare_layouts(acts, methods=[["pca", "umpa"]])
    with pytest.raises(ValueError, match="at least one"):
        tm.compare_layouts(acts, methods=[])


def test_interrupted_comparisons_keep_what_was_done(acts: tm.Activations, monkeypatch: pytest.MonkeyPatch) -> None:
    real = compare.embed
    made: list[int] = []

    def stopped(similarity: tm.Similarity, **options: object) -> tm.Layout:
        made.append(1)
        if len(made) == last:
            raise KeyboardInterrupt
        return real(similarity, **options)

    monkeypatch.setattr(compare, "embed", stopped)
    last = 5  # one to warm each of two methods up, one layout of each, and then the first of the second seed
    with pytest.warns(tm.TopomapWarning, match="holds the 2 layouts"):
        found = tm.compare_layouts(acts, methods=CHEAP, n=3)
    assert found.interrupted and [trial.method for trial in found.trials] == CHEAP
    assert "interrupted" in str(found).splitlines()[0]
    made, last = [], 4
    with pytest.warns(tm.TopomapWarning, match="holds the 1 layouts"):
        found = tm.compare_layouts(acts, methods=CHEAP, n=3)
    assert found.methods == ("pca",) and found.left_out == {"random": "interrupted"}
    made, last = [], 2
    with pytest.raises(KeyboardInterrupt):
        tm.compare_layouts(acts, methods=CHEAP, n=3)


def test_bad_arguments(acts: tm.Activations, profiles: tm.Profiles, comparison: tm.Comparison) -> None:
    similarity = tm.correlate(acts)
    with pytest.raises(ValueError, match="pass the activations"):
        tm.compare_layouts(similarity, stability=True)
    with pytest.raises(ValueError, match="n must be at least 1"):
        tm.compare_layouts(similarity, n=0)
    with pytest.raises(ValueError, match="profiles must have one entry per neuron"):
        tm.compare_layouts(similarity.take(np.arange(9)), profiles)
    with pytest.raises(ValueError, match="region must be one of"):
        tm.compare_layouts(similarity, region="dics")
    with pytest.raises(ValueError, match="measure must be one of"):
        comparison.values("nkk", "pca")
    with pytest.raises(ValueError, match="method must be one of"):
        comparison.of("tsne")


def test_to_xarray(comparison: tm.Comparison, profiles: tm.Profiles) -> None:
    dataset = comparison.to_xarray()
    assert dict(dataset.sizes) == {"algorithm": 2, "repetition": 3, "size": 10, "radius": 10}
    np.testing.assert_array_equal(dataset["knn"].sel(algorithm="pca"), comparison.values("knn", "pca"))
    np.testing.assert_array_equal(dataset["seed"].sel(algorithm="random"), [4, 5, 6])
    curve = dataset["blur_mse"].sel(algorithm="random").isel(repetition=2)
    np.testing.assert_array_equal(curve, comparison.of("random")[2].smoothness.blur_mse)
    assert float(dataset["disparity"].sel(algorithm="pca")) == comparison.rows()[0]["disparity"]
    assert dataset.attrs["layer"] == "fc" and dataset.attrs["k"] == 7


def test_same_seed_same_numbers(acts: tm.Activations, profiles: tm.Profiles, comparison: tm.Comparison) -> None:
    again = tm.compare_layouts(tm.correlate(acts), profiles, CHEAP, n=3, seed=4, k=7)
    for name in set(MEASURES) - {"seconds", "disparity"}:
        for method in CHEAP:
            np.testing.assert_array_equal(again.values(name, method), comparison.values(name, method))
