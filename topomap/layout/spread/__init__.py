"""The filled layout: neurons spread evenly over a region, similar ones kept together.

An incompressible fluid of neurons (`fill.flow` on the `ground`) settles evenly (`cover`); then, in rounds, neurons
exchange their places (`exchange`) and give way to attraction around them (`relax`).
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


class Round(NamedTuple):
    """Exchanges, then relaxation.

    Parameters
    ----------
    hot, cold, sweeps
        Temperatures of the exchanges, first and last, in mean ranks, and the number of sweeps between them.
    leash
        How far neurons may then go from their places, in spacings.
    room
        How much room they keep, in spacings.
    gap
        Radius of an empty circle that relaxation may leave, in spacings; 0 where neurons settle evenly afterwards.
    """

    hot: float
    cold: float
    sweeps: int
    leash: float
    room: float
    gap: float


#: What the relaxation of one round disturbs, the next mends.
ROUNDS = (
    Round(2, 0.1, 450, 0.6, 0.72, 0),
    Round(1, 0.1, 450, 0.6, 0.72, 0),
    Round(1, 0.1, 450, 0.6, 0.77, 1.11),
    Round(0.2, 0.02, 60, 0.2, 0.77, 1.09),
)

#: Temperatures and sweeps of the last exchange.
_LAST = (0.2, 0.02, 60)

#: More neurons than this take fewer sweeps, by this power of how many times more.
_MANY, _FEWER = 2_048, 0.4

#: Length scale at which the fluid comes to rest, in spacings.
_FINEST = 3

#: Steps in which neurons settle evenly after the fluid, and between rounds.
_SETTLE, _AGAIN = 10, 4

#: How far the seed moves where neurons start, in spacings.
_JITTER = 0.3

#: Layers of fewer neurons than this are arranged so many times, and the best arrangement is kept.
_FEW, _TRIES = 200, 8

#: Neighbours that an arrangement should keep, and that attract a neuron when it relaxes.
_K = 10

#: Neighbours that attract a neuron in the fluid, at most this share of all effectively.
_KNOWN, _SHARE = 90, 0.25

#: Principal components that tell ranks beyond those neighbours where neurons are many.
_COMPONENTS = 16


@dataclass(frozen=True)
class Spread:
    """A layout that fills its region evenly and keeps similar neurons together.

    Every neuron takes one unit of area. Attraction between neighbours, at a length scale that shrinks from half the
    region's side to three spacings, moves neurons like a fluid that a pressure (one Poisson solve per iteration) keeps
    from being compressed. A pull back to where they started, among the first two principal components, fades with the
    cube of that scale: it decides between arrangements that are nearly as good, among which a few other inputs would
    choose otherwise. Neurons settle where each is at the centre of what is nearest to it. Then, four times over, they
    exchange places wherever the ranks of their neighbours agree better, and relax: they give way to attraction around
    their places, as far as no two are crowded and no gap opens. A layer of fewer than 200 neurons goes through these
    rounds eight times from where it settled, and of the arrangements that are even the one is taken whose
    trustworthiness, continuity and share of neighbours kept have the largest sum. Exchanges between the places neurons
    ended at come last; below 30 neurons all exchanges of two are then tried.

    The attraction of the fluid is that of t-SNE (van der Maaten and Hinton 2008) with the affinities of `perplexity`.
    The exchanges lower, by simulated annealing, ``sum max(rank_ij - k, 0) + 0.86 n^0.1 sum max(rank'_ij - k, 0)``,
    ``k = 10``: first over neighbours in the plane, by their ranks among the features, then over neighbours among the
    features, by their ranks in the plane. These sums are what trustworthiness and continuity lack of 1 (Venna, Kaski
    2006, doi 10.1016/j.neunet.2006.05.014); each neighbour kept counts 76, 303, 507 and 1,600 against them in layers of
    128, 512, 2,048 and 8,192 neurons, and its way from where the fluid left it counts for a neuron as that to one
    neighbour does, which keeps layouts of other seeds and of resampled inputs alike. In the plane the rank at r
    spacings is taken to be ``pi r^2``; among the features ranks are those of all pairs up to 8,192 neurons, and above
    are known for the 90 nearest and estimated from 16 principal components beyond. No rank counts as more than 8,192.

    The seed moves where neurons start, and draws the exchanges. The same bytes come out with any number of threads of
    topomap's own; NumPy's linear algebra may round distances otherwise with another number of threads.

    Parameters
    ----------
    perplexity
        Effective number of neighbours that attract a neuron in the fluid; at most a quarter of the neurons.
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

    perplexity: float = 45
    n_steps: int = 150
    region: str | Region | None = None
    spare: int = 0

    def __call__(self, similarity: Similarity, init: Points | None, rng: np.random.Generator) -> Points:
        """Return positions in the unit frame, shape ``(n_neurons, 2)``."""
        from topomap.layout.spread.cover import Cover
        from topomap.layout.spread.exchange import Heat, exchange
        from topomap.layout.spread.few import VERY_FEW, best_of, exchanged
        from topomap.layout.spread.fill import flow
        from topomap.layout.spread.graph import affinities, both_ways, by_block, components
        from topomap.layout.spread.ranks import EXACT, penalties
        from topomap.layout.spread.relax import relax

        at_least("perplexity", self.perplexity, 1)
        at_least("n_steps", self.n_steps, 0)
        n = similarity.n_neurons
        k = min(_K, n // 2)
        ground = self._ground(n)
        cover = Cover(ground)
        indices, distances = similarity.neighbors(min(_KNOWN, n - 1))
        scores = components(similarity, 2 if n <= EXACT else _COMPONENTS)
        pull = affinities(indices, distances, min(self.perplexity, _SHARE * n))
        tries = _TRIES if n < _FEW else 1
        share = min(1.0, (_MANY / n) ** _FEWER)
        phases = (*ROUNDS, _LAST)
        *heats, last = [Heat(hot, cold, max(1, round(share * sweeps))) for hot, cold, sweeps, *_ in phases]
        total = self.n_steps + tries * sum(heat.sweeps for heat in heats) + last.sweeps
        with tqdm(total=total, desc="spread", disable=None, leave=False, delay=1) as bar:
            # neighbours attract each other from wherever they start; what a chain starts from is kept: the fluid then
            # only rearranges within an eighth of the region
            points = ground.start(scores[:, :2] if init is None else init)
            points += rng.normal(scale=_JITTER if init is None else 0, size=points.shape)
            widest = np.sqrt(n) / (2 if init is None else 8)
            flow(points, ground, pull, np.geomspace(max(widest, _FINEST), _FINEST, self.n_steps), bar)
            # numbered by where they lie, neurons that are looked up together lie together in memory
            order = by_block(points)
            number = np.argsort(order)
            settled = cover.settle(points[order], _SETTLE)
            friends = number[indices[order, :k]]
            costs = penalties(similarity, indices, scores, order, k)
            local = both_ways(friends)
            found = []
            for _ in range(tries):
                points = settled
                for each, heat in zip(ROUNDS, heats, strict=True):
                    home = exchange(points, settled, friends, costs, heat, int(rng.integers(2**63)), bar)
                    points = relax(home, ground, local, each.leash, each.room)
                    points = cover.mend(points, home, each.gap) if each.gap else cover.settle(points, _AGAIN)
                found.append(points)
            points = best_of([each[number] for each in found], similarity)
            points = exchange(points[order], settled, friends, costs, last, int(rng.integers(2**63)), bar)[number]
        return (exchanged(points, similarity) if n < VERY_FEW else points) / ground.half

    def spare_positions(self, n_live: int) -> Points:
        """Positions of the spare sites in the unit frame, shape ``(spare, 2)``."""
        ground = self._ground(n_live)
        return np.asarray(ground.spare_sites / ground.half)

    def _ground(self, n_live: int) -> Ground:
        from topomap.layout.spread.ground import Ground

        region = check("disc" if self.region is None else self.region, hulls=False)
        return Ground(region, n_live + self.spare, self.spare)
