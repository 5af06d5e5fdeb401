"""Surface: painting as one sparse matrix from neuron values to pixels."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from scipy.spatial import Delaunay, QhullError, cKDTree
from threadpoolctl import threadpool_limits

from topomap._check import choice, instance_of, whole_number
from topomap.layout import Layout, regions
from topomap.layout.regions import Region

if TYPE_CHECKING:
    import xarray

INTERPOLATIONS = ("linear", "nearest")
EXTRAPOLATIONS = ("none", "mean", "zero")

_WAY_OUT = "Make one with tm.embed(...), or from positions with tm.Layout(positions)."


@dataclass(frozen=True, eq=False)
class Surface:
    """The linear operator that paints values of neurons over their layout.

    Interpolation over a fixed layout is linear in the values, so it is built once, as a sparse matrix, and painting
    any number of maps is one product.

    Parameters
    ----------
    layout
        Where the neurons are. Dead neurons take no part.
    region
        ``"disc"``, ``"square"``, ``"hexagon"``, a mask (as of `Layout`) or ``"hull"`` (of the live neurons); that of
        the layout by default.
    resolution
        Pixels along each side of the frame [-1, 1]^2.
    interpolation
        ``"linear"`` over the Delaunay triangles of the neurons (as in Krug et al. 2023), or ``"nearest"``, which
        shows single neurons.
    extrapolate
        What fills the region outside the neurons' hull: ``"none"`` leaves it empty. As in EEG software (MNE-Python's
        ``plot_topomap``), ``"mean"`` sets points around the region to the mean of their neighbours and ``"zero"`` to 0.
        With ``"nearest"`` either of the two fills the region.

    Attributes
    ----------
    operator
        Sparse, shape ``(resolution**2, n_neurons)``; rows of pixels that are not painted are empty.
    mask
        Which pixels are painted, shape ``(resolution, resolution)``.

    Raises
    ------
    ValueError
        If the layout is none, an option is unknown, or no neuron is alive.

    Examples
    --------
    >>> layout = Layout(positions=[[-1, -1], [1, -1], [1, 1], [-1, 1]], region="square")
    >>> surface = Surface(layout, resolution=2)
    >>> surface([0.0, 1.0, 2.0, 1.0])
    array([[1. , 1.5], [0.5, 1. ]], dtype=float32)

    Notes
    -----
    Neurons at the very same place share it: the mean of their values is painted. Fewer than three places, or places
    on one line, have no triangles and are painted as ``"nearest"``, over the whole region.
    """

    layout: Layout
    region: str | Region | NDArray[np.bool_] | None = None
    resolution: int = 100
    interpolation: str = "linear"
    extrapolate: str = "none"
    operator: sparse.csr_array = field(init=False, repr=False)
    mask: NDArray[np.bool_] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        instance_of("layout", self.layout, Layout, _WAY_OUT)
        region = self.layout.region if self.region is None else regions.check(self.region)
        object.__setattr__(self, "region", region)
        choice("interpolation", self.interpolation, INTERPOLATIONS)
        choice("extrapolate", self.extrapolate, EXTRAPOLATIONS)
        whole_number("resolution", self.resolution, 2)
        if not len(self.layout.live):
            raise ValueError("every neuron of the layout is dead: there is nothing to paint.")
        operator, painted = self._build()
        object.__setattr__(self, "operator", operator)
        object.__setattr__(self, "mask", painted.reshape(self.resolution, self.resolution))

    @classmethod
    def of(cls, layout: Layout, **options: Any) -> Surface:
        """Return the surface of a layout, built at its first use and kept as long as the layout."""
        instance_of("layout", layout, Layout, _WAY_OUT)
        built: dict[Any, Surface] = vars(layout).setdefault("_surfaces", {})  # so that they die together
        if options.get("region") is not None:
            options["region"] = regions.check(options["region"])  # a mask as an array is no key
        key = tuple(sorted(options.items()))
        if key not in built:
            built[key] = cls(layout, **options)
        return built[key]

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of the picture, for ``imshow``."""
        return (-1.0, 1.0, -1.0, 1.0)

    @cached_property
    def filled(self) -> bool:
        """Whether neurons (dead ones count) lie all over the region: at most 5 % of it is over a spacing away."""
        inside = self.pixels[self._in_region()]
        spacing = np.sqrt(4 * len(inside) / len(self.pixels) / self.layout.n_neurons)
        distance, _ = cKDTree(self.layout.positions).query(inside)
        return self._shape is not None and float(np.mean(distance <= spacing)) >= 0.95

    @cached_property
    def _shape(self) -> Region | None:
        """The region where it has a shape of its own; the hull is where the triangles are."""
        return regions.shape_of(self.region)

    @cached_property
    def pixels(self) -> NDArray[np.float64]:
        """Centres of the pixels, row by row from the top left, shape ``(resolution**2, 2)``."""
        steps = (2 * np.arange(self.resolution) + 1) / self.resolution - 1
        x, y = np.meshgrid(steps, -steps)
        return np.column_stack([x.ravel(), y.ravel()])

    def __call__(self, values: Any) -> NDArray[np.float32]:
        """Paint values.

        Parameters
        ----------
        values
            Shape ``(n_neurons,)`` or ``(n_maps, n_neurons)``. Values of dead neurons are not read.

        Returns
        -------
        ndarray
            float32, shape ``(resolution, resolution)`` or ``(n_maps, resolution, resolution)``; the first row is the
            top; NaN where nothing is painted.

        Raises
        ------
        ValueError
            If the shape is another one, or a live neuron has NaN or an infinite value.
        """
        with np.errstate(over="ignore"):  # refused below
            array = np.asarray(values, dtype=np.float32)
        if array.ndim not in (1, 2) or array.shape[-1] != self.layout.n_neurons:
            raise ValueError(
                f"values must have shape (n_neurons,) or (n_maps, n_neurons) with {self.layout.n_neurons} neurons; "
                f"got {array.shape}."
            )
        table = np.ascontiguousarray(np.atleast_2d(array).T)
        if len(self.layout.live) < self.layout.n_neurons:
            table = table[self.layout.live]
        if not np.isfinite(table).all():
            wrong = self.layout.live[~np.isfinite(table).all(axis=1)]
            raise ValueError(
                "values of live neurons must be finite numbers in the range of float32; "
                f"got others for {len(wrong)} of {len(table)} neurons, neuron {wrong[0]} first. "
                "Replace them, or mark these neurons as dead= in the layout."
            )
        painted = self._live_operator @ table
        painted[self._unpainted] = np.nan
        maps = np.moveaxis(painted.reshape(self.resolution, self.resolution, -1), 2, 0)
        return np.asarray(maps[0] if array.ndim == 1 else maps)

    @cached_property
    def _live_operator(self) -> sparse.csr_array:
        live = sparse.csr_array(self.operator[:, self.layout.live])
        # half the bytes to read per weight: scipy chooses 64-bit indices for some products, whatever their size
        index = (live.indices.astype(np.int32), live.indptr.astype(np.int32))
        return sparse.csr_array((live.data, *index), shape=live.shape)

    @cached_property
    def _unpainted(self) -> NDArray[np.int64]:
        return np.flatnonzero(~self.mask.ravel())

    def _build(self) -> tuple[sparse.csr_array, NDArray[np.bool_]]:
        live = self.layout.live
        places, which = np.unique(self.layout.positions[live], axis=0, return_inverse=True)
        share = 1.0 / np.bincount(which)
        averaging = sparse.csr_array(
            (share[which], (which, live)), shape=(len(places), self.layout.n_neurons)
        )  # places x neurons: neurons at one place are averaged
        inside = np.flatnonzero(self._in_region())
        found = self._linear(places, inside) if self.interpolation == "linear" else None
        weights, pixels = self._nearest(places, inside) if found is None else found
        operator = sparse.csr_array(weights @ averaging).astype(np.float32)
        operator.sort_indices()
        painted = np.zeros(len(self.pixels), dtype=bool)
        painted[pixels] = True
        return operator, painted

    def _in_region(self) -> NDArray[np.bool_]:
        return np.ones(len(self.pixels), dtype=bool) if self._shape is None else self._shape.contains(self.pixels)

    def _linear(
        self, places: NDArray[np.float64], inside: NDArray[np.int64]
    ) -> tuple[sparse.csr_array, NDArray[np.int64]] | None:
        """Weights of places per pixel, and the pixels painted; None where there are no triangles."""
        triangles = _triangles(places)
        if triangles is None:
            return None
        lift = sparse.eye_array(len(places), format="csr")
        if self.extrapolate != "none" and self._shape is not None:
            triangles, lift = self._surround(places, self._shape)
        simplex = triangles.find_simplex(self.pixels[inside])
        found = simplex >= 0
        pixels, simplex = inside[found], simplex[found]
        corner = triangles.transform[simplex, 2]
        first = np.einsum("nij,nj->ni", triangles.transform[simplex, :2], self.pixels[pixels] - corner)
        barycentric = np.column_stack([first, 1 - first.sum(axis=1)])
        index = (np.repeat(pixels, 3), triangles.simplices[simplex].ravel())
        shape = (len(self.pixels), len(triangles.points))
        return sparse.csr_array((barycentric.ravel(), index), shape=shape) @ lift, pixels

    def _nearest(
        self, places: NDArray[np.float64], inside: NDArray[np.int64]
    ) -> tuple[sparse.csr_array, NDArray[np.int64]]:
        triangles = _triangles(places)
        if triangles is not None and (self.extrapolate == "none" or self._shape is None):
            inside = inside[triangles.find_simplex(self.pixels[inside]) >= 0]
        _, place = cKDTree(places).query(self.pixels[inside])
        weights = sparse.csr_array((np.ones(len(inside)), (inside, place)), shape=(len(self.pixels), len(places)))
        return weights, inside

    def _surround(self, places: NDArray[np.float64], shape: Region) -> tuple[Delaunay, sparse.csr_array]:
        """Add points around the region; return all triangles and the operator that gives their corners values."""
        spacing = np.sqrt(shape.area / len(places))
        border = shape.border(min(0.8 * spacing, 0.4))
        # just outside: pixels at the rim lie within, and neurons on the rim are not covered
        ring = border + 0.5 * spacing * shape.normal(border)
        ring = ring[shape.depth(ring) < -0.25 * spacing]  # not in another piece beyond a narrow gap
        n = len(ring)
        triangles = _delaunay(np.concatenate([places, ring]))
        identity = sparse.eye_array(len(places), format="csr")
        if self.extrapolate == "zero":
            return triangles, sparse.csr_array(sparse.vstack([identity, sparse.csr_array((n, len(places)))]))
        start, neighbors = triangles.vertex_neighbor_vertices
        rows, columns = [], []
        for i in range(n):
            near = neighbors[start[len(places) + i] : start[len(places) + i + 1]]
            near = near[near < len(places)]
            if not len(near):  # it sees only its fellows on the ring
                near = cKDTree(places).query(ring[i], k=[1])[1]
            rows.append(np.full(len(near), i))
            columns.append(near)
        index = (np.concatenate(rows), np.concatenate(columns))
        border = sparse.csr_array((np.ones(len(index[0])), index), shape=(n, len(places)))
        border = sparse.diags_array(1 / border.sum(axis=1)) @ border
        return triangles, sparse.csr_array(sparse.vstack([identity, border]))

    def to_xarray(self) -> xarray.Dataset:
        """Return the operator's entries as a data set over the dimension ``entry``."""
        import xarray

        entries = self.operator.tocoo()
        data = {
            "pixel": (("entry",), entries.coords[0]),
            "neuron": (("entry",), entries.coords[1]),
            "weight": (("entry",), entries.data),
        }
        names = ("resolution", "interpolation", "extrapolate")
        attrs = {"region": str(self.region), **{name: getattr(self, name) for name in names}}
        return xarray.Dataset(data, attrs=attrs)

    def __repr__(self) -> str:
        size = f"{self.resolution} x {self.resolution} pixels, {int(self.mask.sum())} painted"
        return f"Surface({self.region}: {self.layout.n_neurons} neurons to {size}; {self.interpolation})"


def _triangles(places: NDArray[np.float64]) -> Delaunay | None:
    if len(places) < 3:
        return None
    try:
        return _delaunay(places)
    except QhullError:  # all on one line
        return None


def _delaunay(places: NDArray[np.float64]) -> Delaunay:
    """Return triangles with their barycentric transforms.

    The transforms are thousands of tiny LAPACK calls. OpenBLAS may wake its threads for each, and where other
    processes keep the cores busy that takes seconds instead of milliseconds: one thread it is.
    """
    triangles = Delaunay(places)
    with threadpool_limits(1, user_api="blas"):
        _ = triangles.transform
    return triangles
