"""``topomap train-demo``: small nets are watched while they learn, and filmed."""

from __future__ import annotations

import shlex
from pathlib import Path

from topomap.cli.figures import without_windows
from topomap.cli.film import aligned, summary_rows

EXAMPLES = """Examples:
  topomap train-demo
  topomap train-demo --to elsewhere --epochs 20 --layout moving"""


def train_demo(
    *,
    to: Path = Path("topomap-training"),
    seed: int = 0,
    epochs: int = 12,
    layout: str = "last",
    overwrite: bool = False,
) -> None:
    """Train small nets, watch a layer of each while it learns, and film that.

    A dense net learns scikit-learn's digits; a second one clothes, where Fashion-MNIST is installed (Debian's package
    dataset-fashion-mnist). Makes run folders with a snapshot at some 30 steps, films (GIF, HTML, and MP4 with the video
    extra), and figures, in one folder, in one or two minutes.

    Parameters
    ----------
    to
        The folder to make.
    seed
        For weights, training and layouts.
    epochs
        Passes over the digits; the clothes, of which there are more, take a quarter of them.
    layout
        Where neurons lie in the films: last, first, joint or moving.
    overwrite
        Replace the folder of an earlier demo.
    """
    from topomap.demo.training import LAYER, film_trainings

    without_windows()
    for name, made in film_trainings(to, seed=seed, epochs=epochs, layout=layout, overwrite=overwrite).items():
        steps, (first, last) = made.run.steps, made.accuracy
        print(f"{name}: a dense net learnt {made.n_learnt:,} pictures in {steps[-1]:,} steps")
        rows = [
            ("right", f"{first:.1%} of {made.n_inputs:,} unseen pictures at first, {last:.1%} at last"),
            ("watched", f"layer {LAYER} at {len(steps)} of the steps, over the unseen pictures"),
        ]
        print(aligned([*rows, *summary_rows(made.summary)], indent="  "))
    if not (to / "clothes").exists():
        print("clothes: left out, as Fashion-MNIST is not installed (apt-get install dataset-fashion-mnist)")
    print(f"\nmade in {to}/")
    for path in sorted(to.iterdir()):
        if path.name != "demo.toml":
            print(f"  {path.name}/ is the run folder of a training" if path.is_dir() else f"  {path.name}")
    here = shlex.quote(str(to))
    print(
        f"""
try next
  topomap film {here}/digits --layer {LAYER} --by label,correct --to {here}/mistakes.html
  topomap film {here}/digits --layer {LAYER} --layout moving --to {here}/moving.html
  topomap plot {here}/digits --layer {LAYER} --by label --step 10 --to {here}/step10.png"""
    )
