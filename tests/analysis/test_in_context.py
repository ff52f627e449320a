"""Runs in context: their rivals over steps and pools, and their heads, against the parts that they are made of."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import n2n
from n2n.analysis import in_context, rivals
from n2n.analysis.batched import model_nll

CHAIN = n2n.Graph(nodes=[n2n.Node("X", 3, observed=True, recurrent=True, mode="context")], initial="uniform")
SMALL = {"dim": 16, "layers": 2, "heads": 2, "seq_len": 12, "batch_size": 8, "steps": 8, "checkpoint_every": 4}


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Callable[..., n2n.Run]:
    """A function that trains for a few steps."""
    folder: Path = tmp_path_factory.mktemp("runs")

    def train(name: str, **fields) -> n2n.Run:
        config = {**SMALL, "graph": CHAIN, "eval_sequences": 4, "device": "cpu", "run_dir": folder / name, **fields}
        return n2n.train(n2n.TrainConfig(**config))

    return train


@pytest.fixture(scope="module")
def runs(trained) -> dict[str, n2n.Run]:
    return {"one": trained("one"), "two": trained("two", arch="mamba")}


def test_a_trace_has_the_losses_and_distances_of_each_checkpoint(runs):
    found = in_context.trace(runs, 2, 6)
    tokens = runs["one"].config.process.sample(6, length=12, split="test").tokens
    compared = rivals.Rivals.of(runs["one"].config.process, tokens, range(6), split="test")
    assert found.losses[["learner", "step"]].to_numpy().tolist() == [[n, s] for n in ("one", "two") for s in (0, 4, 8)]
    for (name, step), row in found.losses.groupby(["learner", "step"]):
        nll = model_nll(runs[name].model(step) if step else runs[name].config.build_model(), tokens)
        half = 2.5706 * nll.mean(1).std(ddof=1) / np.sqrt(6)  # Student's t with 5 degrees of freedom
        assert row.iloc[0][["loss", "low", "high"]].tolist() == pytest.approx(
            [nll.mean(), nll.mean() - half, nll.mean() + half], rel=1e-4
        )
        for table, expected in ((found.distances, compared.distances(nll)), (found.nearest, compared.nearest(nll))):
            rows = table[(table["learner"] == name) & (table["step"] == step)]
            pd.testing.assert_frame_equal(rows.drop(columns=["learner", "step"]).reset_index(drop=True), expected)
        if step == 8:
            np.testing.assert_array_equal(found.learners[name], nll)


def test_pools_are_judged_by_the_mixture_of_their_kernel_sets_and_by_the_prior_s_counts(trained):
    pool = n2n.Graph(**{**CHAIN.model_dump(), "pool": 3})
    limited, unlimited = trained("pool", graph=pool), trained("prior")
    found = in_context.over_pools([limited, unlimited], 200)
    sets = [limited.config.process.of_set(i) for i in range(3)]
    losses = found.losses.set_index(["pool", "source", "predictor"])["loss"]
    for source, run in (("pool", limited), ("prior", unlimited)):
        tokens = run.config.process.sample(200, length=12, split="test").tokens
        expected = {
            in_context.OF_POOL: n2n.mixture_nll(sets, tokens).numpy(),
            in_context.OF_PRIOR: n2n.context_ngram_nll(tokens, 3, 2),
            in_context.LEARNER: model_nll(limited.model(), tokens),
        }
        for name, nll in expected.items():
            assert losses[3, source, name] == pytest.approx(nll.mean())
        rows = found.distances[(found.distances["pool"] == 3) & (found.distances["source"] == source)]
        for row in rows.itertuples():
            squares = (expected[row.rival] - expected[in_context.LEARNER]) ** 2
            assert row.distance == pytest.approx(np.sqrt(squares.mean()))
    assert losses[3, "pool", in_context.OF_POOL] < losses[3, "pool", in_context.OF_PRIOR] - 0.05
    assert losses[3, "prior", in_context.OF_PRIOR] < losses[3, "prior", in_context.OF_POOL] - 0.05
    for source in ("pool", "prior"):
        rows = found.losses[found.losses["pool"].isna() & (found.losses["source"] == source)].set_index("predictor")
        assert rows.loc[in_context.OF_POOL, "loss"] == rows.loc[in_context.OF_PRIOR, "loss"]


def test_heads_have_the_scores_of_each_run(runs):
    found = in_context.heads(runs, 2, 6)
    for name, run in runs.items():
        rows = found[found["learner"] == name].drop(columns="learner").reset_index(drop=True)
        pd.testing.assert_frame_equal(rows, n2n.induction.trace(run, [0, 4, 8], 6))


def test_the_clearest_head_is_the_farthest_above_its_null_at_the_last_step(runs):
    rows = [(layer, head, step) for layer in (1, 2) for head in (0, 1) for step in (4, 8)]
    table = pd.DataFrame(rows, columns=["layer", "head", "step"]).assign(null_high=0.5, score=0.6)
    table.loc[(table["layer"] == 1) & (table["step"] == 4), "score"] = 0.9  # earlier
    table.loc[(table["layer"] == 2) & (table["head"] == 0), ["score", "null_high"]] = 0.95, 0.94  # a high null
    best = (table["layer"] == 2) & (table["head"] == 1) & (table["step"] == 8)
    table.loc[best, "score"] = 0.7
    found = in_context.clearest_heads(runs, pd.concat([table.assign(learner=name) for name in runs]), 3, 7)
    assert list(found.mixing) == ["one, block 2, head 1", "two, block 2, head 1"]
    tokens = runs["one"].config.process.sample(4, length=12, split="test").tokens[3]
    assert found.tokens.tolist() == tokens[:7].tolist()
    whole = n2n.mixing.token_mixing(runs["two"].model(), tokens[None])[0, 1, 1]
    np.testing.assert_allclose(found.mixing["two, block 2, head 1"], whole[:7, :7], atol=1e-6)
    for query, key in np.ndindex(7, 7):
        expected = 1 <= key <= query and tokens[key - 1] == tokens[query]
        assert found.targets[query, key] == expected


def test_bad_input_is_refused(runs, trained):
    with pytest.raises(ValueError, match="runs: saw none"):
        in_context.trace({}, 2, 6)
    with pytest.raises(ValueError, match="runs: saw none"):
        in_context.over_pools([], 6)
    with pytest.raises(ValueError, match="runs: short has another seq_len than one"):
        in_context.trace({**runs, "short": trained("short", seq_len=8)}, 2, 6)
    with pytest.raises(ValueError, match="max_steps: saw 1"):
        in_context.heads(runs, 1, 6)
    heads = in_context.heads(runs, 2, 6)
    with pytest.raises(ValueError, match="length: saw 12"):
        in_context.clearest_heads(runs, heads, 0, 12)
    with pytest.raises(ValueError, match="sequence: saw -1"):
        in_context.clearest_heads(runs, heads, -1, 8)
