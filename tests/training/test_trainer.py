import json
import math

import pytest
import torch
from support.run_folders import assert_same_run, contents

import n2n
from n2n.analysis.evaluation import evaluate_model
from n2n.analysis.held_out import HeldOut
from n2n.monitor import checkpoint
from n2n.training import learner
from n2n.training.optimization import learning_rate

WIDE = n2n.Graph(
    nodes=[{"name": "Z", "num_states": 10**7}, {"name": "X", "num_states": 2, "parents": ["Z"], "observed": True}]
)


class Killed(RuntimeError):
    pass


def die_at(monkeypatch, step: int):
    """Make trainers fail after ``step`` updates."""
    real, updates = learner.update, {"steps": 0}

    def update(*arguments):
        if updates["steps"] == step:
            raise Killed(f"at {step}")
        updates["steps"] += 1
        return real(*arguments)

    monkeypatch.setattr(learner, "update", update)


def test_a_run_s_folder(small, tmp_path):
    run = n2n.train(small(run_dir=str(tmp_path / "run")))
    assert run.path == tmp_path / "run"
    expected = {"config.json", "status.json", "metrics.jsonl", "evals.jsonl", "environment.json", "logs", "checkpoints"}
    expected |= {".lock", ".launch.lock"}
    assert {path.name for path in run.path.iterdir()} == expected
    assert run.config == small(run_dir=str(tmp_path / "run"))
    assert (run.status["state"], run.status["step"], run.status["steps"]) == ("done", 8, 8)
    assert sorted(path.name for path in (run.path / "checkpoints").iterdir()) == ["step_00000004", "step_00000008"]
    assert run.metrics["step"].tolist() == [0, 2, 4, 6, 7]
    assert "step 8/8" in (run.path / "logs" / "rank0.log").read_text()


@pytest.mark.parametrize("arch", n2n.models.names())
def test_the_logged_losses_are_those_of_the_batch(small, arch):
    """The row of step 4 belongs to the checkpoint after 4 updates and to sequences 16 to 19."""
    config = small(arch=arch)
    run = n2n.train(config)
    row = run.metrics.set_index("step").loc[4]
    tokens = config.process.sample(4, length=12, start=16).tokens.astype(int)
    assert row["oracle_nll"] == pytest.approx(n2n.filter(config.process, tokens).nll.mean().item(), abs=1e-9)
    loss = run.model(step=4).nll(torch.from_numpy(tokens)).mean().item()
    assert row["loss"] == pytest.approx(loss, abs=1e-5)
    assert row["excess_loss"] == pytest.approx(row["loss"] - row["oracle_nll"], abs=1e-12)
    assert row["lr"] == learning_rate(config, 4)


@pytest.mark.parametrize("arch", n2n.models.names())
@pytest.mark.parametrize("died_at", [1, 4, 7])
def test_a_resumed_run_equals_an_uninterrupted_one(small, tmp_path, monkeypatch, arch, died_at):
    whole = n2n.train(small(arch=arch))
    config = small(arch=arch, run_dir=str(tmp_path / "resumed"))
    with monkeypatch.context() as patch:
        die_at(patch, died_at)
        with pytest.raises(Killed):
            n2n.train(config)
    stopped = n2n.Run(tmp_path / "resumed").status
    assert (stopped["state"], stopped["step"]) == ("failed", 4 if died_at >= 4 else 0)
    assert f"Killed: at {died_at}" in stopped["error"]
    assert_same_run(whole, n2n.train(config))


def test_an_interrupt_differs_from_a_failure(small, tmp_path, monkeypatch):
    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(learner, "update", interrupt)
    with pytest.raises(KeyboardInterrupt):
        n2n.train(small(run_dir=str(tmp_path / "run")))
    assert n2n.Run(tmp_path / "run").status["state"] == "preempted"


def test_a_finished_run_is_not_trained_again(small, tmp_path, monkeypatch, capsys):
    config = small(run_dir=str(tmp_path / "run"))
    first = n2n.train(config)
    before = contents(first.path / "checkpoints")
    monkeypatch.setattr(learner, "update", None)
    assert_same_run(first, n2n.train(config))
    assert contents(first.path / "checkpoints") == before
    assert len((first.path / "evals.jsonl").read_text().splitlines()) == 1
    assert "resumed at step 8 of 8" in capsys.readouterr().out


def test_a_run_can_be_made_longer(small, tmp_path):
    n2n.train(small(run_dir=str(tmp_path / "run")))
    run = n2n.train(small(run_dir=str(tmp_path / "run"), steps=12))
    assert run.metrics["step"].tolist() == [0, 2, 4, 6, 7, 8, 10, 11]
    assert (run.status["step"], run.evaluation["step"], run.config.steps) == (12, 12, 12)


def test_a_run_resumes_before_a_damaged_checkpoint(small, tmp_path):
    whole = n2n.train(small())
    config = small(run_dir=str(tmp_path / "run"))
    run = n2n.train(config)
    (run.path / "evals.jsonl").unlink()
    state = run.path / "checkpoints" / "step_00000008" / "state.pt"
    state.write_bytes(state.read_bytes()[:-1])
    with pytest.warns(UserWarning, match="damaged checkpoint"):
        assert_same_run(whole, n2n.train(config))


def test_a_torn_evaluation_is_dropped_on_resuming(small, tmp_path):
    config = small(run_dir=str(tmp_path / "run"))
    run = n2n.train(config)
    expected = run.evaluation
    path = run.path / "evals.jsonl"
    path.write_text(path.read_text()[:40])
    assert n2n.train(config).evaluation == expected


def test_the_evaluation_has_the_last_requested_size(small, tmp_path):
    for sequences in (8, 16, 8):
        run = n2n.train(small(run_dir=str(tmp_path / "run"), eval_sequences=sequences))
        assert (run.evaluation["sequences"], run.config.eval_sequences) == (sequences, sequences)


def test_different_kernels_are_refused_and_nothing_changes(small, tmp_path, monkeypatch):
    run = n2n.train(small(run_dir=str(tmp_path / "run")))
    before = contents(run.path)
    real = n2n.Process.checksums.func
    monkeypatch.setattr(
        n2n.Process, "checksums", property(lambda process: {k: v + 1e-6 for k, v in real(process).items()})
    )
    with pytest.raises(ValueError, match="are not those drawn here"):
        n2n.train(small(run_dir=str(tmp_path / "run"), steps=12))
    assert contents(run.path) == before


def test_a_run_s_model_is_that_of_its_last_checkpoint(small):
    run = n2n.train(small())
    last, first = run.model().state_dict(), run.model(step=4).state_dict()
    saved = checkpoint.load(run.path / "checkpoints", 8, run.config.identity).state["model"]
    assert all(torch.equal(last[name], saved[name]) for name in saved)
    assert any(not torch.equal(last[name], first[name]) for name in saved)


def test_the_evaluation_uses_the_configured_length_and_baselines(small):
    config = small()
    run = n2n.train(config)
    evaluation = evaluate_model(run.model(), HeldOut(config.process, sequences=8, length=12, train_sequences=8 * 4))
    assert run.evaluation == {"step": 8, **evaluation.as_row()}


@pytest.mark.parametrize(
    "fields",
    [{"batch_size": 10**12}, {"graph": WIDE}, {"seq_len": 8000, "batch_size": 10**10}],
)
def test_a_run_that_does_not_fit_leaves_no_folder(small, tmp_path, fields):
    with pytest.raises((ValueError, MemoryError)):
        n2n.train(small(run_dir=str(tmp_path / "run"), **fields))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"dim": 32, "lr": 0.5}, "configuration:\n      - dim: 16 there, 32 now\n      - lr: 0.01 there, 0.5 now"),
        ({"seed": 1}, "seed: 0 there, 1 now"),
        ({"steps": 4}, "steps: saw 4; the run in .* has already made 8"),
        ({"device": "cuda"}, "device: saw 'cuda'"),
    ],
)
def test_another_configuration_is_refused_and_nothing_changes(small, tmp_path, fields, message):
    if "device" in fields and torch.cuda.is_available():
        pytest.skip("this machine has a CUDA GPU, so requesting one is allowed")
    run = n2n.train(small(run_dir=str(tmp_path / "run")))
    before = contents(run.path)
    with pytest.raises(ValueError, match=message):
        n2n.train(small(run_dir=str(tmp_path / "run"), **fields))
    assert contents(run.path) == before


def test_any_graph_can_be_trained_on(small):
    """The oracle of the batch is logged for graphs without latents, with feedback, and with another start."""
    chain = n2n.Graph(nodes=[{"name": "X", "num_states": 5, "observed": True, "recurrent": True}], initial="uniform")
    z = {"name": "Z", "num_states": 3, "parents": ["X"], "stickiness": 0.5}
    x = {"name": "X", "num_states": 4, "parents": ["Z"], "observed": True}
    for graph in (chain, n2n.Graph(nodes=[z, x], initial="stationary")):
        config = small(graph=graph)
        run = n2n.train(config)
        assert run.config.graph == graph
        tokens = config.process.sample(4, length=12, start=16).tokens
        expected = n2n.filter(config.process, tokens).nll.mean().item()
        assert run.metrics.set_index("step").loc[4, "oracle_nll"] == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        (
            {"lr": 1e30, "log_every": 1},
            "at step 1 the loss is 3.466 and its gradient has norm nan.* a lower lr.* There is no checkpoint yet",
        ),
        ({"lr": 1e39, "steps": 1}, "the weights are not finite"),
        (
            {"lr": 1e37, "steps": 1, "weight_decay": 0.0},
            "after step 0 the held-out loss is nan.* checkpoint is that of",
        ),
        ({"lr": 1e30, "log_every": 8, "eval_every": 3}, "at step 1 the loss is 3.466 .* There is no checkpoint yet"),
    ],
)
def test_divergence_stops_the_run_before_it_is_saved(small, tmp_path, fields, message):
    with pytest.raises(FloatingPointError, match=message):
        n2n.train(small(run_dir=str(tmp_path / "run"), warmup=0.0, **fields))
    run = n2n.Run(tmp_path / "run")
    assert run.status["state"] == "failed"
    for step in checkpoint.steps(run.path / "checkpoints"):
        assert all(torch.isfinite(value).all() for value in run.model(step).state_dict().values())
    for line in (run.path / "metrics.jsonl").read_text().splitlines():
        assert math.isfinite(json.loads(line)["loss"])


def test_a_late_stop_file_does_not_stop_the_next_run(small, tmp_path, monkeypatch):
    from n2n.training import reporter

    real = reporter.evaluate_model
    config = small(run_dir=str(tmp_path / "run"))
    with monkeypatch.context() as patch:
        patch.setattr(reporter, "evaluate_model", lambda *g: (tmp_path / "run" / "STOP").touch() or real(*g))
        assert n2n.train(config).status["state"] == "done"
    assert n2n.train(config.model_copy(update={"steps": 12})).status["step"] == 12


def test_a_folder_that_another_run_takes_during_the_setup_is_refused(small, tmp_path, monkeypatch):
    """Another run takes the folder between the first check and the lock, while data and model are created."""
    from n2n.training import trainer

    mine, other = (small(run_dir=str(tmp_path / "run"), lr=lr) for lr in (0.1, 0.2))
    real = trainer.Learner
    with monkeypatch.context() as patch:
        actions = [lambda: patch.setattr(trainer, "Learner", real), lambda: n2n.train(other)]
        patch.setattr(trainer, "Learner", lambda *arguments: [act() for act in actions] and real(*arguments))
        with pytest.raises(ValueError, match=r"another configuration:\n  - lr: 0.2 there, 0.1 now"):
            n2n.train(mine)
    assert n2n.Run(tmp_path / "run").config == other


def test_a_figure_that_cannot_be_drawn_does_not_end_a_run(small, tmp_path, monkeypatch):
    from n2n.training import live_curve
    from n2n.viz import loss_curves

    def broken(run):
        raise ZeroDivisionError("of plotly")

    monkeypatch.setattr(loss_curves, "learning_curve", broken)
    monkeypatch.setattr(live_curve, "in_watched_notebook", lambda: True)
    monkeypatch.setattr(live_curve, "_respond_while_busy", lambda button: None)
    run = n2n.train(small(run_dir=str(tmp_path / "run")))
    assert run.status["state"] == "done"
    assert "the figure was not drawn: ZeroDivisionError('of plotly')" in (run.path / "logs" / "rank0.log").read_text()


def test_a_process_that_is_too_large_is_refused_first(small, tmp_path):
    nodes = [{"name": f"Z{i}", "num_states": 1000} for i in range(5)]
    graph = n2n.Graph(nodes=[*nodes, {"name": "X", "num_states": 2, "parents": ["Z0"], "observed": True}])
    with pytest.raises(ValueError, match="1000000000000000 joint states"):
        n2n.train(small(graph=graph, run_dir=str(tmp_path / "run")))
    assert not (tmp_path / "run").exists()
