"""One function per command; what a command prints, it prints here."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

from topomap._check import choice
from topomap.cli.compare import EXAMPLES as COMPARE
from topomap.cli.compare import compare
from topomap.cli.figures import check_dpi, check_pixels, read_width, refuse_for_inputs, without_windows

#: A parameter that takes all the values that follow it.
Several = Parameter(consume_multiple=True)

EXAMPLES = {
    "topomap": """Start here:
  topomap demo                        two small nets on handwritten digits, with figures
  topomap record --help               your own model and data

Then, on what was recorded:
  topomap info RUN
  topomap embed RUN --layer conv1
  topomap plot RUN --layer conv1 --by label --to maps.png
  topomap compare RUN --layer conv1 --by label --to methods.png""",
    "demo": """Examples:
  topomap demo
  topomap demo --to elsewhere --method umap --seed 1""",
    "layers": """Examples:
  topomap layers my_package.nets:resnet --shape 3 224 224
  topomap layers topomap.demo:cnn --data topomap.datasets:digits""",
    "record": """MODEL is package.module:factory, where factory is a torch.nn.Module or returns one when called without
arguments. The working directory counts as importable.

Examples:
  topomap record nets:resnet --weights resnet.safetensors --data pictures/ --size 224 --layers "layer*" --to runs/a
  topomap record nets:mlp --data table.npz --layers fc1 fc2 --to runs/b
  topomap record nets:resnet --data data:test_loader --keep moments --by label --by label,correct --to runs/c
  topomap record --config topomap.toml --to runs/d""",
    "embed": """Examples:
  topomap embed runs/a --layer layer3
  topomap embed runs/a --layer layer3 --method umap+swarm --metric cosine --region square --seed 1
  topomap embed runs/a --layer layer4 --align-to layer3""",
    "plot": """Examples:
  topomap plot runs/a --layer layer3 --by label --to maps.png maps.pdf
  topomap plot runs/a --layer layer3 --by label,correct --to maps.svg
  topomap plot runs/a --layer layer3 --by label --certainty 10 --to sure.png
  topomap plot runs/a --layer layer3 --inputs 17 42 --to inputs.png""",
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


def layers(
    model: str,
    *,
    data: str | None = None,
    shape: Annotated[list[int] | None, Several] = None,
    weights: Path | None = None,
    size: Annotated[list[int] | None, Several] = None,
    channels: Literal[1, 3] | None = None,
) -> None:
    """List a model's layers: names, types, output shapes, which axis is the neuron, and how many there are.

    Parameters
    ----------
    model
        package.module:factory.
    data
        Where an example batch comes from: an image folder, a .npz file, or package.module:factory.
    shape
        Instead of data: the shape of one input, e.g. 3 224 224; zeros are sent through.
    weights
        A state dict (.safetensors, or .pt with nothing but tensors).
    size
        Of an image folder's pictures, as for record.
    channels
        Of an image folder's pictures, as for record.
    """
    from topomap.cli.loading import load_data, load_model
    from topomap.recording import list_layers

    if (data is None) == (shape is None):
        raise ValueError(
            "give either data (--data) or the shape of one input (--shape), for an example to send through."
        )
    net = load_model(model, weights)
    if shape is not None:
        import torch

        if min(shape) < 1:
            raise ValueError(f"shape must be positive numbers; got {' '.join(map(str, shape))}.")
        example: Any = torch.zeros(1, *shape)
    else:
        assert data is not None  # one of the two was given
        loader, _ = load_data(data, batch_size=2, size=size, channels=channels)
        example = next(iter(loader), None)
        if example is None:
            raise ValueError(f"data {data!r} gives no batch to send through the model.")
    print(list_layers(net, example))


def record(
    model: str,
    *,
    data: str,
    to: Path,
    weights: Path | None = None,
    layers: Annotated[list[str] | None, Several] = None,
    reduce: Annotated[list[str] | None, Several] = None,
    keep: Literal["values", "sparse", "moments"] = "values",
    by: Annotated[list[str] | None, Several] = None,
    n: int | None = None,
    seed: int = 0,
    dtype: Literal["float32", "float16"] = "float32",
    device: str = "auto",
    autocast: str | None = None,
    nonfinite: Literal["raise", "mask"] = "raise",
    batch_size: int = 256,
    size: Annotated[list[int] | None, Several] = None,
    channels: Literal[1, 3] | None = None,
    mean: Annotated[list[float] | None, Several] = None,
    std: Annotated[list[float] | None, Several] = None,
    overwrite: bool = False,
) -> None:
    """Record a model's activations over a data set into a run folder.

    Parameters
    ----------
    model
        package.module:factory.
    data
        An image folder (one folder per class), a .npz file (x, y, other columns), or package.module:factory that
        returns a DataLoader, a Dataset or an iterable of batches.
    to
        The run folder to make.
    weights
        A state dict (.safetensors, or .pt with nothing but tensors).
    layers
        Names or patterns such as "layer*.conv2"; by default every innermost layer that has parameters.
    reduce
        From positions or tokens to one value per neuron: mean, max, std, min, random, first, last; or positions,
        tokens to keep them as rows. Several are recorded at once.
    keep
        The values themselves; sparse: those that are not zero; or moments: statistics whose size does not grow with the
        data.
    by
        Groups that moments are kept for: label, or several columns joined by commas, e.g. label,correct.
    n
        At most so many inputs.
    seed
        For what is drawn at random.
    dtype
        How values are stored.
    device
        cpu, cuda, ..., or auto.
    autocast
        Run the model in this lower precision, e.g. bfloat16.
    nonfinite
        Refuse NaN and infinite activations, or mask the inputs they come from.
    batch_size
        Inputs per batch, where the data does not say.
    size
        Of an image folder's pictures: one number (shorter side, then the middle square) or height and width.
    channels
        Of an image folder's pictures: 1 for grey, 3 for colour.
    mean
        Subtracted from inputs after scaling to [0, 1]: one number or one per channel.
    std
        What inputs are divided by then: one number or one per channel.
    overwrite
        Replace an existing run folder.
    """
    from topomap.cli.loading import load_data, load_model
    from topomap.cli.show import layers_table
    from topomap.cli.stored import columns_of, next_embed
    from topomap.recording import record as record_verb

    if to.exists() and not overwrite:
        raise ValueError(f"the run folder {to} exists: replace it with --overwrite, or choose another with --to.")
    net = load_model(model, weights)
    loader, columns = load_data(data, batch_size=batch_size, size=size, channels=channels, mean=mean, std=std)
    source = {"model": model, "weights": weights, "data": data, "batch_size": batch_size}
    pictures = {"size": size, "channels": channels, "mean": mean, "std": std}
    notes = {name: f"{value}" for name, value in {**source, **pictures}.items() if value is not None}
    try:
        run = record_verb(
            net,
            loader,
            layers,
            reduce=reduce or "mean",
            keep=keep,
            by=None if by is None else [columns_of(each) for each in by],
            to=to,
            dtype=dtype,
            overwrite=overwrite,
            device=device,
            autocast=autocast,
            nonfinite=nonfinite,
            n=n,
            seed=seed,
            columns=columns,
            notes=notes,
        )
    except ValueError as error:
        python, shell = "topomap.list_layers(model, example)", ["topomap", "layers", model, "--data", data]
        raise ValueError(str(error).replace(python, f"'{shlex.join(shell)}'")) from error
    print(f"recorded {len(run.inputs) or run.provenance.get('n_inputs', 0)} inputs into {to}")
    print(layers_table(run, indent="  "))
    print(next_embed(run, to))


def embed(
    run: Path,
    *,
    layer: str | None = None,
    reduce: str | None = None,
    by: str | None = None,
    method: str | None = None,
    metric: Literal["pearson", "spearman", "cosine", "euclidean"] | None = None,
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
    by
        Compare neurons over groups of inputs, e.g. label, instead of over the inputs.
    method
        spread (the default, fills the region), tsne, umap, pca, mds, som, som-batch, force, graph, swarm, random, or a
        chain such as umap+spread.
    metric
        How neurons are compared; pearson by default.
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
    from topomap.cli.stored import make_layout, next_plot, pick, store_layout
    from topomap.store import open_run

    opened = open_run(run)
    acts = pick(opened, layer, reduce)
    turned = None if align_to is None else turn_to(opened, acts, align_to, by)
    layout = make_layout(
        opened, acts, by=by, method=method, region=region, seed=seed, metric=metric, absolute=absolute, preset=preset
    )
    layout = layout if turned is None else turned(layout)
    store_layout(opened, acts, layout)
    print(f"{layout}\nstored in {run}; next: {next_plot(opened, acts, layout.method)}")


def plot(
    run: Path,
    *,
    to: Annotated[list[Path], Several],
    layer: str | None = None,
    reduce: str | None = None,
    by: str | None = None,
    inputs: Annotated[list[str] | None, Several] = None,
    method: str | None = None,
    contrast: Literal["mean", "none"] | None = None,
    groups: Annotated[list[str] | None, Several] = None,
    columns: int | None = None,
    width: Annotated[Literal["single", "double"] | float | None, Parameter(converter=read_width)] = None,
    cmap: str | None = None,
    interpolation: Literal["linear", "nearest"] = "linear",
    certainty: int | None = None,
    preset: Literal["krug2023"] | None = None,
    dpi: float = 300,
) -> None:
    """Paint maps over a stored layout: one per group of inputs (--by), or one per input (--inputs).

    Parameters
    ----------
    run
        A run folder.
    to
        Files to write; their suffixes say the format (.png, .pdf, .svg).
    layer
        The layer; may be left out where only one was recorded.
    reduce
        The reduction, where the layer was recorded under several.
    by
        A column of the inputs, or several joined by commas, e.g. label,correct.
    inputs
        Ids of inputs to paint one by one.
    method
        Which of several stored layouts; a missing one is made with the defaults of embed.
    contrast
        Show groups against the mean over groups (mean, the default), or as they are (none).
    groups
        Names of the groups to draw; all by default.
    columns
        Maps per row.
    width
        Of the figure: single or double column, or inches.
    cmap
        A colour map of matplotlib.
    interpolation
        linear, or nearest to show single neurons.
    certainty
        Hatch maps where neurons' places are uncertain: how many bootstrap samples of the inputs to lay out, e.g. 10.
    preset
        krug2023 paints as Krug et al. 2023 do.
    dpi
        Dots per inch of the painted fields, 10 to 2400.
    """
    from topomap.cli.certainty import certainty_of, check_certainty
    from topomap.cli.stored import columns_of, find_layout, pick, rows, store_layout
    from topomap.plot import plot_inputs, plot_profiles
    from topomap.plot.profiles import MOST_GROUPS
    from topomap.plot.save import check_format, save_figure
    from topomap.profiles import profile
    from topomap.run import Activations
    from topomap.store import open_run

    if (by is None) == (inputs is None):
        raise ValueError("give either a grouping (--by label) or ids of inputs (--inputs 17 42) to paint.")
    if inputs is not None:
        refuse_for_inputs(preset=preset, contrast=contrast, groups=groups, certainty=certainty)
    check_dpi(dpi)
    for file in to:
        check_format(file)
    without_windows()
    opened = open_run(run)
    acts = pick(opened, layer, reduce)
    check_certainty(acts, certainty)
    look: dict[str, Any] = {"columns": columns, "width": width, "cmap": cmap, "interpolation": interpolation}
    draw: Callable[..., Any]
    # what may be refused comes before a layout that may have to be made, and nothing is written before all is drawn
    if inputs is not None:
        if not isinstance(acts, Activations):
            raise ValueError(f"layer {acts.layer!r} was recorded with keep='moments', which keeps no single input.")
        draw = partial(plot_inputs, acts, rows=rows(acts, inputs), **look)
    else:
        assert by is not None  # one of the two was given
        profiles = profile(acts, by=columns_of(by), contrast=contrast, preset=preset)
        for name in groups or ():
            choice("groups", name, profiles.names)
        if len(groups or profiles.names) > MOST_GROUPS:
            raise ValueError(
                f"one figure shows at most {MOST_GROUPS} groups, and --by {by} makes {len(groups or profiles.names)}: "
                "name those to draw with --groups, or group by a coarser column."
            )
        examples = acts if isinstance(acts, Activations) and acts.inputs.thumbnails is not None else None
        draw = partial(plot_profiles, profiles, groups=groups, examples=examples, preset=preset, **look)
    layout, made = find_layout(opened, acts, method, preset)
    if certainty is not None:
        draw = partial(draw, certainty=certainty_of(acts, layout, certainty))
    figure = draw(layout=layout)
    check_pixels(figure, dpi)
    if made:
        store_layout(opened, acts, layout)
        print(f"stored in {run}: {layout}")
    for file in to:
        save_figure(figure, file, dpi=dpi)
        print(file)


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


COMMANDS: tuple[Callable[..., None], ...] = (demo, layers, record, embed, plot, compare, info)
