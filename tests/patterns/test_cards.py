from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import topomap as tm
from topomap.patterns import Patterns, describe_pattern
from topomap.patterns.scale import Scale


def made(seed=0, n=40, spare=5, thumbnails=(4, 3), texts=False):
    """Patterns over some inputs of a shuffled table, and their activations; thumbnails hold the input's number."""
    rng = np.random.default_rng(seed)
    size = n + spare
    rows = rng.permutation(size)[:n]
    labels = rng.integers(-1, 3, n)
    labels[:4] = -1, 0, 1, 2
    number = np.arange(size, dtype=np.uint8)
    table = tm.Inputs(
        rng.permutation(1000)[:size],
        {"label": rng.integers(0, 2, size), "prediction": rng.integers(0, 2, size)},
        classes=("cat", "dog"),
        thumbnails=np.broadcast_to(number.reshape(-1, *[1] * len(thumbnails)), (size, *thumbnails)).copy(),
        texts=np.array([f"text {i}" for i in range(size)], dtype=object) if texts else None,
    )
    probabilities = np.where(labels < 0, 0, rng.permutation(n) / n)
    patterns = Patterns(
        labels=labels,
        probabilities=probabilities,
        outlier_scores=rng.permutation(n) / n,
        persistence=np.array([0.9, 0.5, 0.1]),
        features=np.zeros((n, 1)),
        rows=rows,
        inputs=table,
        scale=Scale(np.ones(6)),
        layer="fc",
        parameters={"min_cluster_size": 5},
    )
    shuffle = rng.permutation(size)
    values = rng.normal(size=(size, 6)).astype(np.float32)  # by input
    acts = tm.Activations(values[shuffle], table, "fc", rows=shuffle)
    return patterns, acts, values


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([0, 1, 2, -1]))
def test_everything_is_of_the_members(seed, k):
    patterns, acts, values = made(seed)
    members = [int(patterns.rows[i]) for i in range(patterns.n_rows) if patterns.labels[i] == k]
    strength = dict(
        zip(
            patterns.rows.tolist(), (patterns.outlier_scores if k < 0 else patterns.probabilities).tolist(), strict=True
        )
    )
    ordered = sorted(members, key=lambda i: strength[i] if k < 0 else -strength[i])
    card = describe_pattern(patterns, k, acts, n=3)
    assert card.members.tolist() == ordered
    assert card.probabilities.tolist() == [strength[i] for i in ordered]
    assert card.probable.tolist() == ordered[:3]
    assert card.improbable.tolist() == ordered[::-1][:3]
    np.testing.assert_allclose(card.average, np.full((4, 3), np.mean(members)))
    assert card.share == len(members) / 40
    scores = (values - values.mean(axis=0)) / values.std(axis=0)
    np.testing.assert_allclose(card.scores, scores[members].mean(axis=0), atol=1e-5)
    np.testing.assert_array_equal(card.units, np.argsort(-np.abs(card.scores), kind="stable"))
    for own, every, unit in zip(card.boxes, card.boxes_all, card.units, strict=True):
        np.testing.assert_allclose(own, np.percentile(values[members, unit], [0, 25, 50, 75, 100]), atol=1e-6)
        np.testing.assert_allclose(every, np.percentile(values[:, unit], [0, 25, 50, 75, 100]), atol=1e-6)
    labels = patterns.inputs["label"]
    for bar in card.bars["label"]:
        code = ("cat", "dog").index(bar.value)
        assert bar.count == np.sum(labels[members] == code)
        assert bar.share == bar.count / len(members)
        assert bar.overall == pytest.approx(np.mean(labels[patterns.rows] == code))
    assert sum(bar.count for bar in card.bars["label"]) == len(members)


def test_names_and_numbers_of_a_card():
    patterns, acts, _ = made()
    card = describe_pattern(replace(patterns, stability=np.array([0.9, 0.8, 0.7])), 1, acts, n_units=2)
    assert (card.name, card.persistence, card.stability) == ("pattern 1", 0.5, 0.8)
    assert card.boxes.shape == (2, 5)
    first = card.bars["label"][0]
    assert first.count >= card.bars["label"][-1].count
    assert repr(card).startswith(f"PatternCard(pattern 1 of fc: {card.count} inputs (")
    assert f"label {first.value} {100 * first.share:.0f} %; prediction" in repr(card)
    noise = describe_pattern(patterns, -1, acts)
    assert (noise.name, noise.persistence, noise.stability) == ("noise", None, None)
    assert noise.count == np.count_nonzero(patterns.labels < 0)


def test_without_activations_pictures_or_labels():
    patterns, _, _ = made()
    bare = replace(patterns, inputs=tm.Inputs(patterns.inputs.ids))
    card = describe_pattern(bare, 0)
    assert card.average is card.texts is card.scores is card.units is card.boxes is card.boxes_all is None
    assert card.bars == {}
    assert set(card.to_xarray().data_vars) == {"position", "id", "probability"}


def test_texts_are_those_of_the_most_probable_members():
    patterns, acts, _ = made(texts=True)
    card = describe_pattern(patterns, 2, acts, n=4)
    assert card.texts == tuple(f"text {i}" for i in patterns.members(2)[:4])


def test_pictures_in_colour_and_missing_labels():
    patterns, _, _ = made(thumbnails=(2, 2, 3))
    label = patterns.inputs["label"].astype(float)
    members = patterns.members(0)
    label[members[0]] = np.nan
    part = replace(patterns, inputs=patterns.inputs.with_columns(label=label, prediction=np.full(45, np.nan)))
    card = describe_pattern(part, 0)
    assert card.average.shape == (2, 2, 3)
    assert sum(bar.count for bar in card.bars["label"]) == len(members) - 1
    assert sum(bar.share for bar in card.bars["label"]) == pytest.approx(1)
    assert card.bars["prediction"] == ()


def test_places_of_an_input_are_averaged():
    patterns, acts, values = made()
    rows = np.repeat(acts.rows, 2)
    gap = np.tile([[-1.0], [1.0]], (45, 1))
    places = tm.Activations(values[rows] + gap, acts.inputs, "fc", rows=rows, places=np.tile([[0], [1]], (45, 1)))
    once, twice = describe_pattern(patterns, 0, acts), describe_pattern(patterns, 0, places)
    np.testing.assert_allclose(once.scores, twice.scores, atol=1e-5)
    np.testing.assert_allclose(once.boxes, twice.boxes, atol=1e-5)


def test_dead_units_distinguish_nothing():
    patterns, acts, values = made()
    values[:, 3] = 7
    still = tm.Activations(values, acts.inputs, "fc")
    card = describe_pattern(patterns, 0, still)
    assert card.scores[3] == 0
    assert card.units[-1] == 3
    np.testing.assert_array_equal(card.boxes[-1], [7] * 5)


def test_xarray():
    patterns, acts, _ = made()
    card = describe_pattern(patterns, 0, acts)
    data = card.to_xarray()
    np.testing.assert_array_equal(data["id"], patterns.inputs.ids[patterns.members(0)])
    np.testing.assert_array_equal(data["boxes"].sel(unit=card.units[1]), card.boxes[1])
    assert data["boxes_all"].sel(unit=2, box="median") == pytest.approx(np.median(acts.values[:, 2]))
    assert data["box"].values.tolist() == ["least", "lower quartile", "median", "upper quartile", "greatest"]
    assert data["label_count"].values.sum() == card.count
    assert data.attrs["persistence"] == 0.9
    assert "stability" not in data.attrs


def test_found_patterns_have_cards():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(m, 0.3, (30, 5)) for m in (-3, 3)] + [rng.uniform(-9, 9, (10, 5))])
    acts = tm.Activations.from_array(values)
    patterns = tm.find_patterns(acts, min_cluster_size=15)
    for k in patterns.ids:
        card = describe_pattern(patterns, k, acts)
        assert card.count == patterns.counts[patterns.ids.index(k)]
        assert np.isfinite(card.boxes).all()


def test_bad_input():
    patterns, acts, _ = made()
    for asked, match in (
        ((patterns, 3, acts), "pattern must be one of 0 to 2, or -1"),
        ((acts, 0), "patterns must be of type Patterns"),
        ((patterns, 0, acts.values), "acts must be of type Activations"),
        ((patterns, 0, acts.select(n=5)), r"lack \d+ of the"),
        ((patterns, 0, replace(acts, inputs=replace(acts.inputs, ids=acts.inputs.ids[::-1]))), "their ids differ"),
        ((patterns, 0, acts, 0), "n must be at least 1"),
        ((patterns, 0, acts, 5, 0), "n_units must be at least 1"),
    ):
        with pytest.raises(ValueError, match=match):
            describe_pattern(*asked)
