from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import topomap as tm
from topomap.patterns import cluster as clustering
from topomap.patterns.measure import _Clusterer, best_jaccard
from topomap.patterns.report import verdict


def blobs(sizes=(40, 40, 40), n_noise=60, n_units=6, seed=0, spread=0.1):
    """Tight groups in the corners of a cube, and inputs scattered over it; their true group is the label."""
    rng = np.random.default_rng(seed)
    corners = np.eye(len(sizes), n_units) * 4
    values = [corners[i] + rng.normal(0, spread, (n, n_units)) for i, n in enumerate(sizes)]
    label = np.repeat([*range(len(sizes)), -1], [*sizes, n_noise])
    return tm.Activations.from_array(np.concatenate([*values, rng.uniform(-4, 4, (n_noise, n_units))]), label=label)


@pytest.fixture(scope="module")
def planted():
    return tm.find_patterns(blobs(), min_cluster_size=15)


@pytest.fixture(scope="module")
def report(planted):
    return tm.measure_patterns(planted, n_bootstrap=8, seed=3)


def jaccard_by_sets(labels, found, k):
    one = set(np.flatnonzero(labels == k))
    others = [-1] if k < 0 else [c for c in set(found.tolist()) if c >= 0]
    sets = [set(np.flatnonzero(found == c)) for c in others]
    return max((len(one & other) / max(len(one | other), 1) for other in sets), default=0)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(-1, 4), st.integers(-1, 3)), min_size=1, max_size=40))
def test_best_jaccard_is_that_of_sets(pairs):
    labels, found = np.array(pairs).T
    ids = np.array([0, 1, 2, 3, 4, -1])
    for k, value in zip(ids, best_jaccard(labels, found, ids), strict=True):
        assert value == pytest.approx(jaccard_by_sets(labels, found, k))


def test_planted_patterns_come_back(planted, report):
    assert len(planted) == 3
    assert report.stability.shape == (3,)
    assert (report.stability > 0.9).all()
    assert [row.verdict for row in report.table] == ["stable"] * 3 + [""]
    assert all(row.recovered == 1 and row.dissolved == 0 for row in report.table if row.pattern >= 0)
    np.testing.assert_array_equal(report.patterns.stability, report.stability)
    assert planted.stability is None  # what was given is as it was
    for row in report.table[:3]:
        assert row.common[0].startswith("label ")
        assert len(row.common) == 1
    assert 0 < report.noise_stability <= 1


def test_patterns_in_nothing_are_not_stable():
    values = np.random.default_rng(0).normal(size=(150, 3))
    report = tm.measure_patterns(tm.find_patterns(tm.Activations.from_array(values)), n_bootstrap=10)
    assert len(report.stability) > 3
    assert report.stability.mean() < 0.6
    assert "unstable" in {row.verdict for row in report.table}


def test_a_pattern_of_the_least_size_can_come_back():
    acts = blobs(sizes=(5, 40), n_noise=0)
    patterns = tm.find_patterns(acts, min_cluster_size=5, min_samples=3, selection="eom")
    least = int(np.argmin(patterns.counts[: len(patterns)]))
    assert patterns.counts[least] == 5
    report = tm.measure_patterns(patterns, n_bootstrap=10)
    assert report.stability[least] == 1


def test_samples_hold_no_input_twice(planted, monkeypatch):
    drawn = []

    def labels(self, sample, share):
        drawn.append(sample)
        return np.full(len(sample), -1)

    monkeypatch.setattr(_Clusterer, "labels", labels)
    report = tm.measure_patterns(planted, n_bootstrap=6, share=0.5)
    assert all(len(set(sample)) == len(sample) for sample in drawn)
    for sample in drawn[:6]:
        counts = [np.count_nonzero(planted.labels[sample] == k) for k in planted.ids]
        assert counts == [round(0.5 * n) for n in planted.counts]
    assert len({tuple(sample) for sample in drawn}) == len(drawn)
    assert (report.stability == 0).all()  # no cluster, nothing comes back


def test_distances_once_or_anew_give_the_same_clusters():
    acts = blobs(n_units=80, spread=0.5)
    again = _Clusterer(tm.find_patterns(acts))
    assert again.distances is not None
    sample = np.sort(np.random.default_rng(0).permutation(acts.n_rows)[:120])
    once = again.labels(sample, 0.8)
    again.distances = None
    np.testing.assert_array_equal(once, again.labels(sample, 0.8))
    direct = clustering.cluster(again.features[sample], min_cluster_size=4, min_samples=4)
    np.testing.assert_array_equal(once, direct.labels)
    assert once.max() > 0


def test_growth_ends_with_all_inputs(planted, report):
    assert [row.n for row in report.growth] == [22, 45, 90, 135, 180]
    last = report.growth[-1]
    assert (last.patterns, last.least, last.most, last.repetitions) == (3, 3, 3, 1)
    assert last.noise == planted.noise
    for row in report.growth:
        assert row.least <= row.patterns <= row.most
        assert 0 <= row.noise <= 1
    assert report.growth[0].patterns < 3  # 22 inputs are too few for three patterns of 15
    assert "not comparable" in report.text


def test_same_seed_same_bytes_and_no_global_state(planted):
    np.random.seed(1)  # noqa: NPY002
    before = np.random.get_state()[1].tobytes()  # noqa: NPY002
    one, same, other = (tm.measure_patterns(planted, n_bootstrap=3, seed=s) for s in (1, 1, 2))
    assert one.jaccard.tobytes() == same.jaccard.tobytes() != other.jaccard.tobytes()
    assert one.growth == same.growth
    assert np.random.get_state()[1].tobytes() == before  # noqa: NPY002


def test_without_samples_there_is_enrichment_alone(planted):
    report = tm.measure_patterns(planted, "label", n_bootstrap=0)
    assert report.stability is None
    assert report.noise_stability is None
    assert report.growth == ()
    assert report.jaccard.shape == (0, 4)
    assert [row.verdict for row in report.table] == ["not measured"] * 3 + [""]
    assert f"label {report.enriched(0)[0].value} (" in report.table[0].common[0]
    assert "Stability" not in report.text
    with pytest.raises(ValueError, match="pattern must be one of 0 to 2"):
        report.enriched(7)


def test_text_repr_and_xarray(report):
    assert repr(report) == (
        f"PatternReport(layer: 3 patterns in 180 inputs, 3 stable over 8 samples; "
        f"{sum(r.q <= 0.05 for r in report.enrichment)} of 16 tests at q <= 0.05)"
    )
    shown = str(report).splitlines()
    assert shown[0].split() == ["pattern", "inputs", "persistence", "stability", "in", "common"]
    assert shown[1].startswith("pattern 0")
    assert "noise" in shown[4]
    data = report.to_xarray()
    np.testing.assert_array_equal(data["jaccard"], report.jaccard)
    assert data["group"].values.tolist() == ["pattern 0", "pattern 1", "pattern 2", "noise"]
    assert data["enriched_count"].values.tolist() == [row.count for row in report.enrichment]
    assert data["enriched_column"].values.tolist() == ["label"] * len(report.enrichment)
    assert data.sizes["shift"] == 0
    assert report.provenance["parameters"]["share"] == 0.8


def test_the_table_names_measurements_that_are_shifted():
    acts = blobs()
    rng = np.random.default_rng(1)
    age = rng.normal(40, 5, acts.n_rows)
    age[acts.inputs.label == 1] += 40
    height = rng.normal(170, 9, acts.n_rows)
    patterns = tm.find_patterns(acts.with_labels(age=age, height=height), min_cluster_size=15)
    report = tm.measure_patterns(patterns, ["label", "age", "height"], n_bootstrap=0)
    old = int(np.bincount(patterns.labels[(acts.inputs.label == 1) & (patterns.labels >= 0)]).argmax())
    inside = patterns.labels == old
    told = f"age higher (median {np.median(age[inside]):.4g}, others {np.median(age[~inside]):.4g})"
    assert told in report.table[old].common and len(report.table[old].common) == 2
    assert any(value.startswith("age lower (median") for row in report.table for value in row.common)
    assert not any("height" in value for row in report.table for value in row.common)
    assert told in str(report)
    surest = min([*report.enriched(old), *(row for row in report.shifts if row.pattern == old)], key=lambda row: row.q)
    assert report.table[old].common[0].startswith(surest.column)


def test_of_many_patterns_the_first_are_printed(planted):
    labels = np.append(np.repeat(np.arange(60), 2), [-1] * 60)
    many = replace(planted, labels=labels, persistence=np.linspace(1, 0, 60))
    shown = str(tm.measure_patterns(many, n_bootstrap=0)).splitlines()
    assert shown[40].startswith("pattern 39 ")
    assert shown[41].startswith("noise ")
    assert shown[42] == "(20 more patterns in .table)"


def test_nothing_found_is_said_without_nan():
    with pytest.warns(tm.TopomapWarning, match="no pattern"):
        patterns = tm.find_patterns(tm.Activations.from_array(np.eye(4), label=[0, 0, 1, 1]))
    report = tm.measure_patterns(patterns, n_bootstrap=2)
    assert report.stability.shape == (0,)
    assert report.noise_stability == 1
    assert [row.patterns for row in report.growth] == [0] * len(report.growth)
    assert len(report.table) == 1
    assert "nan" not in f"{report!r}{report}"


def test_verdicts():
    assert [verdict(v) for v in (None, 0.59, 0.6, 0.75)] == ["not measured", "unstable", "doubtful", "stable"]


@pytest.mark.parametrize(
    ("asked", "match"),
    [
        ({"n_bootstrap": -1}, "n_bootstrap must be at least 0"),
        ({"share": 1.0}, "share must be above 0 and below 1"),
        ({"alpha": 0}, "alpha must be above 0"),
        ({"by": ["prediction"]}, "column must be one of 'label'"),
    ],
)
def test_bad_parameters(planted, asked, match):
    with pytest.raises(ValueError, match=match):
        tm.measure_patterns(planted, **asked)


def test_bad_patterns(planted):
    with pytest.raises(ValueError, match="patterns must be of type Patterns"):
        tm.measure_patterns({"fc": planted})
    assigned = planted.assign(blobs(seed=1))
    with pytest.raises(ValueError, match="assigned to new inputs"):
        tm.measure_patterns(assigned)
    assert tm.measure_patterns(assigned, n_bootstrap=0).enrichment
    without = replace(planted, inputs=tm.Inputs(planted.inputs.ids))
    assert tm.measure_patterns(without, n_bootstrap=0).n_tests == 0
