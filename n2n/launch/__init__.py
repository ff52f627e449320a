"""Sweeps: a notebook for many points of its parameters, as jobs of a Slurm cluster or of this machine.

>>> points = n2n.launch.grid(arch=["transformer", "mamba"], seed=range(3))
>>> jobs = n2n.launch.submit("notebooks/train.ipynb", points, name="sweep1", time=60)
>>> jobs.wait()

From a shell: ``python -m n2n.launch --help``. Every name is imported when it is first used: a job needs few of them.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from n2n.launch.points import grid
    from n2n.launch.resources import Resources
    from n2n.launch.submission import Jobs, load, submit
    from n2n.launch.sweep_config import SweepConfig

__all__ = ["Jobs", "Resources", "SweepConfig", "grid", "load", "submit"]

_HOMES = {
    "Jobs": "submission",
    "Resources": "resources",
    "SweepConfig": "config",
    "grid": "points",
    "load": "submission",
    "submit": "submission",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'n2n.launch' has no attribute {name!r}")
    return getattr(import_module(f"n2n.launch.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
