"""Ablation: exactly these neurons, exactly these values, and a model that is afterwards as it was."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils.rnn import pack_sequence

import topomap as tm


def dense(weight, bias=None):
    weight = torch.tensor(weight, dtype=torch.float32)
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(torch.tensor(bias))
    return layer


def by_hand():
    """Hidden units x, 2 x and -x (then ReLU), whose sum with weights 1, 10 and 100 is the output."""
    return nn.Sequential(dense([[1.0], [2.0], [-1.0]]), nn.ReLU(), dense([[1.0, 10.0, 100.0]]))


X = torch.tensor([[1.0], [2.0], [-3.0]])


def hooks(model):
    return [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules()], "forward" in model.__dict__


def run(model, x, *args, **options):
    with tm.ablate(model, *args, **options), torch.no_grad():
        return model(x)


@pytest.mark.parametrize(
    ("layer", "neurons", "to", "expected"),
    [
        ("1", [0], 0.0, [20, 40, 300]),
        ("1", 1, 0.0, [1, 2, 300]),
        ("1", [2], 5.0, [521, 542, 500]),
        ("1", [2, 0, 0], [7.0, 8.0, 9.0], [927, 947, 907]),
        ("1", np.array([False, True, True]), 0.0, [1, 2, 0]),
        ("0", [2], 1.0, [121, 142, 100]),
        ("0", [2], -1.0, [21, 42, 0]),
        ("2", [0], 4.0, [4, 4, 4]),
        ("model", [0], 4.0, [4, 4, 4]),
    ],
)
def test_numbers_by_hand(layer, neurons, to, expected):
    assert run(by_hand(), X, layer, neurons, to).flatten().tolist() == expected


def test_silencing_is_zeroing_the_weights_of_the_next_layer():
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 4)), torch.randn(6, 5)
    silenced = run(net, x, "1", [2, 5, 8])
    with torch.no_grad():
        net[2].weight[:, [2, 5, 8]] = 0
        torch.testing.assert_close(silenced, net(x), rtol=0, atol=1e-6)


def test_the_mean_of_a_layer_is_one_value_per_neuron():
    net = by_hand()
    acts = tm.record(net, X, "1")["1"]
    assert acts.mean.tolist() == [1, 2, 1]
    assert run(net, X, "1", [1, 2], acts.mean).flatten().tolist() == [121, 122, 120]
    moments = tm.record(net, X, "1", keep="moments")["1"]
    assert run(net, X, "1", [1, 2], moments.mean).flatten().tolist() == [121, 122, 120]
    profiles = tm.profile(acts.with_labels(label=[0, 0, 1]), "label", contrast="none")
    assert run(net, X, "1", [0, 1, 2], torch.tensor(profiles.values[1])).flatten().tolist() == [300] * 3


@given(st.data())
def test_only_chosen_neurons_change(data):
    net = nn.Sequential(dense(np.arange(1.0, 8)[:, None].tolist()), nn.ReLU(), nn.Identity())
    neurons = data.draw(st.lists(st.integers(0, 6), min_size=1, unique=True))
    value = data.draw(st.floats(-100, 100, width=32))
    out = run(net, torch.ones(2, 1), data.draw(st.sampled_from(["0", "1", "2"])), neurons, value)
    expected = np.tile(np.arange(1.0, 8), (2, 1))
    expected[:, neurons] = value
    after = out.numpy()
    expected = np.where((expected < 0) & (after == 0), 0, expected)  # the ReLU behind the first layer
    np.testing.assert_array_equal(after, expected)


@pytest.mark.parametrize("layer", ["0", "1", "2"])
@pytest.mark.parametrize("n", [2, 3, 5])  # as many inputs as channels or positions: nothing follows from sizes
def test_channels_are_changed_at_every_position(layer, n):
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Conv2d(2, 3, 2), nn.ReLU(inplace=True), nn.BatchNorm2d(3)).eval(), torch.randn(n, 2, 4, 6)
    before = tm.record(net, x, layer, reduce="positions")[layer]
    with tm.ablate(net, layer, [1], to=2.5):
        after = tm.record(net, x, layer, reduce="positions")[layer]
    np.testing.assert_array_equal(after.values[:, [0, 2]], before.values[:, [0, 2]])
    assert (after.values[:, 1] == 2.5).all()


class ChannelsLast(nn.Module):
    """One ReLU after a convolution, and once more with the channels last."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv1d(1, 4, 1), nn.ReLU()

    def forward(self, x):
        y = self.relu(self.conv(x))
        return y, self.relu(y.transpose(1, 2) + 1)


def test_one_module_at_two_places_has_two_axes_and_calls_have_numbers():
    torch.manual_seed(0)
    net, x = ChannelsLast(), torch.rand(4, 1, 4)
    before, behind = run(net, x, "relu", [3], 9.0)
    assert (before[:, 3] == 9).all()
    assert not (before[:, :3] == 9).any()
    assert (behind[..., 3] == 9).all()
    assert not (behind[..., :3] == 9).any()
    plain, _ = run(net, x, "relu#1", [3], 9.0)
    with torch.no_grad():
        torch.testing.assert_close(plain, net(x)[0])
    changed, behind = run(net, x, "relu#0", [3], 9.0)
    assert (changed[:, 3] == 9).all()
    assert (behind[..., 3] == 10).all()
    with pytest.raises(ValueError, match="layer 'relu' did not run 3 times in one forward pass"):
        run(net, x, "relu#2", [3])


class Steps(nn.Module):
    """A convolution and a ReLU as often as they are asked for, channels last in the end where that is wanted."""

    def __init__(self):
        super().__init__()
        self.conv, self.relu = nn.Conv1d(3, 3, 1), nn.ReLU()

    def forward(self, x, steps, last=False):
        for _ in range(steps):
            x = self.relu(self.conv(x))
        return self.relu(x.transpose(1, 2)) if last else x


def test_passes_after_the_first_are_not_followed_and_are_the_same():
    torch.manual_seed(0)
    net, x = Steps(), torch.rand(3, 3, 3)
    with tm.ablate(net, "relu", [1], to=7.0), torch.no_grad():
        for steps in (2, 1, 4):  # more calls than were followed, too
            out = net(x, steps)
            assert (out[:, 1] == 7).all()
            assert not (out[:, [0, 2]] == 7).any()
    with tm.ablate(net, "relu", [1], to=7.0), torch.no_grad():
        for _ in range(2):
            out = net(x, 1, last=True)
            assert (out[..., 1] == 7).all()
        with pytest.raises(ValueError, match="neuron of layer 'relu' is ambiguous"):
            net(x, 2)  # the calls that were followed do not agree, and nothing is guessed


def test_hidden_units_of_a_transformer():
    torch.manual_seed(0)
    net = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 2).eval()
    x = torch.randn(3, 5, 8)
    silenced = run(net, x, "layers.1.linear1", [0, 7])
    untouched = run(net, x, "layers.1.linear1", [0], [-1.0] * 16)  # below zero, which the ReLU behind makes zero
    with torch.no_grad():
        net.layers[1].linear2.weight[:, [0, 7]] = 0
        torch.testing.assert_close(silenced, net(x), rtol=0, atol=1e-5)
    assert not torch.equal(silenced, untouched)
    assert torch.backends.mha.get_fastpath_enabled()


def test_recurrent_and_packed_sequences():
    torch.manual_seed(0)
    net = nn.GRU(3, 4)
    x = torch.randn(6, 2, 3)
    sequence, state = run(net, x, "model", [1], 5.0)
    assert (sequence[..., 1] == 5).all()
    with torch.no_grad():
        expected = net(x)
    torch.testing.assert_close(sequence[..., [0, 2, 3]], expected[0][..., [0, 2, 3]])
    torch.testing.assert_close(state, expected[1])
    packed = pack_sequence([torch.randn(4, 3), torch.randn(2, 3)])
    changed, _ = run(net, packed, "model", [1], 5.0)
    assert (changed.data[:, 1] == 5).all()
    assert changed.data.shape == (6, 4)


class Pair(NamedTuple):
    first: Any
    second: Any


@dataclass(frozen=True)
class Parts:
    numbers: Any
    hidden: Any


@pytest.mark.parametrize(
    ("wrap", "unwrap"),
    [
        (lambda y: (y, "state"), lambda out: out[0]),
        (lambda y: [torch.arange(2), (y,)], lambda out: out[1][0]),
        (lambda y: Pair(None, y), lambda out: out.second),
        (lambda y: {"mask": None, "hidden": y}, lambda out: out["hidden"]),
        (lambda y: Parts(torch.arange(3), y), lambda out: out.hidden),
    ],
)
def test_containers_keep_their_type_and_what_else_is_in_them(wrap, unwrap):
    class Wrapped(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = dense([[1.0], [2.0]])

        def forward(self, x):
            return wrap(self.inner(x))

    net = nn.Sequential(Wrapped())
    plain, out = net(X), run(net, X, "0", [1], 7.0)
    assert type(out) is type(plain)
    assert unwrap(out).tolist() == [[1, 7], [2, 7], [-3, 7]]
    assert unwrap(plain).tolist() == [[1, 2], [2, 4], [-3, -6]]


def test_outputs_of_hugging_face_models():
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    config = BertConfig(vocab_size=11, hidden_size=8, num_hidden_layers=2, num_attention_heads=2, intermediate_size=12)
    net = BertModel(config).eval()
    ids = torch.randint(0, 11, (3, 4))
    with tm.ablate(net, "encoder.layer.1", [2], to=3.0), torch.no_grad():
        assert (net(input_ids=ids).last_hidden_state[..., 2] == 3).all()
    with tm.ablate(net, "encoder", [2], to=3.0), torch.no_grad():
        out = net(input_ids=ids)
    assert type(out).__name__ == "BaseModelOutputWithPoolingAndCrossAttentions"
    assert (out.last_hidden_state[..., 2] == 3).all()


def test_ablations_nest():
    net = by_hand()
    with tm.ablate(net, "1", [0]):
        with tm.ablate(net, "0", [1], to=3.0), tm.ablate(net, "1", [2], to=1.0):
            assert net(X).flatten().tolist() == [130] * 3
        assert net(X).flatten().tolist() == [20, 40, 300]
    assert net(X).flatten().tolist() == [21, 42, 300]


def test_record_inside_sees_what_the_model_sees():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv1d(1, 3, 1), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    x = torch.randn(7, 1, 4)
    with tm.ablate(net, "1", [0, 1, 2]):
        inside = tm.record(net, x.split(3), ["0", "1", "3"])
    assert not inside["1"].values.any()
    np.testing.assert_array_equal(inside["0"].values, tm.record(net, x, "0")["0"].values)
    np.testing.assert_allclose(inside["3"].values, np.tile(net[3].bias.detach().numpy(), (7, 1)))


def test_gradients_pass_the_other_neurons_by_as_before():
    net, x = by_hand(), X.clone().requires_grad_()
    with tm.ablate(net, "1", [1], to=3.0):
        net(x).sum().backward()
    assert x.grad.flatten().tolist() == [1, 1, -100]
    assert net[0].weight.grad.flatten().tolist() == [3, 0, -300]
    assert net[2].weight.grad.flatten().tolist() == [3, 9, 3]


def test_everything_is_as_it_was():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(48, 2)
    )
    net[0].weight.requires_grad_(False)
    net.train()
    net[1].eval()
    before, weights = hooks(net), {name: value.clone() for name, value in net.state_dict().items()}
    modes, grads = [m.training for m in net.modules()], [p.requires_grad for p in net.parameters()]
    x = torch.randn(4, 1, 6, 6)
    with tm.ablate(net, "2", [1]):
        net(x)
        assert hooks(net) != before
    with pytest.raises(RuntimeError, match="mine"), tm.ablate(net, "2", [1]):
        raise RuntimeError("mine")
    with pytest.raises(RuntimeError, match="shapes cannot"), tm.ablate(net, "2", [1]):
        net(torch.randn(4, 1, 9, 9))
    with pytest.raises(KeyboardInterrupt), tm.ablate(net, "2", [1]):
        net[3].register_forward_hook(interrupt)
        net(x)
    net[3]._forward_hooks.clear()
    assert hooks(net) == before
    assert [m.training for m in net.modules()] == modes
    assert [p.requires_grad for p in net.parameters()] == grads
    assert all(torch.equal(value, weights[name]) for name, value in net.state_dict().items())
    assert torch.overrides._get_current_function_mode() is None
    silent = nn.Identity()
    silent.forward = lambda x: x + 1  # as packages do that spread models over devices
    own = silent.forward
    with tm.ablate(silent, "model", [0]):
        assert silent(torch.ones(1, 1)).item() == 0
    assert silent.forward is own


def interrupt(*args):
    raise KeyboardInterrupt


def test_compiled_and_wrapped_models():
    net = by_hand()
    compiled = torch.compile(net, backend="eager")
    assert run(compiled, X, "1", [0]).flatten().tolist() == [20, 40, 300]
    assert compiled(X).flatten().tolist() == [21, 42, 300]
    assert run(compiled, X, "1", [1]).flatten().tolist() == [1, 2, 300]
    assert run(nn.DataParallel(net), X, "1", [0]).flatten().tolist() == [20, 40, 300]
    assert compiled(X).flatten().tolist() == [21, 42, 300]


def test_a_part_of_the_model_may_run_alone():
    net = nn.Sequential(nn.Sequential(dense([[1.0], [2.0]]), nn.ReLU()))
    with tm.ablate(net, "0.1", [1]):
        assert net[0](X).tolist() == [[1, 0], [2, 0], [0, 0]]


class Ambiguous(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = nn.Identity()

    def forward(self, x):
        return self.inner(x)


def test_an_ambiguous_axis_is_said():
    net, x = Ambiguous(), torch.ones(2, 3, 4)
    with pytest.raises(ValueError, match=r"neuron of layer 'inner' is ambiguous: .*\(2, 3, 4\).*Say it with axis="):
        run(net, x, "inner", [0])
    assert run(net, x, "inner", [2], axis=1)[:, 2].sum() == 0
    assert run(net, x, "inner", [3], axis=-1)[..., 3].sum() == 0
    assert run(net, x, "inner", [1], axis=(2, 0))[1].sum() == 0
    with pytest.raises(ValueError, match=r"axis=3 is none of layer 'inner', whose output has shape \(2, 3, 4\)"):
        run(net, x, "inner", [0], axis=3)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("fc", [0]), "no layer fits 'fc'.*The model has 'model', '0', '1', '2'"),
        (("?", [0]), "layer='\\?' fits '0', '1', '2': name one of them"),
        ((["0", "1"], [0]), "layer must be the name of one layer; got list"),
        (("1#x", [0]), "no layer fits '1#x'"),
        (("1", []), "neurons must be positions of at least one neuron, or a mask over all of them; got none"),
        (("1", [False] * 3), "got none"),
        (("1", [0.5]), "got an array of float64"),
        (("1", [[0, 1]]), r"got shape \(1, 2\)"),
        (("1", [-1]), "neurons must be positions, counted from 0; got -1"),
        (("1", [1, 3]), r"layer '1', which has 3 neurons \(0 to 2\); got 3"),
        (("1", [True, False]), "mask neurons must have one entry per neuron of layer '1': expected 3, got 2"),
        (("1", [0], "mean"), "one value per neuron of the layer, such as acts.mean; got 'mean'"),
        (("1", [0], [1.0, 2.0]), "to must have one entry per neuron of layer '1': expected 3, got 2"),
        (("1", [0], [[1.0] * 3]), r"got shape \(1, 3\)"),
        (("1", [0], np.nan), "to must be finite"),
    ],
)
def test_what_cannot_be_is_refused(args, message):
    net = by_hand()
    before = hooks(net)
    with pytest.raises(ValueError, match=message):
        run(net, X, *args)
    assert hooks(net) == before
    assert net(X).flatten().tolist() == [21, 42, 300]


def test_a_layer_that_does_not_run_is_no_silent_success():
    net = nn.MultiheadAttention(4, 2, batch_first=True)
    x = torch.randn(2, 3, 4)
    with (
        pytest.raises(ValueError, match="nothing was ablated: the model ran, and layer 'out_proj' did not run"),
        tm.ablate(net, "out_proj", [0]),
    ):
        net(x, x, x)
    with tm.ablate(net, "out_proj", [0]):
        pass  # nothing ran, so nothing is missed
    words = nn.Sequential(nn.Embedding(4, 2))
    assert run(words, torch.tensor([[1, 2]]), "0", [1])[..., 1].tolist() == [[0, 0]]


def test_an_output_of_whole_numbers_has_no_neurons():
    class Codes(nn.Module):
        def forward(self, x):
            return x.long()

    with pytest.raises(ValueError, match=r"layer '0' \(Codes\) gives no floating tensor to change"):
        run(nn.Sequential(Codes()), X, "0", [0])


def test_one_number_per_input_is_one_neuron():
    net = nn.Sequential(dense([[1.0]]), nn.Flatten(0))
    assert run(net, X, "1", [0], 2.0).tolist() == [2, 2, 2]
    with pytest.raises(ValueError, match="which has 1 neurons"):
        run(net, X, "1", [1])
