"""Neuron Activation Profiles: what each group of inputs does to every neuron, on average."""

from topomap.profiles.average import profile
from topomap.profiles.base import Profiles

__all__ = ["Profiles", "profile"]
