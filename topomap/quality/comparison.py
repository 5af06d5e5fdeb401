"""Comparison: layouts of one layer by several methods, measured alike, as a table."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from topomap._check import choice
from topomap.layout import Layout
from topomap.quality.measure import Quality
from topomap.quality.smoothness import Smoothness
from topomap.quality.stability import Stability

if TYPE_CHECKING:
    import xarray


class Measure(NamedTuple):
    """How a measure is written, and which way is better: 1 for high, -1 for low, 0 for neither."""

    heading: str
    decimals: int
    better: int


#: What layouts are compared by, in the order of the table.
MEASURES: Mapping[str, Measure] = {
    "trustworthiness": Measure("T", 3, 1),
    "continuity": Measure("C", 3, 1),
    "knn": Measure("kNN", 3, 1),
    "spearman": Measure("Spearman", 3, 1),
    "moran": Measure("Moran", 3, 1),
    "blobs": Measure("blobs", 1, -1),
    "coverage": Measure("coverage", 3, 1),
    "evenness": Measure("evenness", 3, -1),
    "hole": Measure("hole", 2, -1),
    "resize_auc": Measure("resize", 2, -1),
    "blur_auc": Measure("blur", 2, -1),
    "components": Measure("components", 1, -1),
    "component_area": Measure("area", 0, 0),
    "disparity": Measure("disparity", 3, -1),
    "seconds": Measure("seconds", 2, -1),
}

_SMOOTH = ("resize_auc", "blur_auc", "components", "component_area")

#: Written under every table that has them.
BLACK = (
    "resize, blur and components are measured on pictures, as by Krug et al. (2023): what a layout leaves empty is "
    "black there and counts."
)


@dataclass(frozen=True, eq=False)
class Trial:
    """One layout and what was measured of it."""

    method: str
    layout: Layout
    seconds: float
    quality: Quality
    smoothness: Smoothness | None

    def value(self, name: str) -> float:
        """Return one of the measures; NaN for what was not measured."""
        if name == "seconds":
            return self.seconds
        source = self.smoothness if name in _SMOOTH else self.quality
        return float(getattr(source, name, np.nan))


@dataclass(frozen=True, eq=False)
class Comparison:
    """Layouts of one layer by several methods, measured alike.

    ``print(comparison)`` shows the table of medians over repetitions. What a measure says is told by `Quality`,
    `Smoothness` and `Stability`.

    Parameters
    ----------
    trials
        One for each layout: its `method`, `layout`, `seconds`, `quality` and `smoothness` (None without profiles).
    methods
        Names of those that gave a layout, in the order asked for.
    left_out
        Why methods were not run, by name.
    failed
        Why methods gave no layout, or fewer than asked for, by name.
    stability
        Over bootstrap samples of the inputs, by method; empty unless asked for.
    metric
        What the neurons were compared by.
    layer
        Which layer it was.
    interrupted
        Whether Ctrl-C ended it before all was done.

    Examples
    --------
    >>> import numpy as np
    >>> import topomap as tm
    >>> similarity = tm.correlate(np.random.default_rng(0).normal(size=(100, 30)))
    >>> comparison = tm.compare_layouts(similarity, methods=["random", "pca"], n=2)
    >>> comparison
    Comparison(30 neurons in a disc, 2 repetitions: random, pca)
    >>> comparison.values("knn", "pca").shape
    (2,)
    """

    trials: tuple[Trial, ...] = field(repr=False)
    methods: tuple[str, ...]
    left_out: Mapping[str, str] = field(default_factory=dict)
    failed: Mapping[str, str] = field(default_factory=dict)
    stability: Mapping[str, Stability] = field(default_factory=dict)
    metric: str = "pearson"
    layer: str = ""
    interrupted: bool = False

    @property
    def n(self) -> int:
        """Most repetitions of a method."""
        return max(len(self.of(name)) for name in self.methods)

    @property
    def n_neurons(self) -> int:
        """Number of neurons, dead ones included."""
        return self.trials[0].layout.n_neurons

    @property
    def n_live(self) -> int:
        """Number of neurons that took part."""
        return self.trials[0].quality.n_live

    def of(self, method: str) -> tuple[Trial, ...]:
        """Return the trials of one method, in the order of their seeds."""
        choice("method", method, self.methods)
        return tuple(trial for trial in self.trials if trial.method == method)

    def values(self, measure: str, method: str) -> NDArray[np.float64]:
        """Return a measure of every repetition, shape ``(n,)``; ``"disparity"`` has one value per pair of samples."""
        choice("measure", measure, tuple(MEASURES))
        if measure == "disparity":
            found = self.stability.get(method)
            return np.empty(0) if found is None else np.array(found.disparities, dtype=np.float64)
        return np.array([trial.value(measure) for trial in self.of(method)])

    @property
    def measured(self) -> tuple[str, ...]:
        """Names of the measures that at least one method has."""
        return tuple(m for m in MEASURES if any(np.isfinite(self.values(m, name)).any() for name in self.methods))

    def rows(self) -> list[dict[str, Any]]:
        """Return one row per method: its name, repetitions, and the median of every measure (NaN if there is none).

        ``"disparity"`` is the mean over pairs, as `Stability` has it.
        """
        return [
            {"method": name, "repetitions": len(self.of(name)), **{m: self._middle(m, name) for m in MEASURES}}
            for name in self.methods
        ]

    def _middle(self, measure: str, method: str) -> float:
        if measure == "disparity":
            return self.stability[method].disparity if method in self.stability else float("nan")
        values = self.values(measure, method)
        values = values[np.isfinite(values)]
        return float(np.median(values)) if len(values) else float("nan")

    def best(self, measure: str) -> tuple[str, ...]:
        """Return the methods whose median is the best, ties at the table's precision included."""
        choice("measure", measure, tuple(MEASURES))
        _, decimals, better = MEASURES[measure]
        found = {name: round(better * self._middle(measure, name), decimals) for name in self.methods if better}
        finite = [value for value in found.values() if np.isfinite(value)]
        return tuple(name for name, value in found.items() if finite and value == max(finite))

    def to_markdown(self) -> str:
        """Return the table for a document, best values bold."""
        header, *body = self._cells("**{}**")
        lines = [header, ["---", *["--:"] * (len(header) - 1)], *body]
        table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
        return "\n\n".join([table, *self._notes()])

    def to_csv(self, path: str | Path) -> Path:
        """Write one row per layout with all measures; methods without a layout have a row that says why.

        Parameters
        ----------
        path
            The file.

        Returns
        -------
        Path
            The file.
        """
        names = [name for name in MEASURES if name != "disparity"]
        absent = {**self.left_out, **{name: why for name, why in self.failed.items() if name not in self.methods}}
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["method", "seed", "region", "n_neurons", "n_live", "k", *names, "disparity", "note"])
            for trial in self.trials:
                quality = trial.quality
                about = [trial.method, trial.layout.seed, quality.region, quality.n_neurons, quality.n_live, quality.k]
                numbers = [trial.value(name) for name in names] + [self._middle("disparity", trial.method)]
                told = ["" if np.isnan(number) else repr(float(number)) for number in numbers]
                writer.writerow([*about, *told, self.failed.get(trial.method, "")])
            for name, why in absent.items():
                writer.writerow([name, *[""] * (len(names) + 6), why])
        return Path(path)

    def to_xarray(self) -> xarray.Dataset:
        """Return measures over ``algorithm`` and ``repetition``, the paper's curves over ``size`` and ``radius`` too.

        The dimension of methods has another name, as ``sel(method=)`` means something else to xarray.
        """
        import xarray

        shape = (len(self.methods), self.n)
        data: dict[str, Any] = {name: np.full(shape, np.nan) for name in MEASURES if name != "disparity"}
        data["seed"] = np.full(shape, -1, dtype=np.int64)
        coords: dict[str, Any] = {"algorithm": list(self.methods)}
        axes = {"resize_mse": "size", "blur_mse": "radius"}
        first = next((trial.smoothness for trial in self.trials if trial.smoothness is not None), None)
        if first is not None:
            coords |= {"size": first.sizes, "radius": first.radii}
            data |= {name: np.full((*shape, len(coords[axis])), np.nan) for name, axis in axes.items()}
        for i, name in enumerate(self.methods):
            for j, trial in enumerate(self.of(name)):
                for each in set(data) - {"seed", *axes}:
                    data[each][i, j] = trial.value(each)
                data["seed"][i, j] = -1 if trial.layout.seed is None else trial.layout.seed
                if trial.smoothness is not None:
                    for curve in axes:
                        data[curve][i, j] = getattr(trial.smoothness, curve)
        dims = ("algorithm", "repetition")
        variables: dict[str, Any] = {
            name: ((*dims, axes[name]) if name in axes else dims, values) for name, values in data.items()
        }
        variables["disparity"] = (("algorithm",), [self._middle("disparity", name) for name in self.methods])
        quality = self.trials[0].quality
        attrs = {"region": quality.region, "n_neurons": self.n_neurons, "n_live": self.n_live, "k": quality.k}
        told = {"left_out": json.dumps(dict(self.left_out)), "failed": json.dumps(dict(self.failed))}
        return xarray.Dataset(variables, coords, {**attrs, "metric": self.metric, "layer": self.layer, **told})

    def _cells(self, best: str) -> list[list[str]]:
        """Return header and rows as text, the best of each column put into `best`."""
        shown = [name for name in self.measured if name != "component_area"]
        marked = {name: self.best(name) for name in shown}
        body = []
        for row in self.rows():
            line = [row["method"]]
            for name in shown:
                text = _number(row[name], name)
                line.append(best.format(text) if row["method"] in marked[name] and len(self.methods) > 1 else text)
            body.append(line)
        return [["method", *(MEASURES[name].heading for name in shown)], *body]

    def _notes(self) -> list[str]:
        notes = [BLACK] if "resize_auc" in self.measured else []
        notes += [f"left out: {names} ({why})." for names, why in _together(self.left_out)]
        return notes + [f"failed: {names} ({why})." for names, why in _together(self.failed)]

    def describe(self) -> str:
        """Return what was compared, in one line."""
        quality = self.trials[0].quality
        dead = f" ({self.n_neurons - self.n_live} dead)" if self.n_live < self.n_neurons else ""
        layer = f"Layer {self.layer}: " if self.layer else ""
        seeds = sorted({trial.layout.seed for trial in self.trials if trial.layout.seed is not None})
        times = f"seed{'s' * (len(seeds) > 1)} {_range(seeds)}"
        where = f"region {quality.region}, {self.metric}, k = {quality.k}"
        halt = ", interrupted" if self.interrupted else ""
        return f"{layer}{self.n_neurons:,} neurons{dead}, {where}, {times}{halt}"

    def __str__(self) -> str:
        cells = self._cells("*{}")
        widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
        lines = [
            "  ".join(
                [line[0].ljust(widths[0]), *(cell.rjust(w) for cell, w in zip(line[1:], widths[1:], strict=True))]
            )
            for line in cells
        ]
        title = f"{self.describe()}; medians, best *"
        return "\n".join([title, "", *(line.rstrip() for line in lines), *[""] * bool(self._notes()), *self._notes()])

    def __repr__(self) -> str:
        region = self.trials[0].quality.region
        where = "their hull" if region == "hull" else f"a {region}"
        times = f"{self.n} repetition{'s' * (self.n != 1)}"
        rest = "".join(
            f"; {len(names)} {what}" for names, what in ((self.left_out, "left out"), (self.failed, "failed")) if names
        )
        return f"Comparison({self.n_neurons} neurons in {where}, {times}: {', '.join(self.methods)}{rest})"


def _number(value: float, name: str) -> str:
    if np.isnan(value):
        return "-"
    return f"{value:,.0f}" if name == "seconds" and value >= 100 else f"{value:.{MEASURES[name].decimals}f}"


def _together(reasons: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return names that share a reason, and the reason."""
    shared: dict[str, list[str]] = {}
    for name, why in reasons.items():
        shared.setdefault(why, []).append(name)
    return [(", ".join(names), why.rstrip(".")) for why, names in shared.items()]


def _range(numbers: Sequence[int]) -> str:
    """Return ``0-2`` for consecutive numbers, else all of them."""
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"{numbers[0]}-{numbers[-1]}"
    return ", ".join(map(str, numbers))
