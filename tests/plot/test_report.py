from __future__ import annotations

import csv
import html
import json
import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from topomap.bias import BiasReport, measure_bias, measure_probe
from topomap.layout import Layout
from topomap.plot import document, plot_bias, save_report
from topomap.plot.document import Heading, Items, Paragraph, Picture, Table, to_html, to_markdown
from topomap.run import Inputs

from .conftest import sunflower
from .test_bias import planted

HOSTILE = '<script>alert(1)</script>"&lt;|`_x_`*'


@pytest.fixture(scope="module")
def layout() -> Layout:
    return sunflower(60, n_dead=3)


@pytest.fixture(scope="module")
def report(layout: Layout) -> BiasReport:
    return measure_bias(planted(), "group", "label", layout=layout, reference="old", n_permutations=199)


@pytest.fixture(scope="module")
def plain(layout: Layout) -> BiasReport:
    """Drawn fast: three maps."""
    return replace(measure_bias(planted(), "group", layout=layout, n_permutations=99), outcomes=None)


class Parsed(HTMLParser):
    """The tags, the words and the sources of a page; every tag that is opened is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


def test_one_file_holds_all(report: BiasReport, tmp_path: Path) -> None:
    path = save_report(report, tmp_path / "new/bias.html", dpi=40)
    assert [each.name for each in path.parent.iterdir()] == ["bias.html"]
    page = Parsed(path.read_text())
    pictures = [attrs for tag, attrs in page.tags if tag == "img"]
    assert len(pictures) == 2  # the contrast, and outcomes; their words for those who do not see them
    for attrs in pictures:
        assert attrs["src"] is not None and attrs["src"].startswith("data:image/webp;base64,") and attrs["alt"]
        assert Image.open(BytesIO(b64decode(attrs["src"].partition(",")[2]))).size[0] > 100
    # nothing runs, nothing is fetched
    assert not {"script", "link", "iframe", "object", "form"} & {tag for tag, _ in page.tags}
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on") or name == "href"]
    assert "url(" not in path.read_text() and "@import" not in path.read_text()
    told = page.text
    headings = [path.read_text().index(f"<h2>{name}") for name in (
        *("What was found", "Who was compared", "Maps", "Clusters", "Neurons", "Outcomes", "How it was made"),
    )]  # fmt: skip
    assert headings == sorted(headings)
    cluster = report.significant[0]
    effect = report["new"].effect
    top = int(np.abs(effect).argmax())
    for words in (
        "Bias by group, within label",
        "Layer conv2 (mean); 180 inputs in 2 groups.",
        f"1 of {len(report.clusters)} cluster",
        f"g = {effect[top]:+.2f} (neuron {top}; new against old)".replace("-", "−"),
        "Outcomes: the error rate is 20.0 %",
        f"Figure 1. Outlined: clusters at p <= 0.05 (1: higher, {len(cluster)} neurons, p = 0.005)",
        "A cluster's p says that the groups differ somewhere in it, and of no single neuron that it does.",
        "their effects are overstated",
        report.method_text(),
        "n_permutations 199",
        "versions.numpy",
    ):
        assert words in told, words
    assert f"Cluster 1: neurons {cluster.neurons[0]}" in told


def test_tables(report: BiasReport, tmp_path: Path) -> None:
    text = save_report(report, tmp_path / "a.md", neurons=4, dpi=40).read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line[:1] == "|"]
    assert ["new", "90"] in rows and ["old", "90"] in rows and ["circle", "30", "30"] in rows
    contrast = report["new"]
    order = np.argsort(-np.abs(contrast.effect), kind="stable")[:4]
    start = rows.index(["neuron", "g", "95 % interval", "difference", "p", "corrected p", "q"]) + 2
    assert [int(row[0]) for row in rows[start : start + 4]] == order.tolist() and rows[start + 4][0] == "group"
    first, j = rows[start], order[0]
    assert float(first[1]) == pytest.approx(contrast.effect[j], abs=0.006)
    limits = f"\\[{contrast.low[j]:+.2f}, {contrast.high[j]:+.2f}\\]"
    assert first[2] == limits and first[4:6] == ["0.005", "0.005"]
    one = report.clusters[0]
    row = rows[rows.index(next(row for row in rows if row[:2] == ["number", "values"])) + 2]
    mean = f"{contrast.effect[one.neurons].mean():+.2f}"
    assert row[:3] == ["1", "higher", str(len(one))] and row[-1] == mean and row[5] == str(one.peak)
    outcomes = next(row for row in rows if row[0] == "new" and len(row) == 5)
    assert outcomes[1:4] == ["90", "18", "20.0 % \\[13.0, 29.4\\]"]
    gap = next(row for row in rows if row[0] == "error rate within label")  # no ratio without what is over what
    assert gap[1:3] == ["new", "old"] and gap[3].startswith("20.0 points") and gap[4].startswith("0.00")
    assert "Difference: highest less lowest, in percentage points; ratio: lowest over highest." in text


def test_markdown_has_its_pictures_beside_it(report: BiasReport, tmp_path: Path) -> None:
    path = save_report(report, tmp_path / "a b.md", dpi=40)
    text = path.read_text()
    names = re.findall(r"!\[[^\]]+\]\(([^)]+)\)", text)
    assert names == ["a%20b/1-conv2-new.png", "a%20b/2-outcomes.png"]
    assert sorted(each.name for each in (tmp_path / "a b").iterdir()) == ["1-conv2-new.png", "2-outcomes.png"]
    assert {each.name for each in tmp_path.iterdir()} == {"a b", "a b.md"}


def test_same_report_same_bytes(plain: BiasReport, tmp_path: Path) -> None:
    for suffix in (".html", ".md", ".json", ".csv"):
        one, other = (save_report(plain, tmp_path / f"{k}/bias{suffix}", dpi=40) for k in (1, 2))
        assert one.read_bytes() == other.read_bytes()
    one, other = ((tmp_path / f"{k}/bias/1-conv2-old.png").read_bytes() for k in (1, 2))
    assert one == other


def test_numbers(report: BiasReport, tmp_path: Path) -> None:
    found = json.loads(save_report(report, tmp_path / "a.json").read_text(), parse_constant=pytest.fail)
    assert found == json.loads(json.dumps(report.to_dict()))
    with save_report(report, tmp_path / "a.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == report.n_neurons and [int(row["neuron"]) for row in rows] == list(range(60))
    contrast = report["new"]
    for name in ("effect", "low", "high", "difference", "deviation", "statistic", "p", "p_family", "q"):
        np.testing.assert_array_equal([float(row[name]) for row in rows], getattr(contrast, name))
    assert "tfce" not in rows[0]
    for number, cluster in enumerate(report.clusters, 1):
        inside = [int(row["neuron"]) for row in rows if row["cluster"] == str(number)]
        assert inside == cluster.neurons.tolist()
        assert {float(rows[j]["cluster_p"]) for j in inside} == {cluster.p}
    assert [row["dead"] for row in rows] == [str(int(dead)) for dead in report.dead]
    assert {row["group"] for row in rows} == {"new"} and {row["layer"] for row in rows} == {"conv2"}
    several = [report, replace(report, layer="conv3")]
    found = json.loads(save_report(several, tmp_path / "b.json").read_text())
    assert [each["layer"] for each in found["reports"]] == ["conv2", "conv3"]
    assert len(save_report(several, tmp_path / "b.csv").read_text().splitlines()) == 1 + 2 * 60


def test_json_is_strict_whatever_the_provenance_holds(report: BiasReport, tmp_path: Path) -> None:
    odd = replace(report, provenance={"nan": float("nan"), "np": np.float32(0.5), "path": tmp_path, "list": [np.inf]})
    path = save_report(odd, tmp_path / "a.json")
    found = json.loads(path.read_text(), parse_constant=pytest.fail)["provenance"]
    assert (found["np"], found["nan"], found["list"]) == (0.5, None, [None]) and str(tmp_path) in found["path"]
    assert "NaN" not in path.read_text() and "Infinity" not in path.read_text()


def test_layers_probe_and_contrasts(plain: BiasReport, layout: Layout, tmp_path: Path) -> None:
    three = measure_bias(planted(3, 2), "group", "label", layout=layout, n_permutations=99, tfce=True)
    probe = measure_probe(planted(3), "group", "label", n_permutations=19)
    path = save_report([three, replace(three, layer="conv3")], tmp_path / "a.md", probe=probe, figures=1, dpi=40)
    text = path.read_text()
    names = sorted(each.name for each in (tmp_path / "a").iterdir())
    assert [name[0] for name in names] == list("1234") and names[0] == "1-all.png"
    assert names[2:] == ["3-outcomes.png", "4-probe.png"]  # the same outcomes are told once
    assert "The contrast of the smallest p, of 6, in full:" in text
    assert "tests as under figure" in text
    found = text.partition("## What was found")[2].partition("## Who")[0]
    assert "Every layer was tested by itself: p are corrected over its neurons and contrasts, and not" in found
    assert "neurons by themselves in some contrast, at corrected p" in found and "pair" not in found
    assert f"| conv2 | {probe.accuracy[0]:.3f} |" in text and probe.method_text().split("(L2)")[0] in text
    assert "| layer | contrast | neuron |" in text and "new / rest" not in text
    assert "| label | new | odd | old |" in text and "Inputs / those of the rest in each class of label" in text
    assert save_report(three, tmp_path / "b.csv").read_text().splitlines()[0].endswith("tfce,p_tfce,cluster,cluster_p")
    # none in full, and none at all
    none = replace(three, outcomes=None)
    assert re.findall(r"\]\((.+)\)", save_report(none, tmp_path / "c.md", figures=0, dpi=40).read_text()) == [
        "c/1-all.png"
    ]
    bare = replace(plain, layout=None, clusters=())
    text = save_report(bare, tmp_path / "d.md").read_text()
    assert (
        "None of layer conv2 (mean), whose neurons have no layout." in text
        and "## Clusters" not in text
        and not (tmp_path / "d").exists()
    )
    assert "## Outcomes" not in text and "## Neurons" in text
    assert "1-conv2-old.png" in save_report(bare, tmp_path / "e.md", layout, dpi=40).read_text()


def test_who_was_left_out(layout: Layout, tmp_path: Path) -> None:
    acts = planted(3)
    group = acts.inputs["group"].copy()
    group[group == "odd"] = "new"
    group[:2] = "tiny"
    group[(acts.inputs["label"] == 2) & (group == "old")] = ""
    columns = {name: values for name, values in acts.inputs.columns.items() if name != "group"} | {"group": group}
    acts = replace(acts, inputs=Inputs(acts.inputs.ids, columns, acts.inputs.classes))
    found = measure_bias(acts, "group", "label", layout=layout, n_permutations=99)
    assert found.excluded and found.left_out and found.untested
    text = " ".join(save_report(found, tmp_path / "a.md", dpi=40).read_text().split())
    for name, count, why in found.excluded:
        assert f"| {name} | {count} | {why} |" in text
    for why, count in found.left_out:
        assert f"| {count} | {why} |" in text
    for _, name, why in found.untested:
        assert re.search(rf"\| {name} \| \d+ \| \d+ \| {re.escape(why)} \|", text)


def test_nothing_found_is_said(layout: Layout, tmp_path: Path) -> None:
    found = measure_bias(planted(), "half", "label", layout=layout, n_permutations=99)
    assert not found.significant
    text = save_report(found, tmp_path / "a.md", dpi=40).read_text()
    assert "no cluster of neighbouring neurons differs, and no neuron by itself, at corrected p <= 0.05" in text
    assert "does not show that the groups are treated alike" in text and "Every layer" not in text


@pytest.mark.filterwarnings("ignore:Glyph")  # what turns the direction of writing has none
def test_hostile_names(layout: Layout, tmp_path: Path) -> None:
    acts = planted()
    group = np.where(acts.inputs["group"] == "new", HOSTILE, "../old\u202e")
    columns = {"label": acts.inputs["label"], "prediction": acts.inputs["prediction"], HOSTILE: group}
    inputs = Inputs(acts.inputs.ids, columns, ("<b>", "</table>", "a|\nb"))
    found = measure_bias(
        replace(acts, inputs=inputs, layer="<img src=x onerror=alert(1)>"),
        HOSTILE,
        "label",
        layout=layout,
        n_permutations=99,
    )
    path = save_report(found, tmp_path / "a.html", dpi=40)
    page = Parsed(path.read_text())
    clean = Parsed(save_report(measure_bias(acts, "group", "label", layout=layout, n_permutations=99),
                               tmp_path / "b.html", dpi=40).read_text())  # fmt: skip
    assert {tag for tag, _ in page.tags} == {tag for tag, _ in clean.tags}
    assert {name for _, attrs in page.tags for name in attrs} == {name for _, attrs in clean.tags for name in attrs}
    assert "<script>alert(1)</script>" in page.text and html.escape(HOSTILE) in path.read_text()
    assert "default-src 'none'" in path.read_text()
    save_report(found, tmp_path / "c.md", dpi=40)
    assert {each.name for each in tmp_path.iterdir()} == {"a.html", "b.html", "c.md", "c"}
    assert all(re.fullmatch(r"[\w.-]+", each.name) for each in (tmp_path / "c").iterdir())
    text = (tmp_path / "c.md").read_text()
    assert "\\<script>" in text and "<script" not in text.replace("\\<", "")
    widths = {}
    for block in text.split("\n\n"):
        lines = [line for line in block.splitlines() if line.startswith("|")]
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
        assert len(widths) <= 1, block  # no name breaks a table
    json.loads(save_report(found, tmp_path / "d.json").read_text())
    with save_report(found, tmp_path / "e.csv").open() as file:
        assert {row["reference"] for row in csv.DictReader(file)} <= {"../old\u202e", HOSTILE}


def test_whole_or_not_at_all(plain: BiasReport, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save_report(plain, tmp_path / "a.md", dpi=40)
    before = path.read_bytes()
    written = Path.write_bytes

    def fail(self: Path, data: bytes) -> int:
        if self.suffix == ".md":
            raise OSError("the disk is full")
        return written(self, data)

    monkeypatch.setattr(Path, "write_bytes", fail)
    for name in ("a.md", "new/b.md"):
        with pytest.raises(OSError, match="full"):
            save_report(replace(plain, layer="other"), tmp_path / name, dpi=40)
    assert path.read_bytes() == before
    assert {each.name for each in tmp_path.iterdir()} == {"a.md", "a"}
    assert {each.name for each in (tmp_path / "a").iterdir()} == {"1-conv2-old.png"}


def test_mistakes(report: BiasReport, layout: Layout, tmp_path: Path) -> None:
    for wrong, told in (
        (lambda: save_report(report, tmp_path / "a.htm"), "Did you mean '.html'"),
        (lambda: save_report(report, tmp_path / "a"), "the suffix of"),
        (lambda: save_report([], tmp_path / "a.html"), "at least one report"),
        (lambda: save_report("x", tmp_path / "a.html"), "must be of type BiasReport; got str"),
        (lambda: save_report(report, tmp_path / "a.html", probe=report), "must be of type Probe"),
        (lambda: save_report(report, tmp_path / "a.html", sunflower(20)), "with 60 neurons; got 20"),
        (lambda: save_report(report, tmp_path / "a.html", neurons=0), "neurons must be at least 1"),
        (lambda: save_report(report, tmp_path / "a.html", figures=-1), "figures must be at least 0"),
    ):
        with pytest.raises(ValueError, match=told):
            wrong()
    assert not list(tmp_path.iterdir())


def test_blocks() -> None:
    png = document.png_of(_figure(), 50)
    blocks = [
        Heading("A < B", 1),
        Paragraph("n_a n_b *x*", "lead"),
        Items(["one & two"], "quiet"),
        Table(["a|b", "n"], [["`x`", "1"]], numbers=[1], caption="what"),
        Picture("map", png, 2.0, "a [map]", "seen"),
    ]
    page = Parsed(to_html(blocks))
    assert "A < B" in page.text and "one & two" in page.text
    assert ("p", {"class": "lead"}) in page.tags and ("td", {"class": "n"}) in page.tags
    assert to_markdown(blocks, "f").splitlines() == [
        *("# A < B", "", "n_a n_b \\*x\\*", "", "- one & two", "", "what", ""),
        *("| a\\|b | n |", "| --- | --: |", "| \\`x\\` | 1 |", ""),
        *("![a \\[map\\]](f/map.png)", "", "seen"),
    ]
    assert png == document.png_of(_figure(), 50)


def _embedded(png: bytes) -> Image.Image:
    (attrs,) = [attrs for tag, attrs in Parsed(to_html([Picture("map", png, 2.0, "a", "b")])).tags if tag == "img"]
    assert attrs["src"] is not None
    return Image.open(BytesIO(b64decode(attrs["src"].partition(",")[2])))


def _png(picture: np.ndarray) -> bytes:
    file = BytesIO()
    Image.fromarray(picture).save(file, format="png")
    return file.getvalue()


def test_pictures_are_small_and_hardly_changed(report: BiasReport, layout: Layout) -> None:
    # a chart of few colours is kept to the last bit
    chart = document.png_of(_figure(), 100)
    found = _embedded(chart)
    assert found.format == "WEBP"
    np.testing.assert_array_equal(
        np.asarray(found.convert("RGB")), np.asarray(Image.open(BytesIO(chart)).convert("RGB"))
    )
    # a map is a third of what it was or less, white and pale tints as they were
    png = document.png_of(plot_bias(report, layout), 100)
    found = _embedded(png)
    before, after = (np.asarray(each.convert("RGB")).astype(int) for each in (Image.open(BytesIO(png)), found))
    assert before.shape == after.shape
    assert len(to_html([Picture("map", png, 2.0, "a", "b")])) < len(to_html([])) + len(png) / 2
    assert np.abs(before - after).mean() < 1
    assert (after[:3] == 255).all()
    pale = (before.min(axis=2) > 235) & (before.min(axis=2) < 255)
    assert pale.sum() > 1000 and np.abs(before - after)[pale].mean() < 3
    # what WebP cannot hold stays as it is
    long = np.random.default_rng(0).integers(0, 255, (16_400, 2, 3), dtype=np.uint8)
    assert _embedded(_png(long)).format == "PNG"
    assert _embedded(_png(long[:16_383])).format == "WEBP"


def _figure():
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(1, 1))
    figure.text(0.1, 0.5, "x")
    return figure
