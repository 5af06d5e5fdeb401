"""The swarm layout against the paper's equations in dense NumPy, and its convolution against its sums of all pairs.

Against the dense equations: from scratch (local and global forces) and from another layout (local forces alone, as in
``umap+swarm``). The dense version takes fewer steps, because it is slow; every step costs the same, so times are
compared per step, in turn. Ours includes its preparation, spread over fewer steps than a layout has; the dense
version's is left out. Memory is the peak above what a fresh process held before, imports and data in place (Linux).

Convolution against all pairs: ``umap+swarm`` as published, 1,000 steps from one start, both ways; trustworthiness,
continuity and kept neighbours (k = 10) of both, median over networks. At 8,192 neurons all pairs are timed over fewer
steps.

    python benchmarks/swarm.py
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import numpy as np
from common import compare, peak_megabytes, table
from layouts.nets import recorded

import topomap as tm
from topomap.layout import Swarm

N_INPUTS = 500
N_STEPS = 1000
DENSE_STEPS = {512: 40, 2048: 6}
OUR_STEPS = {512: 400, 2048: 60, 8192: 10}
QUALITY = {512: 3, 2048: 3}
TIMED = 8192
MEASURES = ("trustworthiness", "continuity", "knn")

SETUP = """
import ctypes
import numpy as np, scipy.fft, threadpoolctl, topomap.layout.close_pairs  # before memory is read
from swarm import Swarm, dense_swarm, planted
similarity = planted({n})
init = np.random.default_rng(0).random(({n}, 2))
ctypes.CDLL(None).malloc_trim(0)  # else memory freed before would be used again unseen
"""


def dense_swarm(positions, distance, n_steps, with_global):
    """Follow the paper's equations with arrays of all pairs, N x N x 2 for displacements and forces, as published."""
    positions = positions.copy()
    for c in np.linspace(-3, 6, N_STEPS)[:n_steps]:
        s = (np.tanh(c) + 1) / 2
        gap = positions[None, :, :] - positions[:, None, :]
        r = np.maximum(np.sqrt((gap**2).sum(axis=-1)), 0.01)
        force = s * (1.5 / (r + 1) ** 3 - 15 * np.exp(-r / 2))
        if with_global:
            force = force + (1 - s) * (1.5 * (1 - (distance / distance.max()) ** 3) - 0.5 * np.exp(-distance / 2))
        positions = positions + (force[:, :, None] / 2 * gap).mean(axis=1)
    return positions


def planted(n):
    rng = np.random.default_rng(0)
    values = rng.normal(size=(N_INPUTS, 10)) @ rng.normal(size=(10, n)) + rng.normal(size=(N_INPUTS, n))
    return tm.correlate(values.astype(np.float32))


def against_dense():
    lines = []
    for n, steps in OUR_STEPS.items():
        similarity, init = planted(n), np.random.default_rng(0).random((n, 2))
        setup = SETUP.format(n=n)
        for from_layout in (False, True):
            start = "init" if from_layout else "None"
            ours = f"Swarm(n_steps={steps})(similarity, {start}, np.random.default_rng(0))"
            line = [n, "layout" if from_layout else "scratch", "-", f"{peak_megabytes(setup, ours):.0f}", "-"]
            if n in DENSE_STEPS:
                distance = None if from_layout else similarity.distance().astype(np.float64)
                seconds = compare(
                    {
                        "dense": lambda d=distance, n=n, i=init: dense_swarm(i, d, DENSE_STEPS[n], d is not None),
                        "ours": lambda s=similarity, i=init if from_layout else None, k=steps: Swarm(n_steps=k)(
                            s, i, np.random.default_rng(0)
                        ),
                    },
                    repeats=3,
                )
                line[2] = f"{seconds['dense'] / DENSE_STEPS[n] / (seconds['ours'] / steps):.0f}"
                given = "None" if from_layout else "similarity.distance().astype(float)"
                dense = f"dense_swarm(init, {given}, {DENSE_STEPS[n]}, {not from_layout})"
                line[4] = f"{peak_megabytes(setup, dense):.0f}"
            lines.append(line)
    table("Swarm, per step", ("N", "start", "dense / ours", "peak MB, ours", "peak MB, dense"), lines)


def against_all_pairs(folder):
    lines = []
    for n, n_nets in QUALITY.items():
        found = {"all pairs": [], "convolution": []}
        for net in range(n_nets):
            similarity = tm.correlate(recorded(folder, "fashion", n, net).values)
            start = tm.embed(similarity, "umap", region="hull", seed=net).positions
            for name, above in (("all pairs", n), ("convolution", 0)):
                began = time.perf_counter()
                points = Swarm(N_STEPS, convolve_above=above)(similarity, np.array(start), np.random.default_rng(0))
                seconds = time.perf_counter() - began
                quality = tm.measure_layout(tm.Layout(points, region="square"), similarity, progress=False)
                found[name].append((*(getattr(quality, measure) for measure in MEASURES), seconds))
                print(n, net, name, [f"{value:.4g}" for value in found[name][-1]], flush=True)
        gap = np.abs(np.subtract(*found.values()))[:, :3].max()
        for name, runs in found.items():
            middle = [median(run[k] for run in runs) for k in range(4)]
            lines.append((n, name, *(f"{value:.4f}" for value in middle[:3]), f"{gap:.4f}", f"{middle[3]:.0f}"))
    similarity = tm.correlate(recorded(folder, "fashion", TIMED, 0).values)
    start = np.array(tm.embed(similarity, "umap", region="hull").positions)
    for name, above, steps in (("all pairs", TIMED, 20), ("convolution", 0, N_STEPS)):
        began = time.perf_counter()
        Swarm(steps, convolve_above=above)(similarity, start, np.random.default_rng(0))
        seconds = (time.perf_counter() - began) * N_STEPS / steps
        lines.append((TIMED, name, "-", "-", "-", "-", f"{seconds:.0f}"))
    columns = ("N", "sums", "T", "C", "kNN", "largest difference", f"seconds per {N_STEPS} steps")
    table("umap+swarm by all pairs and by convolution", columns, lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--to", type=Path, default=Path("build/layouts"), help="folder of the trained networks")
    parser.add_argument("--only", choices=("dense", "convolution"), help="one of the two tables")
    chosen = parser.parse_args()
    if chosen.only != "convolution":
        against_dense()
    if chosen.only != "dense":
        against_all_pairs(chosen.to)


if __name__ == "__main__":
    main()
