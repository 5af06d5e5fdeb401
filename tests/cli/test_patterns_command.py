"""``topomap patterns`` on a tiny run."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import topomap as tm
from topomap.cli import main
from topomap.patterns.stored import list_patterns
from topomap.run import Activations, Inputs, Run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1, 2], [20, 20, 16])
    values = rng.normal(size=(3, 12))[label] * 3 + rng.normal(size=(56, 12)) * np.where(label == 2, 4, 0.2)[:, None]
    prediction = np.where(np.arange(56) % 10 == 3, 0, label)
    camera = np.array(["old", "new"])[(label > 0).astype(int)]
    thumbnails = (np.arange(56 * 16).reshape(56, 4, 4) % 256).astype(np.uint8)
    inputs = Inputs(
        np.arange(56), {"label": label, "prediction": prediction, "camera": camera}, ("cat", "dog", "owl"), thumbnails
    )
    records = {
        ("conv", reduce): Activations(part.astype(np.float32), inputs, "conv", reduce)
        for reduce, part in (("mean", values), ("std", np.abs(values) / 3))
    }
    records["few", "none"] = Activations(values[:, :2].astype(np.float32), inputs, "few")
    folder = tmp_path_factory.mktemp("runs") / "run"
    tm.save_run(Run(inputs, records), folder)
    return folder


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_table_figure_and_what_is_kept(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = [made.parent / name for name in ("new/a.png", "new/b.csv", "new/c.md")]
    words = ["--layer", "conv", "--min-cluster-size", 8, "--by", "label", "--by", "camera", "--stability", "--seed", 3]
    code, out, err = call(capsys, "patterns", made, *words, "--to", *to, "--dpi", 40, "--n", 1)
    assert code == 0, err
    run = tm.open_run(made)
    found = tm.find_patterns(run, "conv", min_cluster_size=8)
    report = tm.measure_patterns(found, by=["label", "camera"], seed=3)
    assert report.stability is not None and len(found) == 2
    lines = out.splitlines()
    assert lines[0] == repr(found)
    assert lines[2].split() == ["inputs", "persistence", "stability", "label", "camera"]
    assert [line.split("  ")[0] for line in lines[3:6]] == ["pattern 0", "pattern 1", "noise"]
    assert f"{found.persistence[0]:.2f}" in lines[3] and f"{report.stability[0]:.2f}" in lines[3]
    assert "100 % (q < .001)" in lines[3]
    assert f"{100 * found.noise:.0f} % of 56 inputs are noise" in out and "The count of patterns depends" in out
    assert lines[-3:] == [str(file) for file in to]
    assert Image.open(to[0]).size[0] == pytest.approx(7.2 * 40, abs=1)
    with to[1].open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["pattern"]) for row in rows] == list(found.ids)
    assert [int(row["inputs"]) for row in rows] == found.counts.tolist()
    np.testing.assert_allclose([float(row["persistence"]) for row in rows[:2]], found.persistence)
    np.testing.assert_allclose([float(row["stability"]) for row in rows[:2]], report.stability)
    assert rows[2]["persistence"] == ""
    best = report.enriched(0)[0]
    assert float(rows[0][f"{best.column} share"]) == best.share and float(rows[0][f"{best.column} q"]) == best.q
    assert to[2].read_text().startswith("|  | inputs | persistence | stability | label | camera |\n| --- | --: |")
    kept = tm.Patterns.load(run, "conv")
    np.testing.assert_array_equal(kept.labels, found.labels)
    np.testing.assert_allclose(kept.stability, report.stability)
    code, out, _ = call(capsys, "info", made)
    assert code == 0 and "patterns of" in out
    assert tm.Layout.load(made, "conv", "mean").method == "spread"  # what the maps were painted over


def test_units_reductions_and_small_layers(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = call(capsys, "patterns", made, "--layer", "conv", "--reduce", "mean+std", "--unit", 3)
    assert code == 0 and "conv, unit 3, mean+std" in out and "--stability measures that" in out, err
    # two neurons have patterns, but no layout
    to = made.parent / "few.svg"
    words = ["--layer", "few", "--which", 0, "noise", "--to", to]
    code, out, err = call(capsys, "patterns", made, *words)
    assert code == 0, err
    drawn = to.read_text()
    assert "pattern 0" in drawn and "noise" in drawn and "standard deviations" not in drawn
    assert {("conv", "mean+std", 3), ("few", "none", None)} <= set(list_patterns(tm.open_run(made)))


def test_mistakes(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, told in (
        ([], "say which layer (--layer)"),
        (["--layer", "cnv"], "Did you mean 'conv'"),
        (["--layer", "conv", "--by", "lable"], "Did you mean 'label'"),
        (["--layer", "conv", "--reduce", "max"], "needs a recording"),
        (["--layer", "conv", "--unit", 12], "unit of layer 'conv' must be"),
        (["--layer", "conv", "--which", "x"], "--which takes numbers"),
        (["--layer", "conv", "--by", "label", "camera"], "give the option again: --by label --by camera"),
        (["--layer", "conv", "--to", "a.pgn"], "the suffix"),
        (["--layer", "conv", "--min-cluster-size", 1], "min_cluster_size must be at least 2"),
    ):
        code, _, err = call(capsys, "patterns", made, *words)
        assert code == 2 and told in err, (words, err)


def test_patterns_that_are_not_there_are_refused_before_the_work(
    made: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    tm.save_run(tm.open_run(made), run)
    before = {path: path.stat().st_mtime_ns for path in run.rglob("*")}
    monkeypatch.setattr("topomap.patterns.measure_patterns", None)
    words = [
        "patterns",
        run,
        "--layer",
        "conv",
        "--min-cluster-size",
        8,
        "--to",
        tmp_path / "a.png",
        tmp_path / "b.csv",
    ]
    code, out, err = call(capsys, *words, "--stability", "--which", 0, 99)
    assert code == 2 and not out
    assert err == "topomap: error: --which: patterns are 0 to 1, and noise; got 99.\n"
    assert {path: path.stat().st_mtime_ns for path in run.rglob("*")} == before
    assert list(tmp_path.iterdir()) == [run]


def test_columns_joined_by_commas_are_crossed(made: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    words = ["--layer", "conv", "--min-cluster-size", 8, "--by", "label,camera", "--by", "camera"]
    code, _, err = call(capsys, "patterns", made, *words, "--to", tmp_path / "a.csv")
    assert code == 0, err
    with (tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert {"label x camera", "camera"} <= set(rows[0]) and "label" not in rows[0]
    found = tm.find_patterns(tm.open_run(made), "conv", min_cluster_size=8)
    report = tm.measure_patterns(found, by=[("label", "camera"), "camera"], n_bootstrap=0)
    best = max((row for row in report.enrichment if row.pattern == 0 and "x" in row.column), key=lambda row: row.count)
    assert rows[0]["label x camera"] == best.value and best.value in {"cat, old", "dog, new", "owl, new"}


def test_layouts_to_choose_from_are_named_before_the_work(
    made: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = tmp_path / "run"
    tm.save_run(tm.open_run(made), run)
    for method in ("random", "pca"):
        assert call(capsys, "embed", run, "--layer", "conv", "--reduce", "mean", "--method", method)[0] == 0
    monkeypatch.setattr("topomap.patterns.find_patterns", None)
    code, out, err = call(capsys, "patterns", run, "--layer", "conv", "--to", tmp_path / "a.png")
    assert code != 0 and not out
    assert "several layouts: choose one with --method: 'pca', 'random'" in err
