from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

import topomap as tm
from topomap.run import Activations, Run
from topomap.training import collect as collect_module
from topomap.training import collect_maps
from topomap.training.steps import choose_steps, spread


def test_maps_are_the_profiles_of_each_step(training: Run) -> None:
    maps = collect_maps(training, "fc", progress=False)
    assert maps.values.shape == (5, 3, 40)
    for i, step in enumerate(training.steps):
        profiles = tm.profile(training.at(step)["fc"], by="label")
        order = [profiles.names.index(name) for name in maps.titles]
        np.testing.assert_allclose(maps.values[i], profiles.scaled[order], rtol=1e-6)
        live = ~profiles.dead
        np.testing.assert_allclose(profiles.scaled_noise[order][:, live].T, [maps.floors[i]] * live.sum(), rtol=1e-9)
        np.testing.assert_array_equal(maps.dead[i], profiles.dead)
        np.testing.assert_array_equal(maps.counts[i], profiles.counts[order])


def test_one_order_for_all_steps_that_of_the_last(training: Run) -> None:
    last = tm.profile(training["fc"], by="label")
    maps = collect_maps(training, "fc", progress=False)
    assert maps.titles == tuple(last.names[i] for i in last.order)
    assert collect_maps(training, "fc", groups=["emu", "cat"], progress=False).titles == ("emu", "cat")


def test_groups_that_come_and_go_keep_their_place(training: Run) -> None:
    maps = collect_maps(training, "fc", ("label", "correct"), progress=False)
    assert set(maps.titles) == {
        "cat, correct",
        "cat, wrong",
        "dog, correct",
        "dog, wrong",
        "emu, correct",
        "emu, wrong",
    }
    dog = maps.titles.index("dog, correct")
    assert maps.counts[:, dog].tolist() == [0, 12, 12, 12, 12]
    assert not maps.values[0, dog].any()
    assert maps.values[1, dog].any()
    assert maps.counts[:, maps.titles.index("cat, wrong")].tolist() == [1] * 5
    assert maps.small[:, maps.titles.index("cat, wrong")].all()
    assert maps.keys[dog] == (1, True)


def test_difference_is_the_contrast_to_the_second_group(training: Run) -> None:
    maps = collect_maps(training, "fc", kinds=["difference"], difference=[("cat", "emu")], progress=False)
    assert maps.titles == ("cat − emu",)
    against = tm.profile(training.at(4)["fc"], by="label", contrast="emu")
    np.testing.assert_allclose(maps.values[3, 0], against.scaled[0], rtol=1e-6)
    # two groups of 12 that do not overlap: s sqrt(1/12 + 1/12) in deviations with ddof 0
    assert maps.floors[3, 0] == pytest.approx(1.96 * np.sqrt(2 / 12) * np.sqrt(36 / 35))
    assert maps.others.tolist() == [[12]] * 5


def test_single_inputs_are_their_scores(training: Run) -> None:
    maps = collect_maps(training, "fc", kinds=["inputs"], inputs=[35, 2], progress=False)
    assert maps.titles == ("input 35: emu", "input 2: cat")
    np.testing.assert_allclose(maps.values[2], training.at(2)["fc"].scores[[35, 2]], rtol=1e-5)
    assert not maps.small.any()


def test_roles_are_planted(training: Run) -> None:
    maps = collect_maps(training, "fc", progress=False)
    roles = maps.roles(4)
    names = np.array([*maps.titles, "none"])[roles]
    assert names[1:10].tolist() == ["cat"] * 9
    assert names[10:20].tolist() == ["dog"] * 10
    assert names[20:30].tolist() == ["emu"] * 10
    assert roles[0] == -1  # dead
    assert (roles[-5:] == -1).all()


def test_values_of_many_steps_lie_in_a_file(training: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = collect_maps(training, "fc", ("label", "correct"), progress=False)
    monkeypatch.setattr(collect_module, "_IN_MEMORY", 100)
    held = collect_maps(training, "fc", ("label", "correct"), progress=False)
    assert isinstance(held.values, np.memmap)
    np.testing.assert_array_equal(whole.values, held.values)


def test_moments_give_the_same_maps(training: Run) -> None:
    runs = {}
    for step in training.steps:
        acts = training.at(step)["fc"]
        assert isinstance(acts, Activations)
        profiles = tm.profile(acts, by="label", contrast="none")
        spread_ = [acts.values[acts.labels == g].var(axis=0, ddof=1) for g in range(3)]
        group = tm.run.GroupMoments(
            ("label",), profiles.names, profiles.keys, profiles.counts, profiles.values, np.array(spread_)
        )
        low, high = acts.values.min(axis=0), acts.values.max(axis=0)
        moments = tm.Moments(
            36, acts.mean, acts.values.var(axis=0, ddof=1), groupings=(group,), layer="fc", minimum=low, maximum=high
        )
        runs[step] = Run(acts.inputs, {("fc", "none"): moments})
    found = collect_maps(Run.from_snapshots(runs), "fc", progress=False)
    np.testing.assert_allclose(found.values, collect_maps(training, "fc", progress=False).values, atol=2e-5)


def test_steps() -> None:
    assert spread(1000, 3).tolist() == [0, 500, 999]


def test_mistakes_name_the_way_out(training: Run) -> None:
    still = training.at(4)
    with pytest.raises(ValueError, match=r"record a training with tm\.TrainingRecorder"):
        collect_maps(still, "fc", progress=False)
    with pytest.raises(ValueError, match="there is no snapshot at step 3; the nearest are 2 and 4"):
        choose_steps(training, [0, 3])
    with pytest.raises(ValueError, match="at least 2 snapshots"):
        choose_steps(training, [4])
    with pytest.raises(ValueError, match=r"groups must be one of .*; got 'cta'\. Did you mean 'cat'"):
        collect_maps(training, "fc", groups=["cta"], progress=False)
    with pytest.raises(ValueError, match="inputs must be positions from 0 to 35; got 99"):
        collect_maps(training, "fc", kinds=["inputs"], inputs=[99], progress=False)
    with pytest.raises(ValueError, match="asked for twice"):
        collect_maps(training, "fc", groups=["cat", "cat"], progress=False)
    acts = training["fc"]
    assert isinstance(acts, Activations)
    other = Run(acts.inputs, {("fc", "none"): replace(acts, values=acts.values[:, :7])})
    mixed = Run.from_snapshots({0: other, 8: still})
    with pytest.raises(ValueError, match="has 7 neurons at step 0 and 40 at the last"):
        collect_maps(mixed, "fc", progress=False)
