"""What recording a training costs, what its snapshots take on disk, and what a killed process leaves behind.

``cost`` trains a dense and a convolutional net on Fashion-MNIST, bare and recorded in turn, and compares the weights.
``store`` writes, opens and reads 1,000 snapshots of 2,048 neurons and ten groups.
``kills`` sends SIGKILL to a process that records, at random times, thirty times.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from common import peak_megabytes, table
from torch import nn

import topomap as tm
from topomap.datasets import fashion_mnist

N_TRAIN, SNAPSHOTS, NEURONS = 20_000, 1_000, 2_048

MAKE = f"""
import numpy as np, sys
from topomap.recording.moments import MomentAccumulator
from topomap.run import Inputs, Run
from topomap.store import TrainingFolder
values, label = np.random.default_rng(0).normal(size=(1000, {NEURONS})).astype("f4"), np.arange(1000) % 10
moments = MomentAccumulator({NEURONS}, by=(("label",),), exact_below=0, n_features=128)
moments.update(values, {{"label": label}})
run = Run(Inputs(np.zeros(0, dtype=int)), {{("fc", "none"): moments.finish("fc", "none")}}, {{"seed": 0}})
"""

KILLED = """
import sys, torch
from torch import nn
import topomap as tm
torch.set_num_threads(1)
torch.manual_seed(0)
net = nn.Sequential(nn.Linear(3, 64), nn.ReLU(), nn.Linear(64, 2))
x = torch.linspace(-1, 1, 60).reshape(20, 3), torch.arange(20) % 2
recorder = tm.TrainingRecorder(net, x, "1", to=sys.argv[1])
step = recorder.steps[-1] + 1 if recorder.steps else 0
print("ready", flush=True)
while True:
    with torch.no_grad():
        net[0].weight.fill_(step)
    recorder.snapshot(step, loss=step)
    print(step, flush=True)
    step += 1
"""


def dense() -> nn.Module:
    """Two layers of 512 and 256 units."""
    layers = (nn.Flatten(), nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 256), nn.ReLU(), nn.Linear(256, 10))
    return nn.Sequential(*layers)


def convolutional() -> nn.Module:
    """Two layers of 32 and 64 channels, and one of 128 units."""
    first = (nn.Conv2d(1, 32, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3), nn.ReLU(), nn.MaxPool2d(2))
    return nn.Sequential(*first, nn.Flatten(), nn.Linear(1600, 128), nn.ReLU(), nn.Dropout(0.5), nn.Linear(128, 10))


def train(make: object, data: tuple[torch.Tensor, torch.Tensor], epochs: int, every: object = None) -> tuple:
    """Train a net; return seconds of the processor, its weights, and the recorder if there is one."""
    torch.manual_seed(0)
    net: nn.Module = make()  # type: ignore[operator]
    x, y = data
    recorder = None
    began = time.process_time()
    if every is not None:
        recorder = tm.TrainingRecorder(net, (x[-500:], y[-500:]), every=every)  # type: ignore[arg-type]
        recorder.step(0, epoch=0)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    generator = torch.Generator().manual_seed(0)
    step = 0
    for _ in range(epochs):
        for part in torch.randperm(len(x), generator=generator).split(64):
            loss = nn.functional.cross_entropy(net(x[part]), y[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
            if recorder is not None:
                recorder.step(step, loss=loss, epoch=step * 64 / len(x))
    return time.process_time() - began, net.state_dict(), recorder


def cost(repeats: int, epochs: int) -> None:
    data = fashion_mnist("train")
    x, y = torch.as_tensor(data.x[:N_TRAIN]).float() / 255, torch.as_tensor(data.y[:N_TRAIN]).long()
    schedules = (None, "epoch", "geometric", 100, 20)
    rows = []
    for name, make in (("dense", dense), ("convolutional", convolutional)):
        seconds: dict[object, list[float]] = {every: [] for every in schedules}
        shares: dict[object, float] = {}
        counts: dict[object, int] = {}
        bare = None
        train(make, (x[:2000], y[:2000]), 1)  # the first run pays for what later ones find ready
        for _ in range(repeats):
            for every in schedules:
                took, weights, recorder = train(make, (x, y), epochs, every)
                seconds[every].append(took)
                bare = bare or weights
                assert all(torch.equal(bare[key], weights[key]) for key in bare), "recording changed the training"
                if recorder is not None:
                    shares[every] = recorder.run.provenance["training"]["share"]
                    counts[every] = len(recorder.steps)
        base = median(seconds[None])
        for every in schedules[1:]:
            took = median(seconds[every])
            n = counts[every]
            rows.append((name, str(every), n, base, took, took / base, shares[every], 1e3 * (took - base) / n))
    columns = ("net", "every", "snapshots", "bare s", "recorded s", "ratio", "share of the time", "ms per snapshot")
    table(f"Cost of recording, {len(x):,} inputs x {epochs} epochs, probe of 500, weights bit-equal", columns, rows)


def store(n: int) -> None:
    rows = []
    with tempfile.TemporaryDirectory() as name:
        to = Path(name) / "run"
        work = f"""
folder = TrainingFolder({str(to)!r})
for step in range({n}):
    folder.append(step, run, {{"loss": 1 / (1 + step), "accuracy": 0.5, "epoch": step / 10}})
"""
        began = time.perf_counter()
        memory = peak_megabytes(MAKE, work)
        rows.append(("write all", time.perf_counter() - began, memory))
        open_it = f"from topomap.store import open_run\nrun = open_run({str(to)!r})"
        began = time.perf_counter()
        run = tm.open_run(to)
        rows.append(("open", time.perf_counter() - began, peak_megabytes(MAKE, open_it)))
        read = f"{open_it}\nfor step in run.steps: run.at(step)['fc'].grouping('label')"
        began = time.perf_counter()
        for step in run.steps:
            run.at(step)["fc"].grouping("label")
        rows.append(("read all, one by one", time.perf_counter() - began, peak_megabytes(MAKE, read)))
        size = sum(file.stat().st_size for file in to.rglob("*") if file.is_file())
        title = (
            f"{n:,} snapshots x {NEURONS:,} neurons x 10 groups: {size / 2**30:.2f} GiB, "
            f"index {(to / 'run.toml').stat().st_size / 1024:.0f} KiB"
        )
        table(title, ("", "s", "peak MB above the start"), rows)


def kills(n: int) -> None:
    rng = np.random.default_rng(0)
    lost = torn = unnamed = 0
    with tempfile.TemporaryDirectory() as name:
        to = Path(name) / "run"
        returned, held, more = -1, 0, 0
        for _ in range(n):
            command = [sys.executable, "-c", KILLED, str(to)]
            with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
                assert process.stdout is not None
                process.stdout.readline()
                time.sleep(rng.uniform(0.05, 1.0))
                os.kill(process.pid, signal.SIGKILL)
                lines = process.stdout.read().split()
            returned = int(lines[-1]) if lines else returned
            if not to.exists():
                assert returned < 0
                continue
            run = tm.open_run(to)
            held = len(run.steps)
            lost += max(returned + 1 - held, 0)
            more += held > returned + 1  # written whole, but killed before the call returned
            unnamed += len([path for path in (to / "run.zarr" / "steps").iterdir() if path.is_dir()]) > held
            unnamed += (to / ".snapshot.partial").exists()
            for step in run.steps:
                try:
                    moments = run.at(step)["1"]
                    torn += int(moments.count != 20 or run.metrics["loss"][step] != step)
                except ValueError:
                    torn += 1
        rows = [(n, held, lost, torn, more, unnamed)]
    columns = ("kills", "snapshots in the end", "lost", "torn", "whole before their call returned", "leftovers seen")
    table("SIGKILL at random times while a training is recorded, resumed after each", columns, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", default=["cost", "store", "kills"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=5)
    parser.add_argument("--snapshots", type=int, default=SNAPSHOTS)
    parser.add_argument("--kills", type=int, default=30)
    given = parser.parse_args()
    if "cost" in given.parts:
        cost(given.repeats, given.epochs)
    if "store" in given.parts:
        store(given.snapshots)
    if "kills" in given.parts:
        kills(given.kills)


if __name__ == "__main__":
    main()
