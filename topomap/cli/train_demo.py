"""``topomap train-demo``: small nets are watched while they learn, and filmed."""

from __future__ import annotations

import shlex
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from topomap._check import at_least
from topomap.cli.figures import without_windows
from topomap.datasets import ArrayData, digits, fashion_mnist, loader

if TYPE_CHECKING:
    from torch import nn

    from topomap.plot import Film
    from topomap.run import Run

#: The layer that is filmed.
LAYER = "relu2"

#: Pictures of Fashion-MNIST that the net learns from, and that it is watched over.
_LEARNT, _WATCHED = 20_000, 2_000

EXAMPLES = """Examples:
  topomap train-demo
  topomap train-demo --to elsewhere --epochs 20 --layout moving"""


def train_demo(
    *,
    to: Path = Path("topomap-training"),
    seed: int = 0,
    epochs: int = 12,
    layout: str = "last",
    overwrite: bool = False,
) -> None:
    """Train small nets, watch a layer of each while it learns, and film that.

    A dense net learns scikit-learn's digits; a second one clothes, where Fashion-MNIST is installed (Debian's package
    dataset-fashion-mnist). Makes run folders with a snapshot at some 30 steps, films (GIF, HTML, and MP4 with the video
    extra), and figures, in one folder, in one or two minutes.

    Parameters
    ----------
    to
        The folder to make.
    seed
        For weights, training and layouts.
    epochs
        Passes over the digits; the clothes, of which there are more, take a quarter of them.
    layout
        Where neurons lie in the films: last, first, joint or moving.
    overwrite
        Replace the folder of an earlier demo.
    """
    from topomap._check import choice
    from topomap.demo import _check_target, _folder
    from topomap.training import LAYOUTS, summarize_training

    without_windows()
    at_least("epochs", epochs, 1)
    choice("layout", layout, LAYOUTS)
    _check_target(to, overwrite)
    told = []
    with _folder(to, overwrite) as folder:
        for name, train, test, passes in _data(epochs, seed):
            run = watch(train, test, folder / name, epochs=passes, seed=seed, name=name)
            film = _film(run, folder, name, layout, seed)
            _figures(run, folder, name, seed)
            right = float(run.metrics["accuracy"][-1])
            told.append(f"{name}: {right:.1%} of {len(test):,} unseen pictures right; {film}")
            told.append(f"  {summarize_training(run, LAYER, progress=False)}")
        _write_mark(folder, seed, epochs, layout)
    print("\n".join(told))
    if not (to / "clothes").exists():
        print("clothes: left out, as Fashion-MNIST is not installed (apt-get install dataset-fashion-mnist)")
    print(f"\nmade in {to}/")
    for path in sorted(to.iterdir()):
        if path.name != "demo.toml":
            print(f"  {path.name}/ is the run folder of a training" if path.is_dir() else f"  {path.name}")
    here = shlex.quote(str(to))
    print(
        f"""
try next
  topomap film {here}/digits --layer {LAYER} --by label,correct --to {here}/mistakes.html
  topomap film {here}/digits --layer {LAYER} --layout moving --to {here}/moving.html
  topomap plot {here}/digits --layer {LAYER} --by label --step 10 --to {here}/step10.png"""
    )


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
    Run(797 inputs, 1 layers: relu2, 9 snapshots, steps 0 to 10)
    """
    import torch
    from tqdm.auto import tqdm

    from topomap.demo import accuracy
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


def _write_mark(folder: Path, seed: int, epochs: int, layout: str) -> None:
    import tomli_w

    from topomap.demo import MARK
    from topomap.run import versions

    facts = {"seed": seed, "epochs": epochs, "layout": layout, "versions": versions()}
    (folder / MARK).write_text(tomli_w.dumps(facts), encoding="utf-8")
