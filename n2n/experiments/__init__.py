"""Designs: levels of a factor at one exact entropy, crossed with learners; their runs and results.

>>> design = n2n.experiments.by_name("compose")
>>> print(n2n.experiments.progress(design))
>>> n2n.experiments.run(design, limit_minutes=30)

From a shell, which resumes where it was stopped or killed::

    python -m n2n.experiments compose --limit-minutes 30
    python -m n2n.experiments compose --list
    python -m n2n.experiments compose --ideal
"""

from n2n.experiments.calibrated import calibrations, missing_calibrations, reached, unreached
from n2n.experiments.design import Cell, Design, Level, Size
from n2n.experiments.designs import by_name
from n2n.experiments.ideal import IDEAL_COLUMNS, Ideal, ideals
from n2n.experiments.ideal_running import IdealProgress, ideal_file, ideal_progress, run_ideal
from n2n.experiments.points import Point, point_name, train_config
from n2n.experiments.rates import chosen_rates, judged, pending_points, rate_table
from n2n.experiments.results import ResultsFile, calibrations_file, results_folder, runs_file
from n2n.experiments.running import Progress, collect, progress, run, sweep_points

__all__ = [
    "IDEAL_COLUMNS",
    "Cell",
    "Design",
    "Ideal",
    "IdealProgress",
    "Level",
    "Point",
    "Progress",
    "ResultsFile",
    "Size",
    "by_name",
    "calibrations",
    "calibrations_file",
    "chosen_rates",
    "collect",
    "ideal_file",
    "ideal_progress",
    "ideals",
    "judged",
    "missing_calibrations",
    "pending_points",
    "point_name",
    "progress",
    "rate_table",
    "reached",
    "results_folder",
    "run",
    "run_ideal",
    "runs_file",
    "sweep_points",
    "train_config",
    "unreached",
]
