"""Pictures: maps of single inputs and of groups, cards of patterns, the layout itself, and comparisons of layouts.

Plot functions take ``(data, layout, *, ax=None, ...)`` and return what they drew. They never show, never save and
leave matplotlib's settings alone; `save_figure` saves.
"""

from topomap.plot.animation import animate
from topomap.plot.bias import plot_bias
from topomap.plot.film import Film
from topomap.plot.filmstrip import plot_filmstrip
from topomap.plot.inputs import plot_inputs
from topomap.plot.layout import plot_layout
from topomap.plot.patterns import plot_patterns
from topomap.plot.probe import plot_outcomes, plot_probe
from topomap.plot.profiles import plot_profiles
from topomap.plot.projection import plot_projection
from topomap.plot.quality import plot_comparison, plot_costs
from topomap.plot.report import save_report
from topomap.plot.save import save_figure
from topomap.plot.topomap import plot_topomap
from topomap.plot.training import plot_training

__all__ = [
    "Film",
    "animate",
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
    "save_figure",
    "save_report",
]
