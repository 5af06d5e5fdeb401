from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
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
    assert "TrainingSummary(relu2: steps 0 to 10" in printed
    assert str(film) in printed


def test_the_folder_gives_what_memory_gives(folder: Path) -> None:
    kept = tm.animate(tm.open_run(folder), "relu2", ("label", "correct"), quality=False, steps=2, between=0, width=640,
                      height=360, progress=False)  # fmt: skip
    memory = watch(digits("train"), digits("test"), epochs=1)
    again = tm.animate(memory, "relu2", ("label", "correct"), quality=False, steps=2, between=0, width=640,
                       height=360, progress=False)  # fmt: skip
    np.testing.assert_allclose(kept.maps.values, again.maps.values, atol=1e-5)
    np.testing.assert_array_equal(kept.frames[0], again.frames[0])


def test_mistakes(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, *argv in (
        ("say what to write", "--by", "label"),
        ("that of a film, '.gif', '.html'", "--to", str(tmp_path / "film.avi")),
        ("--difference takes two groups", "--to", str(tmp_path / "a.gif"), "--difference", "3"),
        ("keeps no single input", "--to", str(tmp_path / "a.gif"), "--inputs", "3"),
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
    assert "digits: " in printed
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
