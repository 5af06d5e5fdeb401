"""Callbacks with the real trainers: what is recorded when, and that nobody notices."""

import random
import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import topomap as tm
from topomap.recording.callbacks import take, watch

torch.manual_seed(0)
X = torch.randn(80, 6)
Y = (X[:, 0] > 0).long()


def make_net():
    return nn.Sequential(
        *(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.5)),
        *(nn.Linear(8, 2),),
    )


def same(one, other):
    ours, theirs = one.state_dict(), other.state_dict()
    return list(ours) == list(theirs) and all(torch.equal(ours[name], theirs[name]) for name in ours)


def seed_all():
    random.seed(0)
    np.random.seed(0)  # noqa: NPY002
    torch.manual_seed(0)


def random_states():
    return random.getstate(), np.random.get_state()[1].tobytes(), torch.get_rng_state().numpy().tobytes()  # noqa: NPY002


def untouched(model):
    """Whether no hook is left, and nothing of the recording is in the modules."""
    hooked = [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks or "forward" in m.__dict__]
    return not hooked and all(p.requires_grad for p in model.parameters())


def test_neither_package_is_imported_with_topomap():
    code = (
        "import sys, topomap as tm; tm.TrainingRecorder; "
        "print([n for n in ('lightning', 'pytorch_lightning', 'transformers') if n in sys.modules])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"


def test_a_resumed_training_takes_nothing_twice():
    recorder = tm.TrainingRecorder(make_net(), (X, Y), "2", every=2)
    assert take(recorder, 4, {"loss": 1.0})
    assert not take(recorder, 2, {"loss": 9.0}) and not watch(recorder, 2, {})
    assert not take(recorder, 4, {"loss": 0.5})
    assert not watch(recorder, 5, {}) and watch(recorder, 6, {"loss": 0.25})
    assert recorder.run.steps == (4, 6)
    assert recorder.run.metrics["loss"].tolist() == [0.5, 0.25]


def test_nothing_is_taken_of_a_training_that_diverged():
    net = make_net()
    recorder = tm.TrainingRecorder(net, (X, Y), "2", every=2)
    assert take(recorder, 0, {})
    with torch.no_grad():
        next(net.parameters()).fill_(float("nan"))
    with pytest.warns(tm.TopomapWarning, match="at step 2, layer '2'"):
        assert not watch(recorder, 2, {"loss": 1.0})
    assert not take(recorder, 2, {"loss": 1.0}) and not take(recorder, 3, {}, new=False)
    assert recorder.run.steps == (0,) and list(recorder.run.diverged) == [2]


# Lightning


def fit_lightning(callbacks, **parameters):
    lightning = pytest.importorskip("lightning", reason="needs the package lightning")

    class Module(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = make_net()
            self.modes = []

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, i):
            self.modes.append(all(module.training for module in self.net.modules()))
            loss = nn.functional.cross_entropy(self(batch[0]), batch[1])
            self.log("loss", loss)
            return loss

        def validation_step(self, batch, i):
            self.log("accuracy", (self(batch[0]).argmax(1) == batch[1]).float().mean())

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 1e-2)

    seed_all()
    module = Module()
    quiet = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
    trainer = lightning.Trainer(accelerator="cpu", callbacks=callbacks(module), **quiet, **parameters)
    data = TensorDataset(X, Y)
    trainer.fit(module, DataLoader(data, batch_size=20, shuffle=True), DataLoader(data, batch_size=40))
    return module, random_states()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("every", "parameters", "steps", "epochs"),
    [
        ("epoch", {"max_epochs": 3}, (0, 4, 8, 12), [0, 1, 2, 3]),
        (None, {"max_epochs": 2}, (0, 4, 8), [0, 1, 2]),
        (3, {"max_epochs": 2}, (0, 3, 6, 8), [0, 0.75, 1.5, 2]),
        # of 4 batches the first 3 and the last 1 make an update
        (1, {"max_epochs": 2, "accumulate_grad_batches": 3}, (0, 1, 2, 3, 4), [0, 0.75, 1, 1.75, 2]),
        ("geometric", {"max_steps": 7}, (0, 1, 2, 3, 4, 5, 6, 7), [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75]),
    ],
)
def test_lightning(every, parameters, steps, epochs):
    recorders = []

    def callbacks(module):
        recorders.append(tm.TrainingRecorder(module, (X, Y), ["net.2"], every=every))
        return [recorders[0].lightning_callback()]

    plain, states = fit_lightning(lambda module: [], **parameters)
    watched, states_after = fit_lightning(callbacks, **parameters)
    run = recorders[0].run
    assert run.steps == steps
    assert run.metrics["epoch"].tolist() == epochs
    assert np.isnan(run.metrics["loss"][0]) and np.isfinite(run.metrics["loss"][1:]).all()
    assert same(plain, watched) and states == states_after
    assert all(watched.modes) and untouched(watched)
    # the last snapshot is the trained model
    ours = tm.record(watched, (X, Y), ["net.2"])["net.2"]
    np.testing.assert_allclose(run["net.2"].mean, ours.values.mean(axis=0, dtype=np.float64), atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_lightning_validated_and_stopped_early():
    pytest.importorskip("lightning", reason="needs the package lightning")
    from lightning.pytorch.callbacks import EarlyStopping

    recorders = []

    def callbacks(module):
        recorders.append(tm.TrainingRecorder(module, (X, Y), ["net.2"], every=3))
        return [recorders[0].lightning_callback(), EarlyStopping("accuracy", patience=1, mode="min")]

    module, _ = fit_lightning(callbacks, max_epochs=50)
    run = recorders[0].run
    assert len(module.modes) < 200 and run.steps[-1] == len(module.modes)  # stopped, and that is the last snapshot
    correct = (module.eval()(X).argmax(1) == Y).double().mean().item()
    assert run.metrics["accuracy"][-1] == pytest.approx(correct)
    assert run.provenance["training"]["every"] == 3 and 0 < run.provenance["training"]["share"] < 1


# transformers


class Classifier(nn.Module):
    """What a Trainer takes: a loss and logits in a dictionary."""

    def __init__(self):
        super().__init__()
        self.net = make_net()

    def forward(self, x, labels=None):
        logits = self.net(x)
        loss = None if labels is None else nn.functional.cross_entropy(logits, labels)
        return {"loss": loss, "logits": logits}


def fit_trainer(tmp_path, callbacks, **parameters):
    transformers = pytest.importorskip("transformers", reason="needs the package transformers")
    pytest.importorskip("accelerate", reason="needs the package accelerate")
    seed_all()
    model = Classifier()
    arguments = transformers.TrainingArguments(
        output_dir=str(tmp_path),
        per_device_train_batch_size=20,
        learning_rate=1e-2,
        report_to=[],
        save_strategy="no",
        use_cpu=True,
        disable_tqdm=True,
        seed=0,
        **parameters,
    )
    data = [{"x": x, "labels": int(y)} for x, y in zip(X, Y, strict=True)]
    trainer = transformers.Trainer(
        model=model,
        args=arguments,
        train_dataset=data,
        eval_dataset=data,
        callbacks=callbacks(model),
        compute_metrics=lambda p: {"accuracy": float((p.predictions.argmax(1) == p.label_ids).mean())},
    )
    trainer.train()
    return model, random_states()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("every", "parameters", "steps", "epochs", "logged"),
    [
        ("epoch", {"num_train_epochs": 3, "logging_steps": 4}, (0, 4, 8, 12), [0, 1, 2, 3], [4, 8, 12]),
        (3, {"num_train_epochs": 2, "logging_steps": 1}, (0, 3, 6, 8), [0, 0.75, 1.5, 2], [3, 6, 8]),
        (
            1,
            {"num_train_epochs": 2, "gradient_accumulation_steps": 2, "logging_steps": 2},
            (0, 1, 2, 3, 4),
            [0, 0.5, 1, 1.5, 2],
            [2, 4],
        ),
        ("geometric", {"max_steps": 7, "logging_steps": 100}, tuple(range(8)), None, []),
    ],
)
def test_trainer(tmp_path, every, parameters, steps, epochs, logged):
    recorders = []
    data = {"x": X, "labels": Y}

    def callbacks(model):
        recorders.append(tm.TrainingRecorder(model, data, ["net.2"], every=every))
        return [recorders[0].trainer_callback()]

    plain, states = fit_trainer(tmp_path, lambda model: [], **parameters)
    watched, states_after = fit_trainer(tmp_path, callbacks, **parameters)
    run = recorders[0].run
    assert run.steps == steps
    if epochs is not None:
        assert run.metrics["epoch"].tolist() == epochs
    found = run.metrics.get("loss", np.full(len(steps), np.nan))
    assert [step for step, loss in zip(steps, found, strict=True) if np.isfinite(loss)] == logged
    assert not [name for name in run.metrics if "second" in name or "runtime" in name]
    assert same(plain, watched) and states == states_after and untouched(watched)
    ours = tm.record(watched, data, ["net.2"])["net.2"]
    np.testing.assert_allclose(run["net.2"].mean, ours.values.mean(axis=0, dtype=np.float64), atol=1e-6)


@pytest.mark.filterwarnings("ignore")
def test_trainer_evaluated_and_stopped_early(tmp_path):
    transformers = pytest.importorskip("transformers", reason="needs the package transformers")

    class Stop(transformers.TrainerCallback):
        def on_step_end(self, args, state, control, **kwargs):
            control.should_training_stop = state.global_step >= 6

    recorders = []

    def callbacks(model):
        recorders.append(tm.TrainingRecorder(model, {"x": X, "labels": Y}, ["net.2"], every=4))
        return [recorders[0].trainer_callback(), Stop()]

    fit_trainer(tmp_path, callbacks, num_train_epochs=9, eval_strategy="steps", eval_steps=4, logging_steps=4)
    run = recorders[0].run
    assert run.steps == (0, 4, 6)
    accuracy = run.metrics["eval_accuracy"]
    assert np.isnan(accuracy[0]) and 0 <= accuracy[1] <= 1
