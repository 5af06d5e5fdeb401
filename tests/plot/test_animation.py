from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import topomap as tm
from topomap.plot import movie, style
from topomap.plot.curves import draw_curves
from topomap.plot.frames import blot, pack, rgb
from topomap.plot.montage import describe_film
from topomap.plot.panel import fade
from topomap.plot.stage import frame_of, make_plan, margin_of
from topomap.training import Places, StepQuality

SMALL: dict[str, Any] = {"width": 640, "height": 320, "progress": False}


@pytest.fixture(scope="module")
def run(training: tm.Run) -> tm.Run:
    return training


@pytest.fixture(scope="module")
def film(run: tm.Run) -> tm.Film:
    return tm.animate(run, "fc", between=1, fps=10, **SMALL)


def centre_of(film: tm.Film, place: int, neuron: int) -> tuple[int, int]:
    """Row and column of the pixel at a neuron's place in one of the maps."""
    box = film.painter.stage.plan.maps[place]
    x, y = film.places.at(0).positions[neuron] / frame_of(box.w)
    return int(box.y + (1 - y) / 2 * box.h), int(box.x + (x + 1) / 2 * box.w)


def test_frames_are_drawn_when_they_are_asked_for(film: tm.Film) -> None:
    assert len(film) == len(film.frames) == 9
    assert film.steps == (0, 1, 2, 4, 8)
    frame = film.frames[-1]
    assert frame.shape == (320, 640, 3)
    assert frame.dtype == np.uint8
    np.testing.assert_array_equal(frame, film.frames[8])
    assert [f.shape for f in film.frames[2:4]] == [(320, 640, 3)] * 2
    with pytest.raises(IndexError):
        film.frames[9]


def test_pixels_are_what_the_surface_and_the_scale_say(run: tm.Run, film: tm.Film) -> None:
    """A frame against the static route: Surface, colour map and fading, at every pixel well inside the map."""
    maps, plan = film.maps, film.painter.stage.plan
    at = maps.titles.index("dog")
    box = plan.maps[at]
    margin = margin_of(box.w)
    resolution = box.w - 2 * margin
    for step in (0, 2):  # before any neuron but the first is dead
        layout = tm.Layout(film.places.at(0).positions, "disc", dead=maps.dead[step])
        field = tm.Surface(layout, resolution=resolution, extrapolate="mean")(maps.values[step, at])
        scale = film.painter.scale
        opacity = fade(field, np.full(field.shape, maps.floors[step, at]))[..., None]
        expected = 255 * (scale.cmap(scale.norm(field))[..., :3] * opacity + 1 - opacity)
        frame = film.frames[2 * step].astype(float)
        seen = frame[box.y + margin :, box.x + margin :][:resolution, :resolution]
        dead = np.all(seen == rgb(style.DEAD_CELL), axis=2)
        steps = (2 * np.arange(resolution) + 1) / resolution - 1
        inside = (np.hypot(*np.meshgrid(steps, steps)) < 0.9) & ~dead
        # the dead neuron takes no part in either, by weights here and by other triangles there: away from it
        place = layout.positions[0]
        away = np.hypot(steps - place[0], -steps[:, None] - place[1]) > 0.6
        assert np.abs(seen - expected)[inside & away].max() <= 6  # of 255: 1,024 levels here and 255 there
    assert away.mean() > 0.5


def test_dead_neurons_are_grey_from_the_step_at_which_they_die(film: tm.Film) -> None:
    for place in range(3):
        for neuron, dies in ((0, 0), (37, 3)):
            row, column = centre_of(film, place, neuron)
            for step in range(5):
                grey = (film.frames[2 * step][row, column] == rgb(style.DEAD_CELL)).all()
                assert grey == (step >= dies), (place, neuron, step)


def test_only_maps_marks_and_readout_change(film: tm.Film) -> None:
    plan = film.painter.stage.plan
    changed = (film.frames[0] != film.frames[8]).any(axis=2)
    for box in (*plan.maps, plan.curve, plan.quality):
        assert box is not None
        assert changed[box.y : box.y + box.h, box.x : box.x + box.w].any()
        changed[box.y - 8 : box.y + box.h + 8, box.x - 8 : box.x + box.w + 8] = False
    changed[: round(plan.px(14)), 200:] = False  # step, loss, accuracy
    assert not changed.any()


def test_the_mark_moves_along_the_curve(film: tm.Film) -> None:
    box = film.painter.stage.plan.curve
    rows, columns = slice(box.y, box.y + box.h), slice(box.x + 3, box.x + box.w - 3)
    found = []
    for frame in film.frames[1:-1]:
        ink = (frame[rows, columns] == rgb(style.INK)).all(axis=2).mean(axis=0)
        found.append(float(np.flatnonzero(ink > 0.5).mean()))
    assert (np.diff(found) > 0).all()
    # steps 0, 1, 2, 4, 8 on a linear axis
    np.testing.assert_allclose(np.diff(found), np.array([0.5, 0.5, 0.5, 1, 1, 2]) * box.w / 8, atol=1.5)


def test_what_is_logged_at_some_steps_alone_is_drawn(run: tm.Run) -> None:
    gaps = {"loss": np.array([np.inf, np.nan, 1.0, np.nan, 0.5]), "none": np.full(5, np.nan)}
    film = tm.animate(replace(run, metrics=gaps), "fc", metrics=["loss", "none"], quality=False, **SMALL)
    stage = film.painter.stage
    color, rows = stage.lines["loss"]
    assert np.isfinite(rows).tolist() == [False, False, True, False, True]
    middle = round(stage.x[0][3]), round((rows[2] * 2 + rows[4]) / 3)  # step 4 lies on the way from step 2 to step 8
    seen = stage.picture[middle[1] - 1 : middle[1] + 2, middle[0]].copy().view(np.uint8).reshape(-1, 4)[:, :3]
    assert np.abs(seen - rgb(color)).max(axis=1).min() < 60
    ends = [film.painter.readout(i).split("   ") for i in (0, 1, 2)]
    assert [words[1].split() for words in ends] == [["loss", "inf"], ["loss", "–"], ["loss", "1.000"]]
    assert len(ends[1][1]) == len(ends[2][1])  # nothing else moves
    assert all(len(words) == 3 for words in ends)  # a metric that was never logged is not read out


def test_names_of_curves_fit_beside_each_other(run: tm.Run) -> None:
    from matplotlib.figure import Figure

    film = tm.animate(run, "fc", **SMALL)
    for wide, names in ((4, ("neighbours alike", "10 nearest kept")), (1.2, ("alike", "10 nearest kept")),
                        (0.8, ("alike", "kept"))):  # fmt: skip
        figure = Figure(figsize=(10, 2))
        axes = [figure.add_axes((0, 0, 0.2, 1)), figure.add_axes((0.3, 0, wide / 10, 1))]
        draw_curves(axes, film.maps.steps, {}, film.quality)
        assert tuple(text.get_text() for text in axes[1].texts) == names


def test_in_between_frames_are_in_between(film: tm.Film) -> None:
    assert film.times.tolist() == [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4]
    row, column = centre_of(film, film.maps.titles.index("emu"), 25)
    shades = [int(film.frames[i][row, column].astype(int).sum()) for i in (4, 5, 6, 7, 8)]
    assert shades == sorted(shades, reverse=True)  # it comes to serve emu: darker and darker
    assert shades[0] > shades[-1]


def test_one_scale_for_the_whole_film(run: tm.Run) -> None:
    film = tm.animate(run, "fc", limits="max", quality=False, **SMALL)
    assert film.painter.scale.high == pytest.approx(np.abs(film.maps.values).max())
    given = tm.animate(run, "fc", limits=0.5, cmap="RdBu_r", quality=False, **SMALL)
    assert (given.painter.scale.low, given.painter.scale.high, given.painter.scale.extend) == (-0.5, 0.5, "both")


def test_small_groups_do_not_set_the_scale_and_are_pale(run: tm.Run) -> None:
    film = tm.animate(run, "fc", ("label", "correct"), quality=False, **SMALL)
    assert film.painter.stage.plan.rows == ("correct", "wrong")
    counting = film.maps.values[~film.maps.small & (film.maps.counts > 0)]
    assert film.painter.scale.high <= np.abs(counting).max()
    assert np.abs(film.maps.values).max() > film.painter.scale.high
    # the panel of dog's correct inputs is empty at the first step, when all inputs are called cats
    place = film.painter.panels.index(film.maps.titles.index("dog, correct"))
    row, column = centre_of(film, place, 15)
    assert (film.frames[0][row, column] == rgb(style.EMPTY)).all()


@pytest.mark.parametrize("keys", [[0, 4], [0, 1, 2, 3, 4]])
def test_captions_say_how_many_steps_were_laid_out_and_measured(film: tm.Film, keys: list[int]) -> None:
    some, (layout,) = "2 of the 5 steps" if len(keys) == 2 else "all steps", film.places.layouts
    steps, ones, dead = np.array(film.steps)[keys], np.ones(len(keys)), film.maps.always_dead
    joint = Places("joint", (layout,), np.array(keys[-1:]), 5, dead, {"steps": steps.tolist()})
    moving = Places("moving", (layout,) * len(keys), np.array(keys), 5, dead)
    quality = StepQuality(steps, np.array(keys), ones, ones, ones, 10)
    for places, words in ((joint, f"(of {some} together)"), (moving, f"(moving, laid out at {some})")):
        text = describe_film(film.maps, places, film.painter.scale, True, 0, True, quality=quality)
        assert words in text
        assert ("Curves of neighbours: measured at 2 of the 5 steps." in text) == (len(keys) == 2)


def test_films_and_strips_say_what_diverged(run: tm.Run) -> None:
    gone = replace(run, provenance={"training": {"diverged": {"6": "layer 'fc' has NaN"}}})
    film = tm.animate(gone, "fc", between=0, quality=False, **SMALL)
    assert film.steps == run.steps
    assert "Left out: step 6, at which the training had diverged." in " ".join(film.painter.stage.plan.caption)
    strip = tm.plot_filmstrip(gone, "fc", steps=2, progress=False)
    assert "Left out: step 6" in " ".join(text.get_text() for text in strip.texts)


def test_panels(run: tm.Run) -> None:
    moving = tm.animate(run, "fc", layout="moving", quality=False, **SMALL)
    assert moving.painter.stage.plan.dots is not None
    assert moving.fps == 24
    slow = tm.animate(run, "fc", layout="moving", quality=False, fps=12, **SMALL)
    assert len(slow) / 12 == pytest.approx(len(moving) / 24, rel=0.1)  # as many seconds, of fewer frames
    way = moving.places.moves()
    assert (
        np.diff(np.flatnonzero(moving.times == np.round(moving.times))).tolist()
        == (np.clip(np.ceil(way / 0.03) - 1, 1, 35) + 1).astype(int).tolist()
    )
    alone = tm.animate(run, "fc", panels="layout", quality=False, **SMALL)
    assert alone.painter.stage.plan.maps == ()
    plan = alone.painter.stage.plan.dots
    assert plan is not None
    x, y = alone.places.at(0).positions[15] / frame_of(plan.w)
    row, column = int(plan.y + (1 - y) / 2 * plan.h), int(plan.x + (x + 1) / 2 * plan.w)
    color = alone.painter.colors[alone.maps.titles.index("dog")]
    assert (alone.frames[-1][row, column] == rgb(color)).all()  # neuron 15 has come to serve dogs
    beside = alone.frames[0][plan.y : plan.y + plan.h, plan.x + plan.w :]
    for color in alone.painter.colors:  # no map is there to name it
        assert (beside == rgb(color)).all(axis=2).any()
    several = tm.animate(
        run, "fc", panels=["groups", "difference", "inputs"], difference=("cat", "dog"), inputs=[3], quality=False,
        **SMALL,
    )  # fmt: skip
    assert several.maps.kinds == ("groups",) * 3 + ("difference", "inputs")
    assert several.frames[0].shape == (320, 640, 3)
    pair = tm.animate(run, "fc", difference=("cat", "dog"), layout="moving", between=0, quality=False, **SMALL)
    assert pair.painter.stage.plan.dots is None  # dots without groups would have no colours


def test_regions_and_given_layouts(run: tm.Run) -> None:
    for region in ("square", "hexagon", np.tri(30, dtype=bool)):
        film = tm.animate(run, "fc", region=region, quality=False, **SMALL)
        assert np.ptp(film.frames[-1].astype(int)) > 0
    hull = tm.Layout(np.random.default_rng(0).normal(size=(40, 2)))
    assert tm.animate(run, "fc", layout=hull, **SMALL).frames[3].shape == (320, 640, 3)


def test_mistakes_name_the_way_out(run: tm.Run) -> None:
    for options, words in (
        ({"layout": "lats"}, "layout must be one of 'last', 'first', 'joint', 'moving'.*Did you mean 'last'"),
        ({"panels": "difference"}, r"pass difference=\('cat', 'dog'\)"),
        ({"panels": "groups", "inputs": [1]}, "add 'inputs' to panels"),
        ({"difference": "cat"}, "difference must be a pair of two groups"),
        ({"difference": ("cat", "cat")}, "difference must be a pair of two groups"),
        ({"groups": []}, "groups must name at least one group"),
        ({"steps": "all"}, "steps must be a number of steps, a list of them"),
        ({"metrics": ["los"]}, "Did you mean 'loss'"),
        ({"metrics": ["loss", "accuracy", "loss"]}, "at most two metrics"),
        ({"fps": 0}, "fps must be from 0.1 to 120"),
        ({"between": -1}, "between must be at least 0"),
        ({"columns": 1.5}, "columns must be a whole number of at least 1; got 1.5"),
        ({"width": 481}, "width must be an even number"),
        ({"height": 100}, "height must be at least 180"),
    ):
        with pytest.raises(ValueError, match=words):
            tm.animate(run, "fc", **{**SMALL, **options})
    with pytest.raises(ValueError, match="do not fit into 320 x 180 pixels"):
        make_plan((320, 180), 200, "", columns=None, dots=False, quality=True, bar=True)


# --- files ------------------------------------------------------------------------------------------------------------


def test_gif_holds_every_frame_title_and_time(film: tm.Film, tmp_path: Path) -> None:
    file = film.save(tmp_path / "a.gif", progress=False)
    assert file.read_bytes() == film.save(tmp_path / "b.gif", progress=False).read_bytes()
    with Image.open(file) as image:
        assert (image.n_frames, image.size) == (9, (640, 320))
        assert image.info["loop"] == 0
        spent = 0
        for i in range(9):
            image.seek(i)
            spent += image.info["duration"]
            seen = np.asarray(image.convert("RGB")).astype(int)
            off = np.abs(seen - film.frames[i])
            assert off.mean() < 1.5  # of 255: one palette for all frames
            assert np.percentile(off, 99.9) < 40
        assert spent == 900 + 1000 * movie.HOLD
    # the words above the maps are there in the last frame as in the first
    head = slice(0, round(film.painter.stage.plan.px(14)))
    assert (seen[head, :200].min(axis=2) < 90).sum() > 50
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.gif", "b.gif"]


def test_gif_of_a_film_in_which_nothing_changes(training: tm.Run, tmp_path: Path) -> None:
    still = training
    same = tm.Run.from_snapshots({0: still.at(8), 1: still.at(8)})
    film = tm.animate(same, "fc", between=2, quality=False, **SMALL)
    with Image.open(film.save(tmp_path / "still.gif", progress=False)) as image:
        image.seek(3)
        assert image.n_frames == 4


@pytest.mark.parametrize("suffix", [".mp4", ".webm"])
def test_videos_hold_every_frame(film: tm.Film, tmp_path: Path, suffix: str) -> None:
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    file = film.save(tmp_path / f"film{suffix}", progress=False)
    reader = imageio_ffmpeg.read_frames(str(file))
    about = next(reader)
    assert about["size"] == (640, 320)
    frames = [np.frombuffer(frame, dtype=np.uint8).reshape(320, 640, 3) for frame in reader]
    assert len(frames) == 9 + 15  # the last one stays for one and a half seconds
    for i in (0, 4, 8):
        assert np.abs(frames[i].astype(int) - film.frames[i]).mean() < 6
    assert [path.name for path in tmp_path.iterdir()] == [f"film{suffix}"]


def test_html_needs_nothing_else_and_escapes_names(run: tm.Run, tmp_path: Path) -> None:
    evil = "</script><script>alert(1)</script>\"'&<img src=x onerror=alert(2)>"
    film = tm.animate(run, "fc", title=evil, between=0, quality=False, **SMALL)
    page = film.save(tmp_path / "film.html", progress=False).read_text(encoding="utf-8")
    assert page.count("<script>") == page.count("</script>") == 1
    assert "onerror=alert(2)>" not in page
    assert page.count("data:image/webp;base64,") == len(film)
    assert "http://" not in page
    assert "https://" not in page
    assert "default-src 'none'" in page
    assert 'type="range"' in page
    for key in ("ArrowRight", "Home", '" "'):
        assert key in page


def test_notebooks_get_a_player_of_some_frames(film: tm.Film, monkeypatch: pytest.MonkeyPatch) -> None:
    from topomap.plot import player

    monkeypatch.setattr(player, "_IN_NOTEBOOK", 4)
    shown = film._repr_html_()
    assert shown.startswith("<iframe srcdoc=")
    assert shown.count("data:image/webp") == 4
    assert "4 of 9 frames" in shown
    assert "<script" not in shown  # all of the page is inside an attribute


def test_a_missing_codec_names_what_works(film: tm.Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(movie, "_ffmpeg", lambda: None)
    with pytest.raises(ValueError, match=r'pip install "topomap\[video\]", or save as .gif or .html'):
        film.save(tmp_path / "film.mp4")
    monkeypatch.setattr(movie, "_ffmpeg", lambda: "ffmpeg")
    monkeypatch.setattr(movie, "_encoders", lambda _: frozenset({"libx264"}))
    with pytest.raises(ValueError, match=r"ffmpeg has no libvpx-vp9.*\.gif or \.html or \.mp4"):
        film.save(tmp_path / "film.webm")
    with pytest.raises(ValueError, match=r"the suffix of .* must be one of '\.gif', '\.html', '\.mp4', '\.webm'"):
        film.save(tmp_path / "film.avi")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("suffix", [".gif", ".mp4", ".html"])
def test_interrupted_or_failed_nothing_is_left(
    film: tm.Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    if suffix == ".mp4":
        pytest.importorskip("imageio_ffmpeg")
    file = tmp_path / f"film{suffix}"
    file.write_bytes(b"the film of yesterday")
    painter, calls = type(film.painter), []
    paint = painter.paint

    def stop(self: Any, time: float) -> Any:
        calls.append(time)
        if len(calls) > 3:
            raise KeyboardInterrupt
        return paint(self, time)

    monkeypatch.setattr(painter, "paint", stop)
    with pytest.raises(KeyboardInterrupt):
        film.save(file, progress=False)
    assert file.read_bytes() == b"the film of yesterday"
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


def test_what_ffmpeg_says_is_passed_on(film: tm.Film, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if movie._ffmpeg() is None and shutil.which("ffmpeg") is None:
        pytest.importorskip("imageio_ffmpeg")
    monkeypatch.setitem(movie._CODECS, ".mp4", ("libx264", ["-crf", "nonsense"]))
    with pytest.raises(OSError, match="ffmpeg could not write"):
        film.save(tmp_path / "film.mp4", progress=False)
    assert not list(tmp_path.iterdir())


# --- small parts ------------------------------------------------------------------------------------------------------


def test_blot_is_round_and_smooth() -> None:
    picture = np.full((21, 21), 0xFFFFFFFF, dtype="<u4")
    blot(picture, np.array([10.5]), np.array([10.5]), np.array([5.0]), np.array([[0.0, 0.0, 0.0]]))
    ink = 255 - picture.view(np.uint8).reshape(21, 21, 4)[..., 0].astype(float)
    assert ink.sum() / 255 == pytest.approx(np.pi * 25, rel=0.03)
    np.testing.assert_array_equal(ink, ink.T)
    np.testing.assert_array_equal(ink, ink[::-1])
    blot(picture, np.array([-3.0, 40.0]), np.array([0.0, 40.0]), np.array([2.0, 2.0]), np.zeros((2, 3)))  # off the page


def test_pack() -> None:
    assert pack(np.array([[1, 2, 3]], dtype=np.uint8)).tobytes() == b"\x01\x02\x03\xff"


# --- on paper ---------------------------------------------------------------------------------------------------------


def test_filmstrip(run: tm.Run, make_training: Callable[..., tm.Run]) -> None:
    figure = tm.plot_filmstrip(run, "fc", steps=3, progress=False)
    words = [text.get_text() for text in figure.texts]
    assert [w for w in words if w.startswith("step")] == ["step 0", "step 2", "step 8"]
    assert {"cat", "dog", "emu"} <= set(words)
    images = [image for ax in figure.axes for image in ax.images]
    assert len(images) == 9
    assert len({image.get_clim() for image in images}) == 1
    missing = tm.plot_filmstrip(run, "fc", ("label", "correct"), steps=[0, 8], progress=False)
    assert any(text.get_text() == "no inputs" for ax in missing.axes for text in ax.texts)
    pair = tm.plot_filmstrip(run, "fc", difference=("cat", "dog"), groups="emu", steps=2, progress=False)
    assert {"emu", "cat − dog"} <= {text.get_text() for text in pair.texts}
    dead = run.at(8)["fc"]
    dead = replace(dead, values=np.zeros_like(dead.values))
    dies = tm.Run.from_snapshots({0: run.at(0), 8: tm.Run(dead.inputs, {("fc", "none"): dead})})
    end = tm.plot_filmstrip(dies, "fc", layout="first", progress=False)
    assert sum(text.get_text() == "all dead" for ax in end.axes for text in ax.texts) == 3
    with pytest.raises(ValueError, match="a strip shows at most 12 snapshots"):
        tm.plot_filmstrip(make_training(tuple(range(14))), "fc", steps=14, progress=False)
