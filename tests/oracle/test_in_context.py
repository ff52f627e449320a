import itertools

import numpy as np
import pytest
import torch

import n2n
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.oracle import in_context
from n2n.oracle.kernel_counts import places
from n2n.oracle.particle_filter import Cloud
from n2n.oracle.reference import brute_force_in_context, first_law
from n2n.process.process import Process


def latent(name: str, *parents: str, **fields) -> Node:
    return Node(**{"name": name, "num_states": 2, "parents": parents, "mode": "context", **fields})


def shown(*parents: str, **fields) -> Node:
    return Node(**{"name": "X", "num_states": 3, "parents": parents, "observed": True, "mode": "context", **fields})


GRAPHS = {
    "a latent": [latent("Z", alpha=0.5), shown("Z", mode="default")],
    "the emission": [latent("Z", mode="default"), shown("Z", alpha=0.5)],
    "two latents and an edge": [latent("A"), latent("B", "A", num_states=3), shown("B", "A", alpha=0.2)],
    "feedback": [latent("A", mode="default"), latent("B", "X", "A", alpha=0.2), shown("B", num_states=2)],
    "a recurrent X": [latent("Z", alpha=0.3), shown("Z", recurrent=True, num_states=2)],
    "a fixed product": [
        latent("A", alpha=0.4),
        latent("B", "X", "A", mode="default", kernel="product", num_states=3),
        shown("A", "B", mode="default", kernel="product", recurrent=True),
    ],
    "a product of one": [latent("Z", kernel="product", alpha=0.3), shown("Z", kernel="product")],
    "a sticky latent": [latent("Z", stickiness=0.6, alpha=0.3), shown("Z", alpha=0.5)],
    "a sticky child": [latent("A"), latent("B", "A", "X", stickiness=0.4), shown("A", "B", num_states=2, alpha=0.2)],
    "a sticky X alone": [shown(recurrent=True, stickiness=0.5, num_states=2, alpha=0.4)],
    "a sticky X": [latent("Z"), shown("Z", recurrent=True, stickiness=0.5, num_states=2)],
}
STARTS = [(name, "zero") for name in GRAPHS] + [(name, "uniform") for name in [*list(GRAPHS)[::2], "the emission"]]
TINY = Graph(nodes=[latent("Z", alpha=0.2), shown("Z", alpha=0.2, num_states=2)])
CHAIN = Graph(nodes=[shown(recurrent=True)], initial="uniform")


@pytest.mark.parametrize(("name", "initial"), STARTS)
def test_equals_the_sum_over_every_path(name, initial):
    """Every conditional probability of every prefix is within five of the returned standard errors."""
    process = Process(Graph(nodes=GRAPHS[name], initial=initial), seed=2)
    tokens = process.sample(2, length=5, latents=False).tokens
    found = n2n.in_context_nll(process, tokens, particles=1024, repeats=16)
    assert not found.exact
    assert found.standard_error.max() < 0.02
    exact = np.log([[brute_force_in_context(process, row[: t + 1]) for t in range(5)] for row in tokens])
    assert (np.abs(found.nll.numpy() + np.diff(exact)) <= 5 * found.standard_error.numpy() + 1e-12).all()
    first = -np.log(first_law(process).sum(1)[tokens[:, 0]])
    error = np.abs(found.log_likelihood.numpy() + first - exact[:, -1])
    assert (error <= 5 * found.log_likelihood_standard_error.numpy() + 1e-12).all()
    assert found.nll.sum(1).numpy() == pytest.approx(-found.log_likelihood.numpy() - first, abs=1e-12)


@pytest.mark.parametrize("name", ["two latents and an edge", "a sticky latent", "a sticky X alone"])
def test_the_twin_is_the_mean_over_redrawn_kernels(name):
    """P(tokens) is the mean probability under oracles that know the kernels, over many draws of the kernels."""
    process = Process(Graph(nodes=GRAPHS[name]))
    tokens = process.sample(1, length=4, latents=False, start=5).tokens
    told = torch.stack([n2n.filter(process.of_sequence(i), tokens).log_likelihood.exp() for i in range(400)])
    assert brute_force_in_context(process, tokens[0]) == pytest.approx(
        told.mean().item(), abs=4 * told.std().item() / 20
    )


@pytest.mark.parametrize("name", ["feedback", "a sticky child"])
def test_the_twin_sums_to_one(name):
    process = Process(Graph(nodes=GRAPHS[name]))
    every = [np.array([0, *rest]) for rest in itertools.product(range(2), repeat=3)]
    assert sum(brute_force_in_context(process, sequence) for sequence in every) == pytest.approx(1.0, abs=1e-12)


def test_the_likelihood_is_unbiased():
    """Filters with few particles, many of which resample, have the exact likelihood as their mean."""
    nodes = [latent("Z", num_states=3, alpha=0.02), shown("Z", alpha=0.02)]
    process, sequence = Process(Graph(nodes=nodes)), np.array([0, 1, 2, 0, 1, 2, 2])
    found = n2n.in_context_nll(process, np.tile(sequence, (4000, 1)), particles=8, repeats=2)
    assert (found.effective_sample_size[:, 2:4] < 4).double().mean() > 0.3
    ratio = found.log_likelihood.exp().numpy() / brute_force_in_context(process, sequence)
    error = ratio.std() / np.sqrt(len(ratio))
    assert error < 0.01
    assert ratio.mean() == pytest.approx(1.0, abs=4 * error)


def test_resampling_copies_in_proportion_to_weights():
    """Resampling copies particles with all their values, in proportion to their weights on average over offsets.

    A filter with a large effective sample size stays unchanged.
    """
    laid_out = places(Process(TINY), torch.device("cpu"))
    poor, rich = torch.tensor([[0.7, 0.05, 0.2, 0.05], [0.4, 0.2, 0.3, 0.1]], dtype=torch.float64)
    copies, offsets = torch.zeros(4), (torch.arange(1000) + 0.5) / 1000
    for offset in offsets:
        cloud = Cloud(TINY, laid_out, 2, 4, None)
        cloud.weights = torch.stack([poor, rich])
        cloud.states, law = torch.arange(8), torch.arange(8.0)[:, None]
        held = [table for counts in cloud.counts.values() for table in (counts.cells, counts.totals)]
        for table in held:
            table += torch.arange(8, dtype=torch.int32)[:, None]
        cloud._resample(law, 1 / cloud.weights.square().sum(1), torch.stack([offset, offset]).double())
        assert cloud.weights[0].eq(0.25).all()
        assert cloud.weights[1].equal(rich)
        assert cloud.states[4:].tolist() == [4, 5, 6, 7]
        assert all((cloud.states == values.T).all() for values in (law, *held))
        copies += cloud.states[:4].bincount(minlength=4)
    assert (copies / 1000).numpy() == pytest.approx(4 * poor.numpy(), abs=2e-3)


def test_standard_errors_are_the_spread():
    """The standard errors of many runs match the spread over the runs, for a token and for the whole sequence."""
    process, sequence = Process(TINY), np.array([0, 1, 1, 0, 1, 0, 0, 1, 1])
    found = n2n.in_context_nll(process, np.tile(sequence, (400, 1)), particles=64, repeats=8)
    for values, errors in (
        (found.nll[:, -1], found.standard_error[:, -1]),
        (found.log_likelihood, found.log_likelihood_standard_error),
    ):
        assert errors.square().mean().sqrt().item() == pytest.approx(values.std().item(), rel=0.15)


def test_more_particles_have_smaller_errors():
    process = Process(TINY)
    tokens = process.sample(20, length=20).tokens
    few, many = (n2n.in_context_nll(process, tokens, particles=particles) for particles in (16, 1024))
    ratio = (
        many.log_likelihood_standard_error.square().mean().sqrt()
        / few.log_likelihood_standard_error.square().mean().sqrt()
    )
    assert ratio.item() == pytest.approx(1 / 8, rel=0.5)
    assert 512 <= many.effective_sample_size.mean() <= 1024


@pytest.mark.parametrize(
    ("nodes", "recurrent"),
    [
        ([shown(recurrent=True, alpha=0.3)], True),
        ([latent("Z", num_states=1), shown("Z", alpha=0.3)], False),
        ([latent("Z", "X", num_states=1), shown("Z", recurrent=True, alpha=0.3)], True),
    ],
)
@pytest.mark.parametrize("initial", ["zero", "uniform"])
def test_without_a_hidden_path_it_counts(nodes, recurrent, initial):
    process = Process(Graph(nodes=nodes, initial=initial))
    tokens = process.sample(7, length=12).tokens
    found = n2n.in_context_nll(process, tokens)
    for row, sequence in zip(found.nll.numpy(), tokens.tolist(), strict=True):
        counts = np.full((3, 3), 0.3)
        if initial == "uniform" and not recurrent:
            counts[0, sequence[0]] += 1  # x_0 is the first draw from the row
        for t in range(1, 12):
            seen = counts[sequence[t - 1] if recurrent else 0]
            assert row[t - 1] == pytest.approx(-np.log(seen[sequence[t]] / seen.sum()), abs=1e-12)
            seen[sequence[t]] += 1
    first = 0.0 if initial == "zero" else np.log(3)
    assert found.log_likelihood.numpy() == pytest.approx(-first - found.nll.sum(1).numpy(), abs=1e-12)
    assert found.exact
    assert found.effective_sample_size is None
    assert not found.standard_error.any()
    assert not found.log_likelihood_standard_error.any()


@pytest.mark.parametrize(("states", "published"), [(3, 0.8866), (2, 0.5112)])
def test_the_published_loss_of_an_in_context_markov_chain(states, published):
    process = Process(Graph(nodes=[shown(recurrent=True, num_states=states)], initial="uniform"), seed=1)
    loss = n2n.in_context_nll(process, process.sample(40_000, length=100, latents=False).tokens).nll.mean(1)
    error = loss.std().item() / 200
    assert error < 0.001
    assert loss.mean().item() == pytest.approx(published, abs=0.0003 + 4 * error)


def test_learning_costs_more_than_being_told_and_less_than_knowing_nothing():
    process = Process(Graph(nodes=[latent("Z", alpha=0.3, stickiness=0.3), shown("Z", num_states=4, alpha=0.3)]))
    tokens = process.sample(40, length=40).tokens
    learned = n2n.in_context_nll(process, tokens, particles=256)
    assert learned.log_likelihood_standard_error.max() < 0.5
    told = torch.cat([n2n.filter(process.of_sequence(i), tokens[i : i + 1]).nll for i in range(40)])
    cost = (learned.nll - told).mean(1)
    assert cost.mean() > 4 * cost.std() / 40**0.5
    saved = np.log(4) - learned.nll.mean(1)
    assert saved.mean() > 4 * saved.std() / 40**0.5


@pytest.mark.parametrize(
    "nodes",
    [
        [latent("Z", mode="slow"), shown("Z", mode="default")],
        [latent("Z", mode="slow"), latent("One", num_states=1), shown("Z", "One", mode="default")],
    ],
)
def test_with_nothing_to_learn_it_is_the_filter(nodes):
    process = Process(Graph(nodes=nodes, initial="uniform"))
    tokens = process.sample(3, length=10).tokens
    found, expected = n2n.in_context_nll(process, tokens), n2n.filter(process.of_sequence(0), tokens)
    assert torch.allclose(found.nll, expected.nll, atol=1e-12)
    assert torch.allclose(found.log_likelihood, expected.log_likelihood, atol=1e-12)
    assert found.exact
    assert not found.standard_error.any()


@pytest.mark.parametrize("name", ["two latents and an edge", "a sticky X"])
def test_neither_the_cut_nor_the_rest_of_the_batch_changes_a_sequence(name, monkeypatch):
    process = Process(Graph(nodes=GRAPHS[name], initial="uniform"))
    tokens = process.sample(5, length=8).tokens
    whole = n2n.in_context_nll(process, tokens, particles=32, repeats=3)
    monkeypatch.setattr(in_context, "_filters_at_once", lambda *_: 4)
    cut = n2n.in_context_nll(process, tokens[:3, :6], particles=32, repeats=3)
    assert torch.allclose(whole.nll[:3, :5], cut.nll, atol=1e-12)
    assert torch.allclose(whole.standard_error[:3, :5], cut.standard_error, atol=1e-12)
    other = n2n.in_context_nll(process, tokens, particles=32, repeats=3, seed=1)
    assert not torch.allclose(whole.nll, other.nll, atol=1e-6)


def test_the_cut_of_the_batch_changes_no_count(monkeypatch):
    process = Process(CHAIN)
    tokens = process.sample(5, length=8).tokens
    whole = n2n.in_context_nll(process, tokens)
    monkeypatch.setattr(in_context, "_filters_at_once", lambda *_: 2)
    assert torch.equal(whole.nll, n2n.in_context_nll(process, tokens).nll)


def test_an_impossible_token_is_infinite_and_undefined_after():
    graph = Graph(nodes=[latent("Z"), shown("Z", mode="default")])
    process = Process.from_kernels(graph, {"X": [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]})
    found = n2n.in_context_nll(process, [[0, 1, 2, 0, 1], [0, 1, 0, 1, 0]], particles=64)
    assert found.nll[0, 1].item() == np.inf
    assert found.nll[0, 2:].isnan().all()
    assert found.standard_error[0, 1:].isnan().all()
    assert found.log_likelihood[0].item() == -np.inf
    assert torch.isfinite(found.nll[1]).all()
    assert torch.isfinite(found.standard_error[1]).all()


def test_an_impossible_first_token_is_infinite():
    """Z's kernel is unknown, but X never emits 2."""
    graph = Graph(nodes=[latent("Z"), shown("Z", mode="default")], initial="uniform")
    process = Process.from_kernels(graph, {"X": [[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]]})
    found = n2n.in_context_nll(process, [[2, 0, 1], [1, 0, 1]], particles=64)
    assert found.nll[0, 0].item() == np.inf
    assert found.nll[0, 1:].isnan().all()
    assert found.log_likelihood[0].item() == -np.inf
    assert torch.isfinite(found.nll[1]).all()


@pytest.mark.parametrize(("name", "initial"), [("the emission", "uniform"), ("a latent", "uniform")])
def test_the_twin_sums_to_one_over_first_tokens_too(name, initial):
    """The sum of P(x_0) P(x_1 .. x_{T-1} | x_0) over all sequences is one."""
    process = Process(Graph(nodes=GRAPHS[name], initial=initial))
    first = first_law(process).sum(1)
    every = [np.array(word) for word in itertools.product(range(3), repeat=3)]
    total = sum(first[word[0]] * brute_force_in_context(process, word) for word in every)
    assert total == pytest.approx(1.0, abs=1e-12)


def test_repeats_that_die_count_as_nothing():
    """If one of three repeats dies at the second token, the means include it, and the errors stay finite."""
    evidence = torch.tensor([[[0.5, 0.5], [0.5, 0.0], [0.2, 0.5]]], dtype=torch.float64).log()
    found = in_context._estimate(evidence, torch.ones_like(evidence), torch.zeros(1))
    likelihood = np.array([[0.5, 0.25], [0.5, 0.0], [0.2, 0.1]])
    assert found.log_likelihood.exp().item() == pytest.approx(likelihood[:, 1].mean())
    assert found.nll[0].exp().numpy() == pytest.approx([1 / 0.4, 0.4 / (0.35 / 3)])
    without = np.log([np.delete(likelihood, r, 0).mean(0) for r in range(3)])
    for values, error in (
        (without[:, 1], found.log_likelihood_standard_error[0]),
        (-without[:, 0], found.standard_error[0, 0]),
    ):
        assert error.item() == pytest.approx(np.sqrt(2 * values.var()))


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"particles": 0}, "particles: saw 0; a whole number from 1 to 1048576 is needed"),
        ({"particles": 10.0}, "particles: saw 10.0; a whole number"),
        ({"repeats": 1}, "repeats: saw 1; a whole number from 2 to 4096 is needed"),
        ({"repeats": True}, "repeats: saw True"),
        ({"seed": -1}, "seed: saw -1; a whole number from 0 to 9223372036854775807 is needed"),
        ({"memory_budget": 50_000}, r"1024 particles over 2 joint states need \d+ bytes for one sequence, more than"),
    ],
)
def test_bad_numbers_are_refused(asked, said):
    with pytest.raises(ValueError, match=said):
        n2n.in_context_nll(Process(TINY), [[0, 1]], **asked)


def test_the_budget_bounds_the_filters():
    graph, cuda = Graph(nodes=GRAPHS["two latents and an edge"]), torch.device("cuda")
    shared, each = in_context.bytes_of_tables(graph), in_context.bytes_per_filter(graph, 100)
    for budget, filters in ((shared + each, 1), (shared + 5 * each - 1, 4), (shared + 5 * each, 5)):
        assert in_context._filters_at_once(graph, 100, cuda, budget) == filters
    with pytest.raises(ValueError, match="use fewer particles"):
        in_context._filters_at_once(graph, 100, cuda, shared + each - 1)


def test_what_has_no_conjugate_law_is_refused():
    graph = Graph(nodes=[latent("Z"), shown("Z", kernel="product", recurrent=True)])
    with pytest.raises(ValueError, match="X: saw kernel 'product' over 2 variables in mode 'context'"):
        n2n.in_context_nll(Process(graph), [[0, 1]])


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
    here, there = (n2n.in_context_nll(process, torch.from_numpy(tokens).to(on), particles=64) for on in ("cpu", "cuda"))
    assert torch.allclose(here.nll, there.nll.cpu(), atol=1e-9)
    assert torch.allclose(here.standard_error, there.standard_error.cpu(), atol=1e-9)
