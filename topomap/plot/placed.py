"""Text that is as wide as it was measured, at any resolution."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.backend_bases import RendererBase
from matplotlib.figure import Figure
from matplotlib.text import Text
from matplotlib.transforms import Bbox


class PlacedText(Text):
    """Text of a figure, drawn without hinting.

    Hinting moves every letter to whole pixels, which makes a line of small letters up to an eighth wider on a coarse
    screen than `topomap.plot.text.text_width` says: at 102 dots per inch captions ran past the edge of their figure.
    """

    def draw(self, renderer: RendererBase, *args: Any, **more: Any) -> None:
        """Draw the text."""
        with _unhinted():
            super().draw(renderer, *args, **more)

    def get_window_extent(self, renderer: RendererBase | None = None, dpi: float | None = None) -> Bbox:
        """Return its box in pixels."""
        with _unhinted():
            return super().get_window_extent(renderer, dpi)


def place_text(figure: Figure, x: float, y: float, text: str, **options: Any) -> None:
    """Write into a figure, at a place from (0, 0) at the bottom left to (1, 1)."""
    # Only the figure's own method makes texts that it lists and that can be removed; it makes plain ones.
    figure.text(x, y, text, parse_math=False, **options).__class__ = PlacedText


@contextmanager
def _unhinted() -> Iterator[None]:
    before = mpl.rcParams["text.hinting"]
    mpl.rcParams["text.hinting"] = "none"
    try:
        yield
    finally:
        mpl.rcParams["text.hinting"] = before
