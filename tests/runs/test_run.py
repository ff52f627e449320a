import pytest

import n2n
from n2n import runs
from n2n.runs import paths


def test_root_is_given_by_the_environment_or_the_checkout(monkeypatch, tmp_path):
    assert runs.root() == tmp_path / "runs"
    monkeypatch.delenv("N2N_RUNS")
    assert (runs.root() / "README.md").is_file()


def test_a_tilde_in_the_environment_variable_is_the_home(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("N2N_RUNS", "~/there")
    assert runs.root() == tmp_path / "there"


def test_new_folders_never_collide_and_have_plain_names(monkeypatch):
    monkeypatch.setattr(paths.time, "strftime", lambda _: "20260101-000000")
    names = [runs.new_folder("my graph/1").name for _ in range(3)]
    assert names == [f"20260101-000000-my-graph-1{suffix}" for suffix in ("", "-2", "-3")]


def test_a_folder_without_a_run_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no run in"):
        n2n.Run(tmp_path)


@pytest.mark.parametrize("content", ["[]", "{}", "{", "[" * 100_000])
def test_a_damaged_sweep_is_refused_by_its_file(tmp_path, content):
    (tmp_path / "sweep.json").write_text(content)
    with pytest.raises(ValueError, match=r"sweep\.json is damaged: "):
        runs.table(tmp_path)


def test_missing_results_are_reported(small, tmp_path, monkeypatch):
    from n2n.training import trainer

    def fail(*arguments):
        raise RuntimeError("early")

    monkeypatch.setattr(trainer.Learner, "update", fail)
    with pytest.raises(RuntimeError, match="early"):
        n2n.train(small(run_dir=str(tmp_path / "run")))
    run = n2n.Run(tmp_path / "run")
    with pytest.raises(ValueError, match="no evaluation yet; its state is 'failed'"):
        _ = run.evaluation
    with pytest.raises(ValueError, match="no checkpoint yet; its state is 'failed'"):
        run.model()


def test_summary_holds_the_run_s_numbers(small):
    run = n2n.train(small())
    table, evaluation = run.summary(), run.evaluation
    assert table.loc["tokens seen", "value"] == f"{8 * 4 * 12:,}"
    assert table.loc["parameters", "value"] == f"{run.model().num_parameters:,}"
    assert float(table.loc["excess loss", "value"]) == pytest.approx(evaluation["excess_loss"], abs=1e-4)
    low, high = (float(table.loc[f"excess loss, 95% {side}", "value"]) for side in ("from", "to"))
    assert (high - low) / 2 == pytest.approx(2.3646 * evaluation["excess_standard_error"], abs=2e-4), (
        "Student's t for 8 sequences"
    )
    assert (table["unit"] == "nats per token").sum() == 7
    assert table.loc["training speed", "value"] == f"{round(run.metrics['tokens_per_second'].median()):,}"


def test_summary_of_a_run_in_context(small):
    """The excess over each oracle that learns the kernels follows the excess over the one that knows them."""
    graph = n2n.Graph([n2n.Node("X", 3, observed=True, recurrent=True, mode="context", alpha=1.0)], pool=2)
    run = n2n.train(small(graph=graph))
    table, evaluation = run.summary()["value"], run.evaluation
    for oracle, over in (("in-context oracle", "in_context_"), ("in-context oracle of the prior", "prior_")):
        assert float(table[oracle]) == pytest.approx(evaluation[f"{over}nll"], abs=1e-4)
        excess = float(table[f"excess over the {oracle}"])
        assert excess == pytest.approx(evaluation["cross_entropy"] - float(table[oracle]), abs=2e-4)
        assert float(table[f"excess over the {oracle}, 95% from"]) < excess


def test_a_run_is_read_without_its_dataset(small, tmp_path):
    """After its dataset is deleted, a run can be read but not trained further."""
    store = n2n.data.generate(n2n.Process(n2n.Graph.preset("sparse")), tmp_path / "a.npy", 40, 12)
    run = n2n.train(small(graph="sparse", data=store.path))
    store.path.unlink()
    assert n2n.Run(run.path).config == run.config
    assert n2n.Run(run.path).model().config.vocab_size == 32
    with pytest.raises(ValueError, match="data: no dataset at"):
        n2n.TrainConfig(**run.config.model_dump(mode="json"))
