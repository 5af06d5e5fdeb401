"""Everything that a recording touches in its surroundings, put back whatever happens."""

from __future__ import annotations

import random
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from torch import nn


@contextmanager
def borrowed(model: nn.Module, device: str | torch.device, seed: int) -> Iterator[torch.device]:
    """Lend a model for inference: on a device, in evaluation mode, random generators seeded, no fused attention.

    Yields the device that inputs belong on. Modes, device, and the states of the random generators of Python, NumPy and
    torch are afterwards as they were.
    """
    with ExitStack() as stack:
        stack.enter_context(random_states(seed))
        stack.enter_context(_evaluation_mode(model))
        stack.enter_context(hookable(model))
        target = stack.enter_context(_on_device(model, device))
        yield target


@contextmanager
def hookable(model: nn.Module) -> Iterator[None]:
    """Run a model in a way that calls the hooks inside: no fused attention, nothing compiled."""
    with _no_fused_attention(), _no_compiling(model):
        yield


@contextmanager
def random_states(seed: int) -> Iterator[None]:
    """Seed the random generators of Python, NumPy and torch, and put them back as they were."""
    # the loader shuffles and a model samples from the global generators: seeded, a recording can be repeated, and
    # put back, nobody notices
    python = random.getstate()
    legacy = np.random.get_state()  # noqa: NPY002
    cuda = torch.cuda.is_available()
    states = torch.cuda.get_rng_state_all() if cuda else []
    cpu = torch.get_rng_state()
    try:
        random.seed(seed)
        np.random.seed(seed % 2**32)  # noqa: NPY002
        torch.manual_seed(seed)
        yield
    finally:
        random.setstate(python)
        np.random.set_state(legacy)  # noqa: NPY002
        torch.set_rng_state(cpu)
        if cuda:
            torch.cuda.set_rng_state_all(states)


@contextmanager
def _evaluation_mode(model: nn.Module) -> Iterator[None]:
    # the flags themselves: train() and eval() are overridden by adapters, which merge their weights there
    modes = {module: module.training for module in model.modules()}
    try:
        for module in modes:
            module.training = False
        yield
    finally:
        for module, training in modes.items():
            module.training = training


@contextmanager
def _no_fused_attention() -> Iterator[None]:
    # the fused kernel of a transformer layer skips the modules inside, whose hooks would never run
    enabled = torch.backends.mha.get_fastpath_enabled()
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


@contextmanager
def _no_compiling(model: nn.Module) -> Iterator[None]:
    """Run compiled parts as they were written, for hooks inside them would be compiled in, or skipped."""
    compiled = any(
        hasattr(module, "_orig_mod") or getattr(module, "_compiled_call_impl", None) is not None
        for module in model.modules()
    )
    if not compiled:
        yield
        return
    with torch._dynamo.config.patch(disable=True):
        yield


@contextmanager
def _on_device(model: nn.Module, device: str | torch.device) -> Iterator[torch.device]:
    tensors = [*model.parameters(), *model.buffers()]
    homes = list(dict.fromkeys(tensor.device for tensor in tensors)) or [torch.device("cpu")]
    if device == "auto":
        target = homes[0]
        if all(home.type == "cpu" for home in homes) and torch.cuda.is_available():
            target = torch.device("cuda", torch.cuda.current_device())
    else:
        try:
            target = torch.empty(0, device=device).device
        except (RuntimeError, AssertionError) as error:  # what torch raises depends on how it was built
            raise ValueError(f"device={str(device)!r} cannot be used here: {error}") from error
    if homes == [target] or (device == "auto" and target == homes[0]):
        yield target
        return
    if len(homes) > 1:
        raise ValueError(
            f"the model is spread over {', '.join(map(str, homes))}: leave device='auto', which lets it stay there."
        )
    try:
        model.to(target)
        yield target
    finally:
        model.to(homes[0])


@contextmanager
def uninterrupted() -> Iterator[None]:
    """Put Ctrl-C off until the end of the block, so that a batch is stored whole or not at all."""
    if threading.current_thread() is not threading.main_thread():
        yield  # signals never come here
        return
    before = signal.getsignal(signal.SIGINT)
    pending: list[tuple[Any, ...]] = []
    if not callable(before):
        yield
        return
    signal.signal(signal.SIGINT, lambda *args: pending.append(args))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if pending:
        _call(before, pending[0])


def _call(handler: Callable[..., Any], args: tuple[Any, ...]) -> None:
    handler(*args)


@contextmanager
def undisturbed(model: nn.Module) -> Iterator[None]:
    """Run a model that is being trained without a trace: no gradients, no mixed precision of the caller's, no changes.

    Modules count, average or cache in buffers, some of them in evaluation mode too: these are put back. Weights that
    autocast cached meanwhile have no gradients, so that its cache is cleared.
    """
    kept = [
        (module, name, buffer, buffer._version, buffer.detach().clone())
        for module in model.modules()
        for name, buffer in module._buffers.items()
        if buffer is not None and not buffer.is_inference()
    ]
    kind = torch.device(home_of(model)).type if home_of(model) != "auto" else "cpu"
    try:
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(kind, enabled=False):
            yield
    finally:
        torch.clear_autocast_cache()
        with torch.no_grad():
            for module, name, buffer, version, values in kept:
                module._buffers[name] = buffer
                if buffer._version != version:
                    buffer.copy_(values)


def home_of(model: nn.Module) -> str:
    """Return the device of a model, which it never leaves while it trains."""
    homes = {str(tensor.device) for tensor in (*model.parameters(), *model.buffers())}
    return homes.pop() if len(homes) == 1 else "auto"
