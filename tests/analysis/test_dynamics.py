"""A run's checkpoints one after another, against each judged by itself; the figures that show them."""

import json

import numpy as np
import pytest

import n2n
from n2n.analysis import comparison, dynamics, probes
from n2n.analysis.agreement import mixing_by_lag
from n2n.analysis.held_out import HeldOut
from n2n.analysis.mixing import token_mixing


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> n2n.Run:
    small = {"dim": 16, "layers": 1, "heads": 2, "seq_len": 12, "batch_size": 4, "steps": 12, "device": "cpu"}
    small |= {"checkpoint_every": 2, "eval_sequences": 4, "process_seed": 1}
    folder = tmp_path_factory.mktemp("runs") / "run"
    return n2n.train(n2n.TrainConfig(graph=n2n.examples.REGIMES, run_dir=folder, **small))


@pytest.fixture(scope="module")
def found(run) -> dynamics.Dynamics:
    return dynamics.trace(run, [0, 4, 12], sequences=6)


def test_checkpoints_are_spread_evenly(run):
    assert dynamics.spread(run, 100) == [0, 2, 4, 6, 8, 10, 12]
    assert dynamics.spread(run, 3) == [0, 2, 6, 12]
    assert dynamics.spread(run, 2) == [0, 2, 12]


def test_each_step_is_that_checkpoint_by_itself(run, found):
    data = probes.ProbeData(run.config.process, 6, 11)
    for step, model in ((0, run.config.build_model()), (4, run.model(4)), (12, run.model(12))):
        alone = comparison.Comparison(HeldOut(run.config.process, 6, 12), {"m": model})
        excess = found.excess.set_index("step")["excess_loss"]
        assert excess[step] == pytest.approx(alone.excess["m"].mean())
        positions = found.positions.set_index(["step", "position"])["excess_loss"]
        assert positions[step].tolist() == pytest.approx(alone.excess["m"].mean(0).tolist())
        r2 = found.beliefs.set_index(["step", "layer", "latent"])["r2"]
        expected = probes.variance_explained(data, data.residual(model)[1]).set_index("latent")["r2"]
        assert r2[step, 1].to_dict() == pytest.approx(expected.to_dict())
        share = found.mixing.set_index(["step", "layer", "head", "lag"])["share"]
        alike = mixing_by_lag(token_mixing(model, alone.data.tokens)).set_index(["layer", "head", "lag"])["share"]
        assert share[step].to_dict() == pytest.approx(alike.to_dict())


def test_a_step_that_is_not_there(run):
    with pytest.raises(ValueError, match="step"):
        dynamics.trace(run, [0, 5], sequences=4)
    with pytest.raises(ValueError, match="steps: saw none"):
        dynamics.trace(run, [], sequences=4)
    with pytest.raises(ValueError, match="max_steps: saw 1"):
        dynamics.spread(run, 1)


def test_the_animation_has_a_frame_for_each_step(found):
    figure = n2n.viz.forming(found, "title")
    assert [frame.name for frame in figure.frames] == ["0", "4", "12"]
    assert [step.label for step in figure.layout.sliders[0].steps] == ["0", "4", "12"]
    at = {step: frame.data[1] for step, frame in zip(found.steps, figure.frames, strict=True)}
    for step, line in at.items():
        rows = found.positions[found.positions["step"] == step]
        np.testing.assert_allclose(line.y, rows["excess_loss"], atol=5.1e-4)
    np.testing.assert_array_equal(figure.data[1].y, at[12].y)  # shown at first: the last step
    assert len({len(frame.data) for frame in figure.frames}) == 1
    assert len(figure.to_json()) < 200_000


def test_the_curves_hold_every_step(found):
    loss = n2n.viz.excess_over_steps(found, "title").data[1]
    np.testing.assert_allclose(loss.y, found.excess["excess_loss"], atol=1e-5)
    beliefs = n2n.viz.beliefs_over_steps(found, "title")
    drawn = [trace for trace in beliefs.data if trace.name == "Z2"]
    expected = found.beliefs.query("latent == 'Z2'").groupby("layer")["r2"].apply(list)
    assert [len(trace.y) for trace in drawn] == [3, 3]
    for trace, values in zip(drawn, expected, strict=True):
        np.testing.assert_allclose(trace.y, values, atol=1e-4)
    for figure in (n2n.viz.excess_over_steps(found, "t"), beliefs):
        json.loads(figure.to_json())


def test_layers_are_counted_alike_in_every_panel(found):
    """The stream after block l and the mixer of block l go by the same name; layer 0 is the embedding."""
    assert sorted(found.beliefs["layer"].unique()) == [0, 1]
    assert found.mixing["layer"].unique().tolist() == [1]
    drawn = n2n.viz.forming(found, "title")
    assert [list(trace.x) for trace in drawn.data if trace.name == "Z2"] == [["embedding", "block 1"]]
    assert {trace.name for trace in drawn.data if (trace.name or "").startswith("heads")} == {"heads of block 1"}
    over = n2n.viz.beliefs_over_steps(found, "title")
    assert [note.text for note in over.layout.annotations] == ["embedding", "block 1"]
