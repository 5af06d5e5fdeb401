"""Patterns: clusters of inputs that a layer treats alike (Neural Activation Patterns)."""

from topomap.patterns.base import Patterns
from topomap.patterns.cards import Bar, PatternCard, describe_pattern
from topomap.patterns.enrichment import Enrichment, Shift
from topomap.patterns.find import find_patterns
from topomap.patterns.links import Link, PatternLinks, link_patterns
from topomap.patterns.measure import measure_patterns
from topomap.patterns.report import Growth, PatternReport, PatternRow
from topomap.patterns.scale import Scale
from topomap.patterns.top import TopInputs, top_inputs

__all__ = [
    "Bar",
    "Enrichment",
    "Growth",
    "Link",
    "PatternCard",
    "PatternLinks",
    "PatternReport",
    "PatternRow",
    "Patterns",
    "Scale",
    "Shift",
    "TopInputs",
    "describe_pattern",
    "find_patterns",
    "link_patterns",
    "measure_patterns",
    "top_inputs",
]
