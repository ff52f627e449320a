"""How pytest runs the notebooks: nbval executes each and compares its stored outputs."""

import atexit
import json
import os
import shutil
import tempfile

NOTEBOOK_TIMEOUT = 600  # seconds without any output that a cell may take; nbval's own limit is 5

# Tests run side by side: threads of several torches would wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# One folder for all processes of a test run, in which each example is trained once: kernels and xdist's workers inherit
# the variable, because pytest loads this file before it starts them.
if "N2N_RUNS" not in os.environ:
    os.environ["N2N_RUNS"] = tempfile.mkdtemp(prefix="n2n-runs-")
    atexit.register(shutil.rmtree, os.environ["N2N_RUNS"], ignore_errors=True)
os.environ["SLURM_CONF"] = os.devnull  # nor do they submit jobs to a real cluster


# Timings at full size are for an idle machine; tests/test_notebooks.py runs it small.
LEFT_OUT = ("benchmark.ipynb",)


def pytest_ignore_collect(collection_path):
    """Leave out what papermill wrote, as a notebook's output is no test, and benchmarks."""
    if collection_path.suffix != ".ipynb":
        return None
    written = "papermill" in json.loads(collection_path.read_text())["metadata"]
    return True if written or collection_path.name in LEFT_OUT else None


def pytest_collection_modifyitems(items):
    for item in items:
        if hasattr(item, "output_timeout"):
            item.output_timeout = NOTEBOOK_TIMEOUT
