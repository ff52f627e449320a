import itertools
from collections import Counter

import numpy as np
import pytest

import n2n
from n2n.difficulty.ngrams import fit_ngram
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.process.process import Process


class Twin:
    """A plain implementation of the same smoothing, with counts in a dictionary and one word at a time."""

    def __init__(self, tokens: np.ndarray, vocab_size: int, strengths: list[np.ndarray]) -> None:
        self.vocab_size, self.strengths, self.words = vocab_size, strengths, []
        for sequence in tokens.tolist():
            for t in range(1, len(sequence)):
                self.words += [tuple(sequence[t - k : t + 1]) for k in range(min(t + 1, len(strengths)))]
        self.counts = Counter(self.words)
        self.totals = Counter(word[:-1] for word in self.words)

    def probability(self, word: tuple[int, ...]) -> float:
        """P(last token of the word | earlier tokens)."""
        laws = [1 / self.vocab_size, *(self.probability(word[-n:]) for n in range(1, len(word)))]
        strengths = self.strengths[len(word) - 1]
        prior = sum(s * law for s, law in zip(strengths, laws, strict=True))
        return (self.counts[word] + prior) / (self.totals[word[:-1]] + sum(strengths))

    def left_out(self, word: tuple[int, ...]) -> float:
        """The same probability, with this occurrence of the word removed from the counts of all its suffixes."""
        ends = [word[-n:] for n in range(1, len(word) + 1)]
        self.counts.subtract(ends)
        self.totals.subtract(end[:-1] for end in ends)
        probability = self.probability(word)
        self.counts.update(ends)
        self.totals.update(end[:-1] for end in ends)
        return probability

    def nll(self, tokens: np.ndarray) -> np.ndarray:
        sees = len(self.strengths) - 1
        return -np.log(
            [
                [self.probability(tuple(row[max(0, t - sees) : t + 1])) for t in range(1, len(row))]
                for row in tokens.tolist()
            ]
        )


def strengths_of(model: n2n.NGram) -> list[np.ndarray]:
    return [order.strengths for order in model.orders]


def flips(count: int, length: int, split: str = "train") -> tuple[Process, np.ndarray]:
    """An observed two-state chain that leaves 0 with probability 0.2 and 1 with 0.3; entropy rate 0.544587 nats."""
    graph = Graph(nodes=[Node(name="X", num_states=2, observed=True, recurrent=True)], initial="stationary")
    process = Process.from_kernels(graph, {"X": [[0.8, 0.2], [0.3, 0.7]]})
    return process, process.sample(count, length=length, split=split).tokens


def test_two_tokens_by_hand():
    """Contexts that occur once say nothing about the strengths, so these stay 1."""
    tokens = np.array([[0, 1]])
    assert fit_ngram(tokens, 2, 1).predictive(tokens)[0, 0] == pytest.approx([0.5 / 2, 1.5 / 2])
    bigram = fit_ngram(tokens, 2, 2).predictive(np.array([[0, 0], [1, 0]]))[:, 0]
    assert bigram[0] == pytest.approx([(0.5 + 0.25) / 3, (1 + 0.5 + 0.75) / 3])
    assert bigram[1] == pytest.approx([(0.5 + 0.25) / 2, (0.5 + 0.75) / 2])  # 1 ends the data, so it is never a context


def test_a_unigram_by_hand():
    """The counts are 0, 3 and 3, because first tokens are not targets."""
    model = fit_ngram(np.array([[0, 1, 1, 2], [0, 1, 2, 2]], np.uint8), 3, 1)
    strength = model.orders[0].strengths[0]
    expected = (np.array([0, 3, 3]) + strength / 3) / (6 + strength)
    assert model.predictive(np.array([[0, 1]]))[0, 0] == pytest.approx(expected)
    assert model.nll(np.array([[2, 0, 1]]))[0] == pytest.approx(-np.log(expected[[0, 1]]))


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_losses_equal_those_of_counts_in_a_dictionary(order):
    rng = np.random.default_rng(order)
    fitted, held_out = rng.integers(0, 3, (20, 12)), rng.integers(0, 4, (10, 9))
    model = fit_ngram(fitted, 4, order)  # symbol 3 never occurs
    twin = Twin(fitted, 4, strengths_of(model))
    assert model.nll(held_out) == pytest.approx(twin.nll(held_out))


def test_keys_fit_in_an_integer():
    """The number of possible words, 100,000^8, is far above 2^63."""
    rng = np.random.default_rng(0)
    fitted, held_out = rng.integers(99_998, 100_000, (10, 40)), rng.integers(99_997, 100_000, (5, 20))
    model = fit_ngram(fitted, 100_000, 8)
    assert model.nll(held_out) == pytest.approx(Twin(fitted, 100_000, strengths_of(model)).nll(held_out))
    words = {tuple(row[t - 7 : t + 1]) for row in fitted.tolist() for t in range(7, 40)}
    assert len(model.orders[7].keys) == len(words) + 1  # one key per distinct word, so memory grows with the data


def test_strengths_maximise_the_leave_one_out_likelihood():
    """The fit credits each distribution with one token, which costs those that explain nothing at most 1e-4 nats."""
    tokens = n2n.Process(Graph.preset("sparse")).sample(10, length=100, latents=False).tokens % 4
    fitted = strengths_of(fit_ngram(tokens, 4, 3))

    def score(strengths: list[np.ndarray], order: int) -> float:
        twin = Twin(tokens, 4, strengths)
        words = [word for word in twin.words if len(word) == order and twin.totals[word[:-1]] > 1]
        return float(np.mean([np.log(twin.left_out(word)) for word in words]))

    for order in (2, 3):
        best = score(fitted, order)
        for i in range(order):
            for factor in (0.5, 0.8, 1.25, 2.0):
                moved = [strengths.copy() for strengths in fitted]
                moved[order - 1][i] *= factor
                slack = 0.0 if i == fitted[order - 1].argmax() else 1e-4
                assert score(moved, order) < best + slack


@pytest.mark.parametrize("order", [1, 2, 4])
def test_unseen_tokens_keep_some_probability(order):
    """After a thousand alternating tokens, an unseen token has a probability of the order of one in a thousand."""
    model = fit_ngram(np.arange(1001)[None] % 2, 3, order)
    assert 1e-4 < model.predictive(np.array([[0, 1, 0, 1, 2]]))[0, -1, 2] < 1e-2


@pytest.mark.parametrize("order", [1, 2, 3, 6])
def test_every_context_has_a_normalised_distribution(order):
    process = n2n.Process(Graph.preset("sparse"))
    model = fit_ngram(process.sample(30, length=20, latents=False).tokens, 32, order)
    tokens = np.random.default_rng(0).integers(0, 32, (40, 10))  # most of these contexts do not occur in the data
    law = model.predictive(tokens)
    assert law.shape == (40, 9, 32)
    assert law.sum(axis=-1) == pytest.approx(np.ones((40, 9)))
    assert law.min() > 0
    assert np.array_equal(-np.log(np.take_along_axis(law, tokens[:, 1:, None], -1)[..., 0]), model.nll(tokens))


def test_the_start_has_a_shorter_context():
    tokens = n2n.Process(Graph.preset("sparse")).sample(50, length=20, latents=False).tokens
    by_order = {order: fit_ngram(tokens, 32, order).nll(tokens) for order in (2, 3, 4)}
    assert np.array_equal(by_order[4][:, 0], by_order[2][:, 0])
    assert np.array_equal(by_order[4][:, 1], by_order[3][:, 1])
    assert not np.allclose(by_order[4][:, 2:], by_order[3][:, 2:])


def test_a_markov_chain_is_learned_and_higher_orders_cost_nothing():
    process, tokens = flips(1024, 1024)
    _, held_out = flips(256, 1024, "test")
    oracle = n2n.filter(process, held_out).nll.mean().item()
    loss = {order: fit_ngram(tokens, 2, order).nll(held_out).mean() for order in (1, 2, 3, 5)}
    assert loss[1] == pytest.approx(0.673012, abs=2e-3)  # the entropy of (0.6, 0.4)
    assert loss[2] == pytest.approx(0.544587, abs=2e-3)
    assert all(abs(loss[order] - oracle) < 2e-5 for order in (2, 3, 5))


@pytest.mark.parametrize("name", ["sparse", "two_chains", "slow_switch"])
def test_no_order_loses_to_a_lower_one_or_to_half_a_count(name):
    """The Krichevsky-Trofimov estimator adds 1/2 to each count of a context."""
    process = n2n.Process(Graph.preset(name))
    vocab_size = process.graph.vocab_size
    tokens = process.sample(512, length=256, latents=False).tokens.astype(int)
    held_out = process.sample(256, length=256, split="test", latents=False).tokens.astype(int)
    loss = [fit_ngram(tokens, vocab_size, order).nll(held_out).mean() for order in (1, 2, 3, 4)]
    assert all(higher < lower + 2e-3 for lower, higher in itertools.pairwise(loss))
    for order in (1, 2):
        counts = np.full((vocab_size,) * order, 0.5)
        np.add.at(counts, (tokens[:, :-1], tokens[:, 1:])[2 - order :], 1)
        law = counts / counts.sum(axis=-1, keepdims=True)
        assert loss[order - 1] < -np.log(law[(held_out[:, :-1], held_out[:, 1:])[2 - order :]]).mean() + 1e-4


def test_small_types_do_not_overflow():
    tokens = n2n.Process(Graph.preset("slow_switch")).sample(50, length=40, latents=False).tokens
    assert tokens.dtype == np.uint8
    wide = tokens.astype(np.int64)
    for order in (1, 2, 4):
        assert np.array_equal(fit_ngram(tokens, 128, order).nll(tokens), fit_ngram(wide, 128, order).nll(wide))


def test_invalid_arguments_are_refused():
    tokens = np.array([[0, 1, 2]])
    for order in (0, 2.0, True, "2"):
        with pytest.raises(ValueError, match=f"order: saw {order!r}; a whole number from 1"):
            fit_ngram(tokens, 3, order)
    with pytest.raises(ValueError, match="order: saw 4; sequences of 3 tokens"):
        fit_ngram(tokens, 3, 4)
    for wrong, message in (
        (tokens + 1, "saw 3; the vocabulary is 0 to 2"),
        (tokens - 1, "saw -1; the vocabulary is 0 to 2"),
        (tokens * 1.0, "saw ndarray of type float64; integers"),
        (tokens[0], r"saw shape \(3,\)"),
        (tokens[:, :1], r"saw shape \(1, 1\)"),
        (tokens[:0], r"saw shape \(0, 3\); at least one"),
    ):
        with pytest.raises(ValueError, match=f"tokens: {message}"):
            fit_ngram(wrong, 3, 1)
        with pytest.raises(ValueError, match=f"tokens: {message}"):
            fit_ngram(tokens, 3, 2).nll(wrong)


@pytest.mark.parametrize(
    "tokens", [np.zeros((4, 12), int), np.arange(64).reshape(2, 32) % 2], ids=["constant", "period"]
)
def test_strengths_stay_finite_if_a_lower_order_explains_everything(tokens):
    """The likelihood has no maximum over the strengths in this case, but the strengths stay finite."""
    model = fit_ngram(tokens, 3, tokens.shape[1])
    assert np.isfinite(model.nll(tokens)).all()
    assert model.predictive(tokens).sum(-1) == pytest.approx(1.0)
