"""Turning a layout to one that the run folder holds."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from topomap._check import unknown
from topomap.cli.stored import columns_of, layouts
from topomap.layout import Layout

if TYPE_CHECKING:
    from topomap.run import Record, Run


def turn_to(run: Run, acts: Record, to: str, by: str | None) -> Callable[[Layout], Layout]:
    """Find the stored layout that is meant, and return what turns a layout of the record to it.

    Parameters
    ----------
    run, acts
        The opened run and the record that is laid out.
    to
        The method of a stored layout of the record; or another layer, as ``"layer"`` if it has one layout, and as
        ``"layer/method"``.
    by
        Groups whose profiles tell which neurons of two layers are alike; the labels where there is none.

    Raises
    ------
    ValueError
        If no such layout is stored.
    """
    options: dict[str, tuple[str, str, str]] = {}
    for layer in run.layers:
        found = [each for each in layouts(run) if each[0] == layer]
        found = [each for each in found if each[1] == acts.reduce] or found
        if layer == acts.layer:
            options |= {each[2]: each for each in found if each[1] == acts.reduce}
            continue
        options |= {f"{layer}/{each[2]}": each for each in found}
        if len(found) == 1:
            options[layer] = found[0]
    if not options:
        raise ValueError(f"{run.path} holds no layout to align to yet: lay a layer out without --align-to first.")
    if to not in options:
        raise unknown("align_to (a method, layer or layer/method)", to, sorted(options))
    assert run.path is not None  # it was opened from a folder
    target = options[to]
    other = Layout.load(run.path, *target)

    def turned(layout: Layout) -> Layout:
        from topomap.profiles import profile

        if target[:2] == (acts.layer, acts.reduce):
            return layout.align_to(other)
        groups = columns_of("label" if by is None else by)
        return layout.align_to(other, profiles=(profile(acts, by=groups), profile(run[target[:2]], by=groups)))

    return turned
