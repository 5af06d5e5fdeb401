"""The filled layout: neurons spread evenly over a region, similar ones kept together.

An incompressible fluid of neurons (`fill.flow` on the `ground`), then sites (`fill.snap`), guided swaps
(`fill.exchange`), and a last relaxation (`fill.relax`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from topomap.layout.regions import Region, check

if TYPE_CHECKING:
    from topomap.layout.spread.ground import Ground
    from topomap.similarity import Similarity

Points = NDArray[np.float64]


class Stage(NamedTuple):
    """One round of swaps: reach in spacings, weight of the affinities, sweeps, near sites, temperatures."""

    reach: float
    gamma: float
    sweeps: int
    near: int
    hot: float
    cold: float


#: Coarse, then fine.
STAGES = (Stage(6, 3, 200, 37, 0.1, 0.01), Stage(4, 1, 300, 13, 0.25, 0.01))

#: Principal components that stand for a neuron in the swaps.
_COMPONENTS = 48


@dataclass(frozen=True)
class Spread:
    """A layout that fills its region evenly and keeps similar neurons together.

    Every neuron takes one unit of area. Attraction between neighbours, at a length scale that shrinks from half the
    region to one spacing, moves neurons like a fluid that a pressure (one Poisson solve per iteration) keeps from
    being compressed. They then take the sites of a lattice one to one, exchange sites wherever that puts similar
    neurons closer, and at last relax around their sites, which breaks the lattice's ties.

    The attraction is that of t-SNE (van der Maaten and Hinton 2008) with the affinities of `perplexity`; the exchange
    maximises ``sum h(|c_i - c_j|) (F_i . F_j + 10 gamma P'_ij)`` over pairs of sites, with
    ``h(r) = (1 - r^2 / R^2)^3``, F the leading principal components and P' affinities of perplexity 10.

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

    References
    ----------
    The method is topomap's own, without a paper. It puts together the attraction of t-SNE (van der Maaten, Hinton 2008.
    Visualizing data using t-SNE. Journal of Machine Learning Research 9, 2579-2605), density and potential on a grid as
    in particle-mesh methods (Hockney, Eastwood 1988. Computer Simulation Using Particles), and simulated annealing
    (Kirkpatrick, Gelatt, Vecchi 1983, doi 10.1126/science.220.4598.671) for the exchange.

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
        from topomap.layout.spread.fill import exchange, flow, relax, snap
        from topomap.layout.spread.graph import affinities, components

        n = similarity.n_neurons
        ground = self._ground(n)
        indices, distances = similarity.neighbors(min(int(3 * self.perplexity), n - 1))
        pull = affinities(indices, distances, self.perplexity)
        near = min(15, n - 1)
        local = affinities(indices[:, :near], distances[:, :near], 10)
        scores = components(similarity, _COMPONENTS)
        stages = STAGES
        with tqdm(total=self.n_steps + sum(s.sweeps for s in stages), desc="spread", disable=None, leave=False,
                  delay=1) as bar:  # fmt: skip
            points = ground.start(scores[:, :2] if init is None else init)
            # a chain keeps what it starts from: the fluid then only rearranges within an eighth of the region
            widest = np.sqrt(n) / (2 if init is None else 8)
            flow(points, ground, pull, np.geomspace(max(widest, 1), 1, self.n_steps), bar)
            site_of = snap(points, ground.sites)
            seed = np.array([rng.integers(1, 2**63)], dtype=np.uint64)
            choices = np.ascontiguousarray(indices[:, : min(10, n - 1)])
            for stage in stages:
                exchange(ground.sites, site_of, scores, local, choices, stage, seed)
                bar.update(stage.sweeps)
        return relax(ground, site_of, pull) / ground.half

    def spare_positions(self, n_live: int) -> Points:
        """Positions of the spare sites in the unit frame, shape ``(spare, 2)``."""
        ground = self._ground(n_live)
        return np.asarray(ground.spare_sites / ground.half)

    def _ground(self, n_live: int) -> Ground:
        from topomap.layout.spread.ground import Ground

        region = check("disc" if self.region is None else self.region, hulls=False)
        return Ground(region, n_live + self.spare, self.spare)
