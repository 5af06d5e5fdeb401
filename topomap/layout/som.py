"""The self-organising map as a layout."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from topomap.layout.spectral import principal_coordinates

if TYPE_CHECKING:
    from topomap.similarity import Similarity

Points = NDArray[np.float64]

#: Coordinates of classical scaling that stand for the features where there are none.
_COORDINATES = 50


@dataclass(frozen=True)
class SOM:
    """A self-organising map (Kohonen 1982) by MiniSom, with the parameters of Krug et al. (2023).

    The map is a square of side ``floor(sqrt(n)) + 1`` cells trained on the neurons' feature vectors; a neuron lies in
    the cell that wins for it, and neurons that share a cell lie evenly on a circle around its centre. Cells start as
    random feature vectors; in a chain, as those of the nearest neuron of the earlier layout.

    Where only distances are known, coordinates of classical scaling stand for the features. Training takes time
    proportional to ``n^2`` times the number of features.

    Parameters
    ----------
    sigma
        Initial width of the neighbourhood, in cells.
    learning_rate
        Initial learning rate.
    n_epochs
        Passes over the neurons, in random order; both decay from pass to pass as MiniSom does.
    radius
        Of the circle that neurons sharing a winner lie on, in cells.

    References
    ----------
    Krug et al. (2023), doi 10.3233/FAIA230080. Vettigli (2018). MiniSom. Kohonen (1982), doi 10.1007/BF00337288.

    Examples
    --------
    >>> import numpy as np
    >>> import topomap as tm
    >>> values = np.random.default_rng(0).normal(size=(50, 30))
    >>> tm.embed(tm.correlate(values), SOM(n_epochs=5))
    Layout(som: 30 neurons in a disc, seed 0)
    """

    sigma: float = 1.0
    learning_rate: float = 0.5
    n_epochs: int = 10
    radius: float = 0.2

    def __call__(self, similarity: Similarity, init: Points | None, rng: np.random.Generator) -> Points:
        """Return positions, shape ``(n_neurons, 2)``."""
        from minisom import MiniSom

        rows = _compact(similarity)
        n = len(rows)
        side = int(np.sqrt(n)) + 1
        som = MiniSom(
            side,
            side,
            rows.shape[1],
            sigma=self.sigma,
            learning_rate=self.learning_rate,
            random_seed=0,
        )
        # not by MiniSom's own random start, whose draws depend on the number of features
        first = rng.integers(n, size=(side, side)) if init is None else _nearest_to_cells(init, side)
        som._weights[...] = rows[first]
        order = np.tile(rng.permutation(n), self.n_epochs)
        for step, i in enumerate(tqdm(order, desc="som", disable=None, leave=False, delay=1)):
            som.update(rows[i], som.winner(rows[i]), step // n, self.n_epochs)
        cells = np.array([som.winner(row) for row in rows])
        return spread_on_circles(cells, self.radius)


def spread_on_circles(cells: NDArray[Any], radius: float) -> Points:
    """Place one neuron at its cell's centre, several evenly on a circle around it."""
    out = np.array(cells, dtype=np.float64)
    _, inverse = np.unique(cells, axis=0, return_inverse=True)
    inverse = inverse.ravel()
    for cell in np.flatnonzero(np.bincount(inverse) > 1):
        member = np.flatnonzero(inverse == cell)
        angle = 2 * np.pi * np.arange(len(member)) / len(member)
        out[member] += radius * np.column_stack([np.cos(angle), np.sin(angle)])
    return out


def _compact(similarity: Similarity) -> NDArray[np.float64]:
    """Return vectors with the geometry of the features, in no more dimensions than there are neurons.

    Training moves cells along differences of feature vectors, so a rotation of the features rotates the cells and
    changes no winner; rotating them into their own span makes training several times cheaper where they are long.
    """
    rows = rows_of(similarity).astype(np.float64)
    if rows.shape[1] > len(rows):
        return np.ascontiguousarray(np.linalg.qr(rows.T)[1].T)
    return rows


def rows_of(similarity: Similarity) -> NDArray[Any]:
    """Return the features, or coordinates of classical scaling where only distances are known."""
    if similarity.features is None or similarity.absolute:
        n_components = min(_COORDINATES, similarity.n_neurons - 2)
        return principal_coordinates(similarity, max(1, n_components))
    return similarity.features


def _nearest_to_cells(init: Points, side: int) -> NDArray[np.int64]:
    from scipy.spatial import cKDTree

    low, width = init.min(axis=0), np.ptp(init, axis=0)
    grid = (init - low) / np.where(width > 0, width, 1) * (side - 1)
    cells = np.stack(np.meshgrid(np.arange(side), np.arange(side), indexing="ij"), axis=-1)
    return np.asarray(cKDTree(grid).query(cells.reshape(-1, 2))[1].reshape(side, side))
