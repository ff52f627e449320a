"""A run's memory and senses: files, checkpoints, environment, progress. Nothing here knows of a trainer."""
