"""Names and configurations of a design's runs."""

import pytest
from support.small_designs import small_design

from n2n.experiments import Cell, Point, Size, point_name, train_config
from n2n.models.sizes import apart

POINT = Point(Cell("8", 1.4, 1, "mingru", 8, 1, 3, 12, 0), 0.01)


def test_names_are_readable_and_leave_out_what_does_not_vary():
    assert point_name(small_design(), POINT) == "states=8,target=1.4,process=1,arch=mingru"
    varied = small_design(lrs=[1e-2, 1], seeds=[0, 1])
    assert point_name(varied, POINT) == "states=8,target=1.4,process=1,arch=mingru,seed=0,lr=0.01"


def test_names_of_a_design_differ():
    design = small_design(sequences=[None, 5], seeds=[0, 1], lrs=[1e-2, 3e-2], sizes=[Size(8, 1), Size(8, 2)])
    names = [point_name(design, Point(cell, lr)) for cell in design.cells for lr in design.lrs]
    assert len(set(names)) == len(names) == 2**7


def test_a_point_s_configuration_has_its_concentration_seeds_and_budget():
    config = train_config(small_design(), POINT, 0.25)
    assert config.graph["Z1"].alpha == 0.25
    assert config.graph["X"].alpha == 0.1
    assert (config.process_seed, config.arch, config.steps, config.lr) == (1, "mingru", 3, 0.01)
    assert (config.seq_len, config.batch_size, config.eval_sequences, config.eval_every) == (8, 4, 8, 3)


@pytest.mark.parametrize("size", [Size(32, 2), Size(64, 2)])
@pytest.mark.parametrize("arch", ["mamba", "mingru", "hawk"])
def test_architectures_have_the_reference_s_number_of_parameters(arch, size):
    design = small_design(archs=["transformer", arch], sizes=[size])
    cells = [cell for cell in design.cells if cell.process == 0 and cell.level == "4"]
    sizes = [train_config(design, Point(cell, 0.01), 1.0).build_model().num_parameters for cell in cells]
    assert sizes[0] == train_config(design, Point(cells[0], 0.01), 1.0).build_model().num_parameters
    assert not apart(*sizes)
