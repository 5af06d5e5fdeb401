"""Clusters, their masses and the threshold-free enhancement, against mne and by hand."""

from __future__ import annotations

import mne
import numpy as np
import pytest
from mne.stats import permutation_cluster_test
from mne.stats.cluster_level import _find_clusters
from numpy.typing import NDArray
from scipy import sparse, stats

from topomap.bias import adjacency
from topomap.bias.clusters import LONGEST, enhance, find_clusters, largest_masses
from topomap.bias.effects import Table, statistics
from topomap.bias.permute import Shuffle
from topomap.layout import Layout

mne.set_log_level("ERROR")


def line(n: int) -> sparse.csr_array:
    return adjacency(Layout(np.column_stack([np.linspace(-1, 1, n), np.zeros(n)])))


def lattice(n: int) -> Layout:
    steps = np.linspace(-1, 1, n)
    return Layout(np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2), region="square")


def groups(seed: int = 0) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    rng = np.random.default_rng(seed)
    a, b = 2 * rng.normal(size=(10, 49)), rng.normal(size=(10, 49))  # the statistic is Welch's for equal sizes
    a[:, :12] += 1.8
    a[:, 30:36] -= 2.0
    return a, b


def t(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(stats.ttest_ind(a, b, equal_var=False).statistic)


def test_clusters_by_hand() -> None:
    found = find_clusters(np.array([3.0, 2.0, -4.0, -1.0, 5.0, 0.5, 6.0]), np.full(7, 1.5), line(7))
    assert [cluster.tolist() for cluster in found] == [[0, 1], [4], [6], [2]]
    assert largest_masses(np.array([[3.0, 2, -4, -1, 5, 0.5, 6], [1, 1, 1, 1, 1, 1, 1]]), np.full(7, 1.5), line(7)) == (
        pytest.approx([6, 0])
    )
    each_its_own = np.array([9, 1.5, 1.5, 0.5, 9, 0.4, 9])
    assert largest_masses(np.array([[3.0, 2, -4, -1, 5, 0.5, 6]]), each_its_own, line(7)) == pytest.approx([5])


@pytest.mark.parametrize("threshold", [0.5, 1.5, 2.5])
def test_clusters_and_masses_are_mnes(threshold: float) -> None:
    a, b = groups()
    graph = adjacency(lattice(7))
    observed, clusters, *_ = permutation_cluster_test(
        [a, b], threshold=threshold, tail=0, stat_fun=t, adjacency=graph.tocoo(), n_permutations=60, seed=0,
        out_type="indices",
    )  # fmt: skip
    table = Table.of(np.concatenate([a, b]), np.zeros(20, dtype=np.int64))
    labels = np.arange(20) < 10
    mine = statistics(table, labels[None], np.float64)[0]
    np.testing.assert_allclose(mine, observed, rtol=1e-4, atol=1e-5)
    found = find_clusters(mine, np.full(49, threshold), graph)
    assert sorted(tuple(sorted(c[0].tolist())) for c in clusters) == sorted(tuple(c.tolist()) for c in found)
    assert len(found) > 1
    wanted = {tuple(sorted(c[0].tolist())): abs(observed[c[0]].sum()) for c in clusters}
    for cluster in found:
        assert np.abs(mine[cluster]).sum() == pytest.approx(wanted[tuple(cluster.tolist())], rel=1e-4)
    assert largest_masses(mine[None], np.full(49, threshold), graph)[0] == pytest.approx(max(wanted.values()), rel=1e-4)


def test_largest_masses_of_permutations_are_mnes() -> None:
    a, b = groups(1)
    values, graph = np.concatenate([a, b]), adjacency(lattice(7))
    table = Table.of(values, np.zeros(20, dtype=np.int64))
    shuffle = Shuffle((np.arange(20) < 10).astype(np.int64), np.zeros(20, dtype=np.int64))
    labels = np.concatenate(list(shuffle.draw(40, [0]))) == 1
    mine = largest_masses(statistics(table, labels), np.full(49, 1.0), graph)
    for row, mass in zip(labels, mine, strict=True):
        _, sums = _find_clusters(t(values[row], values[~row]), 1.0, tail=0, adjacency=graph.tocoo())
        assert mass == pytest.approx(np.abs(sums).max(), rel=1e-4)


@pytest.mark.parametrize("step", [0.1, 0.25])
def test_enhancement_is_mnes(step: float) -> None:
    rows = np.stack([t(*groups(seed)) for seed in range(4)])
    graph = adjacency(lattice(7))
    mine = enhance(rows, graph, step)
    for row, scores in zip(rows, mine, strict=True):
        _, wanted = _find_clusters(row, {"start": 0, "step": step}, tail=0, adjacency=graph.tocoo())
        np.testing.assert_allclose(scores, np.abs(wanted), rtol=1e-9)


def test_enhancement_by_hand() -> None:
    # thresholds 1 (extent 3) and 2 (extent 2): the first two sqrt(3) + 4 sqrt(2), the third sqrt(3)
    found = enhance(np.array([[2.5, 2.2, 1.5, 0.5, -1.5]]), line(5), step=1.0)[0]
    assert found == pytest.approx([3**0.5 + 4 * 2**0.5] * 2 + [3**0.5, 0, 1])


def test_long_edges_join_nothing() -> None:
    rng = np.random.default_rng(0)
    near, far = rng.uniform(0, 1, (60, 2)), rng.uniform(0, 1, (60, 2)) + np.array([4, 0])
    layout = Layout(np.concatenate([near, far]))
    graph = adjacency(layout)
    assert graph[:60][:, 60:].nnz == 0
    edges = graph.tocoo()
    length = np.linalg.norm(layout.positions[edges.coords[0]] - layout.positions[edges.coords[1]], axis=1)
    assert length.max() <= LONGEST * np.median(length) * 1.2
    assert (graph != graph.T).nnz == 0
    assert graph.diagonal().sum() == 0


def test_dead_neurons_have_no_neighbours() -> None:
    grid = lattice(5)
    dead = np.zeros(25, dtype=bool)
    dead[12] = True
    for graph in (adjacency(grid, dead), adjacency(Layout(grid.positions, region="square", dead=dead))):
        assert graph[[12]].nnz == 0
        assert graph[:, [12]].nnz == 0
        assert graph[[11]].nnz > 0


def test_neurons_of_one_place_are_neighbours_with_the_same_neighbours() -> None:
    layout = Layout([[-1, -1], [1, -1], [1, 1], [-1, 1], [0, 0], [0, 0]], region="square")
    graph = adjacency(layout).toarray()
    assert graph[4, 5] == graph[5, 4] == 1
    assert (graph[4, :4] == 1).all() and (graph[5, :4] == 1).all()


def test_few_places() -> None:
    assert adjacency(Layout([[0, 0], [1, 0]])).toarray().tolist() == [[0, 1], [1, 0]]
    assert line(4).sum() == 6
    assert adjacency(Layout([[0, 0], [0, 0], [0, 0]])).sum() == 6
    assert adjacency(Layout([[0, 0], [1, 1]]), np.array([True, True])).nnz == 0
