"""Topographic maps of neural network activations.

The path is: a model and its data are recorded as activations; activations give a similarity
between neurons; a similarity gives a layout in the plane; over the layout any input or group
of inputs is painted as a map.

>>> import numpy as np
>>> import topomap as tm
>>> values = np.random.default_rng(0).normal(size=(200, 30))
>>> acts = tm.Activations.from_array(values, label=np.arange(200) % 2)
>>> layout = tm.embed(tm.correlate(acts), method="pca", seed=0)
>>> tm.profile(acts, by="label").values.shape
(2, 30)
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from topomap._check import TopomapWarning
    from topomap.bias import (
        BiasReport,
        LabelError,
        Outcomes,
        Probe,
        find_label_errors,
        measure_bias,
        measure_outcomes,
        measure_probe,
    )
    from topomap.groups import Groups
    from topomap.layout import Layout, Projection, embed, embed_jointly, project_inputs
    from topomap.patterns import (
        PatternCard,
        PatternLinks,
        PatternReport,
        Patterns,
        TopInputs,
        describe_pattern,
        find_patterns,
        link_patterns,
        measure_patterns,
        top_inputs,
    )
    from topomap.plot import (
        Film,
        animate,
        plot_bias,
        plot_comparison,
        plot_costs,
        plot_filmstrip,
        plot_inputs,
        plot_layout,
        plot_outcomes,
        plot_patterns,
        plot_probe,
        plot_profiles,
        plot_projection,
        plot_topomap,
        plot_training,
        save_figure,
        save_report,
    )
    from topomap.profiles import Profiles, profile
    from topomap.quality import (
        Comparison,
        Quality,
        Smoothness,
        Stability,
        compare_layouts,
        measure_layout,
        measure_smoothness,
        measure_stability,
    )
    from topomap.recording import TrainingRecorder, ablate, list_layers, record, record_checkpoints
    from topomap.run import Activations, Inputs, Moments, Run
    from topomap.similarity import Similarity, correlate
    from topomap.store import open_run, save_run
    from topomap.surface import Surface
    from topomap.training import TrainingSummary, summarize_training

__version__ = "0.1.0"

_ROOMS = {
    "TopomapWarning": "_check",
    "Groups": "groups",
    "BiasReport": "bias",
    "LabelError": "bias",
    "Outcomes": "bias",
    "Probe": "bias",
    "find_label_errors": "bias",
    "measure_bias": "bias",
    "measure_outcomes": "bias",
    "measure_probe": "bias",
    "Activations": "run",
    "Inputs": "run",
    "Moments": "run",
    "Run": "run",
    "open_run": "store",
    "save_run": "store",
    "ablate": "recording",
    "list_layers": "recording",
    "record": "recording",
    "record_checkpoints": "recording",
    "TrainingRecorder": "recording",
    "Similarity": "similarity",
    "correlate": "similarity",
    "PatternCard": "patterns",
    "PatternLinks": "patterns",
    "PatternReport": "patterns",
    "Patterns": "patterns",
    "TopInputs": "patterns",
    "describe_pattern": "patterns",
    "find_patterns": "patterns",
    "link_patterns": "patterns",
    "measure_patterns": "patterns",
    "top_inputs": "patterns",
    "Profiles": "profiles",
    "profile": "profiles",
    "Layout": "layout",
    "embed": "layout",
    "embed_jointly": "layout",
    "Projection": "layout",
    "project_inputs": "layout",
    "Surface": "surface",
    "Comparison": "quality",
    "compare_layouts": "quality",
    "Quality": "quality",
    "Smoothness": "quality",
    "Stability": "quality",
    "measure_layout": "quality",
    "measure_smoothness": "quality",
    "measure_stability": "quality",
    "TrainingSummary": "training",
    "summarize_training": "training",
    "Film": "plot",
    "animate": "plot",
    "plot_bias": "plot",
    "plot_comparison": "plot",
    "plot_costs": "plot",
    "plot_filmstrip": "plot",
    "plot_inputs": "plot",
    "plot_layout": "plot",
    "plot_outcomes": "plot",
    "plot_patterns": "plot",
    "plot_probe": "plot",
    "plot_profiles": "plot",
    "plot_projection": "plot",
    "plot_topomap": "plot",
    "plot_training": "plot",
    "save_figure": "plot",
    "save_report": "plot",
}

__all__ = [
    "Activations",
    "BiasReport",
    "Comparison",
    "Film",
    "Groups",
    "Inputs",
    "LabelError",
    "Layout",
    "Moments",
    "Outcomes",
    "PatternCard",
    "PatternLinks",
    "PatternReport",
    "Patterns",
    "Probe",
    "Profiles",
    "Projection",
    "Quality",
    "Run",
    "Similarity",
    "Smoothness",
    "Stability",
    "Surface",
    "TopInputs",
    "TopomapWarning",
    "TrainingRecorder",
    "TrainingSummary",
    "ablate",
    "animate",
    "compare_layouts",
    "correlate",
    "describe_pattern",
    "embed",
    "embed_jointly",
    "find_label_errors",
    "find_patterns",
    "link_patterns",
    "list_layers",
    "measure_bias",
    "measure_layout",
    "measure_outcomes",
    "measure_patterns",
    "measure_probe",
    "measure_smoothness",
    "measure_stability",
    "open_run",
    "plot_bias",
    "plot_comparison",
    "plot_costs",
    "plot_filmstrip",
    "plot_inputs",
    "plot_layout",
    "plot_outcomes",
    "plot_patterns",
    "plot_probe",
    "plot_profiles",
    "plot_projection",
    "plot_topomap",
    "plot_training",
    "profile",
    "project_inputs",
    "record",
    "record_checkpoints",
    "save_figure",
    "save_report",
    "save_run",
    "summarize_training",
    "top_inputs",
]


def __getattr__(name: str) -> Any:
    if name not in _ROOMS:
        raise AttributeError(f"module 'topomap' has no attribute {name!r}")
    return getattr(import_module(f"topomap.{_ROOMS[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
