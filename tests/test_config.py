import json

import pytest

import n2n
from n2n.graph import Graph


def refusal(**values) -> str:
    with pytest.raises(ValueError, match="was refused") as caught:
        n2n.TrainConfig(**{"graph": "sparse", **values})
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"arch": "mmba"}, "unknown architecture 'mmba'; did you mean 'mamba'? (allowed: mamba, transformer)"),
        ({"graph": "sprase"}, "unknown graph 'sprase'; did you mean 'sparse'?"),
        ({"graph": 3}, "graph: saw 3; a Graph or a preset's name is needed"),
        ({"step": 100}, "unknown parameter 'step'; did you mean 'steps'?"),
        ({"steps": "abc"}, "steps: saw 'abc'"),
        ({"steps": 0}, "steps: saw 0"),
        ({"lr": -1}, "lr: saw -1"),
        ({"lr": float("inf")}, "lr: saw inf"),
        ({"seq_len": 1}, "seq_len: saw 1"),
        ({"seq_len": 9000}, "seq_len: saw 9000; the transformer reads at most 8192 tokens"),
        ({"heads": 5}, "heads: saw 5, which does not divide dim 64; allowed: [1, 2, 4, 8, 16, 32, 64]"),
        ({"warmup": 1.5}, "warmup: saw 1.5"),
        ({"device": "gpu"}, "device: saw 'gpu'"),
        ({"model_options": {"state_dim": 4}}, "unknown parameter 'state_dim'"),
        ({"model_options": {"dim": 4}}, "model_options: saw ['dim'], which have fields of their own"),
    ],
)
def test_bad_values_are_refused(values, said):
    assert said in refusal(**values)


def test_all_that_is_wrong_is_said_at_once():
    said = refusal(arch="mmba", step=100, lr=-1)
    assert all(part in said for part in ("mmba", "'step'", "lr: saw -1"))


def test_a_shell_s_strings_are_cast():
    config = n2n.TrainConfig(graph="sparse", steps=1e3, lr="1e-4", seed="3")
    assert (config.steps, config.lr, config.seed) == (1000, 1e-4, 3)


def test_json_round_trip():
    config = n2n.TrainConfig(graph=Graph.preset("dense", alpha_x=0.5), arch="mamba", model_options={"state_dim": 16})
    again = n2n.TrainConfig(**json.loads(json.dumps(config.model_dump(mode="json"))))
    assert again == config
    assert again.graph["X"].alpha == 0.5
    assert again.model.state_dim == 16


def test_differences_are_those_that_make_another_run():
    config = n2n.TrainConfig(graph="sparse")
    assert config.differences(n2n.TrainConfig(graph="sparse", steps=5, log_every=1, run_dir="x")) == {}
    assert config.differences(n2n.TrainConfig(graph="sparse", lr=0.5, dim=32)) == {"dim": (64, 32), "lr": (0.01, 0.5)}


def test_the_seed_names_the_process_unless_another_does():
    own, given = n2n.TrainConfig(graph="sparse", seed=4), n2n.TrainConfig(graph="sparse", seed=4, process_seed=0)
    assert own.process == n2n.Process(own.graph, 4)
    assert given.process == n2n.Process(own.graph, 0)
