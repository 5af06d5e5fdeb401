"""A run in memory, or in another run folder, becomes a run folder."""

from __future__ import annotations

import os
from pathlib import Path

from topomap.run import Activations, Moments, Run
from topomap.store.reader import load_run
from topomap.store.snapshots import save_training
from topomap.store.writer import RunWriter


def save_run(run: Run, to: str | os.PathLike[str], overwrite: bool = False) -> Run:
    """Write a run to a folder and return it as opened from there.

    Parameters
    ----------
    run
        The run, or training; values that lie in another run folder are copied block by block.
    to
        The run folder to be.
    overwrite
        Replace a run that is already there, once the new one is whole.

    Returns
    -------
    Run
        The same, read from the folder where it is used.

    Raises
    ------
    ValueError
        If something is at `to` that may not be replaced, or a column holds what cannot be stored.
    OSError
        If the disk is full; nothing half-written is left.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> acts = Activations.from_array(np.eye(3), label=[0, 1, 1])
    >>> run = Run(acts.inputs, {("fc", "none"): acts})
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     saved = save_run(run, f"{folder}/digits")
    ...     print(saved["fc"].values[1], saved.inputs.label)
    [0. 1. 0.] [0 1 1]
    """
    if run.steps:
        folder = Path(os.path.realpath(Path(to).expanduser()))
        save_training(run, folder, overwrite)
        return load_run(folder)
    with RunWriter(to, dtype=None, overwrite=overwrite) as writer:
        own = {}
        for (layer, reduce), record in run.records.items():
            own[layer, reduce] = record.provenance
            if isinstance(record, Moments):
                writer.add(layer, reduce, record)
                continue
            _append_all(writer, layer, reduce, record)
        complete = bool(run.provenance.get("complete", True))
        return writer.commit(run.inputs, run.provenance, complete, own)


def _append_all(writer: RunWriter, layer: str, reduce: str, acts: Activations) -> None:
    blocks = acts.sparse_blocks() if acts.sparse else acts.blocks()
    for part, block in blocks if acts.n_rows else [(slice(0, 0), acts.values[:0])]:
        writer.append(layer, reduce, block, acts._rows[part], None if acts.places is None else acts.places[part])
