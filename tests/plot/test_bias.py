from __future__ import annotations

from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.figure import Figure

from topomap.bias import BiasReport, Probe, measure_bias, measure_outcomes, measure_probe
from topomap.layout import Layout
from topomap.plot import plot_bias, plot_outcomes, plot_probe, style
from topomap.plot.cells import draw_outlines
from topomap.plot.panel import Ground
from topomap.plot.words import caption_of
from topomap.run import Activations, Inputs

from .conftest import picture, sunflower
from .test_profiles import check_texts


def planted(n_groups: int = 2, n_classes: int = 3, n: int = 180, seed: int = 0) -> Activations:
    """Group 1 raises the neurons on the right, in every class alike; classes differ too."""
    rng = np.random.default_rng(seed)
    layout = sunflower(60, n_dead=3)
    label, group = np.arange(n) % n_classes, (np.arange(n) // n_classes) % n_groups
    values = rng.normal(size=(n, 60)) + 0.7 * np.sin(layout.positions[:, 1] * 3 + label[:, None])
    values += 1.2 * (group == 1)[:, None] * (layout.positions[:, 0] > 0.3)
    values[:, layout.dead] = 1.0
    prediction = np.where((group == 1) & (np.arange(n) % 5 == 0), (label + 1) % n_classes, label)
    columns = {
        "label": label,
        "prediction": prediction,
        "confidence": np.where(group == 1, 0.7, 0.9) + 0.05 * np.sin(np.arange(n)),
        "group": np.array(["old", "new", "odd"])[group],
        "person": np.arange(n) // (n_classes * n_groups) * n_groups + group,
        "half": (np.arange(n) % 4 < 2).astype(int),
    }
    classes = tuple(["circle", "square", "triangle", *(f"class {i}" for i in range(3, n_classes))][:n_classes])
    return Activations(values.astype(np.float32), Inputs(np.arange(n), columns, classes), "conv2", "mean")


@pytest.fixture(scope="module")
def layout() -> Layout:
    return sunflower(60, n_dead=3)


@pytest.fixture(scope="module")
def report(layout: Layout) -> BiasReport:
    found = measure_bias(planted(), "group", "label", layout=layout, reference="old", n_permutations=199)
    assert len(found.significant) == 1 and found.significant[0].sign == 1
    return found


@pytest.fixture(scope="module")
def three(layout: Layout) -> BiasReport:
    return measure_bias(planted(3), "group", "label", layout=layout, n_permutations=99)


def words(figure: Figure) -> list[str]:
    return [" ".join(text.get_text().split()) for text in figure.texts if text.get_text()]


def whole(figure: Figure) -> str:
    return " ".join(words(figure))


def maps_of(figure: Figure) -> list:
    return [ax for ax in figure.axes if ax.images]


def test_one_contrast_in_full(report: BiasReport) -> None:
    figure = plot_bias(report)
    told = words(figure)
    # large: reference, group and difference; small: the three of each class
    assert len(maps_of(figure)) == 3 + 9 and len(figure.axes) == 12 + 2
    sides = [ax.get_position().width * figure.get_figwidth() for ax in maps_of(figure)]
    assert sides[:3] == pytest.approx([sides[0]] * 3) and sides[0] > 1.3 * sides[3] == pytest.approx(1.3 * sides[11])
    assert told[:6] == ["old", "n = 90", "new", "n = 90", "difference", "1 cluster"]
    assert [word for word in told if word in ("circle", "square", "triangle")] == ["circle", "square", "triangle"]
    assert told.count("n = 30") == 6
    labels = [" ".join(ax.get_xlabel().split()) for ax in figure.axes[-2:]]
    assert sorted(labels) == ["activation less its mean (deviations within cells)", "difference, new − old (Hedges' g)"]
    caption = whole(figure)
    assert report.method_text() in caption
    n = len(report.significant[0])
    assert f"Outlined: clusters at p <= 0.05 (1: higher, {n} neurons, p = 0.005)" in caption
    assert (
        "Faded: differences of less than 1.96 standard errors, which is no test. Grey: neurons without variation."
        in caption
    )
    check_texts(figure)


def test_what_is_painted(report: BiasReport) -> None:
    figure = plot_bias(report, caption=False)
    axes = maps_of(figure)
    contrast = report["new"]
    assert contrast.maps is not None
    ground = Ground.of(report.layout)  # type: ignore[arg-type]
    for ax, values in (
        (axes[0], contrast.maps[:, 1].mean(axis=0)),  # classes are of equal size
        (axes[2], contrast.effect),
        (axes[5], contrast.maps[0, 1]),  # tables are filled by column
        (axes[3], contrast.maps[0, 1]),
        (axes[4], contrast.maps[0, 0]),
    ):
        expected = ground.paint(ground.values(values)[None])[0]
        shown = np.ma.filled(ax.images[0].get_array(), np.nan)
        if ax is axes[5]:
            g = (1 - 3 / (4 * contrast.df - 1)) * (contrast.maps[0, 0] - contrast.maps[0, 1])
            expected = ground.paint(ground.values(g)[None])[0]
        np.testing.assert_allclose(shown, expected, atol=1e-5)
    # differences share one symmetric scale, and levels another; only differences are faded
    limits = {ax.images[0].get_clim() for i, ax in enumerate(axes) if i in (2, 5, 8, 11)}
    assert len(limits) == 1 and sum(next(iter(limits))) == 0
    assert len({ax.images[0].get_clim() for i, ax in enumerate(axes) if i not in (2, 5, 8, 11)}) == 1
    faded = [i for i, ax in enumerate(axes) if ax.images[0].get_alpha() is not None]
    assert faded == [2, 5, 8, 11]
    # half the classes' inputs: a class is noisier than all of them together by sqrt(3)
    opacity = [np.asarray(axes[i].images[0].get_alpha()) for i in (2, 5)]
    assert np.mean(opacity[0] < 0.5) < np.mean(opacity[1] < 0.5)


def test_single_neurons_are_dots(report: BiasReport) -> None:
    figure = plot_bias(report)
    dots = [c for ax in maps_of(figure) for c in ax.collections if isinstance(c, PathCollection)]
    single = report["new"].p_family <= report.alpha
    assert 0 < single.sum() < 60
    found = [c for c in dots if len(c.get_offsets()) == single.sum()]
    assert len(found) == 1
    np.testing.assert_allclose(found[0].get_offsets(), report.layout.positions[single])  # type: ignore[union-attr]
    assert "Dots: single neurons at corrected p <= 0.05" in whole(figure)
    nothing = measure_bias(planted(), "half", "label", layout=report.layout, n_permutations=99)
    told = whole(plot_bias(nothing))
    assert "no cluster" in told and "Outlined" not in told and "Dots" not in told


def test_classes_and_widths(report: BiasReport) -> None:
    figure = plot_bias(report, classes=["triangle"], width="single", resolution=20)
    assert figure.get_figwidth() == 3.5 and len(maps_of(figure)) == 6
    assert "1 of 3 classes are drawn" in whole(figure)
    check_texts(figure)
    assert len(maps_of(plot_bias(report, classes=[], caption=False, resolution=20))) == 3
    for wrong in ("trinagle", ["trinagle"]):
        with pytest.raises(ValueError, match="Did you mean 'triangle'"):
            plot_bias(report, classes=wrong)
    # no class to draw beside all inputs where nothing is held fixed, and at most so many
    plain = measure_bias(planted(), "group", layout=report.layout, n_permutations=99)
    assert len(maps_of(plot_bias(plain, resolution=20))) == 3
    many = measure_bias(planted(n_classes=14, n=560), "group", "label", layout=report.layout, n_permutations=99)
    figure = plot_bias(many, resolution=20)
    assert len(maps_of(figure)) == 3 + 3 * 12 and "12 of 14 classes are drawn" in whole(figure)


def test_summary_of_contrasts_and_layers(report: BiasReport, three: BiasReport) -> None:
    figure = plot_bias(three, resolution=20)
    told = words(figure)
    assert len(maps_of(figure)) == 3 and len(figure.axes) == 4
    assert [word for word in told if "−" in word] == ["new − rest", "odd − rest", "old − rest"]
    assert [word for word in told if word.startswith("n = 60; ")].__len__() == 3
    assert three.method_text() in whole(figure)
    full = plot_bias(three, group="new", resolution=20)
    assert words(full)[:4] == ["the rest", "n = 120", "new", "n = 60"]
    # clusters keep the numbers that they have in the report
    mine = [i for i, c in enumerate(three.clusters, 1) if c.group == "new" and c.p <= 0.05]
    drawn = [int(text.get_text()) for ax in maps_of(full) for text in ax.texts]
    assert drawn == mine
    layers = plot_bias([report, replace(report, layer="conv3")], resolution=20)
    assert [word for word in words(layers) if word in ("conv2", "conv3")] == ["conv2", "conv3"]
    assert "Every layer was tested by itself, without correction over layers. Of the first:" in whole(layers)
    table = plot_bias([three, replace(three, layer="conv3")], caption=False, resolution=20)
    assert len(maps_of(table)) == 6 and "layer" in words(table)
    one = plot_bias([three, replace(three, layer="conv3")], group="odd", resolution=20)
    assert len(maps_of(one)) == 2 and one.axes[-1].get_xlabel().startswith("difference, odd − rest")
    for figure in (layers, table, one):
        check_texts(figure)


def test_units_are_not_faded(layout: Layout) -> None:
    found = measure_bias(planted(), "group", unit="person", layout=layout, n_permutations=99)
    figure = plot_bias(found)
    assert "Faded" not in whole(figure)
    assert all(ax.images[0].get_alpha() is None for ax in maps_of(figure))


def test_mistakes(report: BiasReport, three: BiasReport, layout: Layout) -> None:
    bare = replace(report, layout=None)
    for wrong, told in (
        (lambda: plot_bias([]), "at least one report"),
        (lambda: plot_bias(layout), "must be of type BiasReport; got Layout"),
        (lambda: plot_bias(bare), "has no layout: pass layout="),
        (lambda: plot_bias(report, sunflower(20)), "with 60 neurons; got 20"),
        (lambda: plot_bias([report, report], [layout]), "one per report: expected 2, got 1"),
        (lambda: plot_bias(report, "spread"), "layout"),
        (lambda: plot_bias(report, group="nwe"), "Did you mean 'new'"),
        (lambda: plot_bias(three, classes=["circle"]), "name it with group="),
        (lambda: plot_bias([report, three]), "must compare the same groups"),
    ):
        with pytest.raises(ValueError, match=told):
            wrong()
    assert "1 neuron" in whole(plot_bias(replace(bare, contrasts=(_alone(report),)), layout))


def _alone(report: BiasReport):
    p = np.ones(60)
    p[4] = 0.01
    return replace(report["new"], p_family=p)


def test_outlines_follow_the_cells(layout: Layout) -> None:
    ground = Ground.of(layout)
    figure, ax = plt.subplots()
    neurons = np.flatnonzero((layout.positions[:, 0] > 0.2) & ~layout.dead)
    draw_outlines(ax, layout, ground.border, [(7, neurons), (0, np.array([0]))])
    assert [text.get_text() for text in ax.texts] == ["7"]
    large, small = (path for one in ax.collections for path in one.get_paths())
    inside = large.contains_points(layout.positions)
    np.testing.assert_array_equal(np.flatnonzero(inside & ~layout.dead), neurons)
    assert np.flatnonzero(small.contains_points(layout.positions)).tolist() == [0]
    before = len(ax.collections)
    draw_outlines(ax, layout, ground.border, [])
    assert len(ax.collections) == before and figure is ax.figure


def test_caption_without_method(report: BiasReport) -> None:
    told = caption_of(report, "new", "As before.")
    assert told.endswith("variation. As before.") and report.method_text() not in told


@pytest.fixture(scope="module")
def probe() -> Probe:
    acts = planted()
    steps = {step: _blurred(acts, step) for step in (0, 100, 400)}
    return measure_probe(steps, "group", "label", n_permutations=19)


def _blurred(acts: Activations, step: int) -> Activations:
    noise = np.random.default_rng(step).normal(size=acts.values.shape) * (8 if step == 0 else 400 / step - 1)
    return Activations((np.asarray(acts.values) + noise).astype(np.float32), acts.inputs, "conv2", "mean")


def test_probe_over_steps(probe: Probe) -> None:
    figure = plot_probe(probe)
    ax = figure.axes[0]
    assert ax.get_xlabel() == "step" and [text.get_text() for text in ax.get_xticklabels()] == ["0", "100", "400"]
    line = next(line for line in ax.lines if len(line.get_xdata()) == 3)
    np.testing.assert_array_equal(line.get_xdata(), [0, 100, 400])
    np.testing.assert_allclose(line.get_ydata(), probe.accuracy)
    dots = [c for c in ax.collections if isinstance(c, PathCollection)]
    assert sorted(len(c.get_offsets()) for c in dots) == [3, (~np.isnan(probe.folds)).sum()]
    large = min(dots, key=lambda c: len(c.get_offsets()))
    filled = large.get_facecolors()[:, :3].min(axis=1) < 1
    np.testing.assert_array_equal(filled, probe.p_family <= 0.05)
    assert filled[-1] and not filled[0]
    band = next(c for c in ax.collections if not isinstance(c, PathCollection))
    corners = band.get_paths()[0].vertices
    for x, null in zip((0, 100, 400), probe.null, strict=True):
        at = corners[corners[:, 0] == x, 1]
        assert (at.min(), at.max()) == pytest.approx(tuple(np.quantile(null, [0.05, 0.95])))
    told = whole(figure)
    assert probe.method_text() in told and "Groups by group: new (90), old (90)" in told
    check_texts(figure)


def test_probe_over_layers_and_both(probe: Probe) -> None:
    layers = replace(probe, layers=("conv1", "conv2", "a.rather.long.name.of.a.layer"), steps=None)
    figure = plot_probe(layers)
    names = [text.get_text() for text in figure.axes[0].get_xticklabels()]
    assert names[:2] == ["conv1", "conv2"] and figure.axes[0].get_xticklabels()[0].get_rotation() == 90
    assert "after correction over layers is" in whole(figure)
    assert plot_probe(layers, caption="mine").texts[0].get_text() == "mine"
    both = replace(probe, layers=("conv1", "conv1", "conv2"), steps=("a", "b", "a"))
    ax = plot_probe(both).axes[0]
    legend = ax.get_legend()
    assert legend is not None and [text.get_text() for text in legend.get_texts()] == ["conv1", "conv2"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["a", "b"]
    lengths = [len(line.get_xdata()) for line in ax.lines if len(line.get_xdata()) and line.get_linestyle() == "-"]
    assert lengths.count(2) >= 1 and 1 in lengths
    with pytest.raises(ValueError, match="must be of type Probe; got str"):
        plot_probe("conv1")  # type: ignore[arg-type]


def test_outcomes() -> None:
    outcomes = measure_outcomes(planted(), "group", "label", n_bootstrap=100)
    figure = plot_outcomes(outcomes)
    assert [ax.get_xlabel() for ax in figure.axes] == ["error rate", "mean confidence"]
    assert [text.get_text() for text in figure.axes[0].get_yticklabels()] == ["new (n = 90)", "old (n = 90)"]
    for ax, metric in zip(figure.axes, outcomes.metrics, strict=True):
        rates = [getattr(each, metric) for each in outcomes.by_group]
        dots = [line for line in ax.lines if line.get_marker() == "o"]
        assert [line.get_xdata()[0] for line in dots] == [rate.value for rate in rates]
        spans = [list(line.get_xdata()) for line in ax.lines if line.get_marker() != "o"][:2]
        assert spans == [[rate.low, rate.high] for rate in rates]
        overall = [line.get_xdata()[0] for line in ax.lines if line.get_linestyle() == "--"]
        assert overall == [getattr(outcomes.overall, metric).value]
    assert outcomes.method_text() in whole(figure)
    check_texts(figure)
    bare = measure_outcomes(planted().inputs.with_columns(confidence=np.full(180, np.nan)), "group", n_bootstrap=40)
    assert len(plot_outcomes(bare).axes) == 1
    with pytest.raises(ValueError, match="must be of type Outcomes"):
        plot_outcomes(1)  # type: ignore[arg-type]


@picture
def test_picture_bias(report: BiasReport) -> Figure:
    return plot_bias(report, caption="Reference, group and difference.")


def test_colours_of_bars(report: BiasReport) -> None:
    figure = plot_bias(report, cmap="PuOr", limits=2.0, resolution=20)
    names = [ax.images[0].get_cmap().name for ax in maps_of(figure)]
    assert names[2] == "PuOr" and names[0] == style.diverging().name
    assert maps_of(figure)[2].images[0].get_clim() == (-2, 2)
