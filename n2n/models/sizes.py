"""Size of a model: parameters, floating-point operations, and the width that reaches a number of parameters."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry
from torch.utils.module_tracker import ModuleTracker

from n2n.models.lm import MLP_MULTIPLE, LanguageModel, Layer
from n2n.models.mixer import Frame
from n2n.utils.strict import as_integer

BACKWARD = 2  # cost of a backward pass in forward passes
TOLERANCE = 0.02  # models within a factor of 1.02 of a number of parameters count as equally large
MAX_WIDTH = 2**16
MAX_MIN_WIDTH = 4096  # stop looking for the smallest allowed width here
MAX_RATIO = 64  # maximum mlp_ratio to try
MAX_COUNT = 4096  # maximum value of an architecture's ``size_option`` to try
NEIGHBOURS = 2  # number of widths on either side of the nearest one to try with a second option

Plan = Callable[[dict[str, Any]], tuple[Frame, list[Layer]]]  # from options to the configurations of a model


def describe(model: LanguageModel, length: int = 256) -> pd.DataFrame:
    """Tabulate the parameters and floating-point operations of each part of a model.

    Args:
        model: a model on any device. It is not changed.
        length: number of tokens in the sequence; the cost of attention per token grows with it.

    Returns:
        A row for each part and one for the whole, with ``parameters`` and ``flops_per_token``: floating-point
        operations of one forward pass in matrix products and convolutions, as torch's counter counts them. A
        multiplication and an addition count as two. Attention counts as a full square. Elementwise operations (norms,
        gates, the scan of a gated recurrence) are not counted.

    Raises:
        ValueError: if the length is not a whole number from 1 to ``max_length``.
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
    if model.head is None:  # the embedding is also the head
        rows.append({"part": "head (the embedding)", "parameters": 0, "flops_per_token": _head(model)})
    rows.append({"part": "whole", "parameters": _count(model), "flops_per_token": flops["Global"] / length})
    return pd.DataFrame(rows).set_index("part")


def forward_flops(model: nn.Module, length: int) -> dict[str, int]:
    """Floating-point operations of one forward pass over one sequence, counted as in ``describe``.

    The model runs in the mode (training or evaluation) that it is in.

    Returns:
        The operations of each submodule, by the names of its class and its attributes, and those of the whole model as
        ``"Global"``.
    """
    with torch.no_grad(), ModuleTracker() as tracker, _FlopCounter(tracker) as counter:
        model(torch.zeros(1, length, dtype=torch.int64, device=next(model.parameters()).device))
    return counter.flops


_CPU_ATTENTION = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu  # unknown to torch's counter


def _attention_flops(q: torch.Size, k: torch.Size, v: torch.Size) -> int:
    """Operations of queries times keys and of weights times values; shapes are (batch, heads, T, head_dim)."""
    return 2 * q[0] * q[1] * q[2] * k[2] * (q[3] + v[3])


class _FlopCounter(TorchDispatchMode):
    """Counts floating-point operations like torch's ``FlopCounterMode``, without importing torch's compiler.

    That import takes longer than a small run needs to start.

    Args:
        tracker: tracks the modules that are running.

    Attributes:
        flops: operations by the name of the module.
    """

    def __init__(self, tracker: ModuleTracker) -> None:
        super().__init__()
        self._tracker = tracker
        self.flops: dict[str, int] = {}

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        return False  # otherwise torch imports its compiler to keep it away from ``__torch_dispatch__``

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        result = func(*args, **(kwargs or {}))
        operation = func.overloadpacket
        if operation in flop_registry:
            count = flop_registry[operation](*args, **(kwargs or {}), out_val=result)
        elif operation == _CPU_ATTENTION:
            count = _attention_flops(*(tensor.shape for tensor in args[:3]))
        else:
            return result
        for name in self._tracker.parents:
            self.flops[name] = self.flops.get(name, 0) + count
        return result


@dataclass(frozen=True)
class Matched:
    """Options of the model nearest to a number of parameters.

    Attributes:
        options: arguments of ``n2n.models.build``, including ``dim``.
        parameters: number of parameters of the model, the start vector, embedding and head included.
        distance: relative distance of ``parameters`` from the requested number; negative if the model is smaller.
    """

    options: dict[str, Any]
    parameters: int
    distance: float


def matched(plan: Plan, parameters: int, options: dict[str, Any]) -> Matched:
    """The ``dim``, and a second option if needed, that bring a model nearest to a number of parameters.

    Args:
        plan: function from options to the configurations of a model.
        parameters: number of parameters to reach.
        options: all options but ``dim``.

    Raises:
        ValueError: as ``n2n.models.match``.
    """
    as_integer("parameters", parameters, 1)
    if "dim" in options:
        raise ValueError(f"dim: saw {options['dim']}; match chooses it, so it is not an option")
    multiple = _min_width(plan, options)

    def count(chosen: dict[str, Any]) -> int:
        with torch.device("meta"):
            return LanguageModel(*plan({**options, **chosen})).num_parameters

    last = MAX_WIDTH // multiple
    step = _nearest(lambda k: count({"dim": k * multiple}), parameters, last)
    nearby = range(max(1, step - NEIGHBOURS), min(last, step + NEIGHBOURS) + 1)
    untried = sorted(nearby, key=lambda k: abs(k - step))
    chosen = {"dim": step * multiple}
    candidates = [(count(chosen), chosen)]
    while apart(candidates[-1][0], parameters) and untried:
        chosen = _with_second_option(plan, options, count, untried.pop(0) * multiple, parameters)
        candidates.append((count(chosen), chosen))
    size, chosen = min(candidates, key=lambda candidate: abs(candidate[0] - parameters))
    if apart(size, parameters) and step in (1, last) and (size > parameters) == (step == 1):
        raise ValueError(
            f"parameters: saw {parameters:,}; the {'smallest' if step == 1 else 'largest'} model with these options "
            f"has {size:,}" + ("; fewer heads make smaller ones possible" if step == 1 else "")
        )
    return Matched({**options, **chosen}, size, size / parameters - 1)


def apart(one: float, other: float) -> bool:
    """Whether two numbers of parameters differ by more than a factor of 1.02; at most that counts as equal size."""
    return abs(math.log(one / other)) > math.log1p(TOLERANCE) + 1e-12


def _with_second_option(
    plan: Plan, options: dict[str, Any], count: Callable[..., int], dim: int, target: int
) -> dict[str, Any]:
    """A width, with the value of a second option that brings the model nearest to ``target`` parameters."""
    configs = [config for config, _ in plan({**options, "dim": dim})[1]]
    if any(config.mlp_ratio for config in configs):
        option, last = "mlp_ratio", MAX_RATIO * dim // MLP_MULTIPLE
    else:
        option, last = next((config.size_option for config in configs if config.size_option), None), MAX_COUNT
    if option is None or option in options:
        return {"dim": dim}

    def value(k: int) -> float:
        # Half a step below the multiple, so that rounding does not raise the ratio to the next one.
        return (k - 0.5) * MLP_MULTIPLE / dim if option == "mlp_ratio" else k

    best = _nearest(lambda k: count({"dim": dim, option: value(k)}), target, last)
    return {"dim": dim, option: value(best)}


def _min_width(plan: Plan, options: dict[str, Any]) -> int:
    """The smallest allowed width; all allowed widths are multiples of it."""
    for dim in range(1, MAX_MIN_WIDTH):
        try:
            plan({**options, "dim": dim})
        except ValueError:
            continue
        return dim
    plan({**options, "dim": MAX_MIN_WIDTH})  # raises if another option is wrong
    return MAX_MIN_WIDTH


def _nearest(count: Callable[[int], int], target: int, last: int) -> int:
    """The whole number from 1 to ``last`` whose ``count``, an increasing function, is nearest to ``target``."""
    low, high = 1, last
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if count(middle) <= target else (low, middle)
    return min((low, high), key=lambda k: abs(count(k) - target))


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
