"""Where neurons lie while a training goes on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import choice, same_length
from topomap.layout import Layout, embed, embed_jointly
from topomap.layout.regions import shape_of
from topomap.run import Run
from topomap.similarity import correlate
from topomap.training.steps import choose_steps, spread

if TYPE_CHECKING:
    import xarray

#: What a layout over time can be, besides a layout.
LAYOUTS = ("last", "first", "joint", "moving")

#: Most checkpoints that are laid out jointly, or one by one where neurons move; those between are interpolated.
MOST = 24


@dataclass(frozen=True, eq=False)
class Places:
    """Where the neurons of a layer lie at each step.

    Parameters
    ----------
    kind
        ``"last"``, ``"first"``, ``"joint"``, ``"moving"`` or ``"given"``.
    layouts
        One, or one per key where neurons move.
    keys
        Positions, among the steps of the film, of those that were laid out, ascending.
    n_steps
        Steps of the film.
    always_dead
        Neurons that vary at no step, shape ``(n_neurons,)``. Others take part in every map, also where they lie on the
        stretch for the dead: they are alive at some step.
    provenance
        What was laid out, and how.
    """

    kind: str
    layouts: tuple[Layout, ...]
    keys: NDArray[np.int64]
    n_steps: int
    always_dead: NDArray[np.bool_]
    provenance: dict[str, Any] = field(default_factory=dict)

    @property
    def moving(self) -> bool:
        """Whether neurons move."""
        return len(self.layouts) > 1

    @cached_property
    def _curve(self) -> Any:
        # no overshoot and no sudden turns: a neuron that rests between two keys rests, one that moves goes on smoothly
        from scipy.interpolate import PchipInterpolator

        return PchipInterpolator(self.keys, np.stack([layout.positions for layout in self.layouts]), axis=0)

    def at(self, time: float) -> Layout:
        """Return the layout at a time, counted in steps of the film from 0; between two steps it is between both.

        Places between two keys are interpolated by monotone cubics (Fritsch, Butland 1984, doi 10.1137/0905021).
        """
        if not self.moving:
            return self._fixed
        positions = self._curve(float(np.clip(time, self.keys[0], self.keys[-1])))
        # a curve may leave the region between two keys; one such neuron would have all of them scaled to fit
        shape = shape_of(self._fixed.region)
        inside = np.clip(positions, -1, 1) if shape is None else shape.clamp(positions)
        return replace(self._fixed, positions=inside)

    @cached_property
    def _fixed(self) -> Layout:
        return replace(self.layouts[-1], dead=self.always_dead)

    def moves(self, share: float = 0.95) -> NDArray[np.float64]:
        """Return how far at most this share of the neurons go between two steps, shape ``(n_steps - 1,)``."""
        ways = np.stack([self.at(step).positions for step in range(self.n_steps)])
        return np.asarray(np.quantile(np.linalg.norm(np.diff(ways, axis=0), axis=2), share, axis=1))

    def to_xarray(self) -> xarray.Dataset:
        """Return positions over the dimensions ``step`` (of the film, counted from 0), ``neuron`` and ``axis``."""
        import xarray

        positions = np.stack([self.at(step).positions for step in range(self.n_steps)])
        data = {"position": (("step", "neuron", "axis"), positions), "always_dead": (("neuron",), self.always_dead)}
        return xarray.Dataset(data, coords={"axis": ["x", "y"]}, attrs={"kind": self.kind})

    def __repr__(self) -> str:
        how = f"{len(self.keys)} of {self.n_steps} steps laid out" if self.moving else f"{self.layouts[0]}"
        return f"Places({self.kind}: {how})"


def lay_out(
    run: Run,
    layer: str | tuple[str, str],
    layout: str | Layout = "last",
    *,
    always_dead: NDArray[np.bool_],
    steps: Sequence[int] | None = None,
    method: Any = None,
    region: Any = None,
    seed: int = 0,
    progress: bool = True,
) -> Places:
    """Lay the neurons of a training out.

    Parameters
    ----------
    run
        With snapshots.
    layer
        A layer, or ``(layer, reduce)``.
    layout
        - ``"last"``: as they are alike at the last step, as in Krug et al. (2023); neurons do not move;
        - ``"first"``: as at the first step;
        - ``"joint"``: as they are alike over all steps: one layout of the features of up to 24 steps side by side;
        - ``"moving"``: each of up to 24 steps has its own layout, which starts from that of the one after it and is
          turned to it (a rotation, and a reflection where it helps); between them neurons move smoothly;
        - a `Layout` of your own.
    always_dead
        Neurons that vary at no step, shape ``(n_neurons,)``.
    steps
        Of the film; all by default.
    method, region, seed
        As for `embed`.
    progress
        Whether to show a bar.

    Raises
    ------
    ValueError
        If the layout is unknown or of other neurons, or what was recorded gives no similarity.
    """
    from tqdm.auto import tqdm

    chosen = choose_steps(run, steps)
    n = len(chosen)
    if isinstance(layout, Layout):
        same_length("layout", layout.n_neurons, "neuron of the layer", len(always_dead))
        return Places("given", (layout,), np.array([n - 1]), n, always_dead, {"layout": repr(layout)})
    choice("layout", layout, LAYOUTS)
    options: dict[str, Any] = {"method": method, "region": region, "seed": seed}
    about = {"layout": layout, "seed": seed}
    if layout in ("last", "first"):
        at = n - 1 if layout == "last" else 0
        found = embed(correlate(run.at(chosen[at])[layer]), **options)
        return Places(layout, (found,), np.array([at]), n, always_dead, {**about, "step": int(chosen[at])})
    keys = spread(n, MOST)
    bar = tqdm(keys, desc="comparing neurons", unit="step", disable=None if progress else True, leave=False)
    similarities = {int(chosen[i]): correlate(run.at(chosen[i])[layer]) for i in bar}
    about["steps"] = list(similarities)
    found_all = embed_jointly(similarities, over="checkpoints", together=layout == "joint", **options)
    if layout == "joint":
        return Places(layout, (next(iter(found_all.values())),), keys[-1:], n, always_dead, about)
    return Places(layout, tuple(found_all.values()), keys, n, always_dead, about)
