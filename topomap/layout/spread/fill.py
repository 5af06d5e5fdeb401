"""The fluid: neurons are drawn to their neighbours at shrinking length scales, under pressure."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from topomap._compute import in_threads
from topomap.layout.spread import kernels
from topomap.layout.spread.ground import Ground

Points = NDArray[np.float64]

#: From this number of neurons on threads share the work: less is done before a thread has started.
_THREADED = 4_096


def flow(points: Points, ground: Ground, pull: sparse.csr_array, scales: NDArray[Any], bar: Any) -> None:
    """Move points, in place, by attraction at shrinking length scales, under pressure."""
    step = np.empty_like(points)
    ground.press(points, 20)
    for scale in scales:
        attract(points, pull, scale, step)
        points += step / 2
        ground.press(points)
        bar.update()
    ground.press(points, 20)


def attract(points: Points, pull: sparse.csr_array, scale: float, out: Points) -> None:
    """Write the mean way to neighbours at a length scale (see `kernels.attract`)."""
    work = partial(kernels.attract, points, pull.indptr, pull.indices, pull.data, scale * scale, out)
    if len(points) < _THREADED:
        work(0, len(points))
    else:
        in_threads(work, len(points))
