"""The language model around every mixer: embedding, blocks and head, and how all weights are initialised."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from numpy.typing import ArrayLike
from torch import Tensor, nn

from n2n.models.generation import Sampling
from n2n.models.inspection import Inspection
from n2n.models.mixer import Frame, ModelConfig, SequenceMixer, widened
from n2n.models.ops import RMSNorm
from n2n.utils.arrays import integer_tensor
from n2n.utils.strict import as_integer

MLP_MULTIPLE = 8  # hidden widths are rounded up to a multiple of this
Layer = tuple[ModelConfig, type[SequenceMixer]]


class SwiGLU(nn.Module):
    """Gated feed-forward layer. Source: Shazeer, "GLU variants improve transformer", arXiv:2002.05202, eq. 6."""

    def __init__(self, dim: int, ratio: float) -> None:
        super().__init__()
        hidden = widened(dim, ratio, MLP_MULTIPLE)
        self.gate = nn.Linear(dim, hidden, bias=False)
        self.up = nn.Linear(dim, hidden, bias=False)
        self.out = nn.Linear(hidden, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.out(F.silu(self.gate(x)) * self.up(x))


class Block(nn.Module):
    """Pre-norm residual block: the mixer, then the feed-forward layer if ``mlp_ratio`` is not 0."""

    def __init__(self, config: ModelConfig, mixer: type[SequenceMixer]) -> None:
        super().__init__()
        self.dropout = config.dropout
        self.mixer_norm = RMSNorm(config.dim)
        self.mixer = mixer(config)
        self.mlp_norm = RMSNorm(config.dim) if config.mlp_ratio else None
        self.mlp = SwiGLU(config.dim, config.mlp_ratio) if config.mlp_ratio else None

    def forward(self, x: Tensor) -> Tensor:  # (batch, T, dim)
        return self._rest(x, self.mixer(self.mixer_norm(x)))

    def resume(self, x: Tensor, state: Any) -> tuple[Tensor, Any]:
        """Continue a sequence; see ``SequenceMixer.resume``."""
        mixed, state = self.mixer.resume(self.mixer_norm(x), state)
        return self._rest(x, mixed), state

    def _rest(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + self._dropped(mixed)
        return x if self.mlp is None else x + self._dropped(self.mlp(self.mlp_norm(x)))

    def _dropped(self, x: Tensor) -> Tensor:
        return F.dropout(x, self.dropout, self.training) if self.dropout else x


class State(NamedTuple):
    """State of a model after some tokens. ``resume`` and ``step`` return a new one and do not modify it.

    Attributes:
        batch: number of sequences.
        position: number of tokens of each sequence so far.
        mixers: state of each layer's mixer.
    """

    batch: int
    position: int
    mixers: tuple[Any, ...]


class LanguageModel(nn.Module):
    """Embedding, pre-norm residual blocks, a final norm and a head.

    Every architecture adds a learned vector to the embedding of the first token. Without it, a transformer with rotary
    positions would give the contexts v, vv and vvv the same logits, because the mean of equal values does not depend on
    their number. A recurrence distinguishes them, because its state starts at zero.

    Methods take tokens as integers of any type, in a tensor, an array or lists. Tokens that are not a tensor are moved
    to the model's device.
    """

    def __init__(self, config: Frame, layers: Sequence[Layer]) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocab_size, config.dim)
        self.start = nn.Parameter(torch.zeros(config.dim))
        self.blocks = nn.ModuleList(Block(own, mixer) for own, mixer in layers)
        self.norm = RMSNorm(config.dim)
        self.head = None if config.tied else nn.Linear(config.dim, config.vocab_size, bias=False)

    def forward(self, tokens: Tensor | ArrayLike) -> Tensor:
        """Logits ``(batch, T, V)`` for the token after each of ``tokens (batch, T)``.

        Raises:
            ValueError: if the tokens are not a batch of sequences, are not in the vocabulary, or exceed ``max_length``.
        """
        tokens = self._checked(tokens, 0)
        x = self._embed(tokens, 0)
        for block in self.blocks:
            x = block(x)
        return self._logits(x)

    def nll(self, tokens: Tensor | ArrayLike) -> Tensor:
        """``-log P(x_t | x_<t)`` in nats, ``(batch, T - 1)``, of ``tokens (batch, T)``; compare ``filter(..).nll``."""
        tokens = self._checked(tokens, -1)  # the model does not read the last one
        if tokens.shape[1] < 2:
            raise ValueError(f"tokens: saw shape {tuple(tokens.shape)}; (batch, T) with T >= 2 is needed")
        logits = self(tokens[:, :-1])
        nll = F.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten(), reduction="none")
        return nll.view(len(tokens), -1) + 0.0  # turns -0 into 0

    def init_state(self, batch: int) -> State:
        """The state before the first token.

        Args:
            batch: number of sequences.

        Raises:
            ValueError: if ``batch`` is not a whole number above 0.
        """
        return State(as_integer("batch", batch, 1), 0, (None,) * len(self.blocks))

    def resume(self, tokens: Tensor | ArrayLike, state: State) -> tuple[Tensor, State]:
        """Continue a sequence: logits ``(batch, T, V)`` for the token after each of ``tokens (batch, T)``.

        Args:
            tokens: the tokens that follow those of ``state``.
            state: from ``init_state`` or an earlier call. It is not modified.

        Returns:
            The logits and the new state. The state of a recurrent mixer has a constant size; that of attention grows by
            T tokens.

        Raises:
            ValueError: as ``forward``, or if the batch size is not that of the state.
        """
        tokens = self._checked(tokens, state.position)
        if len(tokens) != state.batch:
            raise ValueError(f"tokens: saw a batch of {len(tokens)}; the state is of {state.batch} sequences")
        x, mixers = self._embed(tokens, state.position), []
        for block, own in zip(self.blocks, state.mixers, strict=True):
            x, own = block.resume(x, own)
            mixers.append(own)
        return self._logits(x), State(state.batch, state.position + tokens.shape[1], tuple(mixers))

    def step(self, token: Tensor | ArrayLike, state: State) -> tuple[Tensor, State]:
        """Continue a sequence by one ``token (batch,)``: logits ``(batch, V)`` for the next one, and the new state.

        Raises:
            ValueError: as ``resume``.
        """
        token = integer_tensor(token, "token", self.embedding.weight.device)
        if token.ndim != 1:
            raise ValueError(f"token: saw shape {tuple(token.shape)}; (batch,) is needed")
        logits, state = self.resume(token[:, None], state)
        return logits[:, 0], state

    @torch.no_grad()
    def generate(
        self,
        prompt: Tensor | ArrayLike,
        length: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        top_p: float = 1.0,
        seed: int = 0,
    ) -> Tensor:
        """Draw ``length`` tokens after a prompt, one by one.

        Args:
            prompt: at least one token of each sequence, ``(batch, T)``.
            length: number of tokens to draw.
            temperature, top_k, top_p, seed: as in ``generation.Sampling``.

        Returns:
            The prompt and the new tokens, ``(batch, T + length)``, int64.

        Raises:
            ValueError: if a value is out of range, or prompt and ``length`` together exceed ``max_length``.
        """
        sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, seed=seed)
        prompt = self._checked(prompt, as_integer("length", length, 1) - 1)
        uniforms = sampling.uniforms(len(prompt), length)
        training = self.training
        self.eval()
        try:
            logits, state = self.resume(prompt, self.init_state(len(prompt)))
            tokens = [sampling.choose(logits[:, -1], uniforms[:, 0])]
            for t in range(1, length):
                logits, state = self.step(tokens[-1], state)
                tokens.append(sampling.choose(logits, uniforms[:, t]))
        finally:
            self.train(training)
        return torch.cat([prompt, torch.stack(tokens, dim=1)], dim=1)

    @torch.no_grad()
    def inspect(self, tokens: Tensor | ArrayLike, mixing: bool = True, residual: bool = True) -> Inspection:
        """Compute the residual stream and the mixing matrices of each layer on ``tokens (batch, T)``.

        Args:
            tokens: as in ``forward``.
            mixing: whether to compute the mixing matrices, batch * layers * heads * T^2 numbers.
            residual: whether to keep the residual stream.

        Raises:
            ValueError: as ``forward``, or if an architecture does not define its mixing matrices.
        """
        tokens = self._checked(tokens, 0)
        training = self.training
        self.eval()
        try:
            stream, matrices = [self._embed(tokens, 0)], []
            for block in self.blocks:
                matrices += [block.mixer.head_mixing(block.mixer_norm(stream[-1]))] if mixing else []
                stream.append(block(stream[-1]))
            logits = self._logits(stream[-1])
        finally:
            self.train(training)
        kept = torch.stack(stream, dim=1) if residual else None
        return Inspection(logits, kept, torch.stack(matrices, dim=1) if mixing else None)

    @property
    def num_parameters(self) -> int:
        """Number of trained parameters, embedding and head included."""
        return sum(parameter.numel() for parameter in self.parameters())

    def _embed(self, tokens: Tensor, position: int) -> Tensor:
        """The residual stream before the first block; ``position`` is that of the first token."""
        x = self.embedding(tokens)
        if self.config.tied:
            x = x * sqrt(self.config.dim)
        return x if position else x + F.pad(self.start[None], (0, 0, 0, tokens.shape[1] - 1))

    def _logits(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return self.head(x) if self.head is not None else F.linear(x / sqrt(self.config.dim), self.embedding.weight)

    def _checked(self, tokens: ArrayLike, others: int) -> Tensor:
        """The tokens as int64, or a ``ValueError``; ``others`` tokens of the same sequences come before or after."""
        if not torch.compiler.is_compiling() or tokens.dtype != torch.int64:
            tokens = integer_tensor(tokens, device=self.embedding.weight.device)
        if tokens.ndim != 2 or tokens.shape[1] < 1:
            raise ValueError(f"tokens: saw shape {tuple(tokens.shape)}; (batch, T) with T >= 1 is needed")
        max_length, size = self.config.max_length, self.config.vocab_size
        if others + tokens.shape[1] > max_length:
            raise ValueError(f"tokens: saw {others + tokens.shape[1]} of them; max_length is {max_length}")
        if not torch.compiler.is_compiling() and not bool(((tokens >= 0) & (tokens < size)).all()):
            outside = tokens[(tokens < 0) | (tokens >= size)][0].item()
            raise ValueError(f"tokens: saw {outside}; the vocabulary is 0 to {size - 1}")
        return tokens


def initialised(config: Frame, layers: Sequence[Layer], seed: int) -> LanguageModel:
    """A model with its initial weights, a pure function of the arguments.

    Weights are normal with mean 0. Their standard deviation is

    - 1 / sqrt(inputs) for every ``nn.Linear``. For the projections back into the residual stream, all of which are
      named ``out``, it is divided by sqrt(number of these projections), so that the variance of the stream does not
      grow with depth.
    - 1 for the embedding and the start vector.
    - 1 / dim for the head, so that the predictions of a new model are nearly uniform.
    - 1 / sqrt(dim) for an embedding that is also the head. The model multiplies it by sqrt(dim) at the input and
      divides it by sqrt(dim) at the output.

    Mixers initialise their other parameters (convolutions, decays, biases) themselves.
    """
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        model = LanguageModel(config, layers)
        linears = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
        outputs = sum(name.endswith(".out") for name in linears)
        for name, module in linears.items():
            depth = sqrt(outputs) if name.endswith(".out") else 1.0
            nn.init.normal_(module.weight, std=1.0 / (sqrt(module.in_features) * depth))
        nn.init.normal_(model.embedding.weight, std=1.0 / sqrt(config.dim) if config.tied else 1.0)
        if model.head is not None:
            nn.init.normal_(model.head.weight, std=1.0 / config.dim)
        nn.init.normal_(model.start)  # last, so that the other weights do not depend on it
    return model
