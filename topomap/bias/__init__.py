"""Bias: how groups of inputs differ in a layer, and what can be claimed from it."""

from topomap.bias.clusters import adjacency
from topomap.bias.labels import LabelError, find_label_errors
from topomap.bias.measure import measure_bias
from topomap.bias.outcomes import Outcomes, measure_outcomes
from topomap.bias.probe import Probe, measure_probe
from topomap.bias.rates import Gap, Interval, Outcome
from topomap.bias.report import BiasReport, Cell, Cluster, Contrast

__all__ = [
    "BiasReport",
    "Cell",
    "Cluster",
    "Contrast",
    "Gap",
    "Interval",
    "LabelError",
    "Outcome",
    "Outcomes",
    "Probe",
    "adjacency",
    "find_label_errors",
    "measure_bias",
    "measure_outcomes",
    "measure_probe",
]
