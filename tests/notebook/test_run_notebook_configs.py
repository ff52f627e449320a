"""Configurations of notebooks refuse values that a later cell would refuse."""

import ast

import papermill
import pytest
from support.notebooks import NOTEBOOKS

import n2n
from n2n.launch import SweepConfig
from n2n.utils.strict import Refused

SWEEP = {"notebook": "train.ipynb", "name": "s", "grid": {"seed": [0, 1]}}
CONTEXT = n2n.Graph.chain(2, mode="context")
LARGE = n2n.Graph.chain(14, mode="context")
NO_LATENT = n2n.Graph([n2n.Node("X", 3, observed=True, recurrent=True)])


@pytest.mark.parametrize(
    ("cls", "fields", "message"),
    [
        (n2n.EvaluateConfig, {"runs": ["example:mamba", "example:mess3"]}, "example:mess3 has another process than"),
        (n2n.EvaluateConfig, {"orders": [1, 65]}, "orders: saw 65; sequences have only 64 tokens"),
        (n2n.EvaluateConfig, {"sequences": 2**40}, "sequences: saw 1099511627776; it must be less"),
        (n2n.EvaluateConfig, {"step": 7}, "step: saw 7; the checkpoints of example:transformer are 20"),
        (n2n.EvaluateConfig, {"runs": ["nowhere"]}, "saw 'nowhere': no run in"),
        (n2n.ProbeConfig, {"last": 64}, "last: saw 64; only 63 tokens precede the last one"),
        (n2n.ProbeConfig, {"simplex": "example:nothing"}, "unknown example 'nothing'"),
        (n2n.AttentionConfig, {"query": 63}, "query: saw 63; there are 63, from 0 to 62"),
        (n2n.AttentionConfig, {"sequences": 2**20, "layer": 3}, "layer: saw 3; there are 2, from 1 to 2"),
        (n2n.DifficultyConfig, {"graph": CONTEXT}, "graph: process: mode 'context' redraws"),
        (n2n.DifficultyConfig, {"graphs": ["sparse", CONTEXT]}, "mode 'context' redraws"),
        (n2n.DifficultyConfig, {"graph": NO_LATENT}, "graph: saw no latent node"),
        (n2n.DifficultyConfig, {"target": 3.5}, r"target: saw 3.5 nats per token for two_chains, which 32 symbols"),
        (n2n.ReportConfig, {"sweep": "nowhere"}, "no sweep 'nowhere'"),
        (n2n.ReportConfig, {"export": __file__}, "export: saw .* a file"),
        (n2n.ReportConfig, {"by": ["architecture"]}, "unknown field of a run 'architecture'"),
        (n2n.DatasetConfig, {"graph": "sparse", "seq_len": 2**40}, "seq_len: saw 1099511627776"),
        (n2n.TrainConfig, {"graph": "sparse", "data": "nowhere.npy"}, "data: no dataset at"),
        (n2n.TrainConfig, {"graph": LARGE}, "graph: .* joint states need .* bytes"),
        (n2n.benchmark.Settings, {"dim": 12}, "dim: saw 12; it must be a multiple of 8"),
        (n2n.benchmark.Settings, {"length": 2**40}, "length: saw 1099511627776"),
        (SweepConfig, {**SWEEP, "notebook": "trian.ipynb"}, "notebook: no file .*trian.ipynb"),
        (SweepConfig, {**SWEEP, "grid": {"seed": [0, -1]}}, "1 of 2 points are wrong"),
        (SweepConfig, {**SWEEP, "grid": {"sed": [0, 1]}}, "unknown parameter 'sed'; did you mean 'seed'"),
        (SweepConfig, {**SWEEP, "fixed": {"data": "nowhere.npy"}}, "no dataset at"),
        (SweepConfig, {**SWEEP, "fixed": {"graph": LARGE.model_dump(mode="json")}}, "joint states need .* bytes"),
        (SweepConfig, {**SWEEP, "name": "../x"}, "name: saw '../x'"),
        (SweepConfig, {**SWEEP, "cluster": "slrum"}, "cluster: unknown cluster 'slrum'; did you mean 'slurm'"),
    ],
)
def test_wrong_fields_are_refused(cls, fields, message):
    with pytest.raises(Refused, match=message):
        cls(**fields)


def test_conflicts_between_fields_are_reported_together():
    with pytest.raises(Refused) as error:
        SweepConfig(**{**SWEEP, "name": "../x", "cluster": "x", "grid": {"seed": [-1]}})
    assert len(error.value.wrong) == 3
    with pytest.raises(Refused) as error:
        n2n.TrainConfig("sparse", batch_size=7, processes=2, sequences=3, keep_every=2, heads=5, eval_sequences=2**40)
    message = str(error.value)
    for field in ("batch_size", "sequences", "keep_every", "heads", "eval_sequences"):
        assert f"{field}: saw" in message
    with pytest.raises(Refused) as error:
        n2n.TrainConfig("sparse", lr=-1, batch_size=7, processes=2, data="nowhere.npy", seq_len=2**13 + 2)
    assert len(error.value.wrong) == 4


def test_a_run_without_latents_is_refused_where_beliefs_are_needed(small):
    run = n2n.train(small(graph=NO_LATENT)).path
    for cls in (n2n.ProbeConfig, n2n.DynamicsConfig, n2n.WelcomeConfig, n2n.EvaluateConfig):
        with pytest.raises(Refused, match="has no latents"):
            cls([run] if cls is n2n.EvaluateConfig else run)
    with pytest.raises(Refused, match=r"simplex: saw .*, whose latents have \{\} states; one of 3 is needed"):
        n2n.ProbeConfig(simplex=run)


def test_attention_config_refuses_indices_that_the_run_does_not_have(small):
    run = n2n.train(small())
    config = n2n.AttentionConfig(run=run.path, sequences=4, sequence=3, query=10, layer=1, head=1)
    result = n2n.mixing.measure_mixing(run.config.process, run.model(config.step), config.sequences, run.config.seq_len)
    assert result.mixing.shape == (4, 1, 2, 11, 11)
    with pytest.raises(ValueError, match="sequence: saw 4; there are 4, from 0 to 3") as error:
        n2n.AttentionConfig(run=run.path, sequences=4, sequence=4, query=11, layer=2, head=2)
    assert [f"{name}: saw" in str(error.value) for name in ("query", "layer", "head")] == [True] * 3
    with pytest.raises(ValueError, match="layer: saw 0"):
        n2n.AttentionConfig(run=run.path, sequences=4, layer=0)
    with pytest.raises(ValueError, match="query: saw 63; there are 63, from 0 to 62"):
        n2n.AttentionConfig(query=63)  # an example, not trained yet
    with pytest.raises(ValueError, match="step: saw 3"):
        n2n.AttentionConfig(run=run.path, step=3)
    with pytest.raises(ValueError, match="least_influence"):
        n2n.AttentionConfig(least_influence=-1)
    with pytest.raises(ValueError, match="did you mean 'layer'"):
        n2n.AttentionConfig(layers=1)


@pytest.mark.parametrize(("name", "config"), [("report", n2n.ReportConfig), ("difficulty", n2n.DifficultyConfig)])
def test_the_notebook_s_parameters_are_the_configuration_s_defaults(name, config):
    parameters = papermill.inspect_notebook(NOTEBOOKS / f"{name}.ipynb")
    defaults = {parameter: ast.literal_eval(fields["default"]) for parameter, fields in parameters.items()}
    assert set(defaults) == set(config.model_fields)
    assert config(**defaults) == config()


def test_a_report_needs_a_sweep_with_runs_and_known_fields(tmp_path):
    for name, message in (("nowhere", "no sweep"), (str(tmp_path), "holds no runs"), ("example:swep", "did you mean")):
        with pytest.raises(ValueError, match=message):
            n2n.ReportConfig(sweep=name)
    with pytest.raises(ValueError, match="unknown field of a run 'ach'; did you mean 'arch'"):
        n2n.ReportConfig(by=["ach"])


def test_analyses_that_need_fixed_kernels_refuse_a_run_in_context(small, tmp_path):
    run = str(n2n.train(small(graph=CONTEXT, steps=1, run_dir=str(tmp_path / "run"))).path)
    for cls in (n2n.ProbeConfig, n2n.AttentionConfig, n2n.DynamicsConfig, n2n.WelcomeConfig):
        with pytest.raises(
            Refused, match=r"redraws the kernels of \['Z1', 'Z2'\].*evaluate.ipynb, n2n.evaluate"
        ) as error:
            cls(run=run)
        assert len(error.value.wrong) == 1
    assert n2n.EvaluateConfig(runs=[run]).cut_by == "Z1"
