"""Layers and checkpoints laid out so that places can be compared."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

import topomap as tm
from topomap.layout import Layout, embed, embed_jointly
from topomap.layout.regions import SHAPES

N_GROUPS = 6


def layer(n: int, seed: int, noise: float = 0.3) -> tm.Activations:
    """Neurons tuned to a direction of the inputs, which come in groups of directions."""
    rng = np.random.default_rng(0)
    direction = np.linspace(0, 2 * np.pi, 240, endpoint=False) + 0.1 * rng.normal(size=240)
    rng = np.random.default_rng(seed)
    tuning = rng.uniform(0, 2 * np.pi, size=n)
    values = np.exp(2 * np.cos(direction[:, None] - tuning)) / 7 + noise * rng.normal(size=(240, n))
    return tm.Activations.from_array(values, label=np.repeat(np.arange(N_GROUPS), 240 // N_GROUPS))


@pytest.fixture(scope="module")
def layers():
    return {"fc1": layer(150, 1), "fc2": layer(90, 2)}


def centroids(layout: Layout, acts: tm.Activations) -> np.ndarray:
    """Where the map of each group has its weight."""
    weights = np.maximum(tm.profile(acts, by="label").scaled, 0)
    return weights @ layout.positions / weights.sum(axis=1, keepdims=True)


def apart(layouts, layers) -> float:
    one, other = (centroids(layouts[name], layers[name]) for name in layers)
    return float(np.linalg.norm(one - other, axis=1).mean())


@pytest.mark.parametrize(("method", "region"), [(None, "disc"), (None, "square"), ("tsne", "hull")])
def test_the_same_place_means_the_same_in_every_layer(layers, method, region):
    similarities = {name: tm.correlate(acts) for name, acts in layers.items()}
    jointly = embed_jointly(similarities, over="layers", method=method, region=region)
    assert list(jointly) == ["fc1", "fc2"]
    assert [each.n_neurons for each in jointly.values()] == [150, 90]
    assert {each.region for each in jointly.values()} == {region}
    # groups of opposite directions lie on opposite sides, about 1 apart
    assert apart(jointly, layers) < 0.2
    centres = centroids(jointly["fc1"], layers["fc1"])
    assert np.linalg.norm(centres[:3] - centres[3:], axis=1).min() > 0.4

    again = embed_jointly(list(similarities.values()), over="layers", method=method, region=region)
    assert isinstance(again, list)
    for one, other in zip(again, jointly.values(), strict=True):
        assert one.positions.tobytes() == other.positions.tobytes()


def test_jointly_is_closer_than_each_for_itself(layers):
    similarities = {name: tm.correlate(acts) for name, acts in layers.items()}
    profiles = {name: tm.profile(acts, by="label") for name, acts in layers.items()}
    found = []
    for seed in range(3):
        alone = {name: embed(each, "tsne", seed=seed) for name, each in similarities.items()}
        mirrored = Layout(alone["fc2"].positions * [-1, 1], region="disc")
        aligned = {**alone, "fc2": mirrored.align_to(alone["fc1"], profiles=(profiles["fc2"], profiles["fc1"]))}
        jointly = embed_jointly(similarities, "layers", "tsne", seed=seed)
        found.append([apart(each, layers) for each in ({**alone, "fc2": mirrored}, aligned, jointly)])
    for_itself, aligned_after, together = np.mean(found, axis=0)
    assert aligned_after < 0.5 * for_itself
    assert together < 0.8 * aligned_after + 0.05


def test_layers_together_are_parts_of_one_layout(layers):
    acts = list(layers.values())
    acts[1] = tm.Activations.from_array(np.where(np.arange(90) == 4, 1.0, acts[1].values))
    jointly = embed_jointly([tm.correlate(each) for each in acts], "layers", "pca", together=True)
    everything = np.concatenate([np.asarray(each.values) for each in acts], axis=1)
    whole = embed(tm.correlate(everything), "pca")
    assert np.concatenate([each.positions for each in jointly]) == pytest.approx(whole.positions, abs=1e-4)
    assert [np.flatnonzero(each.dead).tolist() for each in jointly] == [[], [4]]


def drift(n: int = 80) -> list[tm.Similarity]:
    """Three checkpoints of one layer; one neuron is dead at first."""
    rng = np.random.default_rng(3)
    values = np.asarray(layer(n, 5).values)
    out = []
    for step in range(3):
        now = values + 0.1 * rng.normal(size=values.shape) * (2 - step)
        if step == 0:
            now[:, 7] = 0
        out.append(tm.correlate(now))
    return out


@pytest.mark.parametrize("method", [None, "tsne"])
def test_neurons_stay_about_where_they_are_between_checkpoints(method):
    checkpoints = drift()
    layouts = embed_jointly(checkpoints, over="checkpoints", method=method)
    assert (layouts[2].positions == embed(checkpoints[2], method).positions).all()
    assert [np.flatnonzero(each.dead).tolist() for each in layouts] == [[7], [], []]
    rng = np.random.default_rng(0)
    for early, late in pairwise(layouts):
        both = ~(early.dead | late.dead)
        moved = np.linalg.norm(early.positions - late.positions, axis=1)[both]
        by_chance = np.linalg.norm(early.positions - rng.permutation(late.positions), axis=1)[both]
        assert np.median(moved) < 0.4 * np.median(by_chance)
        assert early.provenance["alignments"][-1]["to"] == repr(late)


def test_checkpoints_together_have_one_layout():
    checkpoints = dict(zip("abc", drift(), strict=True))
    layouts = embed_jointly(checkpoints, "checkpoints", "pca", together=True)
    assert list(layouts) == ["a", "b", "c"]
    for each in layouts.values():
        assert (each.positions == layouts["c"].positions).all()
    assert np.flatnonzero(layouts["a"].dead).tolist() == [7]
    assert not layouts["b"].dead.any()
    # one checkpoint three times is that checkpoint
    same = embed_jointly([checkpoints["c"]] * 3, "checkpoints", "pca", together=True)
    assert same[0].positions == pytest.approx(embed(checkpoints["c"], "pca").positions, abs=1e-4)


@pytest.mark.parametrize("over", ["layers", "checkpoints"])
@pytest.mark.parametrize("together", [False, True])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
@pytest.mark.filterwarnings("ignore::topomap.TopomapWarning")
def test_few_neurons(over, together, n):
    rng = np.random.default_rng(0)
    given = [tm.correlate(rng.normal(size=(30, n))) for _ in range(2)]
    layouts = embed_jointly(given, over, together=together)
    for each in layouts:
        assert each.positions.shape == (n, 2)
        assert SHAPES["disc"].contains(each.positions).all()


@pytest.mark.filterwarnings("ignore::topomap.TopomapWarning")
@pytest.mark.parametrize("over", ["layers", "checkpoints"])
def test_layers_without_a_sign_of_life(over):
    dead, same = (
        tm.correlate(np.ones((30, 6))),
        tm.correlate(np.random.default_rng(0).normal(size=(30, 1)) * np.ones(6)),
    )
    for pair in ([dead, same], [same, dead], [dead, dead], [same, same]):
        for layout, given in zip(embed_jointly(pair, over), pair, strict=True):
            assert np.isfinite(layout.positions).all()
            assert (layout.dead == given.dead).all()


def test_what_cannot_be_laid_out_jointly_is_refused(layers):
    one, two = (tm.correlate(acts) for acts in layers.values())
    with pytest.raises(ValueError, match="over must be one of 'layers', 'checkpoints'; got 'layer'"):
        embed_jointly([one, two], over="layer")
    with pytest.raises(ValueError, match="at least one of the layers"):
        embed_jointly({}, over="layers")
    with pytest.raises(ValueError, match=r"of the same neurons; got 'a': 150, 'b': 90.*over='layers'"):
        embed_jointly({"a": one, "b": two}, over="checkpoints")
    with pytest.raises(
        ValueError, match=r"similarities\[0\] and similarities\[1\] must be correlated over the same inputs"
    ):
        embed_jointly([one, tm.correlate(np.asarray(layers["fc2"].values)[:100])], over="layers")
    with pytest.raises(ValueError, match=r"similarities\[1\] must be of type Similarity; got Activations"):
        embed_jointly([one, layers["fc2"]], over="layers")
    with pytest.raises(ValueError, match=r"similarities\['b'\] must be of type Similarity; got Activations"):
        embed_jointly({"a": one, "b": layers["fc1"]}, over="checkpoints")
    with pytest.raises(ValueError, match="pca does not start from another layout"):
        embed_jointly([one, two], over="layers", method="pca")
