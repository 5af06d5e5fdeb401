"""Recording: a model and its data become a run. The only room of the path that imports torch."""

from topomap.recording.ablation import ablate
from topomap.recording.checkpoints import record_checkpoints
from topomap.recording.listing import LayerInfo, LayerTable, list_layers
from topomap.recording.moments import MomentAccumulator
from topomap.recording.recorder import record
from topomap.recording.selection import select_layers, unwrap
from topomap.recording.training import TrainingRecorder

__all__ = [
    "LayerInfo",
    "LayerTable",
    "MomentAccumulator",
    "TrainingRecorder",
    "ablate",
    "list_layers",
    "record",
    "record_checkpoints",
    "select_layers",
    "unwrap",
]
