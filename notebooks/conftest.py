"""How pytest runs the notebooks: nbval executes each and compares its stored outputs."""

import json
import os
import tempfile

NOTEBOOK_TIMEOUT = 600  # seconds without any output that a cell may take; nbval's own limit is 5

# The notebooks' kernels inherit it, so that checks leave nothing among the user's runs.
os.environ.setdefault("N2N_RUNS", tempfile.mkdtemp(prefix="n2n-runs-"))


def pytest_ignore_collect(collection_path):
    """Leave out what papermill wrote: a notebook's output is no test."""
    if collection_path.suffix != ".ipynb":
        return None
    return True if "papermill" in json.loads(collection_path.read_text())["metadata"] else None


def pytest_collection_modifyitems(items):
    for item in items:
        if hasattr(item, "output_timeout"):
            item.output_timeout = NOTEBOOK_TIMEOUT
