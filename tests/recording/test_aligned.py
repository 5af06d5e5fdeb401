"""Maps shifted so that the place of the largest gradient is central."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence

import topomap as tm


def line_net(head):
    """Two channels, x and -x, over 4 places, and two classes with the weights `head` of (class, channel, place)."""
    conv, out = nn.Conv1d(1, 2, 1, bias=False), nn.Linear(8, 2, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([[[1.0]], [[-1.0]]]))
        out.weight.copy_(torch.tensor(head).reshape(2, 8))
    return nn.Sequential(conv, nn.Flatten(), out)


#: class 0 looks at place 0 (channel 1 most), class 1 at places 1 (by one channel) and 3 (by both: more on average)
HEAD = [[[1.0, 0, 0, 0], [-2.0, 0, 0, 0]], [[0.0, 5.0, 0, 3.0], [0.0, 0, 0, -4.0]]]
X = torch.tensor([[[4.0, 1.0, 2.0, 1.0]], [[1.0, 2.0, 3.0, 7.0]], [[-1.0, 1.0, 5.0, 6.0]]])


def maps(acts):
    """Values as (input, *places, neuron)."""
    shape = acts.places.max(axis=0) + 1
    return acts.values.reshape(len(acts.inputs), *shape, -1)


def test_numbers_by_hand():
    run = tm.record(line_net(HEAD), (X, torch.tensor([0, 1, 1])), "0", reduce="aligned")
    acts = run["0"]
    # scores 3 * x[0] for class 0 and 5 * x[1] + 7 * x[3] for class 1
    assert run.inputs.prediction.tolist() == [0, 1, 1]
    assert acts.reduce == "aligned"
    first = [[0, 0, 4, 1], [2, 3, 7, 0], [1, 5, 6, 0]]  # place 0 goes to the centre, place 2; place 3 does
    np.testing.assert_array_equal(maps(acts)[..., 0], first)
    np.testing.assert_array_equal(maps(acts)[..., 1], -np.array(first))
    np.testing.assert_array_equal(acts.rows, np.repeat([0, 1, 2], 4))
    np.testing.assert_array_equal(acts.places[:, 0], [0, 1, 2, 3] * 3)
    # by means of the other reductions nothing changes, and positions hold the maps as they were
    both = tm.record(line_net(HEAD), X, "0", reduce=["aligned", "positions", "mean"])
    np.testing.assert_array_equal(both["0", "aligned"].values, acts.values)
    np.testing.assert_array_equal(both["0", "positions"].values[:, 0], X.ravel())
    np.testing.assert_allclose(both["0", "mean"].values[:, 0], X.mean(2).ravel())


def test_a_map_without_gradient_stays():
    net = line_net([[[0.0] * 4] * 2, [[0.0] * 4] * 2])
    np.testing.assert_array_equal(maps(tm.record(net, X, "0", reduce="aligned")["0"])[..., 0], X[:, 0])


@pytest.mark.parametrize("shape", [(5, 4), (4, 5), (1, 3), (7, 2)])
def test_every_place_can_become_central(shape):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Flatten(), nn.Linear(3 * shape[0] * shape[1], 5))
    x = torch.randn(11, 1, *shape)
    got = maps(tm.record(net, x.split(4), "0", reduce="aligned")["0"])
    for one, map_ in zip(x, got, strict=True):  # the published words, one input at a time
        before = net[0](one[None])
        scores = net[1:](before)
        gradient = torch.autograd.grad(scores[0, scores.argmax()], before)[0][0].abs().mean(0)
        i, j = np.unravel_index(gradient.argmax().item(), shape)
        big = np.zeros((3 * shape[0], 3 * shape[1], 3), dtype=np.float32)
        big[shape[0] : 2 * shape[0], shape[1] : 2 * shape[1]] = before.detach()[0].permute(1, 2, 0)
        top, left = shape[0] + i - shape[0] // 2, shape[1] + j - shape[1] // 2
        np.testing.assert_allclose(map_, big[top : top + shape[0], left : left + shape[1]], atol=1e-6)


def test_a_planted_patch_is_brought_to_the_centre():
    rng = np.random.default_rng(0)
    label = np.arange(200) % 2
    x = rng.normal(0, 0.1, size=(200, 1, 12, 12)).astype(np.float32)
    corners = rng.integers(0, 10, size=(200, 2))
    for image, (i, j), bright in zip(x, corners, label, strict=True):
        image[0, i : i + 3, j : j + 3] += 2 if bright else -2
    conv, out = nn.Conv2d(1, 2, 3, padding=1, bias=False), nn.Linear(2, 2, bias=False)
    with torch.no_grad():  # dark and bright patches, wherever they are
        conv.weight[0], conv.weight[1] = -1 / 9, 1 / 9
        out.weight.copy_(torch.eye(2))
    net = nn.Sequential(conv, nn.ReLU(), nn.AdaptiveMaxPool2d(1), nn.Flatten(), out)
    run = tm.record(net, (x, label), "1", reduce=["aligned", "positions"])
    assert run.inputs.correct.all()
    for kind in (0, 1):
        aligned, as_it_was = (maps(run["1", way])[label == kind, ..., kind] for way in ("aligned", "positions"))
        expected = np.outer([1, 2, 3, 2, 1], [1, 2, 3, 2, 1]) * 2 / 9  # the patch, blurred by the filter
        np.testing.assert_allclose(aligned.mean(axis=0)[4:9, 4:9], expected, atol=0.25)
        assert aligned.mean(axis=0).max() == aligned.mean(axis=0)[6, 6] > 1.9
        assert as_it_was.mean(axis=0).max() < 0.7
        assert np.delete(aligned.mean(axis=0).ravel(), [6 * 12 + 6]).max() < 1.5
    profiles = tm.profile(run["1", "aligned"], "label", places=True, contrast="none")
    largest = profiles.values.argmax(axis=1)  # the place of every channel's largest value: that of its own class
    assert profiles.places[largest[0, 0]].tolist() == profiles.places[largest[1, 1]].tolist() == [6, 6]


def test_hidden_tokens_are_not_salient_and_are_zero():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.embed, self.out = nn.Embedding(9, 3), nn.Linear(12, 2, bias=False)
            with torch.no_grad():
                self.embed.weight.copy_(torch.arange(9.0)[:, None].expand(9, 3))
                self.out.weight.copy_(
                    torch.tensor([1.0, 2.0, 3.0, 4.0]).repeat_interleave(3) * torch.tensor([[1.0], [0]])
                )

        def forward(self, input_ids, attention_mask=None):
            return self.out(self.embed(input_ids).flatten(1))

    batch = {
        "input_ids": torch.tensor([[1, 2, 3, 4], [5, 6, 7, 8]]),
        "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]),
    }
    acts = tm.record(Tokens(), [batch], "embed", reduce="aligned")["embed"]
    assert maps(acts)[..., 0].tolist() == [[2, 3, 4, 0], [0, 5, 6, 0]]  # place 3 is largest, and place 1 of those shown


def convnet():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.BatchNorm2d(4),
        nn.ReLU(inplace=True),
        nn.Conv2d(4, 6, 3),
        nn.ReLU(inplace=True),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(96, 3),
    )


IMAGES = torch.randn(10, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_layers_of_one_recording_are_those_of_single_ones_and_in_place_functions_do_no_harm():
    layers = ["0", "1", "2", "3", "4"]
    together = tm.record(convnet(), IMAGES.split(4), layers, reduce=["aligned", "mean"])
    plain = tm.record(convnet(), IMAGES.split(4), layers)
    for layer in layers:
        alone = tm.record(convnet(), IMAGES, layer, reduce="aligned")[layer]
        np.testing.assert_allclose(together[layer, "aligned"].values, alone.values, atol=1e-6)
        np.testing.assert_array_equal(together[layer, "mean"].values, plain[layer].values)
    assert (together["0", "aligned"].values < 0).any()  # as it was in front of the ReLU that writes over it
    np.testing.assert_array_equal(together.inputs.confidence, plain.inputs.confidence)


@pytest.mark.parametrize("frozen", [False, True, "first"])
def test_the_model_is_as_it_was(frozen):
    net = convnet().train()
    for parameter in net.parameters() if frozen is True else net[0].parameters() if frozen else ():
        parameter.requires_grad_(False)
    net[7].weight.grad = torch.ones_like(net[7].weight)
    state = {name: value.clone() for name, value in net.state_dict().items()}
    needs = [p.requires_grad for p in net.parameters()]
    with torch.inference_mode():  # the caller's mode does not matter, and is put back
        run = tm.record(net, IMAGES, ["0", "3"], reduce="aligned")
        assert torch.is_inference_mode_enabled()
    free = convnet().eval()
    np.testing.assert_array_equal(run["3"].values, tm.record(free, IMAGES, "3", reduce="aligned")["3"].values)
    assert net.training
    assert [p.requires_grad for p in net.parameters()] == needs
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    grads = [p.grad for p in net.parameters()]
    assert (grads[-2] == 1).all()
    assert [g is None for g in grads] == [True] * 6 + [False, True]
    assert not any(len(m._forward_hooks) for m in net.modules())


def test_layers_without_places_are_kept_as_they_are():
    run = tm.record(convnet(), IMAGES, ["3", "7"], reduce="aligned")
    assert (run["3"].reduce, run["7"].reduce) == ("aligned", "none")
    assert run["7", "aligned"] is run["7"]


def test_a_run_folder_keeps_them(tmp_path):
    kept = tm.record(convnet(), IMAGES.split(3), "3", reduce="aligned", n=8, to=tmp_path / "run")["3"]
    there = tm.open_run(tmp_path / "run")["3"]
    held = tm.record(convnet(), IMAGES, "3", reduce="aligned", n=8)["3"]
    for acts in (kept, there):
        np.testing.assert_allclose(acts.values[:], held.values, atol=1e-6)
        np.testing.assert_array_equal(acts.places, held.places)
        np.testing.assert_array_equal(acts.rows, held.rows)
    assert there.reduce == "aligned"


class Heads(nn.Module):
    """A head that the prediction comes from, and one beside."""

    def __init__(self):
        super().__init__()
        self.conv, self.beside, self.out = nn.Conv1d(1, 2, 1), nn.Conv1d(2, 3, 1), nn.Linear(8, 2)

    def forward(self, x):
        y = self.conv(x)
        self.beside(y)
        return self.out(y.flatten(1))


def test_a_layer_beside_the_prediction_is_left_out_or_refused():
    run = tm.record(Heads(), X, reduce="aligned")
    assert run.layers == ("conv", "out")
    assert "do not depend on layer 'beside'" in run.provenance["skipped"]["beside"]
    with pytest.raises(ValueError, match=r"do not depend on layer 'beside' \(call 0\) in a way that has a gradient"):
        tm.record(Heads(), X, ["conv", "beside"], reduce="aligned")


def test_what_has_no_gradient_is_refused():
    net = convnet()
    with pytest.raises(ValueError, match=r"output is no prediction: it must have shape \(n, n_classes\)"):
        tm.record(net, IMAGES, "3", reduce="aligned", logits=False)
    with pytest.raises(ValueError, match="output is no prediction"):
        tm.record(net, (IMAGES, torch.arange(10)), "3", reduce="aligned")  # labels up to 9, and three classes

    def still(model, batch):
        with torch.no_grad():
            return model(batch)

    with pytest.raises(ValueError, match="takes the gradient of the predictions, and these have none"):
        tm.record(net, IMAGES, "3", reduce="aligned", forward=still)
    with pytest.raises(ValueError, match="these have none"):
        tm.record(net, IMAGES, "3", reduce="aligned", logits=lambda out: out.detach())
    with pytest.raises(ValueError, match=r"reduce must be one of .*Did you mean 'aligned'"):
        tm.record(net, IMAGES, "3", reduce="align")

    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv = nn.Conv1d(1, 2, 1)

        def forward(self, x):
            y = self.conv(x).exp()
            z = y * y
            y += 1  # what the backward pass of the product needs
            return z.mean(2)

    assert tm.record(Broken(), X, "conv")["conv"].n_rows == 3
    with pytest.raises(ValueError, match=r"gradient of the predictions cannot be taken: .*inplace operation"):
        tm.record(Broken(), X, "conv", reduce="aligned")


def test_packed_sequences_are_refused():
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.out = nn.GRU(1, 3), nn.Linear(3, 2)

        def forward(self, x):
            _, state = self.rnn(pack_padded_sequence(x, torch.full((len(x),), 5), batch_first=True))
            return self.out(state[0])

    x = torch.randn(4, 5, 1)
    with pytest.raises(ValueError, match="'rnn' are a packed sequence: reduce='aligned' cannot be had"):
        tm.record(Packed(), x, "rnn", reduce="aligned")
    assert tm.record(Packed(), x, "rnn")["rnn"].n_rows == 4


def test_recurrent_layers_over_steps():
    class Steps(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.out = nn.LSTM(2, 3, batch_first=True), nn.Linear(3, 2)

        def forward(self, x):
            return self.out(self.rnn(x)[0][:, 1])

    torch.manual_seed(0)
    net, x = Steps(), torch.randn(4, 5, 2)
    acts = tm.record(net, x, "rnn", reduce="aligned")["rnn"]
    whole = net.rnn(x)[0].detach().numpy()  # the second step alone matters, and goes one to the right
    np.testing.assert_allclose(maps(acts)[:, 1:], whole[:, :-1], atol=1e-6)
    assert not maps(acts)[:, 0].any()


@pytest.mark.gpu
def test_aligned_on_a_gpu():
    class Steps(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn, self.out = nn.GRU(8, 3, batch_first=True), nn.Linear(3, 2)

        def forward(self, x):
            return self.out(self.rnn(x[:, 0])[0][:, 1])

    torch.manual_seed(0)
    for net, layer in ((Steps(), "rnn"), (convnet(), "3")):
        there = tm.record(net, IMAGES, layer, reduce="aligned", device="cuda")[layer]
        here = tm.record(net, IMAGES, layer, reduce="aligned", device="cpu")[layer]
        np.testing.assert_allclose(there.values, here.values, atol=1e-3)


def test_a_module_called_twice_is_aligned_for_each_call():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.out = nn.Conv1d(1, 1, 1, bias=False), nn.Linear(4, 2, bias=False)
            with torch.no_grad():
                self.conv.weight.fill_(2.0)
                self.out.weight.copy_(torch.tensor([[9.0, 1, 0, 0], [0, 0, 0, 0]]))

        def forward(self, x):
            return self.out(self.conv(self.conv(x).flip(2)).flatten(1))

    x = X.abs()
    run = tm.record(Twice(), x, "conv", reduce="aligned", axis={"conv": (0, 1)})
    # of the first call place 3 is flipped to place 0, which is that of the second call
    assert maps(run["conv#0"])[0, :, 0].tolist() == (2 * torch.tensor([1.0, 2.0, 1.0, 0])).tolist()
    assert maps(run["conv#1"])[0, :, 0].tolist() == (4 * torch.tensor([0, 0, 1.0, 2.0])).tolist()
