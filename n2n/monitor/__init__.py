"""What keeps track of a run: checkpoints, rows, status, stop requests, environment, profile. No trainer is known."""
