"""minLSTM: an LSTM whose gates depend only on the input and sum to 1, which makes it a linear recurrence.

Source: Feng et al., "Were RNNs all we needed?", arXiv:2410.01201, section 3.2 (the equations) and the appendix on the
architecture (a convolution of width 4 in front, an MLP after).
"""

from __future__ import annotations

from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from n2n.models.convolution import ShortConvolution
from n2n.models.recurrence import Candidate, GatedRecurrence, Gates, RecurrentConfig, candidate_value, wide


class Config(RecurrentConfig):
    """Options of a minLSTM.

    Args:
        candidate: what the input gate adds to h. ``"linear"``: a linear map of the input, the paper's section 3.2;
            ``"positive"``: g(x) = x + 1/2 if x >= 0 else sigmoid(x) of that map, which the paper needs to compute in
            log space.
        forget_bias: initial bias of the forget gate. A larger value remembers longer; the authors' code has 3.

    Raises:
        ValueError: as ``RecurrentConfig``.
    """

    candidate: Candidate = "linear"
    forget_bias: Annotated[float, Field(allow_inf_nan=False)] = 3.0


class Mixer(GatedRecurrence):
    """``h_t = (f_t h_{t-1} + i_t c_t) / (f_t + i_t)``: f and i are sigmoid(linear(x)), c is the candidate, h_0 = 0."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.heads, self.candidate = config.heads, config.candidate
        self.conv = ShortConvolution(config.dim, config.conv_width, config.kernels)
        self.project = nn.Linear(config.dim, 3 * config.hidden, bias=False)
        biases = torch.zeros(3, config.hidden)
        biases[0] = config.forget_bias
        self.bias = nn.Parameter(biases.flatten())
        self.out = nn.Linear(config.hidden, config.dim, bias=False)

    def enter(self, x: Tensor) -> tuple[Tensor, None]:
        return x, None

    def gates(self, u: Tensor) -> Gates:
        forget, admit, candidate = wide(F.linear(u, self.project.weight, self.bias)).chunk(3, dim=-1)
        # f / (f + i), computed in log space: if both gates are closed, the quotient would be 0 / 0.
        odds = F.softplus(-admit) - F.softplus(-forget)
        decay = odds.sigmoid()
        return Gates(decay, 1 - decay, candidate_value(candidate, self.candidate))

    def leave(self, h: Tensor, branch: None) -> Tensor:
        return self.out(h)
