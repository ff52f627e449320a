"""The command ``python -m n2n.training``: train the ``config.json`` of runs in one process, or as one of torchrun's."""

from __future__ import annotations

import argparse
import contextlib
import signal
import sys
import traceback
from pathlib import Path

from n2n.config.train_config import TrainConfig
from n2n.monitor.processes import end_with_parent
from n2n.monitor.stop import Preempted
from n2n.runs.folder import CONFIG
from n2n.training.process_group import launched_by_torchrun
from n2n.training.trainer import train
from n2n.utils.files import read_object


def main(arguments: list[str] | None = None) -> int:
    """Train in the folders of configurations, one after another.

    Returns:
        0 if the runs are done, or if one has saved and left under torchrun; 128 plus the signal's number if one has
        saved and left otherwise. If a run is refused (2) or one of several fails (1), the others are trained first.
    """
    options = _parser().parse_args(arguments)
    if launched_by_torchrun() or options.with_parent:
        end_with_parent(signal.SIGTERM)
    codes = []
    for path in options.config:
        try:
            codes.append(_train(path, alone=len(options.config) == 1))
        except Preempted as preempted:
            with contextlib.suppress(OSError):  # the terminal may be closed
                print(preempted, file=sys.stderr)
            return 0 if launched_by_torchrun() else 128 + preempted.signal
    return max(codes)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m n2n.training",
        description="Start or resume training in a run's folder, or in several in turn. With several processes: "
        f"torchrun --nproc-per-node 2 -m n2n.training runs/x/{CONFIG}",
    )
    parser.add_argument("config", type=Path, nargs="+", help=f"the {CONFIG} of a run's folder")
    parser.add_argument(
        "--with-parent", action="store_true", help="save and leave when the process that started this one ends"
    )
    return parser


def _train(path: Path, alone: bool) -> int:
    """Train one run and return its code; the error of one of several is printed."""
    try:
        train(_configuration(path))
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    except Exception:
        if alone:
            raise
        traceback.print_exc()
        return 1
    return 0


def _configuration(path: Path) -> TrainConfig:
    if path.name != CONFIG:
        raise ValueError(f"saw {path}; a file named {CONFIG} is needed, whose folder becomes the run's")
    try:
        fields = read_object(path)
    except (OSError, ValueError) as error:
        raise ValueError(f"{path} holds no object of names and values, or cannot be read: {error}") from None
    return TrainConfig(**{**fields, "run_dir": str(path.absolute().parent)})
