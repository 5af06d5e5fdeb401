"""Callbacks for trainers of other packages, which are imported when a callback is asked for and never before."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from topomap.recording.training import TrainingRecorder

#: What a Trainer logs about its own speed, which is nothing about the model.
_TIMES = ("_runtime", "_per_second", "total_flos")


def lightning_callback(recorder: TrainingRecorder) -> Any:
    """Return a callback for Lightning's Trainer.

    Steps are ``trainer.global_step``, the updates of the weights so far. Metrics are those that were logged, with the
    last value of each (``trainer.callback_metrics``), and the number of epochs done, with fractions.

    Raises
    ------
    ModuleNotFoundError
        If neither ``lightning`` nor ``pytorch_lightning`` is installed.
    """
    base: Any = _lightning().Callback

    class TopomapCallback(base):  # type: ignore[misc]
        """Takes snapshots of a training that Lightning runs."""

        def __init__(self) -> None:
            self.recorder = recorder
            self.epochs = 0.0  # that are done

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            """Take the first snapshot."""
            self.epochs = float(trainer.current_epoch)
            self._take(trainer, new=True)

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            """Take a snapshot if one is due; of accumulated batches, after the update."""
            self.epochs = trainer.current_epoch + (batch_idx + 1) / trainer.num_training_batches
            if trainer.is_global_zero and recorder.every not in (None, "epoch"):
                watch(recorder, trainer.global_step, self._metrics(trainer))

        def on_train_epoch_end(self, trainer: Any, pl_module: Any) -> None:
            """Take a snapshot at the end of an epoch, or note what was logged at its end."""
            self._take(trainer, new=recorder.every in (None, "epoch"))

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            """Take the last snapshot."""
            self._take(trainer, new=True)
            if trainer.is_global_zero:
                recorder.close()

        def _take(self, trainer: Any, new: bool) -> None:
            if trainer.is_global_zero:
                take(recorder, trainer.global_step, self._metrics(trainer), new)

        def _metrics(self, trainer: Any) -> dict[str, float]:
            return {**_floats(trainer.callback_metrics), "epoch": self.epochs}

    return TopomapCallback()


def trainer_callback(recorder: TrainingRecorder) -> Any:
    """Return a callback for the Trainer of transformers.

    Steps are ``state.global_step``, the updates of the weights so far. Metrics are those that were logged since the
    snapshot before, at the latest at its own step, and the epoch.

    Raises
    ------
    ModuleNotFoundError
        If ``transformers`` is not installed.
    """
    transformers: Any = importlib.import_module("transformers")
    base: Any = transformers.TrainerCallback

    class TopomapCallback(base):  # type: ignore[misc]
        """Takes snapshots of a training that transformers' Trainer runs."""

        def __init__(self) -> None:
            self.recorder = recorder
            self.logs: dict[str, float] = {}

        def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Take the first snapshot."""
            self._take(state)

        def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Take a snapshot if one is due; of accumulated batches, after the update."""
            if (
                state.is_world_process_zero
                and recorder.every not in (None, "epoch")
                and watch(recorder, state.global_step, self._metrics(state))
            ):
                self.logs = {}

        def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Take a snapshot at the end of an epoch."""
            if recorder.every in (None, "epoch"):
                self._take(state)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **kwargs: Any) -> None:
            """Note what was logged; what comes at the step of a snapshot that was taken already is kept with it."""
            if not state.is_world_process_zero:
                return
            found = _floats(logs or {})
            if recorder.steps and recorder.steps[-1] == state.global_step:
                recorder.log(state.global_step, **found)
            else:
                self.logs.update(found)

        def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
            """Take the last snapshot."""
            self._take(state)
            if state.is_world_process_zero:
                recorder.close()

        def _take(self, state: Any) -> None:
            if state.is_world_process_zero and take(recorder, state.global_step, self._metrics(state)):
                self.logs = {}

        def _metrics(self, state: Any) -> dict[str, float]:
            epoch = {} if state.epoch is None else {"epoch": float(state.epoch)}
            return {**self.logs, **epoch}

    return TopomapCallback()


def watch(recorder: TrainingRecorder, step: int, metrics: Mapping[str, float]) -> bool:
    """Take a snapshot if one is due at a step that no snapshot has reached, and say whether it was taken."""
    return bool(not recorder.steps or step > recorder.steps[-1]) and recorder.step(step, **metrics)


def take(recorder: TrainingRecorder, step: int, metrics: Mapping[str, float], new: bool = True) -> bool:
    """Take a snapshot at a step that no snapshot has reached; at the step of the last one, add to its metrics.

    A training that was resumed from before its last snapshot goes through steps that are there already: nothing is
    taken then.
    """
    last = recorder.steps[-1] if recorder.steps else -1
    if step > last and new:
        recorder.snapshot(step, **metrics)
        return step in recorder.steps  # not where the training had diverged
    if step == last and metrics:
        recorder.log(step, **metrics)
    return False


def _lightning() -> Any:
    """Return Lightning's module, under the name that is in use already if one is."""
    names = ("lightning.pytorch", "pytorch_lightning")
    for name in (*(known for known in names if known in sys.modules), *names):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise
    raise ModuleNotFoundError("a callback for Lightning needs Lightning: pip install lightning.", name="lightning")


def _floats(logs: Mapping[str, Any]) -> dict[str, float]:
    """Return those of the logs that are numbers."""
    found = {}
    for name, value in logs.items():
        if str(name).endswith(_TIMES):
            continue
        if isinstance(value, torch.Tensor):
            if value.numel() == 1:
                found[str(name)] = float(value.detach())
        elif isinstance(value, (int, float)):
            found[str(name)] = float(value)
    return found
