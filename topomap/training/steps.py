"""The snapshots of a training that are looked at."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from topomap._check import at_least, instance_of
from topomap.run import Run


def choose_steps(run: Run, steps: int | Sequence[int] | None = None, least: int = 2) -> tuple[int, ...]:
    """Return steps of a training, in order.

    Parameters
    ----------
    run
        With snapshots.
    steps
        The steps themselves; or how many, spread evenly over the snapshots, the first and the last among them; or None
        for all.
    least
        Fewest steps that will do.

    Raises
    ------
    ValueError
        If the run has no snapshots, or not these, or too few are left.

    Examples
    --------
    >>> from topomap.run import Activations
    >>> runs = {}
    >>> for step in (0, 1, 2, 4, 8):
    ...     acts = Activations.from_array([[0.0, 1.0], [2.0, step]], layer="fc")
    ...     runs[step] = Run(acts.inputs, {("fc", "none"): acts})
    >>> choose_steps(Run.from_snapshots(runs), 3)
    (0, 2, 8)
    """
    instance_of(
        "run", run, Run, "A training is what a tm.TrainingRecorder recorded: recorder.run, or tm.open_run(...)."
    )
    if not run.steps:
        raise ValueError(
            "this run has no snapshots, so nothing moves in it: record a training with tm.TrainingRecorder, or its "
            "checkpoints with tm.record_checkpoints."
        )
    if steps is None:
        chosen = run.steps
    elif isinstance(steps, int | np.integer):
        at_least("steps", int(steps), least)
        chosen = tuple(run.steps[i] for i in spread(len(run.steps), int(steps)))
    elif isinstance(steps, str):  # type: ignore[unreachable]
        raise ValueError(f"steps must be a number of steps, a list of them, or None for all; got {steps!r}.")
    else:
        chosen = tuple(sorted({int(step) for step in steps}))
        for step in chosen:
            if step not in run.snapshots:
                run.at(step)  # raises, and names the nearest
    if len(chosen) < least:
        why = f", without {tell_divergence(tuple(run.diverged))}" if run.diverged else ""
        raise ValueError(f"at least {least} snapshots are needed to see anything change; got {len(chosen)}{why}.")
    return chosen


def tell_divergence(steps: Sequence[int]) -> str:
    """Return in words at which steps a training had diverged, so that there are no snapshots of them.

    Examples
    --------
    >>> tell_divergence((50,)), tell_divergence((50, 1000))
    ('step 50, at which the training had diverged', '2 steps from 50 to 1,000, at which the training had diverged')
    """
    one = len(steps) == 1
    which = f"step {steps[0]:,}" if one else f"{len(steps)} steps from {min(steps):,} to {max(steps):,}"
    return f"{which}, at which the training had diverged"


def spread(n: int, most: int) -> NDArray[np.int64]:
    """Return at most so many of ``range(n)``, spread evenly, the first and the last among them.

    Examples
    --------
    >>> spread(9, 3).tolist(), spread(2, 5).tolist()
    ([0, 4, 8], [0, 1])
    """
    return np.unique(np.linspace(0, n - 1, min(n, most)).round().astype(np.int64))
