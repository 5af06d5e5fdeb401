"""What was recorded: inputs, activations or moments per layer, and the run that holds them."""

from topomap.run.activations import BLOCK_ROWS, Activations, constant, take_rows
from topomap.run.inputs import Inputs, comparable, is_correct
from topomap.run.moments import GroupMoments, Moments
from topomap.run.run import Record, Run, versions

#: Reductions that keep several rows for one input.
ROW_REDUCTIONS = ("positions", "tokens", "aligned")

__all__ = [
    "BLOCK_ROWS",
    "ROW_REDUCTIONS",
    "Activations",
    "GroupMoments",
    "Inputs",
    "Moments",
    "Record",
    "Run",
    "comparable",
    "constant",
    "is_correct",
    "take_rows",
    "versions",
]
