"""How the filled layout grows: seconds, memory and quality against the number of neurons, up to 100,000.

One dense layer of as many units as the largest size learns Fashion-MNIST for a few steps, and 1,000 test images are
recorded; smaller layers are units of it drawn at random. Every size runs in a process of its own: similarity, graph and
layout are timed together, after a small layout that loads what is compiled. The peak is that of the whole process, the
values included. Up to 8,192 neurons umap-learn (warm, seeded, ``metric="correlation"``, one thread) lays out the same
values in the same process.

Run: python benchmarks/scale.py [sizes...]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import table

SIZES = (512, 2048, 4096, 8192, 16_384, 32_768, 100_000)

#: Sizes between which the exponent of growth is taken.
FROM, TO = 2048, 32_768

#: Largest size that umap-learn runs on.
PEER = 8192

#: Neurons of the untimed layout that compiles every path, where nothing is compiled yet.
COMPILING = 17_000


def record(n: int, file: Path) -> None:
    """Save 1,000 x n activations of a trained layer."""
    import torch
    from torch import nn
    from tqdm.auto import tqdm

    from topomap.datasets import fashion_mnist, loader

    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(784, n), nn.ReLU(), nn.Linear(n, 10))
    optimizer = torch.optim.Adam(net.parameters(), 1e-4)
    batches = zip(range(20), loader(fashion_mnist("train"), 128), strict=False)
    for _, (x, y) in tqdm(batches, total=20, desc=f"training {n} units", leave=False, disable=None):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    images = np.lib.format.open_memmap(file, mode="w+", dtype=np.float32, shape=(1000, n))
    with torch.no_grad():
        for i, (x, _) in zip(range(0, 1000, 100), loader(fashion_mnist("test"), 100), strict=False):
            images[i : i + 100] = net[:3](x).numpy()
    images.flush()


def resident(field: str) -> float:
    """Megabytes of this process (Linux): ``"VmRSS"`` now, ``"VmHWM"`` at most."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))


def measure(n: int, file: str, quality: bool) -> dict[str, float]:
    """Lay n units out, in this process."""
    import topomap as tm

    stored = np.load(file, mmap_mode="r")
    units = np.sort(np.random.default_rng(0).permutation(stored.shape[1])[:n])
    values = np.array(stored[:, units])
    del stored
    tm.embed(tm.correlate(values[:, : min(n, 5000)]), seed=1)
    start, busy = time.perf_counter(), time.process_time()
    similarity = tm.correlate(values)
    layout = tm.embed(similarity, seed=0)
    found = {
        "seconds": time.perf_counter() - start,
        "cpu": time.process_time() - busy,
        "peak": resident("VmHWM"),
    }
    if quality:
        q = tm.measure_layout(layout, similarity)
        found |= {"T": q.trustworthiness, "C": q.continuity, "kNN": q.knn}
        found |= {"evenness": q.evenness, "hole": q.hole}
        if n <= PEER:
            from umap import UMAP

            alive = values[:, ~similarity.dead].T
            for _ in range(2):
                start = time.perf_counter()
                UMAP(metric="correlation", random_state=0, n_jobs=1).fit_transform(alive)
                found["peer"] = time.perf_counter() - start
    return found


def in_process(n: int, file: Path, quality: bool = True) -> dict[str, float]:
    command = [sys.executable, __file__, "--only", str(n), "--file", str(file), *([] if quality else ["--bare"])]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sizes", nargs="*", type=int, default=list(SIZES), help="numbers of neurons")
    parser.add_argument("--file", type=Path, help="activations, 1,000 x at least the largest size, as .npy")
    parser.add_argument("--only", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.only:
        print(json.dumps({key: float(value) for key, value in measure(given.only, given.file, not given.bare).items()}))
        return
    with tempfile.TemporaryDirectory() as folder:
        file = given.file or Path(folder) / "values.npy"
        if given.file is None:
            record(max(given.sizes), file)
        in_process(min(COMPILING, max(given.sizes)), file, quality=False)
        results = {}
        for n in sorted(given.sizes):
            results[n] = in_process(n, file)
            told = ", ".join(f"{key} {value:.3g}" for key, value in results[n].items())
            print(f"{n:,} neurons: {told}", file=sys.stderr, flush=True)  # the largest take minutes
    columns = ("seconds", "cpu", "peak", "T", "C", "kNN", "evenness", "hole")
    rows = [
        [f"{n:,}", *(found[key] for key in columns), found["seconds"] / found["peer"] if "peer" in found else ""]
        for n, found in results.items()
    ]
    heads = ("N", "seconds", "CPU seconds", "peak MB", "T", "C", "kNN", "evenness", "hole", "x umap-learn")
    table("The filled layout, graph included; 1,000 inputs, k = 10", heads, rows)
    between = [n for n in results if FROM <= n <= TO]
    if len(between) > 1:
        slopes = [
            np.polyfit(np.log(between), np.log([results[n][key] for n in between]), 1)[0] for key in ("seconds", "cpu")
        ]
        print(
            f"\nExponent of growth, {between[0]:,} to {between[-1]:,}: {slopes[0]:.2f} (CPU seconds: {slopes[1]:.2f})"
        )


if __name__ == "__main__":
    main()
