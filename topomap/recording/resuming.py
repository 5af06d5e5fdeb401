"""Whether a training in a run folder is the one that is to be gone on with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from topomap.run import Run
from topomap.store import TrainingFolder, open_run


def check_parameters(folder: TrainingFolder, given: Mapping[str, Any]) -> None:
    """Raise where a training was recorded in another way than is given now.

    Parameters
    ----------
    folder
        Of the training; nothing is wrong where it has no snapshot.
    given
        ``model`` (the name of its class), ``seed``, and parameters as the provenance tells them.

    Raises
    ------
    ValueError
        If the snapshots that are there are of another model, other layers or other parameters.
    """
    if not folder.steps:
        return
    known = {**folder.provenance.get("parameters", {}), **folder.provenance}
    odd = [f"{name} {known.get(name)!r}, now {value!r}" for name, value in given.items() if known.get(name) != value]
    if odd:
        raise _other(folder, "; ".join(odd))


def check_fit(folder: TrainingFolder, run: Run, probe: str) -> None:
    """Raise where the first snapshot of a session does not fit those before it.

    Parameters
    ----------
    folder
        Of the training; nothing is wrong where it has no snapshot.
    run
        The snapshot.
    probe
        The digest of the inputs.

    Raises
    ------
    ValueError
        If layers have other sizes, or inputs or groupings are others.
    """
    if not folder.steps:
        return
    last = open_run(folder.to)
    now, then = ({key: record.n_neurons for key, record in one.records.items()} for one in (run, last))
    for layer, reduce in {**then, **now}:
        had, has = then.get((layer, reduce), 0), now.get((layer, reduce), 0)
        if had != has:
            raise _other(folder, f"{had} neurons of layer {layer!r} ({reduce}), now {has}")
    if last.provenance.get("training", {}).get("probe") != probe:
        raise _other(folder, "other inputs than those of this loader")
    before, after = (one.provenance.get("parameters", {}) for one in (last, run))
    odd = [
        f"{name}={before.get(name)}, now {name}={after.get(name)}"
        for name in ("by", "n_features", "n", "nonfinite")
        if before.get(name) != after.get(name)
    ]
    if odd:
        raise _other(folder, "; ".join(odd))


def _other(folder: TrainingFolder, what: str) -> ValueError:
    return ValueError(
        f"the training at {folder.to} cannot be gone on with: it was recorded with {what}. Choose another folder, or "
        "pass overwrite=True to begin anew."
    )
