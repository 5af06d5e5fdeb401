from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import topomap as tm
from topomap.cli import main
from topomap.datasets import digits
from topomap.demo import watch


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The training of the demo, one epoch long, on disk."""
    to = tmp_path_factory.mktemp("training") / "digits"
    run = watch(digits("train"), digits("test"), to, epochs=1)
    assert run.steps == (0, 1, 2, 3, 4, 5, 6, 8, 10)
    assert run.metrics["accuracy"][-1] > run.metrics["accuracy"][0]
    return to


def test_film_and_strip_and_curves(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    film, strip, curves = tmp_path / "film.gif", tmp_path / "strip.png", tmp_path / "curves.png"
    options = ["--steps", "3", "--between", "1", "--size", "640", "360", "--no-quality", "--snapshots", "2"]
    code = main(["film", str(folder), "--to", str(film), str(strip), "--curves", str(curves), "--dpi", "80", *options])
    assert code == 0
    with Image.open(film) as image:
        assert (image.n_frames, image.size) == (5, (640, 360))
    assert strip.exists()
    assert curves.exists()
    printed = capsys.readouterr().out
    assert "maps of relu2   all settled (correlation with the last >= 0.9) from step" in printed
    assert str(film) in printed


def test_the_folder_gives_what_memory_gives(folder: Path) -> None:
    kept = tm.animate(tm.open_run(folder), "relu2", ("label", "correct"), quality=False, steps=2, between=0, width=640,
                      height=360, progress=False)  # fmt: skip
    memory = watch(digits("train"), digits("test"), epochs=1)
    again = tm.animate(memory, "relu2", ("label", "correct"), quality=False, steps=2, between=0, width=640,
                       height=360, progress=False)  # fmt: skip
    np.testing.assert_allclose(kept.maps.values, again.maps.values, atol=1e-5)
    np.testing.assert_array_equal(kept.frames[0], again.frames[0])


@pytest.mark.parametrize(
    ("names", "options", "size", "fps"),
    [
        (["a.gif"], [], (800, 450), None),
        (["a.gif"], ["--layout", "moving"], (800, 450), 12),
        (["a.gif", "b.html"], ["--layout", "moving"], (1280, 720), None),
        (["a.gif"], ["--layout", "moving", "--fps", "30", "--size", "640", "360"], (640, 360), 30),
    ],
)
def test_a_gif_alone_is_small(
    names: list[str], options: list[str], size: tuple[int, int], fps: float | None, folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    asked: dict[str, Any] = {}

    class Large:
        def save(self, to: Path) -> Path:
            to.write_bytes(bytes(2_000_000))
            return to

    def animate(*_: object, **given: Any) -> Large:
        asked.update(given)
        return Large()

    monkeypatch.setattr("topomap.plot.animate", animate)
    monkeypatch.setattr("topomap.cli.film.LARGE", 1_000_000)
    assert main(["film", str(folder), *options, "--to", *(str(tmp_path / name) for name in names)]) == 0
    assert (asked["width"], asked["height"]) == size
    assert asked["fps"] == fps
    assert capsys.readouterr().out.count("2 MB: a smaller --size") == 1


def test_info_and_films_of_a_training_that_diverged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    layer, to = torch.nn.Linear(3, 20), tmp_path / "run"
    recorder = tm.TrainingRecorder(layer, (torch.randn(40, 3), torch.arange(40) % 2), to=to)
    for step in (0, 1):
        recorder.snapshot(step)
    with torch.no_grad():
        layer.weight.fill_(torch.nan)
    with pytest.warns(tm.TopomapWarning, match="at step 20, layer 'model'"):
        recorder.snapshot(20)
    assert main(["info", str(to)]) == 0
    printed = capsys.readouterr().out
    assert "2 snapshots of a training, steps 0 to 1; without step 20, at which the training had diverged" in printed
    assert "20: layer 'model' under 'none' has 800 NaN" in printed
    film, strip, curves = (str(tmp_path / name) for name in ("film.gif", "strip.png", "curves.png"))
    assert main(["film", str(to), "--to", film, strip, "--curves", curves, "--size", "640", "360", "--dpi", "60"]) == 0
    assert "step 20, at which the training had diverged" in capsys.readouterr().out


def test_mistakes(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, *argv in (
        ("say what to write", "--by", "label"),
        ("that of a film, '.gif', '.html'", "--to", str(tmp_path / "film.avi")),
        ("--difference takes two groups", "--to", str(tmp_path / "a.gif"), "--difference", "3"),
        ("keeps no single input", "--to", str(tmp_path / "a.gif"), "--inputs", "3"),
        ("fps must be from 0.1", "--to", str(tmp_path / "a.gif"), "--layout", "moving", "--fps", "0"),
        ("Did you mean '3'", "--to", str(tmp_path / "a.gif"), "--groups", "33"),
    ):
        assert main(["film", str(folder), *argv]) == 2
        assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_no_training(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    acts = tm.Activations.from_array(np.eye(4), layer="fc", label=[0, 0, 1, 1])
    tm.save_run(tm.Run(acts.inputs, {("fc", "none"): acts}), tmp_path / "still")
    assert main(["film", str(tmp_path / "still"), "--to", str(tmp_path / "film.gif")]) == 2
    assert "is no training" in capsys.readouterr().err


def test_the_demo_makes_everything_or_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from topomap.demo import training

    def absent(split: str) -> None:
        raise FileNotFoundError

    monkeypatch.setattr(training, "fashion_mnist", absent)
    films = []

    def quick(run: tm.Run, folder: Path, name: str, *_: object) -> str:
        (folder / f"{name}.gif").touch()
        films.append(run.steps)
        return "a film"  # drawn by other tests

    monkeypatch.setattr(training, "_film", quick)
    monkeypatch.setattr(training, "_figures", lambda *_: None)
    assert main(["train-demo", "--to", str(tmp_path / "demo"), "--epochs", "1"]) == 0
    printed = capsys.readouterr().out
    assert "digits: a dense net learnt 1,000 pictures in 10 steps" in printed
    first, last = tm.open_run(tmp_path / "demo" / "digits").metrics["accuracy"][[0, -1]]
    assert f"  right           {first:.1%} of 797 unseen pictures at first, {last:.1%} at last" in printed
    assert "  watched         layer relu2 at 9 of the steps" in printed
    assert not re.search(r"[A-Z]\w+\(", printed), "a repr"
    assert "clothes: left out" in printed
    assert films == [(0, 1, 2, 3, 4, 5, 6, 8, 10)]
    assert {path.name for path in (tmp_path / "demo").iterdir()} == {
        "digits", "digits.gif", "demo.toml"
    }  # fmt: skip
    assert main(["train-demo", "--to", str(tmp_path / "demo")]) == 2
    assert "--overwrite" in capsys.readouterr().err

    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training, "_film", stop)
    assert main(["train-demo", "--to", str(tmp_path / "other"), "--epochs", "1"]) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
