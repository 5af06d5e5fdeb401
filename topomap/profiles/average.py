"""profile(): the means of groups of inputs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from topomap._check import at_least, choice, warn
from topomap.groups import By, Groups
from topomap.profiles.base import Float, Profiles
from topomap.run import ROW_REDUCTIONS, Activations, Moments, versions


def profile(
    source: Activations | Moments,
    by: By,
    contrast: str | None = None,
    weights: str | None = None,
    n_per_group: int | None = None,
    seed: int = 0,
    preset: str | None = None,
) -> Profiles:
    """Average the activations of each group of inputs.

    Rows of one input (its positions or tokens) are averaged first, so that every input counts once.

    Parameters
    ----------
    source
        Activations, or moments that were recorded with this ``by=``.
    by
        A column of the inputs, a tuple of columns (their intersections), a callable from inputs to a column, an
        array with one entry per input, or `Groups`.
    contrast
        ``"mean"`` (the default) subtracts the mean over groups, so that 0 is the average group; ``"none"`` keeps the
        plain means.
    weights
        How the mean over groups weighs them: ``"equal"`` (each group once, the default) or ``"size"``.
    n_per_group
        Average at most so many random inputs of each group.
    seed
        For the random draw.
    preset
        ``"krug2023"``: raw values, 200 random inputs per group, contrast to the unweighted mean over groups, as in
        Krug et al. 2023 (arXiv 2204.03528, section 3.1). A contrast, weights or a number per group that are given go
        first.

    Returns
    -------
    Profiles

    Warns
    -----
    TopomapWarning
        If a single group is contrasted with the mean over groups, which is itself.

    Raises
    ------
    ValueError
        If a column does not exist, or moments were not recorded with this ``by=`` or hold one row per position or
        token (rows of one input are no independent observations).

    Notes
    -----
    Value ``g, j`` is ``sum_i c_gi x_ij``. If labels mean nothing, its variance over shuffles of the inputs is
    ``s_j^2 sum_i (c_gi - mean_i c_gi)^2`` with ``s_j`` the neuron's deviation (ddof 1); the noise floor is 1.96 of its
    root, exact up to the normal approximation.

    Examples
    --------
    >>> acts = Activations.from_array([[0.0, 1.0], [2.0, 1.0], [4.0, 4.0]], label=["a", "a", "b"])
    >>> profiles = profile(acts, by="label")
    >>> profiles
    Profiles(layer by label: a (2), b (1); 2 of fewer than 5 inputs; 2 neurons)
    >>> profiles.values
    array([[-1.5, -1.5], [ 1.5,  1.5]])
    """
    if not isinstance(source, Activations | Moments):
        raise ValueError(f"profile takes the activations or moments of one layer, run['layer']; got {source!r}.")
    if preset is not None:
        choice("preset", preset, ("krug2023",))
        n_per_group = 200 if n_per_group is None else n_per_group
    contrast = choice("contrast", "mean" if contrast is None else contrast, ("mean", "none"))
    weights = choice("weights", "equal" if weights is None else weights, ("equal", "size"))
    parameters = {"contrast": contrast, "weights": weights, "n_per_group": n_per_group, "seed": seed, "preset": preset}
    if isinstance(source, Moments):
        if n_per_group is not None:
            raise ValueError("moments hold no single inputs to draw from: drop n_per_group, or record keep='values'.")
        if not isinstance(by, str | tuple):
            raise ValueError("moments are grouped while they are recorded: by= must be the recorded column or columns.")
        if source.reduce in ROW_REDUCTIONS:
            raise ValueError(
                f"moments of reduce={source.reduce!r} count every place of an input as an observation, which profiles "
                "must not: record reduce='mean' as well, or keep='values'."
            )
        g = source.grouping(by)
        names, keys, columns, counts, means = g.names, g.keys, g.by, g.counts, np.asarray(g.mean)
        overlap = np.diag(1.0 / np.maximum(counts, 1))
        errors = np.sqrt(np.asarray(g.variance) / np.maximum(counts, 1)[:, None])
        n_rows = source.count
    else:
        if not isinstance(by, Groups):
            source = source.per_input()
        groups = source.groups(by)
        if n_per_group is not None:
            at_least("n_per_group", n_per_group, 1)
            groups = groups.sample(n_per_group, seed)
        names, keys, columns, counts = groups.names, groups.keys, groups.by, groups.counts
        means, errors = _means(source, groups)
        overlap = np.asarray((groups.weights @ groups.weights.T).todense())
        n_rows = source.n_rows
    if contrast == "mean" and np.count_nonzero(counts) < 2:
        warn(
            "there is one group alone, which does not differ from the mean over groups: all its values are 0. "
            "Pass contrast='none' for its plain means, or profile by more groups."
        )
    errors = np.where(counts[:, None] > 1, errors, np.nan)
    deviation = source.std * np.sqrt(n_rows / max(n_rows - 1, 1))
    operator = _contrast(contrast, weights, counts)
    totals = operator @ (counts > 0)
    spread = np.einsum("gh,hk,gk->g", operator, overlap, operator) - totals**2 / n_rows
    floor = 1.96 * np.sqrt(np.maximum(spread, 0))[:, None] * deviation
    return Profiles(
        values=operator @ means,
        scale=np.ones_like(source.std) if preset == "krug2023" else np.where(source.dead, 0, source.std),
        names=names,
        keys=keys,
        by=columns,
        counts=counts,
        standard_errors=errors,
        noise_floor=floor,
        contrast=contrast,
        weights=weights,
        dead=source.dead,
        n_rows=n_rows,
        layer=source.layer,
        reduce=source.reduce,
        preset=preset,
        provenance={"parameters": parameters, "versions": versions(), "recording": dict(source.provenance)},
    )


def _means(acts: Activations, groups: Groups) -> tuple[Float, Float]:
    """Means and their standard errors per group, reading the values once by blocks."""
    members = sparse.csr_array(groups.membership.T)  # rows x groups, so that a block of rows is a cheap slice
    sums = np.zeros((len(groups), acts.n_neurons))
    squares = np.zeros_like(sums)
    n = np.maximum(groups.counts, 1)[:, None]
    if acts.sparse:  # zeros count through the means: nothing is filled up
        for part, block in acts.sparse_blocks():
            block = block.astype(np.float64)
            sums += members[part].T @ block
            squares += members[part].T @ block.power(2)
        squares += groups.counts[:, None] * acts.mean**2 - 2 * acts.mean * sums
        sums -= groups.counts[:, None] * acts.mean
    for part, block in acts.blocks() if not acts.sparse else ():
        centered = block - acts.mean
        block_members = members[part].T
        sums += block_members @ centered
        squares += block_members @ centered**2
    means = sums / n
    variance = np.maximum(squares - sums * means, 0) / np.maximum(n - 1, 1)
    return means + acts.mean, np.sqrt(variance / n)


def _contrast(contrast: str, weights: str, counts: NDArray[np.int64]) -> Float:
    """Return the matrix from group means to contrasted values, shape ``(n_groups, n_groups)``."""
    identity = np.eye(len(counts))
    if contrast == "none":
        return identity
    shares = (counts > 0).astype(float) if weights == "equal" else counts.astype(float)
    return np.asarray(identity - shares / shares.sum())
