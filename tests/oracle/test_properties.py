"""Properties of all small graphs: all modes, kernels and starts, feedback and recurrence."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings, strategies as st
from support.exact_beliefs import joint_beliefs, marginals

import n2n
from n2n.graph.graph import Graph
from n2n.graph.node import Node
from n2n.oracle.checks import MEMORY_BUDGET
from n2n.oracle.decoding import decode_torch
from n2n.oracle.filtering import filter_torch, nll_of
from n2n.oracle.mean_field import mean_field_torch
from n2n.oracle.reference import every_path, first_law, forward_nll, joint_states
from n2n.oracle.smoothing import smooth_torch
from n2n.process import sampler
from n2n.process.process import Process
from n2n.process.sampler import draw
from n2n.process.sampler_reference import draw_numpy
from n2n.process.splits import SPLITS
from n2n.utils.philox import derive_key

LENGTH = 4

properties = settings(
    deadline=None, max_examples=150, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow]
)


@st.composite
def nodes(draw_from, name: str, may_see: list[str], modes: tuple[str, ...], **fields) -> Node:
    recurs = fields.get("recurrent", True)
    return Node(
        name=name,
        num_states=draw_from(st.integers(1, 3)),
        parents=draw_from(st.permutations(may_see).flatmap(lambda p: st.integers(0, len(p)).map(lambda k: p[:k]))),
        mode=draw_from(st.sampled_from(modes if recurs else [mode for mode in modes if mode != "slow"])),
        kernel=draw_from(st.sampled_from(["full", "product"])),
        alpha=draw_from(st.sampled_from([0.2, 1.0, 5.0])),
        stickiness=draw_from(st.sampled_from([0.0, 0.0, 0.7])) if recurs else 0.0,
        **fields,
    )


@st.composite
def graphs(draw_from, modes: tuple[str, ...] = ("default", "slow", "dead")) -> Graph:
    """Graphs of X and up to two latents with up to three states each, in any order."""
    names = ["A", "B"][: draw_from(st.integers(0, 2))]
    latents = [draw_from(nodes(name, [*names[:i], "X"], modes)) for i, name in enumerate(names)]
    recurrent = draw_from(st.booleans()) or not names
    x = draw_from(nodes("X", names, modes, observed=True, recurrent=recurrent))
    if not (x.parents or x.recurrent):
        x = x.model_copy(update={"parents": names[:1]})
    redrawn = any(node.mode == "context" for node in [*latents, x])
    starts = ["zero", "uniform"] if redrawn else ["zero", "uniform", "stationary"]
    shuffled = draw_from(st.permutations([*latents, x]))
    return Graph(nodes=shuffled, initial=draw_from(st.sampled_from(starts)))


def paths(process: Process, sequence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All paths of joint states, ``(paths, T)``, and P(path, x_1 .. x_{T-1} | x_0) for each path."""
    states, probability = every_path(process, sequence)
    return states, probability / first_law(process)[sequence[0]].sum()


@properties
@given(graph=graphs(), seed=st.integers(0, 99))
def test_the_filter_equals_the_references(graph, seed):
    process = Process(graph, seed)
    tokens = process.sample(2, length=LENGTH).tokens
    result = n2n.filter(process, tokens, predictive=True, beliefs=True, joint=True)
    assert result.nll.numpy() == pytest.approx(forward_nll(process, tokens), abs=1e-9)
    for i, sequence in enumerate(tokens):
        total = paths(process, sequence)[1].sum()
        assert -result.nll[i].sum().item() == pytest.approx(np.log(total), abs=1e-9)
        for t in range(LENGTH):  # beliefs do not depend on later tokens, so only paths of the prefix are summed
            for name, laws in marginals(process, joint_beliefs(process, sequence[: t + 1])).items():
                assert result.beliefs[name][i, t].numpy() == pytest.approx(laws[-1], abs=1e-9)
    sizes = [node.num_states for node in process.graph.latents]
    assert result.joint.shape == (2, LENGTH, *sizes)
    for k, node in enumerate(process.graph.latents):
        others = [2 + j for j in range(len(sizes)) if j != k]
        marginal = result.joint.sum(others) if others else result.joint
        assert torch.allclose(marginal, result.beliefs[node.name], atol=1e-12)


@properties
@given(graph=graphs(), seed=st.integers(0, 99))
def test_predictive_distributions_contain_the_nll(graph, seed):
    process = Process(graph, seed)
    tokens = process.sample(3, length=10).tokens.astype(int)
    result = n2n.filter(process, tokens, predictive=True)
    assert result.predictive.sum(-1).numpy() == pytest.approx(1.0, abs=1e-12)
    of_token = np.take_along_axis(result.predictive.numpy(), tokens[:, 1:, None], -1)[..., 0]
    assert -np.log(of_token) == pytest.approx(result.nll.numpy(), abs=1e-9)


@properties
@given(graph=graphs(), seed=st.integers(0, 99))
def test_likelihoods_sum_to_one(graph, seed):
    process = Process(graph, seed)
    symbols = range(process.graph.vocab_size)
    firsts = [0] if process.graph.initial == "zero" else symbols
    words = np.array([[first, *rest] for first in firsts for rest in itertools.product(symbols, repeat=2)])
    log_likelihood = n2n.filter(process, words).log_likelihood
    assert torch.nan_to_num(log_likelihood, nan=-torch.inf).exp().sum().item() == pytest.approx(1.0, abs=1e-9)


@properties
@given(graph=graphs(), seed=st.integers(0, 99))
def test_smoothing_equals_the_sum_over_all_paths(graph, seed):
    process = Process(graph, seed)
    tokens = process.sample(2, length=LENGTH).tokens
    result = n2n.smooth(process, tokens)
    for i, sequence in enumerate(tokens):
        for name, laws in marginals(process, joint_beliefs(process, sequence)).items():
            assert result.beliefs[name][i].numpy() == pytest.approx(laws, abs=1e-9)


@properties
@given(graph=graphs(), seed=st.integers(0, 99))
def test_the_decoded_path_is_the_most_probable(graph, seed):
    process = Process(graph, seed)
    tokens = process.sample(2, length=LENGTH).tokens
    result = n2n.decode(process, tokens)
    states = joint_states(process)
    for i, sequence in enumerate(tokens):
        every, weights = paths(process, sequence)
        decoded = [{name: int(values[i, t]) for name, values in result.latents.items()} for t in range(LENGTH)]
        path = [states.index(state) for state in decoded]
        assert weights[(every == path).all(axis=1)] == pytest.approx(weights.max(), rel=1e-9)


@properties
@given(graph=graphs(), seed=st.integers(0, 99), split=st.sampled_from(SPLITS), start=st.integers(0, 2**40))
def test_the_sampler_equals_its_reference(graph, seed, split, start):
    process = Process(graph, seed)
    arguments = (process.program, derive_key("sequences", seed, split), start, 70, 8, True)
    for threads in (1, 3):
        for fast, slow in zip(draw(*arguments, threads=threads), draw_numpy(*arguments), strict=True):
            assert np.array_equal(fast, slow)


@properties
@given(
    graph=graphs(modes=("default", "slow", "dead", "context")),
    seed=st.integers(0, 99),
    start=st.integers(0, 150),
    count=st.integers(1, 150),
)
def test_a_sequence_does_not_depend_on_start_and_count(graph, seed, start, count):
    process = Process(graph, seed)
    whole, part = process.sample(300, length=6), process.sample(count, length=6, start=start)
    assert np.array_equal(part.tokens, whole.tokens[start : start + count])
    assert all(np.array_equal(part.latents[name], whole.latents[name][start : start + count]) for name in part.latents)
    single = process.of_sequence(start).sample(1, length=6, start=start)
    assert np.array_equal(single.tokens[0], whole.tokens[start])


@properties
@given(graph=graphs(modes=("default", "context")), seed=st.integers(0, 99))
def test_the_number_of_threads_does_not_change_samples(graph, seed):
    process = Process(graph, seed)
    keys = process._context_keys("train")
    arguments = (process.program, derive_key("sequences", seed, "train"), 0, 200, 5, True)
    one, many = (sampler.draw(*arguments, context_keys=keys, threads=threads) for threads in (1, 5))
    assert all(np.array_equal(a, b) for a, b in zip(one, many, strict=True))


@properties
@given(graph=graphs())
def test_graphs_are_the_same_after_yaml_and_networkx(graph, tmp_path_factory):
    path = tmp_path_factory.mktemp("graphs") / "graph.yaml"
    graph.to_yaml(path)
    assert Graph.from_yaml(path) == graph
    assert Graph.from_networkx(graph.networkx()) == graph


@properties
@given(graph=graphs(), seed=st.integers(0, 99))
def test_the_twins_in_torch_agree(graph, seed):
    """The compiled functions, which the tests above compare with sums over paths, and those of other devices."""
    process = Process(graph, seed)
    tokens = torch.from_numpy(process.sample(5, length=2 * LENGTH).tokens.astype(np.int64))
    arguments, exactly = (torch.float64, MEMORY_BUDGET), {"rtol": 0, "atol": 1e-12}
    result = n2n.filter(process, tokens, predictive=True, beliefs=True, joint=True)
    twin = filter_torch(process, tokens, None, *arguments, predictive=True, beliefs=True, joint=True)
    torch.testing.assert_close(result.nll, nll_of(twin.evidence[:, 1:]), **exactly)
    torch.testing.assert_close(result.predictive, twin.predictive, **exactly)
    torch.testing.assert_close(result.joint, twin.joint, **exactly)
    smoothed, twin = n2n.smooth(process, tokens), smooth_torch(process, tokens, False, *arguments, 2 * LENGTH + 5)
    torch.testing.assert_close(smoothed.beliefs, twin.beliefs, **exactly)
    _, beliefs = mean_field_torch(process, tokens, *arguments)
    torch.testing.assert_close(n2n.mean_field(process, tokens).beliefs, beliefs, **exactly)
    decoded, twin = n2n.decode(process, tokens), decode_torch(process, tokens, MEMORY_BUDGET)
    torch.testing.assert_close(decoded.log_probability, twin.log_probability, **exactly)
