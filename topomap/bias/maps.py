"""What group and reference do to every neuron in each class: the maps that a difference is read beside."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from topomap.bias.effects import shares
from topomap.bias.sample import Comparison

Float = NDArray[np.float64]


def class_maps(values: NDArray[Any], comparison: Comparison, deviation: Float) -> tuple[Float, Float]:
    """Return the means of group and reference in every tested class, and the standard errors of their differences.

    Of shape ``(n_tested, 2, n_neurons)`` and ``(n_tested, n_neurons)``. Each neuron less its mean over all of `values`,
    in units of `deviation`, so that the two of a class differ by what is pooled; 0 where the deviation is. Sides have
    a variance each, from their class alone; a class of two inputs, which has none, that of `deviation`.

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
    out, errors = np.zeros((len(tested), 2, values.shape[1])), np.zeros((len(tested), values.shape[1]))
    for i, c in enumerate(tested):
        sides = [
            values[comparison.rows[member & (comparison.classes == c)]]
            for member in (comparison.member, ~comparison.member)
        ]
        n = np.array([[len(rows)] for rows in sides])
        for side, (rows, share) in enumerate(zip(sides, shares(*n), strict=True)):
            out[i, side] = rows.mean(axis=0, dtype=np.float64)
            errors[i] += share * len(rows) * rows.var(axis=0, dtype=np.float64)
        weight = n.prod() / n.sum()
        errors[i] = np.sqrt(errors[i]) / weight if n.sum() > 2 else deviation / weight**0.5
    inverse = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 0)
    return (out - values.mean(axis=0, dtype=np.float64)) * inverse, errors * inverse
