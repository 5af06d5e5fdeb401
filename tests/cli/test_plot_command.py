"""``topomap plot``: arrangements, contrasts and projections of a tiny run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import topomap as tm
from topomap.cli import main
from topomap.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    label = np.arange(60) % 3
    prediction = np.where(np.arange(60) % 4 == 1, (label + 1) % 3, label)
    values = rng.normal(size=(60, 20)) + rng.normal(size=(3, 20))[label]
    names = np.array(["ant", "bee", "cow"])
    acts = tm.Activations.from_array(values, label=names[label], prediction=names[prediction], layer="fc")
    path = tmp_path_factory.mktemp("plots") / "run"
    tm.save_run(Run(acts.inputs, {("fc", "none"): acts}), path)
    tm.embed(tm.correlate(acts), "pca").save(path, "fc")
    return path


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str]:
    code = main([str(word) for word in words])
    told = capsys.readouterr()
    return code, told.out + told.err


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("--by label,prediction", {"by": ("label", "prediction")}),
        ("--by label,correct --min-size 30", {"by": ("label", "correct"), "min_size": 30}),
        ("--by label,correct --arrange grid", {"by": ("label", "correct"), "arrange": "grid"}),
        ("--by label --arrange tree", {"by": "label", "arrange": "tree"}),
        ("--by label --contrast cow --groups ant", {"by": "label", "contrast": "cow", "groups": ["ant"]}),
        ("--by label --contrast rest", {"by": "label", "contrast": "rest"}),
        ("--by label,prediction --weights size", {"by": ("label", "prediction"), "weights": "size"}),
        ("--by label --projection pca", {"by": "label", "projection": "pca"}),
    ],
)
def test_it_draws_what_python_draws(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, expected: dict[str, object]
) -> None:
    file = tmp_path / "a.png"
    assert call(capsys, "plot", run, *words.split(), "--to", file, "--dpi", 40) == (0, f"{file}\n")
    acts = tm.open_run(run)["fc"]
    made = {name: expected.pop(name) for name in ("by", "contrast", "weights", "min_size") if name in expected}
    if "projection" in expected:
        expected["projection"] = tm.project_inputs(acts, "pca")
    figure = tm.plot_profiles(tm.profile(acts, **made), tm.Layout.load(run, "fc"), **expected)
    tm.save_figure(figure, tmp_path / "b.png", dpi=40)
    np.testing.assert_array_equal(np.asarray(Image.open(file)), np.asarray(Image.open(tmp_path / "b.png")))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ("--by label --arrange matrix", "needs groups by two columns"),
        ("--by label --contrast cwo", "Did you mean 'cow'"),
        ("--by label,pattern", "no patterns are stored for layer 'fc': find them with `topomap patterns"),
        ("--inputs 1 --weights size", "--weights is for groups"),
        ("--inputs 1 --place 0,0", "--place is for groups"),
        ("--by label --place 0", "--place: layer 'fc' was recorded without places. Record it with --reduce positions"),
        ("--by label --arrange tree --projection pca", "projection goes with arrange='grid'"),
        ("--inputs 1 --arrange tree --min-size 3", "--min-size and --arrange are for groups"),
    ],
)
def test_mistakes_are_explained(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: str, message: str
) -> None:
    code, told = call(capsys, "plot", run, *words.split(), "--to", tmp_path / "a.png")
    assert code == 2 and message in told and not list(tmp_path.iterdir())


def test_one_place_of_feature_maps(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    rows, place = np.divmod(np.arange(60 * 6), 6)
    inputs = tm.Inputs(np.arange(60), {"label": np.arange(60) % 3})
    values = rng.normal(size=(360, 12)) + rng.normal(size=(3, 6, 12))[rows % 3, place]
    places = np.stack([place // 3, place % 3], axis=1)
    acts = tm.Activations(values, inputs, "conv", "positions", rows, places)
    tm.save_run(Run(inputs, {("conv", "positions"): acts}), tmp_path / "run")
    layout = tm.embed(tm.correlate(acts), "pca")
    layout.save(tmp_path / "run", "conv", "positions")
    words = ("plot", tmp_path / "run", "--by", "label", "--dpi", 40)
    assert call(capsys, *words, "--place", "1,2", "--to", tmp_path / "a.png")[0] == 0
    figure = tm.plot_profiles(tm.profile(acts, by="label", places=True).at_place((1, 2)), layout)
    assert "Layer conv (reduction: positions), place (1, 2): 12 neurons" in (told := figure.texts[-1].get_text())
    assert "standard deviations of each neuron over all places" in " ".join(told.split())
    tm.save_figure(figure, tmp_path / "b.png", dpi=40)
    np.testing.assert_array_equal(*(np.asarray(Image.open(tmp_path / name)) for name in ("a.png", "b.png")))
    for wrong, message in (
        ("2,0", "one of the 6 places (0, 0) to (1, 2)"),
        ("1", "got (1,)"),
        ("-1,0", "takes the coordinates"),
        ("middle", "takes the coordinates of a place, joined by commas"),
    ):
        code, told = call(capsys, *words, f"--place={wrong}", "--to", tmp_path / "c.png")
        assert code == 2 and message in told and not (tmp_path / "c.png").exists(), told


def test_stored_patterns_are_groups(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    acts = tm.open_run(folder)["fc"]
    patterns = tm.find_patterns(acts)
    patterns.save(folder)
    assert len(patterns) > 1 and patterns.noise > 0
    words = ("plot", folder, "--by", "pattern", "--projection", "pca", "--to", tmp_path / "a.png", "--dpi", 40)
    assert call(capsys, *words)[0] == 0
    named = acts.with_labels(pattern=np.array(patterns.names)[patterns.labels])  # -1 is the last name: noise
    profiles, projection = tm.profile(named, by="pattern"), tm.project_inputs(named, "pca")
    np.testing.assert_array_equal(np.sort(profiles.counts), np.sort(patterns.groups.counts))
    tm.save_figure(
        tm.plot_profiles(profiles, tm.Layout.load(run, "fc"), projection=projection), tmp_path / "b.png", dpi=40
    )
    np.testing.assert_array_equal(*(np.asarray(Image.open(tmp_path / name)) for name in ("a.png", "b.png")))
