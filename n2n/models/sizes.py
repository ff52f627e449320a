"""How large a model is: its parameters, its arithmetic, and the width that makes it as large as another."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from n2n.models.lm import MLP_MULTIPLE, LanguageModel, Layer
from n2n.models.mixer import Frame
from n2n.utils.strict import as_integer

BACKWARD = 2  # forward passes that a backward pass counts as
TOLERANCE = 0.02  # models within a factor of 1.02 of a number of parameters count as that large
WIDEST = 2**16
MAX_MULTIPLE = 4096  # largest width tried as the least that is allowed
MAX_RATIO = 64  # of an MLP
MAX_COUNT = 4096  # of an architecture's own finest option
AROUND = 2  # widths on either side of the nearest that are tried with a finer option

Plan = Callable[[dict[str, Any]], tuple[Frame, list[Layer]]]  # from options to a model's configurations


def describe(model: LanguageModel, length: int = 256) -> pd.DataFrame:
    """A table of a model's parts.

    Args:
        model: on any device; left as it was.
        length: tokens of the sequence whose arithmetic is counted; attention's grows with it.

    Returns:
        a row for each part and one for the whole: ``parameters``, and ``flops_per_token``, the floating-point
        operations of one forward pass in matrix products and convolutions, a multiplication and an addition counted as
        two, by torch's counter. Attention counts as a full square. What is done number by number (norms, gates, the
        scan of a gated recurrence) is not counted.

    Raises:
        ValueError: a length that is no whole number from 1 to ``max_length``.
    """
    length, training = as_integer("length", length, 1, model.config.max_length), model.training
    model.eval()
    try:
        flops = forward_flops(model, length)
    finally:
        model.train(training)
    whole_name = type(model).__name__
    rows = []
    for name, part in _parts(model):
        own = flops.get(f"{whole_name}.{name}", 0)
        rows.append({"part": name, "parameters": _count(part), "flops_per_token": own / length})
    if model.head is None:  # the embedding, read as a matrix
        rows.append({"part": "head (the embedding)", "parameters": 0, "flops_per_token": _head(model)})
    rows.append({"part": "whole", "parameters": _count(model), "flops_per_token": flops["Global"] / length})
    return pd.DataFrame(rows).set_index("part")


def forward_flops(model: nn.Module, length: int) -> dict[str, int]:
    """Floating-point operations of one forward pass over a sequence, counted as in ``describe``, in the mode it is in.

    Returns:
        those of each submodule, by its class's and its attributes' names, and of the whole as ``"Global"``.
    """
    counter = FlopCounterMode(display=False, custom_mapping={_CPU_ATTENTION: _attention_flops})
    with torch.no_grad(), counter:
        model(torch.zeros(1, length, dtype=torch.int64, device=next(model.parameters()).device))
    return {name: sum(by_kind.values()) for name, by_kind in counter.get_flop_counts().items()}


_CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # one that torch's counter does not know


def _attention_flops(q: torch.Size, k: torch.Size, v: torch.Size, *_: Any, **__: Any) -> int:
    """Of queries against keys and of the weights against the values, all (batch, heads, T, head_dim)."""
    return 2 * q[0] * q[1] * q[2] * k[2] * (q[3] + v[3])


@dataclass(frozen=True)
class Matched:
    """A model as near to a number of parameters as its widths allow.

    Attributes:
        options: of ``n2n.models.build``, ``dim`` among them.
        parameters: of such a model, the start vector, embedding and head included.
        distance: of ``parameters`` from the number wanted, relative to it; negative where the model is smaller.
    """

    options: dict[str, Any]
    parameters: int
    distance: float


def matched(plan: Plan, parameters: int, options: dict[str, Any]) -> Matched:
    """The ``dim``, and where need be one finer option, at which a model comes nearest to so many parameters.

    Args:
        plan: from options to a model's configurations.
        parameters: wanted.
        options: all but ``dim``.

    Raises:
        ValueError: as ``n2n.models.match``.
    """
    as_integer("parameters", parameters, 1)
    if "dim" in options:
        raise ValueError(f"dim: saw {options['dim']}; it is what match finds, so it can't be given")
    multiple = _least_width(plan, options)

    def count(chosen: dict[str, Any]) -> int:
        with torch.device("meta"):
            return LanguageModel(*plan({**options, **chosen})).num_parameters

    most = WIDEST // multiple
    step = _nearest(lambda k: count({"dim": k * multiple}), parameters, most)
    around = sorted(range(max(1, step - AROUND), min(most, step + AROUND) + 1), key=lambda k: abs(k - step))
    found = {"dim": step * multiple}
    tried = [(count(found), found)]
    while apart(tried[-1][0], parameters) and around:
        found = _finer(plan, options, count, around.pop(0) * multiple, parameters)
        tried.append((count(found), found))
    size, found = min(tried, key=lambda sized: abs(sized[0] - parameters))
    if apart(size, parameters) and step in (1, most) and (size > parameters) == (step == 1):
        raise ValueError(
            f"parameters: saw {parameters:,}; the {'smallest' if step == 1 else 'largest'} model with these options "
            f"has {size:,}" + ("; fewer heads make smaller ones possible" if step == 1 else "")
        )
    return Matched({**options, **found}, size, size / parameters - 1)


def apart(one: float, other: float) -> bool:
    """Whether two numbers of parameters differ by more than a comparison at equal size allows, a factor of 1.02."""
    return abs(math.log(one / other)) > math.log1p(TOLERANCE) + 1e-12


def _finer(plan: Plan, options: dict[str, Any], count: Callable[..., int], dim: int, wanted: int) -> dict[str, Any]:
    """A width, with the value of a finer option that brings its size nearest to what is wanted."""
    layers = [own for own, _ in plan({**options, "dim": dim})[1]]
    if any(own.mlp_ratio for own in layers):
        # Half a step below the multiple, for a ratio that no rounding lifts to the next one.
        knob, most = "mlp_ratio", MAX_RATIO * dim // MLP_MULTIPLE
        value = lambda k: (k - 0.5) * MLP_MULTIPLE / dim  # noqa: E731
    else:
        knob, most = next((own.finest for own in layers if own.finest), None), MAX_COUNT
        value = int
    if knob is None or knob in options:
        return {"dim": dim}
    best = _nearest(lambda k: count({"dim": dim, knob: value(k)}), wanted, most)
    return {"dim": dim, knob: value(best)}


def _least_width(plan: Plan, options: dict[str, Any]) -> int:
    """The smallest width allowed, of which all that are allowed are multiples."""
    for dim in range(1, MAX_MULTIPLE):
        try:
            plan({**options, "dim": dim})
        except ValueError:
            continue
        return dim
    plan({**options, "dim": MAX_MULTIPLE})  # says what is wrong besides
    return MAX_MULTIPLE


def _nearest(count: Callable[[int], int], wanted: int, most: int) -> int:
    """The whole number from 1 to ``most`` whose rising ``count`` comes nearest to what is wanted."""
    low, high = 1, most
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= wanted else (low, middle)
    return min((low, high), key=lambda k: abs(count(k) - wanted))


def _parts(model: LanguageModel) -> list[tuple[str, nn.Module | nn.Parameter]]:
    blocks = [
        (f"blocks.{i}.{name}", part) for i, block in enumerate(model.blocks) for name, part in block.named_children()
    ]
    ends = [("norm", model.norm)] + ([("head", model.head)] if model.head is not None else [])
    return [("embedding", model.embedding), ("start", model.start), *blocks, *ends]


def _count(part: nn.Module | nn.Parameter) -> int:
    return part.numel() if isinstance(part, nn.Parameter) else sum(parameter.numel() for parameter in part.parameters())


def _head(model: LanguageModel) -> int:
    return 2 * model.embedding.weight.numel()
