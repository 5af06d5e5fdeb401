"""The batch map against MiniSom: quantisation and topographic error, and time.

Both train a map of the same size on the same features for ten passes, MiniSom with the parameters of Krug et al.
(2023): from random neurons, in random order, sigma 1, learning rate .5. The layers are those of `layouts`, a network
per seed, which also seeds MiniSom; the batch map is not random. Times are of whole layouts, one after the other.

- Quantisation error: mean distance of a neuron's features to its winning cell (Kohonen 2013).
- Topographic error: share of neurons whose two best cells do not touch, by side or corner (Kiviluoto 1996,
  doi 10.1109/ICNN.1996.548907).

    python benchmarks/som.py
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import numpy as np
from common import table
from layouts.nets import recorded
from minisom import MiniSom

import topomap as tm
from topomap.layout import PCA, BatchSOM
from topomap.layout.som import rows_of
from topomap.layout.som_batch import ranked

N_EPOCHS = 10
LAYERS = (("digits", 512), ("fashion", 512), ("fashion", 2048))


def minisom(similarity, seed):
    """Train as MiniSom's user would, on features turned into their own span: the same map, in less time."""
    rows = rows_of(similarity).astype(float)
    if rows.shape[1] > len(rows):
        rows = np.linalg.qr(rows.T)[1].T
    side = int(np.sqrt(len(rows))) + 1
    rng = np.random.default_rng(seed)
    som = MiniSom(side, side, rows.shape[1], sigma=1, learning_rate=0.5, random_seed=seed)
    som._weights = rows[rng.integers(len(rows), size=(side, side))]
    som.train(rows[rng.permutation(len(rows))], N_EPOCHS, use_epochs=True)
    return rows, som._weights.reshape(side * side, -1)


def batch(similarity, seed):
    rows = rows_of(similarity)
    start = ranked(PCA()(similarity, None, None), int(np.sqrt(len(rows))) + 1)
    return rows, BatchSOM(n_epochs=N_EPOCHS).train(rows, start)[1]


def errors(rows, cells):
    """Return quantisation and topographic error."""
    rows, cells = rows.astype(float), cells.astype(float)
    side = int(np.sqrt(len(cells)))
    squares = (rows**2).sum(axis=1)[:, None] + (cells**2).sum(axis=1) - 2 * rows @ cells.T
    best = np.argsort(squares, axis=1)[:, :2]
    distance = np.sqrt(np.maximum(squares[np.arange(len(rows)), best[:, 0]], 0))
    apart = np.abs(np.stack(np.unravel_index(best[:, 0], (side, side))) - np.unravel_index(best[:, 1], (side, side)))
    return float(distance.mean()), float((apart.max(axis=0) > 1).mean())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, default=Path("build/layouts"), help="folder of the trained networks")
    parser.add_argument("--seeds", type=int, default=3)
    chosen = parser.parse_args()
    batch(tm.correlate(np.random.default_rng(0).normal(size=(50, 30))), 0)  # imports torch
    lines = []
    for data, n in LAYERS:
        found = {"MiniSom": [], "som-batch": []}
        for seed in range(chosen.seeds):
            similarity = tm.correlate(recorded(chosen.to, data, n, seed).values)
            for name, train in (("som-batch", batch), ("MiniSom", minisom)):
                start = time.perf_counter()
                rows, cells = train(similarity, seed)
                seconds = time.perf_counter() - start
                found[name].append((*errors(rows, cells), seconds))
                print(data, n, seed, name, [f"{value:.3g}" for value in found[name][-1]], flush=True)
        for name, runs in found.items():
            quantisation, topographic, seconds = (median(run[k] for run in runs) for k in range(3))
            faster = median(slow[2] / fast[2] for slow, fast in zip(found["MiniSom"], runs, strict=True))
            lines.append((f"{data} {n}", name, f"{quantisation:.3f}", f"{topographic:.3f}", seconds, f"{faster:.0f}"))
    columns = ("layer", "map", "quantisation error", "topographic error", "seconds", "x MiniSom")
    table(f"Self-organising maps, {N_EPOCHS} passes", columns, lines)


if __name__ == "__main__":
    main()
