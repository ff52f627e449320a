"""The development of a run: each step has the values of its checkpoint alone."""

import pytest

from n2n.analysis import comparison, dynamics, probes
from n2n.analysis.agreement import mixing_by_lag
from n2n.analysis.held_out import HeldOut
from n2n.analysis.mixing import token_mixing


@pytest.fixture(scope="module")
def dynamics_of_run(regimes_run) -> dynamics.Dynamics:
    return dynamics.trace(regimes_run, [0, 4, 12], sequences=6)


def test_checkpoints_are_evenly_spaced(regimes_run):
    assert dynamics.spread(regimes_run, 100) == [0, 2, 4, 6, 8, 10, 12]
    assert dynamics.spread(regimes_run, 3) == [0, 2, 6, 12]
    assert dynamics.spread(regimes_run, 2) == [0, 2, 12]


def test_each_step_has_the_values_of_its_checkpoint(regimes_run, dynamics_of_run):
    data = probes.ProbeData(regimes_run.config.process, 6, 11)
    for step, model in ((0, regimes_run.config.build_model()), (4, regimes_run.model(4)), (12, regimes_run.model(12))):
        single = comparison.Comparison(HeldOut(regimes_run.config.process, 6, 12), {"m": model})
        excess = dynamics_of_run.excess.set_index("step")["excess_loss"]
        assert excess[step] == pytest.approx(single.excess["m"].mean())
        positions = dynamics_of_run.positions.set_index(["step", "position"])["excess_loss"]
        assert positions[step].tolist() == pytest.approx(single.excess["m"].mean(0).tolist())
        r2 = dynamics_of_run.beliefs.set_index(["step", "layer", "latent"])["r2"]
        expected = probes.variance_explained(data, data.residual(model)[1]).set_index("latent")["r2"]
        assert r2[step, 1].to_dict() == pytest.approx(expected.to_dict())
        share = dynamics_of_run.mixing.set_index(["step", "layer", "head", "lag"])["share"]
        expected = mixing_by_lag(token_mixing(model, single.data.tokens)).set_index(["layer", "head", "lag"])["share"]
        assert share[step].to_dict() == pytest.approx(expected.to_dict())


def test_steps_without_a_checkpoint_are_refused(regimes_run):
    with pytest.raises(ValueError, match="step"):
        dynamics.trace(regimes_run, [0, 5], sequences=4)
    with pytest.raises(ValueError, match="steps: saw none"):
        dynamics.trace(regimes_run, [], sequences=4)
    with pytest.raises(ValueError, match="max_steps: saw 1"):
        dynamics.spread(regimes_run, 1)


def test_layer_0_is_the_embedding_and_layer_1_the_first_block(dynamics_of_run):
    assert sorted(dynamics_of_run.beliefs["layer"].unique()) == [0, 1]
    assert dynamics_of_run.mixing["layer"].unique().tolist() == [1]
