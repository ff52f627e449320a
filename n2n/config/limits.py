"""Checks between the fields of a ``TrainConfig``: counts that must divide, the memory that a run needs, its oracle.

The memory is a lower bound. It refuses a run that fits on no machine before the run starts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from n2n.config.identity import ONLINE
from n2n.data.batches import micro_batch_size
from n2n.oracle.learned.refusals import EVALUATION_PARTICLES, check_in_context
from n2n.utils.configuration import errors_of
from n2n.utils.strict import MAX_INTEGER

MAX_BYTES = 2**40  # bytes, more than one machine or GPU has for a run
MAX_OPTION_FACTOR = 2**12  # how much larger options make a model: mlp_ratio 1,024 adds 3,072 square matrices
BYTES_PER_PARAMETER = 16  # bytes of a parameter in training: itself, its gradient and AdamW's two moments, in float32
_BYTES_PER_HELD_OUT_TOKEN = 32  # the token, the losses of the oracle and of the model, and their difference


def min_bytes(fields: Mapping[str, Any], parameters: int) -> dict[str, int]:
    """Bytes of memory that a run needs at least.

    Args:
        fields: the fields of a ``TrainConfig``.
        parameters: number of parameters of the model, or a lower bound.

    Returns:
        A number of bytes for each cause, by the words that name the cause in an error message.
    """
    dim, layers, batch, length = (fields[name] for name in ("dim", "layers", "batch_size", "seq_len"))
    share, held_out = batch // fields["processes"], fields["eval_sequences"]
    per_token = 2 * layers * dim + 4 * fields["graph"].vocab_size  # the stream in bfloat16, the logits in float32
    shards = fields["processes"] if fields["parallel"] == "fsdp" else 1
    drawn = min(fields["sequences"] or 0, fields["steps"] * batch) if fields["data"] == ONLINE else 0
    return {
        f"sequences: saw {fields['sequences']} of seq_len {length}": drawn * length,
        f"dim: saw {dim} with {layers} layers": BYTES_PER_PARAMETER * parameters // shards,
        f"batch_size: saw {batch} of seq_len {length}": share * length * (8 + per_token // fields["accumulate"]),
        f"eval_sequences: saw {held_out} of seq_len {length}": _BYTES_PER_HELD_OUT_TOKEN * held_out * length,
    }


def min_parameters(fields: Mapping[str, Any]) -> int:
    """A lower bound on the parameters of every architecture: the embedding, and one square matrix for each layer."""
    return fields["dim"] * (fields["graph"].vocab_size + fields["layers"] * fields["dim"])


def wrong_sizes(fields: Mapping[str, Any]) -> list[str]:
    """A message for each field of a ``TrainConfig`` that needs more than any machine has."""
    allowed = f"at most {MAX_BYTES / 2**30:,.0f} GiB are allowed"
    wrong = over_limit(min_bytes(fields, min_parameters(fields)), MAX_BYTES, allowed)
    if fields["steps"] * fields["batch_size"] > MAX_INTEGER:
        wrong.append(
            f"steps: saw {fields['steps']} with batch_size {fields['batch_size']}; sequences are numbered to 2**62 - 1"
        )
    return wrong


def wrong_counts(fields: Mapping[str, Any]) -> list[str]:
    """A message for each pair of counts of a ``TrainConfig`` that do not fit together."""
    wrong = errors_of(micro_batch_size, *(fields[name] for name in ("batch_size", "processes", "accumulate")))
    if fields["keep_every"] is not None and fields["keep_last"] is None:
        wrong.append(f"keep_every: saw {fields['keep_every']}, but all checkpoints stay while keep_last is None")
    for name, unused in (("select", "last"), ("patience", None)):
        if fields[name] != unused and fields["eval_every"] is None:
            wrong.append(f"{name}: saw {fields[name]!r}, which evaluations on valid decide; set eval_every too")
    return wrong


def wrong_oracle(fields: Mapping[str, Any]) -> list[str]:
    """A message if evaluations need an in-context oracle and the graph has none."""
    graph, precision = fields["graph"], fields["in_context_precision"]
    if not graph.context_nodes or precision is None:
        return []
    return [
        f"in_context_precision: saw {precision}, but the graph has no in-context oracle: {error}. "
        "in_context_precision=None evaluates beside the oracle that knows the kernels alone"
        for error in errors_of(check_in_context, graph, EVALUATION_PARTICLES, fields["seq_len"])
    ]


def over_limit(needed: Mapping[str, int], limit: int, allowed: str) -> list[str]:
    """A message for each need of more than ``limit`` bytes; ``allowed`` says the limit in words."""
    return [
        f"{cause}, which needs {size / 2**30:,.0f} GiB of memory or more; {allowed}"
        for cause, size in needed.items()
        if size > limit
    ]
