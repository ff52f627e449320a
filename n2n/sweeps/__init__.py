"""Results of many runs: evaluations, scaling laws, architectures at equal size."""
