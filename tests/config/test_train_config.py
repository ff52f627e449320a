import json

import pytest
import torch

import n2n
from n2n.config.identity import CHANGEABLE
from n2n.graph.graph import Graph
from n2n.utils.strict import Refused


def refusal(**values) -> str:
    with pytest.raises(ValueError, match="was refused") as caught:
        n2n.TrainConfig(**{"graph": "sparse", **values})
    return str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"arch": "mmba"}, "unknown architecture 'mmba'; did you mean 'mamba'? (allowed: "),
        ({"graph": "sprase"}, "unknown graph 'sprase'; did you mean 'sparse'?"),
        ({"graph": 3}, "graph: saw 3; a Graph or a preset's name is needed"),
        ({"step": 100}, "unknown parameter 'step'; did you mean 'steps'?"),
        ({"steps": "abc"}, "steps: saw 'abc'"),
        ({"steps": 0}, "steps: saw 0"),
        ({"lr": -1}, "lr: saw -1"),
        ({"lr": float("inf")}, "lr: saw inf"),
        ({"seq_len": 1}, "seq_len: saw 1"),
        ({"seq_len": 9000}, "seq_len: saw 9000; the transformer reads at most 8192 tokens"),
        (
            {"heads": 5},
            "dim 64 into heads of a width that 2 divides; allowed: [1, 2, 4, 8, 16, 32]",
        ),
        ({"heads": 5, "arch": "mamba"}, "which does not divide expand * dim = 128; allowed: [1, 2, 4, 8, 16, 32,"),
        ({"heads": 5, "arch": "mingru"}, "which does not divide dim 64; allowed: [1, 2, 4, 8, 16, 32, 64]"),
        ({"arch": "hybrid"}, "pattern: saw (); architectures' names are needed"),
        ({"arch": "hybrid", "model_options": {"pattern": "mamba,x"}}, "pattern: unknown architecture 'x'"),
        ({"precision": "float16"}, "precision: saw 'float16'"),
        (
            {"schedule": "cosinus"},
            "schedule: saw 'cosinus'; it must be 'cosine', 'constant' or 'wsd'; did you mean 'cosine'",
        ),
        ({"compile": "yes"}, "compile: saw 'yes'; it must be 'auto', 'on' or 'off'"),
        ({"kernels": "triton"}, "kernels: saw 'triton'"),
        ({"model_options": {"kernels": "torch"}}, "model_options: saw ['kernels'], which have fields of their own"),
        ({"seed": 2**70}, "seed: saw 1180591620717411303424"),
        ({"seed": True}, "seed: saw True"),
        ({"model_options": {"max_length": 10**12}}, "max_length: saw 1000000000000"),
        ({"warmup": 1.5}, "warmup: saw 1.5"),
        ({"device": "gpu"}, "device: saw 'gpu'"),
        ({"model_options": {"state_dim": 4}}, "unknown parameter 'state_dim'"),
        ({"model_options": {"dim": 4}}, "model_options: saw ['dim'], which have fields of their own"),
    ],
)
def test_bad_values_are_refused(values, message):
    assert message in refusal(**values)


def test_all_errors_are_reported_at_once():
    message = refusal(arch="mmba", step=100, lr=-1)
    assert all(part in message for part in ("mmba", "'step'", "lr: saw -1"))
    between_fields = refusal(step=100, lr=-1, heads=5)
    assert all(part in between_fields for part in ("'step'", "lr: saw -1", "heads: saw 5"))


def test_strings_from_a_shell_are_converted():
    config = n2n.TrainConfig(graph="sparse", steps=1e3, lr="1e-4", seed="3")
    assert (config.steps, config.lr, config.seed) == (1000, 1e-4, 3)


def test_compile_accepts_the_booleans_that_yaml_reads_from_on_and_off():
    assert [n2n.TrainConfig(graph="sparse", compile=value).compile for value in (True, False, "on")] == [
        "on",
        "off",
        "on",
    ]


def test_a_hybrid_s_options_reach_its_layers():
    options = {"pattern": "mamba,transformer", "state_dim": 8}
    config = n2n.TrainConfig(graph="sparse", arch="hybrid", model_options=options)
    assert config.model.pattern == ("mamba", "transformer")
    assert n2n.TrainConfig(**config.model_dump(mode="json")) == config
    assert config.build_model().blocks[0].mixer.parts[1] == 8


def test_json_round_trip():
    config = n2n.TrainConfig(graph=Graph.preset("dense", alpha_x=0.5), arch="mamba", model_options={"state_dim": 16})
    again = n2n.TrainConfig(**json.loads(json.dumps(config.model_dump(mode="json"))))
    assert again == config
    assert again.graph["X"].alpha == 0.5
    assert again.model.state_dim == 16


def test_differences_contain_only_fields_that_determine_a_run():
    config = n2n.TrainConfig(graph="sparse")
    assert config.differences(n2n.TrainConfig(graph="sparse", steps=5, log_every=1, run_dir="x")) == {}
    assert config.differences(n2n.TrainConfig(graph="sparse", lr=0.5, dim=32)) == {"dim": (64, 32), "lr": (0.01, 0.5)}


def test_each_field_is_changeable_or_determines_the_run():
    """Every field determines the run, except those for its length, its intervals and its machine."""
    others = {"arch": "mamba", "dim": 32, "layers": 1, "heads": 2, "model_options": {"max_length": 99}, "seq_len": 9}
    others |= {"batch_size": 3, "lr": 0.5, "warmup": 0.2, "final_lr": 0.5, "weight_decay": 0.0, "clip": 2.0}
    others |= {"seed": 1, "process_seed": 1, "graph": "dense", "precision": "bfloat16"}
    others |= {"data": "a.npy", "sequences": 9, "schedule": "wsd", "decay": 0.5, "select": "best", "patience": 3}
    others |= {"tables": n2n.Process(n2n.Graph.preset("sparse"), seed=1).kernels}

    def recorded(**fields) -> n2n.TrainConfig:  # does not require a dataset
        return n2n.TrainConfig.recorded({"graph": "sparse", "eval_every": 5, **fields})

    config = n2n.TrainConfig(graph="sparse")
    assert set(others) == set(n2n.TrainConfig.model_fields) - CHANGEABLE
    assert set(config.differences(recorded(data="a.npy"))) == {"data"}
    from_disk = recorded(data="b.npy")
    assert from_disk.differences(recorded(data="a.npy")) == {}, "the path of a dataset"
    for name in others.keys() - {"data"}:
        assert set(from_disk.differences(recorded(**{"data": "b.npy", name: others[name]}))) == {name}
    titled = config.graph.model_copy(update={"name": "a title"})
    assert config.differences(config.model_copy(update={"graph": titled})) == {}


def test_the_two_seeds_determine_weights_and_process():
    config = n2n.TrainConfig(graph="sparse", seed=4, process_seed=9)
    assert config.process == n2n.Process(config.graph, 9)
    weights = n2n.models.build("transformer", vocab_size=32, seed=4).state_dict()
    for name, value in config.build_model().state_dict().items():
        assert torch.equal(value, weights[name])


def test_a_copy_is_validated_and_drops_derived_values():
    config = n2n.TrainConfig(graph="sparse")
    assert config.process.seed == 0
    assert config.model_copy(update={"process_seed": 5}).process.seed == 5
    with pytest.raises(ValueError, match="lr: saw -1"):
        config.model_copy(update={"lr": -1})


def test_a_path_is_converted_to_a_string(tmp_path):
    assert n2n.TrainConfig(graph="sparse", run_dir=tmp_path).run_dir == str(tmp_path)


@pytest.mark.parametrize("device", ["gpu", "GPU"])
def test_gpu_is_corrected_to_cuda(device):
    with pytest.raises(Refused) as error:
        n2n.TrainConfig("sparse", device=device)
    assert str(error.value).endswith(f"device: saw {device!r}; did you mean 'cuda'? (allowed: auto, cpu, cuda)")


def test_a_classic_process_is_given_by_name(small):
    """Its kernels are stored in the configuration's file and restored from it."""
    run = n2n.train(small(graph="mess3", steps=2))
    assert n2n.Run(run.path).config == run.config
    assert run.config.process == n2n.Process.classic("mess3")
    assert abs(run.metrics["oracle_nll"].iloc[0] - 0.8) < 0.3
    assert small(graph="mess3", tables=None).process == run.config.process
    with pytest.raises(ValueError, match=r"^n2n.TrainConfig was refused:\n  - steps: saw -1[^\n]*$"):
        small(graph="mess3", steps=-1)
    with pytest.raises(ValueError, match="unknown graph 'mes3'; did you mean 'mess3'"):
        small(graph="mes3")
    with pytest.raises(ValueError, match="tables: kernels: saw no table for"):
        small(graph="sparse", tables={"Z1": [[1.0]]})
    other = small(graph="mess3", tables=n2n.Process.classic("mess3", x=0.15, a=0.6).kernels)
    assert other.process == n2n.Process.classic("mess3", x=0.15, a=0.6)
    assert "tables" in other.differences(run.config)


def test_a_classic_process_is_made_once_for_its_graph_and_tables(monkeypatch):
    from n2n.config import fields, train_config

    names, real = [], fields.process_by_name
    for module in (fields, train_config):
        monkeypatch.setattr(module, "process_by_name", lambda name: names.append(name) or real(name))
    config = n2n.TrainConfig(graph="mess3")
    assert names == ["mess3"]
    assert config.graph == n2n.Process.classic("mess3").graph
    assert config.process.checksums == n2n.Process.classic("mess3").checksums
