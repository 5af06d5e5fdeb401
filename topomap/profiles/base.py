"""Profiles: group means, and what is needed to judge them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap.groups import Key

if TYPE_CHECKING:
    import xarray

Float = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Profiles:
    """Group means of one layer's neurons, and what is needed to judge them.

    Parameters
    ----------
    values
        Means per group after the contrast, in the units of the layer, shape ``(n_groups, n_neurons)``, or ``(n_groups,
        n_places, n_neurons)`` where places are kept. 0 for a group without inputs, whatever the contrast.
    scale
        What one unit of `scaled` is: each neuron's standard deviation over the inputs, shape ``(n_neurons,)``.
    names, keys, by
        The groups, as in `Groups`.
    counts
        Inputs per group, shape ``(n_groups,)``.
    standard_errors
        Of the group means, shape of `values`; NaN for a group of one.
    noise_floor
        Half-width of the pointwise 95 % interval that group maps of shuffled labels would show, shape of `values`.
    contrast, weights
        What the means are shown against: ``"mean"``, ``"none"``, ``"rest"`` or the name of a group.
    dead
        Which neurons never vary, shape ``(n_neurons,)``.
    n_rows
        Number of inputs in all, those of no group among them.
    min_size
        Groups of fewer inputs are `small`: kept, and greyed in figures.
    n_ungrouped
        Number of inputs in no group, because a value is missing in a column, say.
    places
        Which positions or tokens the values are of, shape ``(n_places, n_axes)``, where they are kept.
    place_counts
        Inputs per group that have the place, shape ``(n_groups, n_places)``; they differ where places are masked.
    pooled
        The profiles of each input's mean over its places, where they are kept; see `over_places`.
    place
        The one place that they are of, where they were taken from those of several; see `at_place`.
    layer, reduce
        Which record the profiles were made from.
    preset
        The preset they were made with, None without one; under ``"krug2023"`` `scale` is 1, so that `scaled` are raw
        values.
    provenance
        How they came about: the parameters of `profile`, versions, and the provenance of the recording.

    Examples
    --------
    >>> from topomap.profiles import profile
    >>> from topomap.run import Activations
    >>> acts = Activations.from_array([[0.0, 1.0], [2.0, 1.0], [4.0, 4.0]], label=["a", "a", "b"])
    >>> profiles = profile(acts, by="label")
    >>> profiles.names, profiles.counts.tolist()
    (('a', 'b'), [2, 1])
    >>> profiles.scaled.round(2)
    array([[-0.92, -1.06], [ 0.92,  1.06]])
    """

    values: Float
    scale: Float
    names: tuple[str, ...]
    keys: tuple[Key, ...]
    by: tuple[str, ...]
    counts: NDArray[np.int64]
    standard_errors: Float
    noise_floor: Float
    contrast: str
    weights: str
    dead: NDArray[np.bool_]
    n_rows: int
    layer: str = "layer"
    reduce: str = "none"
    preset: str | None = None
    provenance: Mapping[str, Any] = field(default_factory=dict)
    min_size: int = 5
    n_ungrouped: int = 0
    places: NDArray[np.int64] | None = None
    place_counts: NDArray[np.int64] | None = None
    pooled: Profiles | None = field(default=None, repr=False)
    place: tuple[int, ...] | None = None

    @property
    def n_neurons(self) -> int:
        """Number of neurons."""
        return int(self.values.shape[-1])

    @property
    def small(self) -> NDArray[np.bool_]:
        """Which groups have fewer than `min_size` inputs, shape ``(n_groups,)``."""
        return np.asarray(self.counts < self.min_size)

    @property
    def scaled(self) -> Float:
        """Values in units of `scale`, dead neurons 0."""
        return self._in_scale(self.values)

    @property
    def scaled_noise(self) -> Float:
        """The noise floor in units of `scale`, dead neurons 0."""
        return self._in_scale(self.noise_floor)

    def _in_scale(self, values: Float) -> Float:
        usable = self.scale > 0
        inverse = np.divide(1.0, self.scale, out=np.zeros_like(self.scale), where=usable)
        return np.asarray(values * inverse)

    def over_places(self) -> Profiles:
        """Return the profiles of each input's mean over its places, of two dimensions; themselves if they have none.

        Where every input has every place that is the mean of `values` over places. Standard errors, noise floor and
        scale are those of the inputs' means, which those of single places cannot give.
        """
        if self.places is None:
            return self
        assert self.pooled is not None  # profile() keeps both
        return self.pooled

    def at_place(self, place: int | Sequence[int]) -> Profiles:
        """Return the profiles of one place, of two dimensions, which can be painted as any others.

        Counts are those of the inputs that have the place. The scale stays that of all places, so that maps of
        different places compare.

        Parameters
        ----------
        place
            Its coordinates, as in `places`: ``(row, column)`` of a feature map, ``(position,)`` of a token; or its
            index in `places`.

        Raises
        ------
        ValueError
            If there is no such place, or places were not kept.

        Examples
        --------
        >>> from topomap.profiles import profile
        >>> from topomap.run import Activations, Inputs
        >>> inputs = Inputs([0, 1], {"label": ["a", "b"]})
        >>> rows, places = [0, 0, 1, 1], [[0], [1], [0], [1]]
        >>> values = np.array([[1.0, 0.0], [2.0, 0.0], [3.0, 1.0], [8.0, 4.0]])
        >>> acts = Activations(values, inputs, "fc", "tokens", rows, places)
        >>> profiles = profile(acts, by="label", places=True, min_size=1)
        >>> profiles.at_place(1).values
        array([[-3., -2.],
               [ 3.,  2.]])
        >>> profiles.at_place((1,))
        Profiles(fc, tokens, place 1 by label: a (1), b (1); 2 neurons)
        """
        if self.places is None or self.place_counts is None:
            raise ValueError(
                "these profiles keep no places: make them with tm.profile(acts, by, places=True), of a layer recorded "
                "with reduce='positions', 'tokens' or 'aligned'."
            )
        i = find_place(self.places, place)
        return replace(
            self,
            values=self.values[:, i],
            standard_errors=self.standard_errors[:, i],
            noise_floor=self.noise_floor[:, i],
            counts=self.place_counts[:, i],
            places=None,
            place_counts=None,
            pooled=None,
            place=tuple(self.places[i].tolist()),
        )

    def linkage(self, groups: Sequence[int] | NDArray[Any] | None = None) -> Float:
        """Return the dendrogram of the groups as SciPy's linkage matrix, shape ``(n_groups - 1, 4)``.

        Average linkage of cosine distances with optimal leaf ordering (Bar-Joseph et al. 2001), as in Krug et al. 2023.

        Parameters
        ----------
        groups
            Positions of the groups to link; all by default. They are numbered in the order given.

        Examples
        --------
        >>> from topomap.profiles import profile
        >>> from topomap.run import Activations
        >>> acts = Activations.from_array([[0.0, 1.0], [2.0, 1.0], [4.0, 4.0]], label=["a", "b", "c"])
        >>> profile(acts, by="label").linkage().shape
        (2, 4)
        """
        from scipy.cluster.hierarchy import linkage
        from scipy.spatial.distance import squareform

        rows = self.scaled.reshape(len(self.names), -1)
        rows = rows if groups is None else rows[np.asarray(groups, dtype=np.int64)]
        if len(rows) < 2:
            return np.empty((0, 4))
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
        unit = rows / np.where(norms == 0, 1, norms)
        distance = np.maximum(1 - unit @ unit.T, 0)
        np.fill_diagonal(distance, 0)
        return np.asarray(linkage(squareform(distance, checks=False), "average", optimal_ordering=True))

    def ordered(self, groups: Sequence[int] | NDArray[Any]) -> NDArray[np.int64]:
        """Return positions of groups in the order of the leaves of their own `linkage`; up to two as given."""
        index = np.asarray(groups, dtype=np.int64)
        if len(index) < 3:
            return index
        from scipy.cluster.hierarchy import leaves_list

        return np.asarray(index[leaves_list(self.linkage(index))])

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Positions of the groups along the leaves of their dendrogram, shape ``(n_groups,)``; see `linkage`."""
        return self.ordered(np.arange(len(self.names)))

    def to_xarray(self) -> xarray.Dataset:
        """Return the profiles over the dimensions ``group`` and ``neuron``, and ``place`` where places are kept."""
        import xarray

        dims = ("group", "neuron") if self.places is None else ("group", "place", "neuron")
        data: dict[str, Any] = {
            "values": (dims, self.values),
            "standard_errors": (dims, self.standard_errors),
            "noise_floor": (dims, self.noise_floor),
            "scale": (("neuron",), self.scale),
            "dead": (("neuron",), self.dead),
            "count": (("group",), self.counts),
            "small": (("group",), self.small),
        }
        if self.places is not None:
            data["places"] = (("place", "axis"), self.places)
            data["place_count"] = (("group", "place"), self.place_counts)
        attrs = {name: getattr(self, name) for name in ("layer", "reduce", "contrast", "weights", "n_ungrouped")}
        attrs |= {} if self.place is None else {"place": list(self.place)}
        coords = {"group": np.array(self.names, dtype=object)}
        return xarray.Dataset(data, coords=coords, attrs={**attrs, "by": list(self.by)})

    def __repr__(self) -> str:
        where = self.layer if self.reduce == "none" else f"{self.layer}, {self.reduce}"
        where += "" if self.place is None else f", place {told_place(self.place)}"
        columns, several = self.by, len(self.by) > 1
        if several:  # their names would be a list of lists: the numbers of values and the range of sizes instead
            columns = tuple(f"{name} ({len({key[i] for key in self.keys})})" for i, name in enumerate(self.by))
            low, high = self.counts.min(), self.counts.max()
            groups = f"{len(self.names)} groups of {low}{f' to {high}' if high > low else ''} inputs"
        else:
            groups = ", ".join(f"{n} ({c})" for n, c in zip(self.names[:4], self.counts[:4], strict=True))
            groups += f", ... {len(self.names) - 4} more" if len(self.names) > 4 else ""
        notes = [
            f"{int(self.small.sum())} of fewer than {self.min_size} inputs" if self.small.any() else "",
            f"{self.n_ungrouped} inputs in none" if self.n_ungrouped else "",
            f"{len(self.places)} places" if self.places is not None else "",
            f"{self.n_neurons} neurons",
        ]
        notes = [note for note in notes if note]
        by = f" by {' x '.join(columns)}" if columns else ""
        return f"Profiles({where}{by}: {groups}; {'; '.join(notes)})"


def find_place(places: NDArray[np.int64], place: Any) -> int:
    """Return the index of a place that is given by its index or by its coordinates.

    Raises
    ------
    ValueError
        Naming the places that there are.

    Examples
    --------
    >>> grid = np.array([[0, 0], [0, 1], [1, 0], [1, 1]])
    >>> find_place(grid, (1, 0)), find_place(grid, 3)
    (2, 3)
    >>> find_place(grid, (2, 0))
    Traceback (most recent call last):
        ...
    ValueError: place must be one of the 4 places (0, 0) to (1, 1); got (2, 0).
    """
    n, index = len(places), f", or the index of one, 0 to {len(places) - 1}"
    if isinstance(place, int | np.integer):
        if 0 <= place < n:
            return int(place)
    elif not isinstance(place, str):
        given = np.asarray(place)
        same = (places == given).all(axis=1) if given.shape == places.shape[1:] else np.zeros(n, dtype=bool)
        if same.any():
            return int(np.argmax(same))
        if given.ndim == 1:
            place, index = tuple(given.tolist()), ""
    box = int(np.prod(places.max(axis=0) - places.min(axis=0) + 1))
    whole = f"the {n} places {told_place(places[0].tolist())} to {told_place(places[-1].tolist())}"
    some = whole if box == n else f"{', '.join(told_place(each) for each in places[:20].tolist())}"
    more = f", ... ({n - 20} more)" if box != n and n > 20 else ""
    raise ValueError(f"place must be one of {some}{more}{index}; got {place!r}.")


def told_place(place: Sequence[int]) -> str:
    """Return coordinates as text.

    Examples
    --------
    >>> told_place((3,)), told_place((0, 2))
    ('3', '(0, 2)')
    """
    return str(place[0]) if len(place) == 1 else str(tuple(place))
