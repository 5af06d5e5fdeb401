"""What group means are shown against, and what shuffled labels would make of that."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from topomap._check import choice

Float = NDArray[np.float64]

#: What a contrast can be, besides the name of a group.
CONTRASTS = ("mean", "none", "rest")


@dataclass(frozen=True, eq=False)
class Contrast:
    """The linear map from group means ``m_g`` to profiles: ``factor_g (m_g - sum_h share_h m_h)``.

    Every contrast is of this form, so that one reference mean serves all groups. That to the rest is, too: with equal
    weights the mean of the K - 1 other groups leaves ``K / (K - 1)`` of the difference to the mean of all K, and with
    weights by size the mean of the ``N - n_g`` other inputs leaves ``N / (N - n_g)`` of that to the mean of all N.

    Parameters
    ----------
    factor
        Shape ``(n_groups,)``; 0 for a group without inputs, and for one that has nothing to differ from.
    share
        Of each group in the reference mean, shape ``(n_groups,)``; they sum to 1, or to 0 for plain means. One more
        entry stands for the union of all groups.
    """

    factor: Float
    share: Float

    def apply(self, means: Float) -> Float:
        """Take means ``(n_shares, n_neurons)`` to profiles ``(n_groups, n_neurons)``."""
        return np.asarray(self.factor[:, None] * (means[: len(self.factor)] - self.share @ means))

    def spread(self, counts: NDArray[np.int64], n_rows: int, membership: sparse.csr_array | None = None) -> Float:
        """Return ``sum_i (c_gi - mean_i c_gi)^2`` for the weight ``c_gi`` of input i in profile g; ``(n_groups,)``.

        Parameters
        ----------
        counts
            Inputs per group (and of the union), shape ``(n_shares,)``.
        n_rows
            Number of inputs.
        membership
            Shape ``(n_shares, n_rows)``, where groups overlap. Without it no input may be in two.
        """
        n = np.maximum(counts, 1)
        if membership is None:
            product, square = self.share / n, float((self.share**2 / n).sum())
        else:
            reference = (self.share / n) @ membership  # the weight of every input in the reference mean
            product, square = (membership @ reference) / n, float(reference @ reference)
        k = len(self.factor)
        squares = 1 / n[:k] - 2 * product[:k] + square - (1 - self.share.sum()) ** 2 / n_rows
        return np.asarray(self.factor**2 * np.maximum(squares, 0))


def choose_contrast(contrast: str | None, names: Sequence[str]) -> str:
    """Return the contrast that is meant; one that a group is named like is refused, as either could be meant."""
    if contrast is None:
        return "mean"
    if contrast in CONTRASTS and contrast in names:
        raise ValueError(
            f"contrast={contrast!r} could mean the group of that name: rename the group, "
            "acts.with_labels(column=...)." + (" Without contrast= it is the mean." if contrast == "mean" else "")
        )
    return str(choice("contrast", contrast, (*CONTRASTS, *names)))


def needs_union(contrast: str, weights: str) -> bool:
    """Return whether the reference is the mean of all inputs in any group, which overlapping groups do not give."""
    return contrast == "rest" and weights == "size"


def make_contrast(
    contrast: str, weights: str, names: Sequence[str], counts: NDArray[np.int64], union: int | None = None
) -> Contrast:
    """Make the linear map of a contrast.

    Parameters
    ----------
    contrast, weights
        As of `profile`.
    names, counts
        Of the groups.
    union
        Number of inputs in any group, where groups overlap and `needs_union`.
    """
    present = (counts > 0).astype(float)
    n_present = float(present.sum())
    factor = present
    if contrast == "none":
        return Contrast(factor, np.zeros(len(counts)))
    if contrast in ("mean", "rest"):
        share = present if weights == "equal" else counts.astype(float)
        share = share / max(share.sum(), 1)
        if n_present < 2:
            factor = np.zeros(len(counts))
        elif contrast == "rest" and weights == "equal":
            factor = present * (n_present / (n_present - 1))
        elif contrast == "rest":
            total = counts.sum() if union is None else union
            others = total - counts
            factor = np.divide(total, others, out=np.zeros(len(counts)), where=others > 0) * present
            if union is not None:
                share = np.append(np.zeros(len(counts)), 1.0)
        return Contrast(factor, share)
    share = np.array([name == contrast for name in names], dtype=float)
    return Contrast(factor * (share == 0) * (present @ share), share)  # nothing differs from a group without inputs
