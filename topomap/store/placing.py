"""A folder that was built aside takes the place of a run, or of nothing."""

from __future__ import annotations

import errno
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from topomap.store.index import DATA, INDEX, aside, sync_folder


def refuse(to: Path, overwrite: bool) -> None:
    """Raise ValueError if what is at the place of a run may not be replaced."""
    if not to.exists():
        return
    if not to.is_dir():
        raise ValueError(f"to= must name a folder, and {to} is a file.")
    if not any(to.iterdir()):
        return
    if not ((to / INDEX).is_file() and (to / DATA).is_dir()):
        raise ValueError(f"to= must name a new folder: {to} holds something that is not a run.")
    if not overwrite:
        raise ValueError(f"there already is a run at {to}: choose another folder, or pass overwrite=True.")


def put_in_place(hidden: Path, to: Path, overwrite: bool) -> None:
    """Give a folder that was built aside its name; files of others in what it replaces are kept."""
    refuse(to, overwrite)
    old = aside(to, "old")
    replaced = to.exists()
    if replaced:
        to.rename(old)
    try:
        hidden.rename(to)
    except OSError:
        if replaced:
            old.rename(to)
        raise
    if replaced:
        for foreign in old.iterdir():
            if foreign.name not in (INDEX, DATA):
                foreign.rename(to / foreign.name)
        remove(old)
    sync_folder(to.parent)


def remove(folder: Path) -> None:
    """Remove a hidden folder of ours, if it is there; what cannot be removed is for the next writer."""
    shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def full_disk(to: Path) -> Iterator[None]:
    """Say what a full disk means: nothing half-written is left."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise OSError(
            error.errno,
            f"no space left on the disk while writing to {to}; nothing half-written is kept. "
            "Free some space, choose another folder, or keep less (dtype='float16', keep='moments', fewer layers)",
        ) from error
