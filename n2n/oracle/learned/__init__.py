"""Kernels that are learned: in context by counts, hypotheses and particles; from sequences by expected counts."""
