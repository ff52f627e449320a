"""Notebooks read by papermill and git. nbval executes their cells separately."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import papermill
import pytest
from support.notebooks import NOTEBOOKS, TRAIN, quiet_kernel

import n2n
from n2n.notebook.stored_outputs import MAX_BYTES, WIDGET

ROOT = NOTEBOOKS.parent
SOURCES = [
    path for path in sorted(NOTEBOOKS.glob("*.ipynb")) if "papermill" not in json.loads(path.read_text())["metadata"]
]
QUICK = {"steps": 6, "dim": 16, "heads": 2, "layers": 1, "batch_size": 4, "seq_len": 12}

every_notebook = pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)


def code_cells(path: Path) -> list[dict]:
    cells = [cell for cell in json.loads(path.read_text())["cells"] if cell["cell_type"] == "code"]
    return [{**cell, "source": "".join(cell["source"]), "tags": cell["metadata"].get("tags", [])} for cell in cells]


def printed(cells: list[dict]) -> str:
    streams = [output for cell in cells for output in cell["outputs"] if output["output_type"] == "stream"]
    return "".join("".join(output["text"]) for output in streams)


def test_there_are_notebooks():
    assert TRAIN in SOURCES


@every_notebook
def test_papermill_reads_every_parameter(path):
    (cell,) = (cell for cell in code_cells(path) if "parameters" in cell["tags"])
    names = [statement.target.id for statement in ast.parse(cell["source"]).body]
    parameters = papermill.inspect_notebook(path)
    assert list(parameters) == names
    for parameter in parameters.values():
        assert parameter["inferred_type_name"] != "None"
        assert parameter["help"]


@every_notebook
def test_a_strict_configuration_takes_the_parameters_before_any_work(path):
    first, second, *_ = code_cells(path)
    assert "parameters" in first["tags"]
    statements = ast.parse(second["source"]).body
    work = [statement for statement in statements if not isinstance(statement, ast.Import)]
    assert re.fullmatch(r"\w+ = n2n\.[\w.]+\(\*\*n2n\.parameters\(globals\(\)\)\)", ast.unparse(work[0]))


@every_notebook
def test_cells_are_short_and_define_nothing(path):
    for cell in code_cells(path):
        tree = ast.parse(cell["source"])
        assert not any(isinstance(part, ast.FunctionDef | ast.ClassDef | ast.Lambda) for part in ast.walk(tree))
        if "parameters" not in cell["tags"]:
            assert len(cell["source"].splitlines()) <= 8


@every_notebook
def test_outputs_are_stored_and_compared(path):
    """A notebook without outputs would pass nbval with nothing compared."""
    assert json.loads(path.read_text())["metadata"]["kernelspec"]["name"] == "python3"
    assert path.stat().st_size <= MAX_BYTES
    assert "widgets" not in json.loads(path.read_text())["metadata"]
    cells = code_cells(path)
    assert not any(WIDGET in output.get("data", {}) for cell in cells for output in cell["outputs"])
    assert printed([cell for cell in cells if "NBVAL_IGNORE_OUTPUT" not in cell["source"]])
    assert not any(output["output_type"] == "error" for cell in cells for output in cell["outputs"])


def test_the_parameters_are_the_configuration_s_defaults():
    """The parameters in the notebook are the defaults of TrainConfig."""
    parameters = papermill.inspect_notebook(TRAIN).items()
    defaults = {name: ast.literal_eval(parameter["default"]) for name, parameter in parameters}
    assert n2n.TrainConfig(**defaults) == n2n.TrainConfig(graph=defaults["graph"])


def run_papermill(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "papermill", str(TRAIN), "out.ipynb", "--no-progress-bar", *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300, check=False)


def test_train_runs_from_any_directory(tmp_path):
    options = [part for name, value in {**QUICK, "arch": "mamba"}.items() for part in ("-p", name, str(value))]
    done = run_papermill(tmp_path, *options, "-p", "run_dir", "here/run", "-p", "checkpoint_every", "3")
    assert done.returncode == 0, done.stderr
    run = n2n.Run(tmp_path / "here" / "run")
    assert (run.status["state"], run.config.arch, run.config.checkpoint_every) == ("done", "mamba", 3)
    cells = code_cells(tmp_path / "out.ipynb")
    outputs = [output for cell in cells for output in cell["outputs"]]
    figures = [output for output in outputs if "application/vnd.plotly.v1+json" in output.get("data", {})]
    assert len(figures) == 3
    text = printed(cells)
    assert re.search(r"step 6/6  loss \S+  oracle \S+  excess \S+  tokens/s \S+  0 s left", text)
    assert "run folder: here/run" in text


@quiet_kernel
def test_a_small_benchmark_prints_the_stored_lines(tmp_path):
    """nbval skips this notebook, because its timings would take minutes and mean nothing next to other tests."""
    source, small = NOTEBOOKS / "benchmark.ipynb", {"sequences": 2, "length": 16, "repeats": 1, "dim": 32}
    parameters = {**small, "layers": 1, "batches": [2], "largest": 4}
    papermill.execute_notebook(source, tmp_path / "out.ipynb", parameters, progress_bar=False)
    stored, new = (printed(code_cells(path)[-1:]).splitlines() for path in (source, tmp_path / "out.ipynb"))
    assert stored[-1] == new[-1]
    assert [line for line in new if line.endswith("True")] == [line for line in stored if line.endswith("True")]
    assert len(new) == len(stored) == 5


def test_invalid_parameters_stop_train_before_any_work(tmp_path):
    process = run_papermill(tmp_path, *["-p", "step", "100", "-p", "steps", "abc", "-p", "arch", "mmba"])
    assert process.returncode != 0
    assert "unknown parameter 'step'; did you mean 'steps'?" in process.stderr
    assert "steps: saw 'abc'" in process.stderr
    assert "unknown architecture 'mmba'; did you mean 'mamba'?" in process.stderr
    assert not Path(os.environ["N2N_RUNS"]).exists()


def test_papermill_s_output_is_ignored_by_pytest_and_git():
    """An executed copy next to its source is neither collected by pytest nor listed by git."""
    copy = TRAIN.with_name(f"out-{os.getpid()}.ipynb")
    notebook = json.loads(TRAIN.read_text())
    notebook["metadata"]["papermill"] = {}
    try:
        copy.write_text(json.dumps(notebook))
        command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider", str(copy.parent)]
        collected = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout
        ignored = subprocess.run(["git", "check-ignore", str(copy)], cwd=ROOT, capture_output=True, check=False)
    finally:
        copy.unlink()
    assert "train.ipynb" in collected
    assert copy.name not in collected
    if (ROOT / ".git").exists():
        assert ignored.returncode == 0
