"""Ideal learners: which there are, and what each is, against fits and losses computed here."""

import numpy as np
import pytest
from support.small_designs import small_design

import n2n
from n2n.experiments import IDEAL_COLUMNS, Ideal, Level, ideals
from n2n.experiments.ideal import ideal_rows, is_blind


def pair() -> n2n.Graph:
    return n2n.Graph.independent(2, num_states=2, vocab_size=8, alpha_x=0.1)


def design_of_two(**changes):
    """One latent of 4 states, which is its own blind learner, and two of 2."""
    one = n2n.Graph.independent(1, num_states=4, vocab_size=8, alpha_x=0.1)
    return small_design(levels=[Level("1x4", one), Level("2x2", pair())], processes=[0], **changes)


def process_of(alpha):
    graph = pair()
    nodes = [node if node.observed else node.model_copy(update={"alpha": alpha}) for node in graph.nodes]
    return n2n.Process(n2n.Graph(nodes), seed=0)


def excess_over(process, nll):
    tokens = process.sample(8, length=8, split="test").tokens
    differences = (nll(tokens) - n2n.filter(process, tokens).nll.numpy()).mean(axis=1)
    return differences.mean(), differences.std(ddof=1) / np.sqrt(8)


def test_few_sequences_come_first_and_one_chain_has_no_blind_learner_of_its_own():
    design = design_of_two()
    alphas = {("1x4", 1.4, 0): 0.5, ("2x2", 1.4, 0): 0.5}
    found = ideals(design, alphas, [20, 10])
    assert [ideal.sequences for ideal in found] == [10] * 8 + [20] * 8
    assert [(ideal.level, ideal.predictor, ideal.start) for ideal in found[:8]] == [
        ("1x4", "ngram", "none"),
        ("1x4", "aware", "truth"),
        ("1x4", "aware", "random"),
        ("2x2", "ngram", "none"),
        ("2x2", "aware", "truth"),
        ("2x2", "blind", "truth"),
        ("2x2", "aware", "random"),
        ("2x2", "blind", "random"),
    ]
    assert ideals(design, {}, [10]) == []


@pytest.mark.parametrize(
    ("graph", "blind"),
    [
        (n2n.Graph.independent(1, num_states=4), True),
        (n2n.Graph.independent(2, num_states=4), False),
        (n2n.Graph.independent(1, num_states=4, mode="slow"), False),
        (n2n.Graph.independent(1, num_states=4, stickiness=0.5), False),
    ],
)
def test_only_a_plain_chain_is_its_own_blind_learner(graph, blind):
    assert is_blind(graph) == blind


@pytest.mark.parametrize("predictor", ["aware", "blind"])
def test_a_fit_from_the_truth_reads_the_first_training_sequences(predictor):
    process, design = process_of(0.3), design_of_two()
    (row,) = ideal_rows(design, Ideal("2x2", 1.4, 0, predictor, "truth", 40), 0.3)
    graph, start = process.graph, process
    if predictor == "blind":
        graph = n2n.blind_graph(process.graph)
        table = np.kron(process.kernel("Z1"), process.kernel("Z2"))
        start = n2n.Process.from_kernels(graph, {"Z": table, "X": process.kernel("X").reshape(4, 8)})
    train = process.sample(40, length=8).tokens
    fit = n2n.fit_kernels(graph, train, start=start, max_iterations=25)
    excess = excess_over(process, lambda tokens: n2n.filter(fit.process, tokens).nll.numpy())
    assert (row["excess"], row["standard_error"]) == pytest.approx(excess, abs=1e-7)
    assert row["log_posterior"] == pytest.approx(fit.objective[-1], abs=1e-3)
    assert (row["iterations"], row["starts"]) == (fit.iterations, 1)
    assert set(row) <= set(IDEAL_COLUMNS)


def test_the_order_of_n_grams_is_the_best_on_valid():
    process, design = process_of(0.3), design_of_two()
    (row,) = ideal_rows(design, Ideal("2x2", 1.4, 0, "ngram", "none", 40), 0.3)
    train, valid = process.sample(40, length=8).tokens, process.sample(8, length=8, split="valid").tokens
    fits = [n2n.fit_ngram(train, 8, order) for order in (1, 2, 3)]
    best = int(np.argmin([fit.nll(valid).mean() for fit in fits]))
    assert row["order"] == best + 1
    assert (row["excess"], row["standard_error"]) == pytest.approx(excess_over(process, fits[best].nll), abs=1e-7)


def test_a_plain_chain_has_one_fit_for_both_learners():
    aware, blind = ideal_rows(design_of_two(), Ideal("1x4", 1.4, 0, "aware", "random", 10), 0.3)
    assert {**aware, "predictor": "blind", "seconds": 0.0} == blind
    assert (aware["starts"], aware["excess"] > 0) == (8, True)


def test_a_graph_that_cannot_be_fitted_has_a_note():
    frozen = n2n.Graph.independent(1, num_states=4, vocab_size=8, stickiness=1.0, initial="uniform")
    design = small_design(levels=[Level("frozen", frozen), Level("pair", pair())], targets=[1.4])
    (row,) = ideal_rows(design, Ideal("frozen", 1.4, 0, "aware", "random", 10), 0.3)
    assert "is frozen" in row["note"]
    assert "excess" not in row
