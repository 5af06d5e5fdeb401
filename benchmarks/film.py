"""Films: frames per second against matplotlib's FuncAnimation on the same figure, and a long film in bounded memory.

python benchmarks/film.py                 # both
python benchmarks/film.py ratio
python benchmarks/film.py long film.mp4   # 1,000 checkpoints x 2,048 neurons x 10 groups, 1280 x 720
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib as mpl
import numpy as np
from common import table

import topomap as tm
from topomap.plot import style
from topomap.plot.montage import choose_scale
from topomap.plot.panel import Ground, fade
from topomap.run import Moments
from topomap.run.moments import GroupMoments

N_GROUPS, SIZE = 10, (1280, 720)
KEYS = tuple((g,) for g in range(N_GROUPS))


class Snapshots(Mapping[int, tm.Run]):
    """Moments of a made-up training, each made when it is asked for, as a run folder reads them."""

    def __init__(self, n_steps: int, n_neurons: int, n_features: int = 128) -> None:
        rng = np.random.default_rng(0)
        self.n_steps, self.n_neurons = n_steps, n_neurons
        self.final = rng.normal(size=(N_GROUPS, n_neurons))
        self.start = 0.3 * rng.normal(size=(N_GROUPS, n_neurons))
        self.dies = rng.integers(0, 20 * n_steps, n_neurons)  # about one in twenty
        self.features = rng.normal(size=(N_GROUPS, n_features))
        self.noise = rng.normal(size=(n_neurons, n_features)).astype(np.float32)

    def __len__(self) -> int:
        return self.n_steps

    def __iter__(self) -> Any:
        return iter(range(self.n_steps))

    def __getitem__(self, step: int) -> tm.Run:
        if step not in range(self.n_steps):
            raise KeyError(step)
        way = step / max(self.n_steps - 1, 1)
        mean = (1 - way) * self.start + way * self.final + 0.02 * np.sin(step + self.final)
        alive = self.dies > step
        mean = mean * alive
        variance = np.where(alive, 1.0 + mean.var(axis=0), 0.0)
        counts = np.full(N_GROUPS, 100)
        group = GroupMoments(("label",), tuple(map(str, range(N_GROUPS))), KEYS, counts, mean, np.ones_like(mean))
        sketch = ((mean.T @ self.features).astype(np.float32) + self.noise) * alive[:, None]
        low = np.where(alive, -1.0, 0.0)
        moments = Moments(
            1_000, mean.mean(axis=0), variance, None, sketch, (group,), "fc", minimum=low, maximum=-low
        )  # fmt: skip
        return tm.Run(tm.Inputs(np.arange(0)), {("fc", "none"): moments}, {"n_inputs": 1_000})


def training(n_steps: int, n_neurons: int) -> tm.Run:
    snapshots = Snapshots(n_steps, n_neurons)
    loss = 2.3 * np.exp(-np.arange(n_steps) / n_steps * 4)
    last = snapshots[n_steps - 1]
    return tm.Run(last.inputs, last.records, {}, None, snapshots, {"loss": loss, "accuracy": 1 - loss / 2.6})


def peer(film: tm.Film) -> Any:
    """Make the same page as an informed user does: figure and images once, updated frame by frame."""
    from matplotlib.figure import Figure

    maps, plan = film.maps, film.painter.stage.plan
    scale = choose_scale(maps, None, None)
    ground = Ground.of(film.places.at(0.0), resolution=plan.maps[0].w)
    figure = Figure(figsize=(SIZE[0] / plan.dpi, SIZE[1] / plan.dpi), dpi=plan.dpi)
    images, titles = [], []
    for i, box in zip(film.painter.panels, plan.maps, strict=True):
        ax = figure.add_axes((box.x / SIZE[0], 1 - (box.y + box.h) / SIZE[1], box.w / SIZE[0], box.h / SIZE[1]))
        ax.set(xlim=(-1.03, 1.03), ylim=(-1.03, 1.03))
        ax.set_axis_off()
        blank = np.zeros((box.w, box.w), dtype=np.float32)
        images.append(ax.imshow(blank, cmap=scale.cmap, norm=scale.norm, extent=(-1, 1, -1, 1)))
        titles.append(ax.set_title(maps.titles[i], fontsize=style.TITLE))
    lines = []
    for box, curves in ((plan.curve, ("loss", "accuracy")), (plan.quality, ("trustworthiness", "knn"))):
        assert box is not None
        ax = figure.add_axes((box.x / SIZE[0], 1 - (box.y + box.h) / SIZE[1], box.w / SIZE[0], box.h / SIZE[1]))
        ax.tick_params(labelsize=style.SMALL)
        for name in curves:
            if name in maps.metrics:
                ax.plot(maps.steps, maps.metrics[name])
            elif film.quality is not None:
                ax.plot(film.quality.steps, getattr(film.quality, name))
        lines.append(ax.axvline(0, color="k"))
    words = figure.text(0.99, 0.97, "", ha="right", va="top", fontsize=8)
    floors = maps.floors

    def update(frame: int) -> list[Any]:
        time_ = float(film.times[frame])
        step = int(time_)
        after, way = min(step + 1, len(maps.steps) - 1), time_ - step
        values = (1 - way) * maps.values[step] + way * maps.values[after]
        for place, field in enumerate(ground.surface(values)):
            images[place].set_data(field)
            images[place].set_alpha(fade(field, np.full(field.shape, floors[step, place])))
        for line in lines:
            x = (1 - way) * maps.steps[step] + way * maps.steps[after]
            line.set_xdata([x, x])
        words.set_text(film.painter.readout(step))
        return [*images, *lines, words]

    return figure, update


def grab(film: tm.Film, n: int) -> float:
    """Return seconds that FuncAnimation takes for so many frames, which are thrown away."""
    from matplotlib.animation import AbstractMovieWriter, FuncAnimation
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    class Nowhere(AbstractMovieWriter):
        def setup(self, fig: Any, outfile: Any, dpi: Any = None) -> None:
            self.fig, self.outfile, self.dpi = fig, outfile, dpi

        def grab_frame(self, **options: Any) -> None:
            self.fig.canvas.draw()
            np.asarray(self.fig.canvas.buffer_rgba())

        def finish(self) -> None: ...

    figure, update = peer(film)
    FigureCanvasAgg(figure)
    animation = FuncAnimation(figure, update, frames=range(n), blit=False, cache_frame_data=False)
    start = time.perf_counter()
    animation.save("nowhere", writer=Nowhere(fps=12), dpi=figure.dpi)
    return time.perf_counter() - start


def ratio(n_neurons: int = 2_048, n: int = 30) -> None:
    film = tm.animate(training(20, n_neurons), "fc", between=2, progress=False)
    film.painter.paint(0.5)
    grab(film, 2)
    ours, theirs = [], []
    for _ in range(5):
        start = time.perf_counter()
        for i in range(n):
            film.painter.paint(float(film.times[i]))
        ours.append((time.perf_counter() - start) / n)
        theirs.append(grab(film, n) / n)
    pairs = [b / a for a, b in zip(ours, theirs, strict=True)]
    rows = [
        ("topomap", 1e3 * median(ours), 1 / median(ours), 1.0),
        ("FuncAnimation", 1e3 * median(theirs), 1 / median(theirs), median(pairs)),
    ]
    title = f"10 panels, {n_neurons:,} neurons, {SIZE[0]} x {SIZE[1]}, frames drawn and thrown away, median of 5 rounds"
    table(title, ("by", "ms per frame", "frames per s", "times ours"), rows)


def long(to: str) -> None:
    start = time.perf_counter()
    film = tm.animate(training(1_000, 2_048), "fc", between=0, fps=30, progress=False)
    made = time.perf_counter() - start
    film.save(to, progress=False)
    whole = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    size = Path(to).stat().st_size / 1e6
    print(
        f"\n{film}: {made:.0f} s for values, layout and quality, {1e3 * (whole - made) / len(film):.1f} ms per frame "
        f"drawn and encoded; peak {peak:.0f} MiB without ffmpeg; {size:.1f} MB"
    )


if __name__ == "__main__":
    mpl.use("agg")
    what = sys.argv[1] if len(sys.argv) > 1 else "both"
    if what in ("both", "ratio"):
        ratio()
    if what in ("both", "long"):
        with tempfile.TemporaryDirectory() as folder:
            long(sys.argv[2] if len(sys.argv) > 2 else f"{folder}/film.mp4")
