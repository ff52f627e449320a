"""The command ``python -m n2n.launch``: submit a sweep, show its status, cancel or resubmit it."""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import Any

import pandas as pd

from n2n.launch.clusters import Slurm
from n2n.launch.points import Point, cross, grid, parse_axis, read_points
from n2n.launch.resources import Resources
from n2n.launch.submission import Jobs, Plan, load, plan
from n2n.runs.run_table import count_states
from n2n.utils.strict import nearest_name

VERBS = ("status", "cancel", "resubmit")
HELP = {
    "time": "minutes per job, or HH:MM:SS",
    "partition": "partition of the cluster",
    "gpus": "GPUs per node of a job",
    "cpus": "cores per node of a job",
    "mem": "GB per node of a job",
    "nodes": "nodes per job",
    "account": "account, as in Slurm",
    "qos": "quality of service, as in Slurm",
    "constraint": "features of nodes, as in Slurm",
    "max_parallel": "maximum number of jobs at once",
    "grace": "seconds before the end of a job's time at which it saves",
}


def main(arguments: list[str] | None = None) -> int:
    """Run the command.

    Returns:
        0; 2 if the arguments are refused; 1 if the cluster does not answer or refuses.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    try:
        if arguments and arguments[0] in VERBS:
            _manage(arguments)
        else:
            _submit(arguments)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 2
    except OSError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _manage(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser(prog="python -m n2n.launch")
    parser.add_argument("verb", choices=VERBS)
    parser.add_argument("name", help="name of the sweep")
    options = parser.parse_args(arguments)
    jobs = load(options.name)
    if options.verb == "cancel":
        jobs.cancel()
    if options.verb == "resubmit":
        points = jobs.resubmit()
        print(f"started {len(points)} points" + "".join(f"\n  {point}" for point in points))
    _print_table(jobs)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m n2n.launch",
        description="Execute a notebook once for each point of a grid, as jobs. To manage a sweep: "
        "python -m n2n.launch status|cancel|resubmit NAME",
    )
    parser.add_argument("notebook", type=Path, help="notebook with a parameters cell, such as notebooks/train.ipynb")
    parser.add_argument("--name", required=True, help="name of the sweep's folder under runs/")
    parser.add_argument("--grid", action="append", default=[], metavar="NAME=VALUE,..", help="values of a parameter")
    parser.add_argument("-f", "--file", type=Path, metavar="POINTS.yaml", help="file of points: a list of mappings")
    parser.add_argument("--cluster", default="auto", help="auto, slurm, local or debug")
    parser.add_argument(
        "--dry-run", action="store_true", help="check the sweep and print its points without starting it"
    )
    for name, field in Resources.model_fields.items():
        default = "the cluster's" if field.default is None else field.default
        parser.add_argument(f"--{name.replace('_', '-')}", help=f"{HELP[name]} (default: {default})")
    return parser


def _submit(arguments: list[str]) -> None:
    first = arguments[0] if arguments else "-h"
    if re.fullmatch(r"\w+", first):
        raise ValueError(
            f"saw {first!r}; a notebook or one of {', '.join(VERBS)} is needed{nearest_name(first, VERBS)}"
        )
    options = vars(_parser().parse_args(arguments))
    resources = {name: options[name] for name in Resources.model_fields if options[name] is not None}
    planned = plan(options["notebook"], _points(options), name=options["name"], cluster=options["cluster"], **resources)
    if options["dry_run"]:
        _describe(planned)
        return
    jobs = planned.submit()
    print(f"{planned.name}: {len(planned.points)} points on {planned.cluster.name}, in {jobs.path}")
    _print_table(jobs)


def _points(options: dict[str, Any]) -> list[Point]:
    axes = [parse_axis(text) for text in options["grid"]]
    names = [name for name, _ in axes]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise ValueError(f"grid: saw {repeated[0]!r} twice; list all its values in one --grid")
    if options["file"] is None:
        return grid(**dict(axes))
    return cross(read_points(options["file"]), grid(**dict(axes)) if axes else [{}])


def _describe(planned: Plan) -> None:
    print(f"{planned.name}: {len(planned.points)} points on {planned.cluster.name}, nothing is submitted")
    for name, point in planned.points.items():
        print(f"  {name}: {point}")
    if isinstance(planned.cluster, Slurm):
        print(planned.cluster.header(planned.folder, planned.resources, len(planned.points)))
    else:
        print(planned.resources)


def _print_table(jobs: Jobs) -> None:
    table = jobs.table()
    print(count_states(table["state"]))
    with pd.option_context("display.width", 250, "display.max_rows", None, "display.max_colwidth", 80):
        print(table.to_string(na_rep="", float_format="{:.4f}".format))
