"""How sure a neuron's place is: layouts of resampled inputs, or of other seeds, laid over each other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import choice, whole_number
from topomap.layout import Layout, embed
from topomap.layout.regions import Region
from topomap.run import Activations
from topomap.run.activations import take_rows
from topomap.similarity import Similarity, correlate

if TYPE_CHECKING:
    import xarray

Points = NDArray[np.float64]

OVER = ("inputs", "seeds")


@dataclass(frozen=True, eq=False)
class Stability:
    """How far layouts of one layer differ once they are laid over each other.

    Parameters
    ----------
    disparity
        Mean over pairs of layouts of the Procrustes disparity: 0 if they are the same but for rotation, reflection,
        translation and scale, about 1 if unrelated.
    disparities
        Of each pair, shape ``(n_pairs,)``, in the order of `itertools.combinations`; NaN where a layout has all
        common live neurons in one place.
    displacement
        Root mean square over pairs of how far each neuron's two places lie apart, shape ``(n_neurons,)``, in units of
        the root mean square distance of the layout's neurons from their centre (1 / sqrt 2 of the radius of an evenly
        filled disc). NaN for neurons that are dead. Its mean square is the disparity. One layout alone is uncertain
        by ``displacement / sqrt(2)``.
    over
        ``"inputs"`` or ``"seeds"``.
    layouts
        The layouts, in their own frames.

    Examples
    --------
    >>> import numpy as np
    >>> import topomap as tm
    >>> values = np.random.default_rng(0).normal(size=(30, 12))
    >>> stability = tm.measure_stability(tm.Activations.from_array(values), method="random", over="seeds", n=3)
    >>> stability.disparities.shape, bool(stability.disparity > 0.5)
    ((3,), True)
    """

    disparity: float
    disparities: Points
    displacement: Points
    over: str
    layouts: tuple[Layout, ...] = field(repr=False)

    @property
    def n_neurons(self) -> int:
        """Number of neurons, dead ones included."""
        return len(self.displacement)

    def to_xarray(self) -> xarray.Dataset:
        """Return displacements over ``neuron``, disparities over ``pair`` and positions over ``layout``."""
        import xarray

        data = {
            "disparity": ((), self.disparity),
            "disparities": (("pair",), self.disparities),
            "displacement": (("neuron",), self.displacement),
            "position": (("layout", "neuron", "axis"), np.stack([layout.positions for layout in self.layouts])),
        }
        attrs = {"over": self.over, "method": self.layouts[0].method, "region": str(self.layouts[0].region)}
        return xarray.Dataset(data, coords={"axis": ["x", "y"]}, attrs=attrs)

    def __repr__(self) -> str:
        known = self.displacement[np.isfinite(self.displacement)]
        median = f"{np.median(known):.3f}" if len(known) else "nan"
        what = "bootstrap samples of the inputs" if self.over == "inputs" else "seeds"
        return (
            f"Stability({self.layouts[0].method}, {self.n_neurons} neurons over {len(self.layouts)} {what}: "
            f"disparity {self.disparity:.3f}, median displacement {median})"
        )


def measure_stability(
    acts: Activations | Similarity,
    method: Any = None,
    region: str | Region | NDArray[np.bool_] | None = None,
    n: int = 10,
    over: str = "inputs",
    seed: int = 0,
    metric: str = "pearson",
    absolute: bool = False,
    progress: bool = True,
) -> Stability:
    """Measure how much a layout depends on the inputs that were recorded, or on the seed.

    Parameters
    ----------
    acts
        Activations; for ``over="seeds"`` a similarity will do.
    method, region
        As for `embed`.
    n
        How many layouts, at least 2.
    over
        ``"inputs"``: each layout is of a bootstrap sample of the inputs (as many, drawn with replacement; positions
        or tokens of an input stay together), all with the same seed. ``"seeds"``: all are of the same activations,
        with seeds ``seed``, ``seed + 1``, ... What a seed changes depends on the method (see the notes): only
        resampled inputs say how sure places are.
    seed
        Of the bootstrap samples and the layouts.
    metric, absolute
        As for `correlate`; not used for a similarity.
    progress
        Show a bar where standard error is a terminal.

    Returns
    -------
    Stability

    Raises
    ------
    ValueError
        If ``over="inputs"`` and a similarity is given, ``n < 2``, or an option is unknown.

    Notes
    -----
    Layouts are compared in pairs, over the neurons that live in both, as `scipy.spatial.procrustes` does (Gower 1975,
    doi 10.1007/BF02291478): both are centred and scaled to unit size, and one is rotated or reflected and scaled to lie
    over the other as well as possible; the disparity is the sum of squared distances that is left. A bootstrap sample
    holds 63 % of the inputs, so it overstates a little how uncertain a layout of all of them is.

    A seed changes

    - everything for ``"random"``, which in turn is the same for all inputs: over them it does not move;
    - the start for ``"swarm"``, ``"graph"`` and ``"force"`` (uniform), and for ``"som"`` (cells, and the order of
      training);
    - the start by a little noise, and the exchanges that are tried, for ``"spread"``;
    - the pairs that are sampled for ``"umap"``, which starts from a spectral layout, and noise of 1e-8 on the principal
      components that ``"tsne"`` starts from: both are more alike over seeds than their places are sure;
    - nothing for ``"pca"``, ``"mds"`` and ``"som-batch"``.

    Examples
    --------
    >>> import numpy as np
    >>> import topomap as tm
    >>> waves = np.sin(np.linspace(0, 6, 30) + np.linspace(0, 9, 400)[:, None])
    >>> stability = tm.measure_stability(tm.Activations.from_array(waves), method="pca", n=3)
    >>> stability.displacement.shape, bool(stability.disparity < 0.01)
    ((30,), True)
    """
    from tqdm.auto import tqdm

    choice("over", over, OVER)
    whole_number("n", n, 2)
    if isinstance(acts, Similarity) and over == "inputs":
        raise ValueError("over='inputs' draws inputs anew: pass the activations, or over='seeds' for a similarity.")
    similarities = _similarities(acts, n, over, seed, metric, absolute)
    seeds = range(seed, seed + n) if over == "seeds" else [seed] * n
    bar = tqdm(seeds, desc="layouts", disable=None if progress else True)
    layouts = tuple(embed(next(similarities), method=method, region=region, seed=each) for each in bar)
    disparities, displacement = superpose(layouts)
    known = disparities[np.isfinite(disparities)]
    disparity = float(known.mean()) if len(known) else float("nan")
    return Stability(disparity, disparities, displacement, over, layouts)


def superpose(layouts: tuple[Layout, ...]) -> tuple[Points, Points]:
    """Return the Procrustes disparity of each pair of layouts, and each neuron's displacement."""
    disparities = []
    squares = np.zeros(layouts[0].n_neurons)
    seen = np.zeros(layouts[0].n_neurons)
    for one, other in combinations(layouts, 2):
        common = np.flatnonzero(~(one.dead | other.dead))
        a, b = (_standardised(layout.positions[common]) for layout in (one, other))
        if a is None or b is None:
            disparities.append(float("nan"))
            continue
        left, sizes, right = np.linalg.svd(b.T @ a)
        turn, scale = left @ right, float(sizes.sum())
        disparities.append(max(0.0, 1 - scale**2))
        # either may be laid over the other: the mean of both treats them alike
        apart = ((a - scale * b @ turn) ** 2).sum(axis=1) + ((b - scale * a @ turn.T) ** 2).sum(axis=1)
        squares[common] += len(common) * apart / 2
        seen[common] += 1
    displacement = np.sqrt(np.divide(squares, seen, out=np.full_like(squares, np.nan), where=seen > 0))
    return np.array(disparities), displacement


def _standardised(points: Points) -> Points | None:
    """Centre points and scale them to unit size; None if all are in one place."""
    if not len(points):
        return None
    centred = points - points.mean(axis=0)
    size = np.linalg.norm(centred)
    return centred / size if size > 1e-12 * max(1.0, float(np.abs(points).max())) else None


def _similarities(
    acts: Activations | Similarity, n: int, over: str, seed: int, metric: str, absolute: bool
) -> Iterator[Similarity]:
    if isinstance(acts, Similarity) or over == "seeds":
        similarity = acts if isinstance(acts, Similarity) else correlate(acts, metric, absolute)
        for _ in range(n):
            yield similarity
        return
    rng = np.random.default_rng(seed)
    for _ in range(n):
        yield correlate(_resampled(acts, rng), metric, absolute)


def _resampled(acts: Activations, rng: np.random.Generator) -> Activations:
    """Draw as many inputs as there are, with replacement, all rows of each."""
    assert acts.rows is not None
    inputs, which = np.unique(acts.rows, return_inverse=True)
    times = np.bincount(rng.integers(len(inputs), size=len(inputs)), minlength=len(inputs))[which]
    drawn = np.flatnonzero(times)
    again = np.repeat(np.arange(len(drawn)), times[drawn])
    index = drawn[again]
    return replace(
        acts,
        values=take_rows(acts.values, drawn)[again],
        rows=acts.rows[index],
        places=None if acts.places is None else acts.places[index],
    )
