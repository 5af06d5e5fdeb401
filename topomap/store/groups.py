"""Groups of arrays: the folders of `run.zarr`, with the metadata that xarray reads them by."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

_NODE = "zarr.json"

#: The folder of a training's snapshots: each has its own metadata, so that another one costs the same however many.
STEPS = "steps"


def write_group(folder: Path, attributes: Mapping[str, Any] | None = None) -> None:
    """Make a folder a Zarr group."""
    folder.mkdir(parents=True, exist_ok=True)
    node = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes or {})}
    _write_json(folder / _NODE, node)


def read_attributes(folder: Path) -> dict[str, Any]:
    """Read the attributes of a group or an array."""
    attributes = json.loads((folder / _NODE).read_text(encoding="utf-8"))["attributes"]
    if not isinstance(attributes, dict):
        raise TypeError(f"the attributes in {_NODE} are no object")
    return attributes


def consolidate(root: Path) -> None:
    """Make every folder below the root a group, and give each group the metadata of all that lies below it.

    With that xarray opens any group without a warning and without listing folders. Files are replaced by rename, and
    only where something changed. Snapshots below the root have been given theirs and are left out.
    """
    _consolidate(root, besides=(STEPS,))


def _consolidate(folder: Path, besides: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the metadata of a folder's descendants by their path below it."""
    below: dict[str, Any] = {}
    for child in sorted(path for path in folder.iterdir() if path.is_dir() and path.name not in besides):
        node = _read_node(child)
        if node is not None and node.get("node_type") == "array":
            below[child.name] = node
            continue
        inner = _consolidate(child)
        below[child.name] = _with_metadata(_read_node(child), {})
        below.update({f"{child.name}/{path}": known for path, known in inner.items()})
    old = _read_node(folder)
    new = _with_metadata(old, below)
    if new != old:
        _write_json(folder / _NODE, new)
    return below


def _with_metadata(node: Mapping[str, Any] | None, below: Mapping[str, Any]) -> dict[str, Any]:
    known = dict(node or {"zarr_format": 3, "node_type": "group", "attributes": {}})
    known["consolidated_metadata"] = {"kind": "inline", "must_understand": False, "metadata": dict(below)}
    return known


def _read_node(folder: Path) -> dict[str, Any] | None:
    path = folder / _NODE
    if not path.exists():
        return None
    node = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(node, dict):
        raise TypeError(f"{path} must hold an object")
    return node


def _write_json(path: Path, node: Mapping[str, Any]) -> None:
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(json.dumps(node, indent=1), encoding="utf-8")
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
