"""The networks whose neurons are laid out: one dense hidden layer, trained here, and what it answers to 1,000 inputs.

The constants of the filled layout were fixed on networks 0 to 2 of 512 and 2,048 units, after looks at those of 128 and
8,192; networks from number 3 on are held out, but that how strongly the fluid is drawn back to where it started was
chosen on networks 0 to 5 of 512 units.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import topomap as tm
from topomap.datasets import ArrayData, digits, fashion_mnist, loader

N_INPUTS = 1000

#: Pictures trained on, epochs and batch size. A third of Fashion-MNIST keeps 8,192 units within a minute.
TRAINING = {"fashion": (20_000, 3, 128), "digits": (1_000, 30, 64)}


@dataclass(frozen=True, eq=False)
class Recorded:
    """The live units of one network: `values` of shape ``(n_inputs, n_live)``, `labels`, and facts about the net."""

    values: NDArray[np.float32]
    labels: NDArray[np.int64]
    accuracy: float
    dead: int

    @property
    def activations(self) -> tm.Activations:
        """The values with their labels."""
        return tm.Activations.from_array(self.values, label=self.labels)


def recorded(folder: Path, data: str, n: int, net: int) -> Recorded:
    """Return what a network answers; trained and recorded once, then read from the folder.

    Dead units are left out: where a layout puts them is not in question, and the libraries compared with know none.
    """
    file = folder / "nets" / f"{data}-{n}-{net}.npz"
    if not file.exists():
        found = _record(data, n, net)
        file.parent.mkdir(parents=True, exist_ok=True)
        part = file.with_suffix(".part.npz")
        np.savez(part, **found)
        part.replace(file)
    with np.load(file) as kept:
        return Recorded(kept["values"], kept["labels"], float(kept["accuracy"]), int(kept["dead"]))


def _record(data: str, n: int, net: int) -> dict[str, Any]:
    train, test = (fashion_mnist("train"), fashion_mnist("test")) if data == "fashion" else (digits("train"), digits())
    model, held_out = _trained(data, train, n, net), test if data == "fashion" else digits("test")
    acts = tm.record(model, loader(test), layers=["2"], n=N_INPUTS, progress=False)["2"]
    dead = acts.dead
    values = np.asarray(acts.values)[:, ~dead].astype(np.float32)
    labels = np.asarray(test.y)[:N_INPUTS]
    return {"values": values, "labels": labels, "accuracy": _accuracy(model, held_out), "dead": int(dead.sum())}


def _tensor(data: ArrayData) -> Any:
    import torch

    return torch.from_numpy(data.x.reshape(len(data), -1).astype(np.float32) * np.float32(data.scale))


def _trained(data: str, pictures: ArrayData, n: int, net: int) -> Any:
    import torch
    from torch import nn

    torch.manual_seed(1000 * net + n)
    size, epochs, batch = TRAINING[data]
    x, y = _tensor(pictures)[:size], torch.from_numpy(np.array(pictures.y))[:size]
    model = nn.Sequential(nn.Flatten(), nn.Linear(x.shape[1], n), nn.ReLU(), nn.Linear(n, 10))
    optimizer = torch.optim.Adam(model.parameters(), 1e-3)
    for _ in range(epochs):
        for index in torch.randperm(len(x)).split(batch):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x[index]), y[index]).backward()
            optimizer.step()
    return model.eval()


def _accuracy(model: Any, data: ArrayData) -> float:
    import torch

    with torch.inference_mode():
        return float((model(_tensor(data)).argmax(1).numpy() == data.y).mean())
