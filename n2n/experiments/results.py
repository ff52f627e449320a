"""A design's results: CSV files whose first line names the design and the version that wrote them.

Rows are appended under a lock by replacing the whole file in one step, so a kill leaves the rows before it or after it,
and two processes may append. The files are small: a row for each evaluation of a run.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from n2n.experiments.design import Cell, Design
from n2n.utils.files import make_folder, write_text
from n2n.utils.lock import locked
from n2n.utils.paths import checked_path

FORMAT = 1  # raised when a column changes its meaning
KEYS = (*Cell._fields, "lr")  # columns that identify a run
MEASURED = ("parameters", "alpha", "state", "split", "step", "excess", "standard_error", "oracle")
MEASURED += ("unigram", "bigram", "seconds")
RUN_COLUMNS = ("factor", *KEYS, *MEASURED)
CALIBRATION_COLUMNS = ("level", "target", "process", "alpha", "entropy", "standard_error", "note")
TEXT = {"factor": str, "level": str, "arch": str, "state": str, "split": str, "note": str}
TEXT |= {"predictor": str, "start": str}
_HEADER = re.compile(r"# n2n (\S+), results format (\d+), design (\S+) (\w+)")


class ResultsFile:
    """A CSV file of one design.

    Args:
        path: the file; it need not exist.
        design: the design that its rows belong to.
        columns: names of the columns.

    Raises:
        ValueError: if the path is none.
    """

    def __init__(self, path: str | os.PathLike, design: Design, columns: Sequence[str]) -> None:
        self.path, self.design, self.columns = checked_path(path, "results"), design, tuple(columns)

    @property
    def header(self) -> str:
        """The first line."""
        return f"# n2n {version('n2n')}, results format {FORMAT}, design {self.design.name} {self.design.hash}"

    def read(self) -> pd.DataFrame:
        """All rows; none if there is no file.

        Raises:
            ValueError: if the file belongs to another design or version, or is damaged.
        """
        if not self.path.exists():
            return pd.read_csv(io.StringIO(",".join(self.columns)), dtype=TEXT)
        first, _, rest = self.path.read_text().partition("\n")
        self._check_header(first)
        try:
            table = pd.read_csv(io.StringIO(rest), dtype=TEXT, keep_default_na=False, na_values=[""])
        except (ValueError, pd.errors.ParserError) as error:
            raise ValueError(f"{self.path} is damaged: {error}") from None
        if tuple(table.columns) != self.columns:
            raise ValueError(f"{self.path} is damaged: it has the columns {', '.join(map(str, table.columns))}")
        return table

    def append(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Append rows, all of them or none.

        Raises:
            ValueError: as ``read``.
        """
        make_folder(self.path.parent)
        with locked(self.path.with_name(f".{self.path.name}.lock")):
            self.read()  # refuses another design's file before it is changed
            names = ",".join(self.columns)
            before = self.path.read_text() if self.path.exists() else f"{self.header}\n{names}\n"
            lines = pd.DataFrame(list(rows), columns=list(self.columns)).to_csv(index=False, header=False)
            write_text(self.path, before + lines)

    def _check_header(self, line: str) -> None:
        found = _HEADER.fullmatch(line)
        if found is None:
            raise ValueError(f"{self.path} is no results file of an experiment: its first line names no design")
        here = (version("n2n"), str(FORMAT), self.design.name, self.design.hash)
        written, form, name, content = found.groups()
        if (name, content) != here[2:]:
            raise ValueError(
                f"{self.path} holds results of the design {name} {content}, not of {self.design.name} "
                f"{self.design.hash}: levels or fixed options differ; name another file, or move this one away"
            )
        if (written, form) != here[:2]:
            raise ValueError(
                f"{self.path} was written by n2n {written} (results format {form}), and this is n2n {here[0]} "
                f"(results format {FORMAT}); run the design again into another file, or read it with that version"
            )


def results_folder() -> Path:
    """The folder of results: ``notebooks/results`` of the checkout, else ``results`` here."""
    checkout = Path(__file__).parents[2]
    return checkout / "notebooks" / "results" if (checkout / "pyproject.toml").exists() else Path.cwd() / "results"


def runs_file(design: Design, folder: str | os.PathLike | None = None) -> ResultsFile:
    """The results of a design's runs, ``<folder>/<name>.csv``; see ``RUN_COLUMNS``."""
    return ResultsFile(Path(folder or results_folder()) / f"{design.name}.csv", design, RUN_COLUMNS)


def calibrations_file(design: Design, folder: str | os.PathLike | None = None) -> ResultsFile:
    """The calibrated processes of a design, ``<folder>/<name>.processes.csv``; see ``CALIBRATION_COLUMNS``."""
    name = f"{design.name}.processes.csv"
    return ResultsFile(Path(folder or results_folder()) / name, design, CALIBRATION_COLUMNS)
