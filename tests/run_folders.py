"""Comparing runs, and what lies in their folders."""

import hashlib
from pathlib import Path

import torch

import n2n

COMPUTED = ["step", "loss", "oracle_nll", "excess_loss", "lr", "grad_norm"]  # columns that do not measure the machine


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def assert_same_run(one: n2n.Run, other: n2n.Run) -> None:
    """Bit for bit: the metrics, the evaluations and the final weights."""
    assert one.metrics[COMPUTED].equals(other.metrics[COMPUTED])
    assert one.evaluations == other.evaluations
    weights = other.model().state_dict()
    for name, value in one.model().state_dict().items():
        assert torch.equal(value, weights[name]), name
