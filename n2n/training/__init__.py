"""The trainer: from a configuration to a run's folder.

``n2n.train(config)`` trains in this process, and ``papermill notebooks/train.ipynb OUT.ipynb`` from a shell. With
``processes=2`` two processes on this machine share each batch (``parallel="ddp"`` or ``"fsdp"``). On several machines
torchrun starts them::

    torchrun --nproc-per-node 2 -m n2n.training runs/mine/config.json

A run that is killed at any instant and started again in its folder ends with the same metrics and weights as one that
never stopped: to the bit on one CPU with the same version of torch and the same number of threads and processes. At
its start a run times which number of threads is fastest, logs it, and keeps it when resumed; ``OMP_NUM_THREADS`` sets
it instead. A run resumes from the newest checkpoint that is undamaged, belongs to the same configuration, and whose
rows of metrics are all there. Later checkpoints and damaged rows are set aside with a warning, and their steps are
trained again. A run stops if its folder is moved or changed, and two trainers never share a folder.
"""
