import json
import re

import numpy as np
import pytest

import n2n
from n2n.process.classic import CLASSICS, classic_tables

LN2 = np.log(2)


@pytest.mark.parametrize("name", CLASSICS)
def test_tables_equal_the_labelled_matrices(name):
    """The chain over pairs and the labelled matrices give the same probability to a word."""
    parameters = {"x": 0.15, "a": 0.6} if name == "mess3" else {}
    labelled = CLASSICS[name](**parameters)
    assert labelled.sum(axis=(0, 2)) == pytest.approx(1.0)
    transitions, emissions = classic_tables(name, **parameters)
    symbols, after = np.nonzero(labelled.sum(axis=1))
    start = 3 % len(symbols)
    belief, state = np.eye(len(symbols))[start], np.eye(labelled.shape[1])[after[start]]
    for symbol in np.random.default_rng(0).integers(len(labelled), size=12):
        belief, state = (belief @ transitions) * emissions[:, symbol], state @ labelled[symbol]
        assert belief.sum() == pytest.approx(state.sum(), abs=1e-15)


@pytest.mark.parametrize(("name", "rate"), [("golden_mean", 2 / 3), ("even", 2 / 3), ("z1r", 1 / 3), ("rrxor", 2 / 3)])
def test_entropy_rates(name, rate):
    """Rates are in units of ln 2; the first 100 tokens are dropped, so that the state is known."""
    process = n2n.Process.classic(name)
    nll = n2n.filter(process, process.sample(1000, length=400).tokens).nll.numpy()[:, 100:].mean(1)
    assert nll.mean() == pytest.approx(rate * LN2, abs=4 * nll.std() / 1000**0.5 + 1e-3)


def words(name: str) -> list[str]:
    return ["".join(map(str, row)) for row in n2n.Process.classic(name).sample(300, length=40).tokens]


def test_words_obey_the_rules_of_their_process():
    assert not any("00" in word for word in words("golden_mean"))
    assert not any(re.search("01(11)*0", word) for word in words("even"))
    for word in words("z1r"):
        assert any(
            all(word[i::3] == bit * len(word[i::3]) for i, bit in ((s, "0"), ((s + 1) % 3, "1"))) for s in range(3)
        )
    for word in words("rrxor"):
        bits = [int(bit) for bit in word]
        assert any(all(bits[i] ^ bits[i + 1] == bits[i + 2] for i in range(s, 38, 3)) for s in range(3))


@pytest.mark.parametrize(
    ("name", "parameters", "states"),
    [
        ("even", {}, [0, 0, 1]),
        ("golden_mean", {}, [1, 0]),
        ("mess3", {}, [0, 1, 2] * 3),
        ("mess3", {"x": 0.15, "a": 0.6}, [0, 1, 2] * 3),
        ("mess3", {"x": 0.0, "a": 1 / 3}, [0, 1, 2] * 3),
        ("mess3", {"x": 0.5, "a": 0.1}, [0, 1, 2] * 3),
        ("mess3", {"x": 0.1, "a": 1.0}, [0, 1, 2]),
    ],
)
def test_a_classic_process_has_its_own_states(name, parameters, states):
    process = n2n.Process.classic(name, **parameters)
    for same in (process, process.with_initial("uniform"), process.of_sequence(3)):
        assert same.own_states["Z"].tolist() == states


@pytest.mark.parametrize("name", ["golden_mean", "even", "mess3"])
def test_a_process_with_a_classic_name_and_other_tables_keeps_its_states(name):
    """The graph's name is only a title: a process with other kernels, drawn or explicit, is not the classic process."""
    classic = n2n.Process.classic(name)
    graph = classic.graph.model_copy(update={"initial": "zero"})
    random = n2n.Process(graph, 0)
    for process in (random, n2n.Process.from_kernels(graph, random.kernels), with_other_transitions(classic, graph)):
        assert process.own_states["Z"].tolist() == list(range(graph["Z"].num_states))


def with_other_transitions(classic: n2n.Process, graph: n2n.Graph) -> n2n.Process:
    """Return a process with the same symbols and other transitions."""
    transitions = 0.9 * classic.kernels["Z"] + 0.1 / len(classic.kernels["Z"])
    return n2n.Process.from_kernels(graph, {**classic.kernels, "Z": transitions})


def test_a_saved_configuration_keeps_the_states_of_mess3():
    config = n2n.TrainConfig(graph="mess3")
    saved = n2n.TrainConfig.recorded(json.loads(config.model_dump_json()))
    assert saved.process.own_states["Z"].tolist() == [0, 1, 2] * 3


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "golden"}, "unknown classic process 'golden'; did you mean 'golden_mean'"),
        ({"name": "even", "x": 1.0}, "even: saw parameters {'x': 1.0}"),
        ({"name": "mess3", "y": 1}, "mess3: saw parameters {'y': 1}; .*unexpected"),
        ({"name": "mess3", "x": 0.6, "a": 0.5}, "mess3: saw x = 0.6 and a = 0.5; x must be in .0, 0.5., a in"),
        ({"name": "even", "initial": "statonary"}, "did you mean 'stationary'"),
    ],
)
def test_bad_requests_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        n2n.Process.classic(**arguments)
