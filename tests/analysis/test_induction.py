"""Induction scores equal loops over their definition; heads built by hand score as they should; controls hold."""

import numpy as np
import pandas as pd
import pytest

import n2n
from n2n.analysis.induction import formation, induction_scores, induction_targets
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.process.process import Process


def looped(mixing: np.ndarray, tokens: np.ndarray) -> dict[str, float]:
    """Scores of one head, ``(batch, T, T)``, query by query."""
    found = {"score": [], "uniform": [], "previous": [], "previous_uniform": []}
    for weights, row in zip(np.abs(mixing), tokens[:, :-1].tolist(), strict=True):
        for t in range(len(row)):
            total = weights[t, : t + 1].sum()
            share = [weights[t, s] / total if total else 0.0 for s in range(t + 1)]
            targets = [s for s in range(1, t + 1) if row[s - 1] == row[t]]
            if t:
                found["previous"].append(share[t - 1])
                found["previous_uniform"].append(1 / (t + 1))
            if not targets:
                continue
            found["score"].append(sum(share[s] for s in targets))
            found["uniform"].append(len(targets) / (t + 1))
    return {"pairs": len(found["score"]), **{name: float(np.mean(values)) for name, values in found.items()}}


def random_tokens(seed: int, count: int = 8, length: int = 20, symbols: int = 4) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, symbols, (count, length))


def chain_tokens(count: int, length: int = 33, split: str = "test") -> np.ndarray:
    """Sequences of Markov chains with kernels of their own, some of which visit one symbol most of the time."""
    node = Node(name="X", num_states=3, observed=True, recurrent=True, mode="context", alpha=0.5)
    return Process(Graph(nodes=(node,), initial="uniform")).sample(count, length=length, split=split).tokens.astype(int)


def as_heads(*matrices: np.ndarray) -> np.ndarray:
    """``(batch, 1, heads, queries, keys)``."""
    return np.tril(np.stack(matrices, axis=1)[:, None])


def test_scores_equal_a_loop_over_queries():
    tokens, rng = random_tokens(0), np.random.default_rng(1)
    mixing = np.tril(rng.normal(size=(8, 2, 3, 19, 19)) ** 3)
    mixing[:, 1, 2] = 0.0
    table = induction_scores(mixing, tokens, permutations=10)
    assert table[["layer", "head"]].to_numpy().tolist() == [[1, 0], [1, 1], [1, 2], [2, 0], [2, 1], [2, 2]]
    for row in table.to_dict("records"):
        expected = looped(mixing[:, row["layer"] - 1, row["head"]], tokens)
        assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert table["score"].iloc[-1] == 0.0


def test_heads_built_by_hand():
    """An induction head, one that looks at the previous token, and uniform mixing."""
    tokens = random_tokens(2)
    targets = induction_targets(tokens[:, :-1]).astype(float)
    previous = np.broadcast_to(np.eye(19, k=-1), targets.shape)
    table = induction_scores(as_heads(targets, -previous, np.ones_like(targets)), tokens).set_index("head")
    assert table["score"][0] == pytest.approx(1.0)
    assert table["standard_error"][0] == pytest.approx(0.0)
    assert table["p_value"][0] == pytest.approx(1 / 1001)
    assert table["previous"][1] == pytest.approx(1.0)
    assert table["score"][2] == pytest.approx(table["uniform"][2])
    assert table["previous"][2] == pytest.approx(table["previous_uniform"][2])


def test_targets_by_hand():
    """In a b a a: the second a follows nothing but b; the third a's own position followed an a."""
    targets = induction_targets(np.array([[0, 1, 0, 0]]))[0]
    assert [np.flatnonzero(row).tolist() for row in targets] == [[], [], [1], [1, 3]]


def test_only_heads_that_follow_content_exceed_the_null():
    """A weak induction head does; one that looks for its own symbol, or falls off with the lag, does not."""
    tokens = chain_tokens(400)
    seen, rng = tokens[:, :-1], np.random.default_rng(0)
    same = (seen[:, :, None] == seen[:, None, :]).astype(float)
    weak = 0.2 * induction_targets(seen) + 0.8 * rng.random(same.shape)
    fading = 0.8 ** np.abs(np.subtract.outer(range(32), range(32))) * rng.exponential(size=same.shape)
    table = induction_scores(as_heads(weak, same, fading), tokens)
    assert (table["score"] > table["null_high"]).tolist() == [True, False, False]


def test_nulls_have_their_coverage():
    """The score of mixing that depends on position and lag alone is outside its null in 5% of cases."""
    outside, fading = [], 0.8 ** np.abs(np.subtract.outer(range(16), range(16)))
    for seed in range(20):
        tokens, rng = chain_tokens(40 * (seed + 1), 17)[-40:], np.random.default_rng(seed)
        table = induction_scores(as_heads(*rng.exponential(size=(30, 40, 16, 16)) * fading), tokens, permutations=300)
        outside += ((table["score"] < table["null_low"]) | (table["score"] > table["null_high"])).tolist()
    assert np.mean(outside) == pytest.approx(0.05, abs=0.025)


def test_standard_errors_equal_the_spread_of_repetitions():
    rng, scores, errors = np.random.default_rng(3), [], []
    for seed in range(200):
        tokens = random_tokens(seed, 30)
        mixing = as_heads(rng.random((30, 19, 19)) + induction_targets(tokens[:, :-1]) * rng.random((30, 1, 1)))
        (row,) = induction_scores(mixing, tokens, permutations=1).to_dict("records")
        scores.append([row["score"], row["previous"]])
        errors.append([row[f"{name}standard_error"] for name in ("", "previous_")])
    np.testing.assert_allclose(np.mean(errors, 0), np.std(scores, 0), rtol=0.15)


@pytest.mark.parametrize("arch", n2n.models.names())
def test_every_architecture_has_scores(arch):
    tokens = random_tokens(4, 3, 10)
    model = n2n.models.build(arch, vocab_size=4, dim=8, layers=2, heads=2)
    table = induction_scores(n2n.mixing.token_mixing(model, tokens), tokens, permutations=10)
    assert len(table) == 4
    assert table["score"].between(0, 1).all()


def test_each_step_has_the_scores_of_its_checkpoint(regimes_run):
    tokens = regimes_run.config.process.sample(6, length=12, split="test").tokens
    found = n2n.induction.trace(regimes_run, [0, 4], 6)
    for step, model in ((0, regimes_run.config.build_model()), (4, regimes_run.model(4))):
        rows = found[found["step"] == step].drop(columns="step").reset_index(drop=True)
        pd.testing.assert_frame_equal(rows, induction_scores(n2n.mixing.token_mixing(model, tokens), tokens))


def test_formation_is_the_first_step_from_which_a_head_stays_above_its_controls():
    heads = {0: [0.5, 0.2, 0.6, 0.7], 1: [0.5, 0.5, 0.5, 0.2], 2: [0.5, 0.5, 0.5, 0.5]}
    rows = [
        {"step": step, "layer": 1, "head": head, "score": score, "null_high": 0.3}
        for head, scores in heads.items()
        for step, score in zip([0, 10, 20, 30], scores, strict=True)
    ]
    table = formation(pd.DataFrame(rows).sample(frac=1, random_state=0))
    assert table["step"].fillna(-1).tolist() == [20, -1, 0]
    assert table["score"].tolist() == [0.7, 0.2, 0.5]


@pytest.mark.parametrize(
    ("mixing", "tokens", "message"),
    [
        (np.ones((2, 1, 1, 4, 4)), random_tokens(0, 2, 4), r"saw mixing \(2, 1, 1, 4, 4\) and tokens \(2, 4\)"),
        (np.ones((2, 1, 1, 4, 4)), random_tokens(0, 3, 5), r"saw mixing \(2, 1, 1, 4, 4\) and tokens \(3, 5\)"),
        (np.ones((1, 1, 1, 4, 4)), random_tokens(0, 1, 5), "mixing: saw shape .* at least 2 sequences"),
        (np.full((2, 1, 1, 4, 4), np.nan), random_tokens(0, 2, 5), "mixing: saw a number that is not finite"),
        (np.ones((2, 1, 1, 3, 3)), [[0, 1, 2, 3]] * 2, "tokens: saw no symbol twice in a sequence"),
    ],
)
def test_bad_input_is_refused(mixing, tokens, message):
    with pytest.raises(ValueError, match=message):
        induction_scores(mixing, tokens)
