"""A training in numbers: when maps settle, neurons die, groups separate, and who changes its role."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import choice
from topomap.groups import By
from topomap.run import Run
from topomap.training.collect import collect_maps
from topomap.training.maps import TrainingMaps

if TYPE_CHECKING:
    import xarray

Float = NDArray[np.float64]

#: A map has settled when its correlation with the final one stays at or above this.
SETTLED = 0.9


@dataclass(frozen=True, eq=False)
class TrainingSummary:
    """What happens to the maps and neurons of a layer over a training.

    Parameters
    ----------
    steps
        Shape ``(n_steps,)``.
    groups
        Their names.
    convergence
        Pearson correlation, over neurons that are alive at both, of each group's map with its map at the last step,
        shape ``(n_steps, n_groups)``; 0 where either has no inputs or does not vary.
    dead
        Which neurons do not vary, shape ``(n_steps, n_neurons)``.
    separation
        How far each group is from the group that is nearest to it, in deviations of a neuron, shape ``(n_steps,
        n_groups)``; see `summarize_training`.
    explained
        Share of a neuron's variance that lies between groups, mean over live neurons, shape ``(n_steps,)``.
    roles
        Position of the group that drives each neuron most, -1 for none above its noise floor, shape ``(n_steps,
        n_neurons)``.
    metrics
        What was logged.
    layer, reduce
        The record.
    diverged
        Steps that are left out, for activations were NaN or infinite.
    provenance
        As of `TrainingMaps`.

    Examples
    --------
    >>> summary = TrainingSummary(
    ...     steps=np.array([0, 10, 20]),
    ...     groups=("cat", "dog"),
    ...     convergence=np.array([[0.2, 0.95], [0.8, 0.97], [1.0, 1.0]]),
    ...     dead=np.array([[False, False], [False, True], [False, True]]),
    ...     separation=np.array([[0.1, 0.1], [0.2, 0.9], [1.0, 1.0]]),
    ...     explained=np.array([0.1, 0.3, 0.5]),
    ...     roles=np.array([[1, 0], [0, -1], [0, -1]]),
    ... )
    >>> summary.settled, summary.separated, summary.deaths
    ({'cat': 20, 'dog': 0}, {'cat': 20, 'dog': 10}, {1: 10})
    >>> summary.changed.tolist(), summary.role(0, step=0), summary.role(0)
    ([0], 'dog', 'cat')
    """

    steps: NDArray[np.int64]
    groups: tuple[str, ...]
    convergence: Float
    dead: NDArray[np.bool_]
    separation: Float
    explained: Float
    roles: NDArray[np.int64]
    metrics: Mapping[str, Float] = field(default_factory=dict)
    layer: str = "layer"
    reduce: str = "none"
    diverged: tuple[int, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_neurons(self) -> int:
        """Number of neurons."""
        return int(self.dead.shape[1])

    @property
    def n_dead(self) -> NDArray[np.int64]:
        """Dead neurons per step."""
        return np.asarray(self.dead.sum(axis=1))

    @property
    def deaths(self) -> dict[int, int]:
        """The step from which on a neuron is dead, for each that was alive before: neuron to step, in that order."""
        died = np.flatnonzero(self.dead[-1] & ~self.dead.all(axis=0))
        since = _since(self.dead[:, died])
        return {int(n): int(self.steps[i]) for i, n in sorted(zip(since, died, strict=True))}

    @property
    def settled(self) -> dict[str, int]:
        """The step from which on each group's map correlates with its final one by at least 0.9."""
        since = _since(self.convergence >= SETTLED)
        return {name: int(self.steps[i]) for name, i in zip(self.groups, since, strict=True)}

    @property
    def separated(self) -> dict[str, int | None]:
        """The step from which on each group's separation is past half its way up from the first to the last step.

        None for a group that ends no further from the others than it began.
        """
        first, last = self.separation[0], self.separation[-1]
        since = _since(self.separation >= (first + last) / 2)
        return {
            name: int(self.steps[i]) if last[g] > first[g] else None
            for g, (name, i) in enumerate(zip(self.groups, since, strict=True))
        }

    @property
    def role_since(self) -> NDArray[np.int64]:
        """The step from which on each neuron has its final role, shape ``(n_neurons,)``."""
        return np.asarray(self.steps[_since(self.roles == self.roles[-1])])

    @property
    def changed(self) -> NDArray[np.int64]:
        """Neurons that serve another group at the last step than at the first, both above the noise floor."""
        first, last = self.roles[0], self.roles[-1]
        return np.flatnonzero((first >= 0) & (last >= 0) & (first != last))

    def role(self, neuron: int, step: int | None = None) -> str | None:
        """Return the name of the group that a neuron serves at a step, the last by default; None for none."""
        if not 0 <= neuron < self.n_neurons:
            raise ValueError(f"neuron must be from 0 to {self.n_neurons - 1}; got {neuron!r}.")
        at = -1 if step is None else list(self.steps).index(choice("step", step, self.steps.tolist()))
        found = int(self.roles[at, neuron])
        return None if found < 0 else self.groups[found]

    def to_xarray(self) -> xarray.Dataset:
        """Return everything over the dimensions ``step``, ``group`` and ``neuron``."""
        import xarray

        data: dict[str, Any] = {
            "convergence": (("step", "group"), self.convergence),
            "separation": (("step", "group"), self.separation),
            "explained": (("step",), self.explained),
            "dead": (("step", "neuron"), self.dead),
            "role": (("step", "neuron"), self.roles),
            "role_since": (("neuron",), self.role_since),
        }
        data |= {f"metric_{name}": (("step",), values) for name, values in self.metrics.items()}
        coords = {"step": self.steps, "group": np.array(self.groups, dtype=object)}
        return xarray.Dataset(data, coords=coords, attrs={"layer": self.layer, "reduce": self.reduce})

    def __repr__(self) -> str:
        where = self.layer if self.reduce == "none" else f"{self.layer}, {self.reduce}"
        settled = max(self.settled.values())
        served = int(((self.roles[0] >= 0) & (self.roles[-1] >= 0)).sum())
        return (
            f"TrainingSummary({where}: steps {self.steps[0]} to {self.steps[-1]}; all maps settled (r >= {SETTLED}) "
            f"from step {settled} on; between groups {self.explained[0]:.0%} of the variance at first, "
            f"{self.explained[-1]:.0%} at last; {self.n_dead[0]} neurons dead at first, {self.n_dead[-1]} of "
            f"{self.n_neurons} at last; {len(self.changed)} of {served} changed role)"
        )


def summarize_training(
    run: Run,
    layer: str | tuple[str, str],
    by: By = "label",
    *,
    steps: int | Sequence[int] | None = None,
    min_size: int = 5,
    progress: bool = True,
) -> TrainingSummary:
    """Put what a film shows into numbers.

    Parameters
    ----------
    run
        A training: a run with snapshots.
    layer
        A layer, or ``(layer, reduce)``.
    by
        As of `profile`.
    steps
        Some of the steps, or how many, spread evenly; all by default.
    min_size
        Groups of fewer inputs give no neuron its role.
    progress
        Whether to show a bar.

    Returns
    -------
    TrainingSummary

    Raises
    ------
    ValueError
        If the run has no snapshots, or what was recorded cannot be grouped so.

    Notes
    -----
    All values are in units of each neuron's standard deviation at that step.

    - `convergence` is the correlation of maps, so that it does not see their strength.
    - `separation` of two groups is the root of the mean over live neurons of ``(m_gj - m_hj)^2 / s_j^2 - 1/n_g -
      1/n_h``, 0 where that is negative: what is subtracted is what two groups drawn from the same inputs would show. Of
      each group the smallest one is kept, that to the group which is hardest to tell from it.
    - `explained` is the correlation ratio eta^2 (Fisher 1925): ``sum_g n_g (m_gj - m_j)^2 / sum_i (x_ij - m_j)^2``, of
      groups that do not overlap.
    - A neuron's role is the group whose mean is highest above that neuron's mean over groups.

    Examples
    --------
    >>> import numpy as np
    >>> from topomap.run import Activations
    >>> rng, label = np.random.default_rng(0), np.repeat([0, 1], 50)
    >>> noise, runs = rng.normal(size=(100, 20)), {}
    >>> for step in (0, 10, 20):
    ...     values = noise + 0.2 * step * np.outer(label, np.arange(20) < 10)
    ...     acts = Activations.from_array(values, layer="fc", label=label)
    ...     runs[step] = Run(acts.inputs, {("fc", "none"): acts})
    >>> summary = summarize_training(Run.from_snapshots(runs), "fc")
    >>> summary.settled, summary.separated
    ({'0': 10, '1': 10}, {'0': 10, '1': 10})
    """
    maps = collect_maps(run, layer, by, contrast="mean", steps=steps, min_size=min_size, progress=progress)
    return summarize(maps)


def summarize(maps: TrainingMaps) -> TrainingSummary:
    """Summarise maps of groups that were read already; see `summarize_training`."""
    n_steps, n_groups = maps.counts.shape
    convergence = np.zeros((n_steps, n_groups))
    separation = np.zeros((n_steps, n_groups))
    explained = np.zeros(n_steps)
    last = np.asarray(maps.values[-1], dtype=np.float64)
    for i in range(n_steps):
        values, counts, live = np.asarray(maps.values[i], dtype=np.float64), maps.counts[i], ~maps.dead[i]
        convergence[i] = _correlations(values[:, live & ~maps.dead[-1]], last[:, live & ~maps.dead[-1]])
        separation[i] = _separation(values[:, live], counts)
        explained[i] = _explained(values[:, live], counts, maps.n_rows)
    return TrainingSummary(
        maps.steps, maps.titles, convergence, maps.dead, separation, explained,
        np.stack([maps.roles(i) for i in range(n_steps)]), maps.metrics, maps.layer, maps.reduce, maps.diverged,
        maps.provenance,
    )  # fmt: skip


def _correlations(a: Float, b: Float) -> Float:
    if not a.shape[1]:
        return np.zeros(len(a))
    a, b = (x - x.mean(axis=1, keepdims=True) for x in (a, b))
    norm = np.sqrt((a**2).sum(axis=1) * (b**2).sum(axis=1))
    return np.asarray(np.divide((a * b).sum(axis=1), norm, out=np.zeros(len(a)), where=norm > 1e-12))


def _separation(values: Float, counts: NDArray[np.int64]) -> Float:
    """Return the distance of each group to its nearest one; 0 for a group without inputs or without others."""
    present = np.flatnonzero(counts)
    out = np.zeros(len(values))
    if len(present) < 2 or not values.shape[1]:
        return out
    rows, inverse = values[present], 1.0 / counts[present]
    norms = (rows**2).sum(axis=1)
    squares = (norms[:, None] + norms - 2 * rows @ rows.T) / values.shape[1] - (inverse[:, None] + inverse)
    np.fill_diagonal(squares, np.inf)
    out[present] = np.sqrt(np.maximum(squares.min(axis=1), 0))
    return out


def _explained(values: Float, counts: NDArray[np.int64], n_rows: int) -> float:
    n = counts.sum()
    if not n or not values.shape[1]:
        return 0.0
    centre = counts @ values / n
    return float((counts @ (values - centre) ** 2).mean() / max(n_rows, 1))


def _since(holds: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return from which position on a column holds to the end; the last position if it does not even there."""
    away = holds[::-1].argmin(axis=0)
    return np.asarray(np.where(holds.all(axis=0), 0, len(holds) - np.maximum(away, 1)))
