"""How often bias is found where there is none: random attributes on real activations, 1,000 times each.

A small dense network learns Fashion-MNIST; its 64 hidden units are recorded on 400 test images, 40 of each class, and
laid out. Attributes are drawn at random, so that whatever is found is wrong: balanced over classes or not (20 % of the
inputs of five classes, 80 % of the others), for single images or for whole persons of four images. Persons are made of
images that resemble each other, of one class or of two each, so that their rows are not independent. The seeds are 0 to
999 in every setting. Each test is at alpha .05 with 199 permutations, clusters formed at .01.

The family-wise error is the share of repetitions with any neuron at corrected p <= .05, the cluster error the share
with any cluster at p <= .05. Settings named naive do what should not be done: they ignore the classes, or the persons.

Run: python benchmarks/calibration.py [--repetitions 1000] [--jobs 2] [--settings NAME ...]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

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
}  # fmt: skip


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


def once(file: Path, setting: str, seed: int) -> tuple[bool, bool]:
    """Return whether a neuron and whether a cluster was found."""
    from threadpoolctl import threadpool_limits

    import topomap as tm
    from topomap.bias import testing

    how = SETTINGS[setting]
    data = np.load(file)
    rng = np.random.default_rng([seed, list(SETTINGS).index(setting)])
    group, person = attribute(rng, data["label"], how["share"], how.get("units"), how.get("third", False))
    acts = tm.Activations.from_array(data["values"], label=data["label"], group=group, person=person)
    # intervals are not looked at here, and those of persons would take most of the time
    testing.bootstrap = lambda table, *_, **__: (np.zeros(table.n_neurons), np.zeros(table.n_neurons))  # type: ignore[assignment]
    with threadpool_limits(1):
        report = tm.measure_bias(
            acts, "group", how["within"], how.get("reference", "rest"), how.get("unit"),
            tm.Layout(data["positions"], region="disc"), n_permutations=PERMUTATIONS, alpha=ALPHA, forming=FORMING,
            seed=seed, progress=False,
        )  # fmt: skip
    found = any((contrast.p_family <= ALPHA).any() for contrast in report.contrasts)
    return found, bool(report.significant)


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
            found = np.array(list(tqdm(results, total=n, desc=setting, leave=False, disable=None)))
            rows.append((setting, *[f"{share:.3f}" for share in found.mean(axis=0)]))
            print(rows[-1], flush=True)
    error = 1.96 * np.sqrt(ALPHA * (1 - ALPHA) / n)
    title = f"Errors at alpha {ALPHA}, {n:,} repetitions (exact tests lie within +- {error:.3f} of it)"
    table(title, ("attribute", "family-wise error", "cluster error"), rows)


if __name__ == "__main__":
    main()
