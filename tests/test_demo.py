"""The demo, run once with few epochs and a quick layout; what it makes, and that it leaves nothing half-made."""

from __future__ import annotations

import random
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

import topomap
from topomap import demo
from topomap.cli import main
from topomap.datasets import digits, loader
from topomap.layout import Layout
from topomap.store import open_run

FIGURES = ["cnn-relu2-classes", "cnn-relu2-inputs", "cnn-relu2-layout"]
FIGURES += ["mlp-relu1-classes", "mlp-relu1-inputs", "mlp-relu1-layout"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The demo's folder and what the command printed; made in a process of its own, which also tells its imports."""
    place = tmp_path_factory.mktemp("demo")
    code = (
        "import sys; from topomap.cli import main; code = main(['demo', '--epochs', '3', '--method', 'pca']); "
        "print('umap' in sys.modules, file=sys.stderr); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=place, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.strip().splitlines()[-1] == "False"
    return place / "topomap-demo", done.stdout


def test_what_it_makes(made: tuple[Path, str]) -> None:
    folder, _ = made
    assert sorted(path.name for path in folder.iterdir()) == [
        "cnn", "cnn.safetensors", "demo.toml", "figures", "mlp", "mlp.safetensors",
    ]  # fmt: skip
    figures = {path.name: path.read_bytes() for path in (folder / "figures").iterdir()}
    assert sorted(figures) == sorted(f"{stem}.{kind}" for stem in FIGURES for kind in ("png", "pdf"))
    for name, content in figures.items():
        assert content.startswith(b"\x89PNG" if name.endswith("png") else b"%PDF")
        assert len(content) > 10_000
    assert [path.name for path in folder.parent.iterdir()] == ["topomap-demo"]


def test_runs_are_the_nets_answers(made: tuple[Path, str]) -> None:
    folder, _ = made
    marked = tomllib.loads((folder / "demo.toml").read_text())
    assert (marked["seed"], marked["method"], marked["epochs"]) == (0, "pca", 3)
    from safetensors.torch import load_file

    test = digits("test")
    for name, factory in (("cnn", demo.cnn), ("mlp", demo.mlp)):
        run = open_run(folder / name)
        assert run.layers == ("relu1", "relu2")
        assert len(run.inputs) == 797
        model = factory()
        model.load_state_dict(load_file(folder / f"{name}.safetensors"))
        x, y = next(iter(loader(test, 797)))
        with torch.inference_mode():
            predicted = model(x).argmax(1).numpy()
        np.testing.assert_array_equal(run.inputs["prediction"], predicted)
        np.testing.assert_array_equal(run.inputs["label"], y)
        assert marked["accuracy"][name] == pytest.approx((predicted == y.numpy()).mean())
        assert marked["accuracy"][name] > 0.85
        for layer in run.layers:
            acts = run[layer]
            layout = Layout.load(folder / name, layer, acts.reduce)
            np.testing.assert_array_equal(layout.dead, acts.dead)
            made_again = topomap.embed(topomap.correlate(acts), method="pca", seed=0)
            np.testing.assert_allclose(layout.positions, made_again.positions, atol=1e-9)


def test_what_it_prints(made: tuple[Path, str]) -> None:
    folder, out = made
    marked = tomllib.loads((folder / "demo.toml").read_text())
    assert f"convolutional net: {marked['accuracy']['cnn']:.1%} of 797 unseen digits right" in out
    dead = int(open_run(folder / "mlp")["relu1"].dead.sum())
    assert [line.split()[:6] for line in out.splitlines() if " 512 " in line] == [
        ["relu1", "none", "797", "512", str(512 - dead), str(dead)]
    ]
    for stem in FIGURES:
        assert f"figures/{stem}.pdf" in out


def test_what_it_says_to_try_works(
    made: tuple[Path, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import shlex

    folder, out = made
    monkeypatch.chdir(folder.parent)
    lines = out.split("try next\n")[1].replace("\\\n", " ").splitlines()
    assert len(lines) >= 5
    plot = next(line for line in lines if " plot " in line)
    for line in [*lines, plot]:  # a second layout is there by then
        program, *words = shlex.split(line)
        assert program == "topomap"
        words = ["random" if word in ("tsne", "umap") else word for word in words]  # only for the time it takes
        assert main(words) == 0, capsys.readouterr().err


def test_it_is_not_made_over(made: tuple[Path, str], capsys: pytest.CaptureFixture[str]) -> None:
    folder, _ = made
    before = sorted(folder.parent.rglob("*"))
    assert main(["demo", "--to", str(folder)]) == 2
    assert "--overwrite" in capsys.readouterr().err
    assert sorted(folder.parent.rglob("*")) == before


def test_only_a_demos_folder_is_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("x")
    assert main(["demo", "--to", str(tmp_path / "mine"), "--overwrite"]) == 2
    assert "is not a demo's folder" in capsys.readouterr().err
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")] == ["mine", "mine/thesis.tex"]


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_failure_keeps_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    old = tmp_path / "demo"
    old.mkdir()
    (old / demo.MARK).write_text("seed = 1")

    def fail(folder: Path, *rest: object) -> float:
        (folder / "half").write_text("done")
        raise error

    monkeypatch.setattr(demo.maps, "_one_net", fail)
    with pytest.raises(type(error)):
        demo.make_demo(old, overwrite=True)
    assert [str(path.relative_to(tmp_path)) for path in sorted(tmp_path.rglob("*"))] == ["demo", "demo/demo.toml"]


def test_overwrite_replaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "demo"
    old.mkdir()
    (old / demo.MARK).write_text("seed = 1")
    (old / "stale").write_text("")

    def nothing(folder: Path, name: str, *rest: object) -> float:
        inputs = topomap.Inputs(np.arange(2))
        acts = topomap.Activations(np.eye(2), inputs, "fc")
        topomap.save_run(topomap.Run(inputs, {("fc", "none"): acts}), folder / name)
        (folder / "figures").mkdir(exist_ok=True)
        return 0.5

    monkeypatch.setattr(demo.maps, "_one_net", nothing)
    result = demo.make_demo(old, overwrite=True, seed=7)
    assert tomllib.loads((old / demo.MARK).read_text())["seed"] == 7
    assert not (old / "stale").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
    assert result.accuracy == {"cnn": 0.5, "mlp": 0.5}


def test_training_is_deterministic_and_leaves_random_states() -> None:
    data = digits("train").take(np.arange(200))
    random.seed(3)
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    threads = torch.get_num_threads()
    first = demo.train(demo.mlp, data, epochs=2, seed=1, progress=False)
    after = random.random(), torch.rand(1).item(), np.random.random()  # noqa: NPY002
    random.seed(3)
    torch.manual_seed(3)
    np.random.seed(3)  # noqa: NPY002
    assert after == (random.random(), torch.rand(1).item(), np.random.random())  # noqa: NPY002
    assert torch.get_num_threads() == threads
    again = demo.train(demo.mlp, data, epochs=2, seed=1, progress=False)
    other = demo.train(demo.mlp, data, epochs=2, seed=2, progress=False)
    for a, b in zip(first.parameters(), again.parameters(), strict=True):
        assert torch.equal(a, b)
    assert not torch.equal(first[1].weight, other[1].weight)
    with pytest.raises(ValueError, match="epochs must be at least 1"):
        demo.train(demo.mlp, data, epochs=0)


def test_inputs_worth_a_look() -> None:
    def choose(label: list[int], prediction: list[int], confidence: list[float]) -> list[int]:
        acts = topomap.Activations.from_array(
            np.eye(len(label)), label=label, prediction=prediction, confidence=confidence
        )
        return demo.choose_inputs(acts).tolist()

    # the surest mistake (3), between the surest right 0 (2) and the surest right 1 (4); then the least sure (5)
    assert choose([0, 0, 0, 0, 1, 1], [0, 1, 0, 1, 1, 1], [0.6, 0.7, 0.9, 0.8, 0.7, 0.5]) == [2, 3, 4, 5]
    assert choose([0, 0, 1], [0, 0, 1], [0.7, 0.9, 0.8]) == [1, 0]  # no mistake
    assert choose([0, 1], [1, 0], [0.7, 0.9]) == [1, 0]  # nothing but mistakes
