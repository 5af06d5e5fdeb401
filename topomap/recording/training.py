"""Snapshots of a training: what the layers of a model do with a fixed set of inputs, at one step after another."""

from __future__ import annotations

import inspect
import math
import time
from collections.abc import Mapping, Sequence
from os import PathLike
from types import TracebackType
from typing import Any, Literal

from torch import nn

from topomap._check import choice, unknown, warn
from topomap.recording.loaders import generators_restored
from topomap.recording.loop import NotFiniteError
from topomap.recording.probe import ProbeSet
from topomap.recording.provenance import told
from topomap.recording.recorder import By, record
from topomap.recording.reduce import check_reductions
from topomap.recording.resuming import check_fit, check_parameters
from topomap.recording.schedule import Every, check_every, check_step, is_due
from topomap.recording.selection import Selector, lent, select_layers
from topomap.recording.snapshots import as_numbers, with_inputs
from topomap.recording.state import home_of, undisturbed
from topomap.run import Inputs, Run
from topomap.store import TrainingFolder, open_run

#: Columns of the sketch: products of neurons up to about 9 %, and 1 MiB per snapshot of 2,048 neurons.
N_FEATURES = 128

_OWN = ("model", "loader", "layers", "reduce", "keep", "by", "to", "overwrite", "n_features", "seed")
_OPTIONS = tuple(
    name for name in inspect.signature(record).parameters if name not in (*_OWN, "inference_mode", "progress")
)


class TrainingRecorder:
    """Watches a model while it trains: at some steps, what its layers do with a fixed set of inputs.

    Recording does not change the training: modes, random states, buffers and gradients are afterwards as they were, and
    so are the weights at the end, to the last bit. No gradients are recorded (``torch.no_grad``, so that a tensor which
    a module caches meanwhile can still be trained with).

    Parameters
    ----------
    model
        The model that is trained, or a part of it.
    loader
        The inputs, as `topomap.record` takes them: the same ones in the same order at every snapshot. A loader that
        shuffles or augments is refused. Up to 256 MiB of them are kept in memory from the first snapshot on.
    layers, reduce
        As in `topomap.record`.
    by
        Groupings for moments, as in `topomap.record`; ``by=[("label",), ("label", "correct")]`` for correct and wrong
        answers apart. By default the label, where there is one. Kept values can be grouped by anything afterwards.
    every
        When `step` takes a snapshot: every so many steps; ``"epoch"``; or ``"geometric"``: ten per factor of ten (0, 1,
        2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, ...), for most happens early. Without it call `snapshot`.
    keep
        ``"moments"``: counts, means and variances of the neurons, overall and per group, and a sketch of them by which
        they can be compared with each other, within one snapshot and across snapshots; or ``"values"``, or
        ``"sparse"``, for maps of single inputs.
    to
        A run folder that grows snapshot by snapshot. If there is a training already it is gone on with, after its last
        whole snapshot.
    n_features
        Columns of the sketch: similarities are right up to about ``1 / sqrt(n_features)``. The same random projection
        of the inputs is taken at every step.
    seed
        For the sketch and for ``reduce="random"``.
    overwrite
        Begin anew where there is a run at `to`.
    **options
        Any other parameter of `topomap.record` that says how inputs are read and the model is run: ``forward``,
        ``labels``, ``columns``, ``classes``, ``axis``, ``mask``, ``logits``, ``n``, ...

    Raises
    ------
    ValueError
        For an unknown layer or option, a loader that does not give the same inputs twice, or a training at `to` that is
        of another model, other layers or other parameters.

    Notes
    -----
    Where a training diverges, so that activations are NaN or infinite, it goes on, and so does recording: such a step
    has no snapshot, is noted in ``run.diverged``, and the first one is warned of. At step 0 that is an error, for
    nothing was trained yet.

    A model that is spread over processes (FSDP) cannot be recorded while it trains: save checkpoints, and record those
    with `topomap.record_checkpoints`. Of data-parallel processes the first one records.

    Examples
    --------
    >>> import torch
    >>> import topomap as tm
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    >>> x, y = torch.randn(60, 4), torch.arange(60) % 2
    >>> optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    >>> recorder = tm.TrainingRecorder(net, (x, y), layers=["1"], every=5)
    >>> for step in range(11):
    ...     loss = torch.nn.functional.cross_entropy(net(x), y)
    ...     taken = recorder.step(step, loss=loss)
    ...     optimizer.zero_grad()
    ...     loss.backward()
    ...     optimizer.step()
    >>> recorder.run
    Run(60 inputs, 1 layer: 1, 3 snapshots, steps 0 to 10)
    >>> recorder.run.at(5)["1"].grouping("label").mean.shape, recorder.run.metrics["loss"].shape
    ((2, 8), (3,))
    """

    def __init__(
        self,
        model: nn.Module,
        loader: Any,
        layers: Selector | Sequence[Selector] | None = None,
        *,
        by: By | None = None,
        every: Every | None = None,
        reduce: str | Sequence[str] = "mean",
        keep: Literal["moments", "values", "sparse"] = "moments",
        to: str | PathLike[str] | None = None,
        n_features: int = N_FEATURES,
        seed: int = 0,
        overwrite: bool = False,
        **options: Any,
    ) -> None:
        choice("keep", keep, ("moments", "values", "sparse"))
        for name in options:
            if name not in _OPTIONS:
                raise unknown("an option of a TrainingRecorder", name, _OPTIONS)
        self.model = model
        self.every = check_every(every)
        self.loader = loader
        self.layers = layers
        self.keep = keep
        self.by = by
        self.reduce = check_reductions(reduce)
        self.seed = seed
        self.n_features = n_features
        self.options = options
        select_layers(lent(model), layers)  # an unknown name is an error now, not after an epoch
        self._folder = None if to is None else TrainingFolder(to, overwrite)
        if self._folder is not None:
            ours = {"layers": told(layers), "reduce": list(self.reduce), "keep": keep, "seed": seed}
            check_parameters(self._folder, {"model": type(lent(model)).__name__, **ours})
        self._probe = ProbeSet(loader, seed)
        self._snapshots: dict[int, Run] = {}
        self._metrics: dict[int, dict[str, float]] = {}
        self._about: dict[str, Any] = {}
        self._inputs: Inputs | None = None
        self._resumed = -1 if self._folder is None or not self._folder.steps else self._folder.steps[-1]
        self._warned = False
        self._seen: tuple[float, float] | None = None  # step and epoch of the last call
        self._began: float | None = None
        before = {} if self._folder is None else self._folder.provenance.get("training", {})
        self._spent, self._elapsed = float(before.get("recording_s", 0)), float(before.get("elapsed_s", 0))
        self._diverged = {int(step): str(what) for step, what in before.get("diverged", {}).items()}

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps of the snapshots so far, those of an earlier session in the same folder included."""
        return tuple(self._snapshots) if self._folder is None else self._folder.steps

    @property
    def run(self) -> Run:
        """The training so far.

        Raises
        ------
        ValueError
            If there is no snapshot yet.
        """
        if not self.steps:
            if self._diverged:
                step, what = next(iter(self._diverged.items()))
                raise ValueError(f"there is no snapshot, as the training had diverged at step {step}: {what}.")
            raise ValueError("there is no snapshot yet: call snapshot(step), or step(step) with every=.")
        if self._folder is not None:
            return open_run(self._folder.to)
        names = dict.fromkeys(name for metrics in self._metrics.values() for name in metrics)
        columns = {name: [one.get(name, math.nan) for one in self._metrics.values()] for name in names}
        return Run.from_snapshots(dict(self._snapshots), columns, self._provenance())

    def snapshot(self, step: int, /, **metrics: Any) -> None:
        """Record the layers now, and keep metrics with that.

        Parameters
        ----------
        step
            Beyond the last one.
        **metrics
            Numbers: ``loss=``, ``accuracy=``, ``epoch=``, ...

        Raises
        ------
        ValueError
            If the step is not beyond the last one, a metric is not a number, the inputs are not those of the first
            snapshot, the layers do not fit those of an earlier session, or activations are not finite at step 0.

        Warns
        -----
        TopomapWarning
            At the first step at which activations are NaN or infinite: there is no snapshot then.
        """
        check_step(step)
        values = as_numbers(metrics)
        if self._known(step):
            return
        self._start()
        began = time.perf_counter()
        try:
            run = self._record(int(step))
        except ValueError as error:
            if step == 0 or not isinstance(error, NotFiniteError):
                raise ValueError(f"no snapshot of step {step}: {error}") from error
            self._note_divergence(int(step), error.what)
            return
        self._diverged = {at: what for at, what in self._diverged.items() if at < step}  # a training taken back
        if self._folder is not None:
            # what this snapshot cost is known once it is written, and told with the next one
            self._folder.append(int(step), run, values, self._provenance())
        else:
            self._snapshots[int(step)], self._metrics[int(step)] = run, values
        self._seen = (float(step), values.get("epoch", math.nan))
        self._spent += time.perf_counter() - began

    def step(self, step: int, /, **metrics: Any) -> bool:
        """Take a snapshot if one is due, and say whether it was taken.

        To be called at every step, or at any regular ones: a snapshot is due when the schedule has one since the last
        call. The step counts updates of the weights, so 0 is the model before the first one.

        Parameters
        ----------
        step
            The step.
        **metrics
            Numbers to keep with the snapshot. With ``every="epoch"`` there must be ``epoch=``, and a snapshot is due at
            the first step whose ``epoch`` is a new one, or with fractions as soon as a whole one is done.

        Raises
        ------
        ValueError
            If there is no schedule, or as in `snapshot`.
        """
        if self.every is None:
            raise ValueError("step() needs a schedule: give every=, or call snapshot(step) where one is wanted.")
        check_step(step)
        self._start()
        epoch = math.nan
        if self.every == "epoch":
            if "epoch" not in metrics:
                raise ValueError("every='epoch' needs to know the epoch: step(step, epoch=...).")
            epoch = float(metrics["epoch"])
        due = is_due(self.every, step, epoch, self._seen)
        self._seen = (float(step), epoch)
        if not due or step in self.steps:
            return False
        n = len(self.steps)
        self.snapshot(step, **metrics)
        return len(self.steps) > n

    __call__ = step

    def log(self, step: int, /, **metrics: Any) -> None:
        """Set metrics of a snapshot that was taken already: what was measured after it.

        Nothing is kept where there is no snapshot because the training had diverged.

        Raises
        ------
        ValueError
            If there is no snapshot at this step, or a metric is not a number.
        """
        values = as_numbers(metrics)
        if step in self._diverged:
            return
        if step not in self.steps:
            raise ValueError(f"there is no snapshot at step {step} to keep metrics with.")
        if self._folder is not None:
            self._folder.log(step, values)
        else:
            self._metrics[step].update(values)

    def lightning_callback(self) -> Any:
        """Return a callback for the Trainer of PyTorch Lightning.

        It takes a snapshot when training begins, whenever one is due (by default at the end of every epoch), and when
        training ends, early or not; steps are updates of the weights, whatever is accumulated. What was logged is kept.
        It is given to the Trainer: ``lightning.Trainer(callbacks=[recorder.lightning_callback()])``.
        """
        from topomap.recording.callbacks import lightning_callback

        return lightning_callback(self)

    def trainer_callback(self) -> Any:
        """Return a callback for the Trainer of Hugging Face's transformers, as `lightning_callback` does.

        It is given to the Trainer: ``transformers.Trainer(model, ..., callbacks=[recorder.trainer_callback()])``.
        """
        from topomap.recording.callbacks import trainer_callback

        return trainer_callback(self)

    def __enter__(self) -> TrainingRecorder:
        self._start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Note in the run folder what recording has cost in all; more snapshots may follow."""
        if self._folder is not None and self.steps and self._about:
            self._folder.note(self._provenance())

    def __repr__(self) -> str:
        where = "" if self._folder is None else f" at {self._folder.to}"
        every = "" if self.every is None else f", every {self.every}"
        return f"TrainingRecorder({type(self.model).__name__}{every}: {len(self.steps)} snapshots{where})"

    def _start(self) -> None:
        if self._began is None:
            self._began = time.perf_counter()

    def _known(self, step: int) -> bool:
        """Return whether an earlier session has this step already; raise if this one has."""
        if not self.steps or step > self.steps[-1]:
            return False
        if step > self._resumed:
            raise ValueError(f"step must be beyond {self.steps[-1]}, that of the last snapshot; got {step}.")
        if not self._warned and self._folder is not None:
            self._warned = True
            warn(
                f"the training at {self._folder.to} has snapshots up to step {self._resumed}, which are kept: step "
                f"{step} is not recorded again, and new snapshots begin after that. For a new training choose another "
                "folder, or pass overwrite=True.",
                stacklevel=4,
            )
        return True

    def _note_divergence(self, step: int, what: str) -> None:
        """Note that there is no snapshot of a step, and warn of the first one."""
        first = not self._diverged
        self._diverged = {**{at: known for at, known in self._diverged.items() if at < step}, step: what}
        if self._folder is not None and self.steps:
            self._folder.note(self._provenance())
        if first:
            warn(
                f"the training has diverged: at step {step}, {what}. There is no snapshot of it; the training goes on, "
                "and run.diverged names all such steps.",
                stacklevel=4,
            )

    def _record(self, step: int) -> Run:
        first = self._inputs is None
        options = dict(self.options)
        if not first:
            options["thumbnails"] = False  # they are those of the first snapshot
        options.setdefault("device", home_of(self.model))
        moments = self.keep == "moments"
        with generators_restored(self.loader), undisturbed(self.model):
            run = record(
                self.model,
                self._probe.source(),
                self.layers,
                reduce=self.reduce,
                keep=self.keep,
                by=self.by if moments and self.by != "label" else None,
                n_features=self.n_features if moments else None,
                seed=self.seed,
                inference_mode=False,
                progress=False,
                **options,
            )
        self._probe.done()
        run = with_inputs(run, self._inputs, {**run.provenance, "step": step})
        if first:
            self._inputs = run.inputs
            if self._folder is not None:
                check_fit(self._folder, run, self._probe.digest)
            changing = ("duration_s", "records", "step")
            self._about = {name: value for name, value in run.provenance.items() if name not in changing}
        return run

    def _provenance(self) -> dict[str, Any]:
        """Return the provenance of the training so far."""
        now = self._elapsed + (0.0 if self._began is None else time.perf_counter() - self._began)
        about: dict[str, Any] = {"every": self.every, "keep": self.keep, "probe": self._probe.digest}
        about |= {"recording_s": round(self._spent, 3), "elapsed_s": round(now, 3)}
        about["share"] = round(self._spent / now, 4) if now else 0.0
        about["diverged"] = {str(step): what for step, what in self._diverged.items()} or None
        known: Mapping[str, Any] = self._about
        if not known and self._folder is not None:  # no snapshot in this session: its inputs may not be read to the end
            known = self._folder.provenance
            about["probe"] = known.get("training", {}).get("probe")
        return {**known, "training": {name: value for name, value in about.items() if value is not None}}
