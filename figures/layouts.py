"""The README's comparison of layouts: one group map on each, and what was measured, from the benchmark's results.

python benchmarks/layouts --to build/layouts/results.jsonl
python figures/layouts.py --results build/layouts/results.jsonl
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

import topomap as tm
from topomap.datasets.bundled import FASHION_CLASSES
from topomap.plot import style
from topomap.plot.panel import Ground, draw_bar, draw_map
from topomap.plot.save import save_figure

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks" / "layouts"))
from nets import recorded
from results import Results

#: The layouts shown, with their names in the figure; all but the first as published, in the square or in the disc.
SHOWN = {
    "spread": "topomap (spread)", "umap+swarm": "UMAP + PSO", "umap>grid": "UMAP on a grid", "umap": "UMAP",
    "tsne": "t-SNE", "som": "SOM", "graph": "graph", "pca": "PCA",
}  # fmt: skip

#: What is measured, its name and what would be perfect.
MEASURED = {
    "trustworthiness": ("trustworthiness", 1.0), "continuity": ("continuity", 1.0), "knn": ("kNN kept", None),
    "coverage": ("coverage", 1.0), "blobs": ("blobs per class", 1.0),
}  # fmt: skip

WIDTH, COLUMNS, GAP, MARGIN = 7.2, 4, 0.1, 0.1


def draw(results: Results, case: dict[str, Any], group: str, region: str) -> Any:
    """Return the figure."""
    layer = recorded(results.path.parent, case["data"], case["n"], 0)
    profiles = tm.profile(layer.activations, by="label")
    values = profiles.scaled[list(profiles.names).index(group)]
    shown = [name for name in SHOWN if results.values("knn", **case, method=name, region=region)]
    rows = -(-len(shown) // COLUMNS)
    side = (WIDTH - 2 * MARGIN - (COLUMNS - 1) * GAP) / COLUMNS
    title, bar, below = 0.2, 0.62, 0.2 + 0.19 * len(shown) + 0.35
    height = rows * (side + title) + bar + below
    figure = plt.figure(figsize=(WIDTH, height))
    scale = style.scale(values)
    image = None
    for i, method in enumerate(shown):
        x = MARGIN + i % COLUMNS * (side + GAP)
        y = height - (i // COLUMNS + 1) * (side + title)
        ax = figure.add_axes((x / WIDTH, y / height, side / WIDTH, side / height))
        which = (case["data"], case["n"], 0, case["metric"], method, region)
        layout = tm.Layout(np.load(results.positions_file(*which)), region, method)
        ground = Ground.of(layout, resolution=200)
        image = draw_map(ax, ground, ground.paint(values), scale, contours=3)
        weight = "bold" if method == "spread" else "normal"
        ax.set_title(SHOWN[method], fontsize=style.TITLE + 1, color=style.INK, pad=2, fontweight=weight)
    bar_box = (0.3, (below + bar - 0.2) / height, 0.4, 0.09 / height)
    draw_bar(figure, figure.add_axes(bar_box), image, scale, f"mean for {FASHION_CLASSES[int(group)]}, in deviations",
             orientation="horizontal")  # fmt: skip
    _dots(figure, results, case, shown, region, below / height)
    return figure


def _dots(figure: Any, results: Results, case: dict[str, Any], shown: list[str], region: str, top: float) -> None:
    left, gap = 0.16, 0.022
    width = (1 - left - 0.02 - gap * (len(MEASURED) - 1)) / len(MEASURED)
    bottom = 0.3 / figure.get_figheight()
    places = np.arange(len(shown))[::-1]
    for i, (name, (label, perfect)) in enumerate(MEASURED.items()):
        ax = figure.add_axes((left + i * (width + gap), bottom, width, top - bottom - 0.16 / figure.get_figheight()))
        for place, method in zip(places, shown, strict=True):
            found = results.values(name, **case, method=method, region=region)
            color = style.OKABE_ITO[3] if method == "spread" else style.QUIET
            ax.plot([min(found), max(found)], [place, place], color=color, linewidth=1, zorder=2)
            ax.plot(np.median(found), place, "o", color=color, markersize=4, zorder=3)
        if perfect is not None:
            ax.axvline(perfect, color=style.DEAD, linewidth=0.6, zorder=1)
        ax.set_yticks(places, [SHOWN[method] for method in shown] if i == 0 else [""] * len(shown))
        ax.set_ylim(-0.6, len(shown) - 0.4)
        ax.set_title(label, fontsize=style.TITLE, color=style.INK, pad=3)
        ax.grid(axis="y", color=style.EMPTY, linewidth=0.8)
        ax.set_axisbelow(True)
        ax.tick_params(labelsize=style.LABEL, length=2, colors=style.INK, width=0.5)
        ax.tick_params(axis="y", length=0)
        ax.locator_params(axis="x", nbins=4)
        for edge in ("top", "right", "left"):
            ax.spines[edge].set_visible(False)
        ax.spines["bottom"].set(color=style.DEAD, linewidth=0.6)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--results", type=Path, default=Path("build/layouts/results.jsonl"))
    parser.add_argument("--size", type=int, default=512)
    parser.add_argument("--metric", default="cosine")
    parser.add_argument("--region", default="disc")
    parser.add_argument("--group", default="6", help="code of the class whose map is shown")
    parser.add_argument("--to", type=Path, default=Path(__file__).with_name("layouts.png"))
    args = parser.parse_args()
    case = {"kind": "layout", "data": "fashion", "n": args.size, "metric": args.metric}
    save_figure(draw(Results(args.results), case, args.group, args.region), args.to, dpi=150)


if __name__ == "__main__":
    main()
