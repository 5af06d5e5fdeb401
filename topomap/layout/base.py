"""Layout, the protocol of its algorithms, and embed()."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from topomap._check import choice, same_length
from topomap.layout import regions
from topomap.layout.regions import Region

if TYPE_CHECKING:
    import xarray

    from topomap.profiles import Profiles
    from topomap.similarity import Similarity

Points = NDArray[np.float64]


@runtime_checkable
class Algorithm(Protocol):
    """What places neurons: parameters in a frozen dataclass, and a call.

    ``similarity`` holds live neurons only, at least four and not all the same; ``init`` is None or the positions of an
    earlier step of a chain, shape ``(n, 2)``; all randomness comes from ``rng``. Returns finite positions in any
    frame, shape ``(n, 2)``. An algorithm that cannot start from an earlier layout says so by a class attribute
    ``chains = False``.
    """

    def __call__(self, similarity: Similarity, init: Points | None, rng: np.random.Generator) -> Points:
        """Return positions, shape ``(n, 2)``."""
        ...


@dataclass(frozen=True, eq=False)
class Layout:
    """Where the neurons of a layer lie in the plane.

    Parameters
    ----------
    positions
        Shape ``(n_neurons, 2)``, in the unit frame [-1, 1]^2 (the unit disc for ``region="disc"``). Positions of
        another frame are accepted: all are then shifted and scaled, alike along both axes, to fill the unit frame.
    region
        What the neurons fill: ``"disc"``, ``"square"``, ``"hexagon"`` (regular, in the unit disc, a side at the
        bottom), only their own ``"hull"``, or a mask: a boolean array of any shape, True inside, the first row at the
        top. A mask is cut to what is True, its longer side spans [-1, 1], and it is kept as a `Region`.
    method
        Name of the method or chain that made it.
    dead
        Which neurons never vary, shape ``(n_neurons,)``; they lie along the bottom until the layout is turned.
    params
        Parameters of the method, such that JSON can hold them.
    seed
        Of the randomness.
    provenance
        Versions and the similarity's provenance.

    Raises
    ------
    ValueError
        If positions are not finite or not of shape ``(n_neurons, 2)``, `dead` has another length, or the region is
        unknown.

    Examples
    --------
    >>> Layout(positions=[[0, 0], [4, 0], [4, 2]], method="by hand").positions
    array([[-1. , -0.5], [ 1. , -0.5], [ 1. ,  0.5]])
    """

    positions: Points
    region: str | Region = "hull"
    method: str = "given"
    dead: NDArray[np.bool_] = None  # type: ignore[assignment]
    params: Mapping[str, Any] = field(default_factory=dict)
    seed: int | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "region", regions.check(self.region))
        positions = np.array(self.positions, dtype=np.float64)
        if positions.ndim != 2 or positions.shape[1] != 2:
            raise ValueError(f"positions must have shape (n_neurons, 2); got {positions.shape}.")
        if not np.isfinite(positions).all():
            bad = np.flatnonzero(~np.isfinite(positions).all(axis=1))
            raise ValueError(f"positions must be finite; those of neurons {bad[:5].tolist()} are not.")
        if not regions.contains(positions, self.region):
            positions = regions.normalise(positions, self.region)
        dead = np.zeros(len(positions), dtype=bool) if self.dead is None else np.array(self.dead, dtype=bool)
        same_length("dead", len(dead), "neuron", len(positions))
        positions.setflags(write=False)
        dead.setflags(write=False)
        object.__setattr__(self, "positions", positions)
        object.__setattr__(self, "dead", dead)
        object.__setattr__(self, "params", _plain(self.params))
        object.__setattr__(self, "provenance", _plain(self.provenance))

    @property
    def n_neurons(self) -> int:
        """Number of neurons, dead ones included."""
        return len(self.positions)

    @property
    def live(self) -> NDArray[np.int64]:
        """Indices of the neurons that are not dead."""
        return np.flatnonzero(~self.dead)

    def align_to(self, other: Layout, profiles: tuple[Profiles, Profiles] | None = None) -> Layout:
        """Turn the layout, and reflect it where that helps, so that neurons lie as close as possible to `other`'s.

        The alignment is rigid: nothing is scaled, and the dead turn with the rest, so that their stretch need no longer
        lie at the bottom. Only turns that keep the region are taken: any for a disc, the 8 symmetries of a square, the
        12 of a hexagon, and of a mask those of the 8 under which it stays the same. A hull turns about the centroid of
        its neurons, and is fitted into the frame again where a corner would leave it.

        Parameters
        ----------
        other
            A layout of the same neurons (of another seed, method, checkpoint), or of others if `profiles` are given.
        profiles
            For layers of different neurons: the profiles of this layout's layer and of the other's, over the same
            groups. Neurons of similar profiles are then brought close, as in Krug et al. 2023.

        Returns
        -------
        Layout
            Its provenance lists the alignment under ``"alignments"``.

        Raises
        ------
        ValueError
            If the layouts are of different numbers of neurons and no profiles are given, or the profiles are of other
            groups or neurons.

        Notes
        -----
        With ``R`` orthogonal, the least of ``sum_ij w_ij |x_i R - y_j|^2`` is the largest ``trace(R.T H)``, where
        ``H = sum_ij w_ij x_i^T y_j`` (Schönemann 1966, doi 10.1007/BF02289451); in the plane its best rotation and best
        reflection have a closed form, which takes the place of the paper's search in steps of 1 degree. Without
        profiles, w is 1 for each neuron that is alive in both; with profiles, it is the correlation of the two
        profiles over the groups where that is positive, 0 elsewhere.

        Examples
        --------
        >>> before = Layout([[1, 0], [0, 0.5], [-1, 0]], region="disc")
        >>> turned = Layout([[0, 1], [-0.5, 0], [0, -1]], region="disc")
        >>> turned.align_to(before).positions.round(9) + 0.0
        array([[ 1. , 0. ], [ 0. , 0.5], [-1. , 0. ]])
        """
        from topomap.layout.align import align

        return align(self, other, profiles)

    def transform(self, similarity_of_new: Similarity, reference: Similarity, perplexity: float = 30) -> Layout:
        """Place other neurons into the layout: new ones, or the same ones of another checkpoint.

        Parameters
        ----------
        similarity_of_new
            Of the neurons to place.
        reference
            Of the neurons of this layout, over the same inputs in the same order, by the same metric.
        perplexity
            Effective number of reference neurons that attract a new one, at most a tenth of them.

        Returns
        -------
        Layout
            Of the new neurons, in the same region. Dead ones take the places of this layout's dead (again from the
            first where there are more), or lie along the bottom.

        Raises
        ------
        ValueError
            If the two similarities cannot be compared (another metric or number of inputs; no features, as of exact
            moments or sparse values; Euclidean), or the reference is not of this layout's neurons.

        Notes
        -----
        A new neuron at x comes to rest where the attraction of t-SNE between it and its nearest reference neurons,
        which stay at their places y, is in balance: at a minimum of ``sum_k p_k log(1 + |x - y_k|^2 / s^2)``, with
        affinities p of the perplexity (van der Maaten, Hinton 2008) and s the spacing of neurons. It starts at the
        weighted median of their places, as median starts are usual (Kobak, Berens 2019,
        doi 10.1038/s41467-019-13056-x; Poličar et al. 2021, doi 10.1007/s10994-021-06043-1). A mean would put a neuron
        that resembles two regions between them, where it resembles none. New neurons do not see each other, so they do
        not spread evenly.

        Examples
        --------
        >>> import numpy as np
        >>> import topomap as tm
        >>> waves = np.sin(np.linspace(0, 6, 40) + np.linspace(0, 9, 100)[:, None])
        >>> even, odd = tm.correlate(waves[:, ::2]), tm.correlate(waves[:, 1::2])
        >>> tm.embed(even, "pca").transform(odd, even)
        Layout(pca: 20 neurons in a disc, seed 0)
        """
        from topomap.layout.transform import transform

        return transform(self, similarity_of_new, reference, perplexity)

    def spread(self, region: Any = "disc") -> Layout:
        """Return the layout with its neurons spread evenly over a region, neighbours kept.

        Geometry alone moves them: pressure evens out their density, then each settles at the centre of what is nearest
        to it. A layout that also looks at the similarity is the chain ``embed(similarity, "umap+spread")``.

        Parameters
        ----------
        region
            ``"disc"``, ``"square"``, ``"hexagon"`` or a mask.

        Returns
        -------
        Layout
            Its method is this one's with ``"+even"``. Dead neurons take the lowest sites.

        Raises
        ------
        ValueError
            If the region is none that can be filled.

        Examples
        --------
        >>> Layout([[0, 0], [1, 0], [1, 1], [9, 9]], method="mine").spread("square")
        Layout(mine+even: 4 neurons in a square)
        """
        from topomap.layout.spread.even import even

        return even(self, region)

    def to_xarray(self) -> xarray.Dataset:
        """Return positions and dead neurons over the dimensions ``neuron`` and ``axis``; the rest as attributes."""
        import xarray

        attrs: dict[str, Any] = {
            "region": str(self.region),
            "method": self.method,
            "params": json.dumps(self.params),
            "provenance": json.dumps(self.provenance),
        }
        if self.seed is not None:
            attrs["seed"] = self.seed
        data: dict[str, Any] = {
            "position": (("neuron", "axis"), np.array(self.positions)),
            "dead": (("neuron",), np.array(self.dead)),
        }
        if isinstance(self.region, regions.Mask):
            data["mask"] = (("row", "column"), np.array(self.region.pixels))
        return xarray.Dataset(data, coords={"axis": ["x", "y"]}, attrs=attrs)

    @classmethod
    def from_xarray(cls, dataset: xarray.Dataset) -> Layout:
        """Return the layout that `to_xarray` described."""
        attrs = dataset.attrs
        return cls(
            positions=dataset["position"].values,
            region=regions.Mask(dataset["mask"].values) if "mask" in dataset else attrs["region"],
            method=attrs["method"],
            dead=dataset["dead"].values.astype(bool),
            params=json.loads(attrs["params"]),
            seed=None if attrs.get("seed") is None else int(attrs["seed"]),
            provenance=json.loads(attrs["provenance"]),
        )

    def save(self, path: str | Path, layer: str, reduce: str = "none") -> None:
        """Write the layout into a run folder, beside the layer it belongs to; one of the same method is replaced."""
        from topomap import store

        store.write_dataset(path, f"layouts/{layer}/{reduce}/{self.method}", self.to_xarray())

    @classmethod
    def load(cls, path: str | Path, layer: str, reduce: str = "none", method: str | None = None) -> Layout:
        """Read a layout from a run folder.

        Raises
        ------
        ValueError
            If the layer has no such layout, or several and no method is given.
        """
        from topomap import store

        under = f"layouts/{layer}/{reduce}"
        found = [name.removeprefix(under).strip("/") for name in store.list_datasets(path, under)]
        if not found:
            raise ValueError(
                f"{path} has no layout of {layer!r} under {reduce!r}; make one with embed() and save() it."
            )
        if method is None and len(found) > 1:
            raise ValueError(f"{layer!r} has several layouts: pass method= one of {', '.join(map(repr, found))}.")
        name = found[0] if method is None else choice("method", method, found)
        return cls.from_xarray(store.read_dataset(path, f"{under}/{name}"))

    def __repr__(self) -> str:
        where = "in their hull" if self.region == "hull" else f"in a {self.region}"
        dead = f", {int(self.dead.sum())} dead" if self.dead.any() else ""
        seed = "" if self.seed is None else f", seed {self.seed}"
        return f"Layout({self.method}: {self.n_neurons} neurons {where}{dead}{seed})"


def _plain(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what JSON would give back, numbers of NumPy as numbers, anything else it cannot hold as its text."""

    def fallback(value: Any) -> Any:
        return value.item() if isinstance(value, np.generic) else repr(value)

    plain: dict[str, Any] = json.loads(json.dumps(dict(values), default=fallback))
    return plain
