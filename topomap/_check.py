"""The wording of every user error and warning, in one place."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterable, Sequence
from numbers import Integral
from typing import Any


class TopomapWarning(UserWarning):
    """A result exists but is not what its user may take it for."""


def warn(message: str, stacklevel: int = 3) -> None:
    """Warn the caller of a public function, with the way out in the message."""
    warnings.warn(message, TopomapWarning, stacklevel=stacklevel)


def listing(options: Iterable[Any], most: int = 12) -> str:
    """Return the options quoted and separated by commas, cut after `most`."""
    options = [repr(option) for option in options]
    more = f", ... ({len(options) - most} more)" if len(options) > most else ""
    return ", ".join(options[:most]) + more


def did_you_mean(value: object, options: Iterable[Any]) -> str:
    """Return `` Did you mean 'umap'?`` when an option resembles the value, else nothing."""
    names = {str(option): option for option in options}
    close = difflib.get_close_matches(str(value), names, n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(repr(names[c]) for c in close)}?" if close else ""


def unknown(name: str, value: object, options: Sequence[Any]) -> ValueError:
    """Return the error for a value that is none of the options."""
    hint = did_you_mean(value, options)
    return ValueError(f"{name} must be one of {listing(options)}; got {value!r}.{hint}")


def choice(name: str, value: Any, options: Sequence[Any]) -> Any:
    """Return the value if it is one of the options, else raise the error that names them."""
    if value not in options:
        raise unknown(name, value, options)
    return value


def at_least(name: str, value: float, least: float) -> None:
    """Raise unless the value is a number, and no less than the least."""
    try:
        fits = value >= least
    except TypeError:  # text, None
        raise ValueError(f"{name} must be a number of at least {least}; got {value!r}.") from None
    if not fits:
        raise ValueError(f"{name} must be at least {least}; got {value!r}.")


def whole_number(name: str, value: Any, least: int) -> int:
    """Return the value as int if it is a whole number, and no less than the least."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise ValueError(f"{name} must be a whole number of at least {least}; got {value!r}.")
    at_least(name, int(value), least)
    return int(value)


def same_length(name: str, length: int, of: str, expected: int) -> None:
    """Raise unless a column has one entry for each row it describes."""
    if length != expected:
        raise ValueError(f"{name} must have one entry per {of}: expected {expected}, got {length}.")


def instance_of(name: str, value: object, types: type | tuple[type, ...], way_out: str) -> None:
    """Raise unless the value is of one of the types; what came is named by its type, and `way_out` is a sentence."""
    if not isinstance(value, types):
        names = " or ".join(kind.__name__ for kind in (types if isinstance(types, tuple) else (types,)))
        raise ValueError(f"{name} must be of type {names}; got {type(value).__name__}. {way_out}")
