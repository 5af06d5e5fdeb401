"""The filled layout: neurons spread evenly over a region, similar ones kept together.

An incompressible fluid of neurons (`fill.flow` on the `ground`) settles evenly (`cover`); then neurons exchange their
places (`fill.exchange`) and give way to attraction around them (`relax`), in three rounds, and trade what keeps more
neighbours (`polish`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from topomap._check import at_least
from topomap.layout.regions import Region, check

if TYPE_CHECKING:
    from topomap.layout.spread.ground import Ground
    from topomap.similarity import Similarity

Points = NDArray[np.float64]


class Stage(NamedTuple):
    """Swaps: their reach in spacings, weights of affinities and of the anchor, sweeps, near sites, temperatures."""

    reach: float
    weight: float
    hold: float
    sweeps: int
    near: int
    hot: float
    cold: float


class Round(NamedTuple):
    """Swaps, then relaxation: how far neurons may go from their places, and how much room they keep, in spacings."""

    stages: tuple[Stage, ...]
    leash: float
    room: float


_COARSE, _FINE = Stage(8, 20, 40, 200, 37, 0.1, 0.01), Stage(3, 20, 20, 300, 13, 0.5, 0.01)

#: What the relaxation of one round disturbs, the next mends.
ROUNDS = (Round((_COARSE, _FINE), 0.6, 0.7), Round((_FINE,), 0.6, 0.7), Round((_FINE,), 0.6, 0.72))

#: Steps in which neurons settle evenly after the fluid, and between rounds.
_SETTLE, _AGAIN = 10, 4

#: Radius of an empty circle, in spacings, that the last relaxation may leave.
_GAP = 1.11

#: How far the seed moves where neurons start, in spacings.
_JITTER = 0.3

#: Layers of fewer neurons than this are arranged so many times, and the best arrangement is kept.
_FEW, _TRIES = 200, 8

#: Principal components that stand for a neuron in the swaps.
_COMPONENTS = 16


@dataclass(frozen=True)
class Spread:
    """A layout that fills its region evenly and keeps similar neurons together.

    Every neuron takes one unit of area. Attraction between neighbours, at a length scale that shrinks from twice the
    region's side to one spacing, moves neurons like a fluid that a pressure (one Poisson solve per iteration) keeps
    from being compressed. They settle where each is at the centre of what is nearest to it, then exchange places
    wherever that puts similar neurons closer, and relax: they give way to attraction around their places, as far as no
    two are crowded and no gap opens. Two more rounds of exchanges and relaxation start from there. A layer of fewer
    than 200 neurons goes through them eight times, and the arrangement that keeps most neighbours is taken. At last
    neurons trade the places they ended at wherever that raises trustworthiness, continuity and kNN preservation
    (by all ranks up to 1,024 neurons, by the nearest 90 above; below 30 until no trade helps).

    The attraction is that of t-SNE (van der Maaten and Hinton 2008) with the affinities of `perplexity`. The exchange
    maximises ``h(r) F_i . F_j + 20 P'_ij / (1 + r^2 / R^2)`` over pairs of neurons at distance r, where
    ``h(r) = (1 - r^2 / R^2)^3`` within the reach R of 8, then 3, spacings, F are unit rows of 16 principal components
    and P' affinities of perplexity 10; less ``40 pi d^2 / n`` (then 20), d being a neuron's way from where the fluid
    left it, which keeps layouts of resampled inputs alike. The seed moves where neurons start, and draws the exchanges.

    Parameters
    ----------
    perplexity
        Effective number of neighbours that attract a neuron.
    n_steps
        Iterations of the fluid.
    region
        ``"disc"``, ``"square"``, ``"hexagon"`` or a mask; `embed` sets it.
    spare
        Sites left free along the bottom, for dead neurons; `embed` sets it.

    Raises
    ------
    ValueError
        When called, if `perplexity` is below 1, `n_steps` is negative, or the region is none that can be filled.

    References
    ----------
    The method is topomap's own, without a paper. It puts together the attraction of t-SNE (van der Maaten, Hinton 2008.
    Visualizing data using t-SNE. Journal of Machine Learning Research 9, 2579-2605), density and potential on a grid as
    in particle-mesh methods (Hockney, Eastwood 1988. Computer Simulation Using Particles), and simulated annealing
    (Kirkpatrick, Gelatt, Vecchi 1983, doi 10.1126/science.220.4598.671) for the exchange. Neurons settle by Lloyd's
    method (1982, doi 10.1109/TIT.1982.1056489).

    Examples
    --------
    >>> import numpy as np
    >>> import topomap as tm
    >>> values = np.random.default_rng(0).normal(size=(50, 30))
    >>> tm.embed(tm.correlate(values), Spread(perplexity=10))
    Layout(spread: 30 neurons in a disc, seed 0)
    """

    perplexity: float = 30
    n_steps: int = 300
    region: str | Region | None = None
    spare: int = 0

    def __call__(self, similarity: Similarity, init: Points | None, rng: np.random.Generator) -> Points:
        """Return positions in the unit frame, shape ``(n_neurons, 2)``."""
        from topomap.layout.spread.cover import Cover
        from topomap.layout.spread.few import VERY_FEW, best_of, exchanged
        from topomap.layout.spread.fill import exchange, flow, likeness
        from topomap.layout.spread.graph import affinities, components
        from topomap.layout.spread.polish import EXACT, polish
        from topomap.layout.spread.relax import relax

        at_least("perplexity", self.perplexity, 1)
        at_least("n_steps", self.n_steps, 0)
        n = similarity.n_neurons
        ground = self._ground(n)
        cover = Cover(ground)
        indices, distances = similarity.neighbors(n - 1 if n <= EXACT else min(int(3 * self.perplexity), n - 1))
        attracted = min(int(3 * self.perplexity), n - 1)
        pull = affinities(indices[:, :attracted], distances[:, :attracted], self.perplexity)
        near = min(15, n - 1)
        local = affinities(indices[:, :near], distances[:, :near], 10)
        choices = np.ascontiguousarray(indices[:, : min(10, n - 1)])
        scores = components(similarity, _COMPONENTS)
        rows = likeness(scores)
        tries = _TRIES if n < _FEW else 1
        total = self.n_steps + tries * sum(stage.sweeps for each in ROUNDS for stage in each.stages)
        with tqdm(total=total, desc="spread", disable=None, leave=False, delay=1) as bar:
            # neighbours attract each other from wherever they start; what a chain starts from is kept: the fluid then
            # only rearranges within an eighth of the region
            points = ground.start(scores[:, :2] if init is None else init)
            points += rng.normal(scale=_JITTER if init is None else 0, size=points.shape)
            widest = np.sqrt(n) * (2 if init is None else 1 / 8)
            flow(points, ground, pull, np.geomspace(max(widest, 1), 1, self.n_steps), bar)
            settled = cover.settle(points, _SETTLE)
            seed = np.array([rng.integers(1, 2**63)], dtype=np.uint64)
            found = []
            for _ in range(tries):
                points = settled
                for each in ROUNDS:
                    if each is not ROUNDS[0]:
                        points = cover.settle(points, _AGAIN)
                    for stage in each.stages:
                        points = exchange(points, settled, rows, local, choices, stage, seed)
                        bar.update(stage.sweeps)
                    home = points
                    points = relax(home, ground, local, each.leash, each.room)
                found.append(cover.mend(points, home, _GAP))
            points = polish(best_of(found, similarity), indices, seed)
        return (exchanged(points, similarity) if n < VERY_FEW else points) / ground.half

    def spare_positions(self, n_live: int) -> Points:
        """Positions of the spare sites in the unit frame, shape ``(spare, 2)``."""
        ground = self._ground(n_live)
        return np.asarray(ground.spare_sites / ground.half)

    def _ground(self, n_live: int) -> Ground:
        from topomap.layout.spread.ground import Ground

        region = check("disc" if self.region is None else self.region, hulls=False)
        return Ground(region, n_live + self.spare, self.spare)
