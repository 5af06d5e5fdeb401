"""``--step``: every command that takes a run's layer takes a step of a training."""

import numpy as np
import pytest
from PIL import Image

from topomap.cli import main
from topomap.layout import Layout
from topomap.run import Activations, Inputs, Run
from topomap.store import list_datasets, save_run


@pytest.fixture
def training(tmp_path):
    """Three steps in which the neurons of two groups change sides."""
    rng = np.random.default_rng(0)
    label = np.arange(60) % 3
    inputs = Inputs(np.arange(60), {"label": label, "site": np.arange(60) % 2})
    runs = {}
    for step in (0, 10, 20):
        values = rng.normal(size=(60, 24)) + 3 * ((label[:, None] + step // 10) % 3 == np.arange(24) % 3)
        acts = Activations(values.astype(np.float32), inputs, "fc")
        runs[step] = Run(inputs, {("fc", "none"): acts}, {"seed": 0})
    return save_run(Run.from_snapshots(runs, {"loss": [3.0, 2.0, 1.0]}), tmp_path / "run").path


def run_cli(*arguments):
    return main([str(argument) for argument in arguments])


def test_plot(training, tmp_path):
    files = {step: tmp_path / f"{step}.png" for step in (None, 0, 20)}
    for step, file in files.items():
        given = [] if step is None else ["--step", step]
        assert not run_cli("plot", training, "--by", "label", "--method", "pca", "--to", file, "--dpi", 50, *given)
    first, last, stored = (np.asarray(Image.open(files[step]).convert("RGB")) for step in (0, 20, None))
    assert np.array_equal(last, stored) and not np.array_equal(first, last)
    assert list_datasets(training) == ["layouts/fc/none/pca"]  # one layout, that of the last step


def test_embed(training):
    assert not run_cli("embed", training, "--method", "pca")
    last = Layout.load(training, "fc").positions
    assert not run_cli("embed", training, "--method", "pca", "--step", 0)
    first = Layout.load(training, "fc")
    assert not np.allclose(first.positions, last)
    assert first.provenance["step"] == 0


def test_patterns_of_a_step_are_printed_and_not_stored(training, capsys):
    assert not run_cli("patterns", training, "--step", 10)
    assert "stored in" not in capsys.readouterr().out and list_datasets(training) == []
    assert not run_cli("patterns", training)
    assert "stored in" in capsys.readouterr().out and list_datasets(training) != []


def test_compare(training, capsys):
    tables = []
    for step in (0, 0, 20):
        assert not run_cli("compare", training, "--methods", "pca", "random", "--n", 1, "--step", step)
        tables.append(capsys.readouterr().out)
    assert tables[0].split("pca")[1][:40] == tables[1].split("pca")[1][:40] != tables[2].split("pca")[1][:40]


def test_bias(training, capsys):
    printed = []
    for step in (0, 20):
        given = ["--by", "site", "--method", "pca", "--n-permutations", 200, "--step", step]
        assert not run_cli("bias", training, *given)
        printed.append(capsys.readouterr().out)
    assert printed[0] != printed[1]


def test_a_step_that_is_not_there(training, capsys):
    assert run_cli("plot", training, "--by", "label", "--step", 12, "--to", "maps.png")
    assert "no snapshot at step 12; the nearest are 10 and 20" in " ".join(capsys.readouterr().err.split())


def test_info_tells_the_snapshots(training, capsys):
    assert not run_cli("info", training)
    assert "3 snapshots of a training, steps 0 to 20; logged: loss" in capsys.readouterr().out
