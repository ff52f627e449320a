"""Expected counts against sums over all latent paths."""

import numpy as np
import pytest
import torch
from support.random_graphs import chain_seen_through, mixing_graph, random_graph

from n2n.graph.graph import Graph
from n2n.oracle.checks import table_bytes
from n2n.oracle.learned.expected_counts import count_torch, expected_counts, history_copies
from n2n.oracle.reference import every_path, joint_states
from n2n.oracle.smoothing import smooth
from n2n.process.process import Process


def tokens_of(process: Process, count: int, length: int) -> torch.Tensor:
    return torch.from_numpy(process.sample(count, length=length).tokens.astype(np.int64))


def brute_force(process: Process, tokens: np.ndarray, power: float) -> tuple[dict[str, np.ndarray], list[float]]:
    """Counts of every path, weighed by its posterior, and the log likelihoods."""
    graph, states, x = process.graph, joint_states(process), process.graph.observed
    counts = {node.name: np.zeros(process.kernel(node.name).shape) for node in graph.nodes}
    log_likelihoods = []
    for sequence in tokens:
        paths, probability = every_path(process, sequence)
        weights = probability**power
        log_likelihoods.append(np.log(weights.sum()))
        values = {name: np.array([state[name] for state in states])[paths] for name in graph.latent_names}
        values[x.name] = np.broadcast_to(sequence, paths.shape)
        for node in graph.nodes:
            draws_first = node is x and graph.initial == "uniform" and not x.recurrent
            for t in range(0 if draws_first else 1, len(sequence)):
                own = [values[node.name][:, t - 1]] if node.sees_itself else []
                seen = [values[name][:, t - 1 if name == x.name else t] for name in node.parents]
                np.add.at(counts[node.name], (*own, *seen, values[node.name][:, t]), weights / weights.sum())
    return counts, log_likelihoods


def assert_counted(process: Process, power: float = 1.0) -> None:
    tokens = tokens_of(process, 2, 5 if process.graph.num_joint_states <= 9 else 4)
    expected, log_likelihood = brute_force(process, tokens.numpy(), power)
    result = expected_counts(process, tokens, power=power)
    assert result.log_likelihood == pytest.approx(log_likelihood, abs=1e-9)
    for name, counts in expected.items():
        assert result.counts[name] == pytest.approx(counts, abs=1e-9)


@pytest.mark.parametrize("seed", range(20))
def test_equal_the_sum_over_all_paths(seed):
    assert_counted(Process(random_graph(seed), seed))


@pytest.mark.parametrize("initial", ["uniform", "stationary"])
@pytest.mark.parametrize("seed", range(5))
def test_equal_the_sum_over_all_paths_from_other_starts(seed, initial):
    assert_counted(Process(mixing_graph(seed, initial), seed))


@pytest.mark.parametrize("seed", range(5))
def test_a_power_tempers_the_posterior(seed):
    assert_counted(Process(mixing_graph(seed, "uniform"), seed), power=0.4)


@pytest.mark.parametrize("name", ["single", "four_chains", "sparse", "slow_switch"])
def test_every_step_of_a_preset_is_counted_once(name):
    process = Process(Graph.preset(name), seed=1)
    tokens = tokens_of(process, 37, 20)
    result = expected_counts(process, tokens)
    own = smooth(process, tokens).log_likelihood.numpy()
    assert result.log_likelihood == pytest.approx(own, abs=1e-9)
    for node in process.graph.nodes:
        assert result.counts[node.name].sum() == pytest.approx(37 * 19)


def test_the_budget_cuts_the_batch_without_changing_results():
    process = Process(Graph.preset("four_chains"))
    tokens = tokens_of(process, 9, 12)
    belief = 8 * process.graph.num_joint_states * history_copies(process.graph, 12)
    small = table_bytes(process.graph, torch.float64) + 2 * belief
    whole, cut = (count_torch(process, tokens, 1.0, budget) for budget in (2**30, small))
    for name, counts in whole.counts.items():
        assert cut.counts[name] == pytest.approx(counts, abs=1e-9)
    with pytest.raises(ValueError, match="256 joint states need"):
        expected_counts(process, tokens, memory_budget=small - 3 * belief // 2)


def test_an_impossible_sequence_has_no_likelihood():
    process = chain_seen_through(np.eye(2), np.array([[0.5, 0.5, 0.0], [0.0, 0.5, 0.5]]))
    result = expected_counts(process, torch.tensor([[0, 1, 0], [0, 2, 1]]))
    assert result.log_likelihood[0] == pytest.approx(2 * np.log(0.5))
    assert not np.isfinite(result.log_likelihood[1])
