"""How maps change over a training: the values of a film, where its neurons lie, and what there is to see in numbers."""

from topomap.training.collect import collect_maps
from topomap.training.maps import TrainingMaps
from topomap.training.places import LAYOUTS, Places, lay_out
from topomap.training.quality import StepQuality, measure_steps
from topomap.training.steps import tell_divergence
from topomap.training.summary import TrainingSummary, summarize_training

__all__ = [
    "LAYOUTS",
    "Places",
    "StepQuality",
    "TrainingMaps",
    "TrainingSummary",
    "collect_maps",
    "lay_out",
    "measure_steps",
    "summarize_training",
    "tell_divergence",
]
