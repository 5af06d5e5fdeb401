"""Patterns: cost at the size of the published study, and what each reduction makes of a planted artefact.

Cost: 12,800 inputs of 2,048 units, some in dense groups, against the `hdbscan` package used directly: as it comes, and
as a user would who knows that its generic algorithm takes all distances as one matrix. Each in a process of its own
(Linux), CPU seconds, peaks above the values. The package as it comes takes some ten minutes; ``--inputs 3200`` makes it
half a minute.

Artefact: a fine checkerboard over 59 of 3,000 pictures of Fashion-MNIST, which changes the spread of a linear layer's
channels and not their means, and the patterns of a net trained without it. Bäuerle et al. (2022) found 58 of 59 such
inputs in one pattern by ``"mean+std"``, scattered over three by ``"mean"``.

    python benchmarks/patterns.py cost
    python benchmarks/patterns.py artefact
"""

from __future__ import annotations

import argparse
import tempfile
import warnings
from collections import OrderedDict
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import torch
from common import peak_megabytes, table
from numpy.typing import NDArray
from torch import nn

import topomap as tm
from topomap.datasets import fashion_mnist
from topomap.demo import accuracy, train

REDUCTIONS = ("mean", "mean+std", "max", "min+max", "none")
SELECTIONS = ("leaf", "eom")
PLANTED, PICTURES = 59, 3000

SETUP = """
import time, warnings; warnings.simplefilter("ignore")
import numpy as np
import topomap as tm
from hdbscan import HDBSCAN
rng = np.random.default_rng(0)
n, d = {n}, {d}
few = tm.Activations.from_array(rng.normal(size=(200, 70)).astype("f4"))
tm.find_patterns(few); tm.find_patterns(few, n_components=50)  # what is imported at the first call is no work
centre = rng.normal(size=(40, d)) * 0.6
values = np.empty((n, d), dtype=np.float32)
for i, k in enumerate(rng.integers(40, size=n)):
    values[i] = np.maximum(centre[k] + rng.normal(size=d) * rng.uniform(0.1, 1), 0)
acts = tm.Activations.from_array(values)
settings = dict(min_cluster_size=5, min_samples=5, cluster_selection_method="leaf")
start = time.process_time()
"""
DONE = """
said = time.process_time() - start, len(np.unique(labels[labels >= 0])), 100 * np.mean(labels < 0)
Path({said!r}).write_text(" ".join(map(str, said)))
"""
WAYS = {
    "find_patterns": "labels = tm.find_patterns(acts).labels",
    "find_patterns, n_components=50": "labels = tm.find_patterns(acts, n_components=50).labels",
    "hdbscan": "labels = HDBSCAN(**settings).fit(values / values.max(axis=0)).labels_",
    'hdbscan, algorithm="generic"': (
        "labels = HDBSCAN(algorithm='generic', **settings).fit((values / values.max(axis=0)).astype(float)).labels_"
    ),
}


def cost(n: int, d: int, ways: list[str]) -> None:
    """Time, peak memory and what was found, each way in a process of its own."""
    rows: list[list[object]] = []
    for name in ways:
        with tempfile.TemporaryDirectory() as folder:
            said = Path(folder, "said.txt")
            work = f"{WAYS[name]}\n{DONE.format(said=str(said))}"
            peak = peak_megabytes(SETUP.format(n=n, d=d), work)
            seconds, count, noise = map(float, said.read_text().split())
        first = float(rows[0][1]) if rows else seconds  # type: ignore[arg-type]
        rows.append([name, seconds, seconds / first, int(count), noise, peak])
        print(*rows[-1], flush=True)
    columns = ["", "CPU s", f"x {ways[0]}", "patterns", "noise, %", "peak MB"]
    table(f"Patterns of {n:,} inputs x {d:,} units", columns, rows)


def net() -> nn.Module:
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=nn.Conv2d(1, 16, 3, padding=1),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(16, 32, 3, padding=1),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            out=nn.Linear(1568, 10),
        )
    )


def board(x: NDArray[np.float32], contrast: float, keep: float = 1, grey: float | None = None) -> NDArray[np.float32]:
    """Fade pictures towards their own mean, or one grey, and lay a fine checkerboard over them."""
    squares = np.indices(x.shape[-2:]).sum(axis=0) % 2 * 2 - 1
    mean = x.mean(axis=(-2, -1), keepdims=True)
    return ((mean if grey is None else grey) + keep * (x - mean) + contrast * squares).astype(np.float32)


#: A faint and a strong checkerboard, and one over pictures faded to a fifth at the same mean grey for all.
ARTEFACTS = {
    "faint": partial(board, contrast=0.25),
    "strong": partial(board, contrast=0.6),
    "card": partial(board, contrast=0.25, keep=0.2, grey=0.3),
}


def artefact(layers: list[str], seeds: int) -> None:
    """Count what the pattern that fits the planted inputs best holds, per reduction, for nets of several seeds."""
    found: dict[tuple[str, ...], list[tuple[int, int, int, int]]] = {}
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        model = train(net, fashion_mnist("train").take(np.arange(10000)), epochs=3, seed=seed, progress=False)
        test = fashion_mnist("test")
        print(f"accuracy {accuracy(model, test):.3f}", flush=True)
        chosen = rng.permutation(len(test))[:PICTURES]
        clean = np.stack([test[i][0] for i in chosen])
        planted = np.arange(PICTURES) < PLANTED
        for name, plant in ARTEFACTS.items():
            x = np.concatenate([plant(clean[planted]), clean[~planted]])
            ways = ["mean", "std", "max", "min", "positions"]
            run = tm.record(model, torch.from_numpy(x), layers, reduce=ways, progress=False)
            for layer, reduce, selection in product(layers, REDUCTIONS, SELECTIONS):
                if reduce == "none" and selection == "eom":  # the slowest, and no better
                    continue
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # most is noise: that is known
                    patterns = tm.find_patterns(run, layer, reduce=reduce, selection=selection)
                key = (name, layer, reduce, selection)
                found.setdefault(key, []).append(best(patterns, planted))
                print(*key, *found[key][-1], flush=True)
    rows = []
    for name, layer, reduce in product(ARTEFACTS, layers, REDUCTIONS):
        row: list[object] = [name, layer, reduce]
        for selection in SELECTIONS:
            each = found.get((name, layer, reduce, selection), [])
            row.append(" ".join(str(held) for held, *_ in each))
            row.append(" ".join(f"{100 * held / max(size, 1):.0f}" for held, size, *_ in each))
            row.append(" ".join(f"{pure}/{n}" for *_, pure, n in each))
        rows.append(row)
    columns = ["artefact", "layer", "reduce"]
    columns += [f"{way}: {what}" for way in SELECTIONS for what in ("found", "precision, %", "pure")]
    table(f"Best pattern for {PLANTED} planted inputs of {PICTURES:,}, per net", columns, rows)


def best(patterns: tm.Patterns, planted: NDArray[np.bool_]) -> tuple[int, int, int, int]:
    """Planted inputs in the pattern of the highest F1, its size; those in mostly planted patterns, and how many."""
    if not len(patterns):
        return 0, 0, 0, 0
    held = np.bincount(patterns.labels[planted & (patterns.labels >= 0)], minlength=len(patterns))
    size = patterns.counts[: len(patterns)]
    k = int(np.argmax(2 * held / (size + planted.sum())))
    pure = held > size / 2
    return int(held[k]), int(size[k]), int(held[pure].sum()), int(pure.sum())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["cost", "artefact"])
    parser.add_argument("--inputs", type=int, default=12800)
    parser.add_argument("--units", type=int, default=2048)
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--layers", nargs="+", default=["conv1", "conv2"])
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    if args.what == "cost":
        cost(args.inputs, args.units, args.ways)
    else:
        artefact(args.layers, args.seeds)
