"""Small runs: their configuration, their files, their metrics, and their processes."""

import hashlib
import os
import time
from pathlib import Path

import psutil
import torch

import n2n
from n2n.monitor.rows import last_row

COMPUTED = ["step", "loss", "oracle_nll", "excess_loss", "lr", "grad_norm"]  # columns that do not measure the machine


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def assert_same_run(one: n2n.Run, other: n2n.Run) -> None:
    """Check that metrics, evaluations and final weights are equal bit for bit."""
    assert one.metrics[COMPUTED].equals(other.metrics[COMPUTED])
    assert one.evaluations == other.evaluations
    weights = other.model().state_dict()
    for name, value in one.model().state_dict().items():
        assert torch.equal(value, weights[name]), name


SMALL = {"graph": "four_chains", "dim": 16, "layers": 1, "heads": 2, "seq_len": 12, "batch_size": 4, "device": "cpu"}
SMALL |= {"log_every": 2, "checkpoint_every": 5, "eval_every": 10, "eval_sequences": 8}


def config(**fields) -> n2n.TrainConfig:
    return n2n.TrainConfig(**{**SMALL, **fields})


def wait_until(condition, seconds: float = 60.0) -> None:
    """Wait until a condition holds, at most this long. Checking takes a fifth of the time at most."""
    now = time.monotonic()
    end = now + seconds
    while not condition():
        cost, now = time.monotonic() - now, time.monotonic()
        assert now < end, f"the condition did not hold within {seconds} s"
        time.sleep(max(0.005, 4 * cost))
        now = time.monotonic()


def logged(folder: Path) -> int:
    """The last step with a row of metrics; -1 if there is none."""
    row = last_row(folder / "metrics.jsonl")
    return row["step"] if row else -1


def still_there(word: str) -> list[int]:
    """Process ids of processes with this word in their command line, without zombies."""
    processes = []
    for process in psutil.process_iter(["cmdline", "status"]):
        line = " ".join(process.info["cmdline"] or [])
        if word in line and process.info["status"] != psutil.STATUS_ZOMBIE and process.pid != os.getpid():
            processes.append(process.pid)
    return processes
