from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from matplotlib.colors import same_color, to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from topomap.layout import Layout
from topomap.patterns import PatternReport, Patterns, describe_pattern, find_patterns, measure_patterns
from topomap.plot import cards, plot_patterns, style
from topomap.plot.pattern_panels import values_of
from topomap.profiles import profile
from topomap.run import Activations, Inputs
from topomap.surface import Surface

from .conftest import make_acts, picture, sunflower
from .test_profiles import check_texts, maps_of


def planted(pictures: bool = True) -> Activations:
    """Three tight groups of inputs, and two dozen that lie anywhere; some misclassified."""
    rng = np.random.default_rng(0)
    acts = make_acts(sunflower(40, n_dead=2), n_groups=3, per_group=20, pictures=pictures)
    values = np.array(acts.values)
    values[~acts.dead[None, :].repeat(60, 0)] += rng.normal(0, 0.05, 60 * 38)
    stray = rng.normal(0, 2, (24, 40))
    stray[:, acts.dead] = 1.0
    label = np.append(acts.inputs["label"], rng.integers(0, 3, 24))
    prediction = np.append(acts.inputs["prediction"], rng.integers(0, 3, 24))
    camera = np.array(["old", "new"])[(label > 0).astype(int)]
    thumbnails = None
    if acts.inputs.thumbnails is not None:
        more = np.asarray(acts.inputs.thumbnails)[:24]
        thumbnails = np.concatenate([np.asarray(acts.inputs.thumbnails), more])
    columns = {"label": label, "prediction": prediction, "camera": camera}
    inputs = Inputs(np.arange(84), columns, ("circle", "square", "triangle"), thumbnails)
    return Activations(np.concatenate([values, stray]).astype(np.float32), inputs, "conv2", "mean")


@pytest.fixture(scope="module")
def layout() -> Layout:
    return sunflower(40, n_dead=2)


@pytest.fixture(scope="module")
def acts() -> Activations:
    return planted()


@pytest.fixture(scope="module")
def patterns(acts: Activations) -> Patterns:
    found = find_patterns(acts, min_cluster_size=10)
    assert len(found) == 3 and 0.1 < found.noise < 0.6
    return found


@pytest.fixture(scope="module")
def report(patterns: Patterns) -> PatternReport:
    return measure_patterns(patterns, n_bootstrap=3)


@pytest.fixture(scope="module")
def plain(acts: Activations, patterns: Patterns) -> Figure:
    """Cards alone, of activations without a layout or a report."""
    return plot_patterns(patterns, acts, parts="cards", n_members=1)


def words(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


def whole(figure: Figure) -> str:
    return " ".join(" ".join(text.split()) for text in words(figure))


def names_of(figure: Figure) -> list[str]:
    """Titles of the cards."""
    bold = [text.get_text() for text in figure.texts if text.get_fontweight() == "bold"]
    return [text for text in bold if text.startswith("pattern") or text == "noise"]


def bars_of(figure: Figure, color: str) -> list[list[float]]:
    """Lengths of the bars of one colour, per axes that has any."""
    found = []
    for ax in figure.axes:
        own = [p for p in ax.patches if isinstance(p, Rectangle) and same_color(p.get_facecolor(), to_rgba(color))]
        if own:
            found.append([p.get_width() for p in own])
    return found


@pytest.mark.parametrize(("width", "columns"), [("double", 1), ("single", 1), (10, 3)])
def test_no_text_is_cut_off(
    acts: Activations, layout: Layout, patterns: Patterns, report: PatternReport, width: str | float, columns: int
) -> None:
    figure = plot_patterns(patterns, acts, layout, report=report, width=width, columns=columns, n_members=3)
    assert figure.get_size_inches()[0] == pytest.approx(style.figure_width(width))
    assert names_of(figure) == ["pattern 0", "pattern 1", "pattern 2", "noise"]
    check_texts(figure)
    for ax in figure.axes:
        box = ax.get_position()
        assert box.x0 >= 0 and box.y0 >= 0 and box.x1 <= 1 and box.y1 <= 1
    assert [text.get_text() for text in figure.texts if text.get_text() in "abc"] == ["a", "b", "c"]


def test_cards_say_what_is_known(acts: Activations, patterns: Patterns, report: PatternReport, plain: Figure) -> None:
    bare = whole(plain)
    told = whole(plot_patterns(patterns, acts, report=report, parts="cards", n_members=1))
    for k, count in enumerate(patterns.counts[:3]):
        assert f"n = {count} ({count / 84:.1%}) persistence {patterns.persistence[k]:.2f}" in bare
        assert f"stability {report.stability[k]:.2f}" in told
    assert "stability" not in bare and "; stability: mean best Jaccard index" in told
    assert "most and least probable members" in told and "stable" not in bare
    assert "members: by HDBSCAN's membership probability (of noise: by outlier score)" in bare
    assert "Persistence: share of HDBSCAN's range of densities" in bare
    assert "camera old: 100%*" in told and "camera" not in bare
    assert f"{patterns.noise:.0%} of the inputs are noise" in bare
    assert "grows with that of inputs" in bare


def test_noise_comes_last_and_is_no_pattern(acts: Activations, patterns: Patterns) -> None:
    small = {"n_members": 1, "parts": "cards"}
    figure = plot_patterns(patterns, acts, n=1, **small)
    assert names_of(figure) == ["pattern 0", "noise"] and "Cards: 1 of the 3." in whole(figure)
    assert names_of(plot_patterns(patterns, acts, **small, which=[2, 0])) == ["pattern 2", "pattern 0"]
    assert names_of(plot_patterns(patterns, acts, **small, which=[-1])) == ["noise"]
    none = replace(patterns, labels=np.full(84, -1), persistence=np.zeros(0), probabilities=np.zeros(84))
    assert names_of(plot_patterns(none, acts, **small)) == ["noise"]
    every = replace(patterns, labels=np.where(patterns.labels < 0, 0, patterns.labels))
    assert names_of(plot_patterns(every, acts, **small)) == ["pattern 0", "pattern 1", "pattern 2"]


def test_bars_are_shares(acts: Activations, patterns: Patterns, plain: Figure) -> None:
    for column in ("label", "prediction"):
        drawn = bars_of(plain, cards.COLORS[column])
        text = acts.inputs.named(column)
        for k, bars in zip(patterns.ids, drawn, strict=True):
            members = text[patterns.members(k)]
            shares = sorted((np.mean(members == name) for name in np.unique(members)), reverse=True)
            np.testing.assert_allclose(sorted(np.array(bars)[np.array(bars) > 0], reverse=True), shares)


def test_more_values_than_rows_are_added_up() -> None:
    acts = planted()
    many = replace(acts, inputs=Inputs(np.arange(84), {"label": np.arange(84) % 7}))
    found = find_patterns(many, min_cluster_size=10)
    figure = plot_patterns(found, many, parts="cards", n_members=1)
    names = [label.get_text() for ax in figure.axes for label in ax.get_yticklabels()]
    assert "4 others" in names
    for bars in bars_of(figure, cards.COLORS["label"]):
        assert len(bars) == 4 and sum(bars) == pytest.approx(1)


def test_boxes_are_those_of_the_description(acts: Activations, patterns: Patterns, plain: Figure) -> None:
    drawn = [ax for ax in plain.axes if any(line.get_color() == cards.OWN for line in ax.lines)]
    assert len(drawn) == 4
    for ax, k in zip(drawn, patterns.ids, strict=True):
        card = describe_pattern(patterns, k, acts, n_units=4)
        assert card.boxes is not None and card.units is not None
        assert [label.get_text() for label in ax.get_yticklabels()] == [str(unit) for unit in card.units]
        ranges = [line.get_xdata() for line in ax.lines if line.get_color() == cards.OWN][::2]
        medians = [line.get_xdata()[0] for line in ax.lines if line.get_color() == cards.OWN][1::2]
        np.testing.assert_allclose(ranges, card.boxes[:, [0, 4]])
        np.testing.assert_allclose(medians, card.boxes[:, 2])


def test_the_caption_says_whose_values_boxes_are_of(acts: Activations, patterns: Patterns, plain: Figure) -> None:
    assert "in the units of the layer)" in whole(plain)
    told = whole(
        plot_patterns(patterns, replace(acts, layer="Conv1", reduce="max"), which=[0], parts="cards", n_members=1)
    )
    assert "values of layer Conv1 (reduction: max))" in told


def test_maps_are_profiles_on_one_scale(acts: Activations, layout: Layout, patterns: Patterns) -> None:
    figure = plot_patterns(patterns, acts, layout, which=[1, -1], limits="max", n_members=1)
    profiles = profile(acts, by=patterns)
    surface = Surface(layout, extrapolate="mean")
    maps = [ax for ax in maps_of(figure) if not any(isinstance(patch, Rectangle) for patch in ax.patches)]
    assert len(maps) == 2
    for ax, row in zip(maps, (1, 3), strict=True):
        shown = np.ma.filled(ax.images[0].get_array(), np.nan)[surface.mask]
        np.testing.assert_allclose(shown, surface(profiles.scaled[row])[surface.mask], atol=1e-5)
        assert ax.images[0].get_clim() == pytest.approx(
            (-np.abs(profiles.scaled[[1, 3]]).max(), np.abs(profiles.scaled[[1, 3]]).max())
        )
    assert "faded" in whole(figure) and "2 dead (grey)" in whole(figure)
    assert "faded" not in whole(plot_patterns(patterns, acts, layout, noise=False, which=[0], n_members=1))


def test_members_are_the_right_pictures(acts: Activations, patterns: Patterns) -> None:
    figure = plot_patterns(patterns, acts, which=[0], n_members=3, parts="cards")
    (average,) = [ax for ax in figure.axes if ax.images and ax.axison]
    rows = [ax for ax in figure.axes if len(ax.images) == 3]
    assert len(rows) == 2
    members = patterns.members(0)
    assert acts.inputs.thumbnails is not None
    expected = np.asarray(acts.inputs.thumbnails)[members].mean(axis=0)
    np.testing.assert_allclose(average.images[0].get_array(), np.rint(expected))
    for ax, some in zip(rows, [members[:3], members[::-1][:3]], strict=True):
        frames = [patch for patch in ax.patches if isinstance(patch, Rectangle)]
        for image, frame, member in zip(ax.images, frames, some, strict=True):
            np.testing.assert_array_equal(image.get_array(), acts.inputs.thumbnails[member])
            assert image.get_extent()[0] == frame.get_x()
            wrong = acts.inputs.correct is not None and not acts.inputs.correct[member]
            assert same_color(frame.get_edgecolor(), style.WRONG if wrong else style.DEAD)


def test_texts_and_ids_stand_for_pictures(acts: Activations, patterns: Patterns) -> None:
    texts = np.array([f"sentence {i} costs $5 or $6 " + "and more " * 30 for i in range(84)])
    told = replace(patterns, inputs=replace(acts.inputs, thumbnails=None, texts=texts))
    figure = plot_patterns(told, parts="cards")
    first = patterns.members(0)[0]
    (line,) = [text for text in figure.texts if text.get_text().startswith(f"sentence {first} ")][:1]
    assert line.get_text().endswith("...")
    colored = [text.get_text() for text in figure.texts if text.get_color() == style.WRONG]
    assert colored and "coloured" in whole(figure)
    check_texts(figure)
    bare = replace(patterns, inputs=Inputs(np.array([f"image {i}" for i in range(84)])))
    figure = plot_patterns(bare, n_members=2)
    assert f"image {first}" in words(figure) and "b" not in words(figure)
    check_texts(figure)


def test_the_matrix_shows_shares_and_what_is_enriched(patterns: Patterns, report: PatternReport) -> None:
    figure = plot_patterns(patterns, report=report, parts="matrix")
    (ax,) = [ax for ax in figure.axes if ax.get_xlabel() == "pattern"]
    discs, rings = (each for each in ax.collections if isinstance(each, PathCollection))
    labels = [row for row in report.enrichment if row.column == "label"]
    area = dict(zip(map(tuple, np.asarray(discs.get_offsets(), dtype=int).tolist()), discs.get_sizes(), strict=True))
    largest = max(area.values()) / max(row.share for row in labels)
    values = ["circle", "square", "triangle"]
    for row in labels:
        place = (patterns.ids.index(row.pattern), values.index(row.value))
        assert area[place] == pytest.approx(largest * row.share)
    blue = sum(same_color(color, style.OKABE_ITO[0]) for color in discs.get_facecolors())
    assert 0 < blue == sum(row.q <= 0.05 for row in labels)
    assert len(rings.get_offsets()) == len([row for row in report.enrichment if row.column == "prediction"])
    assert [label.get_text() for label in ax.get_xticklabels()] == ["0", "1", "2", "noise"]
    assert "disc" in whole(figure) and "ring" in whole(figure)


def test_whole_numbers_stand_in_their_order() -> None:
    acts = planted(pictures=False)
    label = np.array([10, 9, 2])[acts.inputs["label"]]
    inputs = Inputs(np.arange(84), {"label": label, "prediction": label})
    report = measure_patterns(find_patterns(replace(acts, inputs=inputs), min_cluster_size=10), n_bootstrap=0)
    assert values_of(report.patterns, report) == ["2", "9", "10"]


def test_growth_is_that_of_the_report(patterns: Patterns, report: PatternReport) -> None:
    figure = plot_patterns(patterns, report=report, parts=["growth"])
    (ax,) = [ax for ax in figure.axes if ax.get_ylabel() == "patterns"]
    np.testing.assert_allclose(ax.lines[0].get_xydata(), [(row.n, row.patterns) for row in report.growth])
    (other,) = [ax for ax in figure.axes if ax.get_ylabel() == "noise (%)"]
    np.testing.assert_allclose(other.lines[0].get_ydata(), [100 * row.noise for row in report.growth])
    check_texts(figure)


def test_mistakes(acts: Activations, layout: Layout, patterns: Patterns, report: PatternReport) -> None:
    with pytest.raises(ValueError, match="which must be one of 0, 1, 2, -1; got 7"):
        plot_patterns(patterns, acts, which=[7])
    with pytest.raises(ValueError, match="parts must be one of"):
        plot_patterns(patterns, acts, parts=["card"])
    with pytest.raises(ValueError, match="layout needs acts"):
        plot_patterns(patterns, layout=layout)
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_patterns(patterns, acts, parts=["growth"])
    with pytest.raises(ValueError, match="nothing to draw"):
        plot_patterns(patterns, acts, which=[], parts=["cards"])
    with pytest.raises(ValueError, match="report must be of these patterns"):
        plot_patterns(replace(patterns, labels=np.roll(patterns.labels, 1)), acts, report=report)
    with pytest.raises(ValueError, match="patterns must be of type Patterns; got Activations"):
        plot_patterns(acts)
    with pytest.raises(ValueError, match="acts must be of the inputs"):
        plot_patterns(patterns, Activations.from_array(np.eye(9)))
    with pytest.raises(ValueError, match="layout's 30 neurons"):
        plot_patterns(patterns, acts, sunflower(30))
    with pytest.raises(ValueError, match="n_members must be at least 1"):
        plot_patterns(patterns, acts, n_members=0)


@picture
def test_picture_patterns() -> Figure:
    acts = planted()
    patterns = find_patterns(acts, min_cluster_size=10)
    return plot_patterns(patterns, acts, sunflower(40, n_dead=2), report=measure_patterns(patterns, n_bootstrap=3), n=1)
