"""Processes: drawn or explicit kernels, classic processes, the compiled sampler and its reference, initial laws."""
