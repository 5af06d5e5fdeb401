"""How alike the neurons of a layer are: correlate() and the similarity it returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap import _compute, _sparse
from topomap._check import at_least, choice, listing, warn, whole_number
from topomap._sparse import Coactivity
from topomap.run import Activations, Moments, Run, versions

if TYPE_CHECKING:
    import xarray

    from topomap.profiles import Profiles

Float = NDArray[np.float32]

METRICS = ("pearson", "spearman", "cosine", "jaccard", "euclidean")


@dataclass(frozen=True, eq=False)
class Similarity:
    """Similarity between neurons, kept as rows whose geometry is the metric's.

    Correlations and cosines are dot products of unit rows, so nothing of size neurons x neurons exists until
    `matrix` or `distance` is called.

    Parameters
    ----------
    features
        Shape ``(n_neurons, n_features)``: unit rows, or centred raw rows for ``"euclidean"``. None where only a
        matrix is known (exact cross products kept by moments), or `coactivity`.
    metric
        ``"pearson"``, ``"spearman"``, ``"cosine"``, ``"jaccard"`` or ``"euclidean"``.
    absolute
        Whether opposite neurons count as alike: distance ``1 - |r|``.
    dead
        Which neurons never vary, shape ``(n_neurons,)``; they resemble none.
    given
        The matrix of similarities (of distances for ``"euclidean"``) where there are no rows.
    coactivity
        What stands for features where values are sparse, or the metric is Jaccard's.
    provenance
        Source, parameters and versions.

    Examples
    --------
    >>> similarity = correlate([[0.0, 1.0, 0.0], [1.0, 0.0, 1.0], [2.0, -1.0, 3.0]])
    >>> index, distance = similarity.neighbors(1)
    >>> index[:, 0].tolist(), distance[:, 0].round(3)
    ([2, 2, 0], array([0.018, 1.982, 0.018], dtype=float32))
    """

    features: Float | None
    metric: str
    dead: NDArray[np.bool_]
    absolute: bool = False
    given: Float | None = None
    coactivity: Coactivity | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def n_neurons(self) -> int:
        """Number of neurons, dead ones included."""
        return len(self.dead)

    def matrix(self) -> Float:
        """Return all similarities, shape ``(n_neurons, n_neurons)``.

        Correlations (absolute ones with ``absolute``) with a diagonal of 1; for ``"euclidean"`` the negative distances.
        Of sparse values a ValueError above 2**28 entries (16,384 neurons).
        """
        if self.metric == "euclidean":
            out = self.distance()
            return np.negative(out, out=out)
        if self.coactivity is not None:
            way_out = "Use neighbors(k), or distance_block(start, stop) for some rows at a time."
            _sparse.refuse_dense("the matrix of sparse neurons", self.n_neurons, self.n_neurons, way_out)
            out = self.coactivity.block(0, self.n_neurons)
        elif self.features is None:
            assert self.given is not None
            out = self.given.copy()
        else:
            out = _compute.gram(self.features)
        np.clip(out, -1, 1, out=out)
        if self.absolute:
            np.abs(out, out=out)
        np.fill_diagonal(out, 1)
        return out

    def distance(self) -> Float:
        """Return all distances, shape ``(n_neurons, n_neurons)``: ``1 - r``, ``1 - |r|`` or Euclidean."""
        if self.metric == "euclidean":
            out = self.distance_block(0, self.n_neurons)
        else:
            out = self.matrix()
            np.subtract(1, out, out=out)
        np.fill_diagonal(out, 0)
        return out

    def distance_block(self, start: int, stop: int) -> Float:
        """Return distances of neurons ``start:stop`` to all, shape ``(stop - start, n_neurons)``."""
        if self.coactivity is not None:
            block = self.coactivity.block(start, stop)
        elif self.features is None:
            assert self.given is not None
            block = self.given[start:stop].copy()
            if self.metric == "euclidean":
                return block
        elif self.metric == "euclidean":
            return _compute.euclidean_block(self.features, self._squares, start, stop)
        else:
            block = self.features[start:stop] @ self.features.T
        if self.absolute:
            np.abs(block, out=block)
        np.subtract(1, block, out=block)
        return np.asarray(np.maximum(block, 0, out=block))

    def neighbors(self, k: int) -> tuple[NDArray[np.int64], Float]:
        """Find each neuron's nearest neurons.

        Exact, from blocks of distances, up to 16,384 neurons, and above where torch sees a GPU; else nearly all of them
        are right, from sketches of the rows and cells (an inverted file: Jégou, Douze, Schmid 2011, doi
        10.1109/TPAMI.2010.57), with exact distances. Of sparse values always exact, from sparse products:
        neurons that are never active together with one come last, as a fixed random draw among them where all are at
        distance 1.

        Parameters
        ----------
        k
            How many, at most ``n_neurons - 1``.

        Returns
        -------
        indices, distances
            Both of shape ``(n_neurons, k)``, nearest first; a neuron is not its own neighbour.
        """
        whole_number("k", k, 1)
        if k >= self.n_neurons:
            raise ValueError(f"k must be below the number of neurons, {self.n_neurons}; got {k}.")
        if self.coactivity is not None and self.coactivity.sparse:
            return self.coactivity.nearest(k, self.absolute)
        if self.features is None or self.n_neurons <= _compute.EXACT_NEIGHBORS:
            return _compute.nearest(self.distance_block, self.n_neurons, k)
        from topomap._compute.search import approximate_nearest

        metric = "euclidean" if self.metric == "euclidean" else "cosine"
        return approximate_nearest(self.features, k, metric, self.absolute)

    def take(self, neurons: NDArray[Any]) -> Similarity:
        """Return the similarity among some neurons (a mask or indices)."""
        index = np.flatnonzero(neurons) if np.asarray(neurons).dtype == bool else np.asarray(neurons)
        return replace(
            self,
            features=None if self.features is None else self.features[index],
            given=None if self.given is None else self.given[np.ix_(index, index)],
            coactivity=None if self.coactivity is None else self.coactivity.take(index),
            dead=self.dead[index],
        )

    @cached_property
    def _squares(self) -> Float:
        assert self.features is not None
        return np.asarray(np.einsum("ij,ij->i", self.features, self.features))

    def to_xarray(self) -> xarray.Dataset:
        """Return features (or the matrix) over the dimension ``neuron``."""
        import xarray

        data: dict[str, Any] = {"dead": (("neuron",), self.dead)}
        if self.features is not None:
            data["features"] = (("neuron", "feature"), self.features)
        if self.given is not None:
            data["given"] = (("neuron", "other"), self.given)
        if self.coactivity is not None:
            data |= self.coactivity.variables()
        return xarray.Dataset(data, attrs={"metric": self.metric, "absolute": self.absolute})

    def __repr__(self) -> str:
        size = "exact matrix" if self.features is None else f"{self.features.shape[1]} features"
        if self.coactivity is not None:
            size = f"{self.coactivity.rows.shape[1]} inputs, {100 * self.coactivity.density:.2g} % active"
        sign = "absolute " if self.absolute else ""
        return f"Similarity({sign}{self.metric}: {self.n_neurons} neurons, {int(self.dead.sum())} dead, {size})"


def correlate(
    source: Activations | Moments | Profiles | NDArray[Any],
    metric: str | None = None,
    absolute: bool = False,
    preset: str | None = None,
) -> Similarity:
    """Measure how alike neurons are.

    Parameters
    ----------
    source
        Activations (their rows are the observations), moments, profiles (the groups are the observations, or every
        place of every group where places are kept), or an array, sparse or not, of shape ``(n_inputs, n_neurons)``.
    metric
        ``"pearson"`` (the default), ``"spearman"``, ``"cosine"``, ``"jaccard"`` (the inputs on which both are active,
        that is above 0, over those on which either is; Jaccard 1901, doi 10.5169/seals-266450), or ``"euclidean"``
        (distance of raw values). Of sparse values all but ``"spearman"`` and ``"euclidean"``.
    absolute
        Count opposite neurons as alike: distance ``1 - |r|``. Not with ``"euclidean"`` and ``"jaccard"``.
    preset
        ``"krug2023"``: cosine distance between the neurons' values over the group profiles, as in Krug et al. 2023
        (arXiv 2204.03528, section 3.2); the source must be profiles. A metric that is given goes first.

    Returns
    -------
    Similarity

    Raises
    ------
    ValueError
        If the metric is unknown or cannot be computed from what was kept, or a value is not finite.

    Examples
    --------
    >>> similarity = correlate([[0.0, 1.0, 5.0], [1.0, 0.0, 5.0], [2.0, -1.0, 5.0]])
    >>> similarity
    Similarity(pearson: 3 neurons, 1 dead, 3 features)
    >>> similarity.matrix().round(3) + 0.0
    array([[ 1., -1.,  0.], [-1.,  1.,  0.], [ 0.,  0.,  1.]], dtype=float32)
    """
    from topomap.profiles import Profiles

    _refuse_run(source)
    if preset is not None:
        choice("preset", preset, ("krug2023",))
        if not isinstance(source, Profiles):
            raise ValueError("preset='krug2023' compares neurons by their profiles: pass correlate(tm.profile(...)).")
    metric = metric if metric is not None else "pearson" if preset is None else "cosine"
    choice("metric", metric, METRICS)
    if absolute and metric in ("euclidean", "jaccard"):
        raise ValueError(f"absolute=True needs metric='pearson', 'spearman' or 'cosine'; got {metric!r}.")
    provenance: dict[str, Any] = {
        "metric": metric, "absolute": absolute, "preset": preset, "source": repr(source), "versions": versions()
    }  # fmt: skip
    if isinstance(source, Moments):
        provenance |= {"layer": source.layer, "reduce": source.reduce, "n_rows": source.n_rows}
        return _from_moments(source, metric, absolute, provenance)
    if isinstance(source, Profiles):
        table = source.values
        what = "groups"
        if source.place_counts is not None:  # a place that no input of a group has is no observation
            table, what = table[source.place_counts > 0], "places of groups"
        few = "profile more groups or correlate the activations instead"
        if len(table) < 3 and metric in ("pearson", "spearman"):
            warn(f"correlations over {len(table)} {what} are all -1, 0 or 1: {few}.")
        provenance |= {"layer": source.layer, "reduce": source.reduce, "by": list(source.by)}
        source = Activations.from_array(table, layer=source.layer)
    elif isinstance(source, Activations):
        provenance |= {"layer": source.layer, "reduce": source.reduce}
    else:
        provenance["source"] = "array"
        source = Activations.from_array(source)
    at_least("the number of rows to correlate over", source.n_rows, 1)
    provenance["n_rows"] = source.n_rows
    if source.sparse or metric == "jaccard":
        pairs = _coactivity(source, metric)
        dead = source.dead | (pairs.level == 0) if metric == "jaccard" else source.dead
        return Similarity(None, metric, dead, absolute, None, pairs, provenance)
    return Similarity(_rows(source, metric), metric, source.dead, absolute, None, None, provenance)


def _refuse_run(source: Any) -> None:
    if isinstance(source, Run):
        raise ValueError(f"correlate takes one layer of a run: pass run[layer] with one of {listing(source)}.")


def _coactivity(acts: Activations, metric: str) -> Coactivity:
    """Compare neurons through what is active together, as sparse values and Jaccard's measure ask for."""
    if metric not in _sparse.MEASURES:
        raise ValueError(
            f"metric={metric!r} does not keep sparse values sparse: use one of {listing(_sparse.MEASURES)}, or pass "
            f"few enough neurons as an array: correlate(acts.values[:, :1000].toarray(), metric={metric!r})."
        )
    dead = acts.dead  # raises if a value is not finite
    if acts.sparse:
        return _sparse.coactivity(acts.values[:], metric, acts.mean, acts.std, dead)
    active = np.empty((acts.n_rows, acts.n_neurons), dtype=bool)
    for where, block in acts.blocks():
        active[where] = block > 0
    return _sparse.coactivity(active, metric, acts.mean, acts.std, dead)


def _rows(acts: Activations, metric: str) -> Float:
    """Transpose the values and normalise them as the metric asks, holding one array of their size."""
    dead = acts.dead  # raises if a value is not finite
    rows = np.empty((acts.n_neurons, acts.n_rows), dtype=np.float32)
    center = {"pearson": acts.mean, "spearman": (acts.n_rows + 1) / 2}.get(metric, 0.0)
    if metric == "spearman":
        from scipy.stats import rankdata

        step = _compute.block_rows(acts.n_rows)
        for start in range(0, acts.n_neurons, step):
            part = np.asarray(acts.values[:, start : start + step])
            rows[start : start + step] = (rankdata(part, axis=0) - center).T
    else:
        for where, block in acts.blocks():
            rows[:, where] = (block - center).T if metric == "pearson" else block.T
    if metric == "euclidean":
        rows -= rows.mean(axis=0, dtype=np.float64).astype(np.float32)  # distances stay; large offsets cancel
        return rows
    rows[dead] = 0
    _compute.normalize_rows(rows)
    return rows


def _from_moments(moments: Moments, metric: str, absolute: bool, provenance: dict[str, Any]) -> Similarity:
    if metric in ("spearman", "jaccard"):
        raise ValueError(
            f"metric={metric!r} cannot be computed from moments: record with keep='values', or use metric='pearson'."
        )
    dead = moments.dead
    weight = np.sqrt(moments.count) * moments.mean[:, None]
    if moments.sketch is not None:
        rows = np.array(moments.sketch, dtype=np.float32)
        if metric != "pearson":  # what centring took away lies along one further direction
            rows = np.concatenate([rows, weight.astype(np.float32)], axis=1)
        if metric == "euclidean":
            rows -= rows.mean(axis=0, dtype=np.float64).astype(np.float32)
        else:
            rows[dead] = 0
            _compute.normalize_rows(rows)
        return Similarity(rows, metric, dead, absolute, None, None, provenance)
    if moments.covariance is None:
        raise ValueError("these moments hold neither covariance nor sketch: record them again with keep='moments'.")
    products = np.asarray(moments.covariance) * max(moments.count - 1, 0)
    if metric == "euclidean":
        squares = np.diag(products)
        gaps = squares[:, None] + squares - 2 * products + (weight - weight.T) ** 2
        return Similarity(None, metric, dead, False, np.sqrt(np.maximum(gaps, 0)).astype(np.float32), None, provenance)
    if metric == "cosine":
        products = products + weight * weight.T
    scale = np.sqrt(np.diag(products)) * ~dead
    inverse = np.divide(1, scale, out=np.zeros_like(scale), where=scale > 0)
    given = (products * inverse[:, None] * inverse).astype(np.float32)
    return Similarity(None, metric, dead, absolute, given, None, provenance)
