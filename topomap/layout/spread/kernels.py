"""The compiled loops of the filled layout. Numba caches what it compiles, so only the first call ever waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile on first use and keep the machine code on disk."""
    return numba.njit(cache=True, fastmath=True, nogil=True)(function)


@compiled
def attract(
    x: Array, start: Array, other: Array, weight: Array, scale2: float, out: Array, first: int, last: int
) -> None:
    """Mean displacement towards neighbours, weighted by ``P / (1 + r^2 / s^2)``, of points ``first:last``."""
    for i in range(first, last):
        total, dx, dy = 1e-12, 0.0, 0.0
        for e in range(start[i], start[i + 1]):
            j = other[e]
            gx, gy = x[j, 0] - x[i, 0], x[j, 1] - x[i, 1]
            k = weight[e] / (1 + (gx * gx + gy * gy) / scale2)
            total += k
            dx += k * gx
            dy += k * gy
        out[i, 0] = dx / total
        out[i, 1] = dy / total


@compiled
def deposit(x: Array, low: float, spacing: float, density: Array) -> None:
    """Add unit masses to the four cells around each point (cloud in cell), as density."""
    rows, columns = density.shape
    area = spacing * spacing
    for i in range(len(x)):
        u = (x[i, 0] - low) / spacing - 0.5
        v = (x[i, 1] - low) / spacing - 0.5
        cu, cv = int(np.floor(u)), int(np.floor(v))
        fu, fv = u - cu, v - cv
        for a in range(2):
            for b in range(2):
                p = min(max(cv + a, 0), rows - 1)
                q = min(max(cu + b, 0), columns - 1)
                density[p, q] += (fv if a else 1 - fv) * (fu if b else 1 - fu) / area


@compiled
def push(x: Array, low: float, spacing: float, psi: Array, density: Array, cap: float) -> None:
    """Move points along the gradient of psi, over the density, by at most `cap`."""
    rows, columns = psi.shape
    for i in range(len(x)):
        u = (x[i, 0] - low) / spacing - 0.5
        v = (x[i, 1] - low) / spacing - 0.5
        cu, cv = int(np.floor(u)), int(np.floor(v))
        fu, fv = u - cu, v - cv
        gx, gy, rho = 0.0, 0.0, 0.0
        for a in range(2):
            for b in range(2):
                w = (fv if a else 1 - fv) * (fu if b else 1 - fu)
                p = min(max(cv + a, 0), rows - 1)
                q = min(max(cu + b, 0), columns - 1)
                # walls mirror the field, so that it does not push through them
                left, right = max(q - 1, 0), min(q + 1, columns - 1)
                below, above = max(p - 1, 0), min(p + 1, rows - 1)
                gx += w * (psi[p, right] - psi[p, left]) / (2 * spacing)
                gy += w * (psi[above, q] - psi[below, q]) / (2 * spacing)
                rho += w * density[p, q]
        rho = max(rho, 0.5)
        gx, gy = gx / rho, gy / rho
        size = np.sqrt(gx * gx + gy * gy)
        if size > cap:
            gx, gy = gx * cap / size, gy * cap / size
        x[i, 0] += gx
        x[i, 1] += gy


@compiled
def owners(
    grid: Array, points: Array, order: Array, first: Array, columns: int, low: float, owner: Array, squares: Array
) -> None:
    """Find the point nearest to each grid point, by rings of unit cells around it."""
    for p in range(len(grid)):
        x, y = grid[p, 0], grid[p, 1]
        cx = min(max(int(x - low), 0), columns - 1)
        cy = min(max(int(y - low), 0), columns - 1)
        best, who = np.inf, -1
        for ring in range(columns + 1):
            for v in range(max(cy - ring, 0), min(cy + ring, columns - 1) + 1):
                across = 1 if abs(v - cy) == ring else max(2 * ring, 1)  # within the ring only its two sides are new
                for u in range(cx - ring, cx + ring + 1, across):
                    if u < 0 or u >= columns:
                        continue
                    for e in range(first[v * columns + u], first[v * columns + u + 1]):
                        j = order[e]
                        gx, gy = points[j, 0] - x, points[j, 1] - y
                        d = gx * gx + gy * gy
                        if d < best:
                            best, who = d, j
            if best <= ring * ring:
                break
        owner[p] = who
        squares[p] = best


@compiled
def part(x: Array, start: Array, other: Array, reach: float, times: int) -> None:
    """Push pairs of points apart, in place, that are closer than `reach`: four fifths of what they lack, each half."""
    for _ in range(times):
        for i in range(len(x)):
            for e in range(start[i], start[i + 1]):
                j = other[e]
                gx, gy = x[i, 0] - x[j, 0], x[i, 1] - x[j, 1]
                squared = gx * gx + gy * gy
                if squared < reach * reach:
                    r = np.sqrt(squared) + 1e-9
                    move = 0.4 * (reach - r) / r
                    x[i, 0] += move * gx
                    x[i, 1] += move * gy
                    x[j, 0] -= move * gx
                    x[j, 1] -= move * gy
