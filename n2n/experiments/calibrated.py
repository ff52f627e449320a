"""Processes of equal entropy: one concentration for each process seed, level and target."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import product
from typing import Any

import pandas as pd

from n2n.difficulty.calibration import calibrate
from n2n.difficulty.entropies import entropies_by_seed
from n2n.experiments.design import Design, Level
from n2n.experiments.results import ResultsFile

Key = tuple[str, float, int]  # level, target, process


def missing_calibrations(design: Design, table: pd.DataFrame) -> list[Key]:
    """Processes of a design that are not in the table of calibrations yet, those of the first process seed first."""
    known = set(zip(table["level"], table["target"], table["process"], strict=True))
    wanted = product(design.processes, design.targets, [level.name for level in design.levels])
    return [key for process, target, name in wanted if (key := (name, target, process)) not in known]


def calibrations(design: Design, file: ResultsFile) -> Iterator[Key]:
    """Calibrate what is missing in a file, one process after another.

    Every concentration is evaluated on common random numbers: kernels of the same process seed and sequences of the
    same indices. A process that cannot reach its target has a row with a ``note`` and no concentration.

    Yields:
        the level, target and process seed that were just written.
    """
    for name, target, process in missing_calibrations(design, file.read()):
        row = {"level": name, "target": target, "process": process}
        file.append([{**row, **_calibrated(design, design.level(name), target, process)}])
        yield name, target, process


def _calibrated(design: Design, level: Level, target: float, process: int) -> dict[str, Any]:
    sequences, length = design.calibration_sequences, design.seq_len
    options = {"length": length, "sequences": sequences, "tolerance": design.tolerance, "seeds": [process]}
    try:
        found = calibrate(level.graph, target, level.calibrated_nodes, **options)
    except ValueError as error:
        return {"note": " ".join(str(error).split())}
    means, errors = entropies_by_seed(found.graph, [process], sequences, length)
    return {"alpha": found.alpha, "entropy": means[0], "standard_error": errors[0]}


def reached(table: pd.DataFrame) -> dict[Key, float]:
    """The concentration of each process that reached its target."""
    rows = table[table["alpha"].notna()]
    return dict(zip(zip(rows["level"], rows["target"], rows["process"], strict=True), rows["alpha"], strict=True))


def unreached(table: pd.DataFrame) -> pd.DataFrame:
    """Processes that cannot reach their target, each with the reason in ``note``; they are in no comparison."""
    return table.loc[table["alpha"].isna(), ["level", "target", "process", "note"]].reset_index(drop=True)
