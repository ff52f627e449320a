"""The in-context oracle against sums over all paths, filters that know the kernels, and published losses."""

import tracemalloc

import numpy as np
import pytest
import torch
from support.context_graphs import GRAPHS, TINY, latent, observed

import n2n
from n2n.graph.graph import Graph
from n2n.oracle.compiled import particles
from n2n.oracle.learned import filters
from n2n.oracle.reference import brute_force_in_context, first_law
from n2n.process.process import Process

STARTS = [(name, "zero") for name in GRAPHS] + [(name, "uniform") for name in [*list(GRAPHS)[::2], "the emission"]]
CHAIN = Graph(nodes=[observed(recurrent=True)], initial="uniform")


@pytest.mark.parametrize(("name", "initial"), STARTS)
def test_equals_the_sum_over_all_paths(name, initial):
    """Every conditional probability of every prefix is within five of the returned standard errors."""
    process = Process(Graph(nodes=GRAPHS[name], initial=initial), seed=2)
    tokens = process.sample(2, length=5, latents=False).tokens
    result = n2n.in_context_nll(process, tokens, hypotheses=0, particles=1024, repeats=16)
    assert not result.exact
    assert result.standard_error.max() < 0.02
    exact = np.log([[brute_force_in_context(process, row[: t + 1]) for t in range(5)] for row in tokens])
    assert (np.abs(result.nll.numpy() + np.diff(exact)) <= 5 * result.standard_error.numpy() + 1e-12).all()
    first = -np.log(first_law(process).sum(1)[tokens[:, 0]])
    error = np.abs(result.log_likelihood.numpy() + first - exact[:, -1])
    assert (error <= 5 * result.log_likelihood_standard_error.numpy() + 1e-12).all()
    assert result.nll.sum(1).numpy() == pytest.approx(-result.log_likelihood.numpy() - first, abs=1e-12)


def test_small_latent_spaces_are_exact_and_agree_with_particles():
    nodes = [latent("Z", alpha=0.3), observed("Z", num_states=2, alpha=0.3)]
    process = Process(Graph(nodes=nodes, initial="uniform"))
    tokens = process.sample(20, length=24).tokens
    exact, estimated = n2n.in_context_nll(process, tokens), n2n.in_context_nll(process, tokens, hypotheses=0)
    assert (exact.exact, exact.method, exact.effective_sample_size) == (True, "enumeration", None)
    assert (estimated.exact, estimated.method) == (False, "particles")
    assert exact.exact_sequences.all()
    assert not estimated.exact_sequences.any()
    error = ((estimated.nll - exact.nll) / estimated.standard_error)[:, 2:]  # the first ones are exact
    assert estimated.standard_error.max() < 0.1
    assert error.abs().max() < 6
    assert error.square().mean().sqrt().item() == pytest.approx(1, abs=0.3)
    assert (estimated.log_likelihood - exact.log_likelihood).abs().max() < 0.3
    assert exact.nll.sum(1).numpy() == pytest.approx(-exact.log_likelihood.numpy() - np.log(2), abs=1e-12)


def test_sequences_with_too_many_hypotheses_are_estimated():
    """The others of the batch stay exact, and an estimate is the same as without them."""
    process = Process(Graph(nodes=GRAPHS["a sticky X"], initial="uniform"))
    tokens = process.sample(8, length=12).tokens
    whole = n2n.in_context_nll(process, tokens)
    mixed = n2n.in_context_nll(process, tokens, hypotheses=8000, particles=64)
    estimated = n2n.in_context_nll(process, tokens, hypotheses=0, particles=64)
    kept = mixed.exact_sequences
    assert 0 < kept.sum() < 8
    assert (mixed.exact, mixed.method) == (False, "particles")
    for name in ("nll", "standard_error", "bias", "log_likelihood", "log_likelihood_standard_error"):
        assert torch.equal(getattr(mixed, name)[kept], getattr(whole, name)[kept])
        assert torch.equal(getattr(mixed, name)[~kept], getattr(estimated, name)[~kept])
    assert mixed.effective_sample_size[kept].isnan().all()
    assert torch.equal(mixed.effective_sample_size[~kept], estimated.effective_sample_size[~kept])


def test_a_small_budget_leaves_fewer_hypotheses():
    process = Process(TINY)
    tokens = process.sample(4, length=20).tokens
    assert n2n.in_context_nll(process, tokens, hypotheses=1000).exact
    assert not n2n.in_context_nll(process, tokens, hypotheses=1000, particles=16, memory_budget=15_000).exact


@pytest.mark.parametrize("options", [{}, {"hypotheses": 0, "particles": 64}])
def test_an_impossible_token(options):
    graph = Graph(nodes=[latent("Z"), observed("Z", mode="default")], initial="uniform")
    process = Process.from_kernels(graph, {"X": [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]})
    tokens = [[0, 1, 2, 0, 1], [0, 1, 0, 1, 0], [2, 0, 1, 0, 1]]
    result = n2n.in_context_nll(process, tokens, **options)
    inf, nan = np.inf, np.nan
    np.testing.assert_array_equal(result.nll[[0, 2], 1:] > 0, [[True, False, False], [False] * 3])
    np.testing.assert_array_equal(result.nll[0, 1:].numpy(), [inf, nan, nan])
    np.testing.assert_array_equal(result.nll[2].numpy(), [inf, nan, nan, nan])
    assert torch.isfinite(result.nll[1]).all()
    assert result.log_likelihood[[0, 2]].tolist() == [-inf, -inf]


def test_standard_errors_equal_the_spread_of_repetitions():
    """The standard errors of many runs match the spread over the runs, for a token and for the whole sequence."""
    process, sequence = Process(TINY), np.array([0, 1, 1, 0, 1, 0, 0, 1, 1])
    result = n2n.in_context_nll(process, np.tile(sequence, (400, 1)), hypotheses=0, particles=64, repeats=8)
    for values, errors in (
        (result.nll[:, -1], result.standard_error[:, -1]),
        (result.log_likelihood, result.log_likelihood_standard_error),
    ):
        assert errors.square().mean().sqrt().item() == pytest.approx(values.std().item(), rel=0.15)


def test_the_bias_is_the_mean_error():
    """The losses of few particles are wrong on average, by position, by as much as the mean of the estimated biases."""
    process, sequence = Process(TINY), np.array([0, 1, 1, 0, 1, 0, 0, 1, 1])
    exact = -np.diff(np.log([brute_force_in_context(process, sequence[: t + 1]) for t in range(9)]))
    result = n2n.in_context_nll(process, np.tile(sequence, (20_000, 1)), hypotheses=0, particles=1, repeats=4)
    error, left = result.nll.numpy() - exact, (result.nll - result.bias).numpy() - exact
    chance = left.std(0) / 20_000**0.5
    assert error.mean(0)[4] > 10 * chance[4], "chance does not hide the mean error"
    assert error.sum(1).mean() > 0.015
    assert (np.abs(left.mean(0)) <= 4 * chance + 1e-12).all()
    assert abs(left.sum(1).mean()) < 0.003


def test_the_loss_lies_between_known_kernels_and_a_uniform_guess():
    process = Process(Graph(nodes=[latent("Z", alpha=0.3, stickiness=0.3), observed("Z", num_states=4, alpha=0.3)]))
    tokens = process.sample(40, length=40).tokens
    learned = n2n.in_context_nll(process, tokens, particles=256)
    assert learned.log_likelihood_standard_error.max() < 0.5
    known = torch.cat([n2n.filter(process.of_sequence(i), tokens[i : i + 1]).nll for i in range(40)])
    cost = (learned.nll - known).mean(1)
    assert cost.mean() > 4 * cost.std() / 40**0.5
    saved = np.log(4) - learned.nll.mean(1)
    assert saved.mean() > 4 * saved.std() / 40**0.5


@pytest.mark.parametrize(
    "nodes",
    [
        [latent("Z", mode="slow"), observed("Z", mode="default")],
        [latent("Z", mode="slow"), latent("One", num_states=1), observed("Z", "One", mode="default")],
    ],
)
def test_equals_the_filter_if_no_kernel_is_unknown(nodes):
    process = Process(Graph(nodes=nodes, initial="uniform"))
    tokens = process.sample(3, length=10).tokens
    result, expected = n2n.in_context_nll(process, tokens), n2n.filter(process.of_sequence(0), tokens)
    assert torch.allclose(result.nll, expected.nll, atol=1e-12)
    assert torch.allclose(result.log_likelihood, expected.log_likelihood, atol=1e-12)
    assert result.exact
    assert not result.standard_error.any()
    assert not result.bias.any()


@pytest.mark.parametrize("name", ["two latents and an edge", "a sticky X"])
@pytest.mark.parametrize("run", ["run_compiled", "run_torch"])
def test_a_sequence_s_loss_depends_on_neither_the_cut_nor_the_batch(name, run, monkeypatch):
    process = Process(Graph(nodes=GRAPHS[name], initial="uniform"))
    tokens = process.sample(5, length=8).tokens
    monkeypatch.setattr(filters, "run_compiled", getattr(filters, run))
    whole = n2n.in_context_nll(process, tokens, hypotheses=0, particles=32, repeats=3)
    monkeypatch.setattr(filters, "filters_at_once", lambda *_: 4)
    monkeypatch.setattr(particles, "_PART", 8 * 4 * 32 * process.graph.num_joint_states)
    cut = n2n.in_context_nll(process, tokens[:3, :6], hypotheses=0, particles=32, repeats=3)
    assert torch.allclose(whole.nll[:3, :5], cut.nll, atol=1e-12)
    assert torch.allclose(whole.standard_error[:3, :5], cut.standard_error, atol=1e-12)
    other = n2n.in_context_nll(process, tokens, hypotheses=0, particles=32, repeats=3, seed=1)
    assert not torch.allclose(whole.nll, other.nll, atol=1e-6)


@pytest.mark.parametrize("run", ["run_compiled", "run_torch"])
def test_the_cut_of_the_batch_changes_no_count(run, monkeypatch):
    process = Process(CHAIN)
    tokens = process.sample(5, length=8).tokens
    monkeypatch.setattr(filters, "run_compiled", getattr(filters, run))
    whole = n2n.in_context_nll(process, tokens)
    monkeypatch.setattr(particles, "_PART", 1)
    monkeypatch.setattr(filters, "filters_at_once", lambda *_: 2)
    assert torch.equal(whole.nll, n2n.in_context_nll(process, tokens).nll)


def test_an_impossible_token_is_infinite_and_undefined_after():
    graph = Graph(nodes=[latent("Z"), observed("Z", mode="default")])
    process = Process.from_kernels(graph, {"X": [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]})
    result = n2n.in_context_nll(process, [[0, 1, 2, 0, 1], [0, 1, 0, 1, 0]], hypotheses=0, particles=64)
    assert result.nll[0, 1].item() == np.inf
    assert result.nll[0, 2:].isnan().all()
    assert result.standard_error[0, 1:].isnan().all()
    assert result.log_likelihood[0].item() == -np.inf
    assert torch.isfinite(result.nll[1]).all()
    assert torch.isfinite(result.standard_error[1]).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"particles": 0}, "particles: saw 0; a whole number from 1 to 1048576 is needed"),
        ({"particles": 10.0}, "particles: saw 10.0; a whole number"),
        ({"repeats": 1}, "repeats: saw 1; a whole number from 2 to 4096 is needed"),
        ({"repeats": True}, "repeats: saw True"),
        ({"seed": -1}, "seed: saw -1; a whole number from 0 to 9223372036854775807 is needed"),
        ({"memory_budget": 50_000}, r"1024 particles over 2 joint states need \d+ bytes for one sequence, more than"),
    ],
)
def test_bad_numbers_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        n2n.in_context_nll(Process(TINY), [[0, 1]], hypotheses=0, **arguments)


def test_bad_tokens_are_refused():
    with pytest.raises(ValueError, match="saw 2 in sequence 0 at position 1; the vocabulary is 0 to 1"):
        n2n.in_context_nll(Process(TINY), [[0, 2]])
    with pytest.raises(ValueError, match="sequence 0 begins with 1"):
        n2n.in_context_nll(Process(TINY), [[1, 0]])


def test_the_filter_refuses_kernels_that_are_redrawn():
    with pytest.raises(ValueError, match=r"redraws the kernels of \['Z', 'X'\].*in_context_nll.*process.of_sequence"):
        n2n.filter(Process(TINY), [[0, 1]])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("name", GRAPHS)
def test_the_gpu_agrees(name):
    process = Process(Graph(nodes=GRAPHS[name], initial="uniform"))
    tokens = process.sample(4, length=10).tokens.astype(int)
    options = {"hypotheses": 0, "particles": 64}
    cpu, gpu = (n2n.in_context_nll(process, torch.from_numpy(tokens).to(on), **options) for on in ("cpu", "cuda"))
    assert torch.allclose(cpu.nll, gpu.nll.cpu(), atol=1e-9)
    assert torch.allclose(cpu.standard_error, gpu.standard_error.cpu(), atol=1e-9)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize(
    ("graph", "options", "method"),
    [
        (CHAIN, {}, "counts"),
        (TINY, {}, "enumeration"),
        (TINY, {"hypotheses": 30, "particles": 16}, "particles"),
        (TINY.model_copy(update={"pool": 3}), {}, "mixture"),
        (Graph(nodes=[latent("Z"), observed("Z", recurrent=True, kernel="product")]), {"particles": 64}, "importance"),
    ],
)
def test_the_gpu_agrees_by_every_method(graph, options, method):
    process = Process(graph)
    tokens = process.sample(4, length=8).tokens.astype(int)
    cpu, gpu = (n2n.in_context_nll(process, torch.from_numpy(tokens).to(on), **options) for on in ("cpu", "cuda"))
    assert cpu.method == gpu.method == method
    assert torch.allclose(cpu.nll, gpu.nll.cpu(), atol=1e-9)
    assert gpu.mean_loss.mean == pytest.approx(cpu.mean_loss.mean)
    assert torch.equal(cpu.exact_sequences, gpu.exact_sequences.cpu())


def test_65536_joint_states_fit_the_default_budget():
    """Eight latents of four states, the largest graph that is to be supported; 1,024 particles of it are in budget."""
    nodes = [latent(f"Z{i}", *([f"Z{i - 1}"] if i else []), num_states=4, alpha=0.3) for i in range(8)]
    graph = Graph(nodes=[*nodes, observed("Z3", "Z7", num_states=16, alpha=0.3)], initial="uniform")
    process = Process(graph)
    tokens = process.sample(2, length=5, latents=False).tokens
    assert filters.bytes_of_filter(graph, 1024, torch.zeros(2, 256)) < 2**27
    n2n.in_context_nll(process, tokens[:, :2], particles=2, repeats=2)  # compiles
    tracemalloc.start()
    result = n2n.in_context_nll(process, tokens, particles=64, repeats=4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**28
    assert result.method == "particles"
    assert (tokens[:, 1] != tokens[:, 0]).all()
    same = 1 / 16  # probability that X's row for x_1 is the one that x_0 was drawn from
    expected = (1 - same) / 16 + same * 0.3 / (1 + 16 * 0.3)
    assert result.nll[:, 0].numpy() == pytest.approx(-np.log(expected))
    assert result.log_likelihood_standard_error.max() < 0.2
