"""Partitions and limits, read from the output of Slurm's commands."""

import pytest
from support.slurm_cluster import SINFO

from n2n import launch
from n2n.launch import slurm


@pytest.fixture
def large_cluster(monkeypatch):
    """A cluster with 64 cores and 8 GPUs a node, as ``sinfo`` describes it."""
    monkeypatch.setattr(slurm, "run_command", lambda *command, **options: SINFO)


def test_partitions_are_read_from_sinfo(large_cluster):
    main, long = slurm.partitions().values()
    assert (main.nodes, main.cpus, main.mem, main.gpus, main.default) == (5, 64, 512, 8, True)
    assert (main.time_limit, main.default_time, main.features) == (1440, 30, {"fast", "new"})
    assert (long.time_limit, long.default_time, long.gpus, long.mem) == (None, None, 2, 1)


def test_defaults_are_those_of_the_partition(large_cluster):
    resources = slurm.resolve(launch.Resources(gpus=8, nodes=2))
    assert (resources.partition, resources.time, resources.processes) == ("main", 30, 16)
    assert slurm.resolve(launch.Resources(partition="long")).time == slurm.FALLBACK_TIME
    with pytest.raises(ValueError, match="gpus: saw 3; at most 2 a node"):
        slurm.resolve(launch.Resources(partition="long", gpus=3))
