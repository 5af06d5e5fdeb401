"""What the command line asks of figures: their width, their resolution, and what goes with what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cyclopts import Token
    from matplotlib.figure import Figure, SubFigure

#: Least and most dots per inch of a figure.
DPI = (10, 2400)

#: Most pixels of a figure: 1 GB of colours.
PIXELS = 250_000_000


def read_width(kind: object, tokens: Sequence[Token]) -> str | float:
    """Read ``--width``, so that an error does not show how its type is spelled.

    Examples
    --------
    >>> from cyclopts import Token
    >>> read_width(None, [Token(value="double")]), read_width(None, [Token(value="4.5")])
    ('double', 4.5)
    """
    text = tokens[0].value
    if text in ("single", "double"):
        return text
    try:
        return float(text)
    except ValueError:
        raise ValueError(f"it must be single, double or a number of inches; got {text!r}.") from None


def read_place(text: str) -> tuple[int, ...]:
    """Return the coordinates of a place.

    Examples
    --------
    >>> read_place("3,4"), read_place("7")
    ((3, 4), (7,))
    >>> read_place("centre")
    Traceback (most recent call last):
        ...
    ValueError: --place takes the coordinates of a place, joined by commas, e.g. 3,4 or 7; got 'centre'.
    """
    parts = [part.strip() for part in text.split(",")]
    if not all(part.isdecimal() for part in parts):
        raise ValueError(f"--place takes the coordinates of a place, joined by commas, e.g. 3,4 or 7; got {text!r}.")
    return tuple(map(int, parts))


def refuse_for_inputs(**given: object) -> None:
    """Refuse options that say how groups are shown beside ``--inputs``.

    Examples
    --------
    >>> refuse_for_inputs(contrast=None, preset=None)
    >>> refuse_for_inputs(contrast="none", preset=None)
    Traceback (most recent call last):
        ...
    ValueError: --inputs paints single inputs, and --contrast is for groups: leave one of them out, ...
    """
    wrong = [f"--{name.replace('_', '-')}" for name, value in given.items() if value is not None]
    if wrong:
        raise ValueError(
            f"--inputs paints single inputs, and {' and '.join(wrong)} {'is' if len(wrong) == 1 else 'are'} for "
            "groups: leave one of them out, or paint groups with --by."
        )


def check_dpi(dpi: float) -> None:
    """Refuse a resolution that no figure has.

    Examples
    --------
    >>> check_dpi(300)
    >>> check_dpi(1e5)
    Traceback (most recent call last):
        ...
    ValueError: dpi must be from 10 to 2400; got 100000.
    """
    if not DPI[0] <= dpi <= DPI[1]:
        raise ValueError(f"dpi must be from {DPI[0]} to {DPI[1]}; got {dpi:g}.")


def check_pixels(figure: Figure | SubFigure, dpi: float) -> None:
    """Refuse to store a figure of more pixels than memory is likely to hold.

    Examples
    --------
    >>> from matplotlib.figure import Figure
    >>> check_pixels(Figure(figsize=(7, 5)), 300)
    >>> check_pixels(Figure(figsize=(7, 50)), 1200)
    Traceback (most recent call last):
        ...
    ValueError: a figure of 7.0 x 50.0 inches at 1200 dpi has more than 250 million pixels: lower --dpi or ...
    """
    whole = figure.get_figure(root=True)
    assert whole is not None  # it was just drawn
    width, height = whole.get_size_inches()
    if not width * height * dpi**2 <= PIXELS:
        raise ValueError(
            f"a figure of {width:.1f} x {height:.1f} inches at {dpi:g} dpi has more than {PIXELS // 10**6} million "
            "pixels: lower --dpi or --width, or choose fewer --groups or --inputs."
        )


def without_windows() -> None:
    """Draw to files alone, so that no display is needed and no window opens."""
    import matplotlib as mpl

    mpl.use("agg")
