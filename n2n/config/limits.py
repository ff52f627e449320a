"""What the numbers of a run need: of each other, and of memory at least, so that what fits nowhere is not asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from n2n.utils.strict import MAX_INTEGER

MAX_BYTES = 2**40  # bytes, more than one machine or GPU has for a run
MAX_OPTION_FACTOR = 2**12  # times that a model's options make it larger: mlp_ratio 1,024 is 3,072 square matrices
BYTES_PER_PARAMETER = 16  # bytes of a parameter in training: itself, its gradient and AdamW's two moments, in float32
_EVALUATED = 32  # bytes of a held-out token: itself, and the losses of the oracle, of the model and their difference


def min_bytes(given: Mapping[str, Any], parameters: int) -> dict[str, int]:
    """Bytes that the fields of a ``TrainConfig`` need at least, by the words for what asks for them.

    Args:
        given: the fields.
        parameters: of the model, or fewer.
    """
    dim, layers, batch, length = (given[name] for name in ("dim", "layers", "batch_size", "seq_len"))
    own, held_out = batch // given["processes"], given["eval_sequences"]
    of_token = 2 * layers * dim + 4 * given["graph"].vocab_size  # the stream in bfloat16, the logits in float32
    shards = given["processes"] if given["parallel"] == "fsdp" else 1
    return {
        f"dim: saw {dim} with {layers} layers": BYTES_PER_PARAMETER * parameters // shards,
        f"batch_size: saw {batch} of seq_len {length}": own * length * (8 + of_token // given["accumulate"]),
        f"eval_sequences: saw {held_out} of seq_len {length}": _EVALUATED * held_out * length,
    }


def min_parameters(given: Mapping[str, Any]) -> int:
    """Fewer parameters than any architecture has at these fields: the embedding, and a square matrix in each layer."""
    return given["dim"] * (given["graph"].vocab_size + given["layers"] * given["dim"])


def wrong_sizes(given: Mapping[str, Any]) -> list[str]:
    """What the fields of a ``TrainConfig`` ask for that no machine has, a sentence each."""
    allowed = f"at most {MAX_BYTES / 2**30:,.0f} GiB are allowed"
    wrong = over_limit(min_bytes(given, min_parameters(given)), MAX_BYTES, allowed)
    if given["steps"] * given["batch_size"] > MAX_INTEGER:
        wrong.append(
            f"steps: saw {given['steps']} with batch_size {given['batch_size']}; sequences are numbered to 2**62 - 1"
        )
    return wrong


def wrong_counts(given: Mapping[str, Any]) -> list[str]:
    """Which counts of a ``TrainConfig`` do not go together, a sentence each."""
    wrong, (own, rest) = [], divmod(given["batch_size"], given["processes"])
    if rest:
        wrong.append(f"batch_size: saw {given['batch_size']}, which {given['processes']} processes do not divide")
    elif own % given["accumulate"]:
        wrong.append(f"accumulate: saw {given['accumulate']}, which does not divide a process's {own} sequences")
    if given["keep_every"] is not None and given["keep_last"] is None:
        wrong.append(f"keep_every: saw {given['keep_every']}, but all checkpoints stay while keep_last is None")
    return wrong


def over_limit(needed: Mapping[str, int], limit: int, told: str) -> list[str]:
    """A sentence for each need of more than ``limit`` bytes, which is ``told`` in words."""
    return [
        f"{what}, which needs {needs / 2**30:,.0f} GiB of memory or more; {told}"
        for what, needs in needed.items()
        if needs > limit
    ]
