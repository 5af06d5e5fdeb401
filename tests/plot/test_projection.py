"""Projected inputs, by themselves and beside the maps of their groups."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from topomap.layout import Layout, Projection, project_inputs
from topomap.patterns import find_patterns
from topomap.plot import plot_profiles, plot_projection, style
from topomap.profiles import profile
from topomap.run import Activations

from .test_profiles import check_texts, maps_of

Dots = tuple[np.ndarray, list[str]]


@pytest.fixture(scope="module")
def projection(acts: Activations) -> Projection:
    return project_inputs(acts, "pca")


def dots_of(ax: Axes) -> Dots:
    (dots,) = ax.collections
    colors = [to_hex(color, keep_alpha=False) for color in dots.get_facecolors()]
    return np.asarray(dots.get_offsets()), colors


def beside_of(figure: Figure) -> Axes:
    """Return the axes of the projection: the first that hold dots and no map."""
    return next(ax for ax in figure.axes if ax.collections and not ax.images and ax.axison and not ax.get_xlabel())


def test_dots_have_the_colours_of_their_groups(acts: Activations, projection: Projection) -> None:
    ax = plot_projection(projection, by="label")
    places, colors = dots_of(ax)
    np.testing.assert_allclose(places, projection.positions)
    palette = style.categorical(4)
    assert colors == [palette[label] for label in acts.inputs["label"]]
    assert [text.get_text() for text in ax.texts] == ["circle", "square", "triangle", "star"]
    assert ax.get_title() == "48 inputs, layer conv2, by pca"
    for code, text in enumerate(ax.texts):  # each name is at one of its group's own dots, or as near as the axes allow
        own = projection.positions[acts.inputs["label"] == code]
        assert np.isclose(own[:, 1], text.get_position()[1]).any()


def test_without_groups_dots_are_of_one_colour(projection: Projection) -> None:
    ax = plot_projection(projection, title="", size=3)
    places, colors = dots_of(ax)
    assert len(places) == 48 and set(colors) == {style.INK} and ax.get_title() == "" and not ax.texts
    assert ax.collections[0].get_sizes().tolist() == [9.0]


def test_inputs_of_no_group_are_grey_and_lie_below(acts: Activations) -> None:
    part = acts.with_labels(kind=np.where(acts.inputs["label"] == 2, "odd", ""))
    _, colors = dots_of(plot_projection(project_inputs(part, "pca"), by="kind"))
    assert len(colors) == 48 and colors.count(style.OKABE_ITO[0]) == 12
    assert set(colors[:36]) == {"#d4d4d4"} and set(colors[36:]) == {style.OKABE_ITO[0]}


def test_it_stands_beside_the_maps_in_the_same_colours(acts: Activations, disc: Layout, projection: Projection) -> None:
    profiles = profile(acts, by="label")
    figure = plot_profiles(profiles, disc, projection=projection, resolution=20)
    maps = maps_of(figure)
    beside = beside_of(figure)
    assert len(maps) == 4 and all(beside.get_position().x1 < ax.get_position().x0 for ax in maps)
    _, colors = dots_of(beside)
    palette = style.categorical(4)
    order = profiles.order.tolist()
    assert colors == [palette[order.index(label)] for label in acts.inputs["label"]]
    marks = [line for line in figure.artists if line in figure.findobj(type(line)) and line.get_marker() == "o"]
    assert [mark.get_color() for mark in marks] == palette
    assert "Left: 48 inputs, layer conv2, by pca" in figure.texts[-1].get_text().replace("\n", " ")
    check_texts(figure)
    some = plot_profiles(profiles, disc, projection=projection, groups=["star"], resolution=20)
    assert dots_of(beside_of(some))[1].count("#d4d4d4") == 36
    check_texts(some)


@pytest.mark.parametrize("width", ["single", "double"])
def test_names_of_groups_in_one_place_stand_apart(acts: Activations, disc: Layout, width: str) -> None:
    mixed = acts.with_labels(part=np.array([f"part {i % 8}" for i in range(48)]))  # each of them lies everywhere
    projection = project_inputs(mixed, "pca")
    check_texts(plot_projection(projection, by="part").figure)
    figure = plot_profiles(profile(mixed, by="part"), disc, projection=projection, width=width, resolution=20)
    check_texts(figure)
    beside, maps = beside_of(figure), maps_of(figure)
    assert len(beside.texts) == 8
    narrow = width == "single"
    assert all(beside.get_position().y0 > ax.get_position().y1 for ax in maps) == narrow
    assert ("Above: 48 inputs" if narrow else "Left: 48 inputs") in figure.texts[-1].get_text().replace("\n", " ")


def test_patterns_have_colours_and_their_noise_is_grey(acts: Activations) -> None:
    patterns = find_patterns(acts, min_cluster_size=4, min_samples=3)
    projection = project_inputs(acts.select({"label": [0, 1, 2]}), "pca")
    ax = plot_projection(projection, by=patterns)
    of_inputs = patterns.labels[projection.rows]  # all inputs were clustered, in the order of the table
    palette = [*style.categorical(len(patterns)), "#d4d4d4"]
    assert len(patterns) > 1 and (of_inputs < 0).any()
    assert sorted(dots_of(ax)[1]) == sorted(palette[label] for label in of_inputs)
    assert {text.get_text() for text in ax.texts} == {f"pattern {k}" for k in np.unique(of_inputs) if k >= 0}


def test_mistakes_are_explained(acts: Activations, disc: Layout, projection: Projection) -> None:
    with pytest.raises(ValueError, match=r"must be of type Projection; got Activations. Make one with tm.project_inp"):
        plot_projection(acts, by="label")
    with pytest.raises(ValueError, match="makes 48 groups, more than the 40"):
        plot_projection(projection, by=lambda inputs: inputs.ids)
    with pytest.raises(ValueError, match="no column 'group' to colour them by"):
        plot_profiles(profile(acts, by=np.arange(48) % 2), disc, projection=projection)
    with pytest.raises(ValueError, match="projection must be of type Projection; got ndarray"):
        plot_profiles(profile(acts, by="label"), disc, projection=projection.positions)
    with pytest.raises(ValueError, match="projection goes with arrange='grid'"):
        plot_profiles(profile(acts, by="label"), disc, projection=projection, arrange="tree")
