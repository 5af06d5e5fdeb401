"""The demo: two small nets learn handwritten digits, and their neurons are mapped."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topomap._check import whole_number
from topomap.datasets import digits, loader
from topomap.demo.folder import check_target, whole_folder, write_mark
from topomap.demo.nets import cnn, mlp, train
from topomap.run import Activations, Run

#: The layers that are recorded and mapped, per net.
LAYERS = {"cnn": ("relu1", "relu2"), "mlp": ("relu1", "relu2")}
#: The layer that is painted, per net.
PAINTED = {"cnn": "relu2", "mlp": "relu1"}


@dataclass(frozen=True, eq=False)
class Demo:
    """What the demo made.

    Parameters
    ----------
    path
        Its folder.
    runs
        The recorded run of each net, ``"cnn"`` and ``"mlp"``.
    accuracy
        Share of correct answers on the recorded inputs, per net.
    figures
        The pictures, PNG and PDF.
    method
        How the neurons were laid out.
    """

    path: Path
    runs: dict[str, Run]
    accuracy: dict[str, float]
    figures: tuple[Path, ...]
    method: str

    def __repr__(self) -> str:
        return f"Demo({self.path}: {', '.join(self.runs)}; {len(self.figures)} figures)"


def make_demo(
    to: str | Path = "topomap-demo",
    *,
    seed: int = 0,
    method: str = "spread",
    epochs: int = 12,
    overwrite: bool = False,
    progress: bool = True,
) -> Demo:
    """Train two small nets on handwritten digits, record them, lay their neurons out and paint maps.

    A convolutional and a dense net learn 1,000 of scikit-learn's digits; the other 797 are recorded. The folder holds
    a run folder and the weights of each net, and ``figures``. It appears when everything is done, or not at all.

    Parameters
    ----------
    to
        The folder to make.
    seed
        For weights, training and layouts: the same seed gives the same results on the same machine.
    method
        The layout, as in `embed`.
    epochs
        Passes over the training data.
    overwrite
        Replace a folder that an earlier demo made.
    progress
        Whether to show progress bars.

    Returns
    -------
    Demo
        Runs, accuracies and figures.

    Raises
    ------
    ValueError
        If the folder exists and may not be replaced, or a parameter makes no sense.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     make_demo(folder)
    Traceback (most recent call last):
        ...
    ValueError: ... exists and is not a demo's folder; choose another one with to= (--to).
    """
    target = Path(to)
    whole_number("epochs", epochs, 1)
    check_target(target, overwrite)
    with whole_folder(target, overwrite) as folder:
        scores = {}
        for name, factory in (("cnn", cnn), ("mlp", mlp)):
            scores[name] = _one_net(folder, name, factory, seed, method, epochs, progress)
        write_mark(folder, {"seed": seed, "method": method, "epochs": epochs, "accuracy": scores})
    from topomap.store import open_run

    runs = {name: open_run(target / name) for name in scores}
    return Demo(target, runs, scores, tuple(sorted((target / "figures").iterdir())), method)


def _one_net(folder: Path, name: str, factory: Any, seed: int, method: str, epochs: int, progress: bool) -> float:
    """Train, record, lay out and paint one net; return its accuracy on the recorded inputs."""
    from safetensors.torch import save_file

    from topomap.layout import embed
    from topomap.recording import record
    from topomap.similarity import correlate

    model = train(factory, digits("train"), epochs=epochs, seed=seed, name=name, progress=progress)
    test = digits("test")
    save_file(model.state_dict(), folder / f"{name}.safetensors")
    run = record(
        model, loader(test), layers=LAYERS[name], to=folder / name, classes=test.classes, seed=seed, progress=progress
    )
    for layer in LAYERS[name]:
        acts = run[layer]
        assert isinstance(acts, Activations)  # keep="values" is the default
        layout = embed(correlate(acts), method=method, seed=seed)
        layout.save(folder / name, layer, acts.reduce)
        if layer == PAINTED[name]:
            _paint(folder / "figures", name, acts, layout)
    correct = run.inputs["correct"]
    return float(np.mean(correct))


def _paint(folder: Path, name: str, acts: Activations, layout: Any) -> None:
    """Save the maps of the classes, of some inputs, and the neurons by the class that they prefer."""
    from topomap.plot import plot_inputs, plot_layout, plot_profiles
    from topomap.profiles import profile

    profiles = profile(acts, by="label")
    stem = f"{name}-{acts.layer}"
    _save(plot_profiles(profiles, layout, examples=acts), folder, f"{stem}-classes")
    _save(plot_inputs(acts, layout, choose_inputs(acts)), folder, f"{stem}-inputs")
    colours = preferred(profiles.scaled, profiles.names)
    _save(plot_layout(layout, colours, label="preferred digit"), folder, f"{stem}-layout")


def preferred(scaled: NDArray[Any], names: tuple[str, ...]) -> NDArray[Any]:
    """Return the group that drives each neuron most.

    Parameters
    ----------
    scaled
        Profiles in units of the neurons' deviation, shape ``(n_groups, n_neurons)``.
    names
        The groups.

    Returns
    -------
    array of str
        Shape ``(n_neurons,)``.

    Examples
    --------
    >>> preferred(np.array([[1.0, -1.0], [-1.0, 1.0]]), ("cat", "dog")).tolist()
    ['cat', 'dog']
    """
    return np.asarray(np.array(names)[np.argmax(scaled, axis=0)])


def choose_inputs(acts: Activations) -> NDArray[np.int64]:
    """Choose inputs worth a look: the surest mistake between sure examples of its label and of its prediction.

    Parameters
    ----------
    acts
        Activations whose inputs have label, prediction and confidence.

    Returns
    -------
    array of int
        Positions in the table of inputs: right, wrong, right; then the least sure of all. Without a mistake, only
        the sure example of the first class and the least sure input.

    Examples
    --------
    >>> acts = Activations.from_array(
    ...     np.eye(4), label=[0, 0, 1, 1], prediction=[0, 1, 1, 1], confidence=[0.9, 0.8, 0.7, 0.6]
    ... )
    >>> choose_inputs(acts).tolist()
    [0, 1, 2, 3]
    """
    label, prediction = acts.inputs["label"], acts.inputs["prediction"]
    confidence = np.asarray(acts.inputs["confidence"], dtype=np.float64)
    right = label == prediction

    def surest(mask: NDArray[np.bool_]) -> list[int]:
        return [int(np.argmax(np.where(mask, confidence, -1)))] if mask.any() else []

    mistake = surest(~right)
    wanted = [(label[i], prediction[i]) for i in mistake] or [(label[0], None)]
    chosen = [*surest(right & (label == wanted[0][0])), *mistake]
    if wanted[0][1] is not None:
        chosen += surest(right & (label == wanted[0][1]))
    chosen.append(int(np.argmin(confidence)))
    return np.array(list(dict.fromkeys(chosen)), dtype=np.int64)


def _save(drawn: Any, folder: Path, stem: str) -> None:
    """Save a drawing as PNG and PDF, and let go of it."""
    from matplotlib import pyplot as plt

    from topomap.plot.save import save_figure

    for suffix in ("png", "pdf"):
        save_figure(drawn, folder / f"{stem}.{suffix}", dpi=200)
    plt.close(drawn if hasattr(drawn, "savefig") else drawn.figure)
