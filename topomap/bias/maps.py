"""What group and reference do to every neuron in each class: the maps that a difference is read beside."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from topomap.bias.sample import Comparison

Float = NDArray[np.float64]


def class_maps(values: NDArray[Any], comparison: Comparison, deviation: Float) -> Float:
    """Return the means of group and reference in every tested class, shape ``(n_tested, 2, n_neurons)``.

    Each neuron less its mean over all of `values`, in units of `deviation`, so that the two of a class differ by what
    is pooled; 0 where the deviation is.

    Parameters
    ----------
    values
        Of the sample, shape ``(n_rows, n_neurons)``.
    comparison
        The group and its reference.
    deviation
        Pooled within cells, shape ``(n_neurons,)``.
    """
    tested = [c for c, cell in enumerate(comparison.cells) if cell.tested]
    if comparison.classes.max(initial=-1) + 1 < len(comparison.cells):  # inputs of untested classes were left out
        tested = list(range(len(tested)))
    out = np.zeros((len(tested), 2, values.shape[1]))
    for i, c in enumerate(tested):
        for side, member in enumerate((comparison.member, ~comparison.member)):
            rows = comparison.rows[member & (comparison.classes == c)]
            out[i, side] = values[rows].mean(axis=0, dtype=np.float64)
    inverse = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)
    return np.asarray((out - values.mean(axis=0, dtype=np.float64)) * inverse)
