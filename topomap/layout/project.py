"""Inputs in the plane: those that a layer treats alike lie close together."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import at_least, instance_of
from topomap.groups import By, Groups
from topomap.layout.base import Points
from topomap.layout.methods import FEWEST, Method, _kinds, embed
from topomap.layout.spectral import principal_coordinates
from topomap.run import Activations, Inputs, versions
from topomap.similarity import Similarity

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True, eq=False)
class Projection:
    """Where the inputs of a layer lie in the plane.

    Parameters
    ----------
    positions
        Shape ``(n, 2)``, in the unit frame [-1, 1]^2, both axes on one scale.
    rows
        Position of each of them in the table of inputs, shape ``(n,)``.
    inputs
        The table of inputs.
    method
        Name of the method, as in `embed`.
    layer, reduce
        Which record was projected.
    seed
        Of the randomness.
    provenance
        How it came about.

    Examples
    --------
    >>> acts = Activations.from_array(np.random.default_rng(0).normal(size=(50, 8)), label=np.arange(50) % 2)
    >>> projection = project_inputs(acts, "pca")
    >>> projection.groups("label")
    Groups(2 by label over 50 rows: 0 (25); 1 (25))
    """

    positions: Points
    rows: NDArray[np.int64]
    inputs: Inputs
    method: str
    layer: str = "layer"
    reduce: str = "none"
    seed: int = 0
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.positions)

    def groups(self, by: By) -> Groups:
        """Group the projected inputs, as `Activations.groups` does; one column of the membership per position."""
        return Activations(np.zeros((len(self), 0), dtype=np.float32), self.inputs, rows=self.rows).groups(by)

    def to_xarray(self) -> xarray.Dataset:
        """Return positions and the inputs' ids over the dimension ``input``, the rest as attributes."""
        import xarray

        attrs = {
            "method": self.method,
            "layer": self.layer,
            "reduce": self.reduce,
            "seed": self.seed,
            "provenance": json.dumps(self.provenance, default=str),
        }
        data: dict[str, Any] = {"position": (("input", "axis"), self.positions), "row": (("input",), self.rows)}
        coords: dict[str, Any] = {"axis": ["x", "y"], "id": (("input",), self.inputs.ids[self.rows])}
        return xarray.Dataset(data, coords=coords, attrs=attrs)

    def __repr__(self) -> str:
        where = self.layer if self.reduce == "none" else f"{self.layer}, {self.reduce}"
        return f"Projection({self.method}: {len(self)} inputs of {where}, seed {self.seed})"


def project_inputs(
    acts: Activations, method: Method = "umap", *, n_components: int | None = 50, seed: int = 0
) -> Projection:
    """Lay the inputs of a layer out in the plane, as instance projections beside the maps of groups.

    Euclidean distances of the inputs' scores, so that every neuron counts alike whatever its range. Rows of one input
    (positions, tokens) are averaged first. Above 16,384 inputs nearly all neighbours are right, below all are.

    Parameters
    ----------
    acts
        Activations of one layer. Of very many inputs, take some: ``acts.select(n=5000, balance="label")``.
    method
        ``"umap"`` (McInnes, Healy, Melville 2018), ``"tsne"`` (van der Maaten, Hinton 2008) or ``"pca"``; and the other
        free layouts of `embed`, or instances of them, ``topomap.layout.TSNE(perplexity=10)``.
    n_components
        Principal components of the scores to take distances in, as is usual before t-SNE (Kobak, Berens 2019, doi
        10.1038/s41467-019-13056-x); None for all neurons.
    seed
        The same seed gives the same bytes on the same machine.

    Returns
    -------
    Projection

    Raises
    ------
    ValueError
        If there are fewer than four inputs, or fewer than four that differ; or a method or its parameters make no
        sense.

    References
    ----------
    Inputs per layer by UMAP, coloured by group, stand beside the maps in iNNtrospect, the toolbox of the authors of
    Krug et al. 2023 (arXiv 2204.03528).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> values = np.concatenate([rng.normal(0, 1, (20, 5)), rng.normal(9, 1, (20, 5))])
    >>> projection = project_inputs(Activations.from_array(values), "pca")
    >>> projection
    Projection(pca: 40 inputs of layer, seed 0)
    >>> left = projection.positions[:, 0] < 0
    >>> bool((left == left[0]).sum() == 20 and len(set(left[:20])) == 1)
    True
    """
    instance_of("acts", acts, Activations, "Pass run['layer'], recorded with keep='values'.")
    acts = acts.per_input()
    if n_components is not None:
        at_least("n_components", n_components, 2)
    if acts.n_rows < FEWEST:
        raise ValueError(f"a projection takes at least {FEWEST} inputs; got {acts.n_rows}.")
    inputs = _similar_inputs(acts.scores)
    if (kinds := _kinds(inputs)) < FEWEST:
        raise ValueError(
            f"a projection takes at least {FEWEST} inputs that differ; the {acts.n_rows} inputs of layer "
            f"{acts.layer!r} are copies of {kinds}."
        )
    used = None
    if n_components is not None and n_components < min(acts.n_neurons, acts.n_rows - 1):
        used = int(n_components)
        inputs = _similar_inputs(principal_coordinates(inputs, used).astype(np.float32))
    layout = embed(inputs, method, region="hull", seed=seed)
    assert acts.rows is not None  # set by Activations itself
    return Projection(
        positions=np.array(layout.positions),
        rows=acts.rows,
        inputs=acts.inputs,
        method=layout.method,
        layer=acts.layer,
        reduce=acts.reduce,
        seed=int(seed),
        provenance={
            "parameters": {"method": dict(layout.params), "n_components": used, "seed": int(seed)},
            "n_inputs": acts.n_rows,
            "n_dead": int(acts.dead.sum()),
            "versions": versions(),
            "recording": dict(acts.provenance),
        },
    )


def _similar_inputs(rows: NDArray[np.float32]) -> Similarity:
    """Return what `embed` takes, of inputs in the place of neurons."""
    return Similarity(rows, "euclidean", np.zeros(len(rows), dtype=bool))
