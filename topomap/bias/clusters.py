"""Clusters of neighbouring neurons on a layout, and their largest masses over permutations."""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from topomap._compute import in_threads
from topomap.layout import Layout

Bool = NDArray[np.bool_]

#: Delaunay edges longer than this many median edges join no neighbours.
LONGEST = 3.0

#: Between two thresholds of the threshold-free enhancement, in units of the statistic.
STEP = 0.1


def adjacency(layout: Layout, dead: Bool | None = None) -> sparse.csr_array:
    """Return which neurons are neighbours on a layout: symmetric, ones, shape ``(n_neurons, n_neurons)``.

    Neighbours share an edge of the Delaunay triangulation of the live neurons' places that is at most three times as
    long as the median edge, or lie at the same place. Longer edges span the holes of a free layout and the dents of its
    outline. Labels of inputs play no part.

    Parameters
    ----------
    layout
        Where the neurons are.
    dead
        Neurons that have no neighbours, beside those that are dead in the layout; shape ``(n_neurons,)``.

    Examples
    --------
    >>> square = Layout([[-1, -1], [1, -1], [1, 1], [-1, 1], [0, 0]], region="square")
    >>> adjacency(square).sum(axis=1).astype(int)
    array([3, 3, 3, 3, 4])
    """
    from scipy.spatial import Delaunay, QhullError

    n = layout.n_neurons
    live = layout.live if dead is None else np.flatnonzero(~(layout.dead | dead))
    places, which = np.unique(layout.positions[live], axis=0, return_inverse=True)
    which = which.ravel()
    try:
        corners = Delaunay(places).simplices if len(places) > 2 else None
    except QhullError:  # all on one line
        corners = None
    if corners is None:  # np.unique sorted them along the line
        pairs = np.column_stack([np.arange(len(places) - 1), np.arange(1, len(places))])
    else:
        pairs = np.concatenate([corners[:, [0, 1]], corners[:, [1, 2]], corners[:, [2, 0]]])
        pairs = np.unique(np.sort(pairs, axis=1), axis=0)
    length = np.linalg.norm(places[pairs[:, 0]] - places[pairs[:, 1]], axis=1)
    if len(pairs):
        pairs = pairs[length <= LONGEST * np.median(length)]
    ends = np.concatenate([pairs, pairs[:, ::-1], np.repeat(np.arange(len(places)), 2).reshape(-1, 2)])
    touching = sparse.csr_array((np.ones(len(ends)), ends.T), shape=(len(places), len(places)))
    lies_at = sparse.csr_array((np.ones(len(live)), (live, which)), shape=(n, len(places)))
    near = sparse.coo_array(lies_at @ touching @ lies_at.T)
    other = near.coords[0] != near.coords[1]
    index = (near.coords[0][other], near.coords[1][other])
    graph = sparse.csr_array((np.ones(int(other.sum())), index), shape=(n, n))
    graph.sort_indices()
    return graph


def find_clusters(
    stats: NDArray[np.floating], thresholds: NDArray[np.floating], graph: sparse.csr_array
) -> list[NDArray[np.int64]]:
    """Return the connected neurons of one sign whose absolute statistic is above their threshold, each ascending.

    Parameters
    ----------
    stats, thresholds
        Shape ``(n_neurons,)``.
    graph
        From `adjacency`.
    """
    from scipy.sparse.csgraph import connected_components

    found: list[NDArray[np.int64]] = []
    for sign in (1, -1):
        above = np.flatnonzero(sign * stats > thresholds)
        _, label = connected_components(graph[above][:, above], directed=False)
        order = np.argsort(label, kind="stable")
        found += np.split(above[order], np.flatnonzero(np.diff(label[order])) + 1) if len(above) else []
    return found


def largest_masses(
    stats: NDArray[np.floating], thresholds: NDArray[np.floating], graph: sparse.csr_array
) -> NDArray[np.float64]:
    """Return the largest cluster mass of each row of `stats`, shape ``(n_rows, n_neurons)``; 0 where there is none."""
    from topomap.bias import kernels

    out = np.zeros(len(stats))
    in_threads(partial(kernels.heaviest, stats, thresholds, graph.indptr, graph.indices, out), len(stats))
    return out


def enhance(stats: NDArray[np.floating], graph: sparse.csr_array, step: float = STEP) -> NDArray[np.float64]:
    """Return the threshold-free cluster enhancement of each row, unsigned, shape ``(n_rows, n_neurons)``.

    ``sum over thresholds h of extent(h)^0.5 h^2 dh``, thresholds `step` apart (Smith, Nichols 2009,
    doi 10.1016/j.neuroimage.2008.03.061). The extent is the number of neurons of the cluster that the neuron is in.
    """
    from topomap.bias import kernels

    out = np.zeros(stats.shape)
    in_threads(partial(kernels.enhance, stats, graph.indptr, graph.indices, step, out), len(stats))
    return out
