"""Reports of bias as files: what was compared and found, with its pictures, or all of the numbers."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any
from uuid import uuid4

import numpy as np

from topomap._check import instance_of, unknown, whole_number
from topomap.bias import BiasReport, Probe
from topomap.layout import Layout
from topomap.plot.bias import reports_of
from topomap.plot.document import Picture, to_html, to_markdown
from topomap.plot.findings import write_findings

#: What a report can be written as.
FORMATS = (".html", ".md", ".json", ".csv")

#: Columns of the table of neurons that come from a contrast as they are.
_NUMBERS = ("effect", "low", "high", "difference", "deviation", "statistic", "p", "p_family", "q", "tfce", "p_tfce")


def save_report(
    report: BiasReport | Sequence[BiasReport],
    to: str | Path,
    layout: Layout | Sequence[Layout] | None = None,
    *,
    probe: Probe | None = None,
    figures: int = 6,
    neurons: int = 15,
    dpi: float = 200,
) -> Path:
    """Write what was compared and found to a file, which appears whole or not at all.

    Parameters
    ----------
    report
        From `measure_bias`; or several, of different layers.
    to
        The file. Its suffix says what is written:

        - ``.html``: all in one file, pictures included; nothing in it runs, and nothing is fetched from elsewhere;
        - ``.md``: the same as Markdown, with the pictures in a folder of the same name beside it;
        - ``.json``: every number; of several reports a list, under ``"reports"``;
        - ``.csv``: one row per contrast and neuron (``neurons.csv``, say). A neuron that is in a cluster has the
          cluster's number, counted from 1 as in the tables, and its p, which is not the neuron's own.
    layout
        Where the neurons are; by default that of each report. One per report where there are several. Without any,
        there are no maps.
    probe
        From `measure_probe`, of one layer or many, to stand beside what was found.
    figures
        Draw at most so many contrasts in full, those of the smallest p; several are also drawn side by side.
    neurons
        List so many neurons, those of the largest effects.
    dpi
        Dots per inch of the pictures.

    Returns
    -------
    Path
        The file.

    Raises
    ------
    ValueError
        For another suffix, no report, or layouts that do not fit.
    OSError
        If the file cannot be written; nothing is left behind then.

    Examples
    --------
    >>> import tempfile
    >>> from topomap.bias import measure_bias
    >>> from topomap.run import Activations
    >>> rng = np.random.default_rng(0)
    >>> acts = Activations.from_array(rng.normal(size=(60, 3)), group=np.arange(60) % 2)
    >>> report = measure_bias(acts, by="group", n_permutations=99)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     save_report(report, Path(folder, "neurons.csv")).read_text().splitlines()[0][:44]
    'layer,reduction,group,reference,neuron,dead,'
    """
    path = Path(to)
    check_report(path)
    whole_number("figures", figures, 0)
    whole_number("neurons", neurons, 1)
    reports = reports_of(report)
    if probe is not None:
        instance_of("probe", probe, Probe, "Make one with tm.measure_probe(run, by=...).")
        reports = [replace(each, probe=probe) for each in reports]
    kind = path.suffix.lower()
    files: dict[Path, bytes] = {}
    if kind == ".json":
        files[path] = _json(reports)
    elif kind == ".csv":
        files[path] = _csv(reports)
    else:
        blocks = write_findings(reports, layout, figures, neurons, dpi)
        if kind == ".html":
            text = to_html(blocks)
        else:
            folder = path.with_suffix("")
            text = to_markdown(blocks, folder.name)
            files |= {folder / f"{one.name}.png": one.png for one in blocks if isinstance(one, Picture)}
        files[path] = text.encode()
    _write(files)
    return path


def check_report(to: str | Path) -> None:
    """Raise unless a file's suffix is one of those that a report can be written as.

    Examples
    --------
    >>> check_report("bias.html")
    >>> check_report("bias.htm")
    Traceback (most recent call last):
        ...
    ValueError: the suffix of bias.htm must be one of '.html', '.md', '.json', '.csv'; got '.htm'. Did you mean ...
    """
    path = Path(to)
    if path.suffix.lower() not in FORMATS:
        raise unknown(f"the suffix of {path}", path.suffix, FORMATS)


def _write(files: Mapping[Path, bytes]) -> None:
    """Write all files under other names, then give them theirs in turn: the last one names the others."""
    parts = {path: path.with_name(f".{path.name}-{uuid4().hex[:8]}{path.suffix}") for path in files}
    made = []
    try:
        for path, part in parts.items():
            missing = [folder for folder in (path.parent, *path.parent.parents) if not folder.exists()]
            for folder in reversed(missing):
                folder.mkdir()
                made.append(folder)
            part.write_bytes(files[path])
        for path, part in parts.items():
            part.replace(path)
    finally:
        for part in parts.values():
            part.unlink(missing_ok=True)
        for folder in reversed(made):
            with suppress(OSError):  # it holds what was written
                folder.rmdir()


def _json(reports: list[BiasReport]) -> bytes:
    found = [each.to_dict() for each in reports]
    whole = found[0] if len(found) == 1 else {"reports": found}
    return (json.dumps(_plain(whole), indent=1, allow_nan=False, ensure_ascii=False) + "\n").encode(errors="replace")


def _plain(value: Any) -> Any:
    """Return what strict JSON can hold: null for what is no number."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_plain(one) for one in value]
    return None if isinstance(value, float) and not np.isfinite(value) else value


def _csv(reports: list[BiasReport]) -> bytes:
    shown = [name for name in _NUMBERS if any(getattr(c, name) is not None for r in reports for c in r.contrasts)]
    file = StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["layer", "reduction", "group", "reference", "neuron", "dead", *shown, "cluster", "cluster_p"])
    for report in reports:
        for contrast in report.contrasts:
            columns = [getattr(contrast, name) for name in shown]
            cluster = {
                int(neuron): (number, one.p)
                for number, one in enumerate(report.clusters, 1)
                if one.group == contrast.group
                for neuron in one.neurons
            }
            start = [report.layer, report.reduce, contrast.group, contrast.reference]
            for j in range(report.n_neurons):
                numbers = ["" if values is None else float(values[j]) for values in columns]
                writer.writerow([*start, j, int(report.dead[j]), *numbers, *cluster.get(j, ("", ""))])
    return file.getvalue().encode(errors="replace")
