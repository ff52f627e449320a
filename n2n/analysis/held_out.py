"""Held-out sequences of a process and the oracle's predictions and beliefs on them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from n2n.analysis.in_context_oracle import InContextLosses, in_context_losses
from n2n.difficulty.context_ngrams import own_ngram_nll
from n2n.difficulty.ngrams import fit_ngram
from n2n.oracle.filtering import filter
from n2n.oracle.learned.refusals import product_message
from n2n.oracle.told import told_nll
from n2n.process.process import Process, Sample
from n2n.process.splits import Split
from n2n.utils.strict import as_integer, unknown_name_message

SPLITS: tuple[Split, ...] = ("test", "valid")
BASELINE_TOKENS = 2**21  # training tokens that baselines are fitted on, at most


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The first sequences of a held-out split. Each property is computed when it is first read, and kept.

    Args:
        process: the process that generates the sequences.
        sequences: number of sequences, at least 2.
        length: tokens in each sequence, at least 2.
        split: ``"test"`` or ``"valid"``.
        train_sequences: number of training sequences that ``baselines`` are fitted on, from the first one (at most
            2^21 tokens).
        in_context_precision: Monte-Carlo error that the mean loss of the in-context oracle should reach, nats per
            token; None leaves this oracle out.

    Raises:
        ValueError: a number out of range, or a split that is not held out.
    """

    process: Process
    sequences: int
    length: int
    split: Split = "test"
    train_sequences: int = 1
    in_context_precision: float | None = 0.01

    def __post_init__(self) -> None:
        as_integer("sequences", self.sequences, 2)
        as_integer("length", self.length, 2)
        if self.split not in SPLITS:
            raise ValueError(unknown_name_message("held-out split", self.split, SPLITS))

    @cached_property
    def sample(self) -> Sample:
        """``sample.tokens (sequences, length)`` and ``sample.latents``, the true states."""
        return self.process.sample(self.sequences, length=self.length, split=self.split)

    @cached_property
    def tokens(self) -> np.ndarray:
        """``(sequences, length)``, int64."""
        # drawn apart: most uses need no true states, which would take a multiple of the memory
        sample = self.process.sample(self.sequences, length=self.length, split=self.split, latents=False)
        return sample.tokens.astype(np.int64)

    @cached_property
    def states(self) -> dict[str, np.ndarray]:
        """True states of each latent, ``(sequences, length)``; for a classic process, its own states."""
        own = self.process.own_states
        return {latent: own[latent][path] for latent, path in self.sample.latents.items()}

    @cached_property
    def oracle_nll(self) -> np.ndarray:
        """-log P(x_t | x_<t), ``(sequences, length - 1)``, nats. The kernels of context nodes are known."""
        return told_nll(self.process, self.tokens, np.arange(self.sequences), split=self.split).numpy()

    @cached_property
    def in_context(self) -> InContextLosses | None:
        """Losses of the oracle that learns the kernels from each sequence; None if no kernel is redrawn.

        With a pool it knows the kernel sets of the pool.
        """
        if not self.process.graph.context_nodes or self.in_context_precision is None:
            return None
        return in_context_losses(self.process, self.tokens, self.in_context_precision)

    @cached_property
    def prior(self) -> InContextLosses | None:
        """As ``in_context``, of the oracle that knows the prior of the kernels alone.

        None without a pool, or if the prior has no in-context oracle (product kernels over several variables).
        """
        prior = without_pool(self.process)
        if self.in_context is None or self.process.graph.pool is None or product_message(prior.graph):
            return None
        return in_context_losses(prior, self.tokens, self.in_context_precision)

    @cached_property
    def oracle_log_probabilities(self) -> np.ndarray:
        """log P(x_t = v | x_<t), ``(sequences, length - 1, V)``, nats. The kernels of context nodes are known."""
        if not self.process.graph.context_nodes:
            return filter(self.process, self.tokens, predictive=True).predictive.log().numpy()
        laws = np.empty((self.sequences, self.length - 1, self.process.graph.vocab_size))
        sets = self.process.kernel_sets(0, self.sequences, self.split)
        for first in np.unique(sets, return_index=True)[1]:
            rows = sets == sets[first]
            told = self.process.of_sequence(int(first), split=self.split)
            laws[rows] = filter(told, self.tokens[rows], predictive=True).predictive.log().numpy()
        return laws

    @cached_property
    def beliefs(self) -> dict[str, np.ndarray]:
        """P(z_t | x_<=t) of each latent, ``(sequences, length, n)``; for a classic process, over its own states."""
        beliefs = filter(self.process, self.tokens, beliefs=True).beliefs
        sums = {latent: np.eye(max(own) + 1)[own] for latent, own in self.process.own_states.items()}
        return {latent: beliefs[latent].numpy() @ matrix for latent, matrix in sums.items()}

    @cached_property
    def baselines(self) -> dict[str, float]:
        """Mean losses of the unigram and the bigram, nats per token.

        If kernels are redrawn for each sequence, these count the tokens of the sequence itself.
        """
        orders = {"unigram": 1, "bigram": 2}
        if self.process.graph.context_nodes:
            return {name: float(own_ngram_nll(self.process, self.tokens, n).mean()) for name, n in orders.items()}
        fitted_on = baseline_tokens(self.process, self.train_sequences, self.length)
        vocab_size = self.process.graph.vocab_size
        return {name: float(fit_ngram(fitted_on, vocab_size, n).nll(self.tokens).mean()) for name, n in orders.items()}


def without_pool(process: Process) -> Process:
    """The process whose redrawn kernels come from their prior instead of a pool; all else is the same."""
    return replace(process, graph=process.graph.model_copy(update={"pool": None}))


def baseline_tokens(process: Process, train_sequences: int, length: int) -> np.ndarray:
    """The first training sequences, which baselines are fitted on, ``(sequences, length)``; at most 2^21 tokens."""
    count = min(train_sequences, max(1, BASELINE_TOKENS // length))
    return process.sample(count, length=length, latents=False).tokens
