"""Sums over all pairs of neurons in the plane where the weight depends on distance alone: convolution on a grid."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from topomap import _compute
from topomap.layout.pairs import AllPairs, Kernel

Points = NDArray[np.float64]

#: Nodes per axis that a point is spread to: interpolation by polynomials of degree 5.
ORDER = 6

#: Distance below which pairs are summed one by one, in spacings of the grid.
REACH = 8

#: Spacings that the longer side of the box has at least, and at most.
FEWEST, MOST = 64, 1024

#: Degree in squared distance of the polynomial that continues the kernel below that.
DEGREE = 4

#: More pairs in touching cells than this per point (a crowd in a wide box), and all pairs are summed one by one.
CROWD = 256

#: Above this number of neurons, force layouts convolve by default.
CONVOLVE_ABOVE = 2048

#: A grid this many times finer than the kernel asks for needs no close pairs: what lies far acts far more strongly.
_FINE = 16

#: Steps of the spacing: from one size to the next it grows by ``2 ** (1 / 4)``, so that kernels are used again.
_OCTAVE = 4


class Convolution:
    """Sum displacements over all pairs, weighted by a function of distance, in time O(n + g log g) for g grid nodes.

    Computes what `AllPairs.sum` computes for a kernel without values. The sum ``sum_j w(r_ij) (p_j - p_i)`` is the
    convolution of unit charges with the vector kernel ``-w(|x|) x``: charges are spread to the nodes of a grid by
    Lagrange interpolation, convolved by FFT, and read off by the same interpolation, as FIt-SNE does (Linderman et al.
    2019) with equally spaced nodes throughout. As both interpolations are the same and the kernel is odd, a point
    exerts no force on itself, and the forces add up to zero.

    Interpolation needs a smooth kernel. Closer than eight spacings of the grid, the kernel is replaced by the
    polynomial of degree 4 in ``r^2`` that continues it, and what this leaves out is summed over the close pairs one by
    one (Hockney, Eastwood 1988, chapter 8: particle-particle, particle-mesh). So the kernel may be singular.

    The grid covers the box of the current positions, with some nodes per point, so that few pairs are close where
    points are spread evenly; where they crowd, all pairs are summed instead. In boxes up to 1,024 times `max_spacing`
    wide, the largest error is below 1e-3 of the largest force for the forces of `Swarm` and Fruchterman-Reingold.

    Parameters
    ----------
    pairs
        The engine of all pairs, for crowds; it knows the number of points.
    kernel
        Turns squared distances into weights, as for `AllPairs`, and uses no values.
    max_spacing
        Of the grid: a quarter of the distance over which the kernel changes. None where the kernel is a power of
        distance, which looks alike on any scale.

    References
    ----------
    Linderman, Rachh, Hoskins, Steinerberger, Kluger (2019). Fast interpolation-based t-SNE for improved visualization
    of single-cell RNA-seq data. Nature Methods 16, 243-245. doi 10.1038/s41592-018-0308-4.
    Hockney, Eastwood (1988). Computer simulation using particles. doi 10.1201/9780367806934.

    Notes
    -----
    The result does not depend on the number of threads.
    """

    def __init__(self, pairs: AllPairs, kernel: Kernel, max_spacing: float | None = None) -> None:
        self.n = pairs.n
        self._pairs = pairs
        self._kernel = kernel
        self._max_spacing = np.inf if max_spacing is None else max_spacing
        self._least = min(max(FEWEST, int(3 * np.sqrt(self.n))), MOST)
        self._grid: tuple[float, float, int, int] | None = None
        self._transforms: list[NDArray[np.complex128]] = []
        self._workers = _compute.n_threads()

    def sum(self, positions: Points) -> Points:
        """Return ``sum_j w_ij (p_j - p_i)``, shape ``(n, 2)``, for positions of the same shape."""
        from topomap.layout.close_pairs import Cells

        low, high = positions.min(axis=0), positions.max(axis=0)
        extent = float((high - low).max())
        if extent == 0:
            return np.zeros_like(positions)
        wanted = max(min(extent / self._least, self._max_spacing), extent / MOST)
        spacing = float(2 ** (np.floor(np.log2(wanted) * _OCTAVE) / _OCTAVE))
        reach = REACH * spacing
        if spacing <= self._max_spacing / _FINE and np.isfinite(self._max_spacing):
            return self._far(positions, low, high, spacing, 0.0)
        cells = Cells(positions, reach)
        if cells.n_candidates > CROWD * self.n:
            return self._pairs.sum(positions - positions.mean(axis=0), self._kernel)
        out = self._far(positions, low, high, spacing, reach)
        first, second = cells.pairs()
        gap = positions[second] - positions[first]
        squares = np.einsum("ij,ij->i", gap, gap)
        gap *= (self._weights(squares) - self._continued(squares, reach))[:, None]
        for axis in (0, 1):
            out[:, axis] += np.bincount(first, gap[:, axis], self.n) - np.bincount(second, gap[:, axis], self.n)
        return out

    def _far(self, positions: Points, low: Points, high: Points, spacing: float, reach: float) -> Points:
        from scipy import fft

        # twice the box: what wraps around falls beyond it
        nodes = [int(np.ceil(width / spacing)) + ORDER + 1 for width in high - low]
        shape = (fft.next_fast_len(2 * nodes[0], real=True), fft.next_fast_len(2 * nodes[1], real=True))
        if self._grid != (spacing, reach, *shape):
            self._grid = (spacing, reach, *shape)
            self._transforms = self._transform(spacing, reach, shape)
        place = (positions - low) / spacing + ORDER // 2
        row, row_weight = _stencil(place[:, 0])
        column, column_weight = _stencil(place[:, 1])
        node = (row * shape[1])[:, None] + column
        share = row_weight[:, None] * column_weight
        charge = np.bincount(node.ravel(), share.ravel(), minlength=shape[0] * shape[1]).reshape(shape)
        spectrum = fft.rfft2(charge, workers=self._workers)
        out = np.empty_like(positions)
        for axis, transform in enumerate(self._transforms):
            field = fft.irfft2(spectrum * transform, s=shape, workers=self._workers)
            out[:, axis] = np.einsum("abn,abn->n", field.ravel()[node], share)
        return out

    def _transform(self, spacing: float, reach: float, shape: tuple[int, int]) -> list[NDArray[np.complex128]]:
        from scipy import fft

        x, y = (spacing * count * fft.fftfreq(count) for count in shape)
        squares = x[:, None] ** 2 + y**2
        weights = self._weights(squares.ravel()).reshape(shape)
        if reach:
            near = squares < reach**2
            weights[near] = self._continued(squares[near], reach)
        return [
            fft.rfft2(weights * -x[:, None], workers=self._workers),
            fft.rfft2(weights * -y, workers=self._workers),
        ]

    def _weights(self, squares: NDArray[np.float64]) -> NDArray[np.float64]:
        squares = squares[None].copy()  # kernels work in place, on blocks
        return np.asarray(self._kernel(squares, np.empty_like(squares), np.empty_like(squares))[0])

    def _continued(self, squares: NDArray[np.float64], reach: float) -> NDArray[np.float64]:
        """Return the polynomial in squared distance that meets the kernel about the reach."""
        edge = reach**2
        count = DEGREE + 1
        at = np.cos(np.pi * (np.arange(count) + 0.5) / count) / 8
        polynomial = np.polyfit(at, self._weights(edge * (1 + at)), DEGREE)
        return np.asarray(np.polyval(polynomial, squares / edge - 1))


def _stencil(place: NDArray[np.float64]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return the nodes about each point and their Lagrange weights, both of shape ``(ORDER, n)``."""
    first = np.floor(place).astype(np.int64) - (ORDER // 2 - 1)
    offset = place - first
    weights = np.ones((ORDER, len(place)))
    for node in range(ORDER):
        for other in range(ORDER):
            if other != node:
                weights[node] *= (offset - other) / (node - other)
    return first + np.arange(ORDER)[:, None], weights
