"""Bias: how groups of inputs differ in a layer, and what can be claimed from it."""

from topomap.bias.clusters import adjacency
from topomap.bias.measure import measure_bias
from topomap.bias.report import BiasReport, Cell, Cluster, Contrast

__all__ = ["BiasReport", "Cell", "Cluster", "Contrast", "adjacency", "measure_bias"]
