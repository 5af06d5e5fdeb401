"""Everything that one recording kept."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from platform import python_version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from topomap._check import choice, same_length, unknown
from topomap.run.activations import Activations
from topomap.run.inputs import Inputs
from topomap.run.moments import Moments

if TYPE_CHECKING:
    import xarray

Record = Activations | Moments

_PACKAGES = (
    *("topomap", "numpy", "scipy", "torch", "scikit-learn", "openTSNE", "umap-learn", "minisom", "hdbscan"),
    *("xarray", "zarr"),
)

#: Reductions of positions or tokens that leave a layer without them as it is.
_SAME = ("none", "mean", "max", "min", "first", "last", "random", "positions", "tokens", "aligned")


@dataclass(frozen=True, eq=False)
class Run(Mapping[Any, Record]):
    """Everything that one recording kept: a mapping from layer to `Activations` or `Moments`.

    ``run["conv1"]`` is a layer recorded under one reduction, ``run["conv1", "max"]`` one of several. A layer that has
    one value per input is the same under any of them (but for ``"std"``, which it does not have).

    A recorded training has snapshots besides: ``run.at(step)["conv1"]`` is the layer at one of ``run.steps``, and
    ``run["conv1"]`` is that of the last.

    Parameters
    ----------
    inputs
        The table of inputs (empty where only moments were kept).
    records
        Mapping from ``(layer, reduce)``.
    provenance
        Versions, seed, parameters, counts of inputs and of dead neurons.
    path
        The run folder, if there is one.
    snapshots
        Of a training: the run at each step, in order of steps; all have the same inputs.
    metrics
        Of a training: what was logged, one value per snapshot, NaN where it was not; each of shape ``(n_steps,)``.

    Examples
    --------
    >>> acts = Activations.from_array([[0.0, 1.0], [2.0, 1.0]], layer="fc")
    >>> run = Run(acts.inputs, {("fc", "none"): acts})
    >>> run
    Run(2 inputs, 1 layer: fc)
    >>> run["fc"]
    Activations(fc: 2 rows x 2 neurons, 1 dead)
    """

    inputs: Inputs
    records: Mapping[tuple[str, str], Record]
    provenance: Mapping[str, Any] = field(default_factory=dict)
    path: Path | None = None
    snapshots: Mapping[int, Run] = field(default_factory=dict)
    metrics: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)

    @classmethod
    def from_snapshots(
        cls,
        snapshots: Mapping[int, Run],
        metrics: Mapping[str, ArrayLike] | None = None,
        provenance: Mapping[str, Any] | None = None,
        path: Path | None = None,
    ) -> Run:
        """Return a training of runs that were recorded at some of its steps.

        Parameters
        ----------
        snapshots
            A run per step: of the same inputs, layers and neurons.
        metrics
            Values per snapshot, in the order of `snapshots`.
        provenance
            By default that of the last snapshot.
        path
            The run folder, if there is one.

        Raises
        ------
        ValueError
            If there is no snapshot, or a metric does not have one value for each.

        Examples
        --------
        >>> runs = {}
        >>> for step in (0, 100):
        ...     acts = Activations.from_array([[0.0, 1.0], [2.0, 1.0 + step]], layer="fc")
        ...     runs[step] = Run(acts.inputs, {("fc", "none"): acts})
        >>> run = Run.from_snapshots(runs, {"loss": [0.7, 0.1]})
        >>> run.steps, run.at(0)["fc"]
        ((0, 100), Activations(fc: 2 rows x 2 neurons, 1 dead))
        """
        if not snapshots:
            raise ValueError("a training needs at least one snapshot.")
        order = sorted(range(len(snapshots)), key=list(snapshots).__getitem__)
        columns = {str(name): np.asarray(values, dtype=np.float64) for name, values in (metrics or {}).items()}
        for name, values in columns.items():
            same_length(f"metric {name!r}", len(values), "snapshot", len(snapshots))
        if order != list(range(len(order))):
            steps = list(snapshots)
            snapshots = {steps[i]: snapshots[steps[i]] for i in order}
            columns = {name: values[order] for name, values in columns.items()}
        last = snapshots[next(reversed(list(snapshots)))]
        about = dict(last.provenance if provenance is None else provenance)
        return cls(last.inputs, last.records, about, path, snapshots, columns)

    @property
    def steps(self) -> tuple[int, ...]:
        """Steps of a training at which there are snapshots, in order; empty for any other run."""
        return tuple(self.snapshots)

    @property
    def diverged(self) -> dict[int, str]:
        """Steps of a training without a snapshot, as activations were NaN or infinite: step to what was found."""
        known = self.provenance.get("training", {}).get("diverged", {})
        return {int(step): str(what) for step, what in known.items()}

    def at(self, step: int) -> Run:
        """Return what was recorded at one step of a training: a run of that step alone.

        Raises
        ------
        ValueError
            If there is no snapshot at this step; the nearest ones are named.
        """
        if step in self.snapshots:
            return self.snapshots[step]
        if what := self.diverged.get(step):
            raise ValueError(f"there is no snapshot at step {step}, as the training had diverged: {what}.")
        if not self.steps:
            raise ValueError(f"this run has no snapshots, so none at step {step!r}: it is not a recorded training.")
        steps = np.array(self.steps)
        nearest = sorted(steps[np.argsort(np.abs(steps - step), kind="stable")[:2]].tolist())
        raise ValueError(
            f"there is no snapshot at step {step!r}; the nearest {'is' if len(nearest) == 1 else 'are'} "
            f"{' and '.join(map(str, nearest))} (run.steps has all {len(steps)})."
        )

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the recorded layers, in the order of recording."""
        return tuple(dict.fromkeys(layer for layer, _ in self.records))

    def reductions(self, layer: str) -> tuple[str, ...]:
        """Return the reductions that one layer was recorded under."""
        return tuple(reduce for name, reduce in self.records if name == layer)

    def __getitem__(self, key: str | tuple[str, str]) -> Record:
        layer, reduce = (key, None) if isinstance(key, str) else key
        found = self.reductions(layer)
        if not found:
            raise unknown("layer", layer, self.layers)
        if reduce is None:
            if len(found) > 1:
                ways = " or ".join(f"run[{layer!r}, {way!r}]" for way in found)
                raise ValueError(f"layer {layer!r} was recorded under several reductions: use {ways}.")
            return self.records[layer, found[0]]
        if found == ("none",) and reduce != "std":
            # one value per input: every other reduction leaves it as it is
            choice(f"the reduction of layer {layer!r}", reduce, _SAME)
            return self.records[layer, "none"]
        if reduce not in found:
            raise unknown(f"the reduction of layer {layer!r}", reduce, found)
        return self.records[layer, reduce]

    def __contains__(self, key: object) -> bool:
        try:
            self[key]  # type: ignore[index]
        except (ValueError, TypeError):
            return False
        return True

    def __iter__(self) -> Iterator[Any]:
        for layer, reduce in self.records:
            yield layer if len(self.reductions(layer)) == 1 else (layer, reduce)

    def __len__(self) -> int:
        return len(self.records)

    def to_xarray(self) -> xarray.DataTree:
        """Return inputs and layers as one tree, as they lie in a run folder; of a training those of the last step."""
        import xarray

        nodes = {"inputs": self.inputs.to_xarray()}
        for (layer, reduce), record in self.records.items():
            nodes[f"layers/{layer}/{reduce}"] = record.to_xarray()
        if self.metrics:
            data = {name: (("step",), values) for name, values in self.metrics.items()}
            nodes["metrics"] = xarray.Dataset(data, coords={"step": list(self.steps)})
        return xarray.DataTree.from_dict(nodes)

    def __repr__(self) -> str:
        where = f" at {self.path}" if self.path else ""
        n = len(self.inputs) or self.provenance.get("n_inputs", 0)
        steps = f", {len(self.steps)} snapshots, steps {self.steps[0]} to {self.steps[-1]}" if self.steps else ""
        if self.diverged:
            steps += f", diverged at {len(self.diverged)} more"
        layers = f"{len(self.layers)} layer{'s' * (len(self.layers) != 1)}: {', '.join(self.layers)}"
        return f"Run({n} inputs, {layers}{steps}{where})"


def versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that results depend on, transformers only where it is used."""
    used = ("transformers",) if "transformers" in sys.modules else ()
    return {"python": python_version(), **_versions(*_PACKAGES, *used)}


@cache
def _versions(*packages: str) -> dict[str, str]:
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
