"""Training speed of each learner at equal size, next to a transformer of torch's own layers."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pandas as pd
import torch

from n2n import models
from n2n.benchmark.stock import StockTransformer
from n2n.benchmark.timing import Settings, matrix_rate, medians, peak_memory
from n2n.config.train_config import TrainConfig
from n2n.models.ops import require_fused
from n2n.models.sizes import BACKWARD, forward_flops
from n2n.training.optimization import Objective, make_optimizer, update
from n2n.utils.cpu import keep_freed_memory
from n2n.utils.progress import track

STOCK = "stock transformer"
VOCAB_SIZE, HEADS = 32, 4
TARGETS = {"transformer": (STOCK, 1.0)}  # the learner to compare with, and the target as a fraction of its speed
RECURRENT_TARGET = ("transformer", 0.7)
WARM = 3  # untimed steps, after which the memory that is kept between steps is allocated


class _Variant(NamedTuple):
    """How to run a learner: the precision of matrix products and the choice of kernels."""

    precision: str
    kernels: str


def learner_table(settings: Settings) -> pd.DataFrame:
    """Time a step of the trainer for every learner, each with as many parameters as torch's transformer.

    The learners do not take turns, because each would use up the memory that the others keep between steps. On a CUDA
    GPU the table has rows in bfloat16 too, and rows with the fused kernels if they are installed.

    Returns:
        A row for each batch size, precision, choice of kernels and learner: width and number of parameters,
        milliseconds per step, thousand tokens per second, the share of the measured rate of matrix products in that
        precision (a step counts as three forward passes; on a GPU this is the model FLOPs utilisation), MiB of memory
        that a step needs beyond weights and optimizer, and the speed relative to the learner in
        ``reference``, with its target.

    Source: Chowdhery et al., "PaLM", arXiv:2204.02311, appendix B (model FLOPs utilisation).
    """
    keep_freed_memory()
    rows = []
    for batch in settings.batches:
        speeds: dict[tuple[str, str], float] = {}  # of (learner, precision), in torch
        for variant in _variants(settings.device):
            rate = matrix_rate(settings, variant.precision)
            for name in track(_learners(variant), "learner"):
                row = _timed(name, variant, batch, settings, rate)
                speeds.setdefault((name, variant.precision), row["ktokens/s"])
                rows.append(row | _comparison(name, row["ktokens/s"], variant, speeds))
    return pd.DataFrame(rows)


def build(name: str, settings: Settings, kernels: str = "torch") -> torch.nn.Module:
    """A learner on the CPU: torch's transformer, or an architecture of n2n with as many parameters."""
    if name == STOCK:
        return StockTransformer(VOCAB_SIZE, settings.dim, settings.layers, HEADS, settings.length)
    stock = build(STOCK, settings)
    options = {"vocab_size": VOCAB_SIZE, "layers": settings.layers, "heads": HEADS, "kernels": kernels}
    sized = models.match(name, parameters=stock.num_parameters, **options)
    return models.build(name, **sized.options)


def _learners(variant: _Variant) -> list[str]:
    """Names of the learners to time. With fused kernels these are only the learners that use them."""
    others = [name for name in models.names() if name != "transformer"]
    if variant.kernels == "torch":
        return [STOCK, "transformer", *others]
    return [name for name in others if getattr(models.configure(name, vocab_size=VOCAB_SIZE), "conv_width", 0)]


def _variants(device: str) -> list[_Variant]:
    if torch.device(device).type != "cuda":
        return [_Variant("float32", "torch")]
    return [_Variant(precision, way) for way in ("torch", *_fused()) for precision in ("float32", "bfloat16")]


def _fused() -> list[str]:
    try:
        require_fused()
    except ValueError:
        return []
    return ["fused"]


def _timed(name: str, variant: _Variant, batch: int, settings: Settings, rate: float) -> dict[str, object]:
    # Counted on a model without fused kernels: they do the same arithmetic, but torch's counter does not see it.
    flops = (1 + BACKWARD) * forward_flops(build(name, settings), settings.length)["Global"] / settings.length
    model = build(name, settings, variant.kernels).to(settings.device)
    step = _step(model, variant, batch, settings)
    (seconds,) = medians(settings.repeats, step, warm=WARM)
    peak = peak_memory(step, settings.device)  # last, because it frees the memory that is kept between steps
    tokens = batch * settings.length
    row = {"batch": batch, "learner": name, "precision": variant.precision, "kernels": variant.kernels}
    row |= {"dim": model.embedding.embedding_dim, "parameters": model.num_parameters, "ms": 1e3 * seconds}
    return row | {"ktokens/s": tokens / seconds / 1e3, "of matrix rate": flops * tokens / seconds / rate, "MiB": peak}


def _step(model: torch.nn.Module, variant: _Variant, batch: int, settings: Settings) -> Callable[[], float]:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(VOCAB_SIZE, (batch, settings.length + 1), generator=generator).to(settings.device)
    config = TrainConfig(graph="sparse")
    optimizer = make_optimizer(model, config)
    if settings.compile:
        model.compile()
    objective = Objective(model)
    return lambda: update(objective, optimizer, [tokens], config.lr, config.clip, variant.precision)[0].item()


def _comparison(name: str, speed: float, variant: _Variant, speeds: dict[tuple[str, str], float]) -> dict[str, object]:
    if name == STOCK:
        return {"reference": "", "ratio": float("nan"), "target": float("nan"), "met": True}
    other, target = TARGETS.get(name, RECURRENT_TARGET)
    ratio = speed / speeds[other, variant.precision]
    return {"reference": other, "ratio": ratio, "target": target, "met": ratio >= target}
