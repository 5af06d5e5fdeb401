"""What is an array, what is a batch, and in which order inputs come."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
    WeightedRandomSampler,
)

import topomap as tm
from topomap.datasets import ArrayData, loader


def double(n=2):
    layer = nn.Linear(n, n, bias=False)
    with torch.no_grad():
        layer.weight.copy_(2 * torch.eye(n))
    return layer


X = torch.arange(8.0).reshape(4, 2)
Y = torch.tensor([1, 0, 0, 1])


@pytest.mark.parametrize("kind", [torch.as_tensor, np.asarray])
def test_a_tuple_of_arrays_of_equal_length_is_one_table(kind):
    with pytest.warns(tm.TopomapWarning, match=r"labels of shape \(4, 2\) .* are not kept: give labels=f\(batch\)"):
        run = tm.record(double(), (kind(X), kind(X.numpy() + 5)))
    np.testing.assert_array_equal(run["model"].values, 2 * X)
    assert run.inputs.label is None


def test_one_hot_labels_are_not_kept_and_the_way_out_works():
    hot = nn.functional.one_hot(Y)
    for y in (hot, hot.float()):
        with pytest.warns(tm.TopomapWarning, match=r"batch\[1\].argmax\(1\) where they are one-hot"):
            assert tm.record(double(), (X, y)).inputs.label is None
        run = tm.record(double(), (X, y), labels=lambda batch: batch[1].argmax(1))
        assert run["model"].n_rows == 4
        assert run.inputs.label.tolist() == [1, 0, 0, 1]


def test_tokens_with_labels_are_a_table_too():
    net = nn.Embedding(3, 2)
    run = tm.record(net, (torch.tensor([0, 2, 1, 1]), Y))
    np.testing.assert_array_equal(run["model"].values, net.weight.detach()[[0, 2, 1, 1]])
    assert run.inputs.label.tolist() == Y.tolist()


def test_lists_and_the_pieces_of_a_tensor_are_batches():
    both = np.concatenate([2 * X, 2 * X + 10])
    np.testing.assert_array_equal(tm.record(double(), [X, X + 5])["model"].values, both)
    whole = torch.cat([X, X + 5])
    for size in (2, 3, 4):
        np.testing.assert_array_equal(tm.record(double(), whole.split(size))["model"].values, both)
    columns = torch.cat([X, X + 5], dim=1).split(2, dim=1)  # views of one tensor, but side by side
    with pytest.warns(tm.TopomapWarning, match="are not kept"):
        np.testing.assert_array_equal(tm.record(double(), columns)["model"].values, 2 * X)


def test_a_table_of_different_lengths():
    with pytest.raises(ValueError, match=r"tuple \(x, y, ...\) .* one entry per input: expected 4, got 3"):
        tm.record(double(), (X, Y[:3]))


SHUFFLED = {
    "shuffle": {"shuffle": True, "batch_size": 2},
    "weights": {"sampler": WeightedRandomSampler(torch.ones(4), 4), "batch_size": 3},
    "batches": {"batch_sampler": BatchSampler(RandomSampler(range(4)), 2, False)},
}


@pytest.mark.parametrize("how", SHUFFLED)
def test_labels_in_an_order_that_nobody_knows_are_refused(how):
    loader = DataLoader(TensorDataset(X), **SHUFFLED[how])
    name = "WeightedRandomSampler" if how == "weights" else "RandomSampler"
    with pytest.raises(ValueError, match=rf"the loader's {name} draws .* labels=f\(batch\), or .* shuffle=False"):
        tm.record(double(), loader, labels=Y)
    inputs = tm.record(double(), loader, labels=lambda batch: (batch[0][:, 0] / 2).long()).inputs
    assert len(inputs.label) == 4


def test_a_batch_sampler_of_ones_own_may_shuffle():
    class Mine:
        def __iter__(self):
            return iter([[3, 1], [0, 2]])

    loader = DataLoader(TensorDataset(X), batch_sampler=Mine())
    with pytest.raises(ValueError, match="the loader's Mine draws"):
        tm.record(double(), loader, labels=Y)


@pytest.mark.parametrize(
    ("loader", "order"),
    [
        (DataLoader(Subset(TensorDataset(X), [3, 0]), 1), [3, 0]),
        (DataLoader(TensorDataset(X), 2, sampler=[2, 0, 1]), [2, 0, 1]),
        (DataLoader(TensorDataset(X), batch_sampler=[[1, 3], [2]]), [1, 3, 2]),
        (DataLoader(TensorDataset(X), batch_sampler=BatchSampler(SequentialSampler(X), 3, False)), [0, 1, 2, 3]),
    ],
)
def test_labels_in_a_known_order_are_those_of_the_inputs_in_that_order(loader, order):
    run = tm.record(double(), loader, labels=[f"input {i}" for i in order])
    assert run.inputs.ids.tolist() == order
    np.testing.assert_array_equal(run["model"].values, 2 * X[order])
    assert run.inputs.label.tolist() == [f"input {i}" for i in order]


def test_labels_of_batches_that_are_items_or_a_stream():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter(X)

    for given in (DataLoader(X.reshape(2, 2, 2), batch_size=None), DataLoader(Stream(), 3)):
        assert tm.record(double(), given, labels=Y).inputs.label.tolist() == Y.tolist()


@pytest.mark.parametrize("where", ["loader", "sampler", "batch sampler", "nested"])
def test_the_generators_of_loaders_are_put_back(where):
    generator = torch.Generator().manual_seed(3)
    data = TensorDataset(X)
    sampler = RandomSampler(data, generator=generator)
    batches = BatchSampler(sampler, 2, False)
    loader = {
        "loader": lambda: DataLoader(data, 2, shuffle=True, generator=generator),
        "sampler": lambda: DataLoader(data, 2, sampler=sampler),
        "batch sampler": lambda: DataLoader(data, batch_sampler=batches),
        "nested": lambda: DataLoader(
            Rows(), batch_sampler=BatchSampler(BatchSampler(sampler, 1, False), 2, False), collate_fn=joined
        ),
    }[where]()
    before = generator.get_state()
    tm.record(double(), loader)
    assert torch.equal(generator.get_state(), before)
    list(loader)
    assert not torch.equal(generator.get_state(), before)


def joined(items):
    return torch.cat([item for (item,) in items])


class Rows:
    """A data set that is asked for several positions at once."""

    def __getitem__(self, positions):
        return (X[positions],)

    def __len__(self):
        return len(X)


def test_columns_of_the_data_set_come_along():
    data = ArrayData(np.eye(6, dtype=np.float32), y=np.arange(6) % 2, columns={"age": np.arange(6) * 10})
    net = nn.Linear(6, 2)
    order = [5, 0, 3]
    for source in (loader(data), DataLoader(data, batch_size=4)):
        assert tm.record(net, source, "model", progress=False).inputs["age"].tolist() == [0, 10, 20, 30, 40, 50]
    run = tm.record(net, DataLoader(Subset(data, order), batch_size=2), "model", progress=False)
    assert run.inputs["age"].tolist() == [50, 0, 30]
    assert tm.record(net, loader(data, 4), "model", n=5, progress=False).inputs["age"].tolist() == [
        0,
        10,
        20,
        30,
        40,
    ]
    moments = tm.record(net, loader(data, 4), "model", keep="moments", by="age", progress=False)["model"]
    assert moments.grouping("age").counts.tolist() == [1] * 6
    with pytest.warns(tm.TopomapWarning, match="left out.*shuffle=False"):
        run = tm.record(net, DataLoader(data, batch_size=4, shuffle=True), "model", progress=False)
    assert "age" not in run.inputs.columns
    with pytest.raises(ValueError, match="must not be called 'prediction'"):
        tm.record(net, loader(ArrayData(data.x, columns={"prediction": data.y})), "model", progress=False)
