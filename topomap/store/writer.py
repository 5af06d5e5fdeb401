"""Writing a run folder so that it is either whole or not there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array

from topomap import _sparse
from topomap._check import choice, same_length, unknown
from topomap.run import Inputs, Moments, Run
from topomap.store.arrays import ArrayStream, Entry, write_array
from topomap.store.groups import consolidate, write_group
from topomap.store.index import DATA, Group, Index, aside, plain, safe_name, unused, write_index
from topomap.store.moments import write_moments
from topomap.store.placing import full_disk, put_in_place, refuse, remove
from topomap.store.sparse import SPARSE, split

Key = tuple[str, str]
T = TypeVar("T")


class RunWriter:
    """Builds a run folder in a hidden folder beside it, which gets its name when everything is in it.

    A context manager: whatever ends the block before `commit`, Ctrl-C and a full disk included, the hidden folder goes
    and an older run at the same place stays as it was. Values go to disk chunk by chunk.

    Parameters
    ----------
    to
        The run folder to be.
    dtype
        ``"float32"`` or ``"float16"`` for the values, or None to keep that of the values given.
    overwrite
        Replace a run that is already there, once the new one is whole. Only a run folder or an empty folder is ever
        replaced; files in it that are not topomap's are kept.

    Raises
    ------
    ValueError
        If something is at `to` that may not be replaced.
    OSError
        If no folder can be made there.

    Examples
    --------
    >>> import numpy as np, tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with RunWriter(f"{folder}/run") as writer:
    ...         writer.append("conv1", "mean", np.zeros((2, 3)), rows=[0, 1])
    ...         run = writer.commit(Inputs(ids=[10, 11]), {"seed": 0})
    ...     run["conv1"].n_neurons, run.provenance
    (3, {'seed': 0})
    """

    def __init__(self, to: str | os.PathLike[str], dtype: str | None = "float32", overwrite: bool = False) -> None:
        self.to = Path(os.path.realpath(Path(to).expanduser()))
        self.dtype = dtype if dtype is None else np.dtype(choice("dtype", dtype, ("float32", "float16")))
        self.overwrite = overwrite
        self._hidden = aside(self.to, "partial")
        self._parents: list[Path] = []
        self._streams: dict[Key, dict[str, ArrayStream]] = {}
        self._moments: dict[Key, tuple[Path, dict[str, Entry], dict[str, Any]]] = {}
        self._widths: dict[Key, int] = {}  # neurons of sparse values
        self._order: dict[Key, tuple[int, int]] = {}  # with the first and the last input that rows come from
        self._thumbnails: ArrayStream | None = None
        self._n_folders = 0
        self._open = False
        refuse(self.to, self.overwrite)

    def __enter__(self) -> RunWriter:
        self._parents = [parent for parent in self.to.parents if not parent.exists()]
        try:
            self.to.parent.mkdir(parents=True, exist_ok=True)
            old = aside(self.to, "old")
            if old.is_dir():  # an earlier writer was killed while it put its run in place of this one
                if self.to.exists():
                    remove(old)
                else:
                    old.rename(self.to)
                    refuse(self.to, self.overwrite)
            remove(self._hidden)
            with self._disk():
                (self._hidden / DATA).mkdir(parents=True)
                (self._hidden / "parts").mkdir()
        except OSError as error:
            self.__exit__(type(error), error, None)
            raise OSError(
                error.errno,
                f"the run folder {self.to} cannot be made: {error.strerror}. Choose another place for to=",
            ) from error
        self._open = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open = False
        remove(self._hidden)
        for parent in self._parents:
            if parent.is_dir() and not any(parent.iterdir()):
                parent.rmdir()

    def append(
        self,
        layer: str,
        reduce: str,
        values: Any,
        rows: ArrayLike,
        places: ArrayLike | None = None,
    ) -> None:
        """Add rows to one layer under one reduction.

        Parameters
        ----------
        layer, reduce
            Where the values come from.
        values
            Shape ``(n_rows, n_neurons)``; sparse ones (always or never) are stored as such.
        rows
            Which input each row came from, shape ``(n_rows,)``.
        places
            Which position or token each row is, shape ``(n_rows, n_axes)``; always or never.

        Raises
        ------
        ValueError
            If shapes do not fit those before, or a finite value is beyond the range of float16.
        """
        self._check_open()
        where = f"layer {layer!r} ({reduce})"
        if (layer, reduce) in self._moments:
            raise ValueError(f"{where} already holds moments: keep either values or moments.")
        values = _sparse.canonical(values) if _sparse.is_sparse(values) else np.asarray(values)
        if values.ndim != 2:
            raise ValueError(f"the values of {where} must have shape (n_rows, n_neurons); got {values.shape}.")
        n_rows = values.shape[0]
        own = {"input": np.asarray(rows, dtype=np.int64)}
        if places is not None:
            own["place"] = np.asarray(places, dtype=np.int64)
        for name, part in own.items():
            same_length(f"{name} of {where}", len(part), "row", n_rows)
        parts = {**self._parts(layer, reduce, values, where), **own}
        streams = self._streams.get((layer, reduce))
        if streams is None:
            folder = self._folder()
            dims = {"values": ("row", "neuron"), "input": ("row",), "place": ("row", "axis"), **SPARSE}
            streams = {name: ArrayStream(folder / name, dims[name], f"{name} of {where}") for name in parts}
            self._streams[layer, reduce] = streams
            self._order[layer, reduce] = 0, -1
        if ("place" in streams) != ("place" in parts):
            raise ValueError(f"{where} must come with places for all of its rows or for none.")
        if set(streams) != set(parts):
            raise ValueError(f"the values of {where} must all be sparse, or none of them.")
        with self._disk():
            for name, part in parts.items():
                streams[name].append(part)
        if n_rows:
            first, last = self._order[layer, reduce]
            self._order[layer, reduce] = min(first, int(parts["input"].min())), max(last, int(parts["input"].max()))

    def _parts(self, layer: str, reduce: str, values: Any, where: str) -> dict[str, NDArray[Any]]:
        """Return the arrays that values become."""
        if not _sparse.is_sparse(values):
            return {"values": self._cast(values, where)}
        width = self._widths.setdefault((layer, reduce), values.shape[1])
        if width != values.shape[1]:
            raise ValueError(f"the values of {where} began with {width} neurons; now come {values.shape[1]}.")
        data = self._cast(values.data, where)
        if np.count_nonzero(data) < len(data):  # too small for a narrower dtype
            values = _sparse.canonical(csr_array((data, values.indices, values.indptr), shape=values.shape))
            data = values.data.astype(data.dtype)
        return {**split(values), "data": data}

    def append_thumbnails(self, thumbnails: ArrayLike) -> None:
        """Add pictures of the next inputs: bytes of shape ``(n, height, width)`` or ``(n, height, width, 3)``."""
        self._check_open()
        thumbnails = np.asarray(thumbnails)
        if thumbnails.ndim not in (3, 4):
            raise ValueError(f"thumbnails must have shape (n, height, width[, 3]); got {thumbnails.shape}.")
        if self._thumbnails is None:
            dims = ("input", "y", "x", "channel")[: thumbnails.ndim]
            self._thumbnails = ArrayStream(self._folder() / "thumbnail", dims, "thumbnails")
        with self._disk():
            self._thumbnails.append(thumbnails)

    def rename_layer(self, old: str, new: str) -> None:
        """Give a layer another name, under all of its reductions."""
        keys = [key for key in self._order if key[0] == old]
        if not keys:
            raise unknown("layer", old, tuple(dict.fromkeys(layer for layer, _ in self._order)))
        if any((new, reduce) in self._order for _, reduce in keys):
            raise ValueError(f"layer {old!r} cannot be renamed: there already is a layer {new!r}.")

        self._streams = _renamed(self._streams, old, new)
        self._moments = _renamed(self._moments, old, new)
        self._widths = _renamed(self._widths, old, new)
        self._order = _renamed(self._order, old, new)

    def drop(self, layer: str, reduce: str) -> None:
        """Take back what was added to one layer under one reduction, if anything was."""
        for kept in (self._streams, self._moments, self._widths, self._order):
            kept.pop((layer, reduce), None)

    def add(self, layer: str, reduce: str, moments: Moments) -> None:
        """Add the moments of one layer under one reduction."""
        self._check_open()
        if (layer, reduce) in self._order:
            raise ValueError(f"layer {layer!r} ({reduce}) is already there.")
        folder = self._folder()
        with self._disk():
            entries, about = write_moments(folder, moments)
        self._moments[layer, reduce] = folder, entries, about
        self._order[layer, reduce] = 0, -1

    def commit(
        self,
        inputs: Inputs,
        provenance: Mapping[str, Any] | None = None,
        complete: bool = True,
        record_provenance: Mapping[Key, Mapping[str, Any]] | None = None,
    ) -> Run:
        """Write the inputs and the index, give the folder its name, and open it.

        Parameters
        ----------
        inputs
            The table of inputs, without thumbnails where these were appended.
        provenance
            Of the run. Values that TOML does not have become text; None is left out, and so is an entry ``complete``.
        complete
            False for a recording that was cut short.
        record_provenance
            Provenance of single records by ``(layer, reduce)``, where it is not the run's.

        Raises
        ------
        ValueError
            If rows or thumbnails do not fit the inputs.
        """
        self._check_open()
        for (layer, reduce), (first, last) in self._order.items():
            if first < 0 or last >= len(inputs):
                raise ValueError(
                    f"rows of layer {layer!r} ({reduce}) name inputs {first} to {last}, and there are {len(inputs)}."
                )
        groups: dict[str, Group] = {}
        data = self._hidden / DATA
        provenance = _without_complete(provenance or {})
        with self._disk():
            groups["inputs"] = self._write_inputs(data / "inputs", inputs)
            for layer, reduce in self._order:
                path = unused(f"layers/{safe_name(layer)}/{safe_name(reduce)}", set(groups))
                about: dict[str, Any] = {"layer": layer, "reduce": reduce}
                own = (record_provenance or {}).get((layer, reduce))
                if own is not None and plain(_without_complete(own)) != plain(provenance):
                    about["provenance"] = own
                if (layer, reduce) in self._moments:
                    folder, entries, more = self._moments[layer, reduce]
                    groups[path] = Group("moments", entries, {**about, **more})
                    attributes = {"layer": layer, "reduce": reduce, "count": more["count"]}
                else:
                    streams = self._streams[layer, reduce]
                    folder = streams["input"].folder.parent
                    entries = {name: stream.finish() for name, stream in streams.items()}
                    attributes = {"layer": layer, "reduce": reduce}
                    if (layer, reduce) in self._widths:
                        attributes["n_neurons"] = about["n_neurons"] = self._widths[layer, reduce]
                    groups[path] = Group("activations", entries, about)
                (data / path).parent.mkdir(parents=True, exist_ok=True)
                folder.rename(data / path)
                write_group(data / path, attributes)
            shutil.rmtree(self._hidden / "parts")
            consolidate(data)
            write_index(self._hidden, Index(groups, provenance, complete))
            put_in_place(self._hidden, self.to, self.overwrite)
        self._open = False

        from topomap.store.reader import load_run

        return load_run(self.to)

    def _write_inputs(self, folder: Path, inputs: Inputs) -> Group:
        classes = {} if inputs.classes is None else {"classes": list(inputs.classes)}
        write_group(folder, {**classes, "coordinates": "id"})
        entries = {"id": write_array(folder / "id", inputs.ids, ("input",), "ids")}
        about: dict[str, Any] = {"n_inputs": len(inputs)}
        if inputs.texts is not None:
            texts = np.asarray(inputs.texts)
            same_length("texts", len(texts), "input", len(inputs))
            entries["text"] = write_array(folder / "text", texts, ("input",), "texts")
        if inputs.thumbnails is not None:
            if self._thumbnails is not None:
                raise ValueError("thumbnails must be either appended or given with the inputs, not both.")
            for start in range(0, max(len(inputs), 1), 1024):
                self.append_thumbnails(inputs.thumbnails[start : start + 1024])
        if self._thumbnails is not None:
            entries["thumbnail"] = self._thumbnails.finish()
            same_length("thumbnails", entries["thumbnail"].shape[0], "input", len(inputs))
            self._thumbnails.folder.rename(folder / "thumbnail")
        columns = {}
        for name, column in inputs.columns.items():
            columns[name] = unused(safe_name(name), {*entries, "id", "text", "thumbnail"})
            entries[columns[name]] = write_array(folder / columns[name], column, ("input",), f"column {name!r}")
        return Group("inputs", entries, {**about, **classes, "columns": columns})

    def _cast(self, values: Any, where: str) -> Any:
        if self.dtype is None or values.dtype == self.dtype:
            return values
        with np.errstate(over="ignore"):
            cast = values.astype(self.dtype)
        if np.any(np.isinf(cast) & np.isfinite(values)):
            raise ValueError(
                f"the values of {where} reach {np.abs(values[np.isfinite(values)]).max():g}, beyond the range of "
                f"{self.dtype} ({np.finfo(self.dtype).max:g}): record with a wider dtype."
            )
        return cast

    def _folder(self) -> Path:
        """Return a new folder for one group, which gets its name at the end."""
        self._n_folders += 1
        return self._hidden / "parts" / str(self._n_folders)

    def _check_open(self) -> None:
        if not self._open:
            raise ValueError("a RunWriter can be written to inside its with block, until commit.")

    @contextmanager
    def _disk(self) -> Iterator[None]:
        with full_disk(self.to):
            yield


def _without_complete(provenance: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in provenance.items() if name != "complete"}  # the index says that itself


def _renamed(known: Mapping[Key, T], old: str, new: str) -> dict[Key, T]:
    return {(new if layer == old else layer, reduce): value for (layer, reduce), value in known.items()}
