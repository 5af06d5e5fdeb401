from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

import topomap as tm
from topomap.layout import Layout
from topomap.plot import certainty, plot_comparison, plot_costs, plot_profiles, plot_topomap, sheet, style
from topomap.plot.panel import Ground
from topomap.quality import Comparison, Stability

from .conftest import make_acts, sunflower
from .test_profiles import check_texts

# comparisons ---------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> tm.Activations:
    return make_acts(sunflower(40, n_dead=2), 3, 6)


@pytest.fixture(scope="module")
def profiles(small: tm.Activations) -> tm.Profiles:
    return tm.profile(small, by="label")


@pytest.fixture(scope="module")
def comparison(small: tm.Activations, profiles: tm.Profiles) -> Comparison:
    return tm.compare_layouts(small, profiles, {"random": "random", "pca": "pca", "no": "pca+pca"}, n=5)


def panels_of(figure: Figure, title: str) -> list[plt.Axes]:
    return [ax for ax in figure.axes if ax.get_title().startswith(title)]


def test_maps_share_one_scale_and_are_turned_alike(profiles: tm.Profiles, comparison: Comparison) -> None:
    figure = plot_comparison(comparison, profiles, group="square", parts=["maps"])
    maps = [ax for ax in figure.axes if ax.images]
    assert [ax.get_title() for ax in maps] == ["random", "pca"]
    limit = np.abs(profiles.scaled[profiles.names.index("square"), ~profiles.dead]).max()
    for ax, name in zip(maps, comparison.methods, strict=True):
        low, high = ax.images[0].get_clim()
        assert -low == high and high <= limit * (1 + 1e-9)
        shown = comparison.of(name)[0].quality
        assert ax.texts[0].get_text().startswith(f"T {shown.trustworthiness:.2f}  C {shown.continuity:.2f}")
    turned = comparison.of("pca")[0].layout.align_to(comparison.of("random")[0].layout)
    ground = Ground.of(turned)
    field = ground.paint(ground.values(profiles.scaled[profiles.names.index("square")]))
    np.testing.assert_array_equal(np.ma.filled(maps[1].images[0].get_array(), np.nan), field)
    caption = " ".join(figure.texts[-1].get_text().split())
    assert "Group square (label, n = 6)" in caption and "turned" in caption


def test_the_strongest_group_is_drawn(profiles: tm.Profiles, comparison: Comparison) -> None:
    figure = plot_comparison(comparison, profiles)
    strongest = profiles.names[int(np.abs(profiles.scaled[:, ~profiles.dead]).mean(axis=1).argmax())]
    assert f"Group {strongest} (" in " ".join(figure.texts[-1].get_text().split())


def test_curves_are_means_over_repetitions(profiles: tm.Profiles, comparison: Comparison) -> None:
    figure = plot_comparison(comparison, profiles, parts=["curves"])
    resize, blur = (ax for ax in figure.axes if ax.lines)
    for ax, name in ((resize, "resize_mse"), (blur, "blur_mse")):
        assert ax.get_ylabel() == f"change when {'shrunk' if ax is resize else 'blurred'}"
        for line, method in zip(ax.lines, comparison.methods, strict=True):
            expected = np.mean([getattr(trial.smoothness, name) for trial in comparison.of(method)], axis=0)
            np.testing.assert_allclose(line.get_ydata(), expected)
    legend = next(ax.get_legend() for ax in figure.axes if ax.get_legend())
    assert [text.get_text() for text in legend.get_texts()] == ["random", "pca"]


def test_measures_show_every_repetition_and_the_better_end(comparison: Comparison) -> None:
    figure = plot_comparison(comparison, parts=["measures"])
    (ax,) = panels_of(figure, "kNN")
    assert ax.get_title() == "kNN ↑" and panels_of(figure, "hole")[0].get_title() == "hole ↓"
    for row, method in enumerate(comparison.methods):
        drawn = next(c for c in ax.collections if len(c.get_offsets()) == 5 and c.get_offsets()[0][1] == row)
        np.testing.assert_allclose(drawn.get_offsets()[:, 0], comparison.values("knn", method))
        np.testing.assert_allclose(ax.lines[row].get_xdata(), np.median(comparison.values("knn", method)))
    assert [text.get_text() for text in panels_of(figure, "T ")[0].get_yticklabels()] == ["random", "pca"]
    # a violin from five repetitions on: dots of two methods, and the violin of the one that varies
    assert len(ax.collections) == 3


def test_no_text_is_cut_and_failures_are_told(profiles: tm.Profiles, comparison: Comparison) -> None:
    figure = plot_comparison(comparison, profiles)
    check_texts(figure)
    assert "Failed: no." in figure.texts[-1].get_text().replace("\n", " ")
    assert figure.get_size_inches()[0] == style.WIDTHS["double"]
    check_texts(plot_comparison(comparison, profiles, width="single"))
    assert plot_comparison(comparison, caption="mine").texts[-1].get_text() == "mine"


def test_what_begins_alike_has_one_colour() -> None:
    looks = sheet.looks_of(["umap", "pca", "umap+swarm", "umap+spread"])
    assert looks["umap"]["color"] == looks["umap+swarm"]["color"] != looks["pca"]["color"]
    assert len({str(looks[name]["linestyle"]) for name in ("umap", "umap+swarm", "umap+spread")}) == 3
    many = sheet.looks_of([f"m{i}" for i in range(12)])
    assert len({look["color"] for look in many.values()}) == 12
    assert style.OKABE_ITO[-1] not in {look["color"] for look in many.values()}


def test_bad_comparisons(profiles: tm.Profiles, comparison: Comparison, small: tm.Activations) -> None:
    with pytest.raises(ValueError, match="group must be one of 'circle'"):
        plot_comparison(comparison, profiles, group="circel")
    with pytest.raises(ValueError, match="parts must be one of"):
        plot_comparison(comparison, profiles, parts=["map"])  # type: ignore[list-item]
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_comparison(comparison, parts=["maps"])
    with pytest.raises(ValueError, match="comparison must be of type Comparison"):
        plot_comparison(profiles)  # type: ignore[arg-type]
    other = tm.profile(make_acts(sunflower(9), 2), by="label")
    with pytest.raises(ValueError, match="expected 40, got 9"):
        plot_comparison(comparison, other)


def test_costs(small: tm.Activations) -> None:
    similarity = tm.correlate(small)
    parts = [similarity.take(np.arange(n)) for n in (30, 12)]
    made = [
        tm.compare_layouts(part, methods=methods, n=2)
        for part, methods in zip(parts, (["pca", "random"], ["pca"]), strict=True)
    ]
    ax = plot_costs(made)
    lines = {line.get_label(): line for line in ax.lines if not line.get_label().startswith("_")}
    drawn = {box.get_label(): box for box in ax.containers}
    assert [label.split()[0] for label in drawn] == ["pca", "random"]
    line = next(box for label, box in drawn.items() if label.startswith("pca"))[0]
    np.testing.assert_array_equal(line.get_xdata(), [12, 30])
    np.testing.assert_allclose(line.get_ydata(), [np.median(each.values("seconds", "pca")) for each in made[::-1]])
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log") and not lines.keys() - drawn.keys()
    growth = np.log(line.get_ydata()[1] / line.get_ydata()[0]) / np.log(30 / 12)
    assert f"pca  {growth:.1f}" in drawn and "random" in drawn  # one size has no exponent
    _, given = plt.subplots()
    assert plot_costs(made[0], ax=given, legend=False) is given and given.get_legend() is None
    with pytest.raises(ValueError, match="at least one"):
        plot_costs([])


# certainty -----------------------------------------------------------------------------------------------------------


def stability_of(layout: Layout, displacement: np.ndarray, over: str = "inputs") -> Stability:
    return Stability(0.1, np.array([0.1]), displacement, over, (layout, layout))


def hatches(ax: plt.Axes) -> list[LineCollection]:
    return [c for c in ax.collections if isinstance(c, LineCollection) and c.get_zorder() == 1.81]


def test_only_uncertain_places_are_hatched(disc: Layout) -> None:
    doubt = np.where(disc.positions[:, 0] > 0, 0.9, 0.05)
    ax = plot_topomap(disc.positions[:, 0], disc, certainty=stability_of(disc, doubt))
    ends = np.concatenate([segment for c in hatches(ax) for segment in c.get_segments()])
    assert len(ends) > 50 and ends[:, 0].min() > -0.2
    assert "hatched" in ax.images[0].colorbar.ax.get_ylabel()
    thick = [c for c in hatches(ax) if c.get_linewidths()[0] == certainty._WIDTHS[-1]]
    deep = np.concatenate([segment for c in thick for segment in c.get_segments()])
    assert deep[:, 0].min() > 0.0
    sure = plot_topomap(disc.positions[:, 0], disc, certainty=stability_of(disc, np.full(120, certainty.SURE - 0.01)))
    assert not hatches(sure)
    assert not hatches(plot_topomap(disc.positions[:, 0], disc))


def test_neurons_that_no_layout_held_are_uncertain(disc: Layout) -> None:
    doubt = np.zeros(120)
    doubt[:40] = np.nan
    assert certainty.doubt_of(stability_of(disc, doubt))[:40].tolist() == [1.0] * 40
    assert hatches(plot_topomap(disc.positions[:, 0], disc, certainty=stability_of(disc, doubt)))


def test_the_field_stays_as_it_is_beside_the_noise_floor(acts: tm.Activations, disc: Layout) -> None:
    profiles = tm.profile(acts, by="label")
    doubt = np.where(disc.positions[:, 1] > 0, 0.8, 0.0)
    plain = plot_profiles(profiles, disc)
    hatched = plot_profiles(profiles, disc, certainty=stability_of(disc, doubt))
    for before, after in zip(plain.axes[:4], hatched.axes[:4], strict=True):
        np.testing.assert_array_equal(before.images[0].get_alpha(), after.images[0].get_alpha())
        assert hatches(after) and not hatches(before)
    caption = " ".join(" ".join(text.get_text() for text in hatched.texts).split())
    share = np.mean(doubt[~disc.dead] > certainty.SURE)
    assert f"Hatched, {share:.0%} of the neurons: place uncertain; layouts of 2 bootstrap samples" in caption
    check_texts(hatched)
    seeds = certainty.describe_doubt(stability_of(disc, doubt, "seeds"), ~disc.dead)
    assert "layouts of 2 seeds" in seeds


def test_diagonals_are_cut_where_the_level_changes() -> None:
    level = np.zeros((8, 8), dtype=int)
    level[:, 4:] = 2
    runs = certainty._runs(level, 0.2)
    assert runs[2] and not (runs[1] or runs[3] or runs[4])
    for (x0, y0), (x1, y1) in runs[2]:
        assert x1 - x0 == pytest.approx(y1 - y0) and y1 > y0
        assert x0 > -0.2 and max(abs(y0), abs(y1)) <= 1
    through = sum(np.hypot(*(b - a)) for a, b in runs[2])
    assert through * 0.2 == pytest.approx(2.0, rel=0.1)  # lines 0.2 apart over an area of 2


def test_bad_certainty(disc: Layout) -> None:
    with pytest.raises(ValueError, match=r"certainty must be of type Stability; got ndarray\. Measure it with"):
        plot_topomap(np.zeros(120), disc, certainty=np.zeros(120))  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="certainty must have one entry per neuron of the layout"):
        plot_topomap(np.zeros(120), disc, certainty=stability_of(sunflower(5), np.zeros(5)))
