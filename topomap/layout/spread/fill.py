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

#: Where neurons started draws them back, by a share of their way that falls with this power of the length scale, from
#: all of it at this many sides of the region.
_LOOSER, _BOUND = 3, 1.5


def flow(points: Points, ground: Ground, pull: sparse.csr_array, scales: NDArray[Any], bar: Any) -> None:
    """Move points, in place, by attraction at shrinking length scales, under pressure.

    Where they started draws them back, the less the smaller the scale.
    """
    step, start, side = np.empty_like(points), points.copy(), np.sqrt(len(points))
    ground.press(points, 20)
    for scale in scales:
        attract(points, pull, scale, step)
        points += step / 2
        points += (scale / (_BOUND * side)) ** _LOOSER * (start - points)
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
