"""Layouts turned towards each other: exact turns are found, regions keep their shape, nothing is scaled."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.linalg import orthogonal_procrustes

import topomap as tm
from topomap.layout import Layout, regions
from topomap.layout.align import best_turn, symmetries


def rotation(degrees: float, reflect: bool = False) -> np.ndarray:
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    return np.diag([1.0, -1.0]) @ turn if reflect else turn


def scattered(n: int = 40, region: str = "disc", seed: int = 0, dead=None) -> Layout:
    points = np.random.default_rng(seed).uniform(-0.7, 0.7, size=(n, 2))
    return Layout(points, region=region, dead=dead)


def turned(layout: Layout, turn: np.ndarray) -> Layout:
    return Layout(layout.positions @ turn, region=layout.region, dead=layout.dead)


@pytest.mark.parametrize("degrees", [0, 1, 77.7, 90, 180, -135.25])
@pytest.mark.parametrize("reflect", [False, True])
def test_a_disc_takes_any_turn_back(degrees, reflect):
    layout = scattered()
    away = turned(layout, rotation(degrees, reflect))
    back = away.align_to(layout)
    assert back.positions == pytest.approx(layout.positions, abs=1e-12)
    record = back.provenance["alignments"][-1]
    assert record["reflected"] == reflect
    assert record["over"] == "neurons"
    undo = rotation(record["degrees"], record["reflected"])
    assert away.positions @ undo == pytest.approx(back.positions, abs=1e-12)


@pytest.mark.parametrize("quarter", range(4))
@pytest.mark.parametrize("reflect", [False, True])
def test_a_square_takes_its_eight_symmetries_back(quarter, reflect):
    layout = scattered(region="square")
    turn = np.round(rotation(90 * quarter, reflect))
    assert (turned(layout, turn).align_to(layout).positions == layout.positions).all()


def test_a_square_stays_a_square():
    layout = scattered(region="square")
    corner = Layout([*layout.positions, [1, 1]], region="square")
    away = Layout(0.5 * corner.positions @ rotation(40), region="square")
    aligned = corner.align_to(away)
    assert sorted(np.abs(aligned.positions).ravel()) == sorted(np.abs(corner.positions).ravel())
    assert (aligned.positions == corner.positions).all()  # 40 degrees are nearer to 0 than to 90
    further = Layout(0.5 * corner.positions @ rotation(50), region="square")
    assert (corner.align_to(further).positions == corner.positions @ np.round(rotation(90))).all()


SHAPES = {
    "bar": (np.ones((4, 9), dtype=bool), 4),
    "ell": (np.array([[1, 0], [1, 1]], dtype=bool), 2),
    "flag": (np.array([[1, 1], [1, 0], [1, 0]], dtype=bool), 1),
    "ring": (np.array([[1, 1, 1], [1, 0, 1], [1, 1, 1]], dtype=bool), 8),
    "pinwheel": (np.array([[1, 1, 0, 0], [0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 1, 1]], dtype=bool), 2),
}


@pytest.mark.parametrize(("region", "n_turns"), [("square", 8), ("hexagon", 12), *SHAPES.values()])
def test_symmetries_form_a_group_of_orthogonal_matrices(region, n_turns):
    turns = symmetries(scattered(region=region))
    assert len(np.unique(turns.round(9), axis=0)) == len(turns) == n_turns
    assert turns[0].tolist() == [[1, 0], [0, 1]]
    assert turns @ turns.transpose(0, 2, 1) == pytest.approx(np.broadcast_to(np.eye(2), turns.shape), abs=1e-12)
    products = np.einsum("aij,bjk->abik", turns, turns).reshape(-1, 1, 4)
    assert np.abs(products - turns.reshape(1, -1, 4)).max(axis=2).min(axis=1).max() < 1e-12


@pytest.mark.parametrize("region", ["hexagon", *(mask for mask, _ in SHAPES.values())])
def test_turned_neurons_stay_in_their_region(region):
    points = Layout([[0, 0]], region=region).region
    shape = regions.shape_of(points)
    inside = np.random.default_rng(0).uniform(-1, 1, size=(4000, 2))
    layout = Layout(inside[shape.contains(inside, 0)], region=region)
    assert layout.n_neurons > 500
    for turn in symmetries(layout):
        assert shape.contains(layout.positions @ turn, 1e-6).all()
        back = turned(layout, turn).align_to(layout)
        assert back.positions == pytest.approx(layout.positions, abs=1e-9)
    anywhere = layout.align_to(Layout(layout.positions @ rotation(200, True), region="hull"))
    assert shape.contains(anywhere.positions, 1e-6).all()


def test_a_hull_turns_about_its_centroid_and_stays_in_the_frame():
    rng = np.random.default_rng(0)
    layout = Layout(rng.uniform(size=(30, 2)) * [1, 0.6], region="hull")
    away = Layout(layout.positions @ rotation(30, True), region="hull")
    aligned = away.align_to(layout)
    assert np.abs(aligned.positions).max() <= 1 + 1e-9
    shape, wanted = (each.positions - each.positions.mean(axis=0) for each in (aligned, layout))
    ratio = np.linalg.norm(shape) / np.linalg.norm(wanted)
    assert shape / ratio == pytest.approx(wanted, abs=1e-9)
    assert (layout.align_to(layout).positions == layout.positions).all()


@given(st.integers(0, 10**6), st.integers(1, 30))
@settings(max_examples=40, deadline=None)
def test_the_closed_form_agrees_with_procrustes(seed, n):
    rng = np.random.default_rng(seed)
    x, y = rng.normal(size=(2, n, 2))
    turn = best_turn(x.T @ y, None)
    assert turn @ turn.T == pytest.approx(np.eye(2), abs=1e-12)
    expected, _ = orthogonal_procrustes(x, y)
    assert np.linalg.norm(x @ turn - y) == pytest.approx(np.linalg.norm(x @ expected - y), abs=1e-9)


def test_distances_are_kept_and_the_dead_turn_with_the_rest():
    dead = np.arange(40) % 7 == 0
    layout, other = scattered(dead=dead), scattered(seed=1)
    aligned = layout.align_to(other)
    assert np.linalg.norm(aligned.positions, axis=1) == pytest.approx(np.linalg.norm(layout.positions, axis=1))
    turn = rotation(aligned.provenance["alignments"][0]["degrees"], aligned.provenance["alignments"][0]["reflected"])
    assert aligned.positions == pytest.approx(layout.positions @ turn, abs=1e-12)
    assert (aligned.dead == dead).all()


def test_the_dead_of_either_layout_have_no_say():
    layout = scattered(dead=np.arange(40) == 3)
    positions = layout.positions @ rotation(50)
    positions[[3, 5]] = [[0.9, 0], [0, -0.9]]
    other = Layout(positions, region="disc", dead=np.arange(40) == 5)
    live = np.flatnonzero((np.arange(40) != 3) & (np.arange(40) != 5))
    assert layout.align_to(other).positions[live] == pytest.approx(other.positions[live], abs=1e-12)


@pytest.mark.parametrize("region", ["disc", "square", "hull"])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_few_neurons(n, region):
    layout, other = scattered(n, region), scattered(n, region, seed=1)
    aligned = layout.align_to(other)
    assert np.isfinite(aligned.positions).all()
    apart = [np.linalg.norm(each.positions - other.positions) for each in (aligned, layout)]
    if region != "hull":
        assert apart[0] <= apart[1] + 1e-12
    assert (layout.align_to(layout).positions == layout.positions).all()


def test_nothing_to_go_by_leaves_the_layout_as_it_is():
    layout = scattered(dead=np.arange(40) < 20)
    all_dead = scattered(seed=1, dead=np.arange(40) >= 20)
    assert (layout.align_to(all_dead).positions == layout.positions).all()
    for region in ("disc", "square", "hull"):
        in_one_place = Layout(np.zeros((40, 2)), region=region)
        assert (in_one_place.align_to(layout).positions == 0).all()
        layout_there = scattered(region=region)
        assert (layout_there.align_to(in_one_place).positions == layout_there.positions).all()


def test_alignments_are_listed_in_order():
    first = scattered().align_to(scattered(seed=1))
    second = first.align_to(scattered(seed=2))
    assert len(second.provenance["alignments"]) == 2
    assert second.provenance["alignments"][0] == first.provenance["alignments"][0]
    assert first.align_to(scattered(seed=1)).positions == pytest.approx(first.positions, abs=1e-12)


def tuned(n: int, seed: int, n_groups: int = 8) -> tuple[Layout, tm.Profiles]:
    """Neurons scattered over a disc that answer to the groups by their direction."""
    rng = np.random.default_rng(seed)
    angle, radius = rng.uniform(0, 2 * np.pi, n), np.sqrt(rng.uniform(size=n))
    groups = np.arange(n_groups)
    values = np.cos(angle - 2 * np.pi * groups[:, None] / n_groups) * radius
    acts = tm.Activations.from_array(np.repeat(values, 2, axis=0) + 0.01 * rng.normal(size=(2 * n_groups, n)),
                                     label=np.repeat(groups, 2))  # fmt: skip
    points = radius[:, None] * np.column_stack([np.cos(angle), np.sin(angle)])
    return Layout(points, region="disc"), tm.profile(acts, by="label")


@pytest.mark.parametrize("reflect", [False, True])
def test_layers_of_different_neurons_are_aligned_by_their_profiles(reflect):
    (one, mine), (two, theirs) = tuned(300, 0), tuned(200, 1)
    away = turned(one, rotation(123, reflect))
    aligned = away.align_to(two, profiles=(mine, theirs))
    # both layers are tuned by direction, so the turn that was made comes off again but for the sampling
    assert np.linalg.norm(aligned.positions - one.positions, axis=1).max() < 0.1
    assert aligned.provenance["alignments"][0]["over"] == "profiles"


@pytest.mark.parametrize("seed", range(3))
def test_the_closed_form_is_no_worse_than_a_search_by_degrees(seed):
    (one, mine), (two, theirs) = tuned(60, seed), tuned(50, seed + 10)
    one = turned(one, rotation(37.4 * seed, seed == 1))
    weights = np.maximum(np.corrcoef(mine.values.T, theirs.values.T)[:60, 60:], 0)

    def cost(points: np.ndarray) -> float:
        return float((weights * ((points[:, None] - two.positions) ** 2).sum(axis=2)).sum())

    searched = min(
        cost(one.positions @ rotation(degree, reflect)) for degree in range(360) for reflect in (False, True)
    )
    found = cost(one.align_to(two, profiles=(mine, theirs)).positions)
    assert found <= searched + 1e-9
    assert found == pytest.approx(searched, rel=1e-3)


def test_groups_are_matched_by_name():
    (one, mine), (two, theirs) = tuned(60, 0), tuned(50, 1)
    order = np.random.default_rng(0).permutation(8)
    shuffled = replace(theirs, values=theirs.values[order], names=tuple(theirs.names[i] for i in order))
    expected = one.align_to(two, profiles=(mine, theirs)).positions
    assert one.align_to(two, profiles=(mine, shuffled)).positions == pytest.approx(expected, abs=1e-12)


def test_rows_come_by_blocks(monkeypatch):
    (one, mine), (two, theirs) = tuned(60, 0), tuned(50, 1)
    expected = one.align_to(two, profiles=(mine, theirs)).positions
    monkeypatch.setattr("topomap._compute.BLOCK_ENTRIES", 200)
    assert one.align_to(two, profiles=(mine, theirs)).positions == pytest.approx(expected, abs=1e-12)


def test_mismatches_are_refused():
    (one, mine), (two, theirs) = tuned(60, 0), tuned(50, 1)
    with pytest.raises(ValueError, match=r"these have 60 and 50.*profiles=\(mine, theirs\)"):
        one.align_to(two)
    with pytest.raises(ValueError, match="expected 60, got 50"):
        one.align_to(two, profiles=(theirs, mine))
    with pytest.raises(ValueError, match="profiles must be a pair"):
        one.align_to(two, profiles=mine)
    with pytest.raises(ValueError, match="profiles must be of type Profiles; got ndarray"):
        one.align_to(two, profiles=(mine, theirs.values))
    with pytest.raises(ValueError, match="other must be of type Layout; got ndarray"):
        one.align_to(two.positions)
    _, fewer = tuned(50, 1, n_groups=7)
    with pytest.raises(ValueError, match=r"of the same groups; '7' occurs in one alone"):
        one.align_to(two, profiles=(mine, fewer))
    alone = tm.profile(tm.Activations.from_array(np.eye(60), label=["a"] * 60), by="label", contrast="none")
    with pytest.raises(ValueError, match="one group cannot tell neurons apart"):
        one.align_to(one, profiles=(alone, alone))
