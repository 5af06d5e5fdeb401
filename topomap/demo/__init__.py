"""The demos: small nets learn, their neurons are mapped, and their training is filmed."""

from topomap.demo.folder import MARK
from topomap.demo.maps import LAYERS, PAINTED, Demo, choose_inputs, make_demo, preferred
from topomap.demo.nets import accuracy, cnn, mlp, train
from topomap.demo.training import Watched, film_trainings, watch

__all__ = [
    "LAYERS",
    "MARK",
    "PAINTED",
    "Demo",
    "Watched",
    "accuracy",
    "choose_inputs",
    "cnn",
    "film_trainings",
    "make_demo",
    "mlp",
    "preferred",
    "train",
    "watch",
]
