"""Stored outputs of notebooks: refreshed by execution, and cleared where no test compares them."""

import nbformat
import pytest
from nbformat.v4 import new_output
from support.notebooks import quiet_kernel, write_notebook

from n2n.notebook import stored_outputs
from n2n.notebook.stored_outputs import WIDGET, clear, main, refresh


def write_with_outputs(path, *cells: str, **metadata) -> nbformat.NotebookNode:
    """Write a notebook in which each cell has printed a text, and return it."""
    notebook = nbformat.read(write_notebook(path, *cells, **metadata), as_version=4)
    for cell in notebook.cells:
        cell.outputs = [new_output("stream", name="stdout", text="old")]
    nbformat.write(notebook, path)
    return notebook


@quiet_kernel
def test_refreshing_stores_the_outputs_of_the_cells(tmp_path):
    path = tmp_path / "a.ipynb"
    display = "import os\nimport ipywidgets\nfrom IPython.display import display\ndisplay(ipywidgets.IntSlider())\n"
    old = write_with_outputs(
        path, "2 + 3", f"# {stored_outputs.IGNORED}\n{display}os.getcwd()", "import sys\nprint('no', file=sys.stderr)"
    )
    refresh(path)
    new = nbformat.read(path, as_version=4)
    assert [cell.source for cell in new.cells] == [cell.source for cell in old.cells]
    assert [cell.id for cell in new.cells] == [cell.id for cell in old.cells]
    assert [cell.execution_count for cell in new.cells] == [1, 2, 3]
    assert new.cells[0].outputs[0].data == {"text/plain": "5"}
    assert new.cells[1].outputs[0].data == {"text/plain": repr(str(tmp_path))}, "run in its folder, without the widget"
    assert new.cells[2].outputs == []
    assert set(new.metadata) == {"kernelspec"}


@quiet_kernel
def test_a_notebook_that_fails_or_is_too_large_is_not_changed(tmp_path, monkeypatch, capsys):
    path = tmp_path / "a.ipynb"
    write_with_outputs(path, "1 / 0")
    before = path.read_bytes()
    with pytest.raises(Exception, match="ZeroDivisionError"):
        refresh(path)
    assert path.read_bytes() == before
    write_with_outputs(path, "1", "print('x' * 5000)")
    before = path.read_bytes()
    monkeypatch.setattr(stored_outputs, "MAX_BYTES", 3000)
    assert main(["refresh", str(path)]) == 2
    assert "over 3,000; the largest cell is 1, from 0" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert [file.name for file in tmp_path.iterdir()] == ["a.ipynb"]


def test_clearing_keeps_outputs_that_tests_compare(tmp_path, capsys):
    path = tmp_path / "a.ipynb"
    write_with_outputs(path, "print(1)", f"# {stored_outputs.IGNORED}\nprint(2)", widgets={"a": 1})
    clear(path)
    new = nbformat.read(path, as_version=4)
    assert [len(cell.outputs) for cell in new.cells] == [1, 0]
    assert "widgets" not in new.metadata
    assert WIDGET not in path.read_text()
    assert main(["clear", str(path)]) == 0
    assert f"{path}: {path.stat().st_size:,} bytes" in capsys.readouterr().out


def test_files_that_are_not_source_notebooks_are_refused(tmp_path, capsys):
    assert main(["clear", str(tmp_path / "none.ipynb")]) == 2
    assert "the path of a notebook (.ipynb) is needed" in capsys.readouterr().err
    path = tmp_path / "out.ipynb"
    notebook = write_with_outputs(path, "1")
    notebook.metadata["papermill"] = {}
    nbformat.write(notebook, path)
    with pytest.raises(ValueError, match="an output of papermill; the source notebook is needed"):
        clear(path)
