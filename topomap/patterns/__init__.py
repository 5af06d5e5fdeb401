"""Patterns: clusters of inputs that a layer treats alike (Neural Activation Patterns)."""
