"""Sweeps: a notebook executed for every point of a grid, each point a job on Slurm or on this machine.

Slurm is used if available; otherwise jobs run here, as many in parallel as there are cores.

>>> points = n2n.launch.grid(arch=["transformer", "mamba"], seed=range(3))
>>> jobs = n2n.launch.submit("notebooks/train.ipynb", points, name="sweep1", time=60)
>>> jobs.wait(watch=True)
>>> table = n2n.runs.table("sweep1")  # the configuration and results of every run, a pandas frame

From a shell::

    python -m n2n.launch notebooks/train.ipynb --name sweep1 --grid arch=transformer,mamba --grid seed=0,1,2 --time 60
    python -m n2n.launch status sweep1
    python -m n2n.launch resubmit sweep1

The first command validates every point and the requested resources (``--dry-run`` stops there), copies the notebook
and n2n, and submits an array of jobs that run the copy, so that you can go on editing. The second prints the state,
step, excess loss, remaining time and log of each point. The third restarts points that failed, were killed or were
cancelled (``cancel sweep1``); runs resume where they stopped. A job that reaches its ``--time`` (minutes or
``HH:MM:SS``) saves and requeues itself. ``--gpus 8`` or ``--nodes 2`` makes one training of several processes. Each
point has a folder ``runs/sweep1/<point>/`` with its executed notebook and its run; ``notebooks/report.ipynb`` reports
on them.

Compare learners at equal size (``n2n.models.match``), each at its own best learning rate
(``--grid lr=0.001,0.003,0.01``): the best rate differs between tasks by a factor of ten.

Names are imported when first used: a job needs few of them.
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
