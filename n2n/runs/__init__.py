"""Run folders: where they lie, what is in one, a table of many."""

from n2n.runs.paths import SWEEP, new_folder, root, sweep_folder
from n2n.runs.run import Run, labels
from n2n.runs.run_table import table

__all__ = ["SWEEP", "Run", "labels", "new_folder", "root", "sweep_folder", "table"]
