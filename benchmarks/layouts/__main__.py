"""Every layout of topomap and of the paper on the same networks: quality, stability, cost, planted truth.

Run all of it, or a part; what the results hold already is not measured again, and an interruption loses nothing:

    python benchmarks/layouts --to build/layouts/results.jsonl
    python benchmarks/layouts --quick --to /tmp/quick/results.jsonl
    python benchmarks/layouts --sizes 512 --only layouts stability
    python benchmarks/layouts --forget "*/spread/*"       # measure the default layout again
    python benchmarks/layouts --report                     # tables of what was measured, and what was aimed at
    python benchmarks/layouts --first 3 --to build/layouts/held_out.jsonl --only nets layouts

Networks are trained and recorded, then costs are timed with nothing else running, then layouts are made and measured.
All but the costs is done in as many processes as there are processors, one thread each: the seconds in the tables of
layouts are those of one thread. figures/layouts.py draws the same results.
"""

from __future__ import annotations

import argparse
import os
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

import psutil
from measure import METRICS, Task, work
from report import LEGEND, compact, report
from results import Results

SIZES = {"fashion": (128, 512, 2048, 8192), "digits": (128, 512)}
NETS = 3
PARTS = ("nets", "cost", "planted", "layouts", "stability")

#: From this size on layers are stable enough to ask how stable.
_STABLE = 512


def tasks(part: str, args: argparse.Namespace) -> list[Task]:
    """Return what a part consists of: for large layers the first network comes before the others."""
    sizes = {data: [n for n in of if n in args.sizes] for data, of in SIZES.items() if data in args.data}
    numbers = range(args.first, args.first + (1 if args.quick else args.nets))
    nets = [(data, n, net) for data, of in sizes.items() for n in of for net in numbers]
    nets.sort(key=lambda which: (which[1] > 2048, which[2] if which[1] > 2048 else 0, -which[1]))
    common = {"quick": args.quick}
    if part == "nets":
        return [Task("net", *net, **common) for net in nets]
    if part == "planted":
        return [Task("planted", **common)]
    if part == "cost":
        return [Task("cost", *net, **common) for net in nets if net[0] == "fashion"]
    if part == "stability":
        return [Task("stability", *net, **common) for net in nets if net[1] >= _STABLE or args.quick]
    return [Task("layout", *net, metric=metric, **common) for net in nets for metric in METRICS]


def alone(jobs: list[Task], path: Path) -> None:
    for task in jobs:
        work(task, path)


def together(jobs: list[Task], path: Path, n_jobs: int) -> None:
    """Work on tasks in several processes of one thread each."""
    if n_jobs == 1:
        return alone(jobs, path)
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")
    before = dict(os.environ)
    os.environ.update(dict.fromkeys(threads, "1"), TQDM_DISABLE="1")
    pool = ProcessPoolExecutor(n_jobs, mp_context=get_context("spawn"))
    try:
        for done in as_completed([pool.submit(work, task, path) for task in jobs]):
            done.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        os.environ.clear()
        os.environ.update(before)
    return None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--to", type=Path, default=Path("build/layouts/results.jsonl"), help="the file of results")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--sizes", nargs="+", type=int, default=list(SIZES["fashion"]), metavar="N")
    parser.add_argument("--data", nargs="+", choices=tuple(SIZES), default=list(SIZES))
    parser.add_argument("--nets", type=int, default=NETS, help="networks per size, and seeds of their layouts")
    parser.add_argument("--first", type=int, default=0, help="number of the first: 3 for networks that are held out")
    parser.add_argument("--quick", action="store_true", help="one network of 128 units and few methods")
    parser.add_argument("--jobs", type=int, default=psutil.cpu_count(), help="processes for layouts")
    parser.add_argument("--forget", nargs="+", default=[], metavar="KEY", help="measure again, e.g. '*/spread/*'")
    parser.add_argument("--report", nargs="?", const="all", choices=("all", "readme"),
                        help="only print what the file holds, as Markdown (readme: its table)")  # fmt: skip
    args = parser.parse_args()
    if args.quick:
        args.sizes = [n for n in args.sizes if n <= 128] or [128]
    results = Results(args.to)
    if args.report:
        print(report(results) if args.report == "all" else f"{compact(results)}\n\n{LEGEND}")
        return
    results.mend()
    for pattern in args.forget:
        print(f"forgot {results.forget(pattern)} measurements", file=sys.stderr)
    if "nets" in args.only:
        together(tasks("nets", args), args.to, args.jobs)
    if "cost" in args.only:
        alone(tasks("cost", args), args.to)
    rest = [task for part in ("planted", "layouts", "stability") if part in args.only for task in tasks(part, args)]
    rest.sort(key=lambda task: task.n > 2048)  # the largest last: if time runs out, the others are whole
    if rest:
        together(rest, args.to, args.jobs)
    print(report(Results(args.to)))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("interrupted: what was measured is kept, and the same command goes on from there")
