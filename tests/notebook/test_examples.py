"""Runs that notebooks open: names are checked before any work, examples are trained once."""

import pytest

import n2n
from n2n.analysis import of_runs
from n2n.notebook import examples
from n2n.notebook.examples import EXAMPLES, CheckpointConfig


@pytest.fixture
def run(small) -> n2n.Run:
    return n2n.train(small(steps=12))


@pytest.fixture
def tiny(monkeypatch):
    """Examples that train in a second."""
    for name, fields in EXAMPLES.items():
        cut = {"steps": 4, "checkpoint_every": 2, "dim": 16, "layers": 1, "heads": 2, "seq_len": 12, "batch_size": 4}
        monkeypatch.setitem(EXAMPLES, name, {**fields, **cut, "eval_sequences": 4})
    monkeypatch.setattr(examples, "_POINT", {**examples._POINT, "steps": 2, "seq_len": 8, "batch_size": 2})
    monkeypatch.setattr(examples, "_GRID", {"arch": ("mingru",), "dim": (8, 16)})


def test_a_folder_s_run_is_that_run(run):
    assert examples.open_run(str(run.path)) == run
    assert examples.open_run(run.path.name) == run, "by its name under runs, from any directory"
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


def test_other_code_trains_it_anew(tiny, monkeypatch):
    first = examples.open_run("example:transformer")
    monkeypatch.setattr(examples, "_code_hash", lambda: "another state of the sources")
    assert examples.open_run("example:transformer").path != first.path


def test_another_configuration_trains_it_again(tiny, monkeypatch):
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
    assert table["dim"].tolist() == [8, 16], "in the order of numbers"
    assert examples.open_sweep(str(folder)) == folder
    with pytest.raises(ValueError, match="no sweep 'nowhere'"):
        examples.open_sweep("nowhere")


@pytest.mark.parametrize("config", [CheckpointConfig, n2n.ProbeConfig, n2n.DynamicsConfig, n2n.WelcomeConfig])
def test_what_is_not_there_is_told_before_any_work(config, run, tmp_path):
    def refused(said: str, **given) -> None:
        with pytest.raises(ValueError, match=said):
            config(**given)

    refused("run: saw 'nothere': no run in .*nothere; or|no run in .*nothere: a run's folder", run="nothere")
    refused("unknown example 'mes3'; did you mean 'mess3'", run="example:mes3")
    refused("unknown parameter 'ran'; did you mean 'run'", ran="x")
    (run.path / "checkpoints").rename(tmp_path / "elsewhere")
    refused("a run without a checkpoint yet .its state is 'done'.", run=str(run.path))
    assert not (n2n.runs.root() / "examples").exists()


def test_a_step_that_was_not_saved(run):
    with pytest.raises(ValueError, match=r"step: saw 5; the checkpoints of .* are 4, 8, 12"):
        CheckpointConfig(run=str(run.path), step=5)
    with pytest.raises(ValueError, match=r"step: saw 5; the checkpoints of example:mamba are 20, 40, "):
        CheckpointConfig(run="example:mamba", step=5)
    with pytest.raises(ValueError, match=r"step: saw 5; the checkpoints of"):
        n2n.EvaluateConfig(runs=[run.path], step=5)


def test_runs_side_by_side_are_named_and_of_one_process(run, small):
    other, stranger = n2n.train(small(arch="mingru")), n2n.train(small(process_seed=7))
    found = of_runs.compare([run, other], 4)
    assert list(found.models) == ["transformer", "mingru"]
    assert found.data.length == 12
    with pytest.raises(ValueError, match=f"{stranger.path.name} has another process than {run.path.name}"):
        of_runs.compare([run, stranger], 4)
    longer = n2n.train(small(seq_len=16))
    with pytest.raises(ValueError, match="has another seq_len than"):
        of_runs.compare([run, longer], 4)
    same = n2n.train(small(seed=3))
    assert list(of_runs.compare([run, same], 4).models) == [run.path.name, same.path.name]
    a, b = (n2n.train(small(run_dir=run.path.parent / part / "run", seed=k)) for k, part in enumerate("ab"))
    assert list(of_runs.compare([a, b], 4).models) == ["a/run", "b/run"]
    c = n2n.train(small(run_dir=run.path.parent / "c" / "b" / "run"))
    with pytest.raises(ValueError, match="saw folders of the same names"):
        of_runs.compare([b, c], 4)


def test_what_runs_have_seen(run, small):
    assert of_runs.sequences_seen([run]) == 12 * 4
    assert of_runs.sequences_seen([run], step=8) == 8 * 4
    assert of_runs.sequences_seen([run, n2n.train(small(steps=20))]) == 20 * 4


def test_one_run_cannot_stand_beside_itself(run):
    with pytest.raises(ValueError, match="twice; list each run once"):
        n2n.EvaluateConfig(runs=[run.path, f"{run.path}/"])
    with pytest.raises(ValueError, match="runs"):
        n2n.EvaluateConfig(runs=[])


def test_the_loss_is_cut_by_a_latent_that_is_there(run, small):
    assert n2n.EvaluateConfig(runs=[run.path]).cut_by == "Z1"
    with pytest.raises(ValueError, match="latent: unknown latent 'z2'; did you mean 'Z2'"):
        n2n.EvaluateConfig(runs=[run.path], latent="z2")
    chain = n2n.Graph(nodes=[n2n.Node(name="X", num_states=3, observed=True, recurrent=True)])
    with pytest.raises(ValueError, match="has no latents"):
        n2n.EvaluateConfig(runs=[n2n.train(small(graph=chain)).path])


def test_probes_read_what_the_model_read(run):
    assert of_runs.probe_data(run, 4).tokens.judged.shape == (4, 11)


def test_a_classic_process_is_trained_on_by_name(small):
    """Its kernels are in the configuration's file, and come back from it."""
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
    given = small(graph="mess3", tables=n2n.Process.classic("mess3", x=0.15, a=0.6).kernels)
    assert given.process == n2n.Process.classic("mess3", x=0.15, a=0.6)
    assert "tables" in given.differences(run.config)
