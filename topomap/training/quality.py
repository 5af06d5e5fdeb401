"""How well a film's layout shows who is alike, step by step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from topomap._check import whole_number
from topomap.quality import measure_layout
from topomap.run import Run
from topomap.similarity import correlate
from topomap.training.places import Places
from topomap.training.steps import choose_steps, spread

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True, eq=False)
class StepQuality:
    """Quality of the layout at some steps of a training, by the similarity at that step.

    Parameters
    ----------
    steps
        Of the training.
    at
        Their positions among the steps of the film.
    trustworthiness, continuity, knn
        As of `Quality`, one value per step; NaN where fewer than three neurons are alive.
    k
        Neighbours that were looked at.
    """

    steps: NDArray[np.int64]
    at: NDArray[np.int64]
    trustworthiness: NDArray[np.float64]
    continuity: NDArray[np.float64]
    knn: NDArray[np.float64]
    k: int

    def to_xarray(self) -> xarray.Dataset:
        """Return the measures over the dimension ``step``."""
        import xarray

        data = {name: (("step",), getattr(self, name)) for name in ("trustworthiness", "continuity", "knn")}
        return xarray.Dataset(data, coords={"step": self.steps}, attrs={"k": self.k})

    def __repr__(self) -> str:
        first, last = self.trustworthiness[0], self.trustworthiness[-1]
        return f"StepQuality({len(self.steps)} steps: T {first:.3f} at the first, {last:.3f} at the last)"


def measure_steps(
    run: Run,
    layer: str | tuple[str, str],
    places: Places,
    *,
    steps: Sequence[int] | None = None,
    most: int = 24,
    k: int = 10,
    progress: bool = True,
) -> StepQuality:
    """Measure the layout against the similarity of neurons at several steps, as `measure_layout` does.

    A layout that shows the last step well need not show the first: where the measure is low, neighbours on the map are
    not alike at that step, and its blobs mean little.

    Parameters
    ----------
    run, layer, steps
        As of `lay_out`, which made the places.
    places
        Where neurons lie.
    most
        Steps to measure, spread evenly.
    k
        As of `measure_layout`.
    progress
        Whether to show a bar.

    Raises
    ------
    ValueError
        If what was recorded gives no similarity.
    """
    from tqdm.auto import tqdm

    whole_number("most", most, 2)
    chosen = choose_steps(run, steps)
    at = spread(len(chosen), most)
    found = []
    for i in tqdm(at, desc="measuring", unit="step", disable=None if progress else True, leave=False):
        similarity = correlate(run.at(chosen[i])[layer])
        found.append(measure_layout(places.at(float(i)), similarity, k=k, progress=False))
    trustworthiness, continuity, knn = np.array([(q.trustworthiness, q.continuity, q.knn) for q in found]).T
    return StepQuality(np.array(chosen)[at], at, trustworthiness, continuity, knn, max(q.k for q in found))
