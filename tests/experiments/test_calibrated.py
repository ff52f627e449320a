"""Every process has its own concentration of the target entropy, or a reason why not."""

import numpy as np
import pytest
from support.small_designs import small_design

import n2n
from n2n.experiments import calibrations, calibrations_file, missing_calibrations, reached, unreached


@pytest.fixture(scope="module")
def calibrated(tmp_path_factory):
    design = small_design(targets=[1.4, 9.0])
    file = calibrations_file(design, tmp_path_factory.mktemp("results"))
    written = list(calibrations(design, file))
    return design, file, written


def test_each_reached_process_has_the_target_s_entropy_on_other_sequences(calibrated):
    _, file, written = calibrated
    assert len(written) == 8
    alphas = reached(file.read())
    assert alphas.keys() == {(level, 1.4, process) for level in ("4", "8") for process in (0, 1)}
    for (level, target, process), alpha in alphas.items():
        node = n2n.Node("Z1", int(level), alpha=alpha)
        graph = n2n.Graph([node, n2n.Node("X", 8, ["Z1"], observed=True, alpha=0.1)])
        tokens = n2n.Process(graph, process).sample(4096, length=8).tokens
        nll = n2n.filter(n2n.Process(graph, process), tokens).nll.numpy().mean(axis=1)
        assert abs(nll.mean() - target) < 0.05 + 0.05 + 4 * nll.std() / np.sqrt(len(nll))


def test_what_cannot_reach_its_target_is_a_row_with_the_reason(calibrated):
    _, file, _ = calibrated
    table = unreached(file.read())
    assert table[["level", "target", "process"]].to_numpy().tolist() == [
        [level, 9.0, process] for process in (0, 1) for level in ("4", "8")
    ]
    assert table["note"].str.match(r"target: saw 9 nats per token; concentrations of .* reach").all()


def test_nothing_is_calibrated_twice(calibrated):
    design, file, _ = calibrated
    before = file.path.read_bytes()
    assert list(calibrations(design, file)) == []
    assert file.path.read_bytes() == before
    more = design.model_copy(update={"processes": [0, 1, 2]})
    assert {process for _, _, process in missing_calibrations(more, file.read())} == {2}
