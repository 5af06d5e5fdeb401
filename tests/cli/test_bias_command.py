"""``topomap bias`` and ``topomap errors``, from the archive of inputs to the report."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import topomap as tm
from topomap.bias import find_label_errors
from topomap.cli import main
from topomap.cli.stored import layouts
from topomap.run import Activations, Inputs, Run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two layers in which group "new" raises a third of the neurons; one of two neurons; labels 0 called 1."""
    rng = np.random.default_rng(0)
    label, group = np.arange(120) % 2, np.arange(120) // 2 % 2
    prediction = np.where((label == 0) & (np.arange(120) % 3 > 0), 1, label)
    columns = {
        "label": label,
        "prediction": prediction,
        "group": np.array(["old", "new"])[group],
        "person": np.arange(120) // 4 * 2 + group,
        "third": np.arange(120) % 3,
    }
    inputs = Inputs(np.arange(120) + 1000, columns, ("cat", "dog"))
    records = {}
    for layer, n in (("conv", 24), ("fc", 18), ("few", 2)):
        values = rng.normal(size=(120, n)) + 3 * rng.normal(size=(2, n))[label]
        values[:, : n // 3] += 1.5 * group[:, None]
        records[layer, "mean"] = Activations(values.astype(np.float32), inputs, layer, "mean")
    folder = tmp_path_factory.mktemp("runs") / "run"
    tm.save_run(Run(inputs, records), folder)
    return folder


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_same_as_python(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = [made.parent / name for name in ("new/a.json", "new/a.csv", "new/a.png")]
    words = [
        "--by",
        "group",
        "--within",
        "label",
        "--layer",
        "conv",
        "--n-permutations",
        99,
        "--seed",
        3,
        "--alpha",
        0.1,
    ]
    code, out, err = call(capsys, "bias", made, *words, "--forming", 0.05, "--dpi", 40, "--to", *to)
    assert code == 0, err
    run = tm.open_run(made)
    layout = tm.Layout.load(made, "conv", "mean")  # was made, and stored
    report = tm.measure_bias(
        run["conv"], "group", "label", layout=layout, n_permutations=99, alpha=0.1, forming=0.05, seed=3
    )
    assert report.significant
    told = json.loads(to[0].read_text())
    expected = report.to_dict()
    assert {name: told[name] for name in ("contrasts", "clusters", "outcomes", "parameters", "method")} == {
        name: json.loads(json.dumps(expected[name]))
        for name in ("contrasts", "clusters", "outcomes", "parameters", "method")
    }
    with to[1].open() as file:
        assert [float(row["effect"]) for row in csv.DictReader(file)] == report.contrasts[0].effect.tolist()
    assert Image.open(to[2]).size[0] == pytest.approx(7.2 * 40, abs=1)
    lines = out.splitlines()
    assert lines[0] == repr(report)
    first = next(line.split() for line in lines if line.split()[:1] == ["1"])
    assert first[1:6] == ["lower" if report.clusters[0].sign < 0 else "higher", "in", "old", "against", "new"]
    assert f"{report.clusters[0].p:.2g}*" in first
    assert report.method_text() in " ".join(out.split())
    assert report.outcomes is not None and f"{100 * report.outcomes.by_group[0].error_rate.value:.1f} % [" in out
    gap, ratio = report.outcomes.adjusted_difference["error_rate"], report.outcomes.adjusted_ratio["error_rate"]
    line = next(line for line in lines if line.startswith("error rate within label: difference"))
    assert f"({gap.highest} less {gap.lowest}), ratio {ratio.value:.2f} [" in line
    assert line.endswith(f"({gap.lowest} over {gap.highest})")
    assert lines[-3:] == [str(file) for file in to] and any(line.startswith("stored in") for line in lines)


def test_layers_probe_and_report(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = [made.parent / name for name in ("b.md", "b.json", "b.svg")]
    words = ["--by", "group", "--layer", "conv", "few", "fc", "--n-permutations", 99, "--probe"]
    code, out, err = call(capsys, "bias", made, *words, "--dpi", 40, "--to", *to)
    assert code == 0, err
    told = json.loads(to[1].read_text())["reports"]
    assert [each["layer"] for each in told] == ["conv", "few", "fc"]
    rows = told[0]["probe"]["rows"]
    assert [row["layer"] for row in rows] == ["conv", "few", "fc"] and rows[0]["accuracy"] > 0.9
    for row in rows:
        assert any(line.split()[:2] == [row["layer"], f"{row['accuracy']:.3f}"] for line in out.splitlines())
    assert out.count("BiasReport(") == 3 and "each by itself, without correction over layers" in out
    text = to[0].read_text()
    assert "Layers conv (mean), few (mean) and fc (mean)" in text and "## Probe" in text
    # two neurons have no layout, and no map; the others have
    assert {layer for layer, _, _ in layouts(tm.open_run(made))} == {"conv", "fc"}
    assert "None of layer few (mean)" in text and told[1]["clusters"] == []
    drawn = to[2].read_text()
    assert ">conv<" in drawn and ">fc<" in drawn and ">few<" not in drawn


def test_units_reference_and_intersections(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--layer", "few", "--n-permutations", 99]
    code, out, err = call(capsys, "bias", made, *words, "--by", "group", "--unit", "person")
    assert code == 0 and "whole units (person, 60 units)" in " ".join(out.split()), err
    code, out, err = call(capsys, "bias", made, *words, "--by", "group,third", "--reference", "old, 0")
    assert code == 0 and "against old, 0" in out and "BiasReport(few (mean) by" not in out, err
    assert "by group x third" in out


def test_mistakes_come_before_the_work(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = layouts(tm.open_run(made))
    by = ["--by", "group"]
    for words, told in (
        (["--layer", "conv"], "by"),
        ([*by], "say which layer (--layer)"),
        (["--layer", "cnv", *by], "Did you mean 'conv'"),
        (["--layer", "conv", "--by", "grup"], "Did you mean 'group'"),
        (["--layer", "conv", *by, "--within", "lable"], "Did you mean 'label'"),
        (["--layer", "conv", *by, "--unit", "prson"], "Did you mean 'person'"),
        (["--layer", "conv", *by, "--reference", "odl"], "Did you mean 'old'"),
        (["--layer", "conv", "--by", "label", "--within", "label"], "nothing is left to compare within classes"),
        (["--layer", "conv", *by, "--min-size", 100], "is large enough"),
        (["--layer", "conv", *by, "--to", "a.htm"], "the suffix"),
        (["--layer", "conv", *by, "--dpi", 1], "dpi must be"),
        (["--layer", "conv", "--by", "third", "--unit", "person"], "varies within"),
        (["--layer", "few", *by, "--to", "a.png"], "no map to draw"),
        (["--layer", "conv", *by, "--n-permutations", 5], "n_permutations must be at least"),
    ):
        code, _, err = call(capsys, "bias", made, *words)
        assert code == 2 and told in err, (words, err)
    assert layouts(tm.open_run(made)) == before


def test_from_an_archive_to_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A column beside x and y becomes the groups."""
    rng = np.random.default_rng(0)
    y, marked = np.arange(80) % 2, np.arange(80) // 2 % 2 == 1
    x = rng.random((80, 1, 8, 8)).astype(np.float32)
    x[marked, :, :4, :4] = 4.0
    np.savez(tmp_path / "digits.npz", x=x, y=y, marked=marked)
    archive, run, report = tmp_path / "digits.npz", tmp_path / "run", tmp_path / "report.md"
    code, _, err = call(capsys, "record", "topomap.demo:mlp", "--data", archive, "--layers", "relu2", "--to", run)
    assert code == 0, err
    words = ["--by", "marked", "--within", "label", "--n-permutations", 99, "--to", report]
    code, out, err = call(capsys, "bias", run, *words)
    assert code == 0, err
    text = report.read_text()
    assert "# Bias by marked, within label" in text and "clusters of neighbouring neurons differ" in text
    assert (tmp_path / "report").is_dir() and "neurons" in out


def test_errors(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = [made.parent / "e/errors.csv", made.parent / "e/errors.json"]
    code, out, err = call(capsys, "errors", made, "--layer", "conv", "--to", *to)
    assert code == 0, err
    run = tm.open_run(made)
    (one,) = find_label_errors(run["conv"])  # type: ignore[arg-type]
    assert one.strong
    line = out.splitlines()[1]
    assert line.split()[:5] == ["cat", "dog", "40", "of", "60"] and "swapped?" in line
    assert line.endswith(", ".join(str(1000 + position) for position in one.inputs[:5]))
    assert "1 of 1 pairs" in out and out.splitlines()[-2:] == [str(file) for file in to]
    with to[0].open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["input"]) for row in rows] == (one.inputs + 1000).tolist()
    assert [float(row["evidence"]) for row in rows] == one.evidence.tolist() and rows[0]["label"] == "cat"
    told = json.loads(to[1].read_text())
    assert told[0]["ids"] == (one.inputs + 1000).tolist() and told[0]["score"] == one.score
    code, out, _ = call(capsys, "errors", made, "--layer", "conv", "--min-size", 50)
    assert code == 0 and out == (
        "no pair of classes is confused 50 times: 40 inputs are misclassified, at most 40 of one pair (cat taken for "
        "dog)\n--min-size 40 judges pairs of so few; the fewer, the less they say\n"
    )
    assert "40 of 60" in call(capsys, "errors", made, "--layer", "conv", "--min-size", 40)[1]
    for words, told_ in (
        ([], "say which layer"),
        (["--layer", "conv", "--to", "a.png"], "must be one of '.csv', '.json'"),
        (["--layer", "conv", "--min-size", 0], "min_size must be at least 1"),
    ):
        code, _, err = call(capsys, "errors", made, *words)
        assert code == 2 and told_ in err


def test_few_errors_are_counted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label = np.repeat(np.arange(3), 15)
    values = 9 * np.eye(3)[label] + np.random.default_rng(0).normal(size=(45, 3))
    prediction = label.copy()
    prediction[[0, 1, 2, 3, 4, 15, 16, 30]] = [1, 1, 1, 1, 1, 2, 2, 0]

    def told(predicted: np.ndarray, *words: object) -> str:
        inputs = Inputs(np.arange(45), {"label": label, "prediction": predicted})
        acts = Activations(values, inputs, "fc")
        tm.save_run(Run(inputs, {("fc", "none"): acts}), tmp_path / "run", overwrite=True)
        code, out, err = call(capsys, "errors", tmp_path / "run", *words)
        assert code == 0, err
        return out

    out = told(prediction)
    assert len(out.splitlines()[1].split()) > 5 and out.splitlines()[1].split()[:2] == ["0", "1"]
    assert "\n2 pairs of classes are confused fewer than 5 times, and not judged: see --min-size." in out
    assert "1 pair of classes is confused fewer than 2 times" in told(prediction, "--min-size", 2)
    assert "not judged" not in told(prediction, "--min-size", 1)
    assert told(label) == "no input is misclassified: there is nothing to judge\n"


def test_many_labels_taken_for_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    label = np.repeat(np.arange(4), 15)
    values = 9 * np.eye(4)[label] + np.random.default_rng(0).normal(size=(60, 4))
    prediction = np.where(np.arange(60) % 15 < 9, 3, label)
    inputs = Inputs(np.arange(60), {"label": label, "prediction": prediction})
    tm.save_run(Run(inputs, {("fc", "none"): Activations(values, inputs, "fc")}), tmp_path / "run")
    code, out, err = call(capsys, "errors", tmp_path / "run")
    assert code == 0, err
    assert out.splitlines()[-1].startswith("3 labels are taken for 3 (") and "learnt a shortcut" in out


def test_moments_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    np.savez(tmp_path / "a.npz", x=np.random.default_rng(0).random((20, 1, 8, 8)), y=np.arange(20) % 2)
    words = ["--data", tmp_path / "a.npz", "--layers", "relu2", "--keep", "moments", "--by", "label"]
    code, _, err = call(capsys, "record", "topomap.demo:mlp", *words, "--to", tmp_path / "run")
    assert code == 0, err
    code, _, err = call(capsys, "bias", tmp_path / "run", "--by", "label")
    assert code == 2 and "record it with --keep values" in err
    code, _, err = call(capsys, "errors", tmp_path / "run")
    assert code == 2 and "record it with --keep values" in err
