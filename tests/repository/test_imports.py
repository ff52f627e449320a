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
analysis sweeps effects
experiments
viz
training
benchmark notebook
launch
"""  # a package imports only those on lines above it
FLOOR = {package: i for i, line in enumerate(FLOORS.strip().splitlines()) for package in line.split()}


def modules() -> dict[str, Path]:
    """Modules by name, such as ``oracle.filtering``; the name of a package stands for its ``__init__``."""
    paths = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        paths[".".join(part for part in parts if part != "__init__")] = path
    del paths[""]  # n2n/__init__.py names every package, and imports it only when it is first used
    return paths


MODULES = modules()


def imports(path: Path) -> set[str]:
    """Modules of n2n that a file imports, at any place and for type checkers too.

    ``from n2n.oracle import filtering`` imports the module ``oracle.filtering``, and ``from n2n.oracle import filter``
    the package ``oracle``, whose ``__init__`` exports the function.
    """
    names = set()
    for statement in ast.walk(ast.parse(path.read_text())):
        if isinstance(statement, ast.Import):
            names |= {alias.name.removeprefix("n2n.") for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            source = statement.module.removeprefix("n2n.")
            modules = {f"{source}.{alias.name}".removeprefix("n2n.") for alias in statement.names}
            names |= {name if name in MODULES else source for name in modules}
    return names & set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_imports_between_packages_run_one_way(name):
    own = name.split(".")[0]
    others = {other.split(".")[0] for other in imports(MODULES[name])} - {own}
    assert not {other for other in others if FLOOR[other] >= FLOOR[own]}


def test_no_package_has_a_circle():
    TopologicalSorter({name: imports(path) for name, path in MODULES.items()}).prepare()


FRONT_DOORS = [*PACKAGE.rglob("__init__.py"), PACKAGE / "__init__.pyi"]


@pytest.mark.parametrize("path", FRONT_DOORS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_public_name_is_also_a_module(path):
    """Otherwise the name would mean the object or the module, depending on what was imported before."""
    package = ".".join(path.parent.relative_to(PACKAGE.parent).parts)
    for statement in ast.walk(ast.parse(path.read_text())):
        if isinstance(statement, ast.ImportFrom) and statement.module not in (None, package):
            names = {alias.asname or alias.name for alias in statement.names}
            assert not names & {file.stem for file in path.parent.iterdir()}


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


def test_the_dispatcher_of_local_jobs_loads_no_torch():
    """It runs next to its jobs for as long as they do."""
    assert not {"torch", "numba"} & loaded_after("import n2n.launch.dispatcher")


def test_the_launcher_s_command_reads_no_notebook_at_start():
    assert not {"nbformat", "jsonschema", "torch", "numba"} & loaded_after("import n2n.launch.command")


def test_training_in_one_process_loads_no_compiler(tmp_path):
    """Nor what only several processes or a notebook need; these take longer to import than a small run takes."""
    options = {"graph": "four_chains", "dim": 8, "heads": 1, "layers": 1, "seq_len": 8, "device": "cpu"}
    options |= {"checkpoint_every": 1, "eval_sequences": 4}
    options["run_dir"] = str(tmp_path / "run")
    train = f"[n2n.train(n2n.TrainConfig(**{options!r}, steps=steps)) for steps in (1, 2)]  # starts and resumes"
    heavy = {"torch._dynamo.eval_frame", "torch.distributed.checkpoint", "torch.distributed.tensor", "sympy", "plotly"}
    assert not heavy & loaded_after(f"import n2n\n{train}\nimport n2n")


def test_figures_need_no_torch():
    loaded = loaded_after("import n2n; n2n.viz.draw_graph(n2n.Graph.preset('sparse'))")
    assert "plotly" in loaded
    assert "torch" not in loaded


def test_every_public_name_can_be_imported():
    code = "import n2n; assert set(n2n.__all__) <= set(dir(n2n)); [getattr(n2n, name) for name in n2n.__all__]"
    assert "torch" in loaded_after(code)
    with pytest.raises(AttributeError, match="No n2n attribute trian"):
        _ = __import__("n2n").trian
