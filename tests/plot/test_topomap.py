from __future__ import annotations

import io
import re

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.colors import same_color
from matplotlib.contour import ContourSet
from scipy.spatial import Delaunay

from topomap.layout import Layout
from topomap.plot import plot_layout, plot_topomap, style
from topomap.similarity import correlate
from topomap.surface import Surface

from .conftest import picture, sunflower, waves


def dots_of(ax: plt.Axes) -> list[PathCollection]:
    return [artist for artist in ax.collections if type(artist) is PathCollection]


def test_the_field_is_the_surface(disc: Layout) -> None:
    values = waves(disc, 1)[0]
    ax = plot_topomap(values, disc, resolution=60, extrapolate="none")
    surface = Surface(disc, resolution=60)
    shown = np.ma.filled(ax.images[0].get_array(), np.nan)
    np.testing.assert_array_equal(shown[surface.mask], surface(values)[surface.mask])
    assert np.isnan(shown[0, 0])
    assert tuple(ax.images[0].get_extent()) == (-1, 1, -1, 1) and ax.images[0].origin == "upper"
    assert ax.images[0].get_clip_path() is not None


def test_colours_follow_the_sign(disc: Layout) -> None:
    values = waves(disc, 1)[0]
    ax = plot_topomap(values, disc)
    low, high = ax.images[0].get_clim()
    assert low == -high and ax.images[0].get_cmap() is style.diverging()
    ax = plot_topomap(np.abs(values), disc)
    assert ax.images[0].get_clim()[0] == 0 and ax.images[0].get_cmap() is style.sequential()


def test_values_of_dead_neurons_do_not_count(disc: Layout) -> None:
    values = waves(disc, 1)[0]
    expected = plot_topomap(values, disc, limits="max").images[0].get_clim()
    for value in (1e6, np.nan):
        spoilt = np.where(disc.dead, value, values)
        assert plot_topomap(spoilt, disc, limits="max").images[0].get_clim() == expected


def test_clipping_is_marked_on_the_bar(disc: Layout) -> None:
    values = waves(disc, 1)[0]
    assert plot_topomap(values, disc, limits=0.2).images[0].colorbar.extend == "both"
    assert plot_topomap(values, disc, limits="max").images[0].colorbar.extend == "neither"
    assert plot_topomap(values, disc, colorbar=False).images[0].colorbar is None


def test_dots_dead_and_marked_neurons() -> None:
    layout = sunflower(50, n_dead=3)
    mask = np.zeros(50, dtype=bool)
    mask[[1, 5]] = True
    counts = [len(dots.get_offsets()) for dots in dots_of(plot_topomap(np.arange(50.0), layout, mask=mask))]
    assert counts == [47, 3, 2]
    same = [len(dots.get_offsets()) for dots in dots_of(plot_topomap(np.arange(50.0), layout, mask=[1, 5], dots=False))]
    assert same == [2]
    crowd = sunflower(700)
    assert not dots_of(plot_topomap(np.arange(700.0), crowd))
    assert len(dots_of(plot_topomap(np.arange(700.0), crowd, dots=True))) == 1


def test_noise_fades_what_is_below_it(disc: Layout) -> None:
    values = waves(disc, 1)[0]
    noise = np.full(disc.n_neurons, 0.4)
    ax = plot_topomap(values, disc, noise=noise)
    alpha, field = np.asarray(ax.images[0].get_alpha()), np.ma.filled(ax.images[0].get_array(), np.nan)
    assert alpha[np.abs(field) < 0.3].max() < 0.3
    np.testing.assert_array_equal(alpha[np.abs(field) > 0.5], 1)
    assert "noise" in [text.get_text() for text in ax.images[0].colorbar.ax.texts]
    ax = plot_topomap(values, disc, noise=0.4)
    np.testing.assert_array_equal(np.asarray(ax.images[0].get_alpha()), alpha)


def contour_points(ax: plt.Axes) -> np.ndarray:
    (lines,) = [artist for artist in ax.collections if isinstance(artist, ContourSet)]
    return np.vstack([path.vertices for path in lines.get_paths() if len(path.vertices)])


def test_contours_stay_out_of_the_noise(disc: Layout) -> None:
    values = waves(disc, 1)[0]
    surface = Surface(disc, resolution=200, extrapolate="mean")
    for noise, within in ((None, True), (0.5, False)):
        points = contour_points(plot_topomap(values, disc, noise=noise, limits=1.0))
        column, row = np.rint((points * [1, -1] + 1) * 100 - 0.5).astype(int).T.clip(0, 199)
        assert (np.abs(surface(values)[row, column]) < 0.45).any() == within
    everywhere = plot_topomap(values, disc, noise=9.0)
    assert not [artist for artist in everywhere.collections if isinstance(artist, ContourSet)]


def test_contours_of_free_layouts_end_within_the_hull() -> None:
    layout = Layout(positions=sunflower(80).positions * [0.9, 0.4], region="disc")
    ax = plot_topomap(waves(layout, 1)[0], layout)
    hull = Delaunay(layout.positions)
    assert (hull.find_simplex(contour_points(ax)) >= 0).all()


@pytest.mark.parametrize("extrapolate", ["none", "mean"])
def test_dead_cells_are_covered(extrapolate: str) -> None:
    places = sunflower(120).positions
    layout = Layout(positions=places, region="disc", dead=np.arange(120) < 3)
    ax = plot_topomap(waves(layout, 1)[0], layout, extrapolate=extrapolate)
    (cells,) = [artist for artist in ax.collections if type(artist) is PolyCollection]
    assert len(cells.get_paths()) == 3
    assert same_color(cells.get_facecolor(), style.DEAD_CELL)  # as in films
    held = [path.contains_points(places).nonzero()[0].tolist() for path in cells.get_paths()]
    assert sorted(held) == [[0], [1], [2]]


def test_a_thin_rim_is_filled_and_a_gap_is_not() -> None:
    filled, values = sunflower(200), np.ones(200)
    disc_share = np.pi / 4
    shown = np.ma.filled(plot_topomap(values, filled).images[0].get_array(), np.nan)
    assert np.isfinite(shown).mean() >= disc_share - 0.01
    half = Layout(positions=filled.positions * 0.5, region="disc")
    shown = np.ma.filled(plot_topomap(values, half).images[0].get_array(), np.nan)
    assert np.isfinite(shown).mean() < 0.4 * disc_share


def test_borders_run_between_dissimilar_neighbours() -> None:
    layout = sunflower(40)
    x = layout.positions[:, 0]
    rows = np.sin(np.arange(30.0))[:, None] * (x > 0) + np.cos(np.arange(30.0))[:, None] * (x <= 0)
    similarity = correlate(rows + 1e-3 * np.sin(np.outer(np.arange(30.0), np.arange(40))))
    ax = plot_topomap(x, layout, borders=similarity, contours=0)
    (walls,) = [artist for artist in ax.collections if type(artist).__name__ == "LineCollection"]
    dark = [line for line, color in zip(walls.get_segments(), walls.get_colors(), strict=True) if color[3] > 0.5]
    assert len(dark) >= 5
    spacing = 2 / np.sqrt(40)
    assert all(np.abs(line[:, 0]).max() < spacing or np.hypot(*line.T).max() > 1 for line in dark)
    with pytest.raises(ValueError, match="expected 40, got 3"):
        plot_topomap(x, layout, borders=correlate(np.random.default_rng(0).normal(size=(9, 3))))


@pytest.mark.parametrize("n", [1, 2, 3])
@pytest.mark.parametrize("region", ["disc", "square", "hull"])
@pytest.mark.parametrize("interpolation", ["linear", "nearest"])
def test_few_neurons(n: int, region: str, interpolation: str) -> None:
    layout = Layout(positions=0.5 * np.eye(3, 2)[:n], region=region)
    ax = plot_topomap(np.arange(n) - 1.0, layout, interpolation=interpolation, noise=0.5, resolution=30)
    assert np.isfinite(np.ma.filled(ax.images[0].get_array(), np.nan)).any()
    ax.figure.canvas.draw()


def test_given_axes_are_used(disc: Layout) -> None:
    figure, axes = plt.subplots(1, 2)
    assert plot_topomap(waves(disc, 1)[0], disc, ax=axes[1], title="right") is axes[1]
    assert axes[1].get_title() == "right" and not axes[0].images
    assert plt.get_fignums() == [figure.number]


def test_errors_say_what_to_do(disc: Layout) -> None:
    values = waves(disc, 2)
    with pytest.raises(ValueError, match="layout's 120 neurons; got \\(119,\\)"):
        plot_topomap(values[0, :-1], disc)
    with pytest.raises(ValueError, match="Plot one row"):
        plot_topomap(values, disc)
    with pytest.raises(ValueError, match="1 of 120 neurons, the first at 4"):
        plot_topomap(np.where(np.arange(120) == 4, np.nan, values[0]), disc)
    with pytest.raises(ValueError, match="Did you mean 'disc'"):
        plot_topomap(values[0], disc, region="disk")
    with pytest.raises(ValueError, match="extrapolate must be one of 'auto'"):
        plot_topomap(values[0], disc, extrapolate="head")
    with pytest.raises(ValueError, match="mask must be boolean"):
        plot_topomap(values[0], disc, mask=[1, 500])
    with pytest.raises(ValueError, match="expected 120"):
        plot_topomap(values[0], disc, mask=np.ones(3, dtype=bool))
    with pytest.raises(ValueError, match="dots must be"):
        plot_topomap(values[0], disc, dots="yes")
    with pytest.raises(ValueError, match="contours must be at least 0"):
        plot_topomap(values[0], disc, contours=-1)
    for bad in ("a", 2.5):
        with pytest.raises(ValueError, match="contours must be a whole number of at least 0; got"):
            plot_topomap(values[0], disc, contours=bad)
    with pytest.raises(ValueError, match="resolution must be a whole number of at least 2"):
        plot_topomap(values[0], disc, resolution=50.5)
    with pytest.raises(ValueError, match="borders must be of type Similarity; got bool"):
        plot_topomap(values[0], disc, borders=True)
    with pytest.raises(
        ValueError, match=r"noise must have shape \(n_neurons,\) with the layout's 120 neurons; got \(2,\)"
    ):
        plot_topomap(values[0], disc, noise=[1, 2])
    with pytest.raises(ValueError, match=r"noise must be at least 0; got -1\.0"):
        plot_topomap(values[0], disc, noise=-1)
    with pytest.raises(ValueError, match=r"layout must be of type Layout; got ndarray\. Values come first"):
        plot_topomap(disc, values[0])
    with pytest.raises(ValueError, match="one number per neuron; got Layout"):
        plot_topomap(disc, disc)
    assert not plt.get_fignums()


def test_a_pdf_keeps_text_as_text(disc: Layout) -> None:
    ax = plot_topomap(waves(disc, 1)[0], disc, title="one map")
    buffer = io.BytesIO()
    with style.rc(dpi=50):
        ax.figure.savefig(buffer, format="pdf")
    data = buffer.getvalue()
    assert b"/FontFile2" in data and b"/Type3" not in data
    images = re.findall(rb"/Subtype /Image", data)
    assert 1 <= len(images) <= 4  # the field and the colour bar, each with its mask


def test_bars_of_given_axes_keep_off_their_neighbours(disc: Layout) -> None:
    values = waves(disc, 1)[0]
    figure, axes = plt.subplots(1, 3, figsize=(7, 2.5))
    plot_topomap(values, disc, ax=axes[0], noise=0.2)
    plot_layout(disc, values, ax=axes[1])
    plot_topomap(values, disc, ax=axes[2])
    free = plot_topomap(values, disc, ax=figure.add_axes((0, 0, 1, 0.2)))
    figure.canvas.draw()
    boxes = [ax.get_tightbbox() for ax in axes]
    assert boxes[0].x1 < boxes[1].x0 and boxes[1].x1 < boxes[2].x0 and boxes[2].x1 < figure.bbox.x1
    assert free.get_tightbbox().x1 < figure.bbox.x1


def test_powers_of_ten_are_as_small_as_the_numbers(disc: Layout) -> None:
    bar = plot_topomap(1e6 * waves(disc, 1)[0], disc).images[0].colorbar
    bar.ax.figure.canvas.draw()
    assert bar.ax.yaxis.get_offset_text().get_text() == "1e6"
    assert bar.ax.yaxis.get_offset_text().get_size() == style.SMALL


@picture
def test_picture_topomap() -> plt.Figure:
    layout = sunflower(160, n_dead=5)
    values = waves(layout, 1)[0]
    ax = plot_topomap(
        values, layout, noise=0.15, mask=np.argsort(values)[-4:], limits=0.9, label="activation (SD)", title="One map"
    )
    return ax.figure
