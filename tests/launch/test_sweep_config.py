"""The configuration of a sweep."""

from pathlib import Path

import pytest
from support.notebooks import TRAIN

from n2n import launch
from n2n.launch.notebooks import Notebook


def test_a_sweep_s_points_resources_and_notebook():
    config = launch.SweepConfig(notebook="train.ipynb", name="x", grid={"seed": [0, 1]}, fixed={"steps": 3}, cpus=2)
    assert config.points == [{"steps": 3, "seed": 0}, {"steps": 3, "seed": 1}]
    assert launch.Resources(**config.resources).cpus == 2
    assert Notebook(Path(config.notebook)).path == TRAIN, "a bare name is a notebook of the checkout"
    with pytest.raises(ValueError, match="grid: saw no value of 'seed'"):
        launch.SweepConfig(notebook="train.ipynb", name="x", grid={"seed": []})
    with pytest.raises(ValueError, match="unknown parameter 'cpu'; did you mean 'cpus'"):
        launch.SweepConfig(notebook="train.ipynb", name="x", grid={"seed": [0]}, cpu=2)
