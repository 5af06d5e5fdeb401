"""When a training that is watched has a snapshot."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np

Every = int | Literal["epoch", "geometric"]

#: Snapshots per factor of ten where the schedule is geometric.
PER_DECADE = 10


def check_every(every: Any) -> Every | None:
    """Return a schedule if it is one."""
    if every is None or every in ("epoch", "geometric"):
        return every  # type: ignore[no-any-return]
    if isinstance(every, bool) or not isinstance(every, (int, np.integer)) or every < 1:
        raise ValueError(f"every must be a number of steps of at least 1, 'epoch' or 'geometric'; got {every!r}.")
    return int(every)


def check_step(step: Any) -> None:
    """Raise unless a step is a whole number from 0 on."""
    if isinstance(step, bool) or not isinstance(step, (int, np.integer)) or step < 0:
        raise ValueError(f"step must be a whole number from 0 on, the updates of the weights so far; got {step!r}.")


def is_due(every: Every, step: int, epoch: float = math.nan, seen: tuple[float, float] | None = None) -> bool:
    """Return whether the schedule has a snapshot between the last call (step and epoch) and this one.

    At the first call it is due where the schedule has one at this very step.

    Examples
    --------
    >>> [step for step in range(30) if is_due("geometric", step)]
    [0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25]
    >>> is_due(100, 250, seen=(190, 0)), is_due(100, 250, seen=(200, 0))
    (True, False)
    """
    if every == "epoch":
        return epoch == math.floor(epoch) if seen is None or math.isnan(seen[1]) else epoch // 1 > seen[1] // 1
    last = step - 1 if seen is None else int(seen[0])
    if isinstance(every, int):
        return step // every > last // every
    return _decades(step) > _decades(last)


def _decades(step: int) -> int:
    """Return how many steps of the geometric schedule there are up to this one."""
    if step < 1:
        return 1 + step if step >= -1 else 0
    k = math.floor(PER_DECADE * math.log10(step + 0.5)) + 1
    while round(10 ** (k / PER_DECADE)) > step:
        k -= 1
    return k + 2
