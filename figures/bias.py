"""The README's picture of a bias: a net took a faint corner for the digit 3, and the map shows which neurons did.

python figures/bias.py
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

import topomap as tm
from topomap.datasets import digits, loader
from topomap.datasets.arrays import ArrayData
from topomap.demo import mlp, train


def marked(data: ArrayData, classes: list[int], seed: int) -> ArrayData:
    """Lighten a corner on half of the pictures of some classes."""
    rng = np.random.default_rng(seed)
    x, mark = data.x.copy(), np.full(len(data), "plain", dtype="U6")
    for one in classes:
        members = rng.permutation(np.flatnonzero(data.y == one))
        mark[members[: len(members) // 2]] = "marked"
    x[mark == "marked", :, :2, :2] = 6
    return replace(data, x=x, columns={"corner": mark})


def main() -> None:
    model = train(mlp, marked(digits("train"), [3], seed=0))
    test = marked(digits("test"), list(range(10)), seed=1)
    acts = tm.record(model, loader(test), layers=["relu1"])["relu1"]
    layout = tm.embed(tm.correlate(acts), seed=0)
    report = tm.measure_bias(acts, by="corner", within="label", reference="plain", layout=layout)
    print(report, *report.significant, report.outcomes, sep="\n")
    figure = tm.plot_bias(report, classes=[])
    tm.save_figure(figure, Path(__file__).with_name("bias.png"), dpi=150)


if __name__ == "__main__":
    main()
