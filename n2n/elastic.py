"""Several processes on one machine: started through torch's elastic launcher, watched, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import traceback
from pathlib import Path

import psutil

from n2n.config import TrainConfig
from n2n.live import shown
from n2n.monitor import checkpoint
from n2n.monitor.files import last_row
from n2n.monitor.metrics import METRICS, told
from n2n.monitor.parents import end_with_parent
from n2n.monitor.preemption import FILE, Preempted, Stop
from n2n.ranks import Ranks
from n2n.recording import describe, owned, write_status
from n2n.runs import Run

PERIOD = 0.2  # seconds between looks at the run's folder


def launch(config: TrainConfig, folder: Path | None) -> Run:
    """Train with ``config.processes`` processes on this machine, showing their progress here.

    What would stop a run in this process stops them: they save, leave at the same step, and none is left.

    Args:
        config: the whole configuration, already checked.
        folder: of the run; None: a new one.

    Raises:
        ValueError: a trainer is at work in the folder.
        Preempted: a signal asked it to leave; the processes have saved and left.
        RuntimeError: a process failed; with its traceback.
    """
    with owned(folder, config, Ranks()) as folder:
        describe(folder, config)
        write_status(folder, config, "running", _saved(folder))
    (folder / "logs").mkdir(exist_ok=True)
    threads = {"OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // config.processes))}
    with open(folder / "logs" / "torchrun.log", "ab") as output:
        said = {"stdout": output, "stderr": output, "env": {**threads, **os.environ}}
        process = subprocess.Popen(_command(config, folder), start_new_session=True, **said)
    try:
        with Stop(folder) as stop:
            _watch(process, config, folder, stop)
    except BaseException:
        _end(process)
        write_status(folder, config, "preempted", _saved(folder), error=traceback.format_exc())
        raise
    return _result(config, folder, stop, process.returncode)


def _saved(folder: Path) -> int:
    return max(checkpoint.steps(folder / "checkpoints"), default=0)


def _command(config: TrainConfig, folder: Path) -> list[str]:
    """torchrun's own command, by way of ``main`` below."""
    count = f"--nproc-per-node={config.processes}"
    return [sys.executable, "-m", __name__, "--standalone", count, "-m", "n2n.train", str(folder / "config.json")]


def _watch(process: subprocess.Popen, config: TrainConfig, folder: Path, stop: Stop) -> None:
    """Until the processes have ended: show their latest row, and pass on a signal as the file ``STOP``."""
    seen = _saved(folder)
    with shown(folder, seen, config.steps) as view:
        while process.poll() is None:
            if stop.signal:
                (folder / FILE).touch()
            row = last_row(folder / METRICS)
            if row and row["step"] >= seen:
                seen = row["step"] + 1
                view.update(seen, told(row))
            time.sleep(PERIOD)


def _end(process: subprocess.Popen) -> None:
    """At once, with all that it started."""
    if process.poll() is not None:
        return
    left = [*psutil.Process(process.pid).children(recursive=True), psutil.Process(process.pid)]
    for one in left:
        one.kill()
    process.wait()


def _result(config: TrainConfig, folder: Path, stop: Stop, code: int) -> Run:
    run = Run(folder)
    status = run.status
    if status["state"] == "running":  # killed before it could tell
        tail = (folder / "logs" / "torchrun.log").read_text(errors="replace")[-4000:]
        write_status(folder, config, "failed", status["step"], error=f"torchrun ended with {code}:\n{tail}")
        status = run.status
    if status["state"] == "failed":
        raise RuntimeError(f"a process of {folder} failed at step {status['step']}:\n{status['error']}")
    if stop.signal:
        raise Preempted(
            f"{stop.by}: saved at step {status['step']} of {config.steps}, training again goes on", stop.signal
        )
    return run


def main() -> None:
    """torchrun, which ends when the process that started it does."""
    end_with_parent(signal.SIGTERM)
    from torch.distributed.run import main as torchrun

    torchrun()


if __name__ == "__main__":
    main()
