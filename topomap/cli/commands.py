"""One function per command, here or in a file of its own; what a command prints, it prints there."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal

from topomap.cli.bias import EXAMPLES as BIAS
from topomap.cli.bias import bias
from topomap.cli.compare import EXAMPLES as COMPARE
from topomap.cli.compare import compare
from topomap.cli.errors import EXAMPLES as ERRORS
from topomap.cli.errors import errors
from topomap.cli.figures import without_windows
from topomap.cli.film import EXAMPLES as FILM
from topomap.cli.film import film
from topomap.cli.patterns import EXAMPLES as PATTERNS
from topomap.cli.patterns import patterns
from topomap.cli.plot import EXAMPLES as PLOT
from topomap.cli.plot import plot
from topomap.cli.record import LAYERS, RECORD, layers, record
from topomap.cli.train_demo import EXAMPLES as TRAIN_DEMO
from topomap.cli.train_demo import train_demo

EXAMPLES = {
    "topomap": """Start here:
  topomap demo                        two small nets on handwritten digits, with figures
  topomap train-demo                  small nets filmed while they learn
  topomap record --help               your own model and data

Then, on what was recorded:
  topomap info RUN
  topomap embed RUN --layer conv1
  topomap plot RUN --layer conv1 --by label --to maps.png
  topomap patterns RUN --layer conv1 --stability --to cards.png
  topomap bias RUN --layer conv1 --by group --within label --to report.html
  topomap errors RUN --layer conv1
  topomap film RUN --layer conv1 --by label --to film.html
  topomap compare RUN --layer conv1 --by label --to methods.png""",
    "demo": """Examples:
  topomap demo
  topomap demo --to elsewhere --method umap --seed 1""",
    "train_demo": TRAIN_DEMO,
    "layers": LAYERS,
    "record": RECORD,
    "embed": """Examples:
  topomap embed runs/a --layer layer3
  topomap embed runs/a --layer layer3 --method umap+swarm --metric cosine --region square --seed 1
  topomap embed runs/a --layer layer4 --align-to layer3""",
    "plot": PLOT,
    "patterns": PATTERNS,
    "bias": BIAS,
    "errors": ERRORS,
    "film": FILM,
    "compare": COMPARE,
    "info": """Examples:
  topomap info runs/a""",
}


def demo(
    *,
    to: Path = Path("topomap-demo"),
    seed: int = 0,
    method: str = "spread",
    epochs: int = 12,
    overwrite: bool = False,
) -> None:
    """Train two small nets on handwritten digits and map their neurons.

    A convolutional and a dense net learn scikit-learn's digits, which come with it. Makes run folders, weights and
    figures (PNG and PDF) in one folder, in less than a minute.

    Parameters
    ----------
    to
        The folder to make.
    seed
        For weights, training and layouts.
    method
        The layout: spread, tsne, umap, pca, mds, som, som-batch, force, graph, swarm, random, or a chain such as
        umap+swarm.
    epochs
        Passes over the training data.
    overwrite
        Replace the folder of an earlier demo.
    """
    from topomap.cli.show import layers_table
    from topomap.demo import PAINTED, make_demo

    without_windows()
    made = make_demo(to, seed=seed, method=method, epochs=epochs, overwrite=overwrite)
    names = {"cnn": "convolutional net", "mlp": "dense net"}
    for name, run in made.runs.items():
        print(f"{names[name]}: {made.accuracy[name]:.1%} of {len(run.inputs)} unseen digits right")
        print(layers_table(run, indent="  "))
    print(f"\nmade in {made.path}/")
    for name in made.runs:
        print(f"  {name}/ is a run folder, {name}.safetensors its weights")
    for figure in made.figures:
        print(f"  {figure.relative_to(made.path)}")
    here, layer = shlex.quote(str(made.path)), PAINTED["mlp"]
    print(
        f"""
try next
  topomap info {here}/mlp
  topomap plot {here}/mlp --layer {layer} --method {shlex.quote(method)} --by label,correct --to {here}/mistakes.png
  topomap embed {here}/mlp --layer {layer} --method tsne --region square
  topomap plot {here}/mlp --layer {layer} --method tsne --by label --to {here}/tsne.png
  topomap layers topomap.demo:cnn --data topomap.datasets:digits
  topomap record topomap.demo:cnn --weights {here}/cnn.safetensors --data topomap.datasets:digits \\
    --layers "relu*" --reduce max --to {here}/cnn-max"""
    )


def embed(
    run: Path,
    *,
    layer: str | None = None,
    reduce: str | None = None,
    step: int | None = None,
    by: str | None = None,
    method: str | None = None,
    metric: Literal["pearson", "spearman", "cosine", "jaccard", "euclidean"] | None = None,
    absolute: bool = False,
    region: str | None = None,
    seed: int = 0,
    preset: Literal["krug2023"] | None = None,
    align_to: str | None = None,
) -> None:
    """Lay the neurons of a layer out in the plane, similar ones close together, and store that in the run folder.

    Parameters
    ----------
    run
        A run folder.
    layer
        The layer; may be left out where only one was recorded.
    reduce
        The reduction, where the layer was recorded under several.
    step
        Of a training: the step whose neurons are laid out, instead of the last one.
    by
        Compare neurons over groups of inputs, e.g. label, instead of over the inputs.
    method
        spread (the default, fills the region), tsne, umap, pca, mds, som, som-batch, force, graph, swarm, random, or a
        chain such as umap+spread.
    metric
        How neurons are compared; pearson by default. cosine and jaccard (on which inputs they are active) suit latents
        that are mostly zero.
    absolute
        Whether opposite neurons count as similar.
    region
        What the layout fills: disc (the default), square, hexagon, hull, or a mask in a .npy file (True inside) or a
        .png picture (inside is what is opaque where parts are transparent, else what is light).
    seed
        For what is drawn at random.
    preset
        krug2023 compares and lays out as Krug et al. 2023 do, over the profiles of the labels or of by.
    align_to
        Turn it to a stored layout: the method of one of the same layer; or another layer (layer/method where that has
        several), whose neurons are matched by their profiles over the labels or over by.
    """
    from topomap.cli.aligning import turn_to
    from topomap.cli.stored import at_step, make_layout, next_plot, pick, store_layout
    from topomap.store import open_run

    opened = at_step(open_run(run), step)
    acts = pick(opened, layer, reduce)
    turned = None if align_to is None else turn_to(opened, acts, align_to, by)
    layout = make_layout(
        opened, acts, by=by, method=method, region=region, seed=seed, metric=metric, absolute=absolute, preset=preset
    )
    layout = layout if turned is None else turned(layout)
    if step is not None:
        layout = replace(layout, provenance={**layout.provenance, "step": step})
    store_layout(opened, acts, layout)
    print(f"{layout}\nstored in {run}; next: {next_plot(opened, run, acts, layout.method)}")


def info(run: Path) -> None:
    """Print what a run folder holds: inputs, layers, dead neurons, layouts, and how it came about.

    Parameters
    ----------
    run
        A run folder.
    """
    from topomap.cli.show import run_text
    from topomap.store import open_run

    print(run_text(open_run(run)))


COMMANDS: tuple[Callable[..., None], ...] = (
    demo,
    train_demo,
    layers,
    record,
    embed,
    plot,
    patterns,
    bias,
    errors,
    film,
    compare,
    info,
)
