"""The trainer: from a configuration to a run's folder."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing

import torch

from n2n.config.train_config import TrainConfig
from n2n.monitor import checkpoint
from n2n.monitor.journal import Marks
from n2n.monitor.metrics import check_tensorboard
from n2n.monitor.stop import Preempted, Stop
from n2n.runs.folder import LAUNCH_LOCK, TRAINING_LOCK
from n2n.runs.run import Run
from n2n.training.hardware import check_memory, choose_device
from n2n.training.learner import Learner
from n2n.training.process_group import ProcessGroup, launched_by_n2n, launched_by_torchrun
from n2n.training.reporter import Reporter
from n2n.training.run_folder import WritableRunFolder, append_log, open_for_writing, requested_folder
from n2n.training.torchrun import launch
from n2n.utils import threads
from n2n.utils.cpu import keep_freed_memory
from n2n.utils.files import read_object_or_empty, remove_unfinished
from n2n.utils.progress import in_watched_notebook
from n2n.utils.strict import refused_as, short_repr


def train(config: TrainConfig) -> Run:
    """Train a model on sequences of a process, and evaluate it with the oracle at the end.

    The batch of a step is a pure function of the configuration. A run that is resumed in its folder therefore
    continues as if it had never stopped; with other ``steps`` it continues along the new schedule of the learning rate.
    At each logged step the loss and the exact ``oracle_nll`` are measured on the same batch, before the update.

    SIGTERM, SIGUSR1, SIGUSR2, SIGHUP, the first Ctrl-C and a file ``STOP`` in the run's folder make the run save and
    leave. In a notebook, so does the end of the program that executes it, such as papermill. The file is then removed.

    Args:
        config: the whole configuration. If ``run_dir`` holds a run with the same configuration, that run is resumed.

    Returns:
        The view of the run's folder, for a finished run or one that the file ``STOP`` ended.

    Raises:
        ValueError: if the folder holds another configuration, other files, a trainer at work or a run that has made
            more than ``steps``; if the device does not exist; if fused kernels are to run on a CPU; if the data do not
            fit; or if the run needs more memory than the machine has. Nothing on disk is changed.
        Preempted: if a signal requested a stop. The run has saved and left. It is a ``KeyboardInterrupt``.
        FloatingPointError: if a loss or the weights are no longer finite; such weights are not saved.
        OSError: if a checkpoint cannot be written; the one before it is complete.
        RuntimeError: if one of several processes failed, with its traceback; or if the folder, its locks or its rows
            were moved, deleted or changed by another program during training. Nothing is written into the folder that
            has taken its place, and the message names the last checkpoint.
    """
    if not isinstance(config, TrainConfig):
        raise ValueError(f"saw {short_repr(config)}; a TrainConfig is needed, such as n2n.TrainConfig(graph='sparse')")
    if config.tensorboard:
        check_tensorboard()
    with refused_as("n2n.train"):
        requested, group = requested_folder(config), ProcessGroup.from_environment()
        device = choose_device(config, group)
        check_memory(config, device)
    if config.processes > 1 and not launched_by_torchrun():
        return launch(config, requested, device)
    keep_freed_memory()
    locks = [TRAINING_LOCK] if launched_by_n2n() else [LAUNCH_LOCK, TRAINING_LOCK]
    with group.connected(device):
        if requested and launched_by_n2n():  # the launcher waits for this line
            append_log(requested.log_path(group.rank), f"rank {group.rank} of {group.size} has joined")
        learner = Learner(config, device, group)
        with open_for_writing(requested, config, group, locks) as folder:
            return _train_in(folder, learner)


def _train_in(folder: WritableRunFolder, learner: Learner) -> Run:
    marks = _resume(folder, learner)
    with Stop(folder.stop_path) as stop, _chosen_threads(folder, learner):
        with _failure_status(folder, learner):
            if learner.group.is_first:
                folder.describe()
                folder.write_status("running", learner.done)
            stopped = _train_steps(folder, learner, stop, marks)
        folder.check_in_place(learner.last_saved)
        if learner.group.is_first:
            folder.write_status("preempted" if stopped else "done", learner.done)
            stop.clear()
        if stop.signal:
            saved = f"saved at step {learner.done} of {folder.config.steps}, training again into {folder.path} goes on"
            raise Preempted(f"{stop.reason}: {saved if stopped else 'the run is done'}", stop.signal)
    return Run(folder.path)


def _resume(folder: WritableRunFolder, learner: Learner) -> Marks:
    """Load the newest usable checkpoint, which the first process selects, and return the marks of its rows."""
    skipped: list[str] = []
    newest = folder.resumable(skipped.append) if learner.group.is_first else None
    step = learner.group.broadcast(newest.step if newest else 0)
    if step:
        learner.load(newest or checkpoint.load(folder.checkpoints_path, step, folder.config.identity), folder)
    if learner.group.is_first:
        folder.warn(skipped)
        folder.clean_checkpoints(after=step)
        remove_unfinished(folder.path)
    return newest.marks if newest else {}


@contextlib.contextmanager
def _chosen_threads(folder: WritableRunFolder, learner: Learner) -> Iterator[None]:
    """Set the number of torch's threads and log it; on a GPU, or in one of several processes, torch's own number."""
    config, left = learner.config, learner.config.steps - learner.done
    chosen = threads.Threads(torch.get_num_threads(), "as torch has them")
    if learner.group.size == 1 and learner.device.type == "cpu" and config.compile != "on" and left:
        chosen = threads.choose_threads(learner.rehearsal, left, chosen.number, folder.previous_threads())
    folder.log(str(chosen))
    with threads.torch_threads(chosen.number):
        yield


@contextlib.contextmanager
def _failure_status(folder: WritableRunFolder, learner: Learner) -> Iterator[None]:
    """Write how the run ended if it fails. If several processes train, the first that fails writes."""
    group = learner.group
    try:
        yield
    except BaseException as error:
        if not folder.in_place:  # the path may lead to another run now
            raise
        saved = folder.last_step
        state = "preempted" if isinstance(error, KeyboardInterrupt) else "failed"
        message = "" if group.size == 1 else f"rank {group.rank} of {group.size}:\n"
        with contextlib.suppress(OSError):  # the error itself reports a full disk
            if group.size == 1 or read_object_or_empty(folder.status_path).get("state") == "running":
                folder.write_status(state, saved, error=message + traceback.format_exc())
        raise


def _train_steps(folder: WritableRunFolder, learner: Learner, stop: Stop, marks: Marks) -> bool:
    """Train until the last step or until a stop is requested, and return whether one was requested."""
    config, group = learner.config, learner.group
    batches = learner.batches.ahead(learner.done, config.steps)
    with _preserved_random_state(learner.device), closing(batches), Reporter(folder, learner, marks) as report:
        exhausted = report.out_of_patience()
        while learner.done < config.steps and not exhausted:
            if group.any(stop.requested):
                report.leave(stop.reason)
                if in_watched_notebook() and not stop.signal:  # the user continues with the cells after this one
                    report.judge()
                return True
            step = learner.done
            with report.step(step) as clock:
                with clock("data"):
                    batch = next(batches)
                    tokens = torch.from_numpy(batch.tokens).to(learner.device)
                loss, norm, rate = learner.update(tokens, clock)
            last = learner.done == config.steps
            if last or step % config.log_every == 0:
                learner.check_finite()
                with clock("oracle"):
                    oracle_nll = learner.oracle_nll(tokens, batch.sequences)
                report.metrics(step, loss, oracle_nll, norm, rate)
            if config.eval_every and learner.done % config.eval_every == 0:
                exhausted = report.validate()
            if last or learner.done % config.checkpoint_every == 0:
                report.checkpoint()
        report.checkpoint()  # unless the last step has saved
        report.judge()
        report.verify()
    return False


def _preserved_random_state(device: torch.device) -> AbstractContextManager[None]:
    """Restores the state of torch's global generators afterwards."""
    return torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else [])
