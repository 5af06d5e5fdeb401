"""Where recorded rows go: to memory, to a run folder chunk by chunk, or into streaming moments."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import vstack

from topomap import _sparse
from topomap._check import same_length, warn
from topomap.recording.moments import MomentAccumulator
from topomap.run import Activations, Inputs, Moments, Record, Run, constant
from topomap.store import RunWriter

Key = tuple[str, int, str]  # layer, call within one forward, reduction
Columns = Mapping[str, NDArray[Any]]

#: Share of values that are not zero from which on sparse ones save little: an entry takes two numbers.
DENSE = 0.25


@dataclass
class Rows:
    """Rows of one layer, call and reduction from one batch."""

    key: Key
    values: Any
    rows: NDArray[np.int64]
    places: NDArray[np.int64] | None = None

    def take(self, keep: NDArray[np.bool_]) -> Rows:
        """Return some of the rows."""
        places = None if self.places is None else self.places[keep]
        return Rows(self.key, self.values[keep], self.rows[keep], places)


@dataclass
class Tally:
    """What is known of one record without its values: counts and ranges."""

    n_neurons: int
    low: NDArray[Any]
    high: NDArray[Any]
    n_rows: int = 0
    n_masked: int = 0
    n_active: int = 0  # values that are not zero, where they are kept as sparse ones

    @property
    def density(self) -> float:
        """Share of the values that are not zero."""
        return self.n_active / max(self.n_rows * self.n_neurons, 1)

    @property
    def n_dead(self) -> int:
        """Neurons that never varied."""
        return int(constant(self.low, self.high).sum()) if self.n_rows else self.n_neurons


@dataclass
class Sink(ABC):
    """Takes rows; names layers that were called several times in one forward ``layer#0``, ``layer#1``."""

    sparse: bool = False
    several: set[str] = field(default_factory=set)
    tallies: dict[Key, Tally] = field(default_factory=dict)

    def name(self, key: Key) -> str:
        """Return the name that a layer's call is recorded under."""
        return f"{key[0]}#{key[1]}" if key[0] in self.several else key[0]

    def put(self, rows: Rows, columns: Columns, n_masked: int = 0) -> None:
        """Take rows and the columns of *their* inputs."""
        layer, call, reduce = rows.key
        tally = self.tallies.get(rows.key)
        if tally is None:
            n = rows.values.shape[1]
            tally = self.tallies[rows.key] = Tally(n, np.full(n, np.inf), np.full(n, -np.inf))
        found = rows.values.shape[1]
        if found != tally.n_neurons:
            raise ValueError(
                f"layer {layer!r} ({reduce}) gave {tally.n_neurons} neurons in an earlier batch and {found} "
                "in this one: every neuron must be there for every input. Pad the inputs to one size, or leave the "
                "layer out."
            )
        if call and layer not in self.several:
            self.several.add(layer)
            self.rename(layer, f"{layer}#0")
        tally.n_masked += n_masked
        tally.n_rows += len(rows.values)
        if len(rows.values):
            np.minimum(tally.low, rows.values.min(axis=0), out=tally.low)
            np.maximum(tally.high, rows.values.max(axis=0), out=tally.high)
            if self.sparse:  # at once, so that what is dense never outlives its batch
                rows.values = _sparse.from_dense(rows.values)
                tally.n_active += rows.values.nnz
            self.append(rows, columns)

    @abstractmethod
    def append(self, rows: Rows, columns: Columns) -> None:
        """Keep rows, of which there is at least one."""

    def rename(self, old: str, new: str) -> None:  # noqa: B027  (only folders have names before the end)
        """Rename what was kept so far."""

    def drop(self, layer: str) -> None:
        """Forget a layer."""
        for key in [key for key in self.tallies if key[0] == layer]:
            del self.tallies[key]
            self.forget(key)

    @abstractmethod
    def forget(self, key: Key) -> None:
        """Forget what was kept under a key, if anything was."""

    @abstractmethod
    def finish(self, inputs: Inputs, provenance: Mapping[str, Any], complete: bool) -> Run:
        """Return the run."""

    def keep_thumbnails(self, thumbnails: NDArray[np.uint8]) -> bool:
        """Keep pictures of the next inputs; False leaves that to the table of inputs."""
        return False


@dataclass
class Memory(Sink):
    """Keeps values in memory."""

    dtype: str = "float32"
    kept: dict[Key, list[Rows]] = field(default_factory=dict)

    def append(self, rows: Rows, columns: Columns) -> None:
        """Keep rows."""
        values, given = rows.values, rows.values.data if self.sparse else rows.values
        with np.errstate(over="ignore"):
            cast = given.astype(self.dtype, copy=False)
        if self.dtype == "float16" and np.isinf(cast).any():
            raise ValueError(
                f"layer {rows.key[0]!r} ({rows.key[2]}) reaches {np.abs(given).max():g}, beyond the range of "
                f"float16 ({np.finfo(np.float16).max:g}): record with dtype='float32'."
            )
        if not self.sparse:
            values = cast
        elif self.dtype == "float16":  # the numbers of a run folder, in a dtype that SciPy has
            values.data[:] = cast
            values.eliminate_zeros()
        self.kept.setdefault(rows.key, []).append(Rows(rows.key, values, rows.rows, rows.places))

    def forget(self, key: Key) -> None:
        """Forget rows."""
        self.kept.pop(key, None)

    def finish(self, inputs: Inputs, provenance: Mapping[str, Any], complete: bool) -> Run:
        """Join what was kept."""
        records: dict[tuple[str, str], Record] = {}
        for key in list(self.kept):
            parts = self.kept.pop(key)
            name, reduce = self.name(key), key[2]
            join = partial(vstack, format="csr") if self.sparse else np.concatenate
            values = join([part.values for part in parts])
            places = (
                None if parts[0].places is None else np.concatenate([p.places for p in parts if p.places is not None])
            )
            rows = np.concatenate([part.rows for part in parts])
            records[name, reduce] = Activations(values, inputs, name, reduce, rows, places, provenance)
        return Run(inputs, records, provenance)


@dataclass
class Folder(Sink):
    """Appends values to a run folder."""

    writer: RunWriter = field(kw_only=True)

    def append(self, rows: Rows, columns: Columns) -> None:
        """Write rows."""
        self.writer.append(self.name(rows.key), rows.key[2], rows.values, rows.rows, rows.places)

    def forget(self, key: Key) -> None:
        """Take rows out of the folder again."""
        self.writer.drop(self.name(key), key[2])

    def rename(self, old: str, new: str) -> None:
        """Rename a layer in the folder."""
        self.writer.rename_layer(old, new)

    def keep_thumbnails(self, thumbnails: NDArray[np.uint8]) -> bool:
        """Write pictures."""
        self.writer.append_thumbnails(thumbnails)
        return True

    def finish(self, inputs: Inputs, provenance: Mapping[str, Any], complete: bool) -> Run:
        """Commit the folder."""
        return self.writer.commit(inputs, provenance, complete)


@dataclass
class Streaming(Sink):
    """Accumulates moments; the writer, if there is one, gets them at the end."""

    by: tuple[tuple[str, ...], ...] = ()
    seed: int = 0
    n_features: int | None = None
    writer: RunWriter | None = None
    accumulators: dict[Key, MomentAccumulator] = field(default_factory=dict)

    def append(self, rows: Rows, columns: Columns) -> None:
        """Accumulate rows."""
        if rows.key not in self.accumulators:
            sketch = {} if self.n_features is None else {"exact_below": 0, "n_features": self.n_features}
            accumulator = MomentAccumulator(rows.values.shape[1], by=self.by, seed=self.seed, **sketch)
            self.accumulators[rows.key] = accumulator
        self.accumulators[rows.key].update(rows.values, columns)

    def forget(self, key: Key) -> None:
        """Forget statistics."""
        self.accumulators.pop(key, None)

    def finish(self, inputs: Inputs, provenance: Mapping[str, Any], complete: bool) -> Run:
        """Return the statistics."""
        records: dict[tuple[str, str], Moments] = {}
        for key, accumulator in self.accumulators.items():
            name = self.name(key)
            records[name, key[2]] = accumulator.finish(name, key[2], provenance, inputs.classes)
        if self.writer is None:
            return Run(inputs, records, provenance)
        for (layer, reduce), moments in records.items():
            self.writer.add(layer, reduce, moments)
        return self.writer.commit(inputs, provenance, complete)


@dataclass
class Table:
    """The table of inputs while it grows."""

    kept: bool = True
    ids: list[NDArray[Any]] = field(default_factory=list)
    columns: dict[str, list[NDArray[Any]]] = field(default_factory=dict)
    thumbnails: list[NDArray[np.uint8]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    n: int = 0
    n_thumbnails: int = 0
    shape: tuple[int, ...] | None = None

    def add(self, ids: NDArray[Any], columns: Columns, texts: list[str] | None) -> None:
        """Add inputs with their columns, which have to be the same in all batches."""
        if self.kept:
            if self.n and set(columns) != set(self.columns):
                odd = sorted(set(columns) ^ set(self.columns))
                raise ValueError(f"the columns {odd} are in some batches only: every input must have them.")
            for name, column in columns.items():
                self.columns.setdefault(name, []).append(column)
            self.ids.append(ids)
            if texts is not None:
                same_length("texts", len(self.texts) + len(texts), "input", self.n + len(ids))
                self.texts.extend(texts)
        self.n += len(ids)

    def finish(self, classes: tuple[str, ...] | None) -> Inputs:
        """Return the table."""
        if not self.kept:
            return Inputs(np.zeros(0, dtype=np.int64), classes=classes)
        columns = {name: np.concatenate(parts) for name, parts in self.columns.items()}
        whole = self.thumbnails and sum(map(len, self.thumbnails)) == self.n
        thumbnails = np.concatenate(self.thumbnails) if whole else None
        texts = np.array(self.texts, dtype=object) if self.texts and len(self.texts) == self.n else None
        return Inputs(np.concatenate(self.ids), columns, classes, thumbnails, texts)


def warn_masked(sink: Sink) -> None:
    """Say once how many rows were left out."""
    masked = {f"{sink.name(key)} ({key[2]})": t.n_masked for key, t in sink.tallies.items() if t.n_masked}
    if masked:
        listed = ", ".join(f"{name}: {count}" for name, count in list(masked.items())[:6])
        warn(f"rows with NaN or infinite values were left out, as nonfinite='mask' says: {listed}.", stacklevel=4)


def warn_dense(sink: Sink) -> None:
    """Say once which layers were kept as sparse ones and are not."""
    dense = {f"{sink.name(key)} ({key[2]})": t.density for key, t in sink.tallies.items() if t.density > DENSE}
    if dense:
        listed = ", ".join(f"{name}: {density:.0%}" for name, density in list(dense.items())[:6])
        warn(
            f"keep='sparse' saves little or nothing where many values are not zero: {listed}. Record these layers with "
            "keep='values'; where they come before their nonlinearity, record what comes after it.",
            stacklevel=4,
        )
