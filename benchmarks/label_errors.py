"""Whether pairs of classes whose labels were swapped in training are found, and nothing in nets of clean labels.

Nets learn labels of which a share of one class was given to another, and are recorded on clean test data.

    OMP_NUM_THREADS=1 python benchmarks/label_errors.py [--seeds 3]
"""

from __future__ import annotations

import argparse
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from common import table
from torch import nn
from tqdm.auto import tqdm

import topomap as tm
from topomap.datasets import ArrayData, digits, fashion_mnist, loader
from topomap.demo import cnn, mlp, train

RATES = (0.1, 0.3, 0.5, 0.9)
LAYERS = ("relu1", "relu2")


@dataclass(frozen=True)
class Case:
    """A net, what it learns, and for how long."""

    name: str
    factory: Callable[[], nn.Module]
    learn: ArrayData
    test: ArrayData
    epochs: int
    pairs: tuple[tuple[int, int], ...]


def clothes_mlp() -> nn.Module:
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            flatten=nn.Flatten(),
            fc1=nn.Linear(784, 256),
            relu1=nn.ReLU(),
            fc2=nn.Linear(256, 128),
            relu2=nn.ReLU(),
            out=nn.Linear(128, 10),
        )
    )


def clothes_cnn() -> nn.Module:
    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=nn.Conv2d(1, 16, 3, padding=1),
            pool1=nn.MaxPool2d(4),
            relu1=nn.ReLU(),
            flatten=nn.Flatten(),
            fc=nn.Linear(784, 128),
            relu2=nn.ReLU(),
            out=nn.Linear(128, 10),
        )
    )


def cases() -> list[Case]:
    small, small_test = digits("train"), digits("test")
    clothes = fashion_mnist("train").take(np.arange(12_000))
    clothes_test = fashion_mnist("test").take(np.arange(4_000))
    pairs = ((7, 9), (0, 1), (2, 4))
    return [
        Case("digits, dense", mlp, small, small_test, 12, ((0, 1), (3, 8))),
        Case("digits, convolutional", cnn, small, small_test, 12, ((0, 1), (3, 8))),
        Case("clothes, dense", clothes_mlp, clothes, clothes_test, 5, pairs),
        Case("clothes, convolutional", clothes_cnn, clothes, clothes_test, 3, pairs[:2]),
    ]


def swap(data: ArrayData, label: int, other: int, rate: float, seed: int) -> ArrayData:
    """Give a share of one class the label of another."""
    y = np.array(data.y)
    at = np.flatnonzero(y == label)
    y[np.random.default_rng(seed).permutation(at)[: round(rate * len(at))]] = other
    return replace(data, y=y)


def found(case: Case, data: ArrayData, seed: int, epochs: int | None = None) -> Iterator[tuple[Any, ...]]:
    """Yield the ranked pairs of each layer."""
    model = train(case.factory, data, epochs=epochs or case.epochs, seed=seed, progress=False)
    run = tm.record(model, loader(case.test), layers=list(LAYERS), progress=False, thumbnails=False)
    for layer in LAYERS:
        acts = run[layer]
        assert isinstance(acts, tm.Activations)
        yield tm.find_label_errors(acts, n=100)


def swapped_nets(case: Case, seeds: range) -> Iterator[list[object]]:
    for label, other in case.pairs:
        for rate in RATES:
            first, strong, scores, rest, wrong = 0, 0, [], [], 0
            for seed in seeds:
                for errors in found(case, swap(case.learn, label, other, rate, seed), seed):
                    planted = [e for e in errors if (e.label, e.prediction) == (label, other)]
                    others = [e for e in errors if (e.label, e.prediction) != (label, other)]
                    first += bool(planted) and errors[0] is planted[0]
                    strong += bool(planted) and planted[0].strong
                    wrong += any(e.strong for e in others)
                    scores.append(planted[0].score if planted else 0.0)
                    rest.append(others[0].score if others else 0.0)
            n = len(scores)
            pair = f"{case.learn.classes[label]} -> {case.learn.classes[other]}" if case.learn.classes else ""
            yield [
                *(case.name, pair, f"{rate:.0%}", f"{first}/{n}", f"{strong}/{n}", f"{wrong}/{n}"),
                *(f"{np.median(scores):.2f}", f"{max(rest):.2f}"),
            ]


def clean_nets(case: Case, seeds: range) -> Iterator[list[object]]:
    for epochs in (1, case.epochs, 3 * case.epochs):
        scores, wrong = [], 0
        for seed in seeds:
            for errors in found(case, case.learn, seed, epochs):
                scores.append(errors[0].score if errors else 0.0)
                wrong += any(e.strong for e in errors)
        yield [case.name, epochs, f"{wrong}/{len(scores)}", f"{np.median(scores):.3f}", f"{max(scores):.3f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=3)
    seeds = range(parser.parse_args().seeds)
    swapped, clean = [], []
    for case in tqdm(cases(), desc="nets"):
        clean += list(clean_nets(case, seeds))
        swapped += list(swapped_nets(case, seeds))
    columns = ("net", "swapped", "rate", "first", "strong", "others strong", "score", "best other")
    table("Label errors: swapped in training", columns, swapped)
    table("Label errors: clean labels", ("net", "epochs", "strong", "median of best", "best"), clean)


if __name__ == "__main__":
    main()
