"""The command ``python -m n2n.training``: train a run's ``config.json`` in one process, or as one of torchrun's."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
from pathlib import Path

from n2n.config.train_config import TrainConfig
from n2n.monitor.processes import end_with_parent
from n2n.monitor.stop import Preempted
from n2n.runs.folder import CONFIG
from n2n.training.process_group import launched_by_torchrun
from n2n.training.trainer import train
from n2n.utils.files import read_object


def main(arguments: list[str] | None = None) -> int:
    """Train in the folder of a configuration.

    Returns:
        0 if the run is done, or if it has saved and left under torchrun; 128 plus the signal's number if it has saved
        and left otherwise; 2 if the configuration or the folder is refused.
    """
    parser = argparse.ArgumentParser(
        prog="python -m n2n.training",
        description="Start or resume training in a run's folder. With several processes: "
        f"torchrun --nproc-per-node 2 -m n2n.training runs/x/{CONFIG}",
    )
    parser.add_argument("config", type=Path, help=f"the {CONFIG} of the run's folder")
    path = parser.parse_args(arguments).config
    if launched_by_torchrun():
        end_with_parent(signal.SIGTERM)
    try:
        train(_configuration(path))
    except Preempted as preempted:
        with contextlib.suppress(OSError):  # the terminal may be closed
            print(preempted, file=sys.stderr)
        return 0 if launched_by_torchrun() else 128 + preempted.signal
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _configuration(path: Path) -> TrainConfig:
    if path.name != CONFIG:
        raise ValueError(f"saw {path}; a file named {CONFIG} is needed, whose folder becomes the run's")
    try:
        fields = read_object(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} holds no object of names and values, or cannot be read: {error}") from None
    return TrainConfig(**{**fields, "run_dir": str(path.absolute().parent)})
