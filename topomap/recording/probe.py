"""The fixed set of inputs that a training is watched on: the same ones in the same order at every snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from hashlib import blake2b
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch.utils.data import RandomSampler, SubsetRandomSampler, WeightedRandomSampler

from topomap.recording.loaders import Source, generators_restored, open_loader
from topomap.recording.state import random_states

#: Batches of two passes that are compared before the training begins.
_COMPARED = 2

#: Inputs of up to so many bytes are kept from the first pass on, so that a snapshot waits for no loader.
KEPT_BYTES = 256 << 20

_WAY_OUT = (
    "Give a loader with shuffle=False over the data without random transforms (that of the validation set, say), or "
    "fixed arrays: TrainingRecorder(model, (x, y), ...)."
)


class ProbeSet:
    """Inputs that are read again at every snapshot, and are the same every time.

    Parameters
    ----------
    loader
        Whatever `topomap.record` takes, as long as every pass over it gives the same inputs in the same order.
    seed
        Of the random generators during the first pass.

    Raises
    ------
    ValueError
        If the loader shuffles, augments, can be read only once, or is empty.

    Examples
    --------
    >>> probe = ProbeSet((torch.zeros(300, 4), torch.zeros(300)))
    >>> [len(x) for x, y in probe.source().batches]
    [256, 44]
    """

    def __init__(self, loader: Any, seed: int = 0) -> None:
        self.loader = loader
        self._opened = open_loader(loader)
        self._digests: list[bytes] = []
        self._whole = False
        self._kept: list[Any] | None = []
        self._bytes = 0
        self._check(seed)

    @property
    def digest(self) -> str:
        """A hash of all inputs, once a pass is done."""
        return blake2b(b"".join(self._digests), digest_size=16).hexdigest()

    def source(self) -> Source:
        """Return the source to read the next pass from; it raises ValueError where inputs are not those before."""
        return replace(self._opened, batches=self._pass())

    def _check(self, seed: int) -> None:
        """Compare the beginnings of two passes, with other random numbers."""
        sampler = _random_sampler(self.loader)
        if sampler is not None:
            raise ValueError(
                f"the loader shuffles ({sampler}), and every snapshot must see the same inputs in one order. {_WAY_OUT}"
            )
        if isinstance(self._opened.batches, Iterator):  # asking a DataLoader for its iterator would draw a number
            raise ValueError(
                "the loader is an iterator, which can be read only once, and every snapshot reads it: give a list "
                "of its batches, or a DataLoader."
            )
        passes: list[list[bytes]] = []
        with generators_restored(self.loader):
            for shift in range(1 if self._fixed else 2):
                with random_states(seed + shift):
                    passes.append([_digest(batch) for batch in islice(self._opened.batches, _COMPARED)])
        if not passes[0]:
            raise ValueError("the loader gave no inputs: there is nothing to record.")
        if passes[0] != passes[-1]:
            raise ValueError(
                "two passes over the loader gave different inputs, so it shuffles or augments, and every snapshot must "
                f"see the same ones in one order. {_WAY_OUT}"
            )

    @property
    def _fixed(self) -> bool:
        """Whether the inputs lie in memory already, as arrays or a list of batches."""
        return isinstance(self.loader, (torch.Tensor, np.ndarray, Mapping, tuple, list))

    def _pass(self) -> Iterator[Any]:
        if self._whole and self._kept is not None and not self._fixed:
            for batch in self._kept:
                yield _copied(batch)  # the model may write into what it is given
            return
        at = 0
        for batch in self._opened.batches:
            digest = _digest(batch)
            if not self._whole:
                self._digests[at:] = [digest]
                self._keep(batch, at)
            elif at >= len(self._digests) or digest != self._digests[at]:
                raise self._changed(at)
            at += 1
            yield batch
        if self._whole and at != len(self._digests):
            raise self._changed(at)

    def done(self) -> None:
        """Say that a pass was read to where it is always read to: from now on inputs must be those."""
        self._whole = True

    def _keep(self, batch: Any, at: int) -> None:
        if self._kept is None or self._fixed:
            return
        if at == 0:
            self._kept, self._bytes = [], 0
        self._bytes += sum(tensor.nbytes for tensor in _arrays(batch))
        if self._bytes > KEPT_BYTES:
            self._kept = None
        else:
            self._kept.append(_copied(batch))

    def _changed(self, at: int) -> ValueError:
        return ValueError(
            f"batch {at} of the loader is not what it was at the first snapshot, and every snapshot must see the same "
            f"inputs in one order. {_WAY_OUT}"
        )


def _random_sampler(loader: Any) -> str | None:
    """Return the class of a loader's sampler that is known to draw at random."""
    owners, seen = [loader], set()
    while owners:
        owner = owners.pop()
        if owner is None or id(owner) in seen:
            continue
        seen.add(id(owner))
        if isinstance(owner, (RandomSampler, SubsetRandomSampler, WeightedRandomSampler)):
            return type(owner).__name__
        owners += [getattr(owner, name, None) for name in ("sampler", "batch_sampler")]
    return None


def _arrays(tree: Any) -> Iterator[Any]:
    if isinstance(tree, (torch.Tensor, np.ndarray)):
        yield tree
    elif isinstance(tree, Mapping):
        for value in tree.values():
            yield from _arrays(value)
    elif isinstance(tree, (tuple, list)):
        for value in tree:
            yield from _arrays(value)


def _copied(tree: Any) -> Any:
    """Return a batch with tensors and arrays of its own."""
    if isinstance(tree, torch.Tensor):
        return tree.clone()
    if isinstance(tree, np.ndarray):
        return tree.copy()
    if isinstance(tree, dict):
        return {name: _copied(value) for name, value in tree.items()}
    if isinstance(tree, tuple) and hasattr(tree, "_fields"):
        return type(tree)(*(_copied(value) for value in tree))
    if type(tree) in (tuple, list):
        return type(tree)(_copied(value) for value in tree)
    return tree


def _digest(batch: Any) -> bytes:
    """Return a hash of everything in a batch that has a value."""
    found = blake2b(digest_size=16)

    def add(tree: Any) -> None:
        if isinstance(tree, torch.Tensor):
            host = tree.detach().cpu()
            host = (host.to_dense() if host.layout != torch.strided else host).contiguous()
            found.update(f"{host.dtype}{tuple(host.shape)}".encode())
            if host.numel():
                found.update(host.reshape(-1).view(torch.uint8).numpy().data)
        elif isinstance(tree, np.ndarray) and tree.dtype.kind != "O":
            found.update(f"{tree.dtype}{tree.shape}".encode())
            found.update(np.ascontiguousarray(tree).tobytes())
        elif isinstance(tree, Mapping):
            for name, value in tree.items():
                found.update(str(name).encode())
                add(value)
        elif isinstance(tree, (tuple, list)):
            found.update(f"[{len(tree)}]".encode())
            for value in tree:
                add(value)
        elif isinstance(tree, (str, int, float, bool, type(None), np.generic)):
            found.update(repr(tree).encode())

    add(batch)
    return found.digest()
