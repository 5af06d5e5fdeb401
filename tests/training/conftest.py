from __future__ import annotations

import numpy as np
import pytest

from topomap.run import Activations, Inputs, Run

N_NEURONS, PER_GROUP = 40, 12
STEPS = (0, 1, 2, 4, 8)


def make_training(steps: tuple[int, ...] = STEPS, *, classes: tuple[str, ...] = ("cat", "dog", "emu")) -> Run:
    """A training in which group g comes to drive neurons 10 g to 10 g + 9, and the last five neurons die at step 4.

    Neuron 0 is dead throughout. At the first step all inputs are predicted as the first class, at the last all but one
    are right.
    """
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(len(classes)), PER_GROUP)
    noise = rng.normal(size=(len(label), N_NEURONS))
    signal = (label[:, None] == np.arange(N_NEURONS) // 10).astype(float)
    runs = {}
    for step in steps:
        values = noise + 3 * step / steps[-1] * signal
        values[:, 0] = 2.0
        if step >= 4:
            values[:, -5:] = 0.0
        prediction = label.copy() if step else np.zeros_like(label)
        prediction[0] = 1
        inputs = Inputs(np.arange(len(label)), {"label": label, "prediction": prediction}, classes)
        acts = Activations(values.astype(np.float32), inputs, "fc")
        runs[step] = Run(inputs, {("fc", "none"): acts}, {"seed": 0})
    n = len(steps)
    return Run.from_snapshots(runs, {"loss": np.linspace(2.0, 0.5, n), "accuracy": np.linspace(0.25, 0.875, n)})


@pytest.fixture(scope="session")
def training() -> Run:
    return make_training()
