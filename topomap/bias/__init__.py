"""Bias: how groups of inputs differ in a layer, and what can be claimed from it."""
