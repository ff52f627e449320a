"""Configuration of the notebook about learning in context: the runs that it stands for, and what it refuses."""

import ast
import re

import papermill
import pytest
from support.notebooks import NOTEBOOKS

import n2n

TWO = {"shallow": {"layers": 1}, "fast": {"arch": "mamba", "steps": 50, "lr": 0.02}}


def test_by_default_every_architecture_learns_a_chain_in_context():
    config = n2n.InContextConfig()
    assert [run.arch for run in config.runs.values()] == list(config.runs) == n2n.models.names()
    for run in config.runs.values():
        assert run.graph.observed.mode == "context"
        assert (run.steps, run.dim, run.lr, run.eval_sequences) == (320, 32, 0.005, 256)
        assert run.steps / run.checkpoint_every == config.checkpoints == 8


def test_learners_differ_in_their_own_fields_only():
    runs = n2n.InContextConfig(learners=TWO, process_seed=3).runs
    assert runs["shallow"] == n2n.InContextConfig(learners={"x": {}}, layers=1, process_seed=3).runs["x"]
    assert (runs["fast"].arch, runs["fast"].steps, runs["fast"].lr, runs["fast"].layers) == ("mamba", 50, 0.02, 2)
    assert runs["fast"].checkpoint_every == 6
    assert runs["fast"].process == runs["shallow"].process


def test_pools_limit_the_first_learner_and_end_with_its_own_run():
    config = n2n.InContextConfig(learners=TWO, pools=[2, 8])
    assert [run.graph.pool for run in config.pool_runs.values()] == [2, 8, None]
    assert {run.layers for run in config.pool_runs.values()} == {1}
    assert config.pool_runs["unlimited"] == config.runs["shallow"]
    assert list(n2n.InContextConfig(pools=[]).pool_runs) == ["unlimited"]


def test_a_graph_may_have_latents_or_be_given_by_its_fields():
    graph = n2n.Graph.chain(2, mode="context")
    assert n2n.InContextConfig(graph=graph) == n2n.InContextConfig(graph=graph.model_dump(mode="json"))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"graph": "sparse"}, "graph: saw no node in mode 'context'"),
        ({"graph": {**n2n.Graph.chain(2, mode="context").model_dump(), "pool": 3}}, "graph: saw a pool of 3"),
        ({"learners": {}}, "learners: saw {}"),
        ({"learners": {"a": {"arch": "mmba"}}}, "learners: a: arch: unknown architecture 'mmba'; did you mean 'mamba'"),
        ({"learners": {"a": {"step": 3}}}, "learners: a: unknown parameter 'step'; did you mean 'steps'"),
        ({"learners": {"a": {"graph": "x", "run_dir": "y"}}}, r"learners: a: saw \['graph', 'run_dir'\], which all"),
        ({"pools": [4, 4]}, r"pools: saw \[4, 4\]; no number may appear twice"),
        ({"pools": [2**17]}, "pools.0: saw 131072"),
        ({"sequence": 256}, "sequence: saw 256; there are 256, from 0"),
        ({"shown": 64}, "shown: saw 64; only 63 tokens precede the last one"),
        ({"scored": 2**20, "seq_len": 2048}, "scored: saw 1048576, whose mixing takes .* GiB"),
    ],
)
def test_wrong_fields_are_refused(fields, message):
    with pytest.raises(ValueError, match=message):
        n2n.InContextConfig(**fields)


def test_all_wrong_learners_are_reported():
    with pytest.raises(ValueError, match="InContextConfig") as error:
        n2n.InContextConfig(learners={"a": {"heads": 5}, "b": {"lr": -1}}, shown=70)
    for message in ("learners: a: .*heads: saw 5", "learners: b: lr: saw -1", "shown: saw 70"):
        assert re.search(message, str(error.value), re.DOTALL)


def test_the_notebook_s_parameters_are_the_configuration_s_defaults():
    parameters = papermill.inspect_notebook(NOTEBOOKS / "in_context.ipynb")
    defaults = {parameter: ast.literal_eval(fields["default"]) for parameter, fields in parameters.items()}
    assert set(defaults) == set(n2n.InContextConfig.model_fields)
    assert n2n.InContextConfig(**defaults) == n2n.InContextConfig()
