"""link_patterns(): which patterns of two layers or checkpoints hold the same inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import choice, instance_of, listing, whole_number
from topomap.patterns.base import Patterns
from topomap.patterns.enrichment import adjusted
from topomap.run import versions

if TYPE_CHECKING:
    import xarray

Int = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Link:
    """What pattern `a` of one layer and pattern `b` of the next share (-1: noise).

    Parameters
    ----------
    step
        0 between the first and the second layer, and so on.
    a, b
        The patterns, among ``n_a`` and ``n_b`` inputs of them that both layers have.
    shared
        Inputs in both.
    share_a, share_b
        The same as a share of `a` and of `b`.
    jaccard
        Shared inputs over inputs in either.
    expected
        Inputs that independent patterns of these sizes would share on average.
    p, q
        Of so many or more by chance (hypergeometric), and after Benjamini and Hochberg over all pairs of all steps.
    """

    step: int
    a: int
    b: int
    n_a: int
    n_b: int
    shared: int
    share_a: float
    share_b: float
    jaccard: float
    expected: float
    p: float
    q: float

    @property
    def noise(self) -> bool:
        """Whether one of the two is noise: a link that tells where inputs went, and not one of two patterns."""
        return self.a < 0 or self.b < 0


@dataclass(frozen=True, eq=False)
class PatternLinks:
    """Links of the patterns of layers (or checkpoints) in sequence; what `link_patterns` returns.

    Parameters
    ----------
    names
        Of the layers or checkpoints, in their order.
    links
        One `Link` for every pair of neighbouring layers' patterns that share an input, noise included; by step, the
        largest Jaccard index first.
    n_shared
        Inputs that both layers of a step have, by which links are counted; one per step.
    n_only
        Inputs that only the former, and only the latter of them has; one pair per step.
    n_tests
        Pairs that the false discovery rate is over: those that share nothing included.
    provenance
        How they came about.

    Examples
    --------
    >>> import topomap as tm
    >>> rng = np.random.default_rng(0)
    >>> values = np.concatenate([rng.normal(3, 0.3, (40, 4)), rng.normal(-3, 0.3, (40, 4))])
    >>> steps = {f"epoch {i}": tm.Activations.from_array(i * values) for i in (1, 2, 3)}
    >>> links = tm.link_patterns({name: tm.find_patterns(a, min_cluster_size=20) for name, a in steps.items()})
    >>> [(link.step, link.b, link.jaccard) for link in links.follow(0)]
    [(0, 0, 1.0), (1, 0, 1.0)]
    """

    names: tuple[str, ...]
    links: tuple[Link, ...] = field(repr=False)
    n_shared: tuple[int, ...]
    n_only: tuple[tuple[int, int], ...]
    n_tests: int
    provenance: Mapping[str, Any] = field(default_factory=dict)

    def of(self, step: int = 0, noise: bool = False) -> tuple[Link, ...]:
        """Return the links of one step, those with noise on request."""
        choice("step", step, tuple(range(len(self.names) - 1)))
        return tuple(link for link in self.links if link.step == step and (noise or not link.noise))

    def best(self, k: int, step: int = 0) -> Link | None:
        """Return the link of pattern `k` to the pattern of the next layer with the largest Jaccard index, if any."""
        return next((link for link in self.of(step) if link.a == k), None)

    def follow(self, k: int) -> tuple[Link, ...]:
        """Follow pattern `k` of the first layer by best links, as far as there are any."""
        path: list[Link] = []
        for step in range(len(self.names) - 1):
            link = self.best(k, step)
            if link is None:
                break
            path.append(link)
            k = link.b
        return tuple(path)

    @property
    def table(self) -> tuple[Link, ...]:
        """All links, those with noise included."""
        return self.links

    def to_xarray(self) -> xarray.Dataset:
        """Return the links over ``link``, and counts of inputs over ``step``."""
        import xarray

        data: dict[str, Any] = {
            name: (("link",), np.array([getattr(link, name) for link in self.links])) for name in Link.__slots__
        }
        data["from"] = (("link",), np.array([self.names[link.step] for link in self.links], dtype=object))
        data["to"] = (("link",), np.array([self.names[link.step + 1] for link in self.links], dtype=object))
        data["n_shared"] = (("steps",), np.array(self.n_shared))
        data["n_only"] = (("steps", "side"), np.array(self.n_only).reshape(-1, 2))
        return xarray.Dataset(data, {"layer": list(self.names)}, {"n_tests": self.n_tests})

    def __len__(self) -> int:
        return len(self.links)

    def __repr__(self) -> str:
        links = sum(not link.noise for link in self.links)
        n = self.n_shared[0] if len(set(self.n_shared)) == 1 else f"{min(self.n_shared)} to {max(self.n_shared)}"
        return f"PatternLinks({' -> '.join(self.names)}: {links} links of patterns over {n} inputs)"


def link_patterns(
    a: Patterns | Sequence[Patterns] | Mapping[Any, Patterns], b: Patterns | None = None, min_shared: int = 1
) -> PatternLinks:
    """Link patterns that hold the same inputs, across layers or checkpoints.

    Inputs are matched by their ids. Those that only one layer has are left out and counted. Noise is linked too, so
    that the links of a pattern add up to all of it, but it is no pattern: `Link.noise` says so, and `PatternLinks.of`,
    `best` and `follow` pass over it.

    Parameters
    ----------
    a
        The patterns of one layer, with `b`; or those of several in their order: a list, or a mapping by name, as
        `find_patterns` gives for a run.
    b
        The patterns of another layer or checkpoint.
    min_shared
        Leave out links of fewer inputs.

    Returns
    -------
    PatternLinks

    Raises
    ------
    ValueError
        If there are fewer than two, an id occurs twice, or neighbouring layers have no input in common.

    Examples
    --------
    >>> import topomap as tm
    >>> rng = np.random.default_rng(0)
    >>> values = np.concatenate([rng.normal(3, 0.3, (40, 4)), rng.normal(-3, 0.3, (40, 4))])
    >>> conv = tm.find_patterns(tm.Activations.from_array(values, layer="conv"), min_cluster_size=20)
    >>> fc = tm.find_patterns(tm.Activations.from_array(-values, layer="fc"), min_cluster_size=20)
    >>> links = link_patterns(conv, fc)
    >>> links
    PatternLinks(conv -> fc: 2 links of patterns over 80 inputs)
    >>> links.best(0).jaccard
    1.0
    """
    whole_number("min_shared", min_shared, 1)
    named = _sequence(a, b)
    names = tuple(name for name, _ in named)
    found: list[Link] = []
    shared: list[int] = []
    only: list[tuple[int, int]] = []
    n_tests = 0
    for step, ((name_a, one), (name_b, other)) in enumerate(pairwise(named)):
        here, there = _common(one, other, name_a, name_b)
        shared.append(len(here))
        only.append((one.n_rows - len(here), other.n_rows - len(there)))
        rows, tests = _links(step, one.labels[here], other.labels[there])
        found += rows
        n_tests += tests
    q = adjusted(np.array([link.p for link in found], dtype=np.float64), n_tests).tolist()
    links = [replace(link, q=each) for link, each in zip(found, q, strict=True)]
    links = sorted(
        (link for link in links if link.shared >= min_shared),
        key=lambda link: (link.step, -link.jaccard, link.p, link.a % (1 << 62), link.b % (1 << 62)),
    )
    provenance = {
        "parameters": {"min_shared": min_shared},
        "versions": versions(),
        "patterns": {name: dict(each.provenance) for name, each in named},
    }
    return PatternLinks(names, tuple(links), tuple(shared), tuple(only), n_tests, provenance)


def _sequence(a: Any, b: Any) -> list[tuple[str, Patterns]]:
    """Return the patterns with their names, in order; equal names are told apart by a number."""
    if isinstance(a, Patterns):
        if b is None:
            raise ValueError("linking takes the patterns of at least two layers: link_patterns(a, b); got one.")
        given: list[tuple[str | None, Any]] = [(None, a), (None, b)]
    elif b is not None:
        raise ValueError("pass either two Patterns, or a list or mapping of them alone; got a collection and b=.")
    elif isinstance(a, Mapping):
        given = [(str(name), each) for name, each in a.items()]
    else:
        instance_of("a", a, (list, tuple), "Pass two Patterns, or a list or mapping of them.")
        given = [(None, each) for each in a]
    if len(given) < 2:
        raise ValueError(f"linking takes the patterns of at least two layers; got {len(given)}.")
    for _, each in given:
        instance_of("each of the linked", each, Patterns, "Take what find_patterns() returned for one layer.")
    layers = [each.layer for _, each in given]
    return [
        (name or (layer if layers.count(layer) == 1 else f"{layer} ({i})"), each)
        for i, ((name, each), layer) in enumerate(zip(given, layers, strict=True))
    ]


def _common(a: Patterns, b: Patterns, name_a: str, name_b: str) -> tuple[Int, Int]:
    """Return the positions, among the inputs used, of those that both have; the first's order."""
    ids_a, ids_b = _ids(a, name_a), _ids(b, name_b)
    position = {each: i for i, each in enumerate(ids_b)}
    pairs = np.array([(i, position[each]) for i, each in enumerate(ids_a) if each in position], dtype=np.int64)
    if not len(pairs):
        raise ValueError(
            f"{name_a!r} and {name_b!r} have no input in common: their ids are {listing(ids_a, 3)} and "
            f"{listing(ids_b, 3)}. Link patterns of the same inputs, with the same ids."
        )
    return pairs[:, 0], pairs[:, 1]


def _ids(patterns: Patterns, name: str) -> list[Any]:
    ids: list[Any] = patterns.inputs.ids[patterns.rows].tolist()
    if len(set(ids)) < len(ids):
        seen: set[Any] = set()
        twice = [each for each in ids if each in seen or seen.add(each)]  # type: ignore[func-returns-value]
        raise ValueError(
            f"inputs are matched by their ids, but {name!r} has {listing(twice, 3)} more than once: give every input "
            "an id of its own."
        )
    return ids


def _links(step: int, a: Int, b: Int) -> tuple[list[Link], int]:
    """Return one link (q not yet known) per pair of patterns that share an input, and the number of pairs."""
    from scipy.stats import hypergeom

    n_b = int(b.max()) + 2
    both = np.bincount((a + 1) * n_b + b + 1, minlength=(int(a.max()) + 2) * n_b).reshape(-1, n_b)
    sizes_a, sizes_b = both.sum(axis=1), both.sum(axis=0)
    row, column = np.nonzero(both)
    shared, size_a, size_b, n = both[row, column], sizes_a[row], sizes_b[column], len(a)
    p = hypergeom.sf(shared - 1, n, size_a, size_b)
    rows = [
        Link(
            *(step, int(i) - 1, int(j) - 1, int(u), int(v), int(s)),
            *(float(s / u), float(s / v), float(s / (u + v - s)), float(u) * float(v) / n, float(each), 1.0),
        )
        for i, j, u, v, s, each in zip(row, column, size_a, size_b, shared, p, strict=True)
    ]
    return rows, int(np.count_nonzero(sizes_a) * np.count_nonzero(sizes_b))
