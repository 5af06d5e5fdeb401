"""Figures of numbers: a sheet of parts below each other, and the colours and marks that tell methods apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from topomap.plot import style
from topomap.plot.text import wrap

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Margin of the figure, room between axes, and height of a line of small text, in inches.
MARGIN, GAP = 0.08, 0.12
LINE = style.SMALL * 1.2 / 72

#: Dashes of methods that begin alike: the first is a method by itself, the others its chains.
_DASHES: tuple[Any, ...] = ("solid", (0, (3.5, 1.5)), (0, (1, 1.2)), (0, (4, 1.2, 1, 1.2)))

_MARKERS = "os^vDP*X<>pdh"


@dataclass
class _Block:
    """One axes of the sheet in inches from the top left, before the height of the figure is known."""

    axes: Axes
    box: tuple[float, float, float, float]


class Sheet:
    """A figure that grows downwards: parts are put below each other in inches, and the height is known at the end."""

    def __init__(self, width: float) -> None:
        import matplotlib.pyplot as plt

        self.width, self.y = width, 0.06
        self.figure = plt.figure(figsize=(width, 10))
        self._blocks: list[_Block] = []
        self._texts: list[tuple[float, float, str, dict[str, Any]]] = []
        self._rules: list[tuple[float, float, float]] = []

    def axes(self, x: float, y: float, w: float, h: float) -> Axes:
        """Add axes; they have their size at once, so that lines can be made to fit, and their place at the end."""
        ax = self.figure.add_axes((x / self.width, 0, w / self.width, h / 10), label=str(len(self._blocks)))
        self._blocks.append(_Block(ax, (x, y, w, h)))
        return ax

    def text(self, x: float, y: float, text: str, **options: Any) -> None:
        """Write at a place."""
        self._texts.append((x, y, text, {"fontsize": style.SMALL, "color": style.INK, "va": "top", **options}))

    def rule(self, x: float, y: float, w: float) -> None:
        """Draw a thin line to the right."""
        self._rules.append((x, y, w))

    def letter(self, letter: str) -> None:
        """Begin a part by its letter."""
        if letter:
            self.text(MARGIN, self.y, letter, fontsize=style.TITLE + 1, fontweight="bold")

    def draw(self, caption: str) -> Figure:
        """Give everything its place."""
        from matplotlib.lines import Line2D

        from topomap.plot.placed import place_text

        lines = wrap(caption, (self.width - 2 * MARGIN) * 72, style.SMALL)
        if lines:
            self.text(MARGIN, self.y, "\n".join(lines), color=style.QUIET, linespacing=1.2)
        height = self.y + len(lines) * LINE + 0.08
        self.figure.set_size_inches(self.width, height)
        for block in self._blocks:
            x, y, w, h = block.box
            block.axes.set_position((x / self.width, 1 - (y + h) / height, w / self.width, h / height))
        for x, y, w in self._rules:
            ends, at = [x / self.width, (x + w) / self.width], 1 - y / height
            self.figure.add_artist(Line2D(ends, [at, at], color=style.DEAD, linewidth=0.5))
        for x, y, text, options in self._texts:
            place_text(self.figure, x / self.width, 1 - y / height, text, **options)
        return self.figure


def looks_of(methods: Sequence[str]) -> Mapping[str, dict[str, Any]]:
    """Return each method's colour, marker and dashes; what begins alike (umap, umap+swarm) differs in dashes alone."""
    starts = list(dict.fromkeys(name.split("+")[0] for name in methods))
    pale = style.OKABE_ITO[-1]  # a thin yellow line on white is lost
    colors = [color for color in style.categorical(len(starts) + 1) if color != pale]
    looks: dict[str, dict[str, Any]] = {}
    for name in methods:
        start = name.split("+")[0]
        alike = sum(other.split("+")[0] == start for other in looks)
        looks[name] = {
            "color": colors[starts.index(start)],
            "marker": _MARKERS[starts.index(start) % len(_MARKERS)],
            "linestyle": _DASHES[alike % len(_DASHES)],
        }
    return looks


def dress(ax: Axes) -> None:
    """Give axes with numbers the house's thin lines and small letters."""
    ax.tick_params(labelsize=style.SMALL, width=0.5, length=2.5, pad=1.5, colors=style.INK, which="both")
    for side, spine in ax.spines.items():
        spine.set(linewidth=0.5, edgecolor=style.INK, visible=side in ("left", "bottom"))
    ax.set_axisbelow(True)
