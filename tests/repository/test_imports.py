"""Imports run one way between packages, without a circle inside one; ``import n2n`` costs next to nothing."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "n2n"
FLOORS = """
utils
graph models monitor
process
oracle data
config difficulty
runs
analysis sweeps
viz
training
benchmark notebook
launch
"""  # a package imports only those on lines above it
FLOOR = {package: i for i, line in enumerate(FLOORS.strip().splitlines()) for package in line.split()}


def modules() -> dict[str, Path]:
    """Modules by name, such as ``oracle.filtering``; a package stands for its ``__init__``."""
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    del found[""]  # the front door names all, and imports them when they are first used
    return found


def imports(path: Path) -> set[str]:
    """Modules of n2n that a file imports anywhere, those for type checkers too."""
    names = set()
    for statement in ast.walk(ast.parse(path.read_text())):
        if isinstance(statement, ast.Import):
            names |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            names |= {f"{statement.module}.{alias.name}" for alias in statement.names} | {statement.module}
    return {name.removeprefix("n2n.") for name in names if name.startswith("n2n.")} & set(modules())


MODULES = modules()


@pytest.mark.parametrize("name", MODULES)
def test_imports_between_packages_run_one_way(name):
    own = name.split(".")[0]
    others = {other.split(".")[0] for other in imports(MODULES[name])} - {own}
    assert not {other for other in others if FLOOR[other] >= FLOOR[own]}


def test_no_package_has_a_circle():
    # A package's __init__ imports its modules for what it exports, and stands for none of them.
    inits = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    TopologicalSorter({name: imports(MODULES[name]) - inits for name in set(MODULES) - inits}).prepare()


def loaded_after(code: str) -> set[str]:
    command = [sys.executable, "-c", f"{code}; import sys; print(*sys.modules)"]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_importing_n2n_is_cheap():
    heavy = {
        "torch",
        "numpy",
        "numba",
        "pandas",
        "plotly",
        "networkx",
        "papermill",
        "submitit",
        "pydantic",
        "ruamel",
        "tqdm",
        "yaml",
    }
    assert not heavy & loaded_after("import n2n")


def test_who_starts_local_jobs_loads_no_torch():
    """It lives as long as its jobs, next to them."""
    assert not {"torch", "numba"} & loaded_after("import n2n.launch.dispatcher")


def test_figures_need_no_torch():
    loaded = loaded_after("import n2n; n2n.viz.draw_graph(n2n.Graph.preset('sparse'))")
    assert "plotly" in loaded
    assert "torch" not in loaded


def test_every_public_name_is_there():
    code = "import n2n; assert set(n2n.__all__) <= set(dir(n2n)); [getattr(n2n, name) for name in n2n.__all__]"
    assert "torch" in loaded_after(code)
    with pytest.raises(AttributeError, match="trian"):
        _ = __import__("n2n").trian
