"""A planted shortcut on Fashion-MNIST, found as clusters of neurons and taken out by silencing these.

In training a bright corner is put on half of the pictures of one class and on no others, so that networks learn to
read it. Among the recorded pictures half of every class have it. `measure_bias` compares them within classes; the
neurons of its clusters are silenced, and as many random live neurons for comparison, and the error rates of marked and
plain pictures are taken again.

Networks: {dense, convolutional} x seeds. Printed for all clusters, and for those whose neurons the mark raises: error
rates before and after, the difference that is left, and the one that random neurons leave (mean over draws, and how
many draws left less than the clusters did).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from common import table
from numpy.typing import NDArray
from torch import nn

import topomap as tm
from topomap.bias import measure_bias
from topomap.datasets import ArrayData, fashion_mnist, loader
from topomap.demo import train

#: The class that is marked in training: bags.
SHORTCUT = 8


def mark(data: ArrayData, classes: list[int], seed: int, side: int = 4) -> ArrayData:
    """Put a bright corner on half of the pictures of some classes, and say so in a column."""
    rng = np.random.default_rng(seed)
    x, marked = data.x.copy(), np.zeros(len(data), dtype=bool)
    for one in classes:
        members = rng.permutation(np.flatnonzero(data.y == one))
        marked[members[: len(members) // 2]] = True
    x[marked, :, :side, :side] = 255
    return replace(data, x=x, columns={"marked": marked})


def dense() -> nn.Module:
    """Return a dense network of 512 and 256 hidden units."""
    first, second = (nn.Linear(784, 512), nn.ReLU()), (nn.Linear(512, 256), nn.ReLU())
    return nn.Sequential(nn.Flatten(), *first, *second, nn.Linear(256, 10))


def convolutional() -> nn.Module:
    """Return a network of two convolutions with 32 and 64 channels, and a hidden layer of 128 units."""
    first = nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
    second = nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)
    return nn.Sequential(*first, *second, nn.Flatten(), nn.Linear(3136, 128), nn.ReLU(), nn.Linear(128, 10))


#: What is trained and which of its layers are looked at.
NETWORKS: dict[str, tuple[Callable[[], nn.Module], dict[str, str]]] = {
    "dense": (dense, {"2": "512 units", "4": "256 units"}),
    "convolutional": (convolutional, {"4": "64 channels", "8": "128 units"}),
}


def errors(model: nn.Module, data: ArrayData) -> tuple[float, float]:
    """Return the error rates of marked and of plain pictures."""
    with torch.inference_mode():
        predicted = torch.cat([model(x).argmax(1) for x, *_ in loader(data, 500)]).numpy()
    wrong, marked = predicted != data.y, data.columns["marked"]
    return float(wrong[marked].mean()), float(wrong[~marked].mean())


def left(model: nn.Module, data: ArrayData, layer: str, neurons: NDArray[np.int64]) -> tuple[float, float]:
    """Return the error rates with neurons silenced."""
    with tm.ablate(model, layer, neurons):
        return errors(model, data)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=10)
    parser.add_argument("--inputs", type=int, default=8000, help="pictures to train on")
    parser.add_argument("--epochs", type=int, default=6)
    args = parser.parse_args()
    rows = []
    for name, (factory, layers) in NETWORKS.items():
        for seed in range(args.seeds):
            data = mark(fashion_mnist("train").take(np.arange(args.inputs)), [SHORTCUT], seed)
            test = mark(fashion_mnist("test").take(np.arange(2000)), list(range(10)), 100 + seed)
            model = train(factory, data, epochs=args.epochs, seed=seed, name=f"{name} {seed}")
            before = errors(model, test)
            for layer, what in layers.items():
                acts = tm.record(model, loader(test), layer)[layer].with_labels(**test.columns)
                layout = tm.embed(tm.correlate(acts), seed=seed)
                report = measure_bias(acts, "marked", "label", layout=layout, forming=0.001, seed=seed)
                found = [cluster for cluster in report.clusters if cluster.p <= report.alpha]
                live = np.flatnonzero(~acts.dead)
                rng = np.random.default_rng(seed)
                for which, clusters in (("all", found), ("raised", [one for one in found if one.sign > 0])):
                    neurons = np.concatenate([cluster.neurons for cluster in clusters])
                    after = left(model, test, layer, neurons)
                    gaps = []
                    for _ in range(args.draws):
                        marked, plain = left(model, test, layer, rng.choice(live, len(neurons), replace=False))
                        gaps.append(abs(marked - plain))
                    gap = abs(after[0] - after[1])
                    rows.append(
                        (
                            *(f"{name} {seed}", what, which, f"{len(clusters)}", f"{len(neurons)} of {len(live)}"),
                            *(f"{before[0]:.2f} / {before[1]:.2f}", f"{after[0]:.2f} / {after[1]:.2f}", f"{gap:.2f}"),
                            *(f"{np.mean(gaps):.2f}", f"{sum(one <= gap for one in gaps)} of {args.draws}"),
                        )
                    )
                    print(*rows[-1], sep=" | ", flush=True)
    columns = ("network", "layer", "clusters", "n", "neurons", "errors before", "errors after", "gap", "random", "less")
    table("Marked and plain pictures", columns, rows)


if __name__ == "__main__":
    main()
