"""Smoothed beliefs against sums over all paths and the forward-backward algorithm."""

import numpy as np
import pytest
import torch
from support.exact_beliefs import joint_beliefs, marginals, min_budget
from support.random_graphs import chain_seen_through, mixing_graph, random_graph

import n2n
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.graph.presets import PRESETS
from n2n.oracle import checks, smoothing
from n2n.oracle.forward import Oracle
from n2n.oracle.reference import every_path, forward_backward
from n2n.process.process import Process


def assert_smoothed(process: Process, tokens: np.ndarray, joints: list[np.ndarray]) -> None:
    result = n2n.smooth(process, tokens, joint=True)
    assert list(result.beliefs) == list(process.graph.latent_names)
    for i, joint in enumerate(joints):
        assert result.joint[i].reshape(joint.shape).numpy() == pytest.approx(joint, abs=1e-9)
        for name, expected in marginals(process, joint).items():
            assert result.beliefs[name][i].numpy() == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("seed", range(25))
def test_equals_the_sum_over_all_paths(seed):
    process = Process(random_graph(seed), seed)
    tokens = process.sample(2, length=5 if process.graph.num_joint_states <= 9 else 4).tokens
    assert_smoothed(process, tokens, [joint_beliefs(process, sequence) for sequence in tokens])
    for log_likelihood, sequence in zip(n2n.smooth(process, tokens).log_likelihood, tokens, strict=True):
        assert log_likelihood.item() == pytest.approx(np.log(every_path(process, sequence)[1].sum()), abs=1e-9)


@pytest.mark.parametrize("seed", range(25, 50))
def test_equals_the_textbook_forward_backward(seed):
    process = Process(random_graph(seed), seed)
    tokens = process.sample(3, length=60).tokens
    assert_smoothed(process, tokens, [forward_backward(process, sequence) for sequence in tokens])


@pytest.mark.parametrize("initial", ["uniform", "stationary"])
@pytest.mark.parametrize("seed", range(12))
def test_equals_the_references_from_other_starts(seed, initial):
    process = Process(mixing_graph(seed, initial), seed)
    tokens = process.sample(4, length=12).tokens
    assert_smoothed(process, tokens, [forward_backward(process, sequence) for sequence in tokens])
    assert_smoothed(process, tokens[:, :3], [joint_beliefs(process, sequence) for sequence in tokens[:, :3]])
    log_likelihood = [np.log(every_path(process, sequence)[1].sum()) for sequence in tokens[:, :3]]
    assert n2n.smooth(process, tokens[:, :3]).log_likelihood.numpy() == pytest.approx(log_likelihood, abs=1e-9)


@pytest.mark.parametrize("name", ["single", "four_chains", "slow_switch"])
def test_equals_the_textbook_on_presets(name):
    process = Process(Graph.preset(name), seed=1)
    tokens = process.sample(2, length=20).tokens
    assert_smoothed(process, tokens, [forward_backward(process, sequence) for sequence in tokens])


@pytest.mark.parametrize("name", PRESETS)
def test_beliefs_are_distributions_and_the_last_is_that_of_the_filter(name):
    process = Process(Graph.preset(name), seed=2)
    tokens = process.sample(5, length=30).tokens
    result, filtered = n2n.smooth(process, tokens), n2n.filter(process, tokens, beliefs=True)
    assert result.log_likelihood.numpy() == pytest.approx(filtered.log_likelihood.numpy(), abs=1e-9)
    assert result.joint is None
    assert set(result.beliefs) == set(filtered.beliefs)
    for node in process.graph.latents:
        belief = result.beliefs[node.name]
        assert belief.shape == (5, 30, node.num_states)
        assert belief.min() >= 0
        assert belief.sum(-1).numpy() == pytest.approx(1.0, abs=1e-12)
        assert belief[:, -1].numpy() == pytest.approx(filtered.beliefs[node.name][:, -1].numpy(), abs=1e-12)


@pytest.mark.parametrize("seed", range(25))
def test_moving_back_is_the_adjoint_of_moving(seed):
    """The mean of a message under the moved belief equals the mean of the moved-back message under the belief."""
    process = Process(random_graph(seed), seed)
    oracle = Oracle.of(process, torch.device("cpu"), torch.float64)
    generator = torch.Generator().manual_seed(seed)
    shape = (process.graph.num_joint_states, 6)
    belief, message = (torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    previous = torch.randint(process.graph.vocab_size, (6,), generator=generator)
    forward = (oracle.move(belief, previous) * message).sum(0)
    assert forward.numpy() == pytest.approx((belief * oracle.move_back(message, previous)).sum(0).numpy(), rel=1e-12)


def test_smoothed_beliefs_are_closer_to_the_true_states():
    """Future tokens are informative: the mean log belief in the true state rises by more than four standard errors."""
    process = Process(Graph.preset("two_chains", alpha_z=0.3, alpha_x=0.3))
    sample = process.sample(200, length=50)
    smoothed, filtered = n2n.smooth(process, sample.tokens), n2n.filter(process, sample.tokens, beliefs=True)
    for name, states in sample.latents.items():
        index = torch.from_numpy(states[..., None].astype(int))
        gain = smoothed.beliefs[name].gather(-1, index).log() - filtered.beliefs[name].gather(-1, index).log()
        by_sequence = gain.mean((1, 2))
        assert by_sequence.mean() > 4 * by_sequence.std() / np.sqrt(len(by_sequence))


def test_long_sequences_neither_underflow_nor_drift():
    process = Process(mixing_graph(2, "uniform"), 2)
    tokens = process.sample(2, length=2000).tokens
    assert n2n.smooth(process, tokens).log_likelihood.max() < -745  # its exponential underflows to 0 in float64
    assert_smoothed(process, tokens, [forward_backward(process, sequence) for sequence in tokens])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_state_of_probability_zero_keeps_it_even_if_it_explains_the_future_better(dtype):
    """States never change and the start is 0, so Z is 0, although 1 would make the tokens 2**3000 times as likely."""
    process = chain_seen_through(np.eye(2), np.array([[0.5, 0.5], [1.0, 0.0]]))
    result = n2n.smooth(process, np.zeros((1, 3000), int), dtype=dtype)
    assert torch.equal(result.beliefs["Z"], torch.tensor([1.0, 0.0], dtype=dtype).expand(1, 3000, 2))
    assert result.log_likelihood.item() == pytest.approx(2999 * np.log(0.5), rel=1e-6)


@pytest.mark.parametrize("initial", ["zero", "stationary"])
def test_an_impossible_sequence_is_undefined_and_does_not_affect_the_others(initial):
    golden_mean = np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 0.0]])
    process = chain_seen_through(*golden_mean, initial=initial)
    tokens = np.array([[0, 1, 0, 0, 1], [0, 1, 1, 0, 1], [0, 1, 1, 0, 0]])  # the process never emits 0 twice in a row
    result, single = n2n.smooth(process, tokens, joint=True), n2n.smooth(process, tokens[1:2], joint=True)
    assert result.log_likelihood[[0, 2]].tolist() == [-np.inf, -np.inf]
    assert torch.isnan(result.beliefs["Z"][[0, 2]]).all()
    assert torch.isnan(result.joint[[0, 2]]).all()
    assert torch.equal(result.joint[1], single.joint[0])
    assert torch.equal(result.beliefs["Z"][1], single.beliefs["Z"][0])
    assert torch.isfinite(single.joint).all()
    assert torch.equal(result.log_likelihood[1:2], single.log_likelihood)


def test_an_impossible_first_token():
    process = chain_seen_through(np.eye(2), np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]]), initial="stationary")
    result = n2n.smooth(process, [[2, 0, 1], [0, 0, 1]])
    assert result.log_likelihood[0].item() == -np.inf
    assert torch.isnan(result.beliefs["Z"][0]).all()
    assert result.beliefs["Z"][1].numpy() == pytest.approx(0.5)


def test_a_graph_without_latents():
    chain = np.array([[0.5, 0.5], [0.1, 0.9]])
    graph = Graph(nodes=(Node(name="X", num_states=2, observed=True, recurrent=True),))
    result = n2n.smooth(Process.from_kernels(graph, {"X": chain}), [[0, 1, 1], [0, 0, 1]], joint=True)
    assert result.beliefs == {}
    assert torch.equal(result.joint, torch.ones(2, 3, dtype=torch.float64))
    assert result.log_likelihood.exp().numpy() == pytest.approx([0.45, 0.25])


def test_float32_is_close_to_float64():
    process = Process(Graph.preset("sparse"))
    tokens = process.sample(4, length=100).tokens
    single, double = n2n.smooth(process, tokens, dtype=torch.float32), n2n.smooth(process, tokens)
    for name, belief in single.beliefs.items():
        assert belief.dtype == torch.float32
        assert belief.numpy() == pytest.approx(double.beliefs[name].numpy(), abs=1e-4)


def test_the_budget_cuts_the_batch_in_torch_without_changing_results(monkeypatch):
    process = Process(Graph.preset("four_chains"))
    tokens = process.sample(7, length=40).tokens
    copies, sizes, real = 40 + smoothing.STEP_COPIES, [], smoothing._smooth_part
    arguments = (process, torch.from_numpy(tokens.astype(int)), True, torch.float64)
    whole = smoothing.smooth_torch(*arguments, checks.MEMORY_BUDGET, copies)

    def spy(oracle, part, joint):
        sizes.append(len(part))
        return real(oracle, part, joint)

    monkeypatch.setattr(smoothing, "_smooth_part", spy)
    belief = 8 * process.graph.num_joint_states
    tables = min_budget(n2n.smooth, process, tokens) - copies * belief
    for rows, expected in ((1, [1] * 7), (3, [3, 3, 1]), (7, [7])):
        sizes.clear()
        cut = smoothing.smooth_torch(*arguments, tables + rows * copies * belief, copies)
        assert sizes == expected
        assert torch.allclose(whole.joint, cut.joint, atol=1e-12)
        assert torch.allclose(whole.log_likelihood, cut.log_likelihood, atol=1e-9)
        assert all(torch.allclose(whole.beliefs[key], cut.beliefs[key], atol=1e-12) for key in whole.beliefs)


def test_sequences_that_exceed_the_budget_are_refused():
    process = Process(Graph.preset("dense"))
    tokens = process.sample(2, length=200).tokens
    needed = min_budget(n2n.smooth, process, tokens)
    assert needed > 200 * 1296 * 8  # one belief per token; the filter needs only a few beliefs
    checks.check_budget(process.graph, needed)
    assert n2n.smooth(process, tokens, memory_budget=needed).log_likelihood.isfinite().all()
    message = (
        rf"memory_budget: 1296 joint states need {needed} bytes for one sequence, more than the budget of {needed - 1}"
    )
    with pytest.raises(ValueError, match=message):
        n2n.smooth(process, tokens, memory_budget=needed - 1)


def test_arguments_that_the_filter_refuses_are_refused():
    process = Process(Graph.preset("single"))
    with pytest.raises(ValueError, match="saw 32 in sequence 0 at position 2"):
        n2n.smooth(process, [[0, 3, 32]])
    with pytest.raises(ValueError, match=r"dtype: saw torch\.float16"):
        n2n.smooth(process, [[0, 3]], dtype=torch.float16)
    nodes = (Node(name="Z", num_states=2, mode="context"), Node(name="X", num_states=2, parents=("Z",), observed=True))
    with pytest.raises(ValueError, match=r"mode 'context' redraws the kernels of \['Z'\]"):
        n2n.smooth(Process(Graph(nodes=nodes)), [[0, 1]])
