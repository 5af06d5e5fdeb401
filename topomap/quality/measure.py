"""Quality and measure_layout()."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from topomap._check import same_length, whole_number
from topomap.layout import Layout
from topomap.profiles import Profiles
from topomap.quality import neighborhoods
from topomap.quality.placement import Placement
from topomap.similarity import Similarity

if TYPE_CHECKING:
    import xarray

MEASURES = (
    "trustworthiness", "continuity", "knn", "spearman", "moran", "blobs", "coverage", "evenness", "hole"
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Quality:
    """How good a layout is. Dead neurons take no part in any measure.

    Parameters
    ----------
    trustworthiness
        Whether neighbours in the plane are alike: 1 if each of a neuron's k plane neighbours is among its k most
        similar, 0 if they are the least similar ones; about .5 by chance where k is small.
    continuity
        Whether similar neurons are neighbours in the plane: trustworthiness with the two spaces exchanged.
    knn
        Share of the k most similar neurons that are among the k plane neighbours.
    spearman
        Rank correlation between neuron distances and plane distances over pairs: the large scale.
    moran
        Moran's I of the standardised group maps over the k plane neighbours, mean over groups: 1 for smooth maps,
        about 0 for noise.
    blobs
        Pieces that the top tenth of the neurons of a standardised group map falls into, mean over groups: connected
        components over Delaunay edges of at most two spacings. A spacing is ``sqrt(area / n_live)``.
    coverage
        Share of the region within one spacing of a live neuron.
    evenness
        Coefficient of variation of the distances to the nearest neuron: 0 on a lattice, .52 for random points.
    hole
        Radius, in spacings, of the largest circle that is centred in the region and holds no neuron.
    n_neurons, n_live
        Neurons, and those of them that took part.
    k
        Neighbours that were looked at; at most ``n_live - 2``.
    method, region
        Those of the layout.
    reasons
        Why a measure is NaN, by its name.

    Examples
    --------
    >>> import topomap as tm
    >>> lattice = np.stack(np.meshgrid(np.linspace(-1, 1, 8), np.linspace(-1, 1, 8)), axis=-1).reshape(-1, 2)
    >>> quality = tm.measure_layout(tm.Layout(lattice, region="square"), tm.correlate(lattice.T, metric="euclidean"))
    >>> float(quality.trustworthiness), bool(quality.evenness < 1e-9)
    (1.0, True)
    """

    trustworthiness: float
    continuity: float
    knn: float
    spearman: float
    moran: float
    blobs: float
    coverage: float
    evenness: float
    hole: float
    n_neurons: int
    n_live: int
    k: int
    method: str = "given"
    region: str = "hull"
    reasons: Mapping[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the row of a table: method, region, sizes and every measure."""
        names = ("method", "region", "n_neurons", "n_live", "k", *MEASURES)
        return {name: getattr(self, name) for name in names}

    def to_xarray(self) -> xarray.Dataset:
        """Return the measures as scalars; the rest as attributes."""
        import json

        import xarray

        attrs = {name: value for name, value in self.to_dict().items() if name not in MEASURES}
        data = {name: ((), getattr(self, name)) for name in MEASURES}
        return xarray.Dataset(data, attrs={**attrs, "reasons": json.dumps(dict(self.reasons))})

    def __repr__(self) -> str:
        short = {"trustworthiness": "T", "continuity": "C", "knn": "kNN"}
        decimals = {"blobs": 1, "hole": 2}
        shown = [
            f"{short.get(name, name)} {getattr(self, name):.{decimals.get(name, 3)}f}"
            for name in MEASURES
            if np.isfinite(getattr(self, name))
        ]
        dead = f", {self.n_neurons - self.n_live} dead" if self.n_live < self.n_neurons else ""
        return f"Quality({self.method}, {self.n_neurons} neurons{dead}: {', '.join(shown) or 'nothing to measure'})"


def measure_layout(
    layout: Layout,
    similarity: Similarity,
    profiles: Profiles | None = None,
    k: int = 10,
    seed: int = 0,
    progress: bool = True,
) -> Quality:
    """Measure how well a layout keeps neighbourhoods, how coherent group maps are on it, and how it fills its region.

    No single one of these measures says that a layout is good: a free embedding keeps neighbourhoods and leaves
    holes, a random lattice fills the region and keeps nothing.

    Parameters
    ----------
    layout
        From `embed`.
    similarity
        Of the same neurons. What is close is what its metric calls close.
    profiles
        Of the same neurons, for `moran` and `blobs`.
    k
        Neighbours to look at.
    seed
        For the samples of large layers.
    progress
        Show a bar where standard error is a terminal.

    Returns
    -------
    Quality

    Raises
    ------
    ValueError
        If the layout, the similarity and the profiles are not of the same number of neurons, or ``k < 1``.

    Notes
    -----
    Trustworthiness and continuity are those of Venna and Kaski (2006, doi 10.1016/j.neunet.2006.05.014), with their
    worst case for any k up to ``n - 2``, to which k is cut; fewer than three live neurons have no such k, and the
    measures are NaN (`Quality.reasons` says so). Between neurons that are equally similar the layout is given the
    benefit of the doubt; between places that are equally near, the expectation over all orders is taken.

    Ranks are counted by blocks of rows, so that no array of neurons x neurons exists. Everything is exact up to
    32,768 live neurons; above, trustworthiness, continuity and kNN are means over a random 8,192 of them, each among
    all. Spearman's correlation takes all pairs up to a million (1,414 live neurons), and a random million above
    (standard error about .001).

    Moran's I (1950, doi 10.1093/biomet/37.1-2.17) has row-standardised weights ``1 / k``. Maps without variation
    are left out of `moran` and `blobs`. Standardised means in units of `Profiles.scale`.

    The region of ``"hull"`` is the convex hull of the live neurons. Of every region the part that is left to the living
    counts: what is nearer to a dead neuron than to any live one is taken out, for coverage and hole as for the area
    that makes the spacing.

    Examples
    --------
    >>> import numpy as np
    >>> import topomap as tm
    >>> x, y = np.random.default_rng(0).uniform(-1, 1, size=(2, 50))
    >>> similarity = tm.correlate(np.stack([x, y + 0.2 * np.sin(9 * x)]), metric="euclidean")
    >>> tm.measure_layout(tm.Layout(np.column_stack([x, y]), region="square"), similarity)
    Quality(given, 50 neurons: T 0.979, C 0.978, kNN 0.804, spearman 0.967, coverage 0.953, evenness 0.661, hole 1.38)
    """
    whole_number("k", k, 1)
    same_length("similarity", similarity.n_neurons, "neuron of the layout", layout.n_neurons)
    if profiles is not None:
        same_length("profiles", profiles.n_neurons, "neuron of the layout", layout.n_neurons)
    live = np.flatnonzero(~(layout.dead | similarity.dead))
    n = len(live)
    k = max(0, min(int(k), n - 2))
    gone = np.setdiff1d(np.arange(layout.n_neurons), live)
    placement = Placement(layout.positions[live], layout.region, layout.positions[gone])
    found = dict.fromkeys(MEASURES, float("nan"))
    reasons: dict[str, str] = {}
    if n:
        if placement.area > 0:
            found |= {"coverage": placement.coverage(), "hole": placement.hole()}
        else:
            reasons |= dict.fromkeys(("coverage", "hole"), _no_area(placement))
    if n >= 3:
        alive = similarity if n == layout.n_neurons else similarity.take(live)
        near = neighborhoods.compare(alive, placement.places, k, seed, progress)
        found |= {name: getattr(near, name) for name in MEASURES[:4]}
        found["evenness"] = placement.evenness()
        if profiles is not None:
            maps = profiles.over_places().scaled[:, live]
            found["moran"] = placement.moran(maps, k)
            if placement.area > 0:
                found["blobs"] = placement.blobs(maps)
            else:
                reasons["blobs"] = _no_area(placement)
    for name, value in found.items():
        if np.isnan(value):
            reasons.setdefault(name, _why(name, n, profiles))
    return Quality(
        **found,
        n_neurons=layout.n_neurons,
        n_live=n,
        k=k,
        method=layout.method,
        region=str(layout.region),
        reasons={name: reasons[name] for name in MEASURES if name in reasons},
    )


def _no_area(placement: Placement) -> str:
    if placement.shape is None:
        return "the hull of the live neurons has no area"
    return "dead neurons lie nearer to all of the region"


def _why(name: str, n_live: int, profiles: Profiles | None) -> str:
    if n_live == 0:
        return "no neuron is alive"
    if n_live < 3 and name not in ("coverage", "hole"):
        return f"at least 3 live neurons are needed; there {'is 1' if n_live == 1 else 'are 2'}"
    if name in ("moran", "blobs"):
        return "pass profiles= to measure it" if profiles is None else "no group map varies over the live neurons"
    if name == "spearman":
        return "all neuron distances, or all plane distances, are equal"
    return "all live neurons lie in one place"
