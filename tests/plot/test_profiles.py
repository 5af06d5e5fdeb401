from __future__ import annotations

import itertools

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.figure import Figure

from topomap.layout import Layout
from topomap.plot import plot_profiles, style
from topomap.profiles import profile
from topomap.run import Activations

from .conftest import make_acts, picture, sunflower


def maps_of(figure: Figure) -> list[plt.Axes]:
    return [ax for ax in figure.axes if ax.images and not ax.axison]


def titles_of(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts if "(n = " in text.get_text()]


def check_texts(figure: Figure) -> None:
    """No text is cut off or overlaps another."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    frame = figure.bbox
    texts = [*figure.texts]
    for ax in figure.axes:
        texts += [*ax.texts, ax.title, ax.xaxis.label, ax.yaxis.label]
        if ax.axison:
            low, high = sorted(ax.get_xlim())
            ticks = zip(ax.get_xticks(), ax.get_xticklabels(), strict=True)
            texts += [label for place, label in ticks if low <= place <= high]
    boxes = [(text.get_text(), text.get_window_extent(renderer)) for text in texts if text.get_text().strip()]
    assert len(boxes) > 2
    for text, box in boxes:
        assert box.x0 >= frame.x0 - 1 and box.x1 <= frame.x1 + 1, text
        assert box.y0 >= frame.y0 - 1 and box.y1 <= frame.y1 + 1, text
    for (one, a), (other, b) in itertools.combinations(boxes, 2):
        wide = min(a.x1, b.x1) - max(a.x0, b.x0)
        high = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert wide <= 1 or high <= 1, (one, other)


def test_panels_share_one_scale_and_one_bar(acts: Activations, disc: Layout) -> None:
    profiles = profile(acts, by="label")
    figure = plot_profiles(profiles, disc, limits="max")
    maps = maps_of(figure)
    largest = np.abs(profiles.scaled[:, ~disc.dead]).max()
    assert len(maps) == 4
    for ax in maps:
        assert ax.images[0].get_clim() == pytest.approx((-largest, largest))
    bars = [ax for ax in figure.axes if ax not in maps]
    assert len(bars) == 1 and "standard deviations" in bars[0].get_xlabel()


def test_groups_follow_the_dendrogram_or_the_user(acts: Activations, disc: Layout) -> None:
    profiles = profile(acts, by="label")
    names = [title.split(" (n")[0] for title in titles_of(plot_profiles(profiles, disc))]
    assert names == [profiles.names[i] for i in profiles.order]
    names = [title.split(" (n")[0] for title in titles_of(plot_profiles(profiles, disc, order="given"))]
    assert names == list(profiles.names)
    titles = titles_of(plot_profiles(profiles, disc, groups=["star", "circle"]))
    assert titles == ["star (n = 12)", "circle (n = 12)"]


def test_maps_are_faded_below_the_noise_floor(acts: Activations, disc: Layout) -> None:
    profiles = profile(acts, by="label")
    figure = plot_profiles(profiles, disc)
    for ax in maps_of(figure):
        alpha = np.asarray(ax.images[0].get_alpha())
        assert alpha.min() < 0.3 and alpha.max() == 1
    assert any("noise floor" in text.get_text().replace("\n", " ") for text in figure.texts)
    plain = plot_profiles(profiles, disc, noise=False)
    assert all(ax.images[0].get_alpha() is None for ax in maps_of(plain))
    assert not any("noise" in text.get_text() for text in plain.texts)


def test_plain_means_are_sequential_and_not_faded(disc: Layout) -> None:
    acts = make_acts(disc)
    acts = Activations(np.abs(acts.values), acts.inputs)
    figure = plot_profiles(profile(acts, by="label", contrast="none"), disc)
    for ax in maps_of(figure):
        assert ax.images[0].get_cmap() is style.sequential()
        assert ax.images[0].get_alpha() is None


def test_the_caption_says_what_was_done(acts: Activations, disc: Layout) -> None:
    def caption(figure: Figure) -> str:
        return figure.texts[-1].get_text().replace("\n", " ")

    text = caption(plot_profiles(profile(acts, by="label"), disc, limits=0.5))
    for part in (
        "Layer conv2 (reduction: mean): 120 neurons, 6 dead (grey)",
        "layout sunflower",
        "48 inputs",
        "minus the mean over groups",
        "standard deviations of each neuron",
        "beyond the scale",
    ):
        assert part in text
    raw = profile(acts, by="label", preset="krug2023")
    assert "raw units" in caption(plot_profiles(raw, disc, preset="krug2023"))
    assert caption(plot_profiles(raw, disc, caption="My own.")) == "My own."
    assert caption(plot_profiles(raw, disc, caption=False)) == ""


def test_the_2023_look(acts: Activations) -> None:
    layout = Layout(positions=sunflower(120).positions, region="square")
    profiles = profile(acts, by="label", preset="krug2023")
    figure = plot_profiles(profiles, layout, preset="krug2023")
    largest = np.abs(profiles.values).max()
    for ax in maps_of(figure):
        assert ax.images[0].get_cmap().name == "bwr"
        assert ax.images[0].get_clim() == pytest.approx((-largest, largest))
        assert ax.images[0].get_array().shape == (100, 100)
        assert not ax.collections and not ax.patches
    with pytest.raises(ValueError, match="krug2023"):
        plot_profiles(profiles, layout, preset="krug")
    own = plot_profiles(
        profiles,
        layout,
        preset="krug2023",
        cmap="viridis",
        limits=9,
        noise=True,
        contours=2,
        outline=True,
        resolution=30,
    )
    for ax in maps_of(own):
        (image,) = ax.images
        assert image.get_cmap().name == "viridis" and image.get_clim() == (-9, 9)
        assert image.get_array().shape == (30, 30) and image.get_alpha() is not None and ax.patches
    plain = plot_profiles(profile(acts, by="label"), disc_like(layout), preset="krug2023", region="disc")
    assert np.ma.getmaskarray(maps_of(plain)[0].images[0].get_array())[0, 0]


def disc_like(layout: Layout) -> Layout:
    return Layout(positions=layout.positions, region="disc")


def test_groups_of_different_size_have_a_range_of_noise(acts: Activations, disc: Layout) -> None:
    def marks(figure: Figure) -> tuple[str, int, str]:
        (bar,) = [ax for ax in figure.axes if ax not in maps_of(figure)]
        ends = [line for line in bar.lines if len(set(line.get_xdata())) == 1]
        return bar.texts[0].get_text(), len(ends), figure.texts[-1].get_text().replace("\n", " ")

    word, ends, caption = marks(plot_profiles(profile(acts, by="label"), disc))
    assert (word, ends) == ("noise", 2) and "by group" not in caption
    few = acts.select(where=np.arange(48) >= 9)  # three circles are left
    profiles = profile(few, by="label", min_size=1)
    word, ends, caption = marks(plot_profiles(profiles, disc))
    floors = np.median(profiles.scaled_noise[:, ~disc.dead], axis=1)
    assert (word, ends) == ("noise, by group", 4)
    assert f"median ±{floors.min():.2g} to ±{floors.max():.2g} by group" in caption
    word, ends, caption = marks(plot_profiles(profile(few, by="label"), disc))
    assert (word, ends) == ("noise", 2)  # that of groups of too few inputs, which are pale anyway, is left out


def test_captions_say_whose_inputs_are_shown_against_what(acts: Activations, disc: Layout) -> None:
    site = acts.with_labels(site=np.where(np.arange(48) < 7, "", np.where(np.arange(48) % 2, "left", "right")))
    figure = plot_profiles(profile(site, by="site", n_per_group=9, weights="size"), disc, resolution=20)
    caption = figure.texts[-1].get_text().replace("\n", " ")
    assert "48 inputs by site (7 in no group), at most 9 drawn per group" in caption
    assert figure.axes[-1].get_xlabel().startswith("difference from the average input")


def test_bar_of_given_axes_keeps_off_their_neighbours(acts: Activations, disc: Layout) -> None:
    figure, axes = plt.subplots(1, 3, figsize=(7, 2.5))
    plot_profiles(profile(acts, by="label"), disc, groups=["star", "circle"], ax=axes[:2], resolution=20)
    (bar,) = [ax for ax in figure.axes if ax not in axes]
    figure.canvas.draw()
    assert bar.get_tightbbox().x1 <= axes[2].get_window_extent().x0


def pictures_of(figure: Figure) -> list[np.ndarray]:
    return [np.asarray(ax.images[0].get_array()) for ax in figure.axes if ax.images and ax.axison]


def test_examples_are_correct_inputs_of_the_group(acts: Activations, disc: Layout) -> None:
    profiles = profile(acts, by="label")
    thumbnails = acts.inputs.thumbnails
    assert thumbnails is not None
    for examples in (acts, acts.inputs):
        shown = pictures_of(plot_profiles(profiles, disc, order="given", examples=examples))
        np.testing.assert_array_equal(shown, thumbnails[[0, 12, 24, 36]])
    wrong_first = acts.select(where=np.arange(48) >= 6)  # the first input left of group 0 is misclassified
    shown = pictures_of(plot_profiles(profile(wrong_first, by="label"), disc, order="given", examples=wrong_first))
    np.testing.assert_array_equal(shown[0], thumbnails[7])


def test_mean_and_given_examples(acts: Activations, disc: Layout) -> None:
    profiles = profile(acts, by="label")
    shown = pictures_of(plot_profiles(profiles, disc, order="given", examples=acts, example="mean"))
    np.testing.assert_array_equal(shown[2], acts.inputs.thumbnails[24])  # pictures of a group are alike
    color = np.zeros((5, 4, 3), dtype=np.uint8)
    assert len(pictures_of(plot_profiles(profiles, disc, examples={"star": color}))) == 1
    with pytest.raises(ValueError, match="Did you mean 'star'"):
        plot_profiles(profiles, disc, examples={"stra": color})
    with pytest.raises(ValueError, match="thumbnails"):
        plot_profiles(profiles, disc, examples=make_acts(disc))
    by_size = profile(acts, by=np.arange(48) % 2)
    with pytest.raises(ValueError, match="mapping from group names"):
        plot_profiles(by_size, disc, examples=acts)


@pytest.mark.parametrize(
    ("n", "width"),
    [(1, None), (1, "double"), (2, None), (3, None), (3, "double"), (3, 2), (10, "single"), (10, None), (40, None)],
)
def test_text_is_never_cut_or_overlapping(n: int, width: str | int | None) -> None:
    layout = sunflower(30)
    acts = make_acts(layout, n_groups=max(n, 2), per_group=2, pictures=True)
    names = [f"group {i}" + " of a rather long name_without_end" * (i % 3) for i in range(n)]
    label = np.array([*names, ""], dtype=object)[np.minimum(acts.inputs["label"], n)]
    profiles = profile(acts.with_labels(name=label), by="name", contrast="mean" if n > 1 else "none")
    figure = plot_profiles(profiles, layout, width=width, resolution=20)
    inches = width if isinstance(width, int) else style.WIDTHS[width or ("single" if n <= 3 else "double")]
    assert figure.get_size_inches()[0] == inches
    assert len(maps_of(figure)) == n
    check_texts(figure)


def test_captions_keep_within_a_coarse_screen(acts: Activations, disc: Layout) -> None:
    figure = plot_profiles(profile(acts, by="label"), disc, width="single", resolution=20)
    for dpi in (50, 60, 72):
        figure.set_dpi(dpi)
        check_texts(figure)


def test_ten_classes_fill_two_rows_of_a_page(disc: Layout) -> None:
    acts = make_acts(disc, n_groups=10, per_group=3, pictures=True)
    figure = plot_profiles(profile(acts, by="label"), disc, examples=acts, resolution=20)
    boxes = [ax.get_position() for ax in maps_of(figure)]
    assert len({round(box.y0, 3) for box in boxes}) == 2
    assert len({round(box.x0, 3) for box in boxes}) == 5
    check_texts(figure)
    row = plot_profiles(profile(acts, by="label"), disc, columns=10, resolution=20)
    assert len({round(ax.get_position().y0, 3) for ax in maps_of(row)}) == 1


def test_given_axes(acts: Activations, disc: Layout) -> None:
    profiles = profile(acts, by="label")
    figure, axes = plt.subplots(2, 2)
    assert plot_profiles(profiles, disc, ax=axes) is figure
    assert [len(ax.images) for ax in axes.ravel()] == [1, 1, 1, 1]
    assert len(figure.axes) == 5
    with pytest.raises(ValueError, match="expected 4, got 2"):
        plot_profiles(profiles, disc, ax=axes[0])
    with pytest.raises(ValueError, match="leave ax or examples out"):
        plot_profiles(profiles, disc, ax=axes, examples=acts)


def test_errors_say_what_to_do(acts: Activations, disc: Layout) -> None:
    profiles = profile(acts, by="label")
    with pytest.raises(ValueError, match="Did you mean 'circle'"):
        plot_profiles(profiles, disc, groups=["cirlce"])
    with pytest.raises(ValueError, match="at least one group"):
        plot_profiles(profiles, disc, groups=[])
    with pytest.raises(ValueError, match="layout's 30 neurons"):
        plot_profiles(profiles, sunflower(30))
    with pytest.raises(ValueError, match="order must be one of"):
        plot_profiles(profiles, disc, order="size")
    with pytest.raises(ValueError, match="columns must be at least 1"):
        plot_profiles(profiles, disc, columns=0)
    layout = sunflower(10)
    many = profile(make_acts(layout, n_groups=101, per_group=1), by="label")
    with pytest.raises(ValueError, match=r"at most 100 groups; got 101 by label. Name those to draw with groups="):
        plot_profiles(many, layout)
    with pytest.raises(ValueError, match=r"must be of type Profiles; got Activations. Make them with tm\.profile"):
        plot_profiles(acts, disc)
    with pytest.raises(ValueError, match="layout must be of type Layout; got Profiles"):
        plot_profiles(profiles, profiles)
    with pytest.raises(ValueError, match=r"Pass borders=tm\.correlate"):
        plot_profiles(profiles, disc, borders=True)
    assert not plt.get_fignums()  # nothing is left half-drawn


@picture
def test_picture_profiles() -> Figure:
    layout = sunflower(160, n_dead=5)
    acts = make_acts(layout, n_groups=6, pictures=True)
    return plot_profiles(profile(acts, by="label"), layout, examples=acts)
