"""The README's film: a layer of a small net while it learns handwritten digits."""

from __future__ import annotations

from pathlib import Path

import topomap as tm
from topomap.datasets import digits
from topomap.demo.training import LAYER, watch


def main() -> None:
    run = watch(digits("train"), digits("test"))
    film = tm.animate(run, LAYER, between=1, fps=8, width=720, height=404, title="256 neurons learn digits")
    film.save(Path(__file__).with_name("training.gif"))


if __name__ == "__main__":
    main()
