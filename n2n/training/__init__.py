"""The trainer: from a configuration to a run's folder; ``python -m n2n.training`` is its command."""
