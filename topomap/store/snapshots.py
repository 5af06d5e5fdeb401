"""The snapshots of a training, added to a run folder one by one."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topomap.run import Activations, Inputs, Moments, Run
from topomap.store.arrays import ArrayStream, Entry, write_array
from topomap.store.groups import STEPS, consolidate, write_group
from topomap.store.index import (
    DATA,
    INDEX,
    Group,
    Index,
    Training,
    aside,
    group_tables,
    plain,
    read_index,
    safe_name,
    unused,
    write_index,
)
from topomap.store.moments import write_moments
from topomap.store.placing import full_disk, put_in_place, refuse
from topomap.store.sparse import SPARSE, split
from topomap.store.writer import RunWriter


class TrainingFolder:
    """A run folder that grows by one snapshot at a time.

    A snapshot is written aside, moved to its place by one rename, and exists once the index, replaced by rename and
    synced, names its step. A process that is killed at any time leaves every snapshot whose `append` had returned, and
    no torn one; what it had not finished is removed by the next one to append.

    Parameters
    ----------
    to
        The run folder; made at the first snapshot. A training that is already there is gone on with.
    overwrite
        Begin anew: a run that is already there is replaced at the first snapshot.

    Raises
    ------
    ValueError
        If something is at `to` that is not a training and may not be replaced.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> from topomap.store import open_run
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     training = TrainingFolder(f"{folder}/run")
    ...     for step in (0, 100):
    ...         acts = Activations.from_array(np.eye(3) * step, layer="fc")
    ...         training.append(step, Run(acts.inputs, {("fc", "none"): acts}), {"loss": 1 / (1 + step)})
    ...     run = open_run(f"{folder}/run")
    ...     print(run.steps, run.metrics["loss"].round(2), run.at(100)["fc"].values[0])
    (0, 100) [1.   0.01] [100.   0.   0.]
    """

    def __init__(self, to: str | os.PathLike[str], overwrite: bool = False) -> None:
        self.to = Path(os.path.realpath(Path(to).expanduser()))
        self.overwrite = overwrite
        self._index: Index | None = None
        self._seen: tuple[int, int, int] | None = None  # which file the index was read from, or written to
        self._inputs: Inputs | None = None
        old = aside(self.to, "old")
        if old.is_dir() and not self.to.exists():
            old.rename(self.to)  # an earlier writer was killed while it replaced this run
        if overwrite or not (self.to / INDEX).is_file():
            refuse(self.to, overwrite)
            return
        index = read_index(self.to)
        if index.training is None and any(path != "inputs" for path in index.groups):
            raise ValueError(
                f"there already is a run at {self.to}, and it is not a training: choose another folder, or pass "
                "overwrite=True."
            )
        self._read()

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps of the snapshots that are there."""
        return () if self._index is None or self._index.training is None else self._index.training.steps

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Provenance of the training that is there."""
        return {} if self._index is None else self._index.provenance

    def append(
        self,
        step: int,
        run: Run,
        metrics: Mapping[str, float] | None = None,
        provenance: Mapping[str, Any] | None = None,
    ) -> None:
        """Add the snapshot of a step; once this returns it is there, whatever happens to the process.

        Parameters
        ----------
        step
            Beyond the last one.
        run
            What was recorded at this step. Columns of its inputs that differ from those of the first snapshot, such as
            the predictions, are kept with it.
        metrics
            Numbers by name.
        provenance
            Of the training so far; by default that of the first snapshot. Of the run's own, entries that differ from it
            are kept with the snapshot.

        Raises
        ------
        ValueError
            If the step is not beyond the last one, or a column holds what cannot be stored.
        OSError
            If the disk is full; the snapshots before are untouched.
        """
        if self.steps and step <= self.steps[-1]:
            raise ValueError(f"step must be beyond {self.steps[-1]}, that of the last snapshot; got {step}.")
        if self._index is None:
            with RunWriter(self.to, dtype=None, overwrite=self.overwrite) as writer:
                writer.commit(run.inputs, run.provenance if provenance is None else provenance)
            self._inputs = run.inputs
        self._read()
        index = self._index
        if index is None:  # pragma: no cover  (just read)
            raise RuntimeError("there is no index")
        about = dict(index.provenance if provenance is None else provenance)
        told = plain(about)
        own = {name: value for name, value in plain(run.provenance).items() if value != told.get(name)}
        with full_disk(self.to):
            self._write(step, run, own)
            training = (index.training or Training()).with_step(step, metrics or {})
            self._replace(replace(index, training=training, provenance=about))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Set values of metrics at a step that is there.

        Raises
        ------
        ValueError
            If there is no snapshot at this step.
        """
        if step not in self.steps:
            raise ValueError(f"there is no snapshot at step {step} to keep metrics with.")
        self._read()
        if self._index is not None and self._index.training is not None:
            self._replace(replace(self._index, training=self._index.training.with_metrics(step, metrics)))

    def note(self, provenance: Mapping[str, Any]) -> None:
        """Replace the provenance of the training."""
        self._read()
        if self._index is not None:
            self._replace(replace(self._index, provenance=dict(provenance)))

    def _read(self) -> None:
        """Read the index, if it is not the one that was seen last: a layout may have been added in between."""
        state = (self.to / INDEX).stat()
        seen = state.st_ino, state.st_mtime_ns, state.st_size
        if seen != self._seen:
            self._index, self._seen = read_index(self.to), seen

    def _replace(self, index: Index) -> None:
        write_index(self.to, index)
        state = (self.to / INDEX).stat()
        self._index, self._seen = index, (state.st_ino, state.st_mtime_ns, state.st_size)

    def _write(self, step: int, run: Run, provenance: Mapping[str, Any]) -> None:
        """Write a snapshot aside and move it to its place."""
        hidden, target = self.to / ".snapshot.partial", self.to / DATA / STEPS / str(step)
        for leftover in (hidden, target):  # of a process that was killed
            if leftover.exists():
                shutil.rmtree(leftover)
        try:
            groups: dict[str, Group] = {}
            for (layer, reduce), record in run.records.items():
                path = unused(f"layers/{safe_name(layer)}/{safe_name(reduce)}", set(groups))
                about: dict[str, Any] = {"layer": layer, "reduce": reduce}
                if isinstance(record, Moments):
                    entries, more = write_moments(hidden / path, record)
                    groups[path] = Group("moments", entries, {**about, **more})
                    about["count"] = record.count
                else:
                    entries = _write_values(hidden / path, record)
                    if record.sparse:
                        about["n_neurons"] = record.n_neurons
                    groups[path] = Group("activations", entries, dict(about))
                write_group(hidden / path, {**about, "step": step})
            if len(run.inputs):
                groups["inputs"] = _write_columns(hidden / "inputs", run.inputs, self._base())
            known = json.loads(json.dumps({"provenance": provenance, "groups": group_tables(groups)}, default=str))
            write_group(hidden, {"step": step, **known})
            consolidate(hidden)
            if not target.parent.is_dir():
                write_group(target.parent)
            hidden.rename(target)
        finally:
            shutil.rmtree(hidden, ignore_errors=True)

    def _base(self) -> Inputs:
        """Return the inputs of the first snapshot."""
        if self._inputs is None:
            from topomap.store.reader import read_inputs

            self._inputs = read_inputs(self.to, read_index(self.to))
        return self._inputs


def _write_values(folder: Path, acts: Activations) -> dict[str, Entry]:
    """Write the arrays of activations; return their entries for the index."""
    dims = {"values": ("row", "neuron"), "input": ("row",), "place": ("row", "axis"), **SPARSE}
    streams: dict[str, ArrayStream] = {}
    for part, block in acts.sparse_blocks() if acts.sparse else acts.blocks():
        parts = split(block) if acts.sparse else {"values": block}
        parts = {**parts, "input": acts._rows[part]}
        if acts.places is not None:
            parts["place"] = acts.places[part]
        for name, values in parts.items():
            if name not in streams:
                streams[name] = ArrayStream(folder / name, dims[name], f"{name} of layer {acts.layer!r}")
            streams[name].append(values)
    return {name: stream.finish() for name, stream in streams.items()}


def _write_columns(folder: Path, inputs: Inputs, base: Inputs) -> Group:
    """Write the columns that are not those of the first snapshot."""
    columns: dict[str, str] = {}
    entries: dict[str, Entry] = {}
    for name, column in inputs.columns.items():
        if name in base.columns and _same(column, base.columns[name]):
            continue
        columns[name] = unused(safe_name(name), set(entries))
        entries[columns[name]] = write_array(folder / columns[name], column, ("input",), f"column {name!r}")
    write_group(folder)
    about = {"n_inputs": len(inputs), "columns": columns, "order": list(inputs.columns)}
    return Group("columns", entries, about)


def _same(a: NDArray[Any], b: NDArray[Any]) -> bool:
    return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=a.dtype.kind in "fc")


def save_training(run: Run, to: Path, overwrite: bool) -> None:
    """Write a training to a run folder, which gets its name when all snapshots are in it."""
    refuse(to, overwrite)
    to.parent.mkdir(parents=True, exist_ok=True)
    hidden = aside(to, "partial")
    shutil.rmtree(hidden, ignore_errors=True)
    try:
        folder = TrainingFolder(hidden)
        for i, step in enumerate(run.steps):
            metrics = {name: float(values[i]) for name, values in run.metrics.items()}
            folder.append(step, run.at(step), metrics, run.provenance)
        put_in_place(hidden, to, overwrite)
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
