"""The last step of a round: neurons give way to attraction around their sites, without crowding or leaving gaps."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import cKDTree

from topomap.layout.spread import kernels
from topomap.layout.spread.fill import attract

if TYPE_CHECKING:
    from topomap.layout.spread.ground import Ground

Points = NDArray[np.float64]

#: Steps, and the share of the attraction that the first and the last of them take.
_STEPS, _FIRST, _LAST = 40, 0.6, 0.03

#: Times that crowded pairs are parted in each step.
_TIMES = 4


def relax(home: Points, ground: Ground, pull: sparse.csr_array, leash: float, room: float) -> Points:
    """Move neurons towards those they resemble.

    Parameters
    ----------
    home
        The sites, in spacings, shape ``(n, 2)``; neurons along the border move along it.
    ground
        What they lie on.
    pull
        Weights of neighbours, shape ``(n, n)``.
    leash
        How far a neuron may go from its site, in spacings.
    room
        Distance, in spacings, below which neurons are parted.

    Returns
    -------
    Where they end, shape ``(n, 2)``.
    """
    n = len(home)
    points = home.copy()
    drawn = np.empty_like(points)
    pairs = cKDTree(home).query_pairs(2 * leash + room, output_type="ndarray")
    close = sparse.csr_array((np.ones(len(pairs), dtype=np.int8), (pairs[:, 0], pairs[:, 1])), shape=(n, n))
    close.sort_indices()  # one order of parting
    start, other = close.indptr.astype(np.int64), close.indices.astype(np.int32)
    slide = ground.along_border(home)
    for share in np.linspace(_FIRST, _LAST, _STEPS):
        attract(points, pull, 1.0, drawn)
        points += share * drawn
        kernels.part(points, start, other, room, _TIMES)
        away = points - home
        slide(away)
        length = np.linalg.norm(away, axis=1)
        far = length > leash
        away[far] *= (leash / length[far])[:, None]
        points = home + away
    ground.clamp(points)
    return points
