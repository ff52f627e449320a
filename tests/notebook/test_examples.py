"""Runs that notebooks open: names are checked first, and examples are trained once."""

import pytest

import n2n
from n2n.notebook import examples
from n2n.notebook.examples import EXAMPLES, CheckpointConfig


@pytest.fixture
def tiny(monkeypatch):
    """Cut the examples so that each trains in a second."""
    for name, fields in EXAMPLES.items():
        cut = {"steps": 4, "checkpoint_every": 2, "dim": 16, "layers": 1, "heads": 2, "seq_len": 12, "batch_size": 4}
        monkeypatch.setitem(EXAMPLES, name, {**fields, **cut, "eval_sequences": 4})
    monkeypatch.setattr(examples, "_POINT", {**examples._POINT, "steps": 2, "seq_len": 8, "batch_size": 2})
    monkeypatch.setattr(examples, "_GRID", {"arch": ("mingru",), "dim": (8, 16)})


def test_a_run_is_opened_by_its_path_or_its_name(run):
    assert examples.open_run(str(run.path)) == run
    assert examples.open_run(run.path.name) == run, "its name is relative to the folder of runs"
    assert CheckpointConfig(run=run.path, step=8).step == 8


def test_an_example_is_trained_once(tiny):
    first = examples.open_run("example:mess3")
    written = (first.path / "metrics.jsonl").stat().st_mtime_ns
    again = examples.open_run("example:mess3")
    assert again.path == first.path
    assert (again.path / "metrics.jsonl").stat().st_mtime_ns == written
    assert first.status["state"] == "done"
    assert first.config.process.kernel("Z").shape == (9, 9)
    assert first.path.is_relative_to(n2n.runs.root() / "examples")


def test_other_code_trains_an_example_again(tiny, monkeypatch):
    first = examples.open_run("example:transformer")
    monkeypatch.setattr(examples, "_code_hash", lambda: "the hash of other code")
    assert examples.open_run("example:transformer").path != first.path


def test_another_configuration_trains_an_example_again(tiny, monkeypatch):
    first = examples.open_run("example:transformer")
    monkeypatch.setitem(EXAMPLES, "transformer", {**EXAMPLES["transformer"], "steps": 6})
    assert examples.open_run("example:transformer").path != first.path


def test_the_example_sweep_is_a_folder_of_runs(tiny, capsys):
    folder = examples.open_sweep("example:sweep")
    first, *progress = capsys.readouterr().out.splitlines()
    assert first == "the example sweep: 2 small runs; those that are not done are trained now"
    assert all(line.startswith("run ") for line in progress), "printed where training takes seconds"
    table = n2n.runs.table(folder)
    assert table["state"].tolist() == ["done", "done"]
    assert table["dim"].tolist() == [8, 16], "in numerical order"
    assert examples.open_sweep(str(folder)) == folder
    with pytest.raises(ValueError, match="no sweep 'nowhere'"):
        examples.open_sweep("nowhere")


def test_several_runs_are_trained_once_each(small, capsys):
    configs = {"one": small(), "two": small(arch="mamba", steps=4)}
    found = examples.open_all(configs)
    assert [run.config.arch for run in found.values()] == ["transformer", "mamba"]
    for name, config in configs.items():
        assert found[name].config.differences(config) == {}
        assert found[name].status["state"] == "done"
    written = [(run.path / "metrics.jsonl").stat().st_mtime_ns for run in found.values()]
    again = examples.open_all({**configs, "three": small(seed=1)})
    assert [(run.path / "metrics.jsonl").stat().st_mtime_ns for run in again.values()][:2] == written
    assert len({run.path for run in again.values()}) == 3
    assert "loss" not in capsys.readouterr().out, "the lines of each training run would fill a notebook"


@pytest.mark.parametrize("config", [CheckpointConfig, n2n.ProbeConfig, n2n.DynamicsConfig, n2n.WelcomeConfig])
def test_unknown_runs_are_refused_before_any_training(config, run, tmp_path):
    def assert_refused(message: str, **fields) -> None:
        with pytest.raises(ValueError, match=message):
            config(**fields)

    assert_refused("run: saw 'nothere': no run in .*nothere; or|no run in .*nothere: a run's folder", run="nothere")
    assert_refused("unknown example 'mes3'; did you mean 'mess3'", run="example:mes3")
    assert_refused("unknown parameter 'ran'; did you mean 'run'", ran="x")
    (run.path / "checkpoints").rename(tmp_path / "elsewhere")
    assert_refused("a run without a checkpoint yet .its state is 'done'.", run=str(run.path))
    assert not (n2n.runs.root() / "examples").exists()


def test_a_step_without_a_checkpoint_is_refused(run):
    with pytest.raises(ValueError, match=r"step: saw 5; the checkpoints of .* are 4, 8, 12"):
        CheckpointConfig(run=str(run.path), step=5)
    with pytest.raises(ValueError, match=r"step: saw 5; the checkpoints of example:mamba are 20, 40, "):
        CheckpointConfig(run="example:mamba", step=5)
    with pytest.raises(ValueError, match=r"step: saw 5; the checkpoints of"):
        n2n.EvaluateConfig(runs=[run.path], step=5)


def test_a_run_cannot_be_compared_with_itself(run):
    with pytest.raises(ValueError, match="twice; list each run once"):
        n2n.EvaluateConfig(runs=[run.path, f"{run.path}/"])
    with pytest.raises(ValueError, match="runs"):
        n2n.EvaluateConfig(runs=[])


def test_the_loss_is_split_by_a_latent_of_the_graph(run, small):
    assert n2n.EvaluateConfig(runs=[run.path]).cut_by == "Z1"
    with pytest.raises(ValueError, match="latent: unknown latent 'z2'; did you mean 'Z2'"):
        n2n.EvaluateConfig(runs=[run.path], latent="z2")
    chain = n2n.Graph(nodes=[n2n.Node(name="X", num_states=3, observed=True, recurrent=True)])
    with pytest.raises(ValueError, match="has no latents"):
        n2n.EvaluateConfig(runs=[n2n.train(small(graph=chain)).path])
