"""The demos' nets, and how they learn."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from topomap._check import whole_number
from topomap.datasets import ArrayData, loader

if TYPE_CHECKING:
    from torch import nn


def cnn() -> nn.Module:
    """Make the demo's convolutional net: channels 64 and 128, 8 x 8 grey pictures to 10 classes.

    Returns
    -------
    torch.nn.Module
        Not trained; its weights come from torch's random state.

    Examples
    --------
    >>> [name for name, _ in cnn().named_children()]
    ['conv1', 'relu1', 'pool1', 'conv2', 'relu2', 'pool2', 'flatten', 'out']
    """
    from torch import nn

    return nn.Sequential(
        OrderedDict[str, nn.Module](
            conv1=nn.Conv2d(1, 64, 3, padding=1),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(64, 128, 3, padding=1),
            relu2=nn.ReLU(),
            pool2=nn.MaxPool2d(2),
            flatten=nn.Flatten(),
            out=nn.Linear(512, 10),
        )
    )


def mlp() -> nn.Module:
    """Make the demo's dense net: hidden layers of 512 and 256 units, 8 x 8 grey pictures to 10 classes.

    Returns
    -------
    torch.nn.Module
        Not trained; its weights come from torch's random state.

    Examples
    --------
    >>> sum(weights.numel() for weights in mlp().parameters())
    167178
    """
    from torch import nn

    return nn.Sequential(
        OrderedDict[str, nn.Module](
            flatten=nn.Flatten(),
            fc1=nn.Linear(64, 512),
            relu1=nn.ReLU(),
            fc2=nn.Linear(512, 256),
            relu2=nn.ReLU(),
            out=nn.Linear(256, 10),
        )
    )


def train(
    factory: Any, data: ArrayData, *, epochs: int = 12, seed: int = 0, name: str = "net", progress: bool = True
) -> nn.Module:
    """Make a net and train it with Adam; the random state outside is left as it was.

    Parameters
    ----------
    factory
        Returns the net.
    data
        Inputs and integer labels.
    epochs
        Passes over the data.
    seed
        For the weights and the order of the inputs.
    name
        Shown beside the progress bar.
    progress
        Whether to show one.

    Returns
    -------
    torch.nn.Module
        The trained net, in evaluation mode.

    Raises
    ------
    ValueError
        If ``epochs`` is below 1.

    Examples
    --------
    >>> from topomap.datasets import digits
    >>> net = train(mlp, digits("train"), epochs=3, progress=False)
    >>> accuracy(net, digits("test")) > 0.8
    True
    """
    import torch
    from tqdm.auto import trange

    whole_number("epochs", epochs, 1)
    x = torch.from_numpy(np.stack([data[i][0] for i in range(len(data))]))
    y = torch.from_numpy(np.asarray(data.y))
    with torch.random.fork_rng(devices=[]):
        torch.random.manual_seed(seed)
        model: nn.Module = factory()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3, fused=True)
    threads = torch.get_num_threads()
    try:
        # the nets are so small that threads cost more than they bring, and with one the sums have one order
        torch.set_num_threads(1)
        for _ in trange(epochs, desc=f"training {name}", unit="epoch", disable=None if progress else True, leave=False):
            for rows in _batches(torch.randperm(len(x), generator=generator), 100):
                optimizer.zero_grad()
                torch.nn.functional.cross_entropy(model(x[rows]), y[rows]).backward()  # type: ignore[no-untyped-call]
                optimizer.step()
    finally:
        torch.set_num_threads(threads)
    return model.eval()


def _batches(order: Any, size: int) -> Iterator[Any]:
    return (order[start : start + size] for start in range(0, len(order), size))


def accuracy(model: nn.Module, data: ArrayData) -> float:
    """Return the share of inputs that a net gives their label.

    Parameters
    ----------
    model
        Returns one logit per class.
    data
        Inputs and integer labels.

    Returns
    -------
    float
        Between 0 and 1.

    Examples
    --------
    >>> from torch import nn
    >>> from topomap.datasets import digits
    >>> zeros = nn.Sequential(nn.Flatten(), nn.Linear(64, 10))
    >>> _ = nn.init.zeros_(zeros[1].weight), nn.init.zeros_(zeros[1].bias)
    >>> data = digits("test")
    >>> bool(accuracy(zeros, data) == (data.y == 0).mean())
    True
    """
    import torch

    hits = 0
    with torch.inference_mode():
        for x, y in loader(data, 500):
            hits += int((model(x).argmax(1) == y).sum())
    return hits / len(data)
