from __future__ import annotations

import os
from collections.abc import Callable

import matplotlib as mpl
import numpy as np
import pytest

from topomap.run import Activations, Inputs, Run

mpl.use("agg")

#: The one thing that a machine may lack.
EXCUSED = "needs a CUDA device"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs a GPU where there is none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason=EXCUSED))


def _skipped(config: pytest.Config) -> int:
    """Return how many tests were skipped under continuous integration without an excuse."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or os.environ.get("CI") != "true":
        return 0
    return sum(EXCUSED not in str(report.longrepr) for report in reporter.stats.get("skipped", ()))


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a run under continuous integration that skipped a test: there, everything must be there."""
    if _skipped(session.config):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if n := _skipped(config):
        terminalreporter.write_line(f"{n} skipped tests count as failures where CI=true.", red=True)


_NEURONS, _PER_GROUP = 40, 12
STEPS = (0, 1, 2, 4, 8)


def make_training(steps: tuple[int, ...] = STEPS, *, classes: tuple[str, ...] = ("cat", "dog", "emu")) -> Run:
    """A training in which group g comes to drive neurons 10 g to 10 g + 9, and the last five neurons die at step 4.

    Neuron 0 is dead throughout. At the first step all inputs are predicted as the first class, at the last all but one
    are right.
    """
    rng = np.random.default_rng(0)
    label = np.repeat(np.arange(len(classes)), _PER_GROUP)
    noise = rng.normal(size=(len(label), _NEURONS))
    signal = (label[:, None] == np.arange(_NEURONS) // 10).astype(float)
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


@pytest.fixture(scope="session", name="make_training")
def _make_training() -> Callable[..., Run]:
    """What makes a training with planted truth."""
    return make_training


@pytest.fixture(scope="session")
def training() -> Run:
    """A training with planted truth."""
    return make_training()
