"""What a run tells of itself: rows of metrics, evaluations, checkpoints, lines for people."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from dataclasses import asdict
from types import TracebackType

import torch
from torch import Tensor

from n2n.analysis.evaluation import evaluate_model, held_out
from n2n.analysis.held_out import HeldOut
from n2n.models.lm import LanguageModel
from n2n.models.sizes import BACKWARD, forward_flops
from n2n.monitor import checkpoint
from n2n.monitor.journal import ChangedFile
from n2n.monitor.metrics import NO_ROWS, Marks, Rows, formatted_row
from n2n.monitor.profiler import Clock, Trace, matrix_rate, memory_held
from n2n.oracle.filtering import filter
from n2n.process.process import Split
from n2n.training.learner import Learner
from n2n.training.live_curve import live_curve
from n2n.training.run_folder import Owned, line_logger, warn, write_status
from n2n.utils.files import read_json, write_json
from n2n.utils.progress import announce


class Reporter:
    """Told of each step by the trainer; use as a context manager. Every rank has one, the first one's writes.

    Args:
        ours: the run's folder.
        learner: whose run it is.
        marks: how far the files of rows go that its checkpoint counts on.
    """

    def __init__(self, ours: Owned, learner: Learner, marks: Marks) -> None:
        config, ranks, folder = learner.config, learner.ranks, ours.path
        self._folder, self._learner, self._config, self._ranks = folder, learner, config, ranks
        self._ours, self._marks = ours, marks
        self._log = line_logger(folder, ranks.rank)
        self._clock, self._clocked = Clock(learner.device), learner.done
        self._trace = Trace(folder / "profile" / f"rank{ranks.rank}.json.gz", config.profile_steps)
        self._held_out: dict[Split, HeldOut] = {}
        self._inside = contextlib.ExitStack()

    def __enter__(self) -> Reporter:
        done, steps = self._learner.done, self._config.steps
        self._log(f"rank {self._ranks.rank} of {self._ranks.count} on {self._learner.device}, from step {done}")
        if self._ranks.first:
            model, length = self._config.build_model("torch"), self._config.seq_len - 1
            self._flops = forward_flops(model, length)["Global"] * (1 + BACKWARD)
            self._rate = matrix_rate(str(self._learner.device), self._config.precision)
            self._describe_speed()
            rows = Rows(self._folder, self._config.identity, done, self._marks, tensorboard=self._config.tensorboard)
            warn(rows.set_aside, self._folder)
            self._rows = self._inside.enter_context(rows)
            if done:
                announce(f"resumed at step {done} of {steps}", self._log)
            self._shown = self._inside.enter_context(live_curve(self._folder, done, steps, self._log))
        self._clock.take()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if self._ours.in_place:
                self._trace.close()
        finally:
            self._inside.__exit__(kind, error, trace)

    def _describe_speed(self) -> None:
        path = self._folder / "environment.json"
        per_token = self._flops / self._config.seq_len  # of all tokens, the first one included
        found = {"flops_per_token": per_token, "matrix_flops_per_second": self._rate}
        write_json(path, {**read_json(path), **found})

    @contextlib.contextmanager
    def step(self, step: int) -> Iterator[Clock]:
        """Around a step: traces it if it is to be traced, and lends the clock."""
        self._trace.before(step)
        yield self._clock

    def metrics(self, step: int, tokens: Tensor, loss: Tensor, norm: Tensor, rate: float) -> None:
        """The row of a step: this rank's loss beside the oracle's on the same tokens, as means over ranks."""
        self._learner.check_finite()
        with self._clock("oracle"):
            oracle = filter(self._config.process, tokens).nll.mean().double()
        found = self._ranks.mean(torch.stack([loss.double(), oracle.to(loss.device)])).tolist()
        if not self._ranks.first:
            self._clock.take()  # what nobody asks for is not kept
            return
        row = {"step": step, "loss": found[0], "oracle_nll": found[1], "excess_loss": found[0] - found[1]}
        row |= {"lr": rate, "grad_norm": norm.item(), **self._speed()}
        with self._clock("monitor"):  # which the next row counts
            self._check_place()
            self._rows.metrics(row)
            self._shown.update(step + 1, formatted_row(row))

    def _speed(self) -> dict[str, float]:
        """Since the last row: tokens a second, share of the matrix rate, and milliseconds a step by section."""
        spent, total = self._clock.take()
        steps = self._learner.done - self._clocked
        self._clocked = self._learner.done
        speed = {"tokens_per_second": steps * self._config.tokens_per_step / total}
        speed["of_matrix_rate"] = steps * self._flops * self._config.batch_size / total / self._rate / self._ranks.count
        speed["memory_mib"] = memory_held(self._learner.device)
        sections = ("data", "forward", "backward", "optimizer", "oracle", "monitor", "checkpoint", "evaluation")
        return speed | {f"ms_{name}": 1e3 * spent.get(name, 0.0) / steps for name in sections}

    def checkpoint(self) -> None:
        """Save, unless this step is saved already."""
        if self._learner.saved == self._learner.done:
            return
        with self._clock("checkpoint"):
            self._check_place()
            marks = self._rows.marks() if self._ranks.first else NO_ROWS
            self._learner.save(self._folder / "checkpoints", marks)
            if self._ranks.first:
                write_status(self._folder, self._config, "running", self._learner.saved)

    def leave(self, asked_by: str) -> None:
        """Save before the end, where the run was asked to stop."""
        self._check_place()
        self.checkpoint()
        self._log(f"left at step {self._learner.done}, asked by {asked_by}")

    def evaluate(self, split: Split) -> None:
        """Judge the model by held-out sequences, unless that was done."""
        self._learner.check_finite()
        with self._clock("evaluation"):
            model = self._learner.whole_model()
            if model is None:
                return
            asked = {"step": self._learner.done, "split": split, "sequences": self._config.eval_sequences}
            if not self._rows.evaluated(asked):
                self._check_place()
                self._rows.evaluation({"step": self._learner.done, **self._judged(model, split)})

    def verify(self) -> None:
        """See that what the run has written is still there, before it is called done.

        Raises:
            Gone: the folder or a lock in it is no longer in its place.
            Changed: rows or the last checkpoint were deleted or changed.
        """
        self._check_place()
        if not self._ranks.first:
            return
        self._rows.marks()
        if self._learner.saved not in checkpoint.steps(self._folder / "checkpoints"):
            raise ChangedFile(f"the checkpoint of step {self._learner.saved} was deleted from {self._folder}")

    def _check_place(self) -> None:
        self._ours.check(self._learner.last_saved)

    def _judged(self, model: LanguageModel, split: Split) -> dict:
        if split not in self._held_out:
            self._held_out[split] = held_out(self._config, split)
        found = evaluate_model(model, self._held_out[split])
        if not math.isfinite(found.cross_entropy):
            raise FloatingPointError(
                f"after step {self._learner.done - 1} the held-out loss is {found.cross_entropy}; a lower lr may help. "
                f"{self._learner.last_saved}"
            )
        return asdict(found)
