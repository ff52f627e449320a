"""Figures of a run's development hold the numbers of its checkpoints."""

import numpy as np
import pytest
from support.figures import assert_small, random_dynamics, traces

import n2n
from n2n.analysis.dynamics import Dynamics


@pytest.fixture
def dynamics() -> Dynamics:
    return random_dynamics([0, 4, 12], ["Z1", "Z2", "Z3"])


def test_the_animation_has_a_frame_for_each_step(dynamics):
    figure = n2n.viz.forming(dynamics, "title")
    assert [frame.name for frame in figure.frames] == ["0", "4", "12"]
    assert [step.label for step in figure.layout.sliders[0].steps] == ["0", "4", "12"]
    lines = {step: frame.data[1] for step, frame in zip(dynamics.steps, figure.frames, strict=True)}
    for step, line in lines.items():
        rows = dynamics.positions[dynamics.positions["step"] == step]
        np.testing.assert_allclose(line.y, rows["excess_loss"], atol=5.1e-4)
    np.testing.assert_array_equal(figure.data[1].y, lines[12].y, err_msg="the last step is shown first")
    assert len({len(frame.data) for frame in figure.frames}) == 1
    assert_small(figure)


def test_the_curves_hold_every_step(dynamics):
    losses = n2n.viz.excess_over_steps(dynamics, "title")
    np.testing.assert_allclose(losses.data[1].y, dynamics.excess["excess_loss"], atol=1e-5)
    beliefs = n2n.viz.beliefs_over_steps(dynamics, "title")
    expected = dynamics.beliefs.query("latent == 'Z2'").groupby("layer")["r2"].apply(list)
    for line, values in zip(traces(beliefs, "Z2"), expected, strict=True):
        assert len(line.y) == 3
        np.testing.assert_allclose(line.y, values, atol=1e-4)
    for figure in (losses, beliefs):
        assert_small(figure)


def test_layers_have_the_same_names_in_every_panel(dynamics):
    animation = n2n.viz.forming(dynamics, "title")
    assert [list(line.x) for line in traces(animation, "Z2")] == [["embedding", "block 1"]]
    assert {line.name for line in animation.data if (line.name or "").startswith("heads")} == {"heads of block 1"}
    panels = n2n.viz.beliefs_over_steps(dynamics, "title")
    assert [note.text for note in panels.layout.annotations] == ["embedding", "block 1"]
