"""The one table of inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import same_length, unknown
from topomap.groups import Groups, _missing

if TYPE_CHECKING:
    import xarray


@dataclass(frozen=True, eq=False)
class Inputs:
    """The one table of inputs.

    Parameters
    ----------
    ids
        Stable identifiers, shape ``(n_inputs,)``: positions in the data set, or content hashes.
    columns
        Columns of length ``n_inputs``: ``label``, ``prediction``, ``confidence`` where known, and any metadata.
        ``correct`` is derived from label and prediction.
    classes
        Names of the integer codes in ``label`` and ``prediction``.
    thumbnails
        Small pictures as bytes, shape ``(n_inputs, height, width)`` or ``(n_inputs, height, width, 3)``.
    texts
        One text per input.

    Examples
    --------
    >>> inputs = Inputs(np.arange(3), {"label": [0, 1, 1], "prediction": [0, 1, 0]}, classes=("cat", "dog"))
    >>> inputs
    Inputs(3: label, prediction, correct)
    >>> inputs["correct"].tolist(), inputs.named("label").tolist()
    ([True, True, False], ['cat', 'dog', 'dog'])
    """

    ids: NDArray[Any]
    columns: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    thumbnails: Any | None = None
    texts: NDArray[Any] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "ids", np.asarray(self.ids))
        columns = {str(name): np.asarray(values) for name, values in self.columns.items()}
        for name, values in columns.items():
            if not values.ndim:
                raise ValueError(f"column {name!r} must have one entry per input; got {values.item()!r} alone.")
            same_length(f"column {name!r}", len(values), "input", len(self))
        if "correct" not in columns and comparable(columns.get("label"), columns.get("prediction")):
            columns["correct"] = is_correct(columns["label"], columns["prediction"])
        object.__setattr__(self, "columns", columns)
        if self.classes is not None:
            object.__setattr__(self, "classes", tuple(str(name) for name in self.classes))
        if self.texts is not None:
            object.__setattr__(self, "texts", np.asarray(self.texts))
            same_length("texts", len(self.texts), "input", len(self))
        if self.thumbnails is not None:
            same_length("thumbnails", len(self.thumbnails), "input", len(self))

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, column: str) -> NDArray[Any]:
        if column not in self.columns:
            raise unknown("column", column, tuple(self.columns))
        return self.columns[column]

    @property
    def label(self) -> NDArray[Any] | None:
        """The true label per input, if known."""
        return self.columns.get("label")

    @property
    def prediction(self) -> NDArray[Any] | None:
        """The predicted label per input, if known."""
        return self.columns.get("prediction")

    @property
    def confidence(self) -> NDArray[Any] | None:
        """The probability of the predicted label per input, if known."""
        return self.columns.get("confidence")

    @property
    def correct(self) -> NDArray[Any] | None:
        """Whether the prediction is the label, if both are known."""
        return self.columns.get("correct")

    def with_columns(self, **columns: Any) -> Inputs:
        """Return the table with columns added or replaced."""
        kept = dict(self.columns)
        if {"label", "prediction"} & set(columns):
            kept.pop("correct", None)
        return replace(self, columns={**kept, **columns})

    def named(self, column: str) -> NDArray[Any]:
        """Return a column as text, with class names for codes and nothing where the value is missing."""
        text = np.full(len(self), "", dtype=object)
        if _missing(self[column]).all():
            return text
        groups = Groups.from_columns({column: self[column]}, self._names())
        for row, name in enumerate(groups.names):
            text[groups.rows_of(name)] = groups.names[row]
        return text

    def _names(self) -> dict[str, Sequence[str]]:
        return dict.fromkeys(("label", "prediction"), self.classes) if self.classes else {}

    def to_xarray(self) -> xarray.Dataset:
        """Return the table as a data set over the dimension ``input``."""
        import xarray

        data: dict[str, Any] = {name: (("input",), values) for name, values in self.columns.items()}
        if self.texts is not None:
            data["text"] = (("input",), self.texts)
        if self.thumbnails is not None:
            axes = ("input", "y", "x", "channel")[: len(self.thumbnails.shape)]
            data["thumbnail"] = (axes, np.asarray(self.thumbnails))
        attrs = {"classes": list(self.classes)} if self.classes else {}
        return xarray.Dataset(data, coords={"id": (("input",), self.ids)}, attrs=attrs)

    def __repr__(self) -> str:
        extras = [name for name in ("thumbnails", "texts") if getattr(self, name) is not None]
        return f"Inputs({len(self)}: {', '.join([*self.columns, *extras]) or 'no columns'})"


def comparable(label: NDArray[Any] | None, prediction: NDArray[Any] | None) -> bool:
    """Return whether both are there and both are codes or both are text: names are never equal to codes."""
    if label is None or prediction is None:
        return False
    return _is_text(label) == _is_text(prediction)


def _is_text(column: NDArray[Any]) -> bool:
    return column.dtype.kind in "UST" or (column.dtype.kind == "O" and any(isinstance(v, str) for v in column))


def is_correct(label: NDArray[Any], prediction: NDArray[Any]) -> NDArray[Any]:
    """Compare labels and predictions; where either is missing there is no answer (nan)."""
    same = np.asarray(label == prediction)
    missing = _missing(label) | _missing(prediction)
    return np.where(missing, np.nan, same) if missing.any() else same
