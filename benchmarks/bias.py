"""Permutation tests of a whole layer at once, against `scipy.stats.permutation_test` neuron by neuron.

2,048 neurons x 4,000 inputs of ten classes, two groups, 1,000 permutations. The peer is called once per neuron,
vectorized, with the cheapest statistic: the difference of means. It is timed on a part of the neurons and extrapolated.
It cannot permute within classes, so that one run of `measure_bias` compares all inputs as it does; the others are the
usual ones, within classes, with clusters on a layout, and with the threshold-free enhancement.

Run: python benchmarks/bias.py [--neurons 2048] [--inputs 4000] [--permutations 1000]
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from common import compare, table
from scipy import stats

import topomap as tm


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--neurons", type=int, default=2048)
    parser.add_argument("--inputs", type=int, default=4000)
    parser.add_argument("--permutations", type=int, default=1000)
    parser.add_argument("--part", type=int, default=4, help="neurons that the loop is timed on")
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    shape = (options.inputs, options.neurons)
    label, group = rng.integers(0, 10, options.inputs), rng.integers(0, 2, options.inputs)
    values = np.maximum(rng.normal(size=shape), 0).astype(np.float32)
    acts = tm.Activations.from_array(values, label=label, group=group)
    layout = tm.Layout(rng.uniform(-1, 1, (options.neurons, 2)), region="square")
    how = {"n_permutations": options.permutations, "progress": False}
    found: dict[str, tm.BiasReport] = {}

    def ours(name: str, **more: object) -> None:
        found[name] = tm.measure_bias(acts, "group", **how, **more)  # type: ignore[arg-type]

    peer = np.empty(options.part)

    def loop() -> None:
        for j in range(options.part):
            sides = values[group == 1, j].astype(np.float64), values[group == 0, j].astype(np.float64)
            result = stats.permutation_test(
                sides, lambda x, y, axis: x.mean(axis=axis) - y.mean(axis=axis), n_resamples=options.permutations,
                vectorized=True, rng=np.random.default_rng(0),
            )  # fmt: skip
            peer[j] = result.pvalue

    runs = {
        "measure_bias": lambda: ours("all"),
        "measure_bias, within classes": lambda: ours("within", within="label"),
        "measure_bias, within classes, clusters": lambda: ours("clusters", within="label", layout=layout),
        "measure_bias, within classes, clusters, TFCE": lambda: ours("tfce", within="label", layout=layout, tfce=True),
        "scipy.stats.permutation_test in a loop": loop,
    }
    seconds = compare(runs, repeats=3)
    scale = options.neurons / options.part
    loops = seconds["scipy.stats.permutation_test in a loop"] * scale
    rows = [
        (name, loops if "scipy" in name else each, loops / (loops if "scipy" in name else each))
        for name, each in seconds.items()
    ]
    title = f"{options.neurons:,} neurons x {options.inputs:,} inputs, {options.permutations:,} permutations"
    table(title, ("what", "seconds", "x the loop"), rows)
    gap = np.abs(peer - found["all"]["1"].p[: options.part]).max()
    print(f"\nLargest difference of p from scipy's (other permutations, tail doubled): {gap:.3f}")


if __name__ == "__main__":
    start = time.perf_counter()
    main()
    print(f"{time.perf_counter() - start:.0f} s in all")
