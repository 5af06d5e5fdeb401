"""The values of every map of a film, at every step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap.groups import Key

if TYPE_CHECKING:
    import xarray

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class TrainingMaps:
    """Maps of one layer at several steps of a training, in units of each neuron's deviation at that step.

    Parameters
    ----------
    steps
        Of the training, shape ``(n_steps,)``.
    values
        float32, shape ``(n_steps, n_maps, n_neurons)``; dead neurons 0, and all of a map that has no inputs.
    titles
        One per map.
    kinds
        ``"groups"``, ``"difference"`` or ``"inputs"`` per map.
    keys
        Values of the columns of `by` per map of a group, else empty.
    by
        The columns that groups were made from.
    counts, others
        Inputs that a map is the mean of, and inputs of the group that it is shown against (0 where there is none),
        both of shape ``(n_steps, n_maps)``.
    floors
        The noise floor of each map, shape ``(n_steps, n_maps)``, 0 where there is none. It is one number, as values are
        in units of the neurons' deviations.
    dead
        Which neurons do not vary, shape ``(n_steps, n_neurons)``.
    metrics
        What was logged, one value per step, NaN where nothing was.
    min_size
        Groups of fewer inputs are `small`.
    contrast, layer, reduce, n_rows
        As of `Profiles`.
    diverged
        Steps of the training that are left out, for activations were NaN or infinite.
    provenance
        Parameters, versions, and the provenance of the recording.
    """

    steps: NDArray[np.int64]
    values: NDArray[np.float32]
    titles: tuple[str, ...]
    kinds: tuple[str, ...]
    keys: tuple[Key, ...]
    by: tuple[str, ...]
    counts: NDArray[np.int64]
    others: NDArray[np.int64]
    floors: Float
    dead: NDArray[np.bool_]
    metrics: Mapping[str, Float] = field(default_factory=dict)
    min_size: int = 5
    contrast: str = "mean"
    layer: str = "layer"
    reduce: str = "none"
    n_rows: int = 0
    diverged: tuple[int, ...] = ()
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_neurons(self) -> int:
        """Number of neurons."""
        return int(self.values.shape[2])

    @property
    def small(self) -> NDArray[np.bool_]:
        """Which maps rest on fewer than `min_size` inputs, shape ``(n_steps, n_maps)``."""
        group = np.array([kind != "inputs" for kind in self.kinds])
        few = (self.counts < self.min_size) | ((self.others > 0) & (self.others < self.min_size))
        return np.asarray(few & group)

    @property
    def always_dead(self) -> NDArray[np.bool_]:
        """Which neurons vary at no step, shape ``(n_neurons,)``."""
        return np.asarray(self.dead.all(axis=0))

    def roles(self, at: int) -> NDArray[np.int64]:
        """Return, for one of the steps, the group that drives each neuron most above its mean; shape ``(n_neurons,)``.

        -1 where no group exceeds its noise floor, and for dead neurons. Groups of too few inputs do not count.
        """
        of_groups = [i for i, kind in enumerate(self.kinds) if kind == "groups" and not self.small[at, i]]
        out = np.full(self.n_neurons, -1, dtype=np.int64)
        if not of_groups:
            return out
        values = self.values[at, of_groups]
        best = np.argmax(values, axis=0)
        above = np.max(values, axis=0) > self.floors[at, of_groups][best]
        out[above] = np.array(of_groups)[best[above]]
        out[self.dead[at]] = -1
        return out

    def to_xarray(self) -> xarray.Dataset:
        """Return all maps over the dimensions ``step``, ``map`` and ``neuron``."""
        import xarray

        per_map = ("step", "map")
        data: dict[str, Any] = {
            "values": ((*per_map, "neuron"), np.asarray(self.values)),
            "count": (per_map, self.counts),
            "noise_floor": (per_map, self.floors),
            "small": (per_map, self.small),
            "dead": (("step", "neuron"), self.dead),
        }
        data |= {f"metric_{name}": (("step",), values) for name, values in self.metrics.items()}
        coords = {"step": self.steps, "map": np.array(self.titles, dtype=object)}
        attrs = {name: getattr(self, name) for name in ("layer", "reduce", "contrast", "min_size")}
        return xarray.Dataset(data, coords=coords, attrs={**attrs, "by": list(self.by)})

    def __repr__(self) -> str:
        where = self.layer if self.reduce == "none" else f"{self.layer}, {self.reduce}"
        ends = f"{self.steps[0]} to {self.steps[-1]}"
        return (
            f"TrainingMaps({where}: {len(self.titles)} maps of {self.n_neurons} neurons at {len(self.steps)} steps, "
            f"{ends})"
        )
