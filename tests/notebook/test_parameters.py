"""Parameters of a notebook, as its cells, papermill and ``%run`` set them."""

import json
from pathlib import Path

import nbformat
import papermill
import pytest
from support.notebooks import NOTEBOOKS, quiet_kernel, write_notebook

from n2n.notebook.parameters import parameters

TYPED = 'steps: int = 100  # how many\nlr: float = 0.1\narch: str = "mamba"'


def namespace(*cells: str, **own) -> dict:
    """The namespace of a kernel after these cells."""
    values = {"In": ["", *cells], "Out": {}, "_": "", "get_ipython": print, **own}
    for cell in cells:
        exec(cell, values)
    return values


def test_the_parameters_cell_is_read():
    assert parameters(namespace(TYPED)) == {"steps": 100, "lr": 0.1, "arch": "mamba"}


def test_injected_values_count_even_if_misspelt():
    values = parameters(namespace(TYPED, "# Parameters\nsteps = 5\nstep = 7\n"))
    assert values == {"steps": 5, "lr": 0.1, "arch": "mamba", "step": 7}


def test_other_variables_do_not_count():
    values = parameters(namespace(TYPED, "import math", "x = 3", "n: int = 4", own="mine"))
    assert set(values) == {"steps", "lr", "arch"}


def test_a_misspelt_parameter_counts_until_it_is_corrected():
    wrong = TYPED.replace("steps", "step")
    assert set(parameters(namespace(wrong))) == {"step", "lr", "arch"}
    assert set(parameters(namespace(wrong, TYPED))) == {"steps", "lr", "arch"}


def test_a_deleted_parameter_does_not_count():
    assert set(parameters(namespace(TYPED + "\nstepz: int = 3", TYPED))) == {"steps", "lr", "arch"}


def test_a_longer_annotated_cell_does_not_replace_the_parameters():
    own = "\n".join(f"x{i}: int = {i}" for i in range(9))
    assert set(parameters(namespace(TYPED, own))) == {"steps", "lr", "arch"}


def test_an_edited_value_counts():
    assert parameters(namespace(TYPED, "x = 3", TYPED.replace("100", "200")))["steps"] == 200


def test_cells_with_magics_are_skipped():
    values = namespace(TYPED)
    values["In"] += ["%matplotlib inline", "!ls", "def broken("]
    assert set(parameters(values)) == {"steps", "lr", "arch"}


def test_without_a_history_every_plain_value_counts():
    values = namespace(TYPED)
    values["In"] = [""]
    assert parameters(values) == {"steps": 100, "lr": 0.1, "arch": "mamba"}


INJECTED = "# Injected Parameters\nsteps = 5\nstesp = 7\n"


@pytest.mark.parametrize("header", ["# Parameters", "# Injected Parameters", "# by another tool", ""])
def test_an_injected_cell_is_recognised_by_place_and_shape(header):
    values = parameters(namespace(TYPED, f"{header}\nsteps = 5\nstesp = [1]", "import math", "x = 3"))
    assert values == {"steps": 5, "lr": 0.1, "arch": "mamba", "stesp": [1]}


def test_an_edited_injected_cell_counts():
    values = parameters(namespace(TYPED, "steps = 5", "import math", "steps = 6; rate = 2"))
    assert values == {"steps": 6, "lr": 0.1, "arch": "mamba", "rate": 2}


def test_a_misspelt_injected_name_counts_until_the_parameters_run_again():
    misspelt = namespace(TYPED, INJECTED, "import math", "steps = 5")
    assert "stesp" in parameters(misspelt)
    assert "stesp" not in parameters(namespace(TYPED, INJECTED, "import math", TYPED))


def test_a_cell_that_computes_is_not_injected():
    assert set(parameters(namespace(TYPED, "x = len('abc')"))) == {"steps", "lr", "arch"}
    assert set(parameters(namespace(TYPED, "x = 3\nprint(x)"))) == {"steps", "lr", "arch"}


def test_without_annotations_all_names_are_parameters():
    assert parameters(namespace('rate = 1e-3; source = "a=b"', "other = 2")) == {
        "rate": 1e-3,
        "source": "a=b",
        "other": 2,
    }


def test_parameters_next_to_a_magic_or_an_import_are_read():
    values = namespace(TYPED)
    values["In"] = ["", "%matplotlib inline\nimport math\n" + TYPED, "x: str = 'mine'"]
    assert set(parameters(values)) == {"steps", "lr", "arch"}
    values["In"] = ["", "%%time\n" + TYPED]
    assert set(parameters(values)) == {"steps", "lr", "arch"}


# Tests with real kernels, in which a cell prints the parameters

PRINT = "import json, n2n\nprint('PARAMETERS', json.dumps(n2n.parameters(globals())))"


def printed_parameters(path: Path, parameters: dict | None = None, **options) -> list[dict]:
    """Execute a notebook and return what each ``PRINT`` printed."""
    papermill.execute_notebook(path, path.with_name("out.ipynb"), parameters, progress_bar=False, **options)
    cells = nbformat.read(path.with_name("out.ipynb"), 4).cells
    texts = ["".join(out.get("text", "") for out in cell.get("outputs", [])) for cell in cells]  # slow output has parts
    lines = [line for text in texts for line in text.splitlines() if line.startswith("PARAMETERS")]
    return [json.loads(line.removeprefix("PARAMETERS")) for line in lines]


@quiet_kernel
def test_cells_that_papermill_injects_are_read(tmp_path):
    cell = '%precision 3\nsource: str = "a=b"; page: str = "http://h/x#frag"\nrate: float = 1e-3  # = 2'
    notebook = write_notebook(tmp_path / "n.ipynb", cell, PRINT, "threshold = 5", PRINT, tags=["parameters"])
    values = {"rate": 0.5, "stesp": {"a": [1, None]}}
    (first, second) = printed_parameters(notebook, values, report_mode=True, comment="from another tool")
    assert first == {"source": "a=b", "page": "http://h/x#frag", "rate": 0.5, "stesp": {"a": [1, None]}}
    assert second == first


@quiet_kernel
def test_a_notebook_that_another_runs_has_only_its_own_parameters(tmp_path):
    """It may use names of the caller, with or without tag and annotations; afterwards the caller's values count."""
    typed, untyped = "arch: str = 'mamba'; steps: int = 5", "arch = 'hawk'; steps = 6"
    cells = {"typed": (typed, True), "untyped": (untyped, True), "untagged": (typed, False), "bare": (untyped, False)}
    for name, (cell, tagged) in cells.items():
        cells_of = (cell, "import os", "scratch = 4", PRINT)
        write_notebook(tmp_path / f"{name}.ipynb", *cells_of, tags=["parameters"] if tagged else [])
    (tmp_path / "script.py").write_text(f"{untyped}\nhere = len(arch)\n{PRINT}")
    (tmp_path / "shell.ipy").write_text(f"%time arch = 'hawk'; steps = 6\n{PRINT}")
    runs = [f"%run {name}.ipynb" for name in cells] + ["%run -i script.py", "%run shell.ipy"]
    caller = tmp_path / "caller.ipynb"
    write_notebook(caller, "threshold = 5; steps = 1", "limit: int = 3", *runs, PRINT, tags=["parameters"])
    printed = printed_parameters(caller, cwd=tmp_path)
    mamba, hawk = {"arch": "mamba", "steps": 5}, {"arch": "hawk", "steps": 6}
    assert printed == [mamba, hawk, mamba, {**hawk, "scratch": 4}, {**hawk, "here": 4}, hawk, {"limit": 3}]


@quiet_kernel
def test_a_misspelt_name_in_an_injected_cell_stops_a_real_notebook(tmp_path):
    """The cell is that of another tool, which papermill does not recognise."""
    content = nbformat.read(NOTEBOOKS / "dataset.ipynb", 4)
    at = next(i for i, cell in enumerate(content.cells) if "parameters" in cell.metadata.get("tags", []))
    content.cells.insert(at + 1, nbformat.v4.new_code_cell("# Injected Parameters\ntrian = 10"))
    nbformat.write(content, tmp_path / "n.ipynb")
    with pytest.raises(papermill.PapermillExecutionError, match="unknown parameter 'trian'; did you mean 'train'"):
        papermill.execute_notebook(tmp_path / "n.ipynb", tmp_path / "out.ipynb", progress_bar=False)
