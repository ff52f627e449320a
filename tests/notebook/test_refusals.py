"""Refused configurations in Jupyter and in papermill: a short error instead of a traceback."""

import subprocess
import sys

import nbformat
import papermill
import pytest
from nbclient import NotebookClient
from support.notebooks import write_notebook

CELLS = ["import n2n", "config = (\n    n2n.TrainConfig('sprase', steps=-1)\n)"]


def error_of(cell) -> nbformat.NotebookNode:
    return next(output for output in cell.outputs if output.output_type == "error")


def test_jupyter_shows_the_error_and_the_user_s_line(tmp_path):
    """In a real kernel. Other errors keep their traceback."""
    late = "n2n.train(n2n.TrainConfig('sparse', run_dir='n.ipynb'))"
    write_notebook(tmp_path / "n.ipynb", *CELLS, "n2n.no_such_name", late)
    content = nbformat.read(tmp_path / "n.ipynb", as_version=4)
    NotebookClient(content, allow_errors=True, resources={"metadata": {"path": str(tmp_path)}}).execute()
    refusal, bug, refused_late = (error_of(cell) for cell in content.cells[1:])
    assert refusal.traceback[0] == "line 2: n2n.TrainConfig('sprase', steps=-1)"
    text = "\n".join(refusal.traceback)
    assert text.endswith("steps: saw -1; it must be greater than 0")
    assert "did you mean 'sparse'?" in text
    assert len(text.splitlines()) == 4
    assert refusal.ename == "Refused"
    assert "lazy_loader" in "\n".join(bug.traceback), "another error keeps its whole traceback"
    assert refused_late.traceback[0] == f"line 1: {late}"
    assert len("\n".join(refused_late.traceback).splitlines()) == 3
    assert "is a file; a folder is needed" in refused_late.traceback[-1]


def test_papermill_fails_with_a_short_error_and_stores_it(tmp_path):
    write_notebook(tmp_path / "in.ipynb", *CELLS)
    command = [sys.executable, "-m", "papermill", str(tmp_path / "in.ipynb"), str(tmp_path / "out.ipynb")]
    process = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert process.returncode != 0
    assert "steps: saw -1; it must be greater than 0" in process.stderr
    assert "pydantic" not in process.stderr
    stored = error_of(nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[-1])
    assert len("\n".join(stored.traceback)) < 600
    with pytest.raises(papermill.PapermillExecutionError, match="did you mean 'sparse'"):
        papermill.execute_notebook(tmp_path / "in.ipynb", tmp_path / "out.ipynb", progress_bar=False)
