"""Losses of the in-context oracle on held-out sequences, computed once and kept under the folder of runs."""

from __future__ import annotations

import hashlib
import inspect
import json
import math
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from n2n.graph.graph import Graph
from n2n.oracle.in_context import in_context_nll
from n2n.oracle.learned.refusals import EVALUATION_PARTICLES
from n2n.process.process import Process
from n2n.runs.paths import root
from n2n.utils.files import write_atomic

FOLDER = "in_context_oracle"  # under the folder of runs
DEFAULTS = str(inspect.signature(in_context_nll))
VERSION = 1  # raised whenever the algorithm gives other numbers, so that kept losses are computed anew
REPEATS, MIN_PARTICLES, MAX_PARTICLES = 8, 32, 2**14
MAX_WORK = 2**36  # weights of joint states that the filters of a round update: some minutes on a few cores


@dataclass(frozen=True, eq=False)
class InContextLosses:
    """Losses of the Bayes-optimal predictor that knows the graph but not the kernels redrawn for a sequence.

    Attributes:
        nll: ``(sequences, T - 1)``, ``-log P(x_t | x_<t)``, nats; estimates are corrected for their bias.
        standard_error: ``(sequences, T - 1)``, Monte-Carlo error of ``nll``; 0 where it is exact.
        mean_standard_error: Monte-Carlo error of the mean of ``nll``, nats per token; 0 if all values are exact.
        method: how the values were computed; see ``n2n.oracle.in_context.InContext``.
        exact: whether all values are exact.
    """

    nll: np.ndarray
    standard_error: np.ndarray
    mean_standard_error: float
    method: str
    exact: bool


def in_context_losses(process: Process, tokens: np.ndarray, precision: float) -> InContextLosses | None:
    """Compute the losses of ``n2n.in_context_nll``, or read them where they are kept.

    They are kept under ``n2n.runs.root()``, in a file that is named by a hash of the process, the tokens and the
    precision. A file that is damaged is computed anew, and a folder that cannot be written is left as it is.

    Estimates take a few minutes at most for graphs of up to about a thousand joint states and the default number of
    sequences: the number of particles is limited by the work. There is a warning if the precision is not reached.

    Args:
        process: the process that assigns the probabilities.
        tokens: ``(sequences, T)``.
        precision: Monte-Carlo error of the mean loss to reach, nats per token.

    Returns:
        The losses; None, with a warning, if the error of an estimate is unknown, because no particles are left for a
        sequence.

    Raises:
        ValueError: if ``n2n.in_context_nll`` refuses the process.
    """
    path = root() / FOLDER / f"{_key(process, tokens, precision)}.npz"
    losses = _read(path, (len(tokens), tokens.shape[1] - 1))
    if losses is None:
        losses = _compute(process, tokens, precision)
        _write(path, losses)
    error = losses.mean_standard_error
    if not (math.isfinite(error) and np.isfinite(losses.nll).all() and np.isfinite(losses.standard_error).all()):
        warnings.warn(
            "the in-context oracle cannot be estimated: no particles are left for a sequence. The evaluation has the "
            "oracle that knows the kernels alone",
            RuntimeWarning,
            stacklevel=2,
        )
        return None
    if error > precision:
        warnings.warn(
            f"in_context_precision: the estimate of the in-context oracle has a standard error of {error:.2g} nats per "
            f"token, not {precision:g}, which would take too long; intervals of the excess over it are wider",
            RuntimeWarning,
            stacklevel=2,
        )
    return losses


def _compute(process: Process, tokens: np.ndarray, precision: float) -> InContextLosses:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "precision: ", RuntimeWarning)  # ``in_context_losses`` warns
        found = in_context_nll(process, tokens, precision=precision, **_effort(process.graph, tokens.shape))
    return InContextLosses(
        (found.nll - found.bias).numpy(),
        found.standard_error.numpy(),
        float(found.mean_loss.standard_error),
        found.method,
        found.exact,
    )


def _effort(graph: Graph, shape: tuple[int, int]) -> dict[str, int]:
    """How many particles to begin with and to use at most for tokens of a shape ``(sequences, T)``."""
    each = REPEATS * graph.num_joint_states * shape[0] * (shape[1] - 1)
    most = min(max(MAX_WORK // each, MIN_PARTICLES), MAX_PARTICLES)
    return {"particles": min(EVALUATION_PARTICLES, most), "max_particles": most, "repeats": REPEATS}


def _key(process: Process, tokens: np.ndarray, precision: float) -> str:
    """A hash of all that the losses depend on."""
    tables = process.tables and {name: np.asarray(table).tolist() for name, table in process.tables.items()}
    decisive = {
        "version": VERSION,
        "graph": process.graph.model_dump(mode="json", exclude={"name"}),
        "seed": process.seed,
        "tables": tables,
        "precision": precision,
        "shape": tokens.shape,
        "effort": _effort(process.graph, tokens.shape),
        "defaults": DEFAULTS,
    }
    sha = hashlib.sha256(json.dumps(decisive, sort_keys=True).encode())
    sha.update(np.ascontiguousarray(tokens, dtype=np.int64).data)
    return sha.hexdigest()


def _read(path: Path, shape: tuple[int, int]) -> InContextLosses | None:
    """The losses in a file; None if there is none, or none that can be read."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            about = json.loads(str(arrays["about"]))
            losses = InContextLosses(arrays["nll"], arrays["standard_error"], **about)
    except Exception:  # a damaged archive raises errors of many types
        return None
    return losses if losses.nll.shape == losses.standard_error.shape == shape else None


def _write(path: Path, losses: InContextLosses) -> None:
    about = {name: getattr(losses, name) for name in ("mean_standard_error", "method", "exact")}
    arrays = {"nll": losses.nll, "standard_error": losses.standard_error, "about": np.array(json.dumps(about))}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, lambda file: np.savez(file, **arrays))
    except (OSError, ValueError):
        return  # they are kept only to save time
