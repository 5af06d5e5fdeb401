"""The cards of one figure: what each of their parts shows, and the maps that share a colour scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topomap.layout import Layout
from topomap.patterns import PatternCard, PatternReport, Patterns
from topomap.patterns.report import percent
from topomap.plot import cards as draw
from topomap.plot import style
from topomap.plot.captions import medians
from topomap.plot.grid import arrows, describe, neurons
from topomap.plot.panel import Ground, draw_bar, draw_map
from topomap.plot.sheet import MARGIN, Sheet
from topomap.profiles import profile
from topomap.run import Activations

#: Rows of a card: the values that most of its inputs have, the last one for all others; and the units that have boxes.
ROWS = 4


@dataclass(frozen=True, eq=False)
class Deck:
    """The cards of one figure: what they show, and what draws each of their parts."""

    sheet: Sheet
    patterns: Patterns
    report: PatternReport
    cards: Sequence[PatternCard]
    n_members: int

    def draw(self, acts: Activations | None, layout: Layout | None, columns: int, look: dict[str, Any]) -> str:
        """Draw the cards; return their caption."""
        inputs, told = self.patterns.inputs, []
        if any(card.persistence is not None for card in self.cards):
            told.append("persistence: share of HDBSCAN's range of densities over which the pattern holds together")
        if self.report.stability is not None:
            told.append("stability: mean best Jaccard index of the pattern in samples of the inputs")
        noise = " (of noise: by outlier score)" if any(card.pattern < 0 for card in self.cards) else ""
        told.append(f"members: by HDBSCAN's membership probability{noise}")
        pictures = inputs.thumbnails is not None
        parts = [draw.Part((), 0.9, 0.0, self._head)]
        if pictures:
            parts.append(draw.Part([("average", style.QUIET)], 0.6, 0.0, self._average))
        wide = self.n_members * 0.36 + 0.14 if pictures else 0.9
        grows = 0.0 if pictures else 1.0 if inputs.texts is None else 3.0
        parts.append(draw.Part([("most and least probable members", style.QUIET)], wide, grows, self._members))
        if inputs.correct is not None:
            told.append(f"misclassified members are {'framed' if pictures else 'coloured'}")
        counted = [name for name in draw.COLORS if any(card.bars.get(name) for card in self.cards)]
        if counted:
            parts.append(draw.Part([(name, draw.COLORS[name]) for name in counted], 1.05, 1.8, self._bars))
            told.append("bars: share of the pattern")
        if any(self.report.enriched(card.pattern) for card in self.cards):
            told.append(f"* enriched (false discovery rate {self.report.alpha:g})")
        if any(card.units is not None for card in self.cards):
            legend = [("units in pattern,", draw.OWN), ("in all inputs", style.QUIET)]
            parts.append(draw.Part(legend, 1.1, 1.0, self._boxes))
            shown = next(card for card in self.cards if card.units is not None)
            other = (shown.layer, shown.reduce) != (self.patterns.layer, self.patterns.reduce)
            of = f"values of l{describe(shown.layer, shown.reduce)[1:]}" if other else "in the units of the layer"
            told.append(f"boxes (quartiles and range, {of}): the units that set the pattern most apart")
        maps = None
        if acts is not None and layout is not None:
            maps = Maps(self.patterns, [card.pattern for card in self.cards], acts, layout, look)
            parts.append(draw.Part([("map", style.QUIET)], draw.HIGH, 0.0, partial(maps.draw, self.sheet)))
        draw.draw_cards(self.sheet, parts, len(self.cards), columns)
        if maps is not None:
            told.append(maps.finish(self.sheet))
        text = "; ".join(told)
        return f"{text[:1].upper()}{text[1:]}." if text else ""

    def _head(self, i: int, x: float, y: float, wide: float) -> None:
        row = next(row for row in self.report.table if row.pattern == self.cards[i].pattern)
        lines = [row.name, f"n = {row.count:,} ({row.count / self.patterns.n_rows:.1%})"]
        if row.persistence is not None:
            lines.append(f"persistence {row.persistence:.2f}")
        if row.stability is not None:
            lines.append(f"stability {row.stability:.2f}")
        told = [each for each in self.report.enriched(row.pattern) if each.column not in ("label", "prediction")]
        columns = dict.fromkeys(each.column for each in told)
        for column in list(columns)[:2]:
            best = next(each for each in told if each.column == column)
            shown = best.value if column == "correct" else f"{column} {best.value}"
            lines.append(f"{shown}: {percent(best.share)}%*")
        draw.write_lines(self.sheet, x, y, wide, lines)

    def _average(self, i: int, x: float, y: float, wide: float) -> None:
        average = self.cards[i].average
        if average is not None:
            draw.draw_average(self.sheet, x, y, wide, np.clip(np.rint(average), 0, 255).astype(np.uint8))

    def _members(self, i: int, x: float, y: float, wide: float) -> None:
        card = self.cards[i]
        rows = (("most", card.probable), ("least", card.improbable))
        draw.draw_members(self.sheet, x, y, wide, self.patterns.inputs, rows)

    @cached_property
    def _rows(self) -> list[tuple[list[str], dict[str, NDArray[np.float64]], list[bool]]]:
        """Names, shares by column and stars of the bars of every card: the most frequent values, and all others."""
        found = []
        for card in self.cards:
            counted = {name: {bar.value: bar.share for bar in bars} for name, bars in card.bars.items() if bars}
            total: dict[str, float] = {}
            for shares in counted.values():
                for value, share in shares.items():
                    total[value] = total.get(value, 0.0) + share
            names = sorted(total, key=lambda value: -total[value])
            kept = names if len(names) <= ROWS else names[: ROWS - 1]
            table = {name: np.array([of.get(value, 0.0) for value in kept]) for name, of in counted.items()}
            stars = [any(self._enriched(card.pattern, name, value) for name in counted) for value in kept]
            if len(kept) < len(names):
                kept, stars = [*kept, f"{len(names) - len(kept)} others"], [*stars, False]
                table = {name: np.append(of, max(0.0, 1 - of.sum())) for name, of in table.items()}
            found.append((kept, table, stars))
        return found

    def _enriched(self, k: int, column: str, value: str) -> bool:
        return any((row.column, row.value) == (column, value) for row in self.report.enriched(k))

    def _bars(self, i: int, x: float, y: float, wide: float) -> None:
        room = draw.room_for(name for names, _, _ in self._rows for name in names)
        draw.draw_shares(self.sheet, x, y, wide, *self._rows[i], room, ROWS)

    def _boxes(self, i: int, x: float, y: float, wide: float) -> None:
        card = self.cards[i]
        if card.units is None or card.boxes is None or card.boxes_all is None:
            return
        room = draw.room_for(str(unit) for each in self.cards if each.units is not None for unit in each.units)
        names = [str(unit) for unit in card.units]
        draw.draw_boxes(self.sheet, x, y, wide, names, card.boxes, card.boxes_all, room, ROWS)


class Maps:
    """The maps of the cards, on one colour scale."""

    def __init__(
        self, patterns: Patterns, chosen: Sequence[int], acts: Activations, layout: Layout, look: dict[str, Any]
    ) -> None:
        self.profiles = profile(acts, by=patterns)
        self.layout, self.ground = layout, Ground.of(layout)
        index = [self.profiles.names.index("noise" if k < 0 else f"pattern {k}") for k in chosen]
        self.values = self.ground.values(self.profiles.scaled[index], "acts", n_maps=True)
        self.live = ~(self.profiles.dead | layout.dead)
        self.scale = style.scale(self.values, look["limits"], look["cmap"], live=self.live)
        self.fields = self.ground.paint(self.values)
        self.floor = self.profiles.scaled_noise[index] if look["noise"] else None
        self.floors = None if self.floor is None else self.ground.paint(self.ground.values(self.floor, n_maps=True))

    def draw(self, sheet: Sheet, i: int, x: float, y: float, wide: float) -> None:
        """Draw one of them."""
        noise = None if self.floors is None else self.floors[i]
        ax = sheet.axes(x + wide - draw.HIGH, y, draw.HIGH, draw.HIGH)
        self.image = draw_map(ax, self.ground, self.fields[i], self.scale, noise=noise, contours=4)

    def finish(self, sheet: Sheet) -> str:
        """Draw the colour bar; return what the caption says of the maps."""
        length = min(2.4, sheet.width - 0.8)
        bar = sheet.axes(sheet.width - MARGIN - 0.12 - length, sheet.y + 0.12, length, 0.08)
        label = "difference from the mean over patterns and noise\n(standard deviations of each neuron)"
        draw_bar(
            sheet.figure, bar, self.image, self.scale, label, orientation="horizontal",
            noise=medians(self.floor, self.live),
        )  # fmt: skip
        sheet.y += 0.62
        told = f"maps: {neurons(self.profiles.n_neurons, int((~self.live).sum()), True)}, layout {self.layout.method}"
        if self.floor is not None:
            told += ", faded within the noise floor of shuffled patterns (pointwise 95%)"
        if self.scale.extend != "neither":
            told += f"; {arrows(self.values[:, self.live], self.scale).lower()}"
        return told
