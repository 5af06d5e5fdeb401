"""``topomap compare`` and ``topomap plot --certainty`` on a tiny run."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import sparse

import topomap as tm
from topomap.cli import main
from topomap.layout import Layout
from topomap.quality import compare
from topomap.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    label = np.arange(48) % 3
    values = rng.normal(size=(48, 3)) @ rng.normal(size=(3, 20)) + rng.normal(size=(3, 20))[label]
    acts = tm.Activations.from_array(values, label=label, layer="fc")
    tm.save_run(Run(acts.inputs, {("fc", "none"): acts}), tmp_path / "run")
    return tmp_path / "run"


def call(capsys: pytest.CaptureFixture[str], *words: object) -> tuple[int, str, str]:
    code = main([str(word) for word in words])
    told = capsys.readouterr()
    return code, told.out, told.err


def test_table_and_files(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    to = [run.parent / name for name in ("new/a.png", "new/b.csv", "new/c.md")]
    words = ["--methods", "pca", "random", "--by", "label", "--group", "1", "--n", 2, "--seed", 3, "--region", "square"]
    code, out, _ = call(capsys, "compare", run, *words, "--to", *to, "--dpi", 40)
    assert code == 0
    assert out.startswith("Layer fc: 20 neurons, region square, pearson, k = 10, seeds 3, 4; medians, best *")
    assert [line.split()[0] for line in out.splitlines()[3:5]] == ["pca", "random"]
    assert out.splitlines()[-3:] == [str(file) for file in to]
    assert Image.open(to[0]).size[0] == pytest.approx(7.2 * 40, abs=1)
    with to[1].open() as file:
        rows = list(csv.DictReader(file))
    acts = tm.open_run(run)["fc"]
    similarity = tm.correlate(acts)
    layout = tm.embed(similarity, "random", region="square", seed=4)
    assert float(rows[3]["knn"]) == tm.measure_layout(layout, similarity).knn
    assert rows[3]["seed"] == "4" and rows[3]["resize_auc"] != ""
    assert to[2].read_text().startswith("| method | T | C |")
    assert not (run / "layouts").exists()  # the run folder is left as it is


def test_sparse_values_by_what_is_active_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    values = sparse.random_array((60, 30), density=0.2, rng=np.random.default_rng(0), format="csr")
    acts = tm.Activations.from_array(values, layer="latents")
    tm.save_run(Run(acts.inputs, {("latents", "none"): acts}), tmp_path / "run")
    assert call(capsys, "embed", tmp_path / "run", "--metric", "jaccard")[0] == 0
    made = tm.embed(tm.correlate(acts, "jaccard"))
    np.testing.assert_array_equal(Layout.load(tmp_path / "run", "latents").positions, made.positions)
    words = ["--methods", "spread", "--n", 1, "--metric", "jaccard"]
    code, out, _ = call(capsys, "compare", tmp_path / "run", *words)
    assert code == 0 and "jaccard" in out


def test_without_groups_and_with_another_metric(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = call(capsys, "compare", run, "--methods", "pca", "--n", 2, "--metric", "cosine", "--stability")
    assert code == 0 and "cosine" in out and "disparity" in out and "blobs" not in out
    stable = tm.measure_stability(tm.open_run(run)["fc"], "pca", n=2, metric="cosine")
    assert out.splitlines()[3].split()[-2] == f"{stable.disparity:.3f}"


def test_mistakes(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, told in (
        (["--methods", "umpa"], "Did you mean 'umap'"),
        (["--group", "1"], "--by label"),
        (["--by", "label", "--group", "7"], "group must be one of"),
        (["--to", "a.pgn"], "the suffix"),
        (["--dpi", 1], "dpi must be"),
        (["--n", 0], "n must be at least 1"),
    ):
        code, _, err = call(capsys, "compare", run, *words)
        assert code == 2 and told in err, words


def test_ctrl_c_keeps_what_was_done(
    run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    real, made = compare.embed, []

    def stopped(similarity: tm.Similarity, **options: object) -> Layout:
        made.append(1)
        if len(made) == 3:
            raise KeyboardInterrupt
        return real(similarity, **options)

    monkeypatch.setattr(compare, "embed", stopped)
    monkeypatch.setattr("topomap._check.warnings.warn", lambda *given, **more: None)  # elsewhere warnings are errors
    to = run.parent / "kept.csv"
    code, out, err = call(capsys, "compare", run, "--methods", "pca", "--n", 5, "--to", to)
    assert code == 130 and "interrupted" in out.splitlines()[0]
    assert "what was done is in the table" in err
    assert len(to.read_text().splitlines()) == 2


def test_certainty_hatches_maps(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plain, sure = run.parent / "plain.svg", run.parent / "sure.svg"
    assert call(capsys, "embed", run, "--method", "random", "--metric", "cosine")[0] == 0
    assert call(capsys, "plot", run, "--by", "label", "--to", plain)[0] == 0
    assert call(capsys, "plot", run, "--by", "label", "--certainty", 2, "--to", sure)[0] == 0
    assert "Hatched" in sure.read_text() and "Hatched" not in plain.read_text()
    for words, told in (
        (["--by", "label", "--certainty", 1], "at least 2"),
        (["--inputs", 1, "--certainty", 3], "--certainty is for groups"),
    ):
        code, _, err = call(capsys, "plot", run, *words, "--to", plain)
        assert code == 2 and told in err
    assert call(capsys, "embed", run, "--method", "pca", "--by", "label")[0] == 0
    words = ["--by", "label", "--method", "pca", "--certainty", 2, "--to", plain]
    code, _, err = call(capsys, "plot", run, *words)
    assert code == 2 and "compares neurons over groups" in err
