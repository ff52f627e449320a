"""Processes: kernels drawn or given, classic ones, the compiled sampler and its twin, the law of the first step."""
