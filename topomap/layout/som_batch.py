"""The self-organising map trained by whole passes over the neurons: a few matrix products each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from topomap import _compute
from topomap._check import at_least
from topomap.layout.som import rows_of, spread_on_circles
from topomap.layout.spectral import principal_coordinates

if TYPE_CHECKING:
    import torch

    from topomap.similarity import Similarity

Points = NDArray[np.float64]

#: Share of a neuron in a cell's mean below which the cell keeps its vector (float32 holds no ratio of such numbers).
_LEAST = 1e-30


@dataclass(frozen=True)
class BatchSOM:
    """The batch self-organising map (Kohonen 2013), on the CPU or a GPU by torch.

    The map, its cells and the circles on which neurons sharing a cell lie are those of `SOM`. In one pass all neurons
    find their winning cells, by a matrix product per block of neurons; then each cell becomes the mean of all neurons
    weighted by a Gaussian of the distance between it and their winners (Kohonen 2013, section 4.2). On a square grid
    the Gaussian is a product of one per axis, so that the mean is two thin matrix products as well.

    The start matters more than for training one neuron at a time. Neurons start in the cells of their first two
    principal components, in a chain of their place in the earlier layout, each axis by ranks so that the whole map
    is used. The width of the Gaussian then falls geometrically. Nothing is random: all seeds give one layout.

    Parameters
    ----------
    sigma
        Width of the neighbourhood in the first pass, in cells; None: an eighth of the map's side, at least 1.
    last_sigma
        Width in the last pass. Smaller ones fit the neurons more closely and fold the map more.
    n_epochs
        Passes over the neurons.
    radius
        Of the circle that neurons sharing a winner lie on, in cells.
    device
        Where torch computes; None: a GPU where there is one.

    Raises
    ------
    ValueError
        When called, if `n_epochs` is negative or a width not positive.

    References
    ----------
    Kohonen (2013). Essentials of the self-organizing map. Neural Networks 37, 52-65.
    doi 10.1016/j.neunet.2012.09.018.

    Examples
    --------
    >>> import numpy as np
    >>> import topomap as tm
    >>> values = np.random.default_rng(0).normal(size=(50, 30))
    >>> tm.embed(tm.correlate(values), BatchSOM(n_epochs=5))
    Layout(batchsom: 30 neurons in a disc, seed 0)
    """

    sigma: float | None = None
    last_sigma: float = 0.4
    n_epochs: int = 10
    radius: float = 0.2
    device: str | None = None

    def __call__(self, similarity: Similarity, init: Points | None, rng: np.random.Generator) -> Points:
        """Return positions, shape ``(n_neurons, 2)``."""
        side = int(np.sqrt(similarity.n_neurons)) + 1
        start = ranked(principal_coordinates(similarity, 2) if init is None else init, side)
        winner, _ = self.train(rows_of(similarity), start)
        cells = np.column_stack(np.unravel_index(winner, (side, side)))
        return spread_on_circles(cells, self.radius)

    def train(self, rows: NDArray[Any], start: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Train a map.

        Parameters
        ----------
        rows
            One vector per neuron, shape ``(n, n_features)``.
        start
            Cell in which each neuron starts, shape ``(n,)``, as an index into the flattened map.

        Returns
        -------
        winners, cells
            The winning cell of each neuron, shape ``(n,)``, and the vectors of the cells, shape
            ``(side * side, n_features)``.
        """
        import torch

        side = int(np.sqrt(len(rows))) + 1
        sigma = max(1.0, side / 8) if self.sigma is None else self.sigma
        at_least("n_epochs", self.n_epochs, 0)
        for name, width in (("sigma", sigma), ("last_sigma", self.last_sigma)):
            if not width > 0:
                raise ValueError(f"{name} must be positive; got {width!r}.")
        device = self.device or ("cuda" if torch.cuda.is_available() else "cpu")
        with torch.inference_mode():
            x = torch.as_tensor(np.ascontiguousarray(rows, dtype=np.float32), device=device)
            winner = torch.as_tensor(start, device=device)
            cells = x.mean(dim=0).repeat(side * side, 1)
            widths = np.geomspace(sigma, self.last_sigma, self.n_epochs)
            for width in tqdm(widths, desc="som-batch", disable=None, leave=False, delay=1):
                cells = _means(x, winner, side, float(width), cells)
                winner = _winners(x, cells)
            return winner.cpu().numpy(), cells.cpu().numpy()


def _winners(x: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
    """Return the nearest cell of each row, by blocks."""
    import torch

    squares = cells.square().sum(dim=1)
    step = _compute.block_rows(len(cells))
    blocks = (x[start : start + step] for start in range(0, len(x), step))
    return torch.cat([torch.addmm(squares, block, cells.T, alpha=-2).argmin(dim=1) for block in blocks])


def _means(x: torch.Tensor, winner: torch.Tensor, side: int, width: float, cells: torch.Tensor) -> torch.Tensor:
    """Return the mean of all rows around each cell; one that no row reaches stays as it was."""
    import torch

    count = torch.bincount(winner, minlength=side * side)
    # sums in sorted order, unlike index_add_ on a GPU, are the same in every run
    total = torch.segment_reduce(x[winner.argsort(stable=True)], "sum", lengths=count)
    place = torch.arange(side, device=x.device, dtype=x.dtype)
    near = torch.exp(-0.5 * ((place[:, None] - place) / width).square())
    total = near @ (near @ total.reshape(side, -1)).reshape(side, side, -1)
    weight = (near @ count.to(x.dtype).reshape(side, side) @ near).reshape(-1, 1)
    means = total.reshape(side * side, -1) / weight.clamp(min=_LEAST)
    return torch.where(weight > _LEAST, means, cells)


def ranked(points: Points, side: int) -> NDArray[np.int64]:
    """Return the cell of each point when ranks along each axis fill the map."""
    from scipy.stats import rankdata

    cells = (rankdata(points, axis=0) - 0.5) * side // len(points)
    return np.asarray(cells[:, 0] * side + cells[:, 1], dtype=np.int64)
