"""What a reader must know to read the maps of groups: their names, their unit, and the caption."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from topomap.layout import Layout
from topomap.plot import style
from topomap.plot.certainty import describe_doubt
from topomap.plot.grid import arrows, describe, neurons
from topomap.profiles import Profiles
from topomap.profiles.base import told_place
from topomap.profiles.contrast import CONTRASTS
from topomap.quality import Stability


def reference_of(profiles: Profiles) -> str | None:
    """Return the group that all others are shown against, None where they are not shown against a single one."""
    return None if profiles.contrast in CONTRASTS else profiles.contrast


def too_few(profiles: Profiles) -> NDArray[np.bool_]:
    """Return which groups' maps rest on too few inputs, their own or those of the group they are shown against."""
    reference = reference_of(profiles)
    return profiles.small | (reference is not None and bool(profiles.small[profiles.names.index(reference)]))


def title_of(profiles: Profiles, group: int) -> tuple[str, str]:
    """Return name and note of one group's map: ``("cat", "n = 12")``, ``("cat − dog", "n = 12, 30")``."""
    name, count = profiles.names[group], count_of(profiles, group)[0]
    reference = reference_of(profiles)
    if reference is None:
        return (f"{name} − rest" if profiles.contrast == "rest" else name), count
    if name == reference:
        return name, f"reference, {count}"
    n, *few = count.split(", too few")
    other = profiles.counts[profiles.names.index(reference)]
    return f"{name} − {reference}", f"{n}, {other:,}" + (", too few" if few else "")


def count_of(profiles: Profiles, group: int) -> tuple[str, ...]:
    """Return a group's number of inputs in wordings from long to short: ``n = 3, too few``, ``n = 3``, ``3``."""
    count = f"{profiles.counts[group]:,}"
    long = (f"n = {count}, too few",) if too_few(profiles)[group] else ()
    return (*long, f"n = {count}", count)


def unit_of(profiles: Profiles, raw: bool) -> str:
    """Return what the colours show, with its unit, for the colour bar."""
    unit = "raw activation" if raw else "standard deviations of each neuron"
    shown = _shown(profiles.contrast)
    if profiles.contrast == "mean" and profiles.weights == "size":
        shown = "difference from the average input"
    return f"{shown}\n({unit})"


def unit_of_maps(contrast: str, kinds: Sequence[str]) -> str:
    """Return what the colours of a film show, whose maps are of these kinds."""
    against = {"difference": "difference of two groups", "inputs": "activation above the mean"}
    shown = list(dict.fromkeys(_shown(contrast) if kind == "groups" else against[kind] for kind in kinds))
    return f"{shown[0] if len(shown) == 1 else 'difference'}\n(standard deviations of each neuron)"


def _shown(contrast: str) -> str:
    against = {"none": "activation", "mean": "difference from the mean group", "rest": "difference from all others"}
    return against.get(contrast, f"difference from {_short(contrast)}")


def _inputs(profiles: Profiles) -> str:
    """Return ``2,000 inputs by site (693 in no group), at most 200 drawn per group``."""
    text = f"{profiles.n_rows:,} inputs by {' x '.join(profiles.by) or 'groups'}"
    if profiles.n_ungrouped:
        text += f" ({profiles.n_ungrouped:,} in no group)"
    most = profiles.provenance.get("parameters", {}).get("n_per_group")
    return text if most is None else f"{text}, at most {most:,} drawn per group"


def _short(name: str, most: int = 24) -> str:
    return name if len(name) <= most else name[: most - 3].rstrip() + "..."


def medians(floor: NDArray[np.float64] | None, live: NDArray[np.bool_]) -> tuple[float, float] | None:
    """Return the smallest and the largest group's median noise floor; twice that of all where groups hardly differ."""
    if floor is None or not live.any() or not len(floor):
        return None
    groups = np.median(floor[:, live], axis=1)
    low, high = float(groups.min()), float(groups.max())
    if high <= 1.2 * low:
        low = high = float(np.median(floor[:, live]))
    return low, high


def caption_of(
    profiles: Profiles,
    layout: Layout,
    values: NDArray[np.float64],
    floor: NDArray[np.float64] | None,
    scale: style.Scale,
    *,
    raw: bool,
    dots: bool,
    small: NDArray[np.bool_],
    certainty: Stability | None,
    more: str = "",
) -> str:
    """Return the caption.

    Parameters
    ----------
    profiles, layout
        What is drawn.
    values, floor
        Of the groups drawn, shape ``(n_groups, n_neurons)``; the floor is None where none is drawn.
    scale
        The colours.
    raw
        Whether values are in the units of the layer.
    dots
        Whether neurons are drawn.
    small
        Which of the groups drawn have too few inputs, shape ``(n_groups,)``.
    certainty
        What hatches the maps.
    more
        What else is in the figure, a sentence without its full stop.
    """
    live = ~(profiles.dead | layout.dead)
    against = {
        "none": "Plain group means",
        "mean": "Group means minus the mean over groups",
        "rest": "Group means minus the mean of all others",
    }
    shown = against.get(profiles.contrast, f"Group means minus the mean of {profiles.contrast}")
    if profiles.contrast in ("mean", "rest") and profiles.weights == "size":
        shown += " weighted by size"
    unit = "in raw units" if raw else "in standard deviations of each neuron"
    place = ""
    if profiles.place is not None:
        place, unit = f", place {told_place(profiles.place)}", unit if raw else f"{unit} over all places"
    parts = [
        f"{describe(profiles.layer, profiles.reduce)}{place}: {neurons(profiles.n_neurons, int((~live).sum()), dots)}; "
        f"layout {layout.method}; {_inputs(profiles)}",
        f"{shown}, {unit}",
    ]
    typical = medians(None if floor is None else floor[~small] if not small.all() else floor, live)
    if typical is not None:
        low, high = typical
        size = f"median ±{low:.2g}" + (f" to ±{high:.2g} by group" if high > low else "")
        parts.append(f"Faded: within the noise floor of shuffled labels (pointwise 95%, {size})")
    if small.any():
        few = f"groups of fewer than {profiles.min_size} inputs ({int(small.sum())} of {len(small)})"
        parts.append(f"Pale, titled in grey: {few}")
    if certainty is not None:
        parts.append(describe_doubt(certainty, live))
    if more:
        parts.append(more)
    if scale.extend != "neither":
        parts.append(arrows(values[:, live], scale))
    return ". ".join(parts) + "."
