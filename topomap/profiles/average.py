"""profile(): the means of groups of inputs."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import sparse

from topomap._check import choice, listing, warn, whole_number
from topomap.groups import By, Groups, ready_made
from topomap.profiles.base import Float, Profiles
from topomap.profiles.contrast import Contrast, choose_contrast, make_contrast, needs_union
from topomap.profiles.sums import average_inputs, sum_groups
from topomap.run import ROW_REDUCTIONS, Activations, Moments, versions


def profile(
    source: Activations | Moments,
    by: By,
    contrast: str | None = None,
    weights: str | None = None,
    n_per_group: int | None = None,
    seed: int = 0,
    preset: str | None = None,
    *,
    places: bool | None = None,
    min_size: int = 5,
) -> Profiles:
    """Average the activations of each group of inputs.

    Rows of one input (its positions or tokens) are averaged first, so that every input counts once. Values are read
    once, by blocks, so that those of a run on disk are never all in memory.

    Parameters
    ----------
    source
        Activations, or moments that were recorded with this ``by=``, or a finer one.
    by
        A column of the inputs, a tuple of columns (their intersections), a callable from inputs to a column, an
        array with one entry per input, or groups, which may overlap: `Groups`, or what has some as ``.groups``, such as
        `Patterns`. The error modes of the 2023 paper are ``"correct"``, ``("label", "correct")`` and ``("label",
        "prediction")``. Inputs with a missing value are in no group, and counted.
    contrast
        What is subtracted from the mean of each group: ``"mean"`` (the default) the mean over groups, so that 0 is
        the average group; ``"rest"`` the mean of the others; the name of a group the mean of that one; ``"none"``
        nothing.
    weights
        What the mean over groups, or the rest, is the mean of: ``"equal"`` of groups, each counting once (the default,
        as published), or ``"size"`` of groups by their size, and for the rest of all grouped inputs that are not in the
        group. Groups of one input count as much as others in the first, which a confusion matrix may have many of: the
        noise floor holds what they add, and ``"size"``, against the average input, is quieter.
    n_per_group
        Average at most so many random inputs of each group.
    seed
        For the random draw.
    preset
        ``"krug2023"``: raw values, 200 random inputs per group, contrast to the unweighted mean over groups, as in
        Krug et al. 2023 (arXiv 2204.03528, section 3.1), and places where positions are kept. A contrast, weights,
        a number per group or places that are given go first.
    places
        Whether to keep positions or tokens apart: values of shape ``(n_groups, n_places, n_neurons)``, the mean at
        each place over the inputs that have it. `Profiles.at_place` gives those of one, and `Profiles.over_places`
        those of each input's mean.
    min_size
        Groups of fewer inputs are flagged as small; they stay in the result.

    Returns
    -------
    Profiles

    Warns
    -----
    TopomapWarning
        If a group has nothing to differ from: it is the only one, or holds all grouped inputs while compared with the
        rest of them.

    Raises
    ------
    ValueError
        If a column does not exist, no input is in any group, the contrast is to a group without inputs or could mean
        a group that has its name, places are asked for and were not kept, or moments were not recorded with this
        ``by=`` or hold one row per position or token (rows of one input are no independent observations).

    Notes
    -----
    Value ``g, j`` is ``sum_i c_gi x_ij``. If labels mean nothing, its variance over shuffles of the inputs is
    ``s_j^2 sum_i (c_gi - mean_i c_gi)^2`` with ``s_j`` the neuron's deviation (ddof 1); the noise floor is 1.96 of its
    root, exact up to the normal approximation, for every contrast and for groups that overlap.

    Examples
    --------
    >>> acts = Activations.from_array([[0.0, 1.0], [2.0, 1.0], [4.0, 4.0]], label=["a", "a", "b"])
    >>> profiles = profile(acts, by="label", min_size=1)
    >>> profiles
    Profiles(layer by label: a (2), b (1); 2 neurons)
    >>> profiles.values
    array([[-1.5, -1.5], [ 1.5,  1.5]])
    >>> profile(acts, by="label", contrast="a").values
    array([[0., 0.], [3., 3.]])
    """
    if not isinstance(source, Activations | Moments):
        raise ValueError(f"profile takes the activations or moments of one layer, run['layer']; got {source!r}.")
    if preset is not None:
        choice("preset", preset, ("krug2023",))
        n_per_group = 200 if n_per_group is None else n_per_group
        if places is None and isinstance(source, Activations) and source.reduce != "tokens":
            places = source.places is not None
    weights = choice("weights", "equal" if weights is None else weights, ("equal", "size"))
    if n_per_group is not None:
        n_per_group = whole_number("n_per_group", n_per_group, 1)
    min_size = whole_number("min_size", min_size, 0)
    seed = whole_number("seed", seed, 0)
    parameters = {
        "contrast": contrast, "weights": weights, "n_per_group": n_per_group, "seed": seed, "preset": preset,
        "places": bool(places), "min_size": min_size,
    }  # fmt: skip
    options: dict[str, Any] = {"contrast": contrast, "weights": weights, "preset": preset, "min_size": min_size}
    if isinstance(source, Moments):
        if n_per_group is not None:
            drop = "leave out n_per_group" if preset is None else f"leave out preset={preset!r}, which draws some"
            raise ValueError(f"moments hold no single inputs to draw from: {drop}, or record keep='values'.")
        if places:
            raise ValueError("moments keep no places: record keep='values' with reduce='positions' or 'tokens'.")
        return _from_moments(source, by, options, parameters)
    if places and source.places is None:
        raise ValueError(
            f"layer {source.layer!r} was recorded with reduce={source.reduce!r}, which keeps no places: record "
            "reduce='positions', 'tokens' or 'aligned' as well, or leave out places=True."
        )
    ready = ready_made(by)
    of_rows = ready is by and ready is not None and ready.n_rows == source.n_rows
    per_input = source if of_rows else average_inputs(source)
    if of_rows and places:
        raise ValueError(
            "with places=True groups are of inputs; these are of rows: give them over the table of inputs."
        )
    every = per_input.groups(by)
    groups = every if n_per_group is None else every.sample(n_per_group, seed)
    pooled = _from_groups(per_input, groups, {**options, "n_ungrouped": every.ungrouped}, parameters)
    if not places:
        return pooled
    from topomap.profiles.places import keep_places

    return keep_places(source, per_input, groups, pooled)


def _from_groups(acts: Activations, groups: Groups, options: dict[str, Any], parameters: dict[str, Any]) -> Profiles:
    contrast = _checked(options["contrast"], groups.names, groups.counts)
    membership, union = groups.membership, None
    if needs_union(contrast, options["weights"]) and groups.overlapping:
        union = groups.n_rows - groups.ungrouped
        anywhere = sparse.csr_array(membership.sum(axis=0)[None] > 0, dtype=np.float64)
        membership = sparse.csr_array(sparse.vstack([membership, anywhere]))
    operator = make_contrast(contrast, options["weights"], groups.names, groups.counts, union)
    _warn_of_nothing(contrast, operator, groups)
    sums = sum_groups(acts, membership)
    n = len(groups)
    spread = operator.spread(sums.groups.count, acts.n_rows, membership if groups.overlapping else None)
    return _finish(
        acts, groups.names, groups.keys, groups.by, groups.counts, operator.apply(sums.groups.mean), sums.errors[:n],
        spread, sums.std, sums.dead, {**options, "contrast": contrast}, parameters,
    )  # fmt: skip


def _from_moments(moments: Moments, by: By, options: dict[str, Any], parameters: dict[str, Any]) -> Profiles:
    if not isinstance(by, str | tuple):
        raise ValueError("moments are grouped while they are recorded: by= must be the recorded column or columns.")
    if moments.reduce in ROW_REDUCTIONS:
        raise ValueError(
            f"moments of reduce={moments.reduce!r} count every place of an input as an observation, which profiles "
            "must not: record reduce='mean' as well, or keep='values'."
        )
    g = moments.grouping(by)
    contrast = _checked(options["contrast"], g.names, g.counts)
    operator = make_contrast(contrast, options["weights"], g.names, g.counts)
    _warn_of_nothing(contrast, operator, g)
    n = np.where(g.counts > 1, g.counts, np.nan)[:, None]
    options = {**options, "contrast": contrast, "n_ungrouped": int(moments.count - g.counts.sum())}
    return _finish(
        moments, g.names, g.keys, g.by, g.counts, operator.apply(np.asarray(g.mean)), np.sqrt(g.variance / n),
        operator.spread(g.counts, moments.count), moments.std, moments.dead, options, parameters,
    )  # fmt: skip


def _checked(contrast: str | None, names: tuple[str, ...], counts: Any) -> str:
    """Return the contrast if it can be taken."""
    if not counts.any():
        raise ValueError("no input is in any of the groups: there is nothing to average.")
    contrast = choose_contrast(contrast, names)
    if contrast in names and counts[names.index(contrast)] == 0:
        raise ValueError(f"group {contrast!r} has no inputs here, so that nothing can be contrasted with it.")
    return contrast


def _warn_of_nothing(contrast: str, operator: Contrast, groups: Any) -> None:
    """Say whose values are 0 because there is nothing to differ from."""
    counts = groups.counts
    if contrast == "none":
        return
    if np.count_nonzero(counts) < 2:
        against = {"mean": "the mean over groups", "rest": "the rest"}.get(contrast, "itself")
        warn(
            f"there is one group alone, which does not differ from {against}: all its values are 0. "
            "Pass contrast='none' for its plain means, or profile by more groups.",
            stacklevel=5,
        )
    elif contrast == "rest":
        whole = [name for name, n, a in zip(groups.names, counts, operator.factor, strict=True) if n and not a]
        if whole:
            warn(
                f"all grouped inputs are in {listing(whole, 3)}, which leaves no rest: its values are 0. "
                "Pass weights='equal' for a contrast to the other groups' means, or contrast='none'.",
                stacklevel=5,
            )


def _finish(
    source: Activations | Moments,
    names: tuple[str, ...],
    keys: tuple[tuple[Any, ...], ...],
    by: tuple[str, ...],
    counts: Any,
    values: Float,
    errors: Float,
    spread: Float,
    std: Float,
    dead: Any,
    options: dict[str, Any],
    parameters: dict[str, Any],
) -> Profiles:
    n_rows = source.n_rows
    deviation = std * np.sqrt(n_rows / max(n_rows - 1, 1))
    if options["contrast"] != "none":
        values[:, dead] = 0  # as they are but for rounding, which would pass for a pattern in raw units
    return Profiles(
        values=values,
        scale=np.ones_like(std) if options["preset"] == "krug2023" else np.where(dead, 0, std),
        names=names,
        keys=keys,
        by=by,
        counts=counts,
        standard_errors=errors,
        noise_floor=1.96 * np.sqrt(spread)[:, None] * deviation,
        dead=dead,
        n_rows=n_rows,
        layer=source.layer,
        reduce=source.reduce,
        provenance={
            "parameters": parameters,
            "n_inputs": n_rows,
            "n_ungrouped": options["n_ungrouped"],
            "n_dead": int(dead.sum()),
            "versions": versions(),
            "recording": dict(source.provenance),
        },
        **options,
    )
