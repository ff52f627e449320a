"""Mixtures of processes: Bayes' rule by hand, integrals over kernels, pools."""

import numpy as np
import pytest
import torch
from support.context_graphs import latent, observed

import n2n
from n2n.graph.graph import Graph
from n2n.oracle.learned import refusals
from n2n.oracle.reference import brute_force_likelihood, first_law
from n2n.process.process import Process

CHAIN = Graph(nodes=[observed(recurrent=True, mode="default")], initial="uniform")
HIDDEN = Graph(nodes=[latent("Z", mode="default"), observed("Z", mode="default")], initial="uniform")
PROCESSES = [Process(CHAIN, 1), Process(HIDDEN, 2), Process(HIDDEN.model_copy(update={"initial": "stationary"}), 3)]


def test_equals_bayes_rule_over_sums_over_all_paths():
    tokens = PROCESSES[1].sample(4, length=6).tokens
    weights = np.array([0.2, 0.5, 0.3])
    prefixes = np.array(
        [
            [[brute_force_likelihood(process, row[: t + 1]) if t else 1 for t in range(6)] for row in tokens]
            for process in PROCESSES
        ]
    )
    first = np.array([first_law(process).sum(1)[tokens[:, 0]] for process in PROCESSES])
    joint = np.einsum("k,kb,kbt->bt", weights, first, prefixes)
    expected = -np.diff(np.log(joint))
    np.testing.assert_allclose(n2n.mixture_nll(PROCESSES, tokens, weights).numpy(), expected, atol=1e-12)
    equal = n2n.mixture_nll(PROCESSES, tokens, [1 / 3] * 3)
    assert torch.allclose(n2n.mixture_nll(PROCESSES, tokens), equal, atol=1e-14)


@pytest.mark.parametrize("process", PROCESSES, ids=str)
def test_a_mixture_of_one_is_the_filter(process):
    tokens = process.sample(3, length=200).tokens
    expected = n2n.filter(process, tokens).nll
    assert torch.allclose(n2n.mixture_nll([process], tokens), expected, atol=1e-11)
    assert torch.allclose(n2n.mixture_nll([PROCESSES[0], process], tokens, [0, 1]), expected, atol=1e-11)


def test_the_true_process_is_found():
    """In a long sequence the loss approaches that of the right process. With x_0, it is at most log 3 more in all."""
    tokens = PROCESSES[2].sample(20, length=400).tokens
    excess = n2n.mixture_nll(PROCESSES, tokens) - n2n.filter(PROCESSES[2], tokens).nll
    assert excess[:, -100:].mean().abs() < 1e-3
    first = np.array([first_law(process).sum(1) for process in PROCESSES])
    saved = np.log(first.mean(0) / first[2])[tokens[:, 0]]  # by the first token, which is not part of the sum
    assert (excess.sum(1).numpy() < np.log(3) + saved + 1e-10).all()


def test_equals_the_exact_oracle_in_context_over_a_grid_of_kernels():
    """Likelihoods are polynomials in each row's probability, so a grid of Gauss and Legendre is exact."""
    nodes = [latent("Z"), observed("Z", num_states=2)]
    context = Process(Graph(nodes=nodes, initial="uniform"))
    fixed = Graph(nodes=[node.model_copy(update={"mode": "default"}) for node in nodes], initial="uniform")
    tokens = context.sample(4, length=9).tokens
    roots, shares = np.polynomial.legendre.leggauss(5)  # exact up to the power 9
    rows = np.stack([(1 + roots) / 2, (1 - roots) / 2], 1)
    grid = np.array(list(np.ndindex(5, 5, 5, 5)))
    processes = [Process.from_kernels(fixed, {"Z": rows[point[:2]], "X": rows[point[2:]]}) for point in grid]
    expected = n2n.mixture_nll(processes, tokens, (shares / 2)[grid].prod(1))
    result = n2n.in_context_nll(context, tokens)
    assert result.method == "enumeration"
    assert torch.allclose(result.nll, expected, atol=1e-10)


def test_an_impossible_token():
    graph = Graph(nodes=[latent("Z", mode="default"), observed("Z", mode="default")])
    moves = [[0.5, 0.5], [0.5, 0.5]]
    one, two = (
        Process.from_kernels(graph, {"Z": moves, "X": rows})
        for rows in ([[0.5, 0.5, 0], [1, 0, 0]], [[0.5, 0, 0.5], [1, 0, 0]])
    )
    inf, nan = np.inf, np.nan
    losses = n2n.mixture_nll([one, two], [[0, 0, 1, 2, 0], [0, 1, 1, 1, 1]])
    np.testing.assert_array_equal(losses[0, 2:].numpy(), [inf, nan])
    assert losses[1].numpy() == pytest.approx(-np.log([1 / 8, 1 / 4, 1 / 4, 1 / 4]))  # once 1 is seen, it is the first


def test_sequences_that_do_not_begin_with_0_rule_out_processes_that_do():
    """The chain's own losses then remain; a sequence from 0 is V times more probable where all begin with 0."""
    zero = Process(HIDDEN.model_copy(update={"initial": "zero"}))
    tokens = [[1, 2, 0, 1], [0, 2, 0, 1]]
    losses, chain = n2n.mixture_nll([PROCESSES[0], zero], tokens), n2n.filter(PROCESSES[0], tokens).nll
    assert torch.allclose(losses[0], chain[0], atol=1e-13)
    both = np.exp([-chain[1, 0].item(), -n2n.filter(zero, tokens[1:]).nll[0, 0].item()])
    assert losses[1, 0].item() == pytest.approx(-np.log((both[0] / 3 + both[1]) / (1 / 3 + 1)))
    with pytest.raises(ValueError, match="sequence 0 begins with 1"):
        n2n.mixture_nll([zero], tokens)


def test_a_pool_is_the_mixture_of_its_sets():
    nodes = [latent("A"), latent("Z", "A", kernel="product"), observed("Z", num_states=4, alpha=0.2)]
    process = Process(Graph(nodes=nodes, initial="uniform", pool=5), seed=3)
    tokens = process.sample(6, length=30).tokens
    result = n2n.in_context_nll(process, tokens)
    sets = [process.of_set(index) for index in range(5)]
    assert torch.equal(result.nll, n2n.mixture_nll(sets, tokens))
    assert (result.exact, result.method) == (True, "mixture")
    first = sum(first_law(one).sum(1)[tokens[:, 0]] for one in sets) / 5
    assert result.log_likelihood.numpy() == pytest.approx(np.log(first) - result.nll.sum(1).numpy())
    told = n2n.told_nll(process, tokens, range(6))
    assert result.nll[:, -10:].mean().item() == pytest.approx(told[:, -10:].mean().item(), abs=0.02)
    assert result.nll[:, :5].mean() > told[:, :5].mean()


def test_a_large_pool_approaches_the_prior():
    chain = [observed(recurrent=True, alpha=1.0)]
    process = Process(Graph(nodes=chain, initial="uniform", pool=1000))
    tokens = process.sample(50, length=12).tokens
    pool, prior = (
        n2n.in_context_nll(one, tokens).nll for one in (process, Process(Graph(nodes=chain, initial="uniform")))
    )
    assert (pool - prior).abs().max() < 0.6
    assert (pool - prior).mean().abs() < 0.03


@pytest.mark.parametrize(
    ("processes", "weights", "message"),
    [
        (PROCESSES[0], None, "processes: saw a Process; a list of processes is needed"),
        ([], None, "processes: saw none"),
        ([PROCESSES[0], 3], None, "process: saw a int; a Process is needed"),
        (
            [PROCESSES[0], Process(Graph.preset("sparse"))],
            None,
            "in process 1 and 3 in process 0",
        ),
        ([Process(Graph(nodes=[observed(recurrent=True)]))], None, "mode 'context' redraws the kernels"),
        (PROCESSES, [0.5, 0.5], r"weights: saw shape \(2,\); \(3,\) is needed"),
        (PROCESSES, [0.5, 0.6, -0.1], r"weights: saw \[0.5, 0.6, -0.1\]; probabilities with a sum of 1"),
        (PROCESSES, [0.5, 0.6, 0.1], "probabilities with a sum of 1"),
        (PROCESSES, [0.5, float("nan"), 0.5], "weights: saw"),
    ],
)
def test_bad_mixtures_are_refused(processes, weights, message):
    with pytest.raises(ValueError, match=message):
        n2n.mixture_nll(processes, [[0, 1]], weights)


def test_budgets_and_pools_that_are_too_large_are_refused():
    with pytest.raises(ValueError, match=r"need \d+ bytes for one sequence, more than the budget of 100"):
        n2n.mixture_nll(PROCESSES[1:], [[0, 1]], memory_budget=100)
    huge = Graph(nodes=[observed(recurrent=True)], pool=refusals.MAX_POOL + 1)
    with pytest.raises(ValueError, match="saw a pool of 65537 kernel sets; in context, up to 65536 are supported"):
        n2n.in_context_nll(Process(huge), [[0, 1]])
