"""What many runs show together: results, scaling laws, architectures at equal size."""
