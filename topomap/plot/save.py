"""From a drawing to a file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from topomap._check import unknown
from topomap.plot import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import FigureBase

#: What a file without a date is told, per format, so that the same drawing gives the same bytes.
_NO_DATE: dict[str, dict[str, Any]] = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {"Software": None}}


def save_figure(drawn: FigureBase | Axes, to: str | Path, *, dpi: float = 300) -> Path:
    """Save a drawing; the file appears whole or not at all, and the same drawing gives the same bytes.

    Parameters
    ----------
    drawn
        A figure, or axes whose figure is meant.
    to
        The file; its suffix is the format: ``.png``, ``.pdf``, ``.svg`` and what else matplotlib writes.
    dpi
        Dots per inch of what is stored as pixels.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        For a suffix that is no format.
    OSError
        If the file cannot be written.

    Examples
    --------
    >>> import tempfile
    >>> from matplotlib.figure import Figure
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_figure(Figure(figsize=(1, 1)), Path(folder, "map.pdf")).read_bytes()[:5]
    b'%PDF-'
    """
    import matplotlib as mpl

    path = Path(to)
    figure: Any = drawn.get_figure(root=True) or drawn
    check_format(path)
    kind = path.suffix[1:].lower()
    with whole_file(path) as part, style.rc(dpi), mpl.rc_context({"svg.hashsalt": "topomap"}):
        figure.savefig(part, metadata=_NO_DATE.get(kind))
    return path


@contextmanager
def whole_file(to: Path) -> Iterator[Path]:
    """Give a hidden file beside the target that takes its name in the end, or goes."""
    to.parent.mkdir(parents=True, exist_ok=True)
    part = to.with_name(f".{to.name}-{uuid4().hex[:8]}{to.suffix}")
    try:
        yield part
        part.replace(to)
    finally:
        part.unlink(missing_ok=True)


def check_format(to: str | Path) -> None:
    """Raise unless a file's suffix is a format that figures can be saved in.

    Parameters
    ----------
    to
        The file.

    Raises
    ------
    ValueError
        Naming the formats.

    Examples
    --------
    >>> check_format("map.png")
    >>> check_format("map.pgn")
    Traceback (most recent call last):
        ...
    ValueError: the suffix of map.pgn must be one of '.eps', ..., '.png', ...; got '.pgn'. Did you mean '.png' ...
    """
    from matplotlib.backend_bases import FigureCanvasBase

    path = Path(to)
    formats = tuple(f".{kind}" for kind in FigureCanvasBase.get_supported_filetypes())
    if path.suffix.lower() not in formats:
        raise unknown(f"the suffix of {path}", path.suffix, formats)
