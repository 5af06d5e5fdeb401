"""Recording: exact numbers, one value per neuron, and a model that comes back as it was."""

from __future__ import annotations

import random
import signal
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import topomap as tm
from topomap.store import RunWriter


def dense(weight, bias=None):
    weight = torch.tensor(weight, dtype=torch.float32)
    layer = nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    with torch.no_grad():
        layer.weight.copy_(weight)
        if bias is not None:
            layer.bias.copy_(torch.tensor(bias))
    return layer


class Maps(nn.Module):
    """Two channels, x and -x, over a line of positions."""

    def forward(self, x):
        return torch.stack([x, -x], dim=1)


def line_net():
    conv = nn.Conv1d(1, 2, 1, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.tensor([[[1.0]], [[-1.0]]]))
    return nn.Sequential(conv, nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8, 2))


X = torch.tensor([[[1.0, 2.0, 3.0, 6.0]], [[0.0, -4.0, 0.0, 0.0]]])


@pytest.mark.parametrize(
    ("reduce", "expected"),
    [
        ("mean", [[3, -3], [-1, 1]]),
        ("max", [[6, -1], [0, 4]]),
        ("min", [[1, -6], [-4, 0]]),
        ("first", [[1, -1], [0, 0]]),
        ("last", [[6, -6], [0, 0]]),
        ("std", [[np.sqrt(3.5)] * 2, [np.sqrt(3.0)] * 2]),
    ],
)
def test_reductions_are_exact_and_in_place_relu_changes_nothing(reduce, expected):
    run = tm.record(line_net(), X, layers="0", reduce=reduce)
    assert run["0"].reduce == reduce
    np.testing.assert_allclose(run["0"].values, expected, rtol=1e-7)
    assert run["0"].values.dtype == np.float32


def test_values_kept_as_they_are_are_copies():
    net = nn.Sequential(dense([[1.0], [-1.0]]), nn.ReLU(inplace=True), nn.Hardtanh(0.0, 1.0, inplace=True))
    run = tm.record(net, torch.tensor([[2.0], [-3.0]]), layers=["0", "1", "2"])
    np.testing.assert_array_equal(run["0"].values, [[2, -2], [-3, 3]])
    np.testing.assert_array_equal(run["1"].values, [[2, 0], [0, 3]])
    np.testing.assert_array_equal(run["2"].values, [[1, 0], [0, 1]])
    assert run["0"].reduce == "none"


@pytest.mark.parametrize("word", ["positions", "tokens"])
def test_every_place_is_a_row(word):
    run = tm.record(line_net(), X, layers="0", reduce=word)
    acts = run["0"]
    np.testing.assert_array_equal(acts.values[:, 0], X.ravel())
    np.testing.assert_array_equal(acts.rows, [0] * 4 + [1] * 4)
    np.testing.assert_array_equal(acts.places, [[0], [1], [2], [3]] * 2)


def test_positions_of_an_image_are_row_and_column():
    torch.manual_seed(0)
    conv, x = nn.Conv2d(1, 3, 1), torch.randn(2, 1, 2, 5)
    acts = tm.record(conv, x, layers="model", reduce="positions")["model"]
    expected = conv(x).detach().numpy()
    assert acts.places.shape == (20, 2)
    for value, row, (i, j) in zip(acts.values, acts.rows, acts.places, strict=True):
        np.testing.assert_allclose(value, expected[row, :, i, j], atol=1e-6)


def test_random_places_are_seeded_and_do_not_depend_on_the_batches():
    torch.manual_seed(0)
    conv, x = nn.Conv2d(1, 3, 1), torch.randn(40, 1, 4, 5)
    expected = conv(x).detach().numpy()
    runs = [tm.record(conv, x.split(size), "model", reduce="random", seed=3)["model"] for size in (40, 7, 1)]
    for acts in runs:
        np.testing.assert_allclose(acts.values, runs[0].values, atol=1e-6)
        np.testing.assert_array_equal(acts.places, runs[0].places)
    for value, row, (i, j) in zip(runs[0].values, runs[0].rows, runs[0].places, strict=True):
        np.testing.assert_allclose(value, expected[row, :, i, j], atol=1e-6)
    assert len(np.unique(runs[0].places, axis=0)) > 10
    other = tm.record(conv, x, "model", reduce="random", seed=4)["model"]
    assert not np.array_equal(other.places, runs[0].places)


def test_several_reductions_share_the_layers_that_have_none():
    run = tm.record(line_net(), X, layers=["0", "3"], reduce=["mean", "max", "std"])
    assert run.reductions("0") == ("mean", "max", "std")
    assert run.reductions("3") == ("none",)
    np.testing.assert_array_equal(run["0", "max"].values, [[6, -1], [0, 4]])
    assert run["3", "mean"] is run["3"]


def test_deviation_of_a_single_value_is_an_error():
    with pytest.raises(ValueError, match="layer '3' has one value per input"):
        tm.record(line_net(), X, layers=["0", "3"], reduce="std")


def test_reused_module_is_recorded_call_by_call():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.shared = dense([[2.0]])

        def forward(self, x):
            return self.shared(self.shared(x))

    run = tm.record(Twice(), torch.tensor([[1.0], [5.0]]), layers="shared")
    assert run.layers == ("shared#0", "shared#1")
    np.testing.assert_array_equal(run["shared#0"].values, [[2], [10]])
    np.testing.assert_array_equal(run["shared#1"].values, [[4], [20]])


@pytest.mark.parametrize("folder", [False, True])
def test_number_of_calls_may_depend_on_the_data(folder, tmp_path):
    class Loop(nn.Module):
        def __init__(self):
            super().__init__()
            self.step, self.rare = dense([[2.0]]), nn.Conv1d(1, 1, 1)

        def forward(self, x):
            for _ in range(int(x[0, 0])):
                x = self.step(x)
            if len(x) == 1:
                x = self.rare(x[:, None]).relu()[:, 0]
            return x

    batches = [torch.tensor([[1.0], [5.0]]), torch.tensor([[3.0], [7.0]]), torch.tensor([[2.0]])]
    run = tm.record(Loop(), batches, layers=["step", "rare"], to=tmp_path / "run" if folder else None)
    assert run.layers == ("step#0", "step#1", "step#2", "rare")
    np.testing.assert_array_equal(run["step#0"].values[:], [[2], [10], [6], [14], [4]])
    np.testing.assert_array_equal(run["step#1"].values[:], [[12], [28], [8]])
    np.testing.assert_array_equal(run["step#1"].rows, [2, 3, 4])
    np.testing.assert_array_equal(run["step#2"].rows, [2, 3])
    np.testing.assert_array_equal(run["rare"].rows, [4])


def test_outputs_that_are_tuples_dictionaries_or_dataclasses():
    @dataclass
    class Result:
        index: torch.Tensor
        hidden: torch.Tensor

    class Odd(nn.Module):
        def __init__(self, wrap):
            super().__init__()
            self.wrap = wrap

        def forward(self, x):
            return self.wrap(x * 2)

    class Whole(nn.Module):
        def __init__(self):
            super().__init__()
            self.a = Odd(lambda x: (x.long(), None, x, x + 1))
            self.b = Odd(lambda x: {"loss": x.sum(), "state": x})
            self.c = Odd(lambda x: Result(x.long(), x))
            self.d = Odd(lambda x: x.long())

        def forward(self, x):
            self.d(x)
            return {"out": self.a(x)[2] + self.b(x)["state"] + self.c(x).hidden}

    x = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    run = tm.record(Whole(), x, layers=["a", "b", "c"])
    for layer in "abc":
        np.testing.assert_array_equal(run[layer].values, x * 2)
    with pytest.raises(ValueError, match=r"layer 'd' .* no floating tensor"):
        tm.record(Whole(), x, layers="d")


def test_packed_sequences_leave_padding_out():
    class Packed(nn.Module):
        def __init__(self):
            super().__init__()
            self.rnn = nn.GRU(2, 3, batch_first=True)

        def forward(self, x):
            return self.rnn(nn.utils.rnn.pack_padded_sequence(x, torch.tensor([2, 4]), True, False))[1][0]

    torch.manual_seed(0)
    net, x = Packed(), torch.randn(2, 4, 2)
    run = tm.record(net, x, layers="rnn", reduce=["last", "mean", "tokens"])
    with torch.no_grad():
        short, long = net.rnn(x[:1, :2])[0][0], net.rnn(x[1:])[0][0]
    np.testing.assert_allclose(run["rnn", "last"].values, torch.stack([short[-1], long[-1]]), atol=1e-6)
    np.testing.assert_allclose(run["rnn", "mean"].values, torch.stack([short.mean(0), long.mean(0)]), atol=1e-6)
    assert run["rnn", "tokens"].rows.tolist() == [0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_averaged_in_float32(dtype):
    conv = nn.Conv1d(1, 1, 1, bias=False).to(dtype)
    with torch.no_grad():
        conv.weight.fill_(1)
    x = torch.full((2, 1, 4096), 2.0).to(dtype)
    x[:, :, ::2] = 1.0
    run = tm.record(conv, x, "model", reduce=["mean", "std", "max"])
    assert run["model", "mean"].values.tolist() == [[1.5], [1.5]]  # 8192 values do not add up in half precision
    assert run["model", "std"].values.tolist() == [[0.5], [0.5]]
    assert run["model", "max"].values.dtype == np.float32


def test_autocast_runs_in_another_precision():
    net = dense([[1.0 + 2**-12]])
    assert tm.record(net, torch.ones(2, 1), "model")["model"].values[0, 0] == np.float32(1 + 2**-12)
    assert tm.record(net, torch.ones(2, 1), "model", autocast="bfloat16")["model"].values[0, 0] == 1
    with pytest.raises(ValueError, match="autocast must be one of 'bfloat16'"):
        tm.record(net, torch.ones(2, 1), autocast="int8")


def test_compiled_and_parallel_models_are_unwrapped():
    net = line_net()
    expected = tm.record(net, X)["3"].values
    for wrapped in (torch.compile(net, backend="eager"), nn.DataParallel(net)):
        run = tm.record(wrapped, X)
        assert run.layers == ("0", "3")
        np.testing.assert_array_equal(run["3"].values, expected)
    inner = nn.Sequential(torch.compile(line_net(), backend="eager"))
    inner(X)
    assert tm.record(inner, X).layers == ("0.0", "0.3")
    inner[0]._orig_mod[0].register_forward_hook(lambda *args: None)
    net.compile(backend="eager")
    assert tm.record(net, X).layers == ("0", "3")


def test_shared_module_has_two_names_and_is_recorded_once():
    layer = dense([[2.0]])
    net = nn.ModuleDict({"a": layer, "b": layer})
    net.forward = lambda x: layer(x)
    assert tm.record(net, torch.ones(2, 1), layers="b").layers == ("b",)
    assert tm.record(net, torch.ones(2, 1), layers="*").layers == ("a",)


def test_parametrized_layers_count_as_one():
    net = nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Linear(2, 3)), nn.ReLU())
    assert tm.record(net, torch.ones(4, 2)).layers == ("0",)


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        (None, ("0", "3")),
        ("3", ("3",)),
        ("[01]", ("0", "1")),
        ("re:^[13]$", ("1", "3")),
        (["3", "0"], ("3", "0")),
        (lambda name, module: isinstance(module, nn.Flatten), ("2",)),
        ("model", ("model",)),
    ],
)
def test_ways_to_choose_layers(layers, expected):
    assert set(tm.record(line_net(), X, layers).layers) == set(expected)


def test_unknown_layers_list_the_nearest():
    net = nn.ModuleDict({"encoder": nn.ModuleDict({"conv1": nn.Linear(1, 1)})})
    with pytest.raises(ValueError, match=r"no layer fits 'encoder.conv2'. Did you mean 'encoder.conv1'"):
        tm.record(net, X, layers="encoder.conv2")
    with pytest.raises(ValueError, match="is a ModuleDict, which is never called"):
        tm.record(net, X, layers="encoder")
    with pytest.raises(ValueError, match="no regular expression"):
        tm.record(net, X, layers="re:(")
    with pytest.raises(ValueError, match="layers is empty"):
        tm.record(net, X, layers=[])


def test_a_named_layer_that_never_runs_is_an_error():
    net = nn.MultiheadAttention(4, 2, batch_first=True)

    class Attention(nn.Module):
        def __init__(self):
            super().__init__()
            self.attention = net

        def forward(self, x):
            return self.attention(x, x, x)[0]

    x = torch.zeros(2, 3, 4)
    with pytest.raises(ValueError, match=r"layer 'attention.out_proj' never ran"):
        tm.record(Attention(), x, layers=["attention", "attention.out_proj"])
    assert tm.record(Attention(), x).layers == ("attention",)
    assert tm.record(Attention(), x, layers="attention*").layers == ("attention",)


class Boom(nn.Module):
    def forward(self, x):
        raise RuntimeError("boom")


class Interrupted(nn.Module):
    def __init__(self, after):
        super().__init__()
        self.after, self.seen = after, 0

    def forward(self, x):
        self.seen += 1
        if self.seen > self.after:
            raise KeyboardInterrupt
        return x


def everything(model):
    return {
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in model.modules()],
        "modes": [m.training for m in model.modules()],
        "grad": (torch.is_grad_enabled(), torch.is_inference_mode_enabled()),
        "python": random.getstate(),
        "numpy": [part.tolist() if hasattr(part, "tolist") else part for part in np.random.get_state()],  # noqa: NPY002
        "torch": torch.get_rng_state().tolist(),
        "device": [str(p.device) for p in model.parameters()],
        "requires": [(p.requires_grad, p.is_inference()) for p in model.parameters()],
        "fused": torch.backends.mha.get_fastpath_enabled(),
    }


@pytest.mark.parametrize("grad", [True, False])
@pytest.mark.parametrize("how", ["success", "unknown", "axis", "raises", "interrupted", "loader"])
def test_the_model_comes_back_as_it_was(how, grad):
    torch.manual_seed(5)
    last = {"raises": Boom(), "interrupted": Interrupted(1)}.get(how, nn.Dropout(0.5))
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3), nn.ReLU(inplace=True), last)
    model.train()
    model[1].eval()
    model[0].register_forward_hook(lambda *args: None)
    generator = torch.Generator().manual_seed(1)

    def noisy():
        for _ in range(3):
            yield torch.rand(4, 2) + random.random() + np.random.rand()  # noqa: NPY002
            if how == "loader":
                raise OSError("the disk is gone")

    loader = DataLoader(TensorDataset(torch.rand(12, 2)), 4, shuffle=True, generator=generator)
    before, statistics = everything(model), model[1].running_mean.clone()
    state = generator.get_state()
    errors = {
        "unknown": ValueError,
        "axis": ValueError,
        "raises": RuntimeError,
        "interrupted": KeyboardInterrupt,
        "loader": OSError,
    }
    with torch.set_grad_enabled(grad):
        before["grad"] = (grad, False)
        layers = "nope" if how == "unknown" else None
        for data in (noisy(), loader):
            if how in errors:
                with pytest.raises(errors[how]):
                    tm.record(
                        model, noisy() if how == "loader" else data, layers, axis={"x": 1} if how == "axis" else None
                    )
            else:
                tm.record(model, data, layers)
            assert everything(model) == before
    assert torch.equal(model[1].running_mean, statistics)
    assert torch.equal(generator.get_state(), state)


def test_a_shuffled_recording_can_be_repeated():
    data = TensorDataset(torch.arange(20.0)[:, None])
    runs = [tm.record(dense([[1.0]]), DataLoader(data, 4, shuffle=True), seed=seed) for seed in (0, 0, 1)]
    assert np.array_equal(runs[0]["model"].values, runs[1]["model"].values)
    assert not np.array_equal(runs[0]["model"].values, runs[2]["model"].values)


def test_weights_are_no_inference_tensors_afterwards():
    net = line_net()
    tm.record(net, X)
    net(X).sum().backward()
    assert net[3].weight.grad is not None


def test_models_that_need_gradients_inside():
    class Score(nn.Module):
        def __init__(self):
            super().__init__()
            self.energy = dense([[1.0, 2.0]])

        def forward(self, x):
            x = x.requires_grad_()
            return torch.autograd.grad(self.energy(x).square().sum(), x)[0]

    run = tm.record(Score(), torch.tensor([[1.0, 1.0]]), layers=["energy", "model"], inference_mode=False)
    assert run["energy"].values.tolist() == [[3.0]]
    assert run["model"].values.tolist() == [[6.0, 12.0]]


@pytest.mark.parametrize("reduce", ["mean", "max", "std"])
def test_nonfinite_values_are_refused_or_left_out(reduce):
    x = X.repeat(3, 1, 1).clone()
    x[4, 0, 1] = torch.nan
    net = line_net()
    with pytest.raises(
        ValueError, match=r"layer '0' under .* 2 NaN or infinite values in 1 of 2 rows .* first in input 4"
    ):
        tm.record(net, DataLoader(TensorDataset(x), 2), layers="0", reduce=reduce)
    with pytest.warns(tm.TopomapWarning, match=r"left out.*0 \(.*: 1"):
        run = tm.record(net, x, layers="0", reduce=reduce, nonfinite="mask")
    assert run["0"].rows.tolist() == [0, 1, 2, 3, 5]
    assert np.isfinite(run["0"].values).all()
    assert run.provenance["records"]["0"][reduce]["n_masked"] == 1
    with pytest.raises(ValueError, match=r"every row of layer '0' .* Nothing is left to keep"):
        tm.record(net, torch.full((2, 1, 4), torch.nan), layers="0", reduce=reduce, nonfinite="mask")


def test_a_layer_of_one_neuron():
    run = tm.record(nn.Sequential(dense([[1.0]]), nn.Flatten(0)), torch.tensor([[1.0], [2.0]]), layers=["0", "1"])
    assert run["0"].values.tolist() == run["1"].values.tolist() == [[1.0], [2.0]]


def test_lazy_models_have_to_be_called_first():
    with pytest.raises(ValueError, match="call it on one batch first"):
        tm.record(nn.LazyLinear(3), torch.ones(2, 2))


def test_numbers_of_neurons_must_not_change():
    net = nn.Sequential(nn.Flatten())
    with pytest.raises(ValueError, match="gave 4 neurons in an earlier batch and 6 in this one"):
        tm.record(net, [torch.ones(2, 2, 2), torch.ones(2, 2, 3)], layers="0")


def test_run_folder_holds_what_memory_would(tmp_path):
    net, data = line_net(), DataLoader(TensorDataset(X.repeat(5, 1, 1), torch.arange(10) % 2), 3)
    kept = tm.record(net, data, reduce=["mean", "tokens"])
    run = tm.record(net, data, reduce=["mean", "tokens"], to=tmp_path / "run")
    again = tm.open_run(tmp_path / "run")
    for key in (("0", "mean"), ("0", "tokens"), ("3", "none")):
        for other in (run, again):
            np.testing.assert_array_equal(other[key].values[:], kept[key].values)
            np.testing.assert_array_equal(other[key].rows, kept[key].rows)
    np.testing.assert_array_equal(again["0", "tokens"].places, kept["0", "tokens"].places)
    np.testing.assert_array_equal(again.inputs["prediction"], kept.inputs["prediction"])
    assert again.provenance["records"] == kept.provenance["records"]
    assert again.provenance["label_counts"] == {"0": 5, "1": 5}
    with pytest.raises(ValueError, match="there already is a run"):
        tm.record(net, data, to=tmp_path / "run")
    tm.record(net, data, to=tmp_path / "run", overwrite=True)


def test_errors_leave_no_folder(tmp_path):
    net = nn.Sequential(line_net(), Boom())
    for error, model, layers in ((RuntimeError, net, None), (ValueError, net, "nope")):
        with pytest.raises(error):
            tm.record(model, X, layers, to=tmp_path / "run")
    with pytest.raises(ValueError, match="no inputs"):
        tm.record(line_net(), [], to=tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_place_where_no_folder_can_be_made(tmp_path):
    (tmp_path / "file").write_text("kept")
    for place in (tmp_path / "file" / "run", tmp_path / "file" / "below" / "run"):
        with pytest.raises(
            OSError, match=rf"run folder {place} cannot be made: (File exists|Not a directory). Choose another place"
        ):
            tm.record(line_net(), X, to=place)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_folder_that_the_system_refuses(tmp_path, monkeypatch):
    mkdir = Path.mkdir

    def refuse(self, *args, **kwargs):
        if self.name == "run.zarr":
            raise PermissionError(13, "Permission denied", str(self))
        mkdir(self, *args, **kwargs)

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(PermissionError, match=r"run folder .*new/run cannot be made: Permission denied"):
        tm.record(line_net(), X, to=tmp_path / "new" / "run")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("keep", ["values", "moments"])
def test_ctrl_c_keeps_whole_batches(keep, tmp_path):
    net = nn.Sequential(dense([[1.0, 0.0], [0.0, 1.0]]), Interrupted(2))
    x = torch.arange(12.0).reshape(6, 2)
    with pytest.raises(KeyboardInterrupt, match=r"after 4 inputs; .*run"):
        tm.record(net, x.split(2), "0", keep=keep, to=tmp_path / "run")
    with pytest.warns(tm.TopomapWarning, match="it holds the first 4 inputs only"):
        run = tm.open_run(tmp_path / "run")
    assert run.provenance["complete"] is False
    assert run.provenance["n_inputs"] == 4
    if keep == "values":
        np.testing.assert_array_equal(run["0"].values[:], x[:4])
        assert len(run.inputs) == 4
    else:
        assert run["0"].count == 4
        np.testing.assert_allclose(run["0"].mean, x[:4].mean(0))
    with pytest.raises(KeyboardInterrupt):
        tm.record(nn.Sequential(dense([[1.0, 0.0]]), Interrupted(0)), x, "0", to=tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_ctrl_c_while_a_batch_is_written_waits_for_the_end_of_the_batch(tmp_path, monkeypatch):
    written = []
    append = RunWriter.append

    def interrupting(self, layer, *args):
        append(self, layer, *args)
        written.append(layer)
        if len(written) == 3:  # the first layer of the second batch
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(RunWriter, "append", interrupting)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt, match="after 4 inputs"):
        tm.record(line_net(), X.repeat(3, 1, 1).split(2), to=tmp_path / "run")
    assert signal.getsignal(signal.SIGINT) is handler
    with pytest.warns(tm.TopomapWarning):
        run = tm.open_run(tmp_path / "run")
    assert run["0"].n_rows == run["3"].n_rows == len(run.inputs) == 4


def test_float16_values(tmp_path):
    x = torch.tensor([[1.0, 2.0], [3.0, 0.1]])
    net = dense([[1.0, 0.0], [0.0, 1.0]])
    for to in (None, tmp_path / "run"):
        values = tm.record(net, x, dtype="float16", to=to)["model"].values[:]
        assert values.dtype == np.float16
        np.testing.assert_array_equal(values, x.numpy().astype(np.float16))
    with pytest.raises(ValueError, match="float16"):
        tm.record(net, x * 1e5, dtype="float16")


def test_moments_are_those_of_the_values():
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    data = DataLoader(TensorDataset(torch.rand(50, 1, 6, 6) + 100, torch.arange(50) % 3), 8)
    acts = tm.record(net, data, ["0", "3"])
    run = tm.record(net, data, ["0", "3"], keep="moments", by=["label", ("label", "correct")])
    assert len(run.inputs) == 0
    assert run.provenance["n_inputs"] == 50
    for layer in ("0", "3"):
        values = acts[layer].values.astype(np.float64)
        np.testing.assert_allclose(run[layer].mean, values.mean(0), rtol=1e-12)
        np.testing.assert_allclose(run[layer].variance, values.var(0, ddof=1), rtol=1e-9)
        np.testing.assert_allclose(run[layer].covariance, np.cov(values.T), rtol=1e-7, atol=1e-12)
        for by in ("label", ("label", "correct")):
            groups = acts[layer].groups(by)
            assert run[layer].grouping(by).names == groups.names
            np.testing.assert_allclose(run[layer].grouping(by).mean, groups.means(values), rtol=1e-9)
    default = tm.record(net, data, "3", keep="moments")
    assert [g.by for g in default["3"].groupings] == [("label",)]
    named = tm.record(net, data, "3", keep="moments", classes=["cat", "dog", "eel"], by=[("label", "prediction")])
    kept = tm.record(net, data, "3", classes=["cat", "dog", "eel"])["3"].groups(("label", "prediction"))
    assert named["3"].grouping(("label", "prediction")).names == kept.names
    assert kept.names[0].startswith("cat, ")


def test_moments_of_every_place():
    run = tm.record(line_net(), (X, torch.tensor([0, 1])), "0", reduce="positions", keep="moments", by="label")
    assert run["0"].count == 8
    np.testing.assert_array_equal(run["0"].grouping("label").mean, [[3, -3], [-1, 1]])


def test_groupings_need_their_columns():
    with pytest.raises(ValueError, match=r"by= names 'sex'.*'label'"):
        tm.record(line_net(), (X, torch.tensor([0, 1])), keep="moments", by="sex")
    with pytest.raises(ValueError, match="group kept values afterwards"):
        tm.record(line_net(), X, by="label")


@pytest.mark.parametrize("n", [1, 3, 4, 10])
def test_stop_after_n_inputs(n):
    data = DataLoader(TensorDataset(torch.arange(12.0)[:, None, None].expand(12, 1, 4), torch.arange(12) % 2), 4)
    run = tm.record(line_net(), data, n=n, reduce=["mean", "positions"])
    assert len(run.inputs) == run.provenance["n_inputs"] == n
    np.testing.assert_array_equal(run["0", "mean"].values[:, 0], np.arange(n))
    np.testing.assert_array_equal(run["0", "positions"].rows, np.repeat(np.arange(n), 4))
    assert len(run.inputs.thumbnails if run.inputs.thumbnails is not None else range(n)) == n


def test_provenance_can_be_written_as_toml():
    import tomli_w

    run = tm.record(line_net(), X, layers=["0", lambda name, module: name == "3"], axis={"0": 1}, n=2)
    text = tomli_w.dumps(dict(run.provenance))
    assert "n_dead = 0" in text
    assert run.provenance["parameters"]["layers"][0] == "0"
    assert run.provenance["records"]["0"]["mean"] == {"n_rows": 2, "n_neurons": 2, "n_dead": 0}
    assert run.provenance["device"] in ("cpu", "cuda:0")


def test_listing_prints_a_table():
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Flatten(), nn.Linear(144, 2))
    table = tm.list_layers(net, DataLoader(TensorDataset(torch.zeros(10, 1, 8, 8), torch.zeros(10)), 5))
    assert [info.name for info in table] == ["model", "0", "1", "2"]
    assert table[1].n_neurons == 4
    assert table[1].shape == (5, 4, 6, 6)
    lines = repr(table).splitlines()
    assert lines[0].split() == ["layer", "type", "output", "neuron", "axis", "neurons", "calls"]
    assert len(lines) == 5
    assert all(m._forward_hooks == {} for m in net.modules())


def test_reductions_are_checked():
    with pytest.raises(ValueError, match=r"reduce must be one of 'mean'.*Did you mean 'mean'"):
        tm.record(line_net(), X, reduce="meen")
    with pytest.raises(ValueError, match="reduce is empty"):
        tm.record(line_net(), X, reduce=[])


def test_devices_that_are_not_there():
    with pytest.raises(ValueError, match="device='nonsense' cannot be used here"):
        tm.record(line_net(), X, device="nonsense")
    run = tm.record(line_net(), X, device=torch.device("cpu"))
    assert run.provenance["device"] == "cpu"


@pytest.mark.gpu
def test_cuda_is_used_and_given_back():
    net = line_net()
    run = tm.record(net, X, reduce=["mean", "tokens", "random"])
    assert run.provenance["device"].startswith("cuda")
    assert {p.device.type for p in net.parameters()} == {"cpu"}
    np.testing.assert_allclose(run["0", "mean"].values, [[3, -3], [-1, 1]], rtol=1e-6)
    net.cuda()
    assert tm.record(net, X).provenance["device"].startswith("cuda")
    assert {p.device.type for p in net.parameters()} == {"cuda"}
    assert tm.record(net, X, device="cpu").provenance["device"] == "cpu"
    assert {p.device.type for p in net.parameters()} == {"cuda"}


def test_quantities_as_labels():
    run = tm.record(line_net(), (X, torch.tensor([0.5, 1.5])), labels=None)
    assert run.inputs.label.tolist() == [0.5, 1.5]
    assert run.inputs.prediction is None
    assert "label_counts" not in run.provenance


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_statistics_of_maps_agree_with_float64(dtype):
    torch.manual_seed(0)
    conv = nn.Conv2d(2, 5, 1).to(dtype)
    x = (torch.randn(6, 2, 9, 7) + 10).to(dtype)
    with torch.no_grad():
        maps = conv(x).double().flatten(2)
    run = tm.record(conv, x, "model", reduce=["mean", "std", "max", "min"])
    for way in ("mean", "std", "max", "min"):
        expected = (
            maps.std(2, correction=0)
            if way == "std"
            else getattr(maps, {"max": "amax", "min": "amin"}.get(way, way))(2)
        )
        np.testing.assert_allclose(run["model", way].values, expected, rtol=2e-6)
