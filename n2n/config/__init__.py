"""The configuration of a training run, ``n2n.TrainConfig``."""
