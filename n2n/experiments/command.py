"""The command ``python -m n2n.experiments``: run a design, or say how far it is."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from n2n.experiments.design import Design
from n2n.experiments.designs import DESIGNS, by_name
from n2n.experiments.ideal_running import ideal_progress, run_ideal
from n2n.experiments.points import point_name
from n2n.experiments.running import progress, run


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        0 if the design is done or only listed; 3 if the time was up before; 2 if the arguments or a results file are
        refused; 1 if runs failed.
    """
    options = _parser().parse_args(arguments)
    try:
        chosen = by_name(options.name)
        if options.ideal:
            return _ideal(chosen, options)
        if options.list:
            state = progress(chosen, options.results)
            for point in state.pending:
                print(point_name(chosen, point))
        else:
            limits = {"limit_minutes": options.limit_minutes, "parallel": options.parallel, "keep": options.keep}
            state = run(chosen, options.results, **limits, log=_timed)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 1
    print(state)
    for row in state.unreached.itertuples():
        print(f"  {chosen.factor}={row.level},target={row.target:g},process={row.process}: {row.note}")
    return 0 if options.list or not (state.pending or state.uncalibrated) else 3


def _ideal(design: Design, options: argparse.Namespace) -> int:
    """Fit the ideal learners, or list those that come next."""
    if options.list:
        state = ideal_progress(design, options.results)
        for ideal in state.pending:
            print(*ideal)
    else:
        limits = {"limit_minutes": options.limit_minutes, "parallel": options.parallel}
        state = run_ideal(design, options.results, **limits, log=_timed)
    print(state)
    return 0 if options.list or not state.pending else 3


def _timed(line: str) -> None:
    print(time.strftime("%H:%M:%S"), line, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m n2n.experiments",
        description="Run a design on this machine. Each finished run is stored at once; the same command resumes.",
    )
    parser.add_argument("name", help=f"one of {', '.join(DESIGNS)}")
    parser.add_argument("--ideal", action="store_true", help="fit the ideal learners instead of training runs")
    parser.add_argument("--list", action="store_true", help="list the runs that come next and start nothing")
    parser.add_argument("--limit-minutes", type=float, metavar="MINUTES", help="save and leave after this time")
    parser.add_argument("--parallel", type=int, default=2, help="runs at a time, one thread each (default: 2)")
    parser.add_argument(
        "--results", type=Path, metavar="FOLDER", help="folder of the results (default: the checkout's)"
    )
    parser.add_argument("--keep", action="store_true", help="keep the folders of finished runs")
    return parser
