"""The recorder: training goes on as if it were not there, on fixed inputs, at the steps of a schedule."""

import copy
import random

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, WeightedRandomSampler

import topomap as tm
from topomap.recording.probe import ProbeSet
from topomap.recording.schedule import is_due
from topomap.recording.state import undisturbed

torch.manual_seed(0)
X = torch.randn(90, 6)
Y = torch.arange(90) % 3


class Net(nn.Module):
    """Dropout, BatchNorm, a buffer that counts passes in every mode, and a tensor that is cached."""

    def __init__(self):
        super().__init__()
        self.first = nn.Linear(6, 8)
        self.norm = nn.BatchNorm1d(8)
        self.drop = nn.Dropout(0.5)
        self.last = nn.Linear(8, 3)
        self.register_buffer("passes", torch.zeros(()))
        self.ramp = None

    def forward(self, x):
        self.passes += 1
        if self.ramp is None:
            self.ramp = torch.linspace(0.5, 1.5, 8)
        return self.last(self.drop(self.norm(self.first(x)).relu() * self.ramp))


def train(watch=None, steps=12, optimizer="Adam", seed=0):
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    net = Net()
    with torch.no_grad():
        net(X)  # the ramp exists before an optimizer does
    algorithm = getattr(torch.optim, optimizer)(net.parameters(), lr=0.01)
    loader = DataLoader(TensorDataset(X, Y), batch_size=30, shuffle=True)
    watch = watch(net) if watch else None
    step, losses = 0, []
    if watch:
        watch(0, net, 0.0)
    while step < steps:
        for x, y in loader:
            loss = nn.functional.cross_entropy(net(x), y)
            algorithm.zero_grad()
            loss.backward()
            algorithm.step()
            step += 1
            losses.append(loss.item())
            if watch:
                watch(step, net, loss)
    return net, algorithm, losses, random.random(), np.random.random(), torch.rand(2)  # noqa: NPY002


def equal(one, other):
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[name], other[name]) for name in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(equal, one, other))
    return one == other


@pytest.mark.parametrize("optimizer", ["Adam", "SGD"])
@pytest.mark.parametrize("options", [{}, {"keep": "values"}, {"reduce": ["mean", "aligned"]}, {"to": "run"}])
def test_training_is_the_same_to_the_last_bit(optimizer, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    recorders = []
    probe = DataLoader(TensorDataset(X, Y), batch_size=40)  # a pass over it draws from the global generator

    def watch(net):
        recorders.append(tm.TrainingRecorder(net, probe, ["first", "norm"], every=3, **options))
        return lambda step, net, loss: recorders[0].step(step, loss=loss)

    net, algorithm, *rest = train(optimizer=optimizer)
    watched, its, *others = train(watch, optimizer=optimizer)
    assert recorders[0].run.steps == (0, 3, 6, 9, 12)
    assert equal(net.state_dict(), watched.state_dict()) and "passes" in net.state_dict()
    assert equal(algorithm.state_dict(), its.state_dict())
    assert equal(rest, others)


def test_modes_gradients_hooks_and_buffers_are_left_as_they_are():
    net = Net()
    net.norm.eval()
    net.first.weight.requires_grad_(False)
    net(X).sum().backward()
    modes = [module.training for module in net.modules()]
    gradients = {name: None if p.grad is None else p.grad.clone() for name, p in net.named_parameters()}
    before = copy.deepcopy(net.state_dict())
    passes = net.passes
    recorder = tm.TrainingRecorder(net, (X, Y), ["first"])
    recorder.snapshot(0)
    with torch.inference_mode():
        recorder.snapshot(1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        recorder.snapshot(2)
        assert torch.is_autocast_enabled("cpu")
    assert modes == [module.training for module in net.modules()]
    assert equal(gradients, {name: p.grad for name, p in net.named_parameters()})
    assert equal(before, net.state_dict()) and net.passes is passes
    assert not any(module._forward_hooks for module in net.modules())
    assert torch.is_grad_enabled() and not net.ramp.is_inference()
    assert not net.first.weight.requires_grad and net.first.bias.requires_grad
    # the caller's mixed precision is no part of a snapshot
    first, last = recorder.run.at(0)["first"], recorder.run.at(2)["first"]
    np.testing.assert_array_equal(first.mean, last.mean)


def test_weights_that_autocast_cached_still_train():
    net = nn.Sequential(nn.Linear(6, 4))
    recorder = tm.TrainingRecorder(net, (X, Y), "0", autocast="bfloat16")
    with torch.autocast("cpu", dtype=torch.bfloat16):
        recorder.snapshot(0)
        net(X).float().sum().backward()
    assert net[0].weight.grad.abs().sum() > 0


def test_what_fails_is_put_back_too():
    net = Net()

    class Broken(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = net

        def forward(self, x):
            self.inner(x)
            raise RuntimeError("no memory")

    model = Broken()
    recorder = tm.TrainingRecorder(model, (X, Y), ["inner.first"])
    with pytest.raises(RuntimeError, match="no memory"):
        recorder.snapshot(0)
    assert net.passes.item() == 0 and net.training and not net.first._forward_hooks
    assert recorder.steps == ()
    with pytest.raises(ValueError, match="there is no snapshot yet"):
        _ = recorder.run


def test_buffers_that_are_replaced_come_back():
    class Replacing(nn.Module):
        def __init__(self):
            super().__init__()
            self.register_buffer("state", torch.zeros(2))

        def forward(self, x):
            self.state = self.state + 1
            return x

    model = Replacing()
    state = model.state
    with undisturbed(model):
        model(X)
        assert model.state.tolist() == [1, 1] and not torch.is_grad_enabled()
    assert model.state is state and state.tolist() == [0, 0]


# What is kept


def linear(scale):
    """A layer whose values are known: the inputs times a number."""
    net = nn.Linear(6, 6, bias=False)
    with torch.no_grad():
        net.weight.copy_(torch.eye(6) * scale)
    return net


def snapshots(**options):
    net = linear(1.0)
    recorder = tm.TrainingRecorder(net, (X, Y), "model", **options)
    for step, scale in enumerate([1.0, 2.0, -1.0]):
        with torch.no_grad():
            net.weight.copy_(torch.eye(6) * scale)
        recorder.snapshot(step * 10, scale=scale)
    return recorder.run


@pytest.mark.parametrize("folder", [False, True])
def test_moments_are_those_of_each_step(folder, tmp_path):
    run = snapshots(to=tmp_path / "run" if folder else None, n_features=64)
    assert run.steps == (0, 10, 20) and run.metrics["scale"].tolist() == [1, 2, -1]
    assert (run.path is None) == (not folder)
    x = X.numpy().astype(np.float64)
    for step, scale in zip(run.steps, [1.0, 2.0, -1.0], strict=True):
        moments = run.at(step)["model"]
        np.testing.assert_allclose(moments.mean, scale * x.mean(axis=0), atol=1e-6)
        np.testing.assert_allclose(moments.variance, scale**2 * x.var(axis=0, ddof=1), rtol=1e-5)
        assert moments.covariance is None and moments.sketch.shape == (6, 64)
        group = moments.grouping("label")
        for label in range(3):
            np.testing.assert_allclose(group.mean[label], scale * x[label == Y].mean(axis=0), atol=1e-6)
        assert run.at(step).provenance["step"] == step
        assert run.at(step).provenance["records"]["model"]["none"]["n_dead"] == 0
    # one projection for all steps: a sketch of twice the values is twice the sketch
    first = run.at(0)["model"].sketch
    np.testing.assert_array_equal(run.at(10)["model"].sketch, 2 * first)
    np.testing.assert_array_equal(run.at(20)["model"].sketch, -first)
    assert np.allclose(tm.correlate(run.at(10)["model"]).matrix(), tm.correlate(run["model"]).matrix())
    about = run.provenance["training"]
    assert about["keep"] == "moments" and 0 < about["share"] <= 1 and about["recording_s"] <= about["elapsed_s"]
    assert run.provenance["n_inputs"] == 90 and run.provenance["parameters"]["n_features"] == 64


@pytest.mark.parametrize("folder", [False, True])
@pytest.mark.parametrize("keep", ["values", "sparse"])
@pytest.mark.filterwarnings("ignore:keep='sparse' saves little")
def test_values_are_those_of_each_step(keep, folder, tmp_path):
    run = snapshots(to=tmp_path / "run" if folder else None, keep=keep, by="label", thumbnails=False)
    for step, scale in zip(run.steps, [1.0, 2.0, -1.0], strict=True):
        one = run.at(step)
        values = one["model"].values.toarray() if keep == "sparse" and not folder else one["model"].values[:]
        values = values.toarray() if hasattr(values, "toarray") else values
        np.testing.assert_array_equal(values, scale * X.numpy())
        # what the model says changes with the step, and what it is asked does not
        inputs = one.inputs
        assert inputs.label.tolist() == Y.tolist() and inputs.ids.tolist() == list(range(90))
        assert inputs.prediction.tolist() == (scale * X).argmax(1).tolist()
        assert inputs.correct.tolist() == ((scale * X).argmax(1) == Y).tolist()
        assert one["model"].inputs is inputs
    assert run.inputs.prediction.tolist() == (-X).argmax(1).tolist()


def test_snapshots_share_the_pictures_of_the_first(tmp_path):
    images = torch.rand(12, 1, 5, 5)
    net = nn.Sequential(nn.Conv2d(1, 3, 3), nn.Flatten(), nn.Linear(27, 2))
    for to in (None, tmp_path / "run"):
        recorder = tm.TrainingRecorder(net, (images, torch.arange(12) % 2), "0", keep="values", to=to)
        recorder.snapshot(0)
        recorder.snapshot(1)
        pictures = [np.asarray(recorder.run.at(step).inputs.thumbnails) for step in (0, 1)]
        np.testing.assert_array_equal(*pictures)
        assert pictures[0].shape == (12, 5, 5)


def test_correct_and_wrong_answers_apart():
    run = snapshots(by=["label", ("label", "correct")])
    for step, scale in ((0, 1), (20, -1)):
        wrong = ((scale * X).argmax(1) != Y).numpy()
        grouping = run.at(step)["model"].grouping(("label", "correct"))
        counts = dict(zip(grouping.keys, grouping.counts.tolist(), strict=True))
        assert counts == {
            (label, right): int(((Y.numpy() == label) & (wrong != right)).sum())
            for label in range(3)
            for right in (False, True)
            if ((Y.numpy() == label) & (wrong != right)).any()
        }


def test_inputs_without_labels_have_no_groups():
    recorder = tm.TrainingRecorder(linear(1), X, by="label")
    recorder.snapshot(0)
    assert recorder.run["model"].groupings == ()


# Schedules


def test_schedules():
    recorder = tm.TrainingRecorder(linear(1), (X, Y), every=5)
    assert [step for step in range(13) if recorder.step(step)] == [0, 5, 10]
    recorder = tm.TrainingRecorder(linear(1), (X, Y), every=100)
    assert [step for step in range(0, 500, 40) if recorder(step)] == [0, 120, 200, 320, 400]
    recorder = tm.TrainingRecorder(linear(1), (X, Y), every="epoch")
    assert [step for step in range(9) if recorder.step(step, epoch=step / 4)] == [0, 4, 8]
    recorder = tm.TrainingRecorder(linear(1), (X, Y), every="epoch")
    assert [step for step in range(9) if recorder.step(step, epoch=step // 4)] == [0, 4, 8]
    recorder = tm.TrainingRecorder(linear(1), (X, Y), every="geometric")
    assert [step for step in (0, 1, 7, 50, 51, 52, 64, 700) if recorder.step(step)] == [0, 1, 7, 50, 64, 700]


@settings(deadline=None, max_examples=60)
@given(
    every=st.one_of(st.integers(1, 50), st.just("geometric")),
    gaps=st.lists(st.integers(1, 400), min_size=1, max_size=30),
)
def test_a_snapshot_is_due_when_the_schedule_had_one_since_the_last_call(every, gaps):
    wanted = (
        set(range(0, 20_000, every)) if isinstance(every, int) else {0, *(round(10 ** (k / 10)) for k in range(50))}
    )
    seen, step = None, 0
    for gap in gaps:
        expected = any(s in wanted for s in range(step if seen is None else int(seen[0]) + 1, step + 1))
        assert is_due(every, step, seen=seen) == expected
        seen = (step, 0.0)
        step += gap


def test_metrics_are_numbers_and_may_come_later():
    recorder = tm.TrainingRecorder(linear(1), (X, Y))
    recorder.snapshot(0, loss=torch.tensor(2.0, requires_grad=True))
    recorder.snapshot(1, accuracy=np.float32(0.5))
    recorder.log(0, accuracy=0.25)
    metrics = recorder.run.metrics
    assert metrics["accuracy"].tolist() == [0.25, 0.5]
    assert metrics["loss"][0] == 2 and np.isnan(metrics["loss"][1])
    with pytest.raises(ValueError, match=r"metric 'loss' must be a number; got shape \(2,\)"):
        recorder.snapshot(2, loss=torch.zeros(2))
    with pytest.raises(ValueError, match="no snapshot at step 7"):
        recorder.log(7, loss=1)
    assert recorder.steps == (0, 1)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda r: r.step(0), "needs a schedule"),
        (lambda r: (r.snapshot(3), r.snapshot(3)), "step must be beyond 3"),
        (lambda r: r.snapshot(-1), "step must be a whole number from 0 on"),
        (lambda r: r.snapshot(7.5), "step must be a whole number from 0 on"),
        (lambda r: tm.TrainingRecorder(linear(1), (X, Y), every=0), "every must be a number of steps"),
        (lambda r: tm.TrainingRecorder(linear(1), (X, Y), every="daily"), "every must be a number of steps"),
        (lambda r: tm.TrainingRecorder(linear(1), (X, Y), every="epoch").step(1), "epoch="),
        (lambda r: tm.TrainingRecorder(linear(1), (X, Y), "fc"), "layer"),
        (lambda r: tm.TrainingRecorder(linear(1), (X, Y), keep="all"), "keep must be one of"),
        (lambda r: tm.TrainingRecorder(linear(1), (X, Y), label=Y), "Did you mean 'labels'"),
    ],
)
def test_mistakes(make, match):
    with pytest.raises(ValueError, match=match):
        make(tm.TrainingRecorder(linear(1), (X, Y)))


# One probe set in one order


class Noisy(Dataset):
    """Augments, as a transform does: every item is another one every time."""

    def __init__(self, draw):
        self.draw = draw

    def __len__(self):
        return 30

    def __getitem__(self, i):
        return X[i] + self.draw(), Y[i]


class Stream(IterableDataset):
    def __iter__(self):
        return iter([(X[i], Y[i]) for i in torch.randperm(30).tolist()])


OWN = np.random.default_rng(0)

UNFIXED = {
    "shuffled": lambda: DataLoader(TensorDataset(X, Y), batch_size=16, shuffle=True),
    "shuffled by its own generator": lambda: DataLoader(
        TensorDataset(X, Y), batch_size=16, shuffle=True, generator=torch.Generator().manual_seed(1)
    ),
    "drawn by weight": lambda: DataLoader(
        TensorDataset(X, Y), batch_size=16, sampler=WeightedRandomSampler(torch.ones(90), 90)
    ),
    "sampled by hand": lambda: DataLoader(TensorDataset(X, Y), batch_size=16, sampler=Shuffled()),
    "a shuffled stream": lambda: DataLoader(Stream(), batch_size=8),
    "augmented by torch": lambda: DataLoader(Noisy(lambda: torch.rand(()))),
    "augmented by Python": lambda: DataLoader(Noisy(random.random)),
    "augmented by NumPy": lambda: DataLoader(Noisy(lambda: np.float32(np.random.random()))),  # noqa: NPY002
    "augmented by a generator of its own": lambda: DataLoader(Noisy(lambda: np.float32(OWN.random()))),
    "augmented in a worker": lambda: DataLoader(Noisy(lambda: torch.rand(())), num_workers=1, batch_size=30),
}


class Shuffled:
    def __iter__(self):
        return iter(torch.randperm(90).tolist())

    def __len__(self):
        return 90


@pytest.mark.parametrize("name", UNFIXED)
def test_a_loader_that_gives_other_inputs_every_time_is_refused(name):
    net, loader = nn.Sequential(nn.Linear(6, 2)), UNFIXED[name]()
    state = torch.get_rng_state()
    with pytest.raises(ValueError, match=r"shuffles.*Give a loader with shuffle=False"):
        tm.TrainingRecorder(net, loader, "0")
    assert torch.equal(state, torch.get_rng_state())


def test_an_iterator_is_refused():
    with pytest.raises(ValueError, match="an iterator, which can be read only once"):
        tm.TrainingRecorder(linear(1), iter([(X, Y)]))
    with pytest.raises(ValueError, match="gave no inputs"):
        tm.TrainingRecorder(linear(1), [])


def test_a_fixed_loader_is_read_once_and_then_kept(monkeypatch):
    class Counted(Dataset):
        reads = 0

        def __len__(self):
            return 30

        def __getitem__(self, i):
            Counted.reads += 1
            return X[i], Y[i]

    recorder = tm.TrainingRecorder(linear(1), DataLoader(Counted(), batch_size=10), keep="values")
    recorder.snapshot(0)
    before = Counted.reads
    recorder.snapshot(1)
    assert Counted.reads == before
    np.testing.assert_array_equal(recorder.run.at(0)["model"].values, recorder.run.at(1)["model"].values)
    # too many to keep are read again, and have to be the same
    monkeypatch.setattr("topomap.recording.probe.KEPT_BYTES", 100)
    recorder = tm.TrainingRecorder(linear(1), DataLoader(Counted(), batch_size=10), keep="values")
    recorder.snapshot(0)
    before = Counted.reads
    recorder.snapshot(1)
    assert Counted.reads == before + 30


def set_weights(model, value):
    with torch.no_grad():
        next(model.parameters()).fill_(value)


@pytest.mark.parametrize("keep", ["moments", "values"])
@pytest.mark.parametrize("nonfinite", ["raise", "mask"])
@pytest.mark.parametrize("folder", [False, True])
def test_a_training_that_diverged_goes_on_without_snapshots_of_what_diverged(keep, nonfinite, folder, tmp_path):
    model = linear(1)
    options = {"keep": keep, "nonfinite": nonfinite, "to": tmp_path / "run" if folder else None}
    recorder = tm.TrainingRecorder(model, (X, Y), every=5, **options)
    for step in (0, 5):
        assert recorder.step(step, loss=step)
    set_weights(model, float("nan"))
    with pytest.warns(tm.TopomapWarning, match=r"at step 10, .*layer 'model' under 'none' has .*NaN"):
        assert not recorder.step(10, loss=10)
    assert not recorder.step(15, loss=15)  # warned of once
    recorder.log(15, accuracy=0.1)  # as nobody knows beforehand that there is nothing to keep it with
    set_weights(model, float("inf"))
    recorder.snapshot(17)
    run = recorder.run
    assert run.steps == (0, 5) and list(run.diverged) == [10, 15, 17]
    assert all("layer 'model'" in what for what in run.diverged.values())
    assert run.metrics["loss"].tolist() == [0, 5]
    assert repr(run).startswith("Run(90 inputs, 1 layer: model, 2 snapshots, steps 0 to 5, diverged at 3 more")
    with pytest.raises(ValueError, match=r"no snapshot at step 10, as the training had diverged: .*NaN"):
        run.at(10)
    if folder:  # gone on with where it was left
        recorder = tm.TrainingRecorder(model, (X, Y), **options)
        recorder.snapshot(18)
        assert list(recorder.run.diverged) == [10, 15, 17, 18]
        assert recorder.run.provenance["training"]["probe"] == run.provenance["training"]["probe"]
    set_weights(model, 1.0)
    recorder.snapshot(15)
    assert recorder.run.steps == (0, 5, 15) and list(recorder.run.diverged) == [10]
    if folder:
        assert tm.save_run(recorder.run, tmp_path / "copy").diverged == recorder.run.diverged


def test_a_model_that_gives_nan_before_it_was_trained_is_an_error():
    model = linear(1)
    set_weights(model, float("nan"))
    recorder = tm.TrainingRecorder(model, (X, Y))
    with pytest.raises(ValueError, match=r"no snapshot of step 0: .* NaN"):
        recorder.snapshot(0)
    with pytest.warns(tm.TopomapWarning, match="at step 3"):
        recorder.snapshot(3)
    with pytest.raises(ValueError, match="the training had diverged at step 3: layer 'model'"):
        _ = recorder.run


def test_inputs_that_change_between_snapshots_are_an_error(monkeypatch):
    x = X.clone()
    recorder = tm.TrainingRecorder(linear(1), (x, Y))
    recorder.snapshot(0)
    recorder.snapshot(1)
    x[3] += 1
    with pytest.raises(ValueError, match="batch 0 of the loader is not what it was at the first snapshot"):
        recorder.snapshot(2)
    batches = [(X[:40], Y[:40]), (X[40:], Y[40:])]
    recorder = tm.TrainingRecorder(linear(1), batches)
    recorder.snapshot(0)
    batches.pop()
    with pytest.raises(ValueError, match="batch 1 of the loader is not"):
        recorder.snapshot(1)


def test_kept_batches_survive_a_model_that_writes_into_them():
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(6, 2))
    probe = DataLoader(TensorDataset(X, Y), batch_size=45)
    recorder = tm.TrainingRecorder(net, probe, "0", keep="values")
    for step in range(3):
        recorder.snapshot(step)
        np.testing.assert_array_equal(recorder.run["0"].values, X.clamp_min(0).numpy())


def test_some_of_the_inputs():
    recorder = tm.TrainingRecorder(linear(1), DataLoader(TensorDataset(X, Y), batch_size=16), keep="values", n=20)
    recorder.snapshot(0)
    recorder.snapshot(1)
    assert recorder.run.at(0)["model"].n_rows == recorder.run.at(1)["model"].n_rows == 20


def test_the_digest_tells_inputs_apart():
    def digest(*loader):
        probe = ProbeSet(loader)
        list(probe.source().batches)
        probe.done()
        return probe.digest

    assert digest(X, Y) == digest(X.clone(), Y)
    assert len({digest(X, Y), digest(X + 1, Y), digest(X, Y + 1), digest(X[:80], Y[:80])}) == 4


def test_a_sketch_of_any_width_in_place_of_a_covariance():
    net = linear(1.0)
    wide = tm.record(net, (X, Y), "model", keep="moments", n_features=4000, progress=False)["model"]
    exact = tm.record(net, (X, Y), "model", keep="moments", progress=False)["model"]
    assert wide.covariance is None and wide.sketch.shape == (6, 4000) and exact.sketch is None
    products = wide.sketch @ wide.sketch.T / 89
    np.testing.assert_allclose(products, exact.covariance, atol=0.1)
    with pytest.raises(ValueError, match="n_features= is for keep='moments'"):
        tm.record(net, X, n_features=4)


def test_a_compiled_model_is_recorded_without_compiling_anything_anew():
    def run(watched):
        torch.manual_seed(0)
        torch._dynamo.reset()
        torch._dynamo.utils.counters.clear()
        net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        compiled = torch.compile(net, backend="eager")
        recorder = tm.TrainingRecorder(compiled, (X, Y), "0", every=1) if watched else None
        optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
        for step in range(3):
            loss = nn.functional.cross_entropy(compiled(X), Y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if recorder:
                recorder.step(step)
        return net.state_dict(), dict(torch._dynamo.utils.counters["frames"])

    weights, frames = run(False)
    its, its_frames = run(True)
    assert equal(weights, its) and frames == its_frames
