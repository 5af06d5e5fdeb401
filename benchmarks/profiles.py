"""Profiles of a layer on disk, read once in bounded memory, against grouping the same array with xarray.

The layer is written through the writer that recordings use: ReLU-like values in steps of 1/16, which repeat after
8,192 rows, so that the profiles of all of them are known. xarray gets a part of the rows, as it loads them all, and
returns the means alone; the profiles hold standard errors, noise floors, deviations and dead neurons as well.

    python benchmarks/profiles.py --gigabytes 20
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from common import table

import topomap as tm
from topomap.store import save_run

NEURONS, PERIOD, CLASSES = 2048, 8192, 10

COUNT = """
import json, time
from pathlib import Path
import numpy as np
def resident(field):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(field))
"""
OPEN = """
import topomap as tm
acts = tm.open_run({folder!r})["fc"]
rows = {rows}
if rows < acts.n_rows:
    acts = tm.Activations(_First(acts.values, rows), tm.Inputs(np.arange(rows), {{"label": acts.labels[:rows]}}), "fc")
"""
FIRST = """
class _First:
    def __init__(self, values, rows):
        self._values, self.shape, self.dtype = values, (rows, values.shape[1]), values.dtype
    def __getitem__(self, part):
        return self._values[part]
"""
TASKS = {
    "topomap.profile": (FIRST + OPEN, "found = tm.profile(acts, by='label', contrast='none').values"),
    "reading alone": (FIRST + OPEN, "for _, block in acts.blocks(): pass\nfound = np.zeros(1)"),
    "xarray": (
        "import xarray\n"
        "data = xarray.open_zarr({zarr!r}, consolidated=False, chunks=None)\n"
        "label = xarray.DataArray(np.arange({rows}) % {period} % {classes}, dims='row', name='label')\n",
        "found = data['values'][:{rows}].load().groupby(label).mean().values",
    ),
}


class Tiled:
    """Rows that repeat, as an array that is made where it is sliced."""

    def __init__(self, period: np.ndarray, n_rows: int) -> None:
        self._period, self.dtype = period, period.dtype
        self.shape = (n_rows, period.shape[1])

    def __getitem__(self, part: slice) -> np.ndarray:
        start, stop, _ = part.indices(self.shape[0])
        return self._period[np.arange(start, stop) % len(self._period)]


def one_period() -> np.ndarray:
    rng = np.random.default_rng(0)
    level = rng.normal(-0.3, 0.5, size=(CLASSES, NEURONS))
    values = rng.normal(size=(PERIOD, NEURONS)) + level[labels(PERIOD)]
    return (np.round(np.maximum(values, 0) * 16) / 16).astype(np.float32)


def labels(n_rows: int) -> np.ndarray:
    return np.arange(n_rows) % PERIOD % CLASSES


def measure(task: str, folder: Path, rows: int) -> dict[str, float | list[list[float]]]:
    """Run a task in a fresh process; seconds, peak megabytes of the whole process, and the means."""
    setup, work = TASKS[task]
    given = {
        "folder": str(folder),
        "zarr": str(array_folder(folder)),
        "rows": rows,
        "classes": CLASSES,
        "period": PERIOD,
    }
    report = "print(json.dumps([seconds, resident('VmHWM'), np.asarray(found, dtype=float).tolist()]))"
    clock = "start = time.perf_counter()\n{}\nseconds = time.perf_counter() - start\n"
    code = COUNT + setup.format(**given) + clock.format(work.format(**given)) + report
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(done.stderr)
    seconds, peak, found = json.loads(done.stdout.splitlines()[-1])
    return {"seconds": seconds, "peak": peak, "found": found}


def array_folder(folder: Path) -> Path:
    return next(path.parent for path in folder.rglob("values") if (path / "zarr.json").exists())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gigabytes", type=float, default=20, help="of float32 values, before compression")
    parser.add_argument("--part", type=float, default=1, help="gigabytes that xarray gets")
    parser.add_argument("--folder", help="where to write the store, by default a temporary folder")
    args = parser.parse_args()
    periods = max(round(args.gigabytes * 1e9 / 4 / NEURONS / PERIOD), 1)
    rows, part = periods * PERIOD, max(round(args.part * 1e9 / 4 / NEURONS / PERIOD), 1) * PERIOD
    period = one_period()
    expected = np.array([period[labels(PERIOD) == g].astype(np.float64).mean(axis=0) for g in range(CLASSES)])
    with tempfile.TemporaryDirectory(dir=args.folder) as place:
        folder = Path(place) / "run"
        inputs = tm.Inputs(np.arange(rows), {"label": labels(rows)})
        acts = tm.Activations(Tiled(period, rows), inputs, "fc")
        save_run(tm.Run(inputs, {("fc", "none"): acts}), folder)
        size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
        print(
            f"{rows:,} x {NEURONS:,} values, {rows * NEURONS * 4 / 1e9:.1f} GB, {size / 1e9:.1f} GB on disk", flush=True
        )
        lines = []
        for task, n in (
            ("topomap.profile", rows),
            ("topomap.profile", part),
            ("reading alone", part),
            ("xarray", part),
        ):
            found = measure(task, folder, n)
            gigabytes = n * NEURONS * 4 / 1e9
            error = np.abs(np.array(found["found"]) - expected).max() if task != "reading alone" else ""
            speed = 1000 * gigabytes / found["seconds"]
            lines.append([task, gigabytes, found["seconds"], speed, found["peak"], error])
            print(lines[-1], flush=True)
    ratio = lines[3][2] / lines[1][2]
    table("Profiles from disk", ["task", "GB", "seconds", "MB/s", "peak MB", "largest error"], lines)
    print(f"\nOn the same rows xarray takes {ratio:.2g} times as long.")


if __name__ == "__main__":
    main()
