import numpy as np
import pytest
import torch
from support.random_graphs import chain_seen_through, mixing_graph, random_graph

import n2n
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.graph.presets import PRESETS
from n2n.oracle import checks, smoothing
from n2n.oracle.filtering import Oracle
from n2n.oracle.reference import every_path, forward_backward, joint_states
from n2n.process.process import Process


def marginals(process: Process, joint: np.ndarray) -> dict[str, np.ndarray]:
    """The marginal distribution of each latent, ``(T, n)``, from distributions over joint states, ``(T, S)``."""
    states = joint_states(process)
    return {
        node.name: np.array([np.bincount([s[node.name] for s in states], row, node.num_states) for row in joint])
        for node in process.graph.latents
    }


def assert_smoothed(process: Process, tokens: np.ndarray, joints: list[np.ndarray]) -> None:
    found = n2n.smooth(process, tokens, joint=True)
    assert list(found.beliefs) == list(process.graph.latent_names)
    for i, joint in enumerate(joints):
        assert found.joint[i].reshape(joint.shape).numpy() == pytest.approx(joint, abs=1e-9)
        for name, expected in marginals(process, joint).items():
            assert found.beliefs[name][i].numpy() == pytest.approx(expected, abs=1e-9)


def by_brute_force(process: Process, sequence: np.ndarray) -> np.ndarray:
    paths, probability = every_path(process, sequence)
    weight, states = probability / probability.sum(), process.graph.num_joint_states
    return np.array([np.bincount(column, weight, minlength=states) for column in paths.T])


@pytest.mark.parametrize("seed", range(25))
def test_equals_the_sum_over_every_path(seed):
    process = Process(random_graph(seed), seed)
    tokens = process.sample(2, length=5 if process.graph.num_joint_states <= 9 else 4).tokens
    assert_smoothed(process, tokens, [by_brute_force(process, sequence) for sequence in tokens])
    for found, sequence in zip(n2n.smooth(process, tokens).log_likelihood, tokens, strict=True):
        assert found.item() == pytest.approx(np.log(every_path(process, sequence)[1].sum()), abs=1e-9)


@pytest.mark.parametrize("seed", range(25, 50))
def test_equals_the_textbook_forward_backward(seed):
    process = Process(random_graph(seed), seed)
    tokens = process.sample(3, length=60).tokens
    assert_smoothed(process, tokens, [forward_backward(process, sequence) for sequence in tokens])


@pytest.mark.parametrize("initial", ["uniform", "stationary"])
@pytest.mark.parametrize("seed", range(12))
def test_equals_its_twins_from_other_starts(seed, initial):
    process = Process(mixing_graph(seed, initial), seed)
    tokens = process.sample(4, length=12).tokens
    assert_smoothed(process, tokens, [forward_backward(process, sequence) for sequence in tokens])
    assert_smoothed(process, tokens[:, :3], [by_brute_force(process, sequence) for sequence in tokens[:, :3]])
    log_likelihood = [np.log(every_path(process, sequence)[1].sum()) for sequence in tokens[:, :3]]
    assert n2n.smooth(process, tokens[:, :3]).log_likelihood.numpy() == pytest.approx(log_likelihood, abs=1e-9)


@pytest.mark.parametrize("name", ["single", "four_chains", "slow_switch"])
def test_equals_the_textbook_on_presets(name):
    process = Process(Graph.preset(name), seed=1)
    tokens = process.sample(2, length=20).tokens
    assert_smoothed(process, tokens, [forward_backward(process, sequence) for sequence in tokens])


@pytest.mark.parametrize("name", PRESETS)
def test_beliefs_are_laws_and_the_last_is_the_filters(name):
    process = Process(Graph.preset(name), seed=2)
    tokens = process.sample(5, length=30).tokens
    found, filtered = n2n.smooth(process, tokens), n2n.filter(process, tokens, beliefs=True)
    assert found.log_likelihood.numpy() == pytest.approx(filtered.log_likelihood.numpy(), abs=1e-9)
    assert found.joint is None
    assert set(found.beliefs) == set(filtered.beliefs)
    for node in process.graph.latents:
        belief = found.beliefs[node.name]
        assert belief.shape == (5, 30, node.num_states)
        assert belief.min() >= 0
        assert belief.sum(-1).numpy() == pytest.approx(1.0, abs=1e-12)
        assert belief[:, -1].numpy() == pytest.approx(filtered.beliefs[node.name][:, -1].numpy(), abs=1e-12)


@pytest.mark.parametrize("seed", range(25))
def test_a_message_goes_back_the_way_that_a_belief_came(seed):
    """The mean of a message under the moved belief equals the mean of the moved-back message under the belief."""
    process = Process(random_graph(seed), seed)
    oracle = Oracle.of(process, torch.device("cpu"), torch.float64)
    generator = torch.Generator().manual_seed(seed)
    shape = (process.graph.num_joint_states, 6)
    belief, message = (torch.rand(shape, generator=generator, dtype=torch.float64) for _ in range(2))
    previous = torch.randint(process.graph.vocab_size, (6,), generator=generator)
    there = (oracle.move(belief, previous) * message).sum(0)
    assert there.numpy() == pytest.approx((belief * oracle.move_back(message, previous)).sum(0).numpy(), rel=1e-12)


def test_smoothed_beliefs_know_the_latents_better():
    """Future tokens are informative: the mean log belief in the true state rises by more than four standard errors."""
    process = Process(Graph.preset("two_chains", alpha_z=0.3, alpha_x=0.3))
    sample = process.sample(200, length=50)
    smoothed, filtered = n2n.smooth(process, sample.tokens), n2n.filter(process, sample.tokens, beliefs=True)
    for name, states in sample.latents.items():
        at = torch.from_numpy(states[..., None].astype(int))
        gain = smoothed.beliefs[name].gather(-1, at).log() - filtered.beliefs[name].gather(-1, at).log()
        by_sequence = gain.mean((1, 2))
        assert by_sequence.mean() > 4 * by_sequence.std() / np.sqrt(len(by_sequence))


def test_long_sequences_neither_underflow_nor_drift():
    process = Process(mixing_graph(2, "uniform"), 2)
    tokens = process.sample(2, length=2000).tokens
    assert n2n.smooth(process, tokens).log_likelihood.max() < -745  # its exponential underflows to 0 in float64
    assert_smoothed(process, tokens, [forward_backward(process, sequence) for sequence in tokens])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_state_ruled_out_may_explain_the_future_better(dtype):
    """States never change and the start is 0, so Z is 0, although 1 would make the tokens 2**3000 times as likely."""
    process = chain_seen_through(np.eye(2), np.array([[0.5, 0.5], [1.0, 0.0]]))
    found = n2n.smooth(process, np.zeros((1, 3000), int), dtype=dtype)
    assert torch.equal(found.beliefs["Z"], torch.tensor([1.0, 0.0], dtype=dtype).expand(1, 3000, 2))
    assert found.log_likelihood.item() == pytest.approx(2999 * np.log(0.5), rel=1e-6)


@pytest.mark.parametrize("initial", ["zero", "stationary"])
def test_an_impossible_sequence_is_undefined_and_alone(initial):
    golden_mean = np.array([[0.5, 0.5], [1.0, 0.0]]), np.array([[0.0, 1.0], [1.0, 0.0]])
    process = chain_seen_through(*golden_mean, initial=initial)
    tokens = np.array([[0, 1, 0, 0, 1], [0, 1, 1, 0, 1], [0, 1, 1, 0, 0]])  # it never emits 0 twice
    found, alone = n2n.smooth(process, tokens, joint=True), n2n.smooth(process, tokens[1:2], joint=True)
    assert found.log_likelihood[[0, 2]].tolist() == [-np.inf, -np.inf]
    assert torch.isnan(found.beliefs["Z"][[0, 2]]).all()
    assert torch.isnan(found.joint[[0, 2]]).all()
    assert torch.equal(found.joint[1], alone.joint[0])
    assert torch.equal(found.beliefs["Z"][1], alone.beliefs["Z"][0])
    assert torch.isfinite(alone.joint).all()
    assert torch.equal(found.log_likelihood[1:2], alone.log_likelihood)


def test_an_impossible_first_token():
    process = chain_seen_through(np.eye(2), np.array([[0.5, 0.5, 0.0], [0.5, 0.5, 0.0]]), initial="stationary")
    found = n2n.smooth(process, [[2, 0, 1], [0, 0, 1]])
    assert found.log_likelihood[0].item() == -np.inf
    assert torch.isnan(found.beliefs["Z"][0]).all()
    assert found.beliefs["Z"][1].numpy() == pytest.approx(0.5)


def test_a_graph_without_latents():
    chain = np.array([[0.5, 0.5], [0.1, 0.9]])
    graph = Graph(nodes=(Node(name="X", num_states=2, observed=True, recurrent=True),))
    found = n2n.smooth(Process.from_kernels(graph, {"X": chain}), [[0, 1, 1], [0, 0, 1]], joint=True)
    assert found.beliefs == {}
    assert torch.equal(found.joint, torch.ones(2, 3, dtype=torch.float64))
    assert found.log_likelihood.exp().numpy() == pytest.approx([0.45, 0.25])


def test_float32_is_near():
    process = Process(Graph.preset("sparse"))
    tokens = process.sample(4, length=100).tokens
    single, double = n2n.smooth(process, tokens, dtype=torch.float32), n2n.smooth(process, tokens)
    for name, belief in single.beliefs.items():
        assert belief.dtype == torch.float32
        assert belief.numpy() == pytest.approx(double.beliefs[name].numpy(), abs=1e-4)


def test_the_budget_cuts_the_batch_and_changes_nothing(monkeypatch):
    process = Process(Graph.preset("four_chains"))
    tokens = process.sample(7, length=40).tokens
    whole, parts, real = n2n.smooth(process, tokens, joint=True), [], smoothing._smooth_part

    def spy(oracle, part, joint):
        parts.append(len(part))
        return real(oracle, part, joint)

    monkeypatch.setattr(smoothing, "_smooth_part", spy)
    belief = 8 * process.graph.num_joint_states
    tables = least_budget(process, tokens) - (40 + smoothing.STEP_COPIES) * belief
    for rows, expected in ((1, [1] * 7), (3, [3, 3, 1]), (7, [7])):
        parts.clear()
        budget = tables + rows * (40 + smoothing.STEP_COPIES) * belief
        cut = n2n.smooth(process, tokens, joint=True, memory_budget=budget)
        assert parts == expected
        assert torch.allclose(whole.joint, cut.joint, atol=1e-12)
        assert torch.allclose(whole.log_likelihood, cut.log_likelihood, atol=1e-9)
        assert all(torch.allclose(whole.beliefs[key], cut.beliefs[key], atol=1e-12) for key in whole.beliefs)


def least_budget(process: Process, tokens: np.ndarray) -> int:
    """The number of bytes that the error message asks for if the budget holds only the largest kernel."""
    kernels = 8 * max(map(process.graph.kernel_size, process.graph.nodes))
    with pytest.raises(ValueError, match="shorter sequences") as refused:
        n2n.smooth(process, tokens, memory_budget=kernels)
    return int(str(refused.value).split(" need ")[1].split()[0])


def test_what_exceeds_the_budget_is_refused():
    process = Process(Graph.preset("dense"))
    tokens = process.sample(2, length=200).tokens
    needed = least_budget(process, tokens)
    assert needed > 200 * 1296 * 8  # one belief per token; the filter needs only a few beliefs
    checks.check_budget(process.graph, needed)
    assert n2n.smooth(process, tokens, memory_budget=needed).log_likelihood.isfinite().all()
    said = (
        rf"memory_budget: 1296 joint states need {needed} bytes for one sequence, more than the budget of {needed - 1}"
    )
    with pytest.raises(ValueError, match=said):
        n2n.smooth(process, tokens, memory_budget=needed - 1)


def test_what_the_filter_refuses_is_refused():
    process = Process(Graph.preset("single"))
    with pytest.raises(ValueError, match="saw 32 in sequence 0 at position 2"):
        n2n.smooth(process, [[0, 3, 32]])
    with pytest.raises(ValueError, match=r"dtype: saw torch\.float16"):
        n2n.smooth(process, [[0, 3]], dtype=torch.float16)
    nodes = (Node(name="Z", num_states=2, mode="context"), Node(name="X", num_states=2, parents=("Z",), observed=True))
    with pytest.raises(ValueError, match=r"mode 'context' redraws the kernels of \['Z'\]"):
        n2n.smooth(Process(Graph(nodes=nodes)), [[0, 1]])
