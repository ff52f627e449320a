"""Kernels that are learned in context: counts, hypotheses and particles, in torch and numpy."""
