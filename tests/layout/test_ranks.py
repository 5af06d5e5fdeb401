import numpy as np
import pytest
from scipy.sparse import csr_array
from scipy.stats import rankdata, spearmanr

import topomap as tm
from topomap import _compute
from topomap.layout.spread import ranks
from topomap.layout.spread.graph import components
from topomap.layout.spread.ranks import estimate, penalties


@pytest.fixture(scope="module")
def similarity():
    rng = np.random.default_rng(0)
    return tm.correlate(rng.normal(size=(80, 6)) @ rng.normal(size=(6, 240)) + 0.5 * rng.normal(size=(80, 240)))


def expected(similarity, k, bonus):
    """Penalties written out: the mean of both ranks' excess over k, a rank of k at most gaining the bonus."""
    distance = similarity.distance().astype(float)
    np.fill_diagonal(distance, -1)
    rank = rankdata(distance, axis=1, method="ordinal") - 1
    excess = np.where(rank > k, rank - k, -bonus)
    return (excess + excess.T) / 2


def test_penalties_are_the_excess_of_ranks(similarity):
    order = np.random.default_rng(1).permutation(240)
    costs = penalties(similarity, similarity.neighbors(40)[0], np.zeros((240, 2)), order, 10)
    oracle = expected(similarity, 10, float(ranks.bonus(240)))[np.ix_(order, order)]
    off = ~np.eye(240, dtype=bool)
    # beyond the 40 nearest, neurons whose distances fall into one bin of 4,096 are ranked by number
    assert np.abs(costs.matrix - oracle)[off].max() <= 5
    assert np.abs(costs.matrix - oracle)[off].mean() < 0.5
    both = (oracle < 0) & off
    assert both.sum() > 240 * 5
    np.testing.assert_allclose(costs.matrix[both], oracle[both], atol=1)  # rounded to whole numbers
    np.testing.assert_array_equal(costs.matrix, costs.matrix.T)


def test_the_number_of_threads_changes_no_penalty(similarity, monkeypatch):
    found = []
    for threads in (1, 3):
        monkeypatch.setattr(_compute, "n_threads", lambda threads=threads: threads)
        found.append(penalties(similarity, similarity.neighbors(20)[0], np.zeros((240, 2)), np.arange(240), 10).matrix)
    np.testing.assert_array_equal(*found)


def test_estimated_penalties_are_exact_among_the_nearest_and_like_the_others(similarity, monkeypatch):
    indices = similarity.neighbors(40)[0]
    order = np.random.default_rng(1).permutation(240)
    monkeypatch.setattr(ranks, "EXACT", 100)
    costs = penalties(similarity, indices, components(similarity, 16), order, 10)
    assert costs.matrix.size == 0
    oracle = expected(similarity, 10, float(ranks.bonus(240)))[np.ix_(order, order)]
    guess = np.array([[estimate(*costs[4:8], i, j) for j in range(240)] for i in range(240)])
    off = ~np.eye(240, dtype=bool)
    assert guess.min() == 41 - 10  # what is not known is none of the 40 nearest
    assert spearmanr(guess[off], oracle[off]).statistic > 0.9
    known = csr_array((costs.known.astype(float), costs.other, costs.start), shape=(240, 240)).toarray()
    number, near = np.argsort(order), np.zeros((240, 240), dtype=bool)
    np.put_along_axis(near, number[indices[order]], True, axis=1)
    np.testing.assert_array_equal(known[near & near.T], np.trunc(oracle[near & near.T]))
    one = near ^ near.T  # the other rank is beyond the 40 nearest, and estimated
    assert np.abs(known - oracle)[one].mean() < 30


def test_among_identical_neurons_about_as_many_as_ever_are_nearest(monkeypatch):
    monkeypatch.setattr(ranks, "bonus", lambda n: np.float32(100))  # more than any rank costs
    similarity = tm.Similarity(None, "pearson", np.zeros(50, dtype=bool), given=np.ones((50, 50), dtype=np.float32))
    costs = penalties(similarity, similarity.neighbors(10)[0], np.zeros((50, 2)), np.arange(50), 10)
    found = costs.matrix[~np.eye(50, dtype=bool)]
    assert -100 == found.min() < 0 < found.max() <= 39
    nearest = np.where(found == found.min(), 1, (found < 0) / 2).sum()  # pairs, by the ranks of one or of both
    assert 10 * 50 <= nearest <= 11 * 50


def test_the_bonus_of_a_rank_grows_with_the_layer():
    found = [float(ranks.bonus(n)) for n in (2, 64, 512, 1024, 2_048, 8_192, 131_072, 10**7)]
    assert found == sorted(found)
    np.testing.assert_allclose(found[1:], [38, 303, 392, 507, 1602, 16_000, 16_000], rtol=0.01)
