"""Configurations and functions accept any value or raise one short ValueError."""

import importlib
import inspect
import os
import sys
import time

import numpy as np
import pytest
import torch
from support import hostile_values

import n2n
from n2n import launch
from n2n.benchmark import Settings
from n2n.data import sidecar
from n2n.experiments import Design, Level, Size
from n2n.graph import families
from n2n.models.generation import Sampling
from n2n.models.mixer import Hybrid
from n2n.utils.strict import MAX_SENTENCE, MAX_SENTENCES, Refused, Strict

Z = {"name": "Z", "num_states": 2}
X = {"name": "X", "num_states": 2, "parents": ["Z"], "observed": True}
GRAPH = {"nodes": [Z, X]}
EVEN = n2n.Process.classic("even")
PLAN = sidecar.plan(EVEN, "train", 4, 6)
VALID = [
    (n2n.Node, Z),
    (n2n.Graph, GRAPH),
    (n2n.TrainConfig, {"graph": GRAPH}),
    (n2n.DatasetConfig, {"graph": "sparse"}),
    (n2n.ExploreConfig, {"graph": "sparse"}),
    (n2n.DifficultyConfig, {}),
    (n2n.EvaluateConfig, {}),
    (n2n.ProbeConfig, {}),
    (n2n.DynamicsConfig, {}),
    (n2n.WelcomeConfig, {}),
    (n2n.AttentionConfig, {}),
    (n2n.ReportConfig, {}),
    (n2n.InContextConfig, {}),
    (launch.SweepConfig, {"notebook": "train.ipynb", "name": "s", "grid": {"seed": [0, 1]}}),
    (launch.Resources, {}),
    (Sampling, {}),
    (Settings, {}),
    (sidecar.Plan, PLAN),
    (sidecar.Sidecar, {**PLAN, "sha256": "0" * 64}),
    (Hybrid, {"vocab_size": 3, "pattern": ("mamba",)}),
    (Size, {}),
    (Level, {"name": "a", "graph": GRAPH}),
    (Design, {"name": "d", "factor": "f", "levels": [Level("a", GRAPH), Level("b", "sparse")], "targets": [0.5]}),
    (families.Independent, {"chains": 2}),
    (families.Chain, {"length": 2}),
    (families.Tree, {"depth": 2, "branching": 2}),
    (families.Dag, {"nodes": 2, "probability": 0.5, "seed": 0}),
    *(
        (importlib.import_module(f"n2n.models.architectures.{arch}").Config, {"vocab_size": 3})
        for arch in n2n.models.names()
    ),
]
MAX_MESSAGE = 4000  # characters of an error message with one or two faults


def error_message(call, arguments: dict) -> str | None:
    """The message of a ``ValueError``, None if there is none; other errors and subclasses are raised."""
    try:
        call(**arguments)
    except ValueError as error:
        if type(error) not in (ValueError, Refused):
            raise
        return str(error)
    return None


def with_subclasses(cls: type[Strict]) -> set[type[Strict]]:
    return {cls, *(each for subclass in cls.__subclasses__() for each in with_subclasses(subclass))}


def test_every_configuration_of_n2n_is_tested():
    tested = {base for cls, _ in VALID for base in cls.__mro__}
    ours = {cls for cls in with_subclasses(Strict) - tested if cls.__module__.startswith("n2n.")}
    assert {cls.__name__ for cls in ours if cls.__module__ in sys.modules} == set()  # other tests define architectures


@pytest.mark.parametrize(("cls", "valid"), VALID, ids=lambda part: getattr(part, "__qualname__", ""))
def test_a_configuration_accepts_or_refuses_each_value(cls, valid, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    cls(**valid)
    for field in cls.model_fields:
        for value in hostile_values.ALL:
            message = error_message(cls, {**valid, field: value})
            assert message is None or 0 < len(message) < MAX_MESSAGE, (field, message)
            if message is None:  # conflicts between fields are checked separately if another field is wrong
                message = error_message(cls, {**valid, field: value, "nonsense": 1})
                assert "unknown parameter 'nonsense'" in message
                assert len(message) < MAX_MESSAGE
    assert os.listdir(tmp_path) == [], "making a configuration has no side effect"


TOKENS = EVEN.sample(3, length=6).tokens.astype(int)
CALLS = [
    (n2n.Process, {"graph": EVEN.graph, "seed": 0}),
    (n2n.Process.from_kernels, {"graph": EVEN.graph, "kernels": dict(EVEN.kernels), "seed": 0}),
    (n2n.Process.classic, {"name": "mess3", "initial": "zero", "seed": 0, "x": 0.1, "a": 0.6}),
    (EVEN.sample, {"count": 2, "length": 4, "split": "train", "start": 0, "do": {"Z": (1, 0)}}),
    (EVEN.kernel, {"name": "Z"}),
    (EVEN.of_sequence, {"index": 0, "split": "train"}),
    (EVEN.with_initial, {"initial": "zero"}),
    (n2n.filter, {"process": EVEN, "tokens": TOKENS}),
    (n2n.smooth, {"process": EVEN, "tokens": TOKENS}),
    (n2n.decode, {"process": EVEN, "tokens": TOKENS}),
    (n2n.entropy, {"process": EVEN, "length": 6, "precision": 0.05}),
    (n2n.entropy_rate, {"process": EVEN, "length": 6, "precision": 0.05}),
    (n2n.edge_information, {"process": EVEN, "length": 6}),
    (n2n.markov_entropy, {"process": EVEN, "context_length": 1}),
    (n2n.markov_nll, {"process": EVEN, "tokens": TOKENS, "context_length": 1}),
    (n2n.fit_ngram, {"tokens": TOKENS, "vocab_size": 2, "order": 2}),
    (n2n.compression_nats, {"tokens": TOKENS, "vocab_size": 2}),
    (n2n.Graph.preset, {"name": "sparse", "alpha_z": 0.1, "alpha_x": 0.1}),
    (n2n.Graph.independent, {"chains": 2, "num_states": 2, "vocab_size": 2}),
    (n2n.Graph.random_dag, {"nodes": 2, "probability": 0.5, "seed": 0}),
    (n2n.Graph.from_networkx, {"digraph": EVEN.graph.networkx()}),
    (n2n.models.build, {"arch": "mamba", "vocab_size": 2, "seed": 0, "dim": 8, "layers": 1, "heads": 2}),
    (n2n.models.configure, {"arch": "mamba", "vocab_size": 2}),
    (n2n.train, {"config": None}),
    (n2n.explore, {"source": None}),
    (n2n.viz.draw_graph, {"graph": EVEN.graph}),
    (n2n.viz.learning_curve, {"runs": None}),
    (n2n.viz.excess_by_position, {"run": None}),
]
LARGE = (2**40,)  # valid for some functions, which would compute for long; limits of configurations are tested above


@pytest.mark.parametrize(("call", "valid"), CALLS, ids=lambda part: getattr(part, "__qualname__", ""))
def test_a_function_accepts_or_refuses_each_value(call, valid, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    for argument in valid:
        for value in (value for value in hostile_values.ALL if not (isinstance(value, int) and value in LARGE)):
            message = error_message(call, {**valid, argument: value})
            assert message is None or 0 < len(message) < MAX_MESSAGE, (argument, message)


def test_sizes_beyond_any_machine_are_refused_at_once():
    """The error names the field; without the check, torch or numpy would fail later."""
    wrong = {
        "dim": [2**40, 2**63],
        "layers": [2**13, 2**63],
        "batch_size": [2**40],
        "seq_len": [2**40, 2**63],
        "steps": [2**62 - 1, 10**400],
        "eval_sequences": [2**40, 2**63],
        "processes": [2**40],
    }
    for field, values in wrong.items():
        for value in values:
            with pytest.raises(Refused, match=rf"{field}: saw") as error:
                n2n.TrainConfig("sparse", **{field: value})
            assert len(error.value.wrong) == 1, (field, value, str(error.value))
    for options in ({"mlp_ratio": 1e9}, {"state_dim": 2**40}, {"expand": 2**40}, {"max_length": 2**40}):
        with pytest.raises(Refused, match=next(iter(options))):
            n2n.TrainConfig("sparse", "transformer" if "mlp_ratio" in options else "mamba", model_options=options)


def test_the_lower_bound_of_memory_holds_for_real_models():
    from n2n.config.limits import min_bytes, min_parameters

    for arch in n2n.models.names():
        config = n2n.TrainConfig("sparse", arch, dim=32, layers=3)
        parameters = config.build_model().num_parameters
        assert 0 < min_parameters(dict(config)) <= parameters
        online, weights, batch, held_out = min_bytes(dict(config), parameters).values()
        assert online == 0, "all sequences are new"
        assert weights == 16 * parameters
        logits = config.batch_size * config.seq_len * config.graph.vocab_size * torch.float32.itemsize
        assert logits <= batch
        tokens = config.eval_sequences * config.seq_len * np.dtype(np.int64).itemsize
        assert tokens <= held_out


def test_weights_beyond_this_machine_s_memory_are_refused_before_allocation(small, tmp_path):
    config = small(dim=2**16, heads=2, layers=2, model_options={"mlp_ratio": 1000}, run_dir=tmp_path / "run")
    with pytest.raises(Refused, match=r"dim: saw 65536 with 2 layers, which needs .* or more; this machine has"):
        n2n.train(config)
    assert not (tmp_path / "run").exists()


def test_a_run_beyond_this_machine_s_memory_leaves_no_folder(small, tmp_path, monkeypatch):
    monkeypatch.setattr("psutil.virtual_memory", lambda: type("", (), {"total": 2**20}))
    monkeypatch.setattr("psutil.swap_memory", lambda: type("", (), {"total": 0}))
    with pytest.raises(Refused, match=r"eval_sequences: saw 5000 of seq_len 12, which needs .*; this machine"):
        n2n.train(small(eval_sequences=5000, run_dir=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"graph": "sparse", "process_seed": 2**62}, "process_seed: saw 4611686018427387904; it must be less"),
        ({"graph": GRAPH, "steps": -1}, "steps: saw -1; it must be greater than 0"),
        ({"graph": "sparse", "layers": 2**63}, "layers: saw 9223372036854775808"),
        ({"graph": "sparse", "dim": 2**63}, "dim: saw 9223372036854775808"),
        ({"graph": "sparse", "steps": 10**400}, "steps: saw <an integer of 1,329 bits>"),
        ({"graph": "sparse", "eval_sequences": 2**63}, "eval_sequences: saw 9223372036854775808"),
        ({"graph": "sparse", "device": "gpu"}, "device: saw 'gpu'; did you mean 'cuda'? (allowed: auto, cpu, cuda)"),
        ({"graph": "sparse", "data": "nowhere.npy"}, "data: no dataset at"),
        (
            {"graph": n2n.Graph.chain(14, mode="context")},
            "more than the budget of 1073741824; raise it, or use fewer or",
        ),
    ],
)
def test_one_fault_has_one_sentence(fields, message):
    with pytest.raises(Refused) as error:
        n2n.TrainConfig(**fields)
    ((_, sentence),) = error.value.wrong
    assert message in sentence
    assert len(str(error.value)) < 400


def test_all_seeds_have_the_same_limit():
    largest = 2**62 - 1
    graph = n2n.Graph.preset("two_chains")
    makers = [
        lambda seed: n2n.TrainConfig("sparse", seed=seed).build_model(),
        lambda seed: n2n.TrainConfig("sparse", process_seed=seed).process.sample(1, length=2),
        lambda seed: n2n.DatasetConfig("sparse", process_seed=seed),
        lambda seed: n2n.Process(graph, seed).sample(1, length=2),
        lambda seed: n2n.Graph.random_dag(3, 0.5, seed),
        lambda seed: n2n.models.build("mingru", vocab_size=2, dim=8, layers=1, heads=2, seed=seed),
        lambda seed: Sampling(seed=seed).uniforms(1, 1),
    ]
    for make in makers:
        make(largest)
        with pytest.raises(ValueError, match="seed: saw 4611686018427387904"):
            make(largest + 1)


def test_a_configuration_is_fast_to_make():
    """No kernels are drawn and no model is built."""
    start = time.process_time()
    for _ in range(20):
        n2n.TrainConfig("sparse", dim=1024, layers=64, heads=8, steps=10**9, eval_sequences=10**6)
    assert "process" not in vars(n2n.TrainConfig("sparse")), "no kernels are drawn"
    assert time.process_time() - start < 20, "torch would need hours for these weights"


def test_messages_of_many_faults_are_bounded():
    with pytest.raises(Refused) as error:
        n2n.TrainConfig("sparse", **{f"name_{i}": i for i in range(5000)})
    lines = str(error.value).splitlines()
    assert len(lines) == MAX_SENTENCES + 2
    assert lines[-1] == "  - and 4,980 more"
    assert all(len(line) <= MAX_SENTENCE for line in lines)


def test_positional_fields_are_first_in_the_signature():
    for cls in with_subclasses(Strict) - {Strict}:
        parameters = inspect.signature(cls).parameters
        assert list(parameters)[: len(cls.positional)] == list(cls.positional)
        assert set(parameters) == set(cls.model_fields)
