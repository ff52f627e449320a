"""The trainer: a configuration in, a run folder out."""

from __future__ import annotations

import contextlib
import traceback
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from pathlib import Path

import psutil
import torch

from n2n.config.limits import BYTES_PER_PARAMETER, MAX_OPTION_FACTOR, min_bytes, min_parameters, over_limit
from n2n.config.train_config import TrainConfig
from n2n.monitor import checkpoint
from n2n.monitor.metrics import NO_ROWS, Marks, check_tensorboard
from n2n.monitor.status import STATUS
from n2n.monitor.stop import Preempted, Stop
from n2n.runs.run import Run
from n2n.training.learner import Learner
from n2n.training.ranks import Ranks, started_by_launcher, started_by_torchrun
from n2n.training.reporter import Reporter
from n2n.training.run_folder import (
    ANSWERS,
    TRAINS,
    Owned,
    describe,
    existing_folder,
    line_logger,
    owned,
    resumable,
    threads_before,
    warn,
    write_status,
)
from n2n.training.torchrun import launch, processes_per_node
from n2n.utils import threads
from n2n.utils.cpu import keep_freed_memory
from n2n.utils.files import read_object_or_empty, remove_unfinished
from n2n.utils.progress import in_watched_notebook
from n2n.utils.strict import refused_as, short_repr


def train(config: TrainConfig) -> Run:
    """Train a model on sequences of a process, and evaluate it beside the oracle at the end.

    The batch of a step is a pure function of the configuration, so a run that is resumed in its folder goes on as if it
    had never stopped; with other ``steps`` it goes on along the new schedule of the learning rate. At each logged step
    the loss and the exact ``oracle_nll`` are taken on the same batch, before the update.

    SIGTERM, SIGUSR1, SIGUSR2, SIGHUP, the first Ctrl-C and a file ``STOP`` in the run's folder make it save and leave,
    and in a notebook the end of the program that ran it, such as papermill; the file is removed then.

    Args:
        config: the whole configuration. If ``run_dir`` holds a run of the same configuration, that run is resumed.

    Returns:
        The view of the run's folder: of a finished run, or of one that the file ``STOP`` ended.

    Raises:
        ValueError: a folder with another configuration, with files of another kind or with a trainer at work, a run
            that is further than ``steps``, a device that is not there, fused kernels on a CPU, data that do not fit, or
            more memory than the machine has. Nothing on disk is touched.
        Preempted: a signal asked it to leave; it has saved and left. It is a ``KeyboardInterrupt``.
        FloatingPointError: a loss or weights that are no longer finite; they are not saved.
        OSError: a checkpoint that cannot be written; the one before is whole.
        RuntimeError: one of several processes failed, with its traceback; or the folder, its locks or its rows were
            moved, deleted or changed by someone else while it trained. It writes nothing into what lies there now, and
            the message names the last checkpoint.
    """
    if not isinstance(config, TrainConfig):
        raise ValueError(f"saw {short_repr(config)}; a TrainConfig is needed, such as n2n.TrainConfig(graph='sparse')")
    if config.tensorboard:
        check_tensorboard()
    with refused_as("n2n.train"):
        folder, ranks = existing_folder(config), Ranks.here()
        device = _device(config, ranks)
        _refuse_beyond_memory(config, device)
    if config.processes > 1 and not started_by_torchrun():
        # On the CPU, because a GPU is for those that will train.
        one = Learner(config.model_copy(update={"compile": "off", "kernels": "torch"}), torch.device("cpu"), ranks)
        return launch(config, folder, one, device)
    keep_freed_memory()
    locks = [TRAINS] if started_by_launcher() else [ANSWERS, TRAINS]
    with ranks.joined(device):
        if folder and started_by_launcher():
            # The launcher waits for this line.
            line_logger(folder, ranks.rank)(f"rank {ranks.rank} of {ranks.count} has joined")
        learner = Learner(config, device, ranks)
        with owned(folder, config, ranks, locks) as ours:
            return _train_in(ours, learner)


def _device(config: TrainConfig, ranks: Ranks) -> torch.device:
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if config.device == "cuda" and not gpus:
        raise ValueError("device: saw 'cuda', but torch sees no CUDA GPU here (allowed: auto, cpu)")
    if config.device == "cpu" or not gpus:
        if config.kernels == "fused":
            raise ValueError("kernels: saw 'fused', but the run is on the CPU (allowed there: auto, torch)")
        return torch.device("cpu")
    if config.processes > 1 and processes_per_node(config) > gpus:
        raise ValueError(f"processes: saw {config.processes}, but there are {gpus} GPUs here, one for each")
    if ranks.count > 1:
        torch.cuda.set_device(ranks.local)
    return torch.device("cuda", torch.cuda.current_device())


def _refuse_beyond_memory(config: TrainConfig, device: torch.device) -> None:
    """Raise a ``ValueError`` for what this machine cannot hold, before the run has a folder: most would fail late."""
    memory = psutil.virtual_memory().total + psutil.swap_memory().total
    if device.type == "cuda":
        memory = max(memory, torch.cuda.get_device_properties(device).total_memory)
    parameters = min_parameters(dict(config))
    if (
        MAX_OPTION_FACTOR * BYTES_PER_PARAMETER * parameters > memory
    ):  # counting costs seconds, so only where it may matter
        with torch.device("meta"):
            parameters = config.build_model().num_parameters
    told = f"this machine has {memory / 2**30:,.0f} GiB"
    if wrong := over_limit(min_bytes(dict(config), parameters), memory, told):
        raise ValueError("\n".join(wrong))


def _train_in(ours: Owned, learner: Learner) -> Run:
    folder, config, ranks = ours.path, learner.config, learner.ranks
    marks = _resume(folder, learner)
    with Stop(folder) as stop, _threads(folder, learner):
        with _failures_told(ours, learner):
            if ranks.first:
                describe(folder, config)
                write_status(folder, config, "running", learner.done)
            stopped = _steps(ours, learner, stop, marks)
        ours.check(learner.last_saved)
        if ranks.first:
            write_status(folder, config, "preempted" if stopped else "done", learner.done)
            stop.answered()
        if stop.signal:
            left = f"saved at step {learner.done} of {config.steps}, training again into {folder} goes on"
            raise Preempted(f"{stop.by}: {left if stopped else 'the run is done'}", stop.signal)
    return Run(folder)


@contextlib.contextmanager
def _threads(folder: Path, learner: Learner) -> Iterator[None]:
    """Torch on as many threads as the run takes, which its log tells; as torch has it on a GPU or as one of several."""
    config, device, ranks, left = learner.config, learner.device, learner.ranks, learner.config.steps - learner.done
    chosen = threads.Threads(torch.get_num_threads(), "as torch has them")
    if ranks.count == 1 and device.type == "cpu" and config.compile != "on" and left:
        chosen = threads.choose_threads(learner.rehearse, left, chosen.number, threads_before(folder))
    line_logger(folder, ranks.rank)(str(chosen))
    with threads.torch_threads(chosen.number):
        yield


def _resume(folder: Path, learner: Learner) -> Marks:
    """Load the newest checkpoint that can be used, which the first rank finds; the marks of its rows."""
    config, told = learner.config, []
    found = resumable(folder, config, told.append) if learner.ranks.first else None
    step = learner.ranks.tell(found.step if found else 0)
    if step:
        state = found.state if found else checkpoint.load(folder / "checkpoints", step, config.identity)
        learner.load(step, state, folder)
    if learner.ranks.first:
        warn(told, folder)
        checkpoint.set_aside(folder / "checkpoints", after=step)
        checkpoint.prune(folder / "checkpoints", config.keep_last, config.keep_every)
        remove_unfinished(folder)
    return found.marks if found else NO_ROWS


@contextlib.contextmanager
def _failures_told(ours: Owned, learner: Learner) -> Iterator[None]:
    """``status.json`` says how the run ended if it does not end well; the rank that failed first has the word."""
    folder = ours.path
    try:
        yield
    except BaseException as error:
        if not ours.in_place:  # what lies there now may be another run's
            raise
        saved = checkpoint.last(folder / "checkpoints")
        told = "" if learner.ranks.count == 1 else f"rank {learner.ranks.rank} of {learner.ranks.count}:\n"
        state = "preempted" if isinstance(error, KeyboardInterrupt) else "failed"
        with contextlib.suppress(OSError):  # a full disk is told by the error itself
            if learner.ranks.count == 1 or read_object_or_empty(folder / STATUS).get("state") == "running":
                write_status(folder, learner.config, state, saved, error=told + traceback.format_exc())
        raise


def _steps(ours: Owned, learner: Learner, stop: Stop, marks: Marks) -> bool:
    """Train to the end, or until someone asks for it; whether someone did."""
    config, ranks = learner.config, learner.ranks
    batches = learner.batches.ahead(learner.done, config.steps)
    with _own_random_numbers(learner.device), closing(batches), Reporter(ours, learner, marks) as report:
        while learner.done < config.steps:
            if ranks.any(stop.asked):
                report.leave(stop.by)
                if in_watched_notebook() and not stop.signal:  # a person goes on to look at what is there
                    report.evaluate("test")
                return True
            step = learner.done
            with report.step(step) as clock:
                with clock("data"):
                    tokens = torch.from_numpy(next(batches)).to(learner.device)
                loss, norm, rate = learner.update(tokens, clock)
            last = learner.done == config.steps
            if last or step % config.log_every == 0:
                report.metrics(step, tokens, loss, norm, rate)
            if config.eval_every and learner.done % config.eval_every == 0:
                report.evaluate("valid")
            if last or learner.done % config.checkpoint_every == 0:
                report.checkpoint()
        report.evaluate("test")
        report.verify()
    return False


def _own_random_numbers(device: torch.device) -> AbstractContextManager[None]:
    """Torch's global generators are after it as they were before."""
    return torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else [])
