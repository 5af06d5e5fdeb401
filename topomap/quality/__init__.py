"""How good a layout is: neighbourhoods, group maps, placement, smoothness as in the 2023 paper, and stability."""

from topomap.quality.compare import compare_layouts
from topomap.quality.comparison import Comparison, Trial
from topomap.quality.measure import Quality, measure_layout
from topomap.quality.smoothness import Smoothness, measure_smoothness
from topomap.quality.stability import Stability, measure_stability

__all__ = [
    "Comparison",
    "Quality",
    "Smoothness",
    "Stability",
    "Trial",
    "compare_layouts",
    "measure_layout",
    "measure_smoothness",
    "measure_stability",
]
