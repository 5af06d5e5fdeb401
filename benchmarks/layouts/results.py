"""One line of JSON per finished measurement, so that nothing that was measured is lost or measured again."""

from __future__ import annotations

import json
from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: What tells one measurement from another, in this order.
KEY = ("kind", "data", "n", "net", "metric", "method", "region", "over")

Row = dict[str, Any]


def key_of(row: Row) -> str:
    """Return the key of a measurement: its fields of `KEY`, joined by slashes."""
    return "/".join(str(row[name]) for name in KEY if name in row)


class Results:
    """Measurements in a file that only grows; of two with the same key the later one counts."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, Row] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists():
            text = path.read_text()
            for line in text[: text.rfind("\n") + 1].splitlines():  # a line in the making does not count
                row = json.loads(line)
                if row.get("forgotten"):
                    self.rows.pop(key_of(row), None)
                else:
                    self.rows[key_of(row)] = row

    def mend(self) -> None:
        """Cut off a last line that an interruption left half written."""
        if self.path.exists():
            text = self.path.read_bytes()
            whole = text[: text.rfind(b"\n") + 1]
            if whole != text:
                self.path.write_bytes(whole)

    def has(self, **fields: Any) -> bool:
        """Whether there is a measurement with this key."""
        return key_of(fields) in self.rows

    def add(self, row: Row) -> None:
        """Append a measurement."""
        plain = {name: _plain(value) for name, value in row.items()}
        with self.path.open("a") as file:
            file.write(json.dumps(plain) + "\n")  # one write of a short line: processes do not mix theirs
        self.rows[key_of(row)] = plain

    def forget(self, pattern: str) -> int:
        """Forget measurements whose key fits a shell pattern; return how many."""
        found = [row for key, row in self.rows.items() if fnmatch(key, pattern)]
        for row in found:
            named = {name: row[name] for name in KEY if name in row}
            with self.path.open("a") as file:
                file.write(json.dumps(named | {"forgotten": True}) + "\n")
            del self.rows[key_of(row)]
        return len(found)

    def positions_file(self, data: str, n: int, net: int, metric: str, method: str, region: str) -> Path:
        """Where the positions of a layout are kept, for chains and for the figure."""
        name = f"{data}-{n}-{net}-{metric}-{method.replace('>', '-to-')}-{region}.npy"
        return self.path.parent / "positions" / name

    def select(self, **fields: Any) -> list[Row]:
        """Return the measurements with these fields."""
        return [row for row in self.rows.values() if all(row.get(name) == value for name, value in fields.items())]

    def values(self, name: str, **fields: Any) -> list[float]:
        """Return one number of each measurement with these fields, without what could not be measured."""
        found = [row.get(name) for row in self.select(**fields)]
        return [float(value) for value in found if value is not None]

    def median(self, name: str, **fields: Any) -> float:
        """Return the median of `values`; NaN where there is none."""
        found = self.values(name, **fields)
        return median(found) if found else float("nan")


def distinct(rows: Iterable[Row], name: str) -> list[Any]:
    """Return the values of one field in the order in which they appear first."""
    return list(dict.fromkeys(row[name] for row in rows if name in row))


def save_positions(path: Path, positions: NDArray[Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, np.asarray(positions, dtype=np.float32))


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float):
        return round(value, 6) if np.isfinite(value) else None
    return value
