"""Profiles as a matrix, at a dendrogram, as differences, and with groups of too few inputs."""

from __future__ import annotations

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from scipy.cluster.hierarchy import leaves_list

from topomap.layout import Layout
from topomap.plot import plot_profiles, style
from topomap.profiles import Profiles, profile
from topomap.run import Activations

from .conftest import make_acts, picture, sunflower
from .test_profiles import check_texts, maps_of

#: (label, prediction) -> inputs; nothing is taken for a star, no triangle for a circle, ...
COUNTS = {(0, 0): 20, (0, 1): 6, (1, 1): 14, (2, 2): 9, (2, 1): 2, (3, 0): 7, (3, 2): 1}
NAMES = ("circle", "square", "triangle", "star")


@pytest.fixture(scope="module")
def mistaken(disc: Layout) -> Activations:
    """Four classes, predicted as `COUNTS` says; inputs look like the mean of what they are and are taken for."""
    pairs = np.repeat(list(COUNTS), list(COUNTS.values()), axis=0)
    alike = make_acts(disc, 4, 1).values
    wiggle = np.sin(np.arange(len(pairs))[:, None] * 1.3 + np.arange(disc.n_neurons) * 2.1)
    values = (alike[pairs[:, 0]] + alike[pairs[:, 1]]) / 2 + np.where(disc.dead, 0, 0.5) * wiggle
    values[:, disc.dead] = 1.0
    acts = Activations.from_array(values.astype(np.float32), layer="fc")
    return acts.with_labels(label=np.array(NAMES)[pairs[:, 0]], prediction=np.array(NAMES)[pairs[:, 1]])


def cells_of(figure: Figure) -> tuple[list[str], list[str], dict[tuple[str, str], str]]:
    """Return the names of rows and columns as they are drawn, and what is written above the map of each cell."""
    figure.canvas.draw()
    places = {text.get_text(): text.get_position() for text in figure.texts if text.get_fontsize() == style.TITLE}
    rows = {text.get_text(): text.get_position()[1] for text in figure.texts if text.get_rotation() == 90}
    rows = {name: y for name, y in rows.items() if name not in ("label", "prediction")}
    columns = {
        t.get_text(): t.get_position() for t in figure.texts if t.get_fontsize() == style.TITLE and not t.get_rotation()
    }
    heads = {name: x for name, (x, _) in columns.items()}
    assert places
    found = {}
    notes = [text for text in figure.texts if "n = " in text.get_text()]
    for ax in maps_of(figure):
        box = ax.get_position()
        x, y = (box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2
        row = min(rows, key=lambda name: abs(rows[name] - y))
        column = min(heads, key=lambda name: abs(heads[name] - x))
        assert rows[row] == pytest.approx(y) and heads[column] == pytest.approx(x)
        near = min(notes, key=lambda text: np.hypot(text.get_position()[0] - x, 3 * (text.get_position()[1] - box.y1)))
        found[row, column] = near.get_text()
    order = sorted(rows, key=lambda name: -rows[name]), sorted(heads, key=lambda name: heads[name])
    return order[0], order[1], found


def caption_of(figure: Figure) -> str:
    return figure.texts[-1].get_text().replace("\n", " ")


def test_labels_and_predictions_make_a_confusion_matrix(mistaken: Activations, disc: Layout) -> None:
    profiles = profile(mistaken, by=("label", "prediction"))
    figure = plot_profiles(profiles, disc, resolution=20)
    rows, columns, found = cells_of(figure)
    assert set(rows) == set(NAMES) and columns == rows  # stars are never predicted; the diagonal is one
    assert found == {
        (NAMES[label], NAMES[prediction]): f"n = {n}" + ", too few" * (n < 5)
        for (label, prediction), n in COUNTS.items()
    }
    check_texts(figure)


def test_each_cell_shows_its_own_group(mistaken: Activations, disc: Layout) -> None:
    profiles = profile(mistaken, by=("label", "prediction"))
    figure = plot_profiles(profiles, disc, resolution=20)
    alone = {}
    for name in profiles.names:
        alone[name] = maps_of(plot_profiles(profiles, disc, groups=[name], resolution=20))[0].images[0].get_array()
    found = cells_of(figure)[2]
    assert len(found) == len(maps_of(figure)) == len(COUNTS)
    for cell, ax in zip(found, maps_of(figure), strict=True):
        np.testing.assert_allclose(ax.images[0].get_array(), alone[", ".join(cell)])


def test_classes_of_a_matrix_follow_their_correct_inputs(mistaken: Activations, disc: Layout) -> None:
    profiles = profile(mistaken, by=("label", "prediction"))
    right = [i for i, (label, prediction) in enumerate(profiles.keys) if label == prediction]
    leaves = [profiles.keys[i][0] for i in profiles.ordered(right)]
    rows, columns, _ = cells_of(plot_profiles(profiles, disc, resolution=20))
    assert columns == rows == [*leaves, "star"]  # stars are never recognised
    rows, columns, _ = cells_of(plot_profiles(profiles, disc, order="given", resolution=20))
    assert rows == columns == sorted(NAMES)


def test_correct_stands_over_wrong(mistaken: Activations, disc: Layout) -> None:
    for by in (("label", "correct"), ("correct", "label")):
        figure = plot_profiles(profile(mistaken, by=by), disc, resolution=20)
        rows, columns, found = cells_of(figure)
        assert rows == ["correct", "wrong"] and columns[-1] == "star" and set(columns) == set(NAMES)
        assert found["correct", "circle"] == "n = 20" and found["wrong", "star"] == "n = 8"
        assert ("correct", "star") not in found and ("wrong", "square") not in found
        assert "label x correct" in caption_of(figure) or "correct x label" in caption_of(figure)
        check_texts(figure)


def test_any_two_columns_make_a_matrix_and_wide_ones_are_broken(disc: Layout) -> None:
    acts = make_acts(disc, 12, 4)
    acts = acts.with_labels(half=np.where(np.arange(48) % 4 < 2, "left", "right"))
    profiles = profile(acts, by=("half", "label"), min_size=1)
    assert len(maps_of(plot_profiles(profiles, disc, groups=list(profiles.names[:3]), resolution=20))) == 3
    figure = plot_profiles(profiles, disc, arrange="matrix", width="single", resolution=20, contours=0, dots=False)
    boxes = [ax.get_position() for ax in maps_of(figure)]
    assert len(boxes) == 24 and len({round(box.x0, 4) for box in boxes}) == 4
    assert len({round(box.y0, 4) for box in boxes}) == 6
    assert [text.get_text() for text in figure.texts].count("left") == 3  # said again beside every block
    check_texts(figure)
    six = plot_profiles(profiles, disc, arrange="matrix", columns=6, resolution=20, contours=0, dots=False)
    assert len({round(ax.get_position().y0, 4) for ax in maps_of(six)}) == 4


def test_names_with_commas_are_read_as_names(disc: Layout) -> None:
    names = np.array(["tench, Tinca tinca", "a, b, c", "plain"])
    label = np.repeat([0, 0, 1, 1, 2], 6)
    prediction = np.repeat([0, 1, 1, 2, 2], 6)
    values = make_acts(disc, 5, 6).values
    acts = Activations.from_array(values).with_labels(label=names[label], prediction=names[prediction])
    found = cells_of(plot_profiles(profile(acts, by=("label", "prediction")), disc, resolution=20))[2]
    flat = {tuple(name.replace("\n", " ") for name in cell) for cell in found}
    assert flat == {(names[a], names[b]) for a, b in zip(label, prediction, strict=True)}


def test_groups_of_too_few_are_pale_and_do_not_set_the_scale(mistaken: Activations, disc: Layout) -> None:
    loud = mistaken.values.copy()
    few = (mistaken.inputs["label"] == "star") & (mistaken.inputs["prediction"] == "triangle")
    loud[few] += np.where(disc.dead, 0, 50 * np.sin(np.arange(disc.n_neurons)))
    acts = Activations(loud, mistaken.inputs, "fc")
    profiles = profile(acts, by=("label", "prediction"))
    assert profiles.small.sum() == 2
    figure = plot_profiles(profiles, disc, resolution=20, limits="max")
    read = profiles.scaled[np.ix_(~profiles.small, ~disc.dead)]
    found = cells_of(figure)[2]
    for cell, ax in zip(found, maps_of(figure), strict=True):
        assert ax.images[0].get_clim()[1] == pytest.approx(np.abs(read).max())
        pale = COUNTS[NAMES.index(cell[0]), NAMES.index(cell[1])] < 5
        outline = to_hex(ax.patches[-1].get_edgecolor())
        assert np.max(ax.images[0].get_alpha()) == pytest.approx(0.35 if pale else 1)
        assert outline == (style.DEAD if pale else style.INK)
    notes = {text.get_text(): text.get_color() for text in figure.texts if "n = " in text.get_text()}
    assert notes["n = 2, too few"] == style.QUIET and notes["n = 20"] == style.INK
    assert "groups of fewer than 5 inputs (2 of 7)" in caption_of(figure)
    assert "beyond the scale" in caption_of(figure)
    grid = plot_profiles(profiles, disc, arrange="grid", resolution=20)
    titles = [text for text in grid.texts if "too few" in text.get_text()]
    assert len(titles) == 2 and all(text.get_color() == style.QUIET for text in titles)
    all_read = plot_profiles(profile(acts, by=("label", "prediction"), min_size=1), disc, resolution=20)
    assert "too few" not in "".join(text.get_text() for text in all_read.texts)


def test_where_all_groups_are_small_they_are_drawn_all_the_same(disc: Layout) -> None:
    profiles = profile(make_acts(disc, 3, 2), by="label")
    figure = plot_profiles(profiles, disc, resolution=20, limits="max")
    assert maps_of(figure)[0].images[0].get_clim()[1] == pytest.approx(np.abs(profiles.scaled[:, ~disc.dead]).max())
    assert "(3 of 3)" in caption_of(figure)


def test_the_difference_of_two_groups(acts: Activations, disc: Layout) -> None:
    profiles = profile(acts, by="label", contrast="star")
    figure = plot_profiles(profiles, disc, groups=["circle"], noise=True)
    (ax,) = maps_of(figure)
    assert [t.get_text() for t in figure.texts if "n = " in t.get_text()] == ["circle − star (n = 12, 12)"]
    means = profile(acts, by="label", contrast="none")
    circle, star = (means.scaled[means.names.index(name)] for name in ("circle", "star"))
    alone = plot_profiles(_with_values(profiles, circle - star), disc, groups=["circle"])
    np.testing.assert_allclose(
        ax.images[0].get_array().filled(9), maps_of(alone)[0].images[0].get_array().filled(9), atol=1e-5
    )
    assert np.asarray(ax.images[0].get_alpha()).min() < 0.3  # the floor of the difference
    (bar,) = [other for other in figure.axes if other is not ax]
    assert bar.get_xlabel().startswith("difference from star")
    assert "Group means minus the mean of star" in caption_of(figure)
    # the group that all others are shown against has an empty map
    names = [t.get_text().split(" −")[0] for t in plot_profiles(profiles, disc).texts if "n = " in t.get_text()]
    assert sorted(names) == ["circle", "square", "triangle"]


def _with_values(profiles: Profiles, scaled: np.ndarray) -> Profiles:
    from dataclasses import replace

    return replace(profiles, values=np.tile(scaled * profiles.scale, (len(profiles.names), 1)))


def test_a_difference_from_a_group_of_too_few_is_not_to_be_read(acts: Activations, disc: Layout) -> None:
    few = acts.select(where=np.arange(48) >= 9)  # three circles are left
    figure = plot_profiles(profile(few, by="label", contrast="circle"), disc, resolution=20)
    titles = [text.get_text().replace("\n", " ") for text in figure.texts if "− circle" in text.get_text()]
    assert "star − circle (n = 12, 3, too few)" in titles and len(titles) == 3
    rest = plot_profiles(profile(few, by="label", contrast="rest"), disc, resolution=20)
    assert "minus the mean of all others" in caption_of(rest)
    assert any(text.get_text().startswith("star − rest") for text in rest.texts)


@pytest.mark.parametrize(("n", "width"), [(1, None), (2, None), (6, None), (12, "double"), (15, None), (6, "single")])
def test_maps_stand_at_the_leaves_of_their_dendrogram(n: int, width: str | None) -> None:
    layout = sunflower(40)
    acts = make_acts(layout, max(n, 2), 5)
    profiles = profile(acts, by="label")
    chosen = list(profiles.names[:n])
    look = {"resolution": 20, "contours": 0, "dots": False}
    figure = plot_profiles(profiles, layout, arrange="tree", groups=chosen, width=width, **look)
    maps = maps_of(figure)
    assert len(maps) == n
    (tree,) = [ax for ax in figure.axes if ax.axison and "cosine" in ax.get_xlabel() + ax.get_ylabel()]
    across = tree.get_ylabel() == "cosine distance"
    figure.canvas.draw()
    boxes = [ax.get_window_extent() for ax in maps]
    middles = np.array([(box.x0 + box.x1) / 2 if across else (box.y0 + box.y1) / 2 for box in boxes])
    assert np.all(np.diff(middles) * (1 if across else -1) > 0)
    leaves = np.array([[k + 0.5, 0] if across else [0, k + 0.5] for k in range(n)])
    np.testing.assert_allclose(tree.transData.transform(leaves)[:, 0 if across else 1], middles, atol=0.6)
    index = [profiles.names.index(name) for name in chosen]
    expected = [chosen[0]] if n == 1 else [chosen[i] for i in leaves_list(profiles.linkage(index))]
    titles = [t.get_text().replace("\n", " ").split(" (n")[0] for t in figure.texts if "(n = " in t.get_text()]
    assert titles == (expected if n > 2 else chosen)
    if n > 1:
        (branches,) = [each for each in tree.collections if isinstance(each, LineCollection)]
        heights = np.sort([path.vertices[1, 1 if across else 0] for path in branches.get_paths()])
        np.testing.assert_allclose(heights, profiles.linkage(index)[:, 2])
    check_texts(figure)


def test_trees_stand_beside_or_above_their_maps(disc: Layout) -> None:
    profiles = profile(make_acts(disc, 16, 5), by="label")
    for n, width, rows in ((4, 3.5, 1), (10, 7.2, 1), (16, 3.5, 16)):
        look = {"resolution": 20, "contours": 0, "dots": False}
        figure = plot_profiles(profiles, disc, arrange="tree", groups=list(profiles.names[:n]), **look)
        assert figure.get_size_inches()[0] == width
        assert len({round(ax.get_position().y0, 3) for ax in maps_of(figure)}) == rows


def test_what_does_not_go_together(mistaken: Activations, disc: Layout) -> None:
    profiles, two = profile(mistaken, by="label"), profile(mistaken, by=("label", "correct"))
    with pytest.raises(ValueError, match="Did you mean 'matrix'"):
        plot_profiles(profiles, disc, arrange="matirx")
    with pytest.raises(ValueError, match=r"needs groups by two columns, as by=\('label', 'correct'\).*got label"):
        plot_profiles(profiles, disc, arrange="matrix")
    with pytest.raises(ValueError, match="leave order out"):
        plot_profiles(profiles, disc, arrange="tree", order="given")
    with pytest.raises(ValueError, match="examples goes with arrange='grid'; got arrange='matrix'"):
        plot_profiles(two, disc, arrange="matrix", examples={"circle, wrong": np.zeros((3, 3))})
    _, axes = plt.subplots(1, len(two.names))
    with pytest.raises(ValueError, match="ax goes with arrange='grid'"):
        plot_profiles(two, disc, arrange="tree", ax=axes)
    plt.close("all")
    assert len(maps_of(plot_profiles(two, disc, resolution=20, groups=["circle, wrong", "star, wrong"]))) == 2
    assert not [num for num in plt.get_fignums() if not plt.figure(num).axes]  # nothing is left half-drawn


@picture
def test_picture_matrix() -> Figure:
    layout = sunflower(160, n_dead=5)
    label, prediction = np.repeat([[0, 0], [0, 1], [1, 1], [2, 2], [2, 0]], [9, 6, 9, 9, 3], axis=0).T
    values = make_acts(layout, 3, 12).values
    names = np.array(["cat", "dog", "fox"])
    acts = Activations.from_array(values, layer="fc", label=names[label], prediction=names[prediction])
    return plot_profiles(profile(acts, by=("label", "prediction")), layout, width="single")


@picture
def test_picture_tree() -> Figure:
    layout = sunflower(160, n_dead=5)
    return plot_profiles(profile(make_acts(layout, 6), by="label"), layout, arrange="tree")
