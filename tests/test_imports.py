"""One-way imports: a module may import those above it, never below."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from n2n import models

PACKAGE = Path(__file__).parents[1] / "n2n"

ROOMS = [
    ["nested"],
    ["strict", "assigned"],
    ["table", "memory", "arrays", "paths", "asked", "compiling", "older_nodes"],
    ["monitor"],
    ["monitor.files", "monitor.lock", "monitor.progress"],
    ["monitor.journal", "monitor.status", "monitor.columns"],
    ["presets"],
    ["families", "digraph", "core_schema", "graph_layouts"],
    ["marked_yaml"],
    ["graph_yaml"],
    ["graph"],
    ["classic"],
    ["contraction"],
    ["philox"],
    ["elimination"],
    ["stationary"],
    ["context_rows"],
    ["program"],
    ["kernels"],
    ["sampling"],
    ["twins"],
    ["process"],
    ["transition", "emission"],
    ["checks"],
    ["threads"],
    ["inference"],
    ["difficulty", "dependence", "influence"],
    ["smoothing", "decoding", "agreement"],
    ["calibration", "factored"],
    ["counts"],
    ["particles"],
    ["in_context"],
    ["reference"],
    ["baselines", "markov"],
    ["rates"],
    ["fields"],
    ["compressed"],
    ["phase"],
    ["data.stream", "data.sidecar"],
    ["data.store"],
    ["data.batches", "data.order", "data.generation"],
    ["data"],
    ["models.ops.kernels", "models.ops.compiled_scan", "models.ops.norm", "models.ops.rotary"],
    ["models.ops.conv", "models.ops.duality", "models.ops.scan"],
    ["models.ops"],
    ["models.mixer"],
    ["models.convolution", "models.inspection", "models.generation"],
    ["models.recurrence"],
    ["models.lm"],
    ["models.sizes"],
    [f"models.{name}" for name in models.names()],
    ["models"],
    ["reading"],
    ["attended"],
    ["needs", "config_fields"],
    ["config"],
    ["monitor.checkpoint", "monitor.environment", "monitor.metrics", "monitor.profiler"],
    ["monitor.parents"],
    ["monitor.preemption"],
    ["runs"],
    ["evaluation", "datasets", "predictors"],
    ["probe_fits"],
    ["probes", "comparison"],
    ["dynamics"],
    ["sweep_results", "bootstrap"],
    ["scaling"],
    ["viz.style", "viz.layout", "viz.thinning"],
    [
        "viz.curves",
        "viz.growth",
        "viz.network",
        "viz.sketch",
        "viz.sweeps",
        "viz.scaling",
        "viz.difficulty",
        "viz.compared",
        "viz.forming",
        "viz.probing",
        "viz.kernels",
        "viz.losses",
        "viz.sequences",
        "viz.mixing",
        "viz.unrolled",
    ],
    ["viz", "shown"],
    ["explorer"],
    ["ranks"],
    ["recording"],
    ["optimization"],
    ["learner", "live"],
    ["reporting", "elastic"],
    ["training"],
    ["examples"],
    ["sweep_report"],
    ["report_page"],
    ["inspected", "attention"],
    ["worker"],
    ["train"],
    ["benchmark.timing", "benchmark.stock"],
    ["benchmark.processes", "benchmark.operations", "benchmark.learners", "benchmark.overhead"],
    ["benchmark"],
    ["notebook", "outputs"],
    ["launch.door"],
    ["launch.points", "launch.resources", "launch.job", "launch.snapshot", "launch.watching"],
    ["launch.notebooks", "launch.slurm", "launch.sweep"],
    ["launch.clusters"],
    ["launch.local", "launch.states"],
    ["launch.submission"],
    ["launch.config"],
    ["launch"],
    ["launch.command"],
    ["launch.__main__"],
]
HEIGHT = {name: i for i, room in enumerate(ROOMS) for name in room}


def modules() -> dict[str, Path]:
    found = {}
    for path in PACKAGE.rglob("*.py"):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(part for part in parts if part != "__init__")] = path
    del found[""]  # the package itself names all, and imports them when they are asked for
    return found


def imports(path: Path) -> set[str]:
    """Modules of ours that a file imports anywhere, those for type checkers too."""
    names = set()
    for statement in ast.walk(ast.parse(path.read_text())):
        if isinstance(statement, ast.Import):
            names |= {alias.name for alias in statement.names}
        elif isinstance(statement, ast.ImportFrom):
            names.add(statement.module)
            names |= {f"{statement.module}.{alias.name}" for alias in statement.names}
    ours = {name.removeprefix("n2n.") for name in names if name.startswith("n2n.")}
    return ours & set(HEIGHT)


def test_every_module_has_a_room():
    assert set(modules()) == set(HEIGHT)


@pytest.mark.parametrize("name", HEIGHT)
def test_imports_run_one_way(name):
    below = {other for other in imports(modules()[name]) if HEIGHT[other] >= HEIGHT[name]}
    # A package is at its members' feet for what it exports, and at their head as the folder they lie in.
    assert not {other for other in below if not name.startswith(f"{other}.")}


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


def test_figures_need_no_torch():
    loaded = loaded_after("import n2n; n2n.viz.draw_graph(n2n.Graph.preset('sparse'))")
    assert "plotly" in loaded
    assert "torch" not in loaded


def test_every_public_name_is_there():
    code = "import n2n; assert set(n2n.__all__) <= set(dir(n2n)); [getattr(n2n, name) for name in n2n.__all__]"
    assert "torch" in loaded_after(code)
    with pytest.raises(AttributeError, match="no attribute 'trian'"):
        _ = __import__("n2n").trian


def test_no_function_has_the_name_of_a_module():
    """Importing ``n2n.entropy`` as a module would put it in the place of a function ``n2n.entropy``."""
    import n2n

    assert set(n2n._HOMES) & set(HEIGHT) == {"train"}, "a door for python -m, which nothing imports"
    assert not any("train" in imports(path) for path in modules().values())
