"""What moves in a film: maps painted by one sparse product and laid into the page by a table of colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from topomap.layout import Layout
from topomap.plot import style
from topomap.plot.lettering import Letters
from topomap.plot.panel import PALE, Ground, fade
from topomap.plot.stage import Stage, fitted, frame_of, margin_of
from topomap.surface import Surface
from topomap.training import Places, TrainingMaps

#: Colours that a value can have; two more are those of dead neurons and of maps without inputs.
_LEVELS = 1024

#: Pixels, the share of them that a map has, and what else is in them.
_Edge = tuple[NDArray[np.int64], NDArray[np.float32], NDArray[np.float32]]

#: A space as wide as a digit.
_DIGIT = "\u2007"

#: A pixel takes the colour of dead neurons where they are nearest, or where less than this of its weight is alive.
_ALIVE = 0.05


@dataclass(frozen=True, eq=False)
class Brush:
    """The linear map from neurons to the pixels of one map, and what is left out of it.

    Parameters
    ----------
    where
        Rows and columns of the pixels within a map.
    operator
        Shape ``(n_pixels, n_neurons)``.
    owner
        The neuron that is nearest to each pixel, shape ``(n_pixels,)``.
    """

    where: tuple[NDArray[np.int64], NDArray[np.int64]]
    operator: sparse.csr_array
    owner: NDArray[np.int64]

    @classmethod
    def of(cls, layout: Layout, side: int, inside: NDArray[np.bool_], extrapolate: str) -> Brush:
        """Build the brush for maps of so many pixels along a side, of which those `inside` may be painted."""
        from scipy.ndimage import distance_transform_edt
        from scipy.spatial import cKDTree

        margin = margin_of(side)
        surface = Surface(layout, resolution=side - 2 * margin, extrapolate=extrapolate)
        core = inside[margin : side - margin, margin : side - margin]
        rows, columns = np.nonzero(core if layout.region != "hull" else core & surface.mask)
        source = rows * surface.resolution + columns
        if layout.region != "hull":
            # pixels at the smooth border take the value of the painted pixel next to them
            _, (r, c) = distance_transform_edt(~surface.mask, return_indices=True)
            source = (r * surface.resolution + c)[rows, columns]
        places = surface.pixels[rows * surface.resolution + columns]
        owner = cKDTree(layout.positions).query(places)[1]
        operator = sparse.csr_array(surface.operator[source])
        index = (operator.indices.astype(np.int32), operator.indptr.astype(np.int32))
        operator = sparse.csr_array((operator.data, *index), shape=operator.shape)
        return cls((rows + margin, columns + margin), operator, owner)


@dataclass(frozen=True, eq=False)
class Painter:
    """Paints the frames of a film.

    Parameters
    ----------
    stage
        What stands still.
    maps, places
        What is painted, and where neurons lie.
    ground
        Of the first frame: what maps of a layout that does not move are painted on.
    scale
        The colours.
    noise
        Whether what lies within the noise floor is faded.
    counted
        Maps whose number of inputs changes, so that their titles do.
    panels
        The map that is drawn at each place, None for none.
    metrics
        What is read out beside the step.
    names
        Of the maps, per place.
    colors
        Of the groups' dots, per map; empty where the layout is not shown.
    """

    stage: Stage
    maps: TrainingMaps
    places: Places
    ground: Ground
    scale: style.Scale
    noise: bool
    counted: frozenset[int]
    panels: tuple[int | None, ...]
    metrics: tuple[str, ...]
    names: tuple[str, ...]
    colors: Sequence[str] = ()
    _tables: dict[Any, NDArray[np.uint32]] = field(default_factory=dict)

    def paint(self, time: float) -> NDArray[np.uint32]:
        """Paint one frame; time is counted in steps of the film. RGBA as numbers, shape ``(height, width)``."""
        picture = self.stage.picture.copy()
        last = len(self.maps.steps) - 1
        before = min(int(time), last)
        way = float(time) - before
        after = min(before + 1, last)
        shown = before if way < 0.5 else after
        drawn = [i for i in self.panels if i is not None]
        if drawn:
            self._paint_maps(picture, drawn, before, after, way, shown)
        if self.stage.plan.dots is not None:
            self._paint_dots(picture, float(time), shown)
        self._paint_marks(picture, before, after, way)
        self._write(picture, before)
        return picture

    def brush(self, time: float) -> Brush:
        """Return what paints the maps at a time."""
        if not self.places.moving:
            return self._fixed
        return self._brush(self.places.at(time))

    @cached_property
    def _fixed(self) -> Brush:
        return self._brush(self.ground.layout)

    def _brush(self, layout: Layout) -> Brush:
        return Brush.of(layout, self.stage.plan.maps[0].w, self._inside, self.ground.surface.extrapolate)

    @cached_property
    def _inside(self) -> NDArray[np.bool_]:
        # maps differ in mix by where in a pixel their border happens to lie: by nothing, as they stand on whole pixels
        return np.asarray(np.max(self.stage.mix, axis=0) > 1 / 255)

    def _paint_maps(
        self, picture: NDArray[np.uint32], drawn: list[int], before: int, after: int, way: float, shown: int
    ) -> None:
        maps, brush = self.maps, self.brush(before + way)
        values = np.asarray(maps.values[before][drawn])
        if way > 0:
            values = (1 - way) * values + way * maps.values[after][drawn]
        dead = maps.dead[shown]
        values = np.where(dead, np.float32(0), values).astype(np.float32)
        fields = brush.operator @ np.ascontiguousarray(values.T)
        hidden = None
        if (dead & ~maps.always_dead).any() or maps.always_dead.any():
            # what is dead takes no part: weights are those of the neurons that are alive
            weight = brush.operator @ (~dead).astype(np.float32)
            hidden = np.flatnonzero(dead[brush.owner] | (weight < _ALIVE))
            fields /= np.maximum(weight, _ALIVE)[:, None]
        low, high = self.scale.low, self.scale.high
        fields -= low
        fields *= (_LEVELS - 1) / (high - low)
        fields += 0.5
        np.clip(fields, 0, _LEVELS - 1, out=fields)
        codes = fields.astype(np.int32)
        if hidden is not None:
            codes[hidden] = _LEVELS
        rows, columns = brush.where
        edges = self._edges(brush)
        at = {i: k for k, i in enumerate(drawn)}
        for place, i in enumerate(self.panels):
            if i is None:
                continue
            box = self.stage.plan.maps[place]
            floor = (1 - way) * maps.floors[before, i] + way * maps.floors[after, i]
            colors = self._table(float(floor), bool(maps.small[shown, i]), bool(maps.counts[shown, i]))
            painted = colors[codes[:, at[i]]]
            edge, mix, still = edges[place]
            blended = painted[edge].view(np.uint8).reshape(-1, 4)[:, :3] * mix + still
            painted[edge] = pack(np.minimum(blended + 0.5, 255).astype(np.uint8))
            picture[box.y + rows, box.x + columns] = painted

    def _edges(self, brush: Brush) -> list[_Edge]:
        """Return, per place, the pixels that a map shares with what stands still, and how."""
        if brush is self.__dict__.get("_fixed"):
            return self._fixed_edges
        return self._edges_of(brush)

    @cached_property
    def _fixed_edges(self) -> list[_Edge]:
        return self._edges_of(self._fixed)

    def _edges_of(self, brush: Brush) -> list[_Edge]:
        out = []
        for mix, still in zip(self.stage.mix, self.stage.still, strict=True):
            share = mix[brush.where]
            edge = np.flatnonzero(share < 1)
            out.append((edge, share[edge, None], still[brush.where][edge]))
        return out

    def _table(self, floor: float, small: bool, any_inputs: bool) -> NDArray[np.uint32]:
        """Return the colours of the levels of one map, of its dead neurons, and nothing else."""
        floor = floor if self.noise else 0.0
        key = (round(floor, 4), small, any_inputs)
        if key not in self._tables:
            if len(self._tables) > 4096:
                self._tables.clear()
            levels = np.linspace(self.scale.low, self.scale.high, _LEVELS)
            colors = self.scale.cmap(np.linspace(0, 1, _LEVELS))[:, :3] * 255
            opacity = fade(levels, np.full(_LEVELS, floor))[:, None] if floor > 0 else np.ones((_LEVELS, 1))
            opacity = opacity * (PALE if small else 1)
            colors = colors * opacity + 255 * (1 - opacity)
            if not any_inputs:
                colors[:] = rgb(style.EMPTY)
            table = np.vstack([colors, rgb(style.DEAD_CELL)])
            self._tables[key] = pack(np.round(table).astype(np.uint8))
        return self._tables[key]

    def _paint_dots(self, picture: NDArray[np.uint32], time: float, shown: int) -> None:
        box = self.stage.plan.dots
        assert box is not None
        layout = self.places.at(time)
        roles, dead = self.maps.roles(shown), self.maps.dead[shown]
        palette = np.array([rgb(color) for color in (*self.colors, "#d4d4d4")])
        colors = palette[roles]  # -1, no role, is the last
        colors[dead] = rgb(style.DEAD)
        spacing = box.w / np.sqrt(max(layout.n_neurons, 1))
        radius = np.where(dead, 0.2, 0.33) * np.clip(spacing, 3.0, 24.0)
        half = frame_of(box.w)
        x = box.x + (layout.positions[:, 0] / half + 1) / 2 * box.w
        y = box.y + (1 - layout.positions[:, 1] / half) / 2 * box.h
        order = np.argsort(~dead, kind="stable")
        blot(picture, x[order], y[order], radius[order], colors[order])

    def _paint_marks(self, picture: NDArray[np.uint32], before: int, after: int, way: float) -> None:
        """Draw the moving mark: a line across each curve, and a dot on each metric."""
        width = max(1, round(self.stage.plan.dpi / 110))
        ink = int(pack(np.array([rgb(style.INK)], dtype=np.uint8))[0])
        for columns, (top, bottom) in zip(self.stage.x, self.stage.rows, strict=True):
            left = round(float((1 - way) * columns[before] + way * columns[after]) - width / 2)
            picture[top:bottom, max(left, 0) : left + width] = ink
        x = float((1 - way) * self.stage.x[0][before] + way * self.stage.x[0][after])
        for color, rows in self.stage.lines.values():
            y = float((1 - way) * rows[before] + way * rows[after]) if way else float(rows[before])
            if np.isfinite(y):
                radius = self.stage.plan.px(2.6)
                for r, c in ((radius + 1, "#ffffff"), (radius, color)):
                    blot(picture, np.array([x]), np.array([y]), np.array([r]), np.array([rgb(c)]))

    def _write(self, picture: NDArray[np.uint32], step: int) -> None:
        plan, maps = self.stage.plan, self.maps
        letters = self._letters
        right, base = plan.width - plan.px(8), plan.px(12)
        letters.write(picture, right, base, self.readout(step), "head", style.INK, "right")
        for place, i in enumerate(self.panels):
            if i is not None and i in self.counted:
                x, y = plan.titles[place]
                count = int(maps.counts[step, i])
                note = f"n = {count:,}" if count else "no inputs"
                words = fitted(self.names[place], note, plan.maps[place].w / plan.dpi * 72)
                color = style.QUIET if maps.small[step, i] else style.INK
                letters.write(picture, x, y, words, "title", color, "center")

    def readout(self, step: int) -> str:
        """Return what stands beside the title of the film at one of its steps."""
        maps = self.maps
        longest = len(f"{int(maps.steps[-1]):,}")
        shown = f"{int(maps.steps[step]):,}".rjust(longest, _DIGIT)  # what follows must not move
        parts = [f"step {shown}"]
        for name in self.metrics:
            value, among = float(maps.metrics[name][step]), maps.metrics[name]
            if not np.isnan(among).all():
                parts.append(f"{name} {_number(value, among)}")
        if maps.dead.any():
            parts.append(f"{int(maps.dead[step].sum()):,} dead")
        return "   ".join(parts)

    @cached_property
    def _letters(self) -> Letters:
        plan = self.stage.plan
        return Letters({"head": plan.px(8.0), "title": plan.px(style.TITLE)})


def _number(value: float, among: NDArray[np.float64]) -> str:
    """Return a number with as many decimals at every step of the film; a dash, as wide, where there is none."""
    finite = among[np.isfinite(among)]
    if np.isnan(value):
        return "–".rjust(len(_number(float(finite[0]), among)) if len(finite) else 1, _DIGIT)
    if not np.isfinite(value) or np.all(finite == np.round(finite)):
        return f"{value:,.0f}"
    largest = float(np.abs(finite).max())
    return f"{value:.{2 if largest >= 10 else 3}f}" if largest >= 0.01 else f"{value:.2e}"


def rgb(color: str) -> NDArray[np.float64]:
    """Return a colour as three numbers up to 255."""
    from matplotlib.colors import to_rgb

    return np.round(np.array(to_rgb(color)) * 255)


def pack(colors: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Return opaque colours ``(n, 3)`` as one little-endian number each."""
    rgba = np.full((len(colors), 4), 255, dtype=np.uint8)
    rgba[:, :3] = colors
    return rgba.view("<u4")[:, 0]


def blot(
    picture: NDArray[np.uint32],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    radius: NDArray[np.float64],
    colors: NDArray[np.float64],
) -> None:
    """Paint smooth discs; of two that share a pixel the later one has it, its rim mixed with what was there before."""
    reach = int(np.ceil(radius.max(initial=0))) + 1
    steps = np.arange(-reach, reach + 1)
    columns = np.floor(x).astype(np.int64)[:, None, None] + steps
    rows = np.floor(y).astype(np.int64)[:, None, None] + steps[:, None]
    columns, rows = np.broadcast_arrays(columns, rows)
    away = np.hypot(columns + 0.5 - x[:, None, None], rows + 0.5 - y[:, None, None])
    cover = np.clip(radius[:, None, None] + 0.5 - away, 0, 1)
    height, width = picture.shape
    seen = (cover > 0) & (rows >= 0) & (rows < height) & (columns >= 0) & (columns < width)
    index = rows[seen] * width + columns[seen]
    share = cover[seen][:, None]
    flat = picture.reshape(-1)
    under = flat[index].view(np.uint8).reshape(-1, 4)[:, :3]
    color = np.repeat(colors, seen.sum(axis=(1, 2)), axis=0)
    flat[index] = pack(np.round(under * (1 - share) + color * share).astype(np.uint8))
