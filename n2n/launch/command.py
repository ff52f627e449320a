"""Sweeps from a shell: submit, status, cancel, resubmit."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from n2n.launch.clusters import Slurm
from n2n.launch.point_states import counted
from n2n.launch.points import Point, crossed, grid, parse_axis, read_points
from n2n.launch.resources import Resources
from n2n.launch.submission import Jobs, Plan, load, plan
from n2n.utils.strict import nearest_name

VERBS = ("status", "cancel", "resubmit")


def main(arguments: list[str] | None = None) -> int:
    """Submit a sweep, or look after one.

    Returns:
        0; 2 for what is refused; 1 where the cluster does not answer or refuses.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments and arguments[0] in VERBS:
            _look_after(arguments)
        else:
            _submit(arguments)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _look_after(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m n2n.launch")
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("name", help="of the sweep")
    given = parser.parse_args(arguments)
    jobs = load(given.name)
    if given.verb == "cancel":
        jobs.cancel()
    if given.verb == "resubmit":
        points = jobs.resubmit()
        print(f"started {len(points)} points" + "".join(f"\n  {point}" for point in points))
    _show(jobs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m n2n.launch",
        description="Execute a notebook once for each point of a grid, as jobs. To look after a sweep: "
        "python -m n2n.launch status|cancel|resubmit NAME",
    )
    parser.add_argument("notebook", type=Path, help="with a parameters cell, such as notebooks/train.ipynb")
    parser.add_argument("--name", required=True, help="of the sweep's folder under runs/")
    parser.add_argument("--grid", action="append", default=[], metavar="NAME=VALUE,..", help="a parameter's values")
    parser.add_argument("-f", "--file", type=Path, metavar="POINTS.yaml", help="points: a list of mappings")
    parser.add_argument("--cluster", default="auto", help="auto, slurm, local or debug")
    parser.add_argument("--dry-run", action="store_true", help="check, print the points and what is asked for, no more")
    for name, field in Resources.model_fields.items():
        kept = "the cluster's own" if field.default is None else field.default
        parser.add_argument(f"--{name.replace('_', '-')}", default=None, help=f"of each job (default: {kept})")
    return parser


def _submit(arguments: list[str]) -> None:
    first = arguments[0] if arguments else "-h"
    if re.fullmatch(r"\w+", first):
        raise ValueError(
            f"saw {first!r}; a notebook or one of {', '.join(VERBS)} is needed{nearest_name(first, VERBS)}"
        )
    given = vars(_parser().parse_args(arguments))
    resources = {name: given[name] for name in Resources.model_fields if given[name] is not None}
    planned = plan(given["notebook"], _points(given), name=given["name"], cluster=given["cluster"], **resources)
    if given["dry_run"]:
        _describe(planned)
        return
    jobs = planned.submit()
    print(f"{planned.name}: {len(planned.points)} points on {planned.cluster.name}, in {jobs.path}")
    _show(jobs)


def _points(given: dict[str, Any]) -> list[Point]:
    axes = [parse_axis(text) for text in given["grid"]]
    names = [name for name, _ in axes]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise ValueError(f"grid: saw {twice[0]!r} twice; all its values go into one --grid")
    if given["file"] is None:
        return grid(**dict(axes))
    return crossed(read_points(given["file"]), grid(**dict(axes)) if axes else [{}])


def _describe(planned: Plan) -> None:
    print(f"{planned.name}: {len(planned.points)} points on {planned.cluster.name}, nothing is submitted")
    for name, point in planned.points.items():
        print(f"  {name}: {point}")
    if isinstance(planned.cluster, Slurm):
        print(planned.cluster.header(planned.folder, planned.resources, len(planned.points)))
    else:
        print(planned.resources)


def _show(jobs: Jobs) -> None:
    table = jobs.table()
    print(counted(table))
    with pd.option_context("display.width", 250, "display.max_rows", None, "display.max_colwidth", 80):
        print(table.to_string(na_rep="", float_format="{:.4f}".format))
