"""Patterns: clusters of inputs that a layer treats alike (Neural Activation Patterns)."""

from topomap.patterns.base import Patterns
from topomap.patterns.find import find_patterns
from topomap.patterns.scale import Scale

__all__ = ["Patterns", "Scale", "find_patterns"]
