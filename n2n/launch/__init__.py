"""Sweeps: a notebook for many points of its parameters, as jobs of a Slurm cluster or of this machine.

>>> points = n2n.launch.grid(arch=["transformer", "mamba"], seed=range(3))
>>> jobs = n2n.launch.submit("notebooks/train.ipynb", points, name="sweep1", time=60)
>>> jobs.wait()

From a shell: ``python -m n2n.launch --help``. Names are imported when first used: a job needs few of them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "points": ["grid"],
        "resources": ["Resources"],
        "submission": ["Jobs", "load", "submit"],
        "sweep_config": ["SweepConfig"],
    },
)
