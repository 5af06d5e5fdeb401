"""keep="sparse" against keep="values"."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import nn

import topomap as tm
from topomap.cli.show import layers_table
from topomap.store import open_run, save_run
from topomap.store.sparse import StoredSparse


class TopK(nn.Module):
    def __init__(self, k):
        super().__init__()
        self.k = k

    def forward(self, x):
        value, index = x.topk(self.k, dim=-1)
        return torch.zeros_like(x).scatter(-1, index, value.relu())


def autoencoder(n=64, k=4):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, n), TopK(k), nn.Linear(n, 8))


X = torch.randn(50, 8, generator=torch.Generator().manual_seed(1))
LABEL = torch.arange(50) % 3


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "run"


@pytest.mark.parametrize("dtype", ["float32", "float16"])
@pytest.mark.parametrize("where", ["memory", "folder"])
def test_sparse_values_are_the_values(where, dtype, folder):
    net, data = autoencoder(), [(X[i : i + 8], LABEL[i : i + 8]) for i in range(0, 50, 8)]
    expected = tm.record(net, data, "1", dtype=dtype, logits=False)["1"]
    run = tm.record(net, data, "1", keep="sparse", dtype=dtype, logits=False, to=folder if where == "folder" else None)
    acts = run["1"]
    assert acts.sparse
    assert acts.density == pytest.approx(4 / 64, abs=0.01)
    np.testing.assert_array_equal(acts.values[:].toarray(), expected.values.astype(np.float32))
    np.testing.assert_array_equal(acts.labels, LABEL)
    assert acts.values[:].nnz == np.count_nonzero(expected.values)  # also where float16 made a zero
    np.testing.assert_array_equal(acts.rows, np.arange(50))
    assert run.provenance["parameters"]["keep"] == "sparse"
    if where == "folder":
        assert acts.values.dtype == dtype
        assert isinstance(acts.values, StoredSparse)


def test_float16_drops_what_it_cannot_hold(folder):
    net = nn.Sequential(nn.Linear(2, 8, bias=False), nn.ReLU())
    with torch.no_grad():
        net[0].weight.copy_(torch.tensor([[1.0, 0.0], [1e-9, 0.0], *[[-1.0, 0.0]] * 6]))
    for to in (None, folder):
        values = tm.record(net, torch.ones(3, 2), "1", keep="sparse", dtype="float16", to=to)["1"].values[:]
        assert values.nnz == 3
        assert values.toarray().tolist() == [[1, 0, 0, 0, 0, 0, 0, 0]] * 3
    for to in (None, folder.with_name("second")):
        with pytest.raises(ValueError, match="beyond the range of float16"):
            tm.record(net, torch.full((3, 2), 1e6), "1", keep="sparse", dtype="float16", to=to)
    assert not folder.with_name("second").exists()


def test_tokens_and_several_reductions(folder):
    net = nn.Sequential(nn.Linear(8, 64), TopK(4))
    x = torch.randn(6, 5, 8, generator=torch.Generator().manual_seed(2))
    ways = ["max", "tokens"]
    expected = tm.record(net, x, "1", reduce=ways, logits=False)
    kept = tm.record(net, x, "1", reduce=ways, keep="sparse", logits=False, to=folder)
    for way in ways:
        np.testing.assert_array_equal(kept["1", way].values[:].toarray(), expected["1", way].values)
    np.testing.assert_array_equal(kept["1", "tokens"].places, expected["1", "tokens"].places)
    np.testing.assert_allclose(
        kept["1", "tokens"].per_input().values.toarray(), expected["1", "tokens"].per_input().values, rtol=1e-6
    )


def test_a_layer_that_runs_twice_is_renamed(folder):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.code = nn.Sequential(nn.Linear(8, 64), TopK(4))

        def forward(self, x):
            return self.code(x) + self.code(2 * x)

    run = tm.record(Twice(), X, "code", keep="sparse", logits=False, to=folder)
    assert list(run) == ["code#0", "code#1"]
    assert all(acts.sparse and acts.n_neurons == 64 for acts in run.values())


def test_outputs_that_torch_holds_as_sparse_ones():
    class Sparse(nn.Module):
        def __init__(self, layout):
            super().__init__()
            self.layout = layout

        def forward(self, x):
            return x.to_sparse(layout=self.layout)

    for layout in (torch.sparse_coo, torch.sparse_csr):
        net = nn.Sequential(*autoencoder()[:2], Sparse(layout))
        run = tm.record(net, X, ["1", "2"], keep="sparse", logits=False)
        np.testing.assert_array_equal(run["2"].values.toarray(), run["1"].values.toarray())


def test_layers_that_are_not_sparse_are_named():
    with pytest.warns(tm.TopomapWarning, match=r"keep='sparse' saves little .*: 0 \(none\): 100%. Record these"):
        run = tm.record(autoencoder(), X, ["0", "1"], keep="sparse", logits=False)
    assert run["0"].density == 1


def test_groups_are_for_moments():
    with pytest.raises(ValueError, match="by= groups moments"):
        tm.record(autoencoder(), (X, LABEL), "1", keep="sparse", by="label")
    with pytest.raises(ValueError, match="'sparse'"):
        tm.record(autoencoder(), X, "1", keep="sparce")


class Failing(nn.Module):
    def __init__(self, error, after):
        super().__init__()
        self.error, self.after, self.calls = error, after, 0

    def forward(self, x):
        self.calls += 1
        if self.calls > self.after:
            raise self.error
        return x


def test_errors_leave_nothing_and_ctrl_c_whole_batches(folder):
    net = nn.Sequential(*autoencoder()[:2], Failing(RuntimeError("no"), 2))
    with pytest.raises(RuntimeError, match="no"):
        tm.record(net, X.split(10), "1", keep="sparse", to=folder)
    assert list(folder.parent.iterdir()) == []
    net = nn.Sequential(*autoencoder()[:2], Failing(KeyboardInterrupt(), 2))
    with pytest.raises(KeyboardInterrupt, match="after 20 inputs"):
        tm.record(net, X.split(10), "1", keep="sparse", to=folder)
    with pytest.warns(tm.TopomapWarning, match="the first 20 inputs"):
        run = open_run(folder)
    expected = tm.record(autoencoder(), X[:20].split(10), "1", logits=False)["1"].values
    np.testing.assert_array_equal(run["1"].values[:].toarray(), expected)


def test_rows_that_are_not_finite_can_be_left_out():
    x = X.clone()
    x[7] = torch.nan
    net = nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Threshold(1, 0))
    with pytest.warns(tm.TopomapWarning, match="left out"):
        acts = tm.record(net, x, "2", keep="sparse", nonfinite="mask", logits=False)["2"]
    assert acts.sparse
    np.testing.assert_array_equal(acts.rows, np.delete(np.arange(50), 7))


def test_a_saved_run_is_the_same_on_disk(folder):
    run = tm.record(autoencoder(), (X, LABEL), "1", keep="sparse", logits=False)
    saved = save_run(run, folder)
    copied = save_run(saved, folder.with_name("copy"))
    for other in (saved, copied):
        assert isinstance(other["1"].values, StoredSparse)
        np.testing.assert_array_equal(other["1"].values[:].toarray(), run["1"].values.toarray())
        for name in ("mean", "std", "dead"):
            np.testing.assert_array_equal(getattr(other["1"], name), getattr(run["1"], name))
        one, two = (tm.correlate(r["1"], "jaccard").neighbors(5) for r in (run, other))
        np.testing.assert_array_equal(one[0], two[0])
    assert sparse.issparse(saved["1"].select(n=5).values)


def test_the_command_line_says_how_values_were_kept(folder):
    run = tm.record(autoencoder(), X, "1", keep="sparse", dtype="float16", logits=False, to=folder)
    assert layers_table(run).splitlines()[1].split("  ")[-1].strip() == "sparse, 6.2 % active, float16"
