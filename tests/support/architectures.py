"""Small models of every architecture with each of its options."""

import pytest
import torch

from n2n import models

VOCAB = 11
RECURRENT = ["hawk", "mingru", "minlstm"]

# Every architecture with its defaults and with each of its options, and hybrids.
VARIANTS = {name: (name, {}) for name in models.names()}
VARIANTS |= {f"{name} without convolution": (name, {"conv_width": 0}) for name in [*RECURRENT, "mamba"]}
VARIANTS |= {f"{name}, convolution of 2": (name, {"conv_width": 2}) for name in [*RECURRENT, "mamba"]}
VARIANTS |= {f"{name} without mlp": (name, {"mlp_ratio": 0}) for name in [*RECURRENT, "transformer"]}
VARIANTS |= {f"{name}, tied": (name, {"tied": True}) for name in models.names()}
VARIANTS |= {f"{name}, one head": (name, {"heads": 1}) for name in models.names()}
VARIANTS |= {f"{name}, wide": (name, {"expand": 2}) for name in RECURRENT}
VARIANTS |= {f"{name}, positive": (name, {"candidate": "positive"}) for name in ("mingru", "minlstm")}
VARIANTS |= {
    "mamba, small chunks": ("mamba", {"chunk": 4, "state_dim": 8}),
    "mamba with mlp": ("mamba", {"mlp_ratio": 2, "expand": 1}),
    "transformer, other rotary base": ("transformer", {"rotary_base": 100.0}),
    "mamba and transformer": ("hybrid", {"pattern": "mamba,transformer"}),
    "three kinds": ("hybrid", {"pattern": "mingru,hawk,minlstm", "layers": 3, "conv_width": 3}),
}
every_arch = pytest.mark.parametrize("arch", models.names())
every_variant = pytest.mark.parametrize("variant", VARIANTS)


def build(arch: str, seed: int = 0, **options) -> torch.nn.Module:
    return models.build(arch, vocab_size=VOCAB, seed=seed, **{"dim": 16, "layers": 2, "heads": 2, **options})


def build_variant(variant: str, **options) -> torch.nn.Module:
    arch, variant_options = VARIANTS[variant]
    return build(arch, **{**variant_options, **options})


def tokens_of(batch: int, length: int, seed: int = 0, vocab_size: int = VOCAB) -> torch.Tensor:
    return torch.randint(vocab_size, (batch, length), generator=torch.Generator().manual_seed(seed))
