"""How often bias is found where there is none: random attributes on real activations, 1,000 times each.

A small dense network learns Fashion-MNIST; its 64 hidden units are recorded on 400 test images, 40 of each class, and
laid out. Attributes are drawn at random, so that whatever is found is wrong: balanced over classes or not (20 % of the
inputs of five classes, 80 % of the others), for single images or for whole persons of four images. Persons are made of
images that resemble each other, of one class or of two each, so that their rows are not independent. The seeds are 0 to
999 in every setting. Each test is at alpha .05 with 199 permutations, clusters formed at .01.

In settings named wide the group's values lie three times as far from the mean of their class: means are equal, and
spreads are not. There images (persons) are drawn with repetitions, so that the two sides are independent.

The family-wise error is the share of repetitions with any neuron at corrected p <= .05, the cluster error the share
with any cluster at p <= .05, the single error the share of neurons at p <= .05 of their own, and the last column the
share of analytic intervals that miss 0. Settings named naive do what should not be done: they ignore the classes, or
the persons, or take one variance for both sides (Student's t, where `measure_bias` has Welch's).

What a variance of each side costs is the second table: how often one neuron of 64 that is shifted by four standard
errors, normal and of equal spread, is found at corrected p <= .05.

Run: python benchmarks/calibration.py [--repetitions 1000] [--jobs 2] [--settings NAME ...]
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any
from unittest import mock

os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes share the cores

import numpy as np
from common import table

ALPHA = 0.05
FORMING = 0.01
PERMUTATIONS = 199
PER_CLASS = 40
NEURONS = 64

#: Name, how attributes are drawn, what is held fixed, whether persons are drawn and whether the test knows it. Numbers
#: in this order seed the draws: what is new comes last.
SETTINGS: dict[str, dict[str, Any]] = {
    "balanced": {"share": (0.5, 0.5), "within": "label"},
    "imbalanced": {"share": (0.2, 0.8), "within": "label"},
    "balanced, persons of one class": {"share": (0.5, 0.5), "within": "label", "units": "nested", "unit": "person"},
    "imbalanced, persons of one class": {"share": (0.2, 0.8), "within": "label", "units": "nested", "unit": "person"},
    "balanced, persons of two classes": {"share": (0.5, 0.5), "within": "label", "units": "crossed", "unit": "person"},
    "imbalanced, persons of two classes": {
        "share": (0.2, 0.8), "within": "label", "units": "crossed", "unit": "person"
    },
    "imbalanced, three groups against the rest": {"share": (0.2, 0.8), "within": "label", "third": True},
    "naive: imbalanced, classes ignored": {"share": (0.2, 0.8), "within": None},
    "naive: persons of one class ignored": {"share": (0.5, 0.5), "within": "label", "units": "nested"},
    "imbalanced, three groups, two against the third": {
        "share": (0.2, 0.8), "within": "label", "third": True, "reference": "0"
    },
    "wide, 200 of 400": {"share": (0.5, 0.5), "within": "label", "wide": True},
    "wide, 80 of 400": {"share": (0.2, 0.2), "within": "label", "wide": True},
    "wide, 40 of 400, 4 of a class": {"share": (0.1, 0.1), "within": "label", "wide": True},
    "wide, imbalanced": {"share": (0.2, 0.8), "within": "label", "wide": True},
    "wide, 40 of 400, one class": {"share": (0.1, 0.1), "within": None, "wide": True},
    "wide normal values, 20 of 200, one class": {"share": (0.1, 0.1), "within": None, "wide": True, "normal": 200},
    "wide, 80 of 400, persons of one class": {
        "share": (0.2, 0.2), "within": "label", "units": "nested", "unit": "person", "wide": True
    },
    "naive: wide, 40 of 400, 4 of a class, one variance": {
        "share": (0.1, 0.1), "within": "label", "wide": True, "pooled": True
    },
    "naive: wide normal values, 20 of 200, one variance": {
        "share": (0.1, 0.1), "within": None, "wide": True, "normal": 200, "pooled": True
    },
    "wide rectified normal values, 20 of 200, one class": {
        "share": (0.1, 0.1), "within": None, "wide": True, "normal": 200, "rectified": True
    },
}  # fmt: skip


#: Inputs of the two sides whose difference is to be found.
SIDES = ((100, 100), (20, 180), (10, 90), (5, 95))


def pooled_shares(n_a: np.ndarray, n_b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Give all cells one variance, in place of `topomap.bias.effects.shares`."""
    both = (n_a > 0) & (n_b > 0)
    weight = (n_a * n_b / np.maximum(n_a + n_b, 1)).sum(axis=-1, keepdims=True)
    share = both * weight / np.maximum((both * (n_a + n_b - 2)).sum(axis=-1, keepdims=True), 1)
    return share, share


def record(file: Path) -> None:
    """Save values, labels, persons and the layout."""
    import torch
    from torch import nn

    import topomap as tm
    from topomap.datasets import fashion_mnist, loader

    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, NEURONS), nn.ReLU(), nn.Linear(NEURONS, 10))
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    for _, (x, y) in zip(range(400), loader(fashion_mnist("train"), 128), strict=False):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    run = tm.record(net, loader(fashion_mnist("test")), layers=["2"], progress=False)
    acts = run["2"].select(balance="label", n=10 * PER_CLASS, seed=0)
    values, label = np.asarray(acts.values), np.asarray(acts.labels)
    order = np.lexsort((values @ np.linalg.svd(values - values.mean(axis=0), full_matrices=False)[2][0], label))
    values, label = values[order], label[order]
    positions = tm.embed(tm.correlate(values), seed=0).positions
    np.savez(file, values=values, label=label, positions=positions)


def attribute(
    rng: np.random.Generator, label: np.ndarray, share: tuple[float, float], units: str | None, third: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Draw the group of each input, and give its person.

    Rows lie sorted within classes, so that persons of consecutive rows are made of inputs that resemble each other.
    """
    place = np.arange(len(label)) % PER_CLASS
    if units == "nested":
        person = label * PER_CLASS + place // 4
    elif units == "crossed":  # two images of class 0 with two of class 5, and so on
        person = (label % 5) * PER_CLASS + place // 2
    else:
        person = np.arange(len(label))
    of_person, first, inverse = np.unique(person, return_index=True, return_inverse=True)
    # crossed persons have classes c and c + 5 both: what their block holds is c
    high = label[first] % 5 >= 2 if units == "crossed" else label[first] % 2 == 1
    group = (rng.random(len(of_person)) < np.where(high, share[1], share[0])).astype(np.int64)
    if third:
        group[rng.random(len(group)) < 0.3] = 2
    return group[inverse], person


def widen(rng: np.random.Generator, data: dict[str, np.ndarray], group: np.ndarray, how: dict[str, Any]) -> np.ndarray:
    """Draw rows of the same class anew, and put those of group 1 three times as far from the mean of all that could be.

    Without classes any row stands for any other. Persons of one class, four rows in a row each, are drawn whole.
    """
    values, label = data["values"], data["label"]
    if "normal" in how:
        drawn, centre = rng.normal(size=values.shape), np.zeros_like(values)
        if "rectified" in how:
            drawn, centre = np.maximum(drawn, 0), centre + (2 * np.pi) ** -0.5
    elif how["within"] is None:
        drawn, centre = values[rng.integers(len(values), size=len(values))], values.mean(axis=0)
    else:
        size = 4 if "units" in how else 1
        place = np.repeat(rng.integers(PER_CLASS // size, size=len(values) // size), size) * size
        drawn = values[label * PER_CLASS + place + np.arange(len(values)) % size]
        centre = np.stack([values[label == c].mean(axis=0) for c in range(10)])[label]
    return np.asarray(centre + np.where(group == 1, 3, 1)[:, None] * (drawn - centre))


def once(file: Path, setting: str, seed: int) -> tuple[float, ...]:
    """Return whether a neuron and whether a cluster was found, and the shares of small p and of intervals without 0."""
    from threadpoolctl import threadpool_limits

    import topomap as tm
    from topomap.bias import testing

    how = SETTINGS[setting]
    data = dict(np.load(file))
    rng = np.random.default_rng([seed, list(SETTINGS).index(setting)])
    group, person = attribute(rng, data["label"], how["share"], how.get("units"), how.get("third", False))
    values = widen(rng, data, group, how) if "wide" in how else data["values"]
    acts = tm.Activations.from_array(values, label=data["label"], group=group, person=person)
    if "normal" in how:
        acts = acts.select(where=lambda inputs: np.arange(len(inputs)) < how["normal"])
    # intervals are not looked at here, and those of persons would take most of the time
    testing.bootstrap = lambda table, *_, **__: (np.zeros(table.n_neurons), np.zeros(table.n_neurons))  # type: ignore[assignment]
    one = mock.patch("topomap.bias.effects.shares", pooled_shares) if "pooled" in how else contextlib.nullcontext()
    with threadpool_limits(1), one:
        report = tm.measure_bias(
            acts, "group", how["within"], how.get("reference", "rest"), how.get("unit"),
            tm.Layout(data["positions"], region="disc"), n_permutations=PERMUTATIONS, alpha=ALPHA, forming=FORMING,
            seed=seed, progress=False,
        )  # fmt: skip
    any_neuron = any((contrast.p_family <= ALPHA).any() for contrast in report.contrasts)
    live = ~report.dead
    single = np.mean([(contrast.p[live] <= ALPHA).mean() for contrast in report.contrasts])
    missed = np.mean([((contrast.low > 0) | (contrast.high < 0))[live].mean() for contrast in report.contrasts])
    return (
        float(any_neuron),
        float(report.significant != ()),
        float(single),
        float(missed) if "unit" not in how else np.nan,
    )


def found(sides: tuple[int, int], seed: int) -> tuple[bool, bool]:
    """Return whether the neuron that is shifted is found, with a variance of each side and with one of both."""
    from topomap.bias import effects

    rng = np.random.default_rng([seed, *sides])
    member = np.arange(sum(sides)) < sides[0]
    values = rng.normal(size=(len(member), NEURONS))
    values[member, 0] += 4 * (1 / sides[0] + 1 / sides[1]) ** 0.5
    table = effects.Table.of(values, np.zeros(len(member), dtype=np.int64))
    members = np.concatenate([member[None], rng.permuted(np.tile(member, (PERMUTATIONS, 1)), axis=1)])
    out = []
    for shares in (effects.shares, pooled_shares):
        with mock.patch("topomap.bias.effects.shares", shares):
            sizes = np.abs(effects.statistics(table, members))
        out.append(bool((sizes.max(axis=1) >= sizes[0, 0] * (1 - 1e-5)).mean() <= ALPHA))
    return out[0], out[1]


def main() -> None:
    from tqdm.auto import tqdm

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=1000)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--settings", nargs="+", choices=SETTINGS, default=list(SETTINGS), metavar="NAME")
    options = parser.parse_args()
    n, rows = options.repetitions, []
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(options.jobs) as pool:
        file = Path(folder) / "layer.npz"
        record(file)
        for setting in options.settings:
            results = pool.map(partial(once, file, setting), range(n), chunksize=20)
            errors = np.array(list(tqdm(results, total=n, desc=setting, leave=False, disable=None))).mean(axis=0)
            rows.append((setting, *["-" if np.isnan(share) else f"{share:.3f}" for share in errors]))
            print(rows[-1], flush=True)
        power = []
        for sides in SIDES:
            shares = np.mean(list(pool.map(partial(found, sides), range(n), chunksize=20)), axis=0)
            power.append((f"{sides[0]} and {sides[1]}", *[f"{share:.2f}" for share in shares]))
    error = 1.96 * np.sqrt(ALPHA * (1 - ALPHA) / n)
    title = f"Errors at alpha {ALPHA}, {n:,} repetitions (exact tests lie within +- {error:.3f} of it)"
    table(title, ("attribute", "family-wise error", "cluster error", "single error", "intervals without 0"), rows)
    table("How often a difference of four standard errors is found", ("inputs", "Welch's t", "Student's t"), power)


if __name__ == "__main__":
    main()
