"""The demo of trainings: small nets are watched while they learn, and filmed."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from topomap._check import choice, whole_number
from topomap.datasets import ArrayData, digits, fashion_mnist, loader
from topomap.demo.folder import check_target, whole_folder, write_mark
from topomap.demo.nets import accuracy
from topomap.run import Run

if TYPE_CHECKING:
    from torch import nn

    from topomap.plot import Film
    from topomap.training import TrainingSummary

#: The layer that is filmed.
LAYER = "relu2"

#: Pictures of Fashion-MNIST that the net learns from, and that it is watched over.
_LEARNT, _WATCHED = 20_000, 2_000


@dataclass(frozen=True, eq=False)
class Watched:
    """One training of the demo: on how many inputs, its run over unseen ones, its film, and what that shows."""

    run: Run
    n_learnt: int
    n_inputs: int
    film: Film
    summary: TrainingSummary

    @property
    def accuracy(self) -> tuple[float, float]:
        """Share of the unseen inputs that were right at the first step, and at the last."""
        values = self.run.metrics["accuracy"]
        return float(values[0]), float(values[-1])


def film_trainings(
    to: str | Path = "topomap-training",
    *,
    seed: int = 0,
    epochs: int = 12,
    layout: str = "last",
    overwrite: bool = False,
) -> dict[str, Watched]:
    """Train small nets, watch a layer of each while it learns, and film that.

    Parameters
    ----------
    to
        The folder to make: run folders, films and figures. It appears when everything is done, or not at all.
    seed
        For weights, training and layouts.
    epochs
        Passes over the digits; the clothes, of which there are more, take a quarter of them.
    layout
        Where neurons lie in the films, as in `animate`.
    overwrite
        Replace the folder of an earlier demo.

    Returns
    -------
    dict
        By ``"digits"`` and, where Fashion-MNIST is installed, ``"clothes"``.

    Raises
    ------
    ValueError
        If the folder exists and may not be replaced, or a parameter makes no sense.

    Examples
    --------
    >>> film_trainings(".", epochs=1)
    Traceback (most recent call last):
        ...
    ValueError: . exists and is not a demo's folder; choose another one with to= (--to).
    """
    from topomap.training import LAYOUTS, summarize_training

    target = Path(to)
    whole_number("epochs", epochs, 1)
    choice("layout", layout, LAYOUTS)
    check_target(target, overwrite)
    watched = {}
    with whole_folder(target, overwrite) as folder:
        for name, train, test, passes in _data(epochs, seed):
            run = watch(train, test, folder / name, epochs=passes, seed=seed, name=name)
            film = _film(run, folder, name, layout, seed)
            _figures(run, folder, name, seed)
            watched[name] = Watched(run, len(train), len(test), film, summarize_training(run, LAYER, progress=False))
        write_mark(folder, {"seed": seed, "epochs": epochs, "layout": layout})
    return watched


def net(n_inputs: int) -> nn.Module:
    """Make the net: two hidden layers of 512 and 256 units, pictures of so many pixels to 10 classes.

    Examples
    --------
    >>> [name for name, _ in net(64).named_children()]
    ['flatten', 'fc1', 'relu1', 'fc2', 'relu2', 'out']
    """
    from torch import nn

    layers: list[tuple[str, nn.Module]] = [
        ("flatten", nn.Flatten()),
        ("fc1", nn.Linear(n_inputs, 512)),
        ("relu1", nn.ReLU()),
        ("fc2", nn.Linear(512, 256)),
        ("relu2", nn.ReLU()),
        ("out", nn.Linear(256, 10)),
    ]
    return nn.Sequential(OrderedDict(layers))


def watch(
    train: ArrayData, test: ArrayData, to: Path | None = None, *, epochs: int = 12, seed: int = 0, name: str = "net"
) -> Run:
    """Train a net with Adam and record its second hidden layer ten times per factor of ten of the steps.

    Parameters
    ----------
    train, test
        What is learnt, and what the layer is watched over.
    to
        The run folder.
    epochs
        Passes over what is learnt.
    seed
        For the weights and the order of the inputs; the random state outside is left as it was.
    name
        Shown beside the progress bar.

    Returns
    -------
    Run
        With snapshots, and the metrics loss, accuracy (of `test`) and epoch.

    Examples
    --------
    >>> watch(digits("train"), digits("test"), epochs=1)
    Run(797 inputs, 1 layer: relu2, 9 snapshots, steps 0 to 10)
    """
    import torch
    from tqdm.auto import tqdm

    from topomap.recording import TrainingRecorder

    x = torch.from_numpy(np.stack([train[i][0] for i in range(len(train))]))
    y = torch.from_numpy(np.asarray(train.y))
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(seed)
        model = net(x[0].numel())
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, fused=True)
    recorder = TrainingRecorder(
        model, loader(test), layers=[LAYER], by=[("label",), ("label", "correct")], every="geometric", to=to,
        seed=seed, classes=test.classes,
    )  # fmt: skip
    threads = torch.get_num_threads()
    size = 100
    per_epoch = -(-len(x) // size)
    bar = tqdm(total=epochs * per_epoch, desc=f"training {name}", unit="step", disable=None, leave=False)
    try:
        torch.set_num_threads(1)  # the net is so small that threads cost more than they bring
        with recorder, bar:
            step = 0
            for epoch in range(epochs):
                order = torch.randperm(len(x), generator=generator)
                for start in range(0, len(x), size):
                    rows = order[start : start + size]
                    loss = torch.nn.functional.cross_entropy(model(x[rows]), y[rows])
                    done = epoch + step % per_epoch / per_epoch
                    if recorder.step(step, loss=loss.item(), epoch=done):
                        recorder.log(step, accuracy=accuracy(model, test))
                    optimizer.zero_grad()
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    step += 1
                    bar.update()
            recorder.snapshot(step, loss=loss.item(), epoch=float(epochs), accuracy=accuracy(model, test))
    finally:
        torch.set_num_threads(threads)
    return recorder.run


def _data(epochs: int, seed: int) -> Iterator[tuple[str, ArrayData, ArrayData, int]]:
    yield "digits", digits("train"), digits("test"), epochs
    try:
        train, test = fashion_mnist("train"), fashion_mnist("test")
    except FileNotFoundError:
        return
    rng = np.random.default_rng(seed)
    learnt, watched = rng.permutation(len(train))[:_LEARNT], np.sort(rng.permutation(len(test))[:_WATCHED])
    yield "clothes", train.take(learnt), test.take(watched), -(-epochs // 4)


def _film(run: Run, folder: Path, name: str, layout: str, seed: int) -> Film:
    from topomap.plot import animate
    from topomap.plot.movie import check_film_format

    common: dict[str, Any] = {"layout": layout, "seed": seed, "title": f"{name}: {LAYER} by label"}
    film = animate(run, LAYER, **common)
    suffixes = [".html"]
    try:
        check_film_format("film.mp4")
        suffixes.append(".mp4")
    except ValueError:  # the video extra is not installed
        pass
    for suffix in suffixes:
        film.save(folder / f"{name}{suffix}")
    small = animate(run, LAYER, between=0, fps=6, width=800, height=450, **common)
    small.save(folder / f"{name}.gif")
    return film


def _figures(run: Run, folder: Path, name: str, seed: int) -> None:
    from matplotlib import pyplot as plt

    from topomap.plot import plot_filmstrip, plot_training, save_figure
    from topomap.training import summarize_training

    strip = plot_filmstrip(run, LAYER, seed=seed)
    curves = plot_training(summarize_training(run, LAYER))
    for figure, what in ((strip, "strip"), (curves, "curves")):
        save_figure(figure, folder / f"{name}-{what}.png", dpi=200)
        plt.close(figure)
