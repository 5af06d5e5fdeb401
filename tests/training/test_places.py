from __future__ import annotations

import numpy as np
import pytest

import topomap as tm
from topomap.run import Run
from topomap.training import lay_out, measure_steps

DEAD = np.arange(40) == 0


def lay(run: Run, layout: object, **options: object) -> object:
    return lay_out(run, "fc", layout, always_dead=DEAD, progress=False, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(("kind", "step"), [("last", 8), ("first", 0)])
def test_fixed_layouts_are_those_of_embed(training: Run, kind: str, step: int) -> None:
    places = lay_out(training, "fc", kind, always_dead=DEAD, seed=3, progress=False)
    expected = tm.embed(tm.correlate(training.at(step)["fc"]), seed=3)
    for time in (0.0, 1.5, 4.0):
        np.testing.assert_array_equal(places.at(time).positions, expected.positions)
    assert not places.moving
    # neurons that die later take part in the maps of earlier steps
    np.testing.assert_array_equal(places.at(0).dead, DEAD)


def test_joint_layout_does_not_move(training: Run) -> None:
    places = lay_out(training, "fc", "joint", always_dead=DEAD, progress=False)
    np.testing.assert_array_equal(places.at(0).positions, places.at(4).positions)
    assert places.provenance["steps"] == list(training.steps)  # which captions count
    last = lay_out(training, "fc", "last", always_dead=DEAD, progress=False)
    assert np.abs(places.at(0).positions - last.at(0).positions).max() > 0.01


def test_moving_layouts_pass_through_those_of_the_checkpoints_without_jumps(training: Run) -> None:
    places = lay_out(training, "fc", "moving", always_dead=DEAD, progress=False)
    similar = {step: tm.correlate(training.at(step)["fc"]) for step in training.steps}
    for i, layout in enumerate(tm.embed_jointly(similar, over="checkpoints").values()):
        np.testing.assert_allclose(places.at(i).positions, layout.positions, atol=1e-12)
    times = np.linspace(0, 4, 401)
    ways = np.stack([places.at(time).positions for time in times])
    pace = np.linalg.norm(np.diff(ways, axis=0), axis=2)
    # of a smooth way from a to b in 100 frames no frame takes more than a few hundredths
    assert (pace.reshape(4, 100, -1).max(axis=1) <= 0.04 * np.linalg.norm(ways[100::100] - ways[:-1:100], axis=2)).all()
    # and never out of the way between two places (monotone along each axis)
    low, high = np.minimum(ways[:-1:100], ways[100::100]), np.maximum(ways[:-1:100], ways[100::100])
    inside = ways[:-1].reshape(4, 100, 40, 2)
    assert (inside >= low[:, None] - 1e-12).all()
    assert (inside <= high[:, None] + 1e-12).all()
    np.testing.assert_allclose(places.moves(1.0), np.linalg.norm(ways[100::100] - ways[:-1:100], axis=2).max(axis=1))


def test_a_given_layout_stays(training: Run) -> None:
    mine = tm.Layout(np.random.default_rng(0).uniform(-1, 1, (40, 2)), region="square")
    assert lay_out(training, "fc", mine, always_dead=DEAD, progress=False).at(2).region == "square"
    with pytest.raises(ValueError, match="layout must have one entry per neuron of the layer: expected 40, got 3"):
        lay(training, tm.Layout([[0, 0], [1, 0], [0, 1]]))
    with pytest.raises(ValueError, match="layout must be one of 'last', 'first', 'joint', 'moving'"):
        lay(training, "lats")


def test_same_seed_same_places(training: Run) -> None:
    a, b = (lay_out(training, "fc", "moving", always_dead=DEAD, seed=1, progress=False) for _ in range(2))
    assert a.at(1.3).positions.tobytes() == b.at(1.3).positions.tobytes()


def test_quality_is_that_of_measure_layout_at_each_step(training: Run) -> None:
    places = lay_out(training, "fc", "last", always_dead=DEAD, progress=False)
    quality = measure_steps(training, "fc", places, most=3, progress=False)
    assert quality.steps.tolist() == [0, 2, 8]
    for i, step in enumerate(quality.steps):
        expected = tm.measure_layout(places.at(0), tm.correlate(training.at(int(step))["fc"]), progress=False)
        assert quality.trustworthiness[i] == expected.trustworthiness
        assert quality.knn[i] == expected.knn
    assert quality.knn[2] > quality.knn[0]  # it is the layout of the last step
