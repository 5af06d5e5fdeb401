"""The README's picture of patterns: digits that a dense layer treats alike.

python figures/patterns.py
"""

from __future__ import annotations

from pathlib import Path

import topomap as tm
from topomap.datasets import digits, loader
from topomap.demo import mlp, train


def main() -> None:
    model = train(mlp, digits("train"))
    acts = tm.record(model, loader(digits("test")), layers=["relu1"])["relu1"]
    layout = tm.embed(tm.correlate(acts), seed=0)
    report = tm.measure_patterns(tm.find_patterns(acts))
    figure = tm.plot_patterns(report.patterns, acts, layout, report=report, n=4, parts=("cards",))
    tm.save_figure(figure, Path(__file__).with_name("patterns.png"), dpi=150)


if __name__ == "__main__":
    main()
