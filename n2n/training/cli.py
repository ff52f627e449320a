"""The command ``python -m n2n.training``: train a run's ``config.json``, alone or as one of torchrun's processes."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from pathlib import Path

from n2n.config.train_config import TrainConfig
from n2n.monitor.stop import Preempted
from n2n.training.ranks import started_by_torchrun
from n2n.training.trainer import train
from n2n.utils.files import read_json
from n2n.utils.processes import end_with_parent


def main(arguments: list[str] | None = None) -> int:
    """Train in the folder of the configuration that is named.

    Returns:
        0 if the run is done, or has saved and left under torchrun; else 128 and the signal's number if it has saved and
        left; 2 for a configuration or a folder that is refused.
    """
    parser = argparse.ArgumentParser(
        prog="python -m n2n.training",
        description="Train in a run's folder, or go on there. With several processes: "
        "torchrun --nproc-per-node 2 -m n2n.training runs/x/config.json",
    )
    parser.add_argument("config", type=Path, help="the config.json of the run's folder")
    path = parser.parse_args(arguments).config
    if started_by_torchrun():
        end_with_parent(signal.SIGTERM)
    try:
        train(_configuration(path))
    except Preempted as left:
        with contextlib.suppress(OSError):  # the terminal may be closed
            print(left, file=sys.stderr)
        return 0 if started_by_torchrun() else 128 + left.signal
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _configuration(path: Path) -> TrainConfig:
    if path.name != "config.json":
        raise ValueError(f"saw {path}; a file named config.json is needed, whose folder becomes the run's")
    try:
        given = read_json(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} cannot be read: {error}") from None
    if not isinstance(given, dict):
        raise ValueError(f"{path} holds no object of names and values")
    return TrainConfig(**{**given, "run_dir": str(path.absolute().parent)})
