"""Trainings from saved checkpoints: every way weights are saved, steps from names, and weights that do not fit."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import topomap as tm
from topomap.recording.checkpoints import _step_of
from topomap.recording.weights import read_weights

X = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
Y = torch.arange(30) % 3


def build():
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


def weights(step):
    """Weights that tell their step: the first layer gives it everywhere."""
    state = {name: torch.zeros_like(value) for name, value in build().state_dict().items()}
    state["0.bias"] += step
    return state


def save_sharded(folder, state, pattern="model-{:05d}-of-00002.safetensors", index="model.safetensors.index.json"):
    folder.mkdir(exist_ok=True)
    names = list(state)
    places = {}
    for i, part in enumerate((names[:2], names[2:]), 1):
        file = pattern.format(i)
        kept = {name: state[name] for name in part}
        if file.endswith(".safetensors"):
            save_file(kept, folder / file)
        else:
            torch.save(kept, folder / file)
        places |= dict.fromkeys(part, file)
    (folder / index).write_text(json.dumps({"metadata": {}, "weight_map": places}))


def save(kind, folder, step):
    """Save weights of a step in one of the usual ways and return the path to give."""
    state = weights(step)
    if kind == "pt":
        torch.save(state, folder / f"net-{step}.pt")
        return folder / f"net-{step}.pt"
    if kind == "lightning":
        path = folder / f"epoch={step // 10}-step={step}.ckpt"
        torch.save({"epoch": 1, "global_step": step, "state_dict": state, "loops": {"a": [1, 2]}}, path)
        return path
    if kind == "tutorial":
        torch.save(
            {"epoch": 7, "model_state_dict": state, "optimizer_state_dict": {"lr": 0.1}}, folder / f"c_{step}.pth"
        )
        return folder / f"c_{step}.pth"
    if kind == "parallel":
        path = folder / f"step{step}.pt"
        torch.save({f"module.{name}": value for name, value in state.items()}, path)
        return path
    if kind == "safetensors":
        save_file(state, folder / f"w{step:06d}.safetensors")
        return folder / f"w{step:06d}.safetensors"
    path = folder / f"checkpoint-{step}"
    if kind == "sharded":
        save_sharded(path, state)
    elif kind == "sharded bin":
        save_sharded(path, state, "pytorch_model-{:05d}-of-00002.bin", "pytorch_model.bin.index.json")
    else:
        path.mkdir()
        save_file(state, path / "model.safetensors")
        torch.save({"state": {}}, path / "optimizer.pt")
    return path


KINDS = ("pt", "lightning", "tutorial", "parallel", "safetensors", "sharded", "sharded bin", "trainer")


@pytest.mark.parametrize("kind", KINDS)
def test_every_way_of_saving(kind, tmp_path):
    paths = [save(kind, tmp_path, step) for step in (120, 5, 40)]
    run = tm.record_checkpoints(build, paths, (X, Y), "1", keep="values")
    assert run.steps == (5, 40, 120)
    for step in run.steps:
        assert (run.at(step)["1"].values == step).all()
    # the folder that holds them gives the same
    again = tm.record_checkpoints(build, tmp_path, (X, Y), "1", keep="values")
    assert again.steps == run.steps and (again["1"].values == 120).all()


def test_one_checkpoint_in_several_files(tmp_path):
    save_sharded(tmp_path / "only", weights(3))
    for path in (tmp_path / "only", tmp_path / "only" / "model.safetensors.index.json"):
        run = tm.record_checkpoints(build, path, (X, Y), "1", keep="values", steps=[9])
        assert run.steps == (9,) and (run["1"].values == 3).all()


def test_steps_and_metrics_in_the_order_of_the_paths(tmp_path):
    paths = [save("pt", tmp_path, step) for step in (3, 1, 2)]
    run = tm.record_checkpoints(build, paths, (X, Y), "1", steps=[30, 10, 20], metrics={"loss": [0.3, 0.1, 0.2]})
    assert run.steps == (10, 20, 30)
    np.testing.assert_allclose(run.metrics["loss"], [0.1, 0.2, 0.3])
    assert run.at(10)["1"].mean.tolist() == [1] * 5 and run.at(30)["1"].mean.tolist() == [3] * 5
    assert run.at(10)["1"].grouping("label").counts.tolist() == [10] * 3


def test_a_recording_that_was_cut_short_is_gone_on_with(tmp_path):
    paths = [save("pt", tmp_path, step) for step in (1, 2, 3)]
    first = tm.record_checkpoints(build, paths[:2], (X, Y), "1", to=tmp_path / "run")
    assert first.steps == (1, 2)
    paths[0].unlink()  # not needed any more
    torch.save(weights(99), paths[1])
    whole = tm.record_checkpoints(build, paths, (X, Y), "1", to=tmp_path / "run")
    assert whole.steps == (1, 2, 3)
    assert [whole.at(step)["1"].mean[0] for step in whole.steps] == [1, 2, 3]
    with pytest.raises(FileNotFoundError):
        tm.record_checkpoints(build, paths, (X, Y), "1", to=tmp_path / "run", overwrite=True)


def test_tied_weights_are_saved_once(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.embedding = nn.Linear(4, 6, bias=False)
            self.head = nn.Linear(4, 6, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, x):
            return self.head(x)

    save_file({"embedding.weight": torch.full((6, 4), 2.0)}, tmp_path / "step-1.safetensors")
    run = tm.record_checkpoints(Tied, tmp_path, X, "head", keep="values")
    np.testing.assert_allclose(run["head"].values, 2 * X.sum(dim=1, keepdim=True).expand(-1, 6), rtol=1e-5)


@pytest.mark.parametrize(
    ("name", "step"),
    [
        ("epoch=3-step=500.ckpt", 500),
        ("step=500-epoch=3.ckpt", 500),
        ("checkpoint-70", 70),
        ("net2_0090.pt", 90),
        ("global_step1000", 1000),
        ("iter_20_loss0.35.pth", 20),
        ("0012.safetensors", 12),
        ("model_7.safetensors.index.json", 7),
        ("v1.5-300.pt", 300),
    ],
)
def test_steps_of_names(name, step):
    assert _step_of(Path(name)) == step


def test_names_that_tell_no_step(tmp_path):
    torch.save(weights(1), tmp_path / "best.pt")
    with pytest.raises(ValueError, match=r"best.pt tells no step: give steps="):
        tm.record_checkpoints(build, tmp_path, (X, Y))
    torch.save(weights(1), tmp_path / "a-3.pt")
    torch.save(weights(1), tmp_path / "b-3.pt")
    with pytest.raises(ValueError, match=r"a-3.pt and .*b-3.pt both are of step 3"):
        tm.record_checkpoints(build, [tmp_path / "a-3.pt", tmp_path / "b-3.pt"], (X, Y))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s: s.pop("0.bias"), r"1 missing \('0.bias'\)"),
        (lambda s: s.update(extra=torch.zeros(1)), r"1 unexpected \('extra'\)"),
        (lambda s: s.update({"0.bias": torch.zeros(6)}), r"0.bias is \(6,\), expected \(5,\)"),
    ],
)
def test_weights_that_do_not_fit(tmp_path, change, match):
    state = weights(1)
    change(state)
    torch.save(state, tmp_path / "step-1.pt")
    with pytest.raises(ValueError, match=f"step-1.pt are not this model's: {match}"):
        tm.record_checkpoints(build, tmp_path, (X, Y), "1")


class Evil:
    def __reduce__(self):
        return (print, ("unpickled",))


def test_nothing_is_unpickled(tmp_path, capsys):
    torch.save({"state_dict": weights(1), "callbacks": Evil()}, tmp_path / "step-1.pt")
    with (tmp_path / "step-2.pt").open("wb") as file:
        pickle.dump(Evil(), file)
    for step in (1, 2):
        with pytest.raises(ValueError, match="holds more than tensors"):
            tm.record_checkpoints(build, tmp_path / f"step-{step}.pt", (X, Y), "1")
    assert "unpickled" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("{}", "has no weight_map"),
        ("[", "has no weight_map"),
        (
            '{"weight_map": {"a": "gone.safetensors"}}',
            "gone.safetensors, which is not there: the checkpoint is not whole",
        ),
        ('{"weight_map": {"a": "../step-9.pt"}}', "which is not a file beside it"),
        ('{"weight_map": {"lost": "part.safetensors"}}', "do not hold: 'lost'"),
    ],
)
def test_an_index_that_is_not_whole(tmp_path, text, match):
    save_file({"a": torch.zeros(1)}, tmp_path / "part.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(text)
    with pytest.raises(ValueError, match=match):
        read_weights(tmp_path)


def test_mistakes(tmp_path):
    with pytest.raises(ValueError, match="at least one checkpoint"):
        tm.record_checkpoints(build, [], (X, Y))
    with pytest.raises(ValueError, match="holds no checkpoints"):
        tm.record_checkpoints(build, tmp_path, (X, Y))
    with pytest.raises(FileNotFoundError, match="no file"):
        tm.record_checkpoints(build, tmp_path / "weights", (X, Y), "1")
    with pytest.raises(ValueError, match=r"build_model must be a function that makes the model, lambda: Net\(\)"):
        tm.record_checkpoints(build(), tmp_path, (X, Y))
    path = save("pt", tmp_path, 1)
    with pytest.raises(ValueError, match="steps must have one entry per checkpoint: expected 1, got 2"):
        tm.record_checkpoints(build, path, (X, Y), steps=[1, 2])
    with pytest.raises(ValueError, match="metric 'loss' must have one entry per checkpoint"):
        tm.record_checkpoints(build, path, (X, Y), metrics={"loss": [1, 2]})
    with pytest.raises(ValueError, match="what build_model returns must be of type Module; got dict"):
        tm.record_checkpoints(dict, path, (X, Y))
    with pytest.raises(ValueError, match="the loader shuffles"):
        data = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(X, Y), shuffle=True)
        tm.record_checkpoints(build, path, data)


def test_a_checkpoint_that_diverged_is_left_out(tmp_path):
    for step in (0, 5, 9):
        state = weights(step)
        state["0.bias"] += float("nan") if step == 5 else 0
        torch.save(state, tmp_path / f"step-{step}.pt")
    with pytest.warns(tm.TopomapWarning, match=r"at step 5, layer '0' .* 150 NaN"):
        run = tm.record_checkpoints(build, tmp_path, (X, Y), "0", progress=False)
    assert run.steps == (0, 9) and list(run.diverged) == [5]
    np.testing.assert_allclose(run.at(9)["0"].mean, 9)
