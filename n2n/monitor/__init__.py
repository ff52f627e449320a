"""Records of a run: checkpoints, rows, status, stop requests, environment, profile. Nothing depends on trainers."""
