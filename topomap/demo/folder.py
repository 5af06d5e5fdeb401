"""The folder of a demo, which is whole or not there."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from topomap.run import versions

#: The file that marks a folder as a demo's own: only such a folder is ever replaced.
MARK = "demo.toml"


def write_mark(folder: Path, facts: Mapping[str, Any]) -> None:
    """Mark a folder as a demo's, with what it was made with."""
    import tomli_w

    (folder / MARK).write_text(tomli_w.dumps({**facts, "versions": versions()}), encoding="utf-8")


def check_target(target: Path, overwrite: bool) -> None:
    """Refuse a folder that may not be replaced, before any work is done."""
    if not target.exists():
        return
    if not (target / MARK).is_file():
        raise ValueError(f"{target} exists and is not a demo's folder; choose another one with to= (--to).")
    if not overwrite:
        raise ValueError(
            f"{target} exists: the demo has run already. Replace it with overwrite=True (--overwrite), or choose "
            "another folder with to= (--to)."
        )


@contextmanager
def whole_folder(target: Path, overwrite: bool) -> Iterator[Path]:
    """Give a hidden folder beside the target that takes its name in the end, or goes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    folder.chmod(0o755)  # mkdtemp makes it private
    try:
        yield folder
        check_target(target, overwrite)
        if target.exists():
            old = Path(mkdtemp(prefix=f".{target.name}-", dir=target.parent))
            target.rename(old / target.name)
            folder.rename(target)
            shutil.rmtree(old)
        else:
            folder.rename(target)
    finally:
        if folder.exists():
            shutil.rmtree(folder)
