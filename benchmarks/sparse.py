"""Latents of a sparse autoencoder, kept sparse against the same values as an array: time and peak memory.

The script trains a TopK autoencoder on Fashion-MNIST, records its latents with ``keep="sparse"``, and goes on from
there to neighbours and a layout, once sparse and once dense. Peaks are of a process for each step (Linux), the values
included. Above 32,768 latents only the sparse way is taken.

    python benchmarks/sparse.py --latents 65536
"""

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path

import torch
from common import peak_megabytes, table
from torch import nn

import topomap as tm
from topomap.datasets import fashion_mnist

#: Latents of an input that are not zero.
ACTIVE = 32

SETUP = """
import warnings; warnings.simplefilter("ignore")
import numpy as np, torch
import topomap as tm
from scipy import sparse
few = np.eye(40, dtype=np.float32) + np.eye(40, k=1, dtype=np.float32)
for eye in (few, sparse.csr_array(few)):  # what is imported or compiled at the first call is no work
    tm.correlate(eye, {metric!r}).neighbors(3)
    tm.embed(tm.correlate(eye, {metric!r}), "{method}")
"""
LOAD = {
    "sparse": "values = tm.open_run({folder!r})['1'].values[:]",
    "dense": "values = tm.open_run({folder!r})['1'].values[:].toarray()",
}
NEIGHBORS = "tm.correlate(values, {metric!r}).neighbors(90)"
EMBED = "tm.embed(tm.correlate(values, {metric!r}), '{method}')"


class TopK(nn.Module):
    """Keeps the largest values of each row, where they are above 0."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return what is kept, zeros elsewhere."""
        value, index = x.topk(ACTIVE, dim=-1)
        return torch.zeros_like(x).scatter(-1, index, value.relu())


def autoencoder(latents: int, steps: int) -> nn.Sequential:
    """Train on rows of pixels, from pictures as directions, so that few latents are never active."""
    torch.manual_seed(0)
    x = pixels("train")
    net = nn.Sequential(nn.Linear(784, latents), TopK(), nn.Linear(latents, 784))
    with torch.no_grad():
        picked = x[torch.randint(len(x), (latents,))]
        start = nn.functional.normalize(picked + 0.3 * torch.randn_like(picked) * picked.std(), dim=1)
        net[0].weight.copy_(start)
        net[0].bias.zero_()
        net[2].weight.copy_(start.T / 4)
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-4)
    for _ in range(steps):
        batch = x[torch.randint(len(x), (256,))]
        optimizer.zero_grad()
        nn.functional.mse_loss(net(batch), batch).backward()
        optimizer.step()
    return net


def pixels(split: str) -> torch.Tensor:
    x = torch.as_tensor(fashion_mnist(split).x).reshape(-1, 784).float()
    return (x - x.mean(0)) / x.std()


def seconds(setup: str, work: str, repeats: int = 3) -> float:
    """Return the least time of a statement in this process."""
    space: dict[str, object] = {}
    exec(setup, space)
    run = partial(exec, compile(work, "work", "exec"), space)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return min(times)


def main(latents: int, inputs: int, steps: int, metric: str, method: str) -> None:
    net = autoencoder(latents, steps)
    with tempfile.TemporaryDirectory() as folder:
        x, y = pixels("test")[:inputs], torch.as_tensor(fashion_mnist("test").y)[:inputs]
        loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=128)
        acts = tm.record(net, loader, "1", keep="sparse", to=f"{folder}/run", logits=False)["1"]
        ways = list(LOAD) if latents <= 32_768 else ["sparse"]
        setup = SETUP.format(metric=metric, method=method)
        rows: dict[str, list[object]] = {}
        for name, work in (("correlate and neighbors(90)", NEIGHBORS), ("correlate and embed", EMBED)):
            work = work.format(metric=metric, method=method)
            for way in ways:
                load = LOAD[way].format(folder=f"{folder}/run")
                took = seconds(setup + load, work, 3 if way == "sparse" and "embed" not in name else 1)
                rows.setdefault(name, [name]).extend([took, peak_megabytes(setup, f"{load}\n{work}")])
        size = sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / 1e6
        columns = [""] + [f"{way}, {unit}" for way in ways for unit in ("seconds", "peak MB")]
        table(
            f"{latents:,} latents, {int(acts.dead.sum()):,} of them dead, {inputs:,} inputs, {100 * acts.density:.2g} "
            f"% active, {metric}, {method}; on disk {size:.0f} MB, as an array {4 * latents * inputs / 1e6:,.0f} MB",
            columns,
            list(rows.values()),
        )


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--latents", type=int, default=16_384)
    parser.add_argument("--inputs", type=int, default=5_000)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--metric", default="cosine")
    parser.add_argument("--method", default="spread")
    main(**vars(parser.parse_args()))
