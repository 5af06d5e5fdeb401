"""The run folder on disk: Zarr v3 arrays that xarray reads, and an index that says what is there.

A run folder holds two things::

    run.toml                       the index
    run.zarr/                      a Zarr v3 hierarchy: ``xarray.open_zarr(folder / "run.zarr", group=...)``
        inputs/                    the table of inputs
        layers/<layer>/<reduce>/   activations or moments of one layer under one reduction
        steps/<step>/              a snapshot of a training: its own layers/... and inputs/
        <other>/...                data sets that later steps add: layouts/<layer>/<reduce>/<method>, patterns/...

**Index.** ``schema`` (version of this layout, 1), ``topomap`` (version that wrote it), ``complete`` (false for a
recording cut short), the tables ``provenance`` (parameters, seed, counts, versions, as recorded; None is left out,
tuples become arrays) and ``versions`` (of the packages that wrote the folder, unless those in ``provenance`` are the
same), and one table ``groups."<path>"`` per group with its ``kind`` (``inputs``, ``activations``,
``moments``, ``dataset``), the ``sizes`` of its dimensions, and for each array ``dims`` (separated by spaces),
``dtype``, and the number of its chunk files and their ``bytes`` in all. What the index does not name does not exist.

**Trainings.** The index has a table ``training`` with the ``steps`` of the snapshots, in order, and ``metrics``, one
value per step each (``nan`` where none was logged). A snapshot describes itself: the attributes of its group have its
``step``, the ``groups`` in it as the index would have them, and what in its ``provenance`` is not the run's. Its
``inputs`` are the columns that differ from those of the run, such as predictions. Each snapshot is a Zarr hierarchy of
its own, which the consolidated metadata of the whole leaves out, so that a snapshot costs the same however many there
are before it: ``xarray.open_zarr(folder / "run.zarr" / "steps" / "100", group="layers/fc/none")``. It is written aside
and moved in by rename; it exists once the index, replaced by rename after that, names its step.

**Arrays** have dimension names, Zstandard compression and a CRC32C checksum per chunk. A chunk holds some rows (about
2 MiB; a multiple of 1024 rows where it holds more than these) and all of the other axes. Chunks of zeros are written
too, so a missing chunk is always an error. Text is stored as Zarr ``string`` (UTF-8 of any length) whatever dtype it
had; times as ``int64``; columns of mixed objects as JSON text (dtype ``json`` in the index).

======================= ======================== =============================================================
group                   array                    dimensions
======================= ======================== =============================================================
``inputs``              ``id``                   input
                        one per column           input (``columns`` in the index maps names to arrays)
                        ``thumbnail``            input, y, x[, channel]; bytes
                        ``text``                 input
activations             ``values``               row, neuron; float32 or float16 when recorded
                        ``data``, ``indices``,   instead of values, where they are sparse: what is not zero and in which
                        ``count``                neuron, over entry, row after row, and the entries per row; with an
                                                 attribute ``n_neurons``
                        ``input``                row: which input the row came from
                        ``place``                row, axis: which position or token it is, where these were kept
moments                 ``mean``, ``variance``   neuron; variance with ddof 1
                        ``minimum``, ``maximum`` neuron
                        ``covariance``           neuron, other; ddof 1
                        ``sketch``               neuron, feature; float32
                        ``by_<by>``              by_<by>: names of the groups of a grouping (``groupings`` in the index)
                        ``key_by_<by>``          by_<by>: the column values of a group, as a JSON array
                        ``count_by_<by>``        by_<by>
                        ``mean_by_<by>``,        by_<by>, neuron
                        ``variance_by_<by>``
======================= ======================== =============================================================

**Names** of layers, reductions, columns and data sets become folder names by leaving ASCII letters, digits and
``_ . # ~ -`` and writing other bytes as ``%`` and two hexadecimal digits; the root module, whose name is empty, is
``%root``; names that a file system blind to case would confuse get ``%n2``, ``%n3``, ... The index holds the true
names.

**Writing.** A run is built in the hidden folder ``.<name>.topomap-partial`` beside its place; ``run.toml`` is written
last and synced, then one rename gives the folder its name. Whatever happens before leaves nothing behind but, after a
kill, the hidden folder, which the next writer to that place removes. There may be one writer to a run folder at a time,
and no reader while it is being replaced: several are not coordinated.
"""

from topomap.store.datasets import list_datasets, read_dataset, write_dataset
from topomap.store.reader import open_run
from topomap.store.saving import save_run
from topomap.store.snapshots import TrainingFolder
from topomap.store.writer import RunWriter

__all__ = ["RunWriter", "TrainingFolder", "list_datasets", "open_run", "read_dataset", "save_run", "write_dataset"]
