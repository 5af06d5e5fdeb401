"""Patterns: what was found, and what can be asked of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from topomap.groups import Groups
from topomap.patterns.scale import Scale
from topomap.run import Activations, Inputs, Run

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True, eq=False)
class Patterns:
    """Clusters of inputs that a layer treats alike; what `find_patterns` returns.

    Parameters
    ----------
    labels
        Pattern of each input used, shape ``(n,)``: 0 is the most persistent one, -1 is noise.
    probabilities
        How strongly each input belongs to its pattern, in [0, 1], shape ``(n,)``; 0 for noise.
    outlier_scores
        GLOSH scores in [0, 1], shape ``(n,)``: how much sparser the surroundings of an input are than the densest part
        of the cluster it fell out of.
    persistence
        Of each pattern, in [0, 1], shape ``(n_patterns,)``, descending: over what share of HDBSCAN's range of densities
        (1 / distance, up to the highest) its members stay together, on average.
    features
        What was clustered: scaled values, after PCA where it was asked for, shape ``(n, n_features)``.
    rows
        Position of each of them in the table of inputs, shape ``(n,)``.
    inputs
        The table of inputs.
    scale
        From values to features.
    layer, reduce, unit
        Where the values come from; `unit` is None for all units of the layer.
    parameters
        Those of HDBSCAN, and ``n_components``.
    stability
        Of each pattern when inputs are resampled, shape ``(n_patterns,)``, where it was measured.
    provenance
        How they came about.
    model
        What `assign` predicts from: the `Clustering`; None of patterns read from a run folder, where it is made again.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> values = np.concatenate([rng.normal(3, 0.1, (20, 4)), rng.normal(-3, 0.1, (30, 4)), rng.normal(0, 9, (10, 4))])
    >>> from topomap.patterns import find_patterns
    >>> patterns = find_patterns(Activations.from_array(values))
    >>> len(patterns), patterns.counts.sum(), patterns.names[-1]
    (2, np.int64(60), 'noise')
    """

    labels: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    outlier_scores: NDArray[np.float64]
    persistence: NDArray[np.float64]
    features: NDArray[np.float64] = field(repr=False)
    rows: NDArray[np.int64]
    inputs: Inputs
    scale: Scale
    layer: str = "layer"
    reduce: str = "mean"
    unit: int | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    stability: NDArray[np.float64] | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    model: Any = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.persistence)

    @property
    def n_rows(self) -> int:
        """Number of inputs used."""
        return len(self.labels)

    @property
    def ids(self) -> tuple[int, ...]:
        """What `labels` can be, in the order of `names` and `counts`: 0, 1, ..., and -1 where there is noise."""
        return (*range(len(self)), *([-1] if (self.labels < 0).any() else []))

    @property
    def names(self) -> tuple[str, ...]:
        """``"pattern 0"``, ``"pattern 1"``, ..., and ``"noise"`` where there is any."""
        return tuple(f"pattern {k}" if k >= 0 else "noise" for k in self.ids)

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """Inputs per pattern, and of noise where there is any, in the order of `names`."""
        return np.array([np.count_nonzero(self.labels == k) for k in self.ids], dtype=np.int64)

    @property
    def noise(self) -> float:
        """Share of the inputs that are in no pattern."""
        return float(np.mean(self.labels < 0)) if self.n_rows else 0.0

    def members(self, k: int) -> NDArray[np.int64]:
        """Return the positions in the table of inputs of one pattern's members, the most probable first.

        Parameters
        ----------
        k
            Number of the pattern; -1 for noise, the least outlying first.

        Raises
        ------
        ValueError
            If there is no such pattern.
        """
        if not -1 <= k < len(self):
            have = f"one of 0 to {len(self) - 1}, or -1 for noise" if len(self) else "-1 for noise, as there are none"
            raise ValueError(f"pattern must be {have}; got {k!r}.")
        member = np.flatnonzero(self.labels == k)
        first = -self.probabilities[member] if k >= 0 else self.outlier_scores[member]
        return self.rows[member[np.lexsort((self.rows[member], first))]]

    @cached_property
    def groups(self) -> Groups:
        """The patterns as groups of the table of inputs, noise last; inputs that were not used are in none."""
        position = {k: i for i, k in enumerate(self.ids)}
        group = np.array([position[int(k)] for k in self.labels], dtype=np.int64)
        ones = np.ones(self.n_rows)
        membership = sparse.csr_array((ones, (group, self.rows)), shape=(len(self.ids), len(self.inputs)))
        return Groups(self.names, membership, ("pattern",), tuple((k,) for k in self.ids))

    def assign(self, source: Activations | Run) -> Patterns:
        """Return the patterns that new inputs would fall into, scaled as those that the patterns were found in.

        HDBSCAN's approximate prediction: a new input joins the cluster of its nearest neighbour (by mutual
        reachability) where it is close enough, and is noise otherwise. Nothing is clustered anew, so that an input that
        was clustered may be assigned elsewhere.

        Parameters
        ----------
        source
            Activations of the same layer, or a run that has it, recorded under the same reductions.

        Raises
        ------
        ValueError
            If the values do not fit, or the patterns were found in fewer than twice ``min_samples`` inputs.
        """
        from topomap.patterns.find import assign

        return assign(self, source)

    def save(self, path: str | Path) -> None:
        """Write the patterns into a run folder, as ``patterns/<layer>/<reduce>/<all or unit...>``.

        Labels, scores and parameters are kept; features are made again from the recorded values. Those of the same
        layer, reduction and unit are replaced.
        """
        from topomap.patterns.stored import save_patterns

        save_patterns(self, path)

    @classmethod
    def load(cls, run: Run, layer: str, reduce: str | None = None, unit: int | None = None) -> Patterns:
        """Read patterns from the folder of a run.

        Parameters
        ----------
        run
            A run that `open_run` returned.
        layer, reduce, unit
            Which ones; the reduction may be left out where there is one.

        Raises
        ------
        ValueError
            If the run has no folder or no such patterns, or was recorded anew since.
        """
        from topomap.patterns.stored import load_patterns

        return load_patterns(run, layer, reduce, unit)

    def to_xarray(self) -> xarray.Dataset:
        """Return labels, scores and features over ``input``, and what is known per ``pattern``."""
        import xarray

        data: dict[str, Any] = {
            "label": (("input",), self.labels),
            "probability": (("input",), self.probabilities),
            "outlier_score": (("input",), self.outlier_scores),
            "features": (("input", "feature"), self.features),
            "persistence": (("pattern",), self.persistence),
            "count": (("pattern",), self.counts[: len(self)]),
        }
        if self.stability is not None:
            data["stability"] = (("pattern",), self.stability)
        coords: dict[str, Any] = {
            "position": (("input",), self.rows),
            "id": (("input",), self.inputs.ids[self.rows]),
            "pattern": np.arange(len(self)),
        }
        attrs: dict[str, Any] = {"layer": self.layer, "reduce": self.reduce, **self.parameters}
        if self.unit is not None:
            attrs["unit"] = self.unit
        return xarray.Dataset(data, coords, {name: value for name, value in attrs.items() if value is not None})

    def __repr__(self) -> str:
        where = self.layer if self.unit is None else f"{self.layer}, unit {self.unit}"
        k = self.parameters.get("n_components")
        pca = f" of {k} principal components" if k is not None else ""
        noise = int(np.count_nonzero(self.labels < 0))
        return (
            f"Patterns({where}, {self.reduce}{pca}: {len(self)} in {self.n_rows} inputs, "
            f"{noise} noise ({100 * self.noise:.0f} %))"
        )
