"""``topomap layers`` and ``topomap record``: what a model has, and what it does on a data set."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter

#: A parameter that takes all the values that follow it.
Several = Parameter(consume_multiple=True)

LAYERS = """Examples:
  topomap layers my_package.nets:resnet --shape 3 224 224
  topomap layers topomap.demo:cnn --data topomap.datasets:digits"""

RECORD = """MODEL is package.module:factory, where factory is a torch.nn.Module or returns one when called without
arguments. The working directory counts as importable.

Examples:
  topomap record nets:resnet --weights resnet.safetensors --data pictures/ --size 224 --layers "layer*" --to runs/a
  topomap record nets:mlp --data table.npz --layers fc1 fc2 --to runs/b
  topomap record nets:resnet --data data:test_loader --keep moments --by label --by label,correct --to runs/c
  topomap record --config topomap.toml --to runs/d"""


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
        loader = load_data(data, batch_size=2, size=size, channels=channels)
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
    by: list[str] | None = None,
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
        An image folder (one folder per class), a .npz file (x, y, other columns; figures show the inputs where x is
        inputs x channels x height x width), or package.module:factory that returns a DataLoader, a Dataset or an
        iterable of batches.
    to
        The run folder to make.
    weights
        A state dict (.safetensors, or .pt with nothing but tensors).
    layers
        Names or patterns such as "layer*.conv2"; by default every innermost layer that has parameters.
    reduce
        From positions or tokens to one value per neuron: mean, max, std, min, random, first, last; or positions,
        tokens to keep them as rows, aligned to keep them shifted so that what mattered most for the prediction is
        central. Several are recorded at once.
    keep
        The values themselves; sparse: those that are not zero; or moments: statistics whose size does not grow with the
        data.
    by
        Groups that moments are kept for: label, or several columns joined by commas, e.g. label,correct; once more for
        others (--by label --by camera).
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
    loader = load_data(data, batch_size=batch_size, size=size, channels=channels, mean=mean, std=std)
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
            notes=notes,
        )
    except ValueError as error:
        python, shell = "topomap.list_layers(model, example)", ["topomap", "layers", model, "--data", data]
        raise ValueError(str(error).replace(python, f"'{shlex.join(shell)}'")) from error
    print(f"recorded {len(run.inputs) or run.provenance.get('n_inputs', 0)} inputs into {to}")
    print(layers_table(run, indent="  "))
    print(next_embed(run, to))
