"""Run folders: where they lie, what one holds, and a table of many."""

from n2n.runs.folder import RunFolder
from n2n.runs.paths import SWEEP, new_folder, root, sweep_folder
from n2n.runs.run import Run, labels
from n2n.runs.run_table import table

__all__ = ["SWEEP", "Run", "RunFolder", "labels", "new_folder", "root", "sweep_folder", "table"]
