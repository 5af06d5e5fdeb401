"""How sure the places of a stored layout are, for ``topomap plot --certainty``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from topomap.run import Activations

if TYPE_CHECKING:
    from topomap.layout import Layout
    from topomap.quality import Stability
    from topomap.run import Record


def check_certainty(acts: Record, n: int | None) -> None:
    """Refuse what no layouts of resampled inputs can be made for.

    Examples
    --------
    >>> check_certainty(Activations.from_array([[1.0]]), None)
    >>> check_certainty(Activations.from_array([[1.0]]), 1)
    Traceback (most recent call last):
        ...
    ValueError: --certainty is a number of bootstrap samples, at least 2; got 1.
    """
    if n is None:
        return
    if n < 2:
        raise ValueError(f"--certainty is a number of bootstrap samples, at least 2; got {n}.")
    if not isinstance(acts, Activations):
        raise ValueError(f"--certainty draws inputs anew, and layer {acts.layer!r} was recorded with keep='moments'.")


def certainty_of(acts: Record, layout: Layout, n: int) -> Stability:
    """Lay bootstrap samples of the inputs out as a stored layout was.

    Raises
    ------
    ValueError
        If the layout compared neurons over groups, which resampled inputs do not repeat.
    """
    from topomap.quality import measure_stability

    about = layout.provenance
    if about.get("similarity", {}).get("by") or about.get("preset"):
        raise ValueError(
            f"--certainty resamples inputs, and the layout {layout.method!r} compares neurons over groups: "
            "make one without --by or --preset (topomap embed), or leave --certainty out."
        )
    assert isinstance(acts, Activations)  # checked before anything was made
    return measure_stability(
        acts,
        layout.method,
        layout.region,
        n,
        seed=layout.seed or 0,
        metric=about.get("metric", "pearson"),
        absolute=about.get("absolute", False),
    )
