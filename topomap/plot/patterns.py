"""The cards of patterns, what the patterns are made of as a matrix, and how their number grows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

import numpy as np

from topomap._check import instance_of, unknown, whole_number
from topomap.layout import Layout
from topomap.patterns import PatternReport, Patterns, describe_pattern, measure_patterns
from topomap.plot import style
from topomap.plot.deck import ROWS, Deck
from topomap.plot.grid import describe
from topomap.plot.pattern_panels import MOST_PATTERNS, MOST_VALUES, draw_growth, draw_matrix, shares_of, values_of
from topomap.plot.sheet import GAP, MARGIN, Sheet
from topomap.run import Activations

if TYPE_CHECKING:
    from matplotlib.colors import Colormap
    from matplotlib.figure import Figure

PatternPart = Literal["cards", "matrix", "growth"]
PARTS: tuple[PatternPart, ...] = ("cards", "matrix", "growth")


def plot_patterns(
    patterns: Patterns,
    acts: Activations | None = None,
    layout: Layout | None = None,
    *,
    report: PatternReport | None = None,
    n: int = 8,
    which: Sequence[int] | None = None,
    n_members: int = 4,
    parts: Sequence[PatternPart] = PARTS,
    columns: int = 1,
    width: Literal["single", "double"] | float = "double",
    limits: style.Limits = None,
    cmap: str | Colormap | None = None,
    noise: bool = True,
    caption: bool | str = True,
) -> Figure:
    """Draw patterns as cards, as the viewer of Bäuerle et al. (2022) does, and what all of them are made of.

    Parameters
    ----------
    patterns
        From `find_patterns`.
    acts
        The activations they were found in, for the values of single units and for the maps.
    layout
        Where the neurons are, for the maps.
    report
        From `measure_patterns`: adds stability, what else members have in common, and the growth of their number. By
        default labels and predictions alone are counted.
    n
        How many patterns have a card, the most persistent first; noise has one besides.
    which
        Instead: numbers of the patterns to draw, -1 for noise.
    n_members
        How many of the most and of the least probable members are shown, by HDBSCAN's membership probability; of noise
        the least and the most outlying.
    parts
        What to draw, from top to bottom:

        - ``"cards"``: number, size, persistence and stability; the mean of the members' pictures; members;
          labels and predictions; boxes of the units that set the pattern apart; its map against the mean over
          patterns and noise, all maps on one colour scale. What is not known is left out;
        - ``"matrix"``: the share of every pattern that has each label and prediction;
        - ``"growth"``: patterns and noise in samples of the inputs (left out without a report that has it).
    columns
        Cards beside each other.
    width
        Of the figure: ``"double"`` (7.2 in) or ``"single"`` (3.5 in) column, or inches.
    limits, cmap
        Of the maps, as of `plot_topomap`.
    noise
        Whether to fade maps below the noise floor, as `plot_profiles` does.
    caption
        Whether to write at the foot what is seen and where it came from; or a text of your own.

    Returns
    -------
    matplotlib.figure.Figure

    Raises
    ------
    ValueError
        If a pattern does not exist, activations, layout or report are of others, or nothing is left to draw.

    References
    ----------
    Bäuerle, Jönsson, Ropinski (2022), Neural Activation Patterns (NAPs): Visual Explainability of Learned Concepts,
    arXiv 2206.10611.

    Examples
    --------
    >>> import topomap as tm
    >>> rng = np.random.default_rng(0)
    >>> values = np.concatenate([rng.normal(3, 0.3, (40, 6)), rng.normal(-3, 0.3, (40, 6))])
    >>> acts = tm.Activations.from_array(values, label=np.repeat(["cat", "dog"], 40))
    >>> figure = plot_patterns(tm.find_patterns(acts, min_cluster_size=20), acts)
    >>> [text.get_text() for text in figure.texts if text.get_fontweight() == "bold"][:2]
    ['a', 'pattern 0']
    """
    instance_of("patterns", patterns, Patterns, "Find them with tm.find_patterns(acts).")
    if acts is not None:
        instance_of("acts", acts, Activations, "Pass run['layer'], which the patterns were found in.")
        if acts.inputs is not patterns.inputs and not np.array_equal(acts.inputs.ids, patterns.inputs.ids):
            raise ValueError("acts must be of the inputs that the patterns were found in; got those of others.")
    if layout is not None:
        instance_of("layout", layout, Layout, "Make one with tm.embed(tm.correlate(acts)).")
        if acts is None:
            raise ValueError("a layout needs acts= too: the maps are of their values.")
    if report is not None:
        instance_of("report", report, PatternReport, "Make one with tm.measure_patterns(patterns).")
        if not np.array_equal(report.patterns.labels, patterns.labels):
            raise ValueError("report must be of these patterns; got that of others.")
    whole_number("columns", columns, 1)
    whole_number("n_members", n_members, 1)
    chosen = _choose(patterns, n, which)
    known = report if report is not None else measure_patterns(patterns, _columns(patterns), n_bootstrap=0)
    shown = _parts(parts, patterns, known, chosen)
    sheet = Sheet(style.figure_width(width))
    texts = [_about(patterns, chosen if "cards" in shown else None)]
    letters = dict(zip(shown, "abc" if len(shown) > 1 else ["", ""], strict=False))
    told = {part: f"({letter}) " if letter else "" for part, letter in letters.items()}
    if "cards" in shown:
        sheet.letter(letters["cards"])
        look = {"limits": limits, "cmap": cmap, "noise": noise}
        found = [describe_pattern(patterns, k, acts, n=n_members, n_units=ROWS) for k in chosen]
        deck = Deck(sheet, patterns, known, found, n_members)
        texts.append(told["cards"] + deck.draw(acts, layout, columns, look))
    below = [part for part in shown if part != "cards"]
    texts += [told[part] + text for part, text in _below(sheet, patterns, known, below, letters)]
    return sheet.draw(caption if isinstance(caption, str) else " ".join(texts) if caption else "")


def _columns(patterns: Patterns) -> list[str]:
    return [name for name in ("label", "prediction") if name in patterns.inputs.columns]


def _choose(patterns: Patterns, n: int, which: Sequence[int] | None) -> list[int]:
    """Return the numbers of the patterns that have a card, in their order."""
    if which is None:
        whole_number("n", n, 0)
        return [k for k in patterns.ids if k < n]
    chosen = [int(k) for k in which]
    for k in chosen:
        if k not in patterns.ids:
            raise unknown("which", k, patterns.ids)
    return chosen


def _parts(
    parts: Sequence[PatternPart], patterns: Patterns, report: PatternReport, chosen: Sequence[int]
) -> list[PatternPart]:
    """Return what is to be drawn and can be."""
    wanted = [parts] if isinstance(parts, str) else list(parts)
    for part in wanted:
        if part not in PARTS:
            raise unknown("parts", part, PARTS)
    can = {
        "cards": bool(chosen),
        "matrix": any(row.column in ("label", "prediction") for row in report.enrichment),
        "growth": len(report.growth) > 1,
    }
    shown = [part for part in PARTS if part in wanted and can[part]]
    if not shown:
        raise ValueError(
            "there is nothing to draw: cards need at least one pattern or noise, the matrix inputs with labels or "
            "predictions, and the growth a report=tm.measure_patterns(patterns)."
        )
    return shown


def _about(patterns: Patterns, chosen: Sequence[int] | None) -> str:
    """Return where the patterns come from, and what their number does not say."""
    asked = patterns.parameters
    unit = "" if patterns.unit is None else f", unit {patterns.unit}"
    how = ", ".join(f"{name} {asked[name]:g}" for name in ("min_cluster_size", "min_samples") if name in asked)
    pca = f" of {asked['n_components']} principal components" if asked.get("n_components") else ""
    number = "1 pattern" if len(patterns) == 1 else f"{len(patterns)} patterns"
    few = ""
    n_shown = len([k for k in chosen if k >= 0]) if chosen is not None else len(patterns)
    if n_shown < len(patterns):
        few = f" Cards: {n_shown} of the {len(patterns)}."
    return (
        f"{describe(patterns.layer, patterns.reduce)}{unit}: {number} in {patterns.n_rows:,} inputs "
        f"(HDBSCAN{pca}, {how}, {asked.get('selection', 'leaf')}), numbered by persistence; "
        f"{patterns.noise:.0%} of the inputs are noise. The number of patterns grows with that of inputs.{few}"
    )


def _below(
    sheet: Sheet,
    patterns: Patterns,
    report: PatternReport,
    parts: Sequence[PatternPart],
    letters: Mapping[PatternPart, str],
) -> list[tuple[PatternPart, str]]:
    """Draw the matrix and the growth, beside each other where there is room; return their captions."""
    told: list[tuple[PatternPart, str]] = []
    if not parts:
        return told
    shares, values = shares_of(report), values_of(patterns, report)[:MOST_VALUES]
    ids = (
        list(patterns.ids) if len(patterns) <= MOST_PATTERNS else [*range(MOST_PATTERNS), *[-1] * (-1 in patterns.ids)]
    )
    beside = 1.9 if "growth" in parts and sheet.width >= 5 else 0.0
    y, high = sheet.y, 0.0
    left = MARGIN + 0.16
    if "matrix" in parts:
        sheet.letter(letters["matrix"])
        high = draw_matrix(sheet, left, y, sheet.width - left - MARGIN - beside, ids, values, shares, report.alpha)
        names = [
            f"{column} ({mark})" for column, mark in (("label", "disc"), ("prediction", "ring")) if column in shares
        ]
        enriched = f"; blue: enriched (false discovery rate {report.alpha:g})" if "label" in shares else ""
        told.append(("matrix", f"Area: share of the pattern that has a {' and '.join(names)}{enriched}."))
    if "growth" in parts:
        if not beside:
            y, high = (y + high + GAP if high else y), 0.0
        x = sheet.width - MARGIN - 1.75 if high else left
        sheet.text(x - 0.16, y, letters["growth"], fontsize=style.TITLE + 1, fontweight="bold")
        draw_growth(sheet, x, y, 1.75, 1.1, report.growth)
        high = max(high, 1.1 + 0.36)
        told.append(("growth", "Patterns (mean, least to most) and noise in random samples of the inputs."))
    sheet.y = y + high
    return told
