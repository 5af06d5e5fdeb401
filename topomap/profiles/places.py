"""Profiles in which positions or tokens are kept apart."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from topomap._sparse import refuse_dense
from topomap.groups import Groups
from topomap.profiles.base import Profiles
from topomap.profiles.contrast import make_contrast, needs_union
from topomap.profiles.sums import sum_groups
from topomap.run import Activations


def keep_places(acts: Activations, per_input: Activations, groups: Groups, pooled: Profiles) -> Profiles:
    """Return the profiles of every place: what `profile` gives for the rows of that place alone.

    Parameters
    ----------
    acts
        One row per input and place.
    per_input, groups, pooled
        One row per input, groups of those, and their profiles.
    """
    assert acts.places is not None and acts.rows is not None and per_input.rows is not None
    places, place = np.unique(acts.places, axis=0, return_inverse=True)
    place = place.ravel()
    row_of = np.full(len(acts.inputs), -1, dtype=np.int64)
    row_of[per_input.rows] = np.arange(per_input.n_rows)
    row = row_of[acts.rows]
    if len(np.unique(row * len(places) + place)) < acts.n_rows:
        raise ValueError(f"layer {acts.layer!r} has several rows for one place of an input; expected one.")
    k, p = len(groups), len(places)
    way_out = "Profile fewer groups, or leave out places=True."
    refuse_dense("profiles with places", (k + 1) * p, acts.n_neurons, way_out)
    of_rows = groups.of_rows(row)
    in_union = needs_union(pooled.contrast, pooled.weights) and groups.overlapping
    # One cell per group and place, then one per place for all inputs in any group, and one for all inputs.
    member = sparse.coo_array(of_rows.membership)
    group, at = member.coords
    anywhere = np.unique(at) if in_union else np.empty(0, dtype=np.int64)
    cells = np.concatenate([group * p + place[at], k * p + place[anywhere], (k + in_union) * p + place])
    rows = np.concatenate([at, anywhere, np.arange(acts.n_rows)])
    shape = ((k + in_union + 1) * p, acts.n_rows)
    sums = sum_groups(acts, sparse.csr_array((np.ones(len(rows)), (cells, rows)), shape=shape))
    count = sums.groups.count.reshape(-1, p)
    mean = sums.groups.mean.reshape(-1, p, acts.n_neurons)
    squares = sums.groups.squares.reshape(-1, p, acts.n_neurons)
    values, floor = np.zeros((2, k, p, acts.n_neurons))
    for i in range(p):
        counts = count[:k, i]
        union = int(count[k, i]) if in_union else None
        operator = make_contrast(pooled.contrast, pooled.weights, groups.names, counts, union)
        values[:, i] = operator.apply(mean[: k + in_union, i])
        n = int(count[-1, i])
        membership = _at_place(of_rows, np.flatnonzero(place == i), in_union) if groups.overlapping else None
        spread = operator.spread(count[: k + in_union, i], n, membership)
        floor[:, i] = 1.96 * np.sqrt(spread)[:, None] * np.sqrt(squares[-1, i] / max(n - 1, 1))
    if pooled.contrast != "none":
        values[:, :, sums.dead] = 0
    krug = pooled.preset == "krug2023"
    return replace(
        pooled,
        values=values,
        standard_errors=sums.errors.reshape(-1, p, acts.n_neurons)[:k],
        noise_floor=floor,
        scale=np.ones_like(sums.std) if krug else np.where(sums.dead, 0, sums.std),
        dead=sums.dead,
        places=places,
        place_counts=count[:k],
        pooled=pooled,
    )


def _at_place(groups: Groups, rows: NDArray[np.int64], union: bool) -> sparse.csr_array:
    """Return the membership of the rows of one place, with that of the union below where it is asked for."""
    membership = groups.membership[:, rows]
    if not union:
        return membership
    return sparse.csr_array(
        sparse.vstack([membership, sparse.csr_array(membership.sum(axis=0)[None] > 0, dtype=float)])
    )
