"""Output of a run during training: metrics, evaluations, checkpoints, log lines."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from n2n.analysis.evaluation import evaluate_model, held_out
from n2n.analysis.held_out import HeldOut
from n2n.models.lm import LanguageModel
from n2n.models.sizes import BACKWARD
from n2n.monitor.journal import ChangedFile, Marks
from n2n.monitor.metrics import Rows, formatted_row
from n2n.monitor.profiler import Clock, Trace, matrix_rate, peak_memory
from n2n.process.splits import Split
from n2n.runs.run import Run
from n2n.training.learner import Learner
from n2n.training.live_curve import live_curve
from n2n.training.run_folder import WritableRunFolder
from n2n.utils.files import read_json, write_json
from n2n.utils.progress import announce

SECTIONS = ("data", "forward", "backward", "optimizer", "oracle", "monitor", "checkpoint", "evaluation")


class Reporter:
    """Writes metrics, evaluations and status of a run; a context manager.

    Every process has a reporter, but only the first process writes.

    Args:
        folder: folder of the run.
        learner: learner of the run.
        marks: marks of the checkpoint from which the run resumes.
    """

    def __init__(self, folder: WritableRunFolder, learner: Learner, marks: Marks) -> None:
        self._folder, self._learner, self._marks = folder, learner, marks
        self._config, self._group = learner.config, learner.group
        self._clock, self._reported = Clock(learner.device), learner.done
        self._trace = Trace(folder.trace_path(learner.group.rank), learner.config.profile_steps)
        self._held_out: dict[Split, HeldOut] = {}
        self._contexts = contextlib.ExitStack()

    def __enter__(self) -> Reporter:
        done, steps = self._learner.done, self._config.steps
        self._folder.log(f"rank {self._group.rank} of {self._group.size} on {self._learner.device}, from step {done}")
        if self._group.is_first:
            self._flops = self._learner.forward_flops * (1 + BACKWARD)
            self._rate = matrix_rate(str(self._learner.device), self._config.precision)
            self._describe_speed()
            rows = self._open_rows()
            self._folder.warn(rows.repairs)
            self._rows = self._contexts.enter_context(rows)
            if done:
                announce(f"resumed at step {done} of {steps}", self._folder.log)
            self._curve = self._contexts.enter_context(live_curve(self._folder, done, steps, self._folder.log))
        self._clock.take()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if self._folder.in_place:
                self._trace.close()
        finally:
            self._contexts.__exit__(kind, error, trace)

    def _open_rows(self) -> Rows:
        paths = self._folder.metrics_path, self._folder.evaluations_path
        tensorboard = self._folder.tensorboard_path if self._config.tensorboard else None
        return Rows(*paths, self._config.identity, self._learner.done, self._marks, tensorboard=tensorboard)

    def _describe_speed(self) -> None:
        path = self._folder.environment_path
        per_token = self._flops / self._config.seq_len  # all tokens count, the first one included
        speed = {"flops_per_token": per_token, "matrix_flops_per_second": self._rate}
        write_json(path, {**read_json(path), **speed})

    @contextlib.contextmanager
    def step(self, step: int) -> Iterator[Clock]:
        """A context for a step: it traces the step if so configured, and yields the clock for its sections."""
        self._trace.before_step(step)
        yield self._clock

    def metrics(self, step: int, loss: Tensor, oracle_nll: Tensor, norm: Tensor, rate: float) -> None:
        """Write the row of a step.

        Args:
            step: updates made before it.
            loss: this process's mean loss on the batch, nats per token.
            oracle_nll: the oracle's loss on the same tokens.
            norm: norm of the gradient.
            rate: learning rate.
        """
        losses = self._group.mean(torch.stack([loss.double(), oracle_nll.to(loss.device)])).tolist()
        if not self._group.is_first:
            self._clock.take()  # discards times that nobody reads
            return
        row = {"step": step, "loss": losses[0], "oracle_nll": losses[1], "excess_loss": losses[0] - losses[1]}
        row |= {"lr": rate, "grad_norm": norm.item(), **self._speed()}
        with self._clock("monitor"):  # counted by the next row
            self._check_in_place()
            self._rows.add_metrics(row)
            self._curve.update(step + 1, formatted_row(row))

    def _speed(self) -> dict[str, float]:
        """Tokens a second since the last row, share of the matrix rate, and milliseconds a step by section."""
        spent, total = self._clock.take()
        steps = self._learner.done - self._reported
        self._reported = self._learner.done
        speed = {"tokens_per_second": steps * self._config.tokens_per_step / total}
        speed["of_matrix_rate"] = steps * self._flops * self._config.batch_size / total / self._rate / self._group.size
        speed["memory_mib"] = peak_memory(self._learner.device)
        return speed | {f"ms_{name}": 1e3 * spent.get(name, 0.0) / steps for name in SECTIONS}

    def checkpoint(self) -> None:
        """Save, unless this step is saved already."""
        if self._learner.saved == self._learner.done:
            return
        with self._clock("checkpoint"):
            self._check_in_place()
            self._learner.save(self._folder, self._rows.marks() if self._group.is_first else {})
            if self._group.is_first:
                self._folder.prune_checkpoints(self._learner.done)
                self._folder.write_status("running", self._learner.saved)

    def leave(self, reason: str) -> None:
        """Save before the last step, because a stop was requested."""
        self._check_in_place()
        self.checkpoint()
        self._folder.log(f"left at step {self._learner.done}, stopped by {reason}")

    def validate(self) -> bool:
        """Evaluate on ``valid``, save if this is the best so far and the best is selected; see ``out_of_patience``."""
        self._evaluate("valid", self._learner.whole_model(), self._learner.done)
        selects = self._group.is_first and self._config.select == "best"
        if self._group.any(selects and self._folder.best_step(self._learner.done) == self._learner.done):
            self.checkpoint()
        return self.out_of_patience()

    def out_of_patience(self) -> bool:
        """Whether the last ``patience`` evaluations on ``valid`` were no better than one before them."""
        patience, out = self._config.patience, False
        if patience is None:
            return False
        if self._group.is_first:
            best = self._folder.best_step(self._learner.done)
            later = [step for step in self._folder.validations(self._learner.done) if best is not None and step > best]
            out = len(later) >= patience
        return self._group.any(out)

    def judge(self) -> None:
        """Evaluate the selected weights on ``test``: the last ones, or those of the lowest loss on ``valid``."""
        model, step = self._learner.whole_model(), self._learner.done
        best = self._folder.best_step(step) if self._group.is_first and self._config.select == "best" else None
        if best not in (None, step):
            model, step = Run(self._folder.path).model(best).to(self._learner.device), best
        self._evaluate("test", model, step)

    def _evaluate(self, split: Split, model: LanguageModel | None, step: int) -> None:
        """Evaluate a model on held-out sequences, unless this was done before."""
        self._learner.check_finite()
        with self._clock("evaluation"):
            if model is None:
                return
            sequences = self._config.eval_sequences
            if not self._rows.has_evaluation({"step": step, "split": split, "sequences": sequences}):
                self._check_in_place()
                self._rows.add_evaluation({"step": step, **self._evaluation(model, split)})

    def verify(self) -> None:
        """Check that everything the run has written still exists, before it is called done.

        Raises:
            FolderGone: if the folder or a lock in it is no longer in place.
            ChangedFile: if rows or the last checkpoint were deleted or changed.
        """
        self._check_in_place()
        if not self._group.is_first:
            return
        self._rows.marks()
        if self._learner.saved not in self._folder.steps:
            raise ChangedFile(f"the checkpoint of step {self._learner.saved} was deleted from {self._folder.path}")

    def _check_in_place(self) -> None:
        self._folder.check_in_place(self._learner.last_saved)

    def _evaluation(self, model: LanguageModel, split: Split) -> dict[str, Any]:
        if split not in self._held_out:
            self._held_out[split] = held_out(self._config, split)
        evaluation = evaluate_model(model, self._held_out[split])
        if not math.isfinite(evaluation.cross_entropy):
            raise FloatingPointError(
                f"after step {self._learner.done - 1} the held-out loss is {evaluation.cross_entropy}; a lower lr may "
                f"help. {self._learner.last_saved}"
            )
        return evaluation.as_row()
