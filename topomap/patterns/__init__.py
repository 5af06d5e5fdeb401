"""Patterns: clusters of inputs that a layer treats alike (Neural Activation Patterns)."""

from topomap.patterns.base import Patterns
from topomap.patterns.enrichment import Enrichment, Shift
from topomap.patterns.find import find_patterns
from topomap.patterns.links import Link, PatternLinks, link_patterns
from topomap.patterns.measure import measure_patterns
from topomap.patterns.report import Growth, PatternReport, PatternRow
from topomap.patterns.scale import Scale

__all__ = [
    "Enrichment",
    "Growth",
    "Link",
    "PatternLinks",
    "PatternReport",
    "PatternRow",
    "Patterns",
    "Scale",
    "Shift",
    "find_patterns",
    "link_patterns",
    "measure_patterns",
]
