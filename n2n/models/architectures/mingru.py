"""minGRU: a GRU whose gates depend only on the input, which makes it a linear recurrence.

Source: Feng et al., "Were RNNs all we needed?", arXiv:2410.01201, section 3.1 (the equations) and the appendix on the
architecture (a convolution of width 4 in front, an MLP after).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from n2n.models.convolution import ShortConvolution
from n2n.models.recurrence import Candidate, GatedRecurrence, Gates, RecurrentConfig, candidate_value, wide


class Config(RecurrentConfig):
    """Options of a minGRU.

    Args:
        candidate: what the gate adds to h. ``"linear"``: a linear map of the input, the paper's section 3.1;
            ``"positive"``: g(x) = x + 1/2 if x >= 0 else sigmoid(x) of that map, which the paper needs to compute in
            log space.

    Raises:
        ValueError: as ``RecurrentConfig``.
    """

    candidate: Candidate = "linear"


class Mixer(GatedRecurrence):
    """``h_t = (1 - z_t) h_{t-1} + z_t c_t``, where z = sigmoid(linear(x)), c is the candidate, and h_0 = 0."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.heads, self.candidate = config.heads, config.candidate
        self.conv = ShortConvolution(config.dim, config.conv_width, config.kernels)
        self.project = nn.Linear(config.dim, 2 * config.hidden, bias=False)
        self.bias = nn.Parameter(torch.zeros(2 * config.hidden))
        self.out = nn.Linear(config.hidden, config.dim, bias=False)

    def enter(self, x: Tensor) -> tuple[Tensor, None]:
        return x, None

    def gates(self, u: Tensor) -> Gates:
        update, candidate = wide(nn.functional.linear(u, self.project.weight, self.bias)).chunk(2, dim=-1)
        z = update.sigmoid()
        return Gates(1 - z, z, candidate_value(candidate, self.candidate))

    def leave(self, h: Tensor, branch: None) -> Tensor:
        return self.out(h)
