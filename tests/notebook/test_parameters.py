import json
from pathlib import Path

import nbformat
import papermill
import pytest

from n2n.notebook.parameters import parameters

TYPED = 'steps: int = 100  # how many\nlr: float = 0.1\narch: str = "mamba"'


def namespace(*cells: str, **own) -> dict:
    """What a kernel's namespace is once these cells ran."""
    values = {"In": ["", *cells], "Out": {}, "_": "", "get_ipython": print, **own}
    for cell in cells:
        exec(cell, values)
    return values


def test_the_typed_cell_is_read():
    assert parameters(namespace(TYPED)) == {"steps": 100, "lr": 0.1, "arch": "mamba"}


def test_what_papermill_injects_counts_misspelt_or_not():
    found = parameters(namespace(TYPED, "# Parameters\nsteps = 5\nstep = 7\n"))
    assert found == {"steps": 5, "lr": 0.1, "arch": "mamba", "step": 7}


def test_a_reader_s_own_variables_do_not_count():
    found = parameters(namespace(TYPED, "import math", "x = 3", "n: int = 4", own="mine"))
    assert set(found) == {"steps", "lr", "arch"}


def test_a_misspelling_counts_until_it_is_corrected():
    wrong = TYPED.replace("steps", "step")
    assert set(parameters(namespace(wrong))) == {"step", "lr", "arch"}
    assert set(parameters(namespace(wrong, TYPED))) == {"steps", "lr", "arch"}


def test_a_line_taken_out_no_longer_counts():
    assert set(parameters(namespace(TYPED + "\nstepz: int = 3", TYPED))) == {"steps", "lr", "arch"}


def test_a_longer_typed_cell_of_the_reader_s_does_not_replace_the_parameters():
    own = "\n".join(f"x{i}: int = {i}" for i in range(9))
    assert set(parameters(namespace(TYPED, own))) == {"steps", "lr", "arch"}


def test_an_edited_value_is_the_one_that_counts():
    assert parameters(namespace(TYPED, "x = 3", TYPED.replace("100", "200")))["steps"] == 200


def test_cells_with_magics_are_passed_over():
    values = namespace(TYPED)
    values["In"] += ["%matplotlib inline", "!ls", "def broken("]
    assert set(parameters(values)) == {"steps", "lr", "arch"}


def test_without_a_history_every_plain_value_counts():
    values = namespace(TYPED)
    values["In"] = [""]
    assert parameters(values) == {"steps": 100, "lr": 0.1, "arch": "mamba"}


INJECTED = "# Injected Parameters\nsteps = 5\nstesp = 7\n"


@pytest.mark.parametrize("header", ["# Parameters", "# Injected Parameters", "# by another tool", ""])
def test_an_injected_cell_is_known_by_place_and_shape(header):
    found = parameters(namespace(TYPED, f"{header}\nsteps = 5\nstesp = [1]", "import math", "x = 3"))
    assert found == {"steps": 5, "lr": 0.1, "arch": "mamba", "stesp": [1]}


def test_an_injected_cell_that_was_edited_and_run_again_counts():
    found = parameters(namespace(TYPED, "steps = 5", "import math", "steps = 6; rate = 2"))
    assert found == {"steps": 6, "lr": 0.1, "arch": "mamba", "rate": 2}


def test_a_misspelt_injected_name_counts_until_the_parameters_run_again():
    misspelt = namespace(TYPED, INJECTED, "import math", "steps = 5")
    assert "stesp" in parameters(misspelt)
    assert "stesp" not in parameters(namespace(TYPED, INJECTED, "import math", TYPED))


def test_a_cell_that_computes_is_not_injected():
    assert set(parameters(namespace(TYPED, "x = len('abc')"))) == {"steps", "lr", "arch"}
    assert set(parameters(namespace(TYPED, "x = 3\nprint(x)"))) == {"steps", "lr", "arch"}


def test_cells_without_annotations_give_all_names():
    assert parameters(namespace('rate = 1e-3; source = "a=b"', "other = 2")) == {
        "rate": 1e-3,
        "source": "a=b",
        "other": 2,
    }


def test_what_a_magic_or_an_import_stands_beside_is_read():
    values = namespace(TYPED)
    values["In"] = ["", "%matplotlib inline\nimport math\n" + TYPED, "x: str = 'mine'"]
    assert set(parameters(values)) == {"steps", "lr", "arch"}
    values["In"] = ["", "%%time\n" + TYPED]
    assert set(parameters(values)) == {"steps", "lr", "arch"}


# Real kernels: a notebook, perhaps one that another runs, prints what it was asked for


ASK = "import json, n2n\nprint('ASKED', json.dumps(n2n.parameters(globals())))"
quiet_kernel = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def written(path: Path, first: str, *cells: str, tagged: bool = True) -> Path:
    """A notebook whose first cell is its parameters."""
    content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (first, *cells)])
    content.metadata["kernelspec"] = {"name": "python3", "language": "python", "display_name": "Python 3"}
    content.cells[0].metadata["tags"] = ["parameters"] if tagged else []
    nbformat.write(content, path)
    return path


def executed(path: Path, parameters: dict | None = None, **given) -> list[dict]:
    """What ``ASK`` printed, each time."""
    papermill.execute_notebook(path, path.with_name("out.ipynb"), parameters, progress_bar=False, **given)
    cells = nbformat.read(path.with_name("out.ipynb"), 4).cells
    printed = ["".join(out.get("text", "") for out in cell.get("outputs", [])) for cell in cells]  # in parts, if slow
    lines = [line for text in printed for line in text.splitlines() if line.startswith("ASKED")]
    return [json.loads(line.removeprefix("ASKED")) for line in lines]


@quiet_kernel
def test_papermill_s_cell_is_read_whatever_it_looks_like(tmp_path):
    cell = '%precision 3\nsource: str = "a=b"; page: str = "http://h/x#frag"\nrate: float = 1e-3  # = 2'
    notebook = written(tmp_path / "n.ipynb", cell, ASK, "threshold = 5", ASK)
    given = {"rate": 0.5, "stesp": {"a": [1, None]}}
    (first, second) = executed(notebook, given, report_mode=True, comment="from another tool")
    assert first == {"source": "a=b", "page": "http://h/x#frag", "rate": 0.5, "stesp": {"a": [1, None]}}
    assert second == first


@quiet_kernel
def test_a_notebook_that_another_runs_has_its_own_parameters_alone(tmp_path):
    """Its names may be the caller's too, tagged or not, typed or not; and the caller's own come back after it."""
    typed, untyped = "arch: str = 'mamba'; steps: int = 5", "arch = 'hawk'; steps = 6"
    cells = {"typed": (typed, True), "untyped": (untyped, True), "untagged": (typed, False), "bare": (untyped, False)}
    for name, (cell, tagged) in cells.items():
        written(tmp_path / f"{name}.ipynb", cell, "import os", "scratch = 4", ASK, tagged=tagged)
    (tmp_path / "script.py").write_text(f"{untyped}\nhere = len(arch)\n{ASK}")
    (tmp_path / "shell.ipy").write_text(f"%time arch = 'hawk'; steps = 6\n{ASK}")
    runs = [f"%run {name}.ipynb" for name in cells] + ["%run -i script.py", "%run shell.ipy"]
    caller = written(tmp_path / "caller.ipynb", "threshold = 5; steps = 1", "limit: int = 3", *runs, ASK)
    found = executed(caller, cwd=tmp_path)
    mamba, hawk = {"arch": "mamba", "steps": 5}, {"arch": "hawk", "steps": 6}
    assert found == [mamba, hawk, mamba, {**hawk, "scratch": 4}, {**hawk, "here": 4}, hawk, {"limit": 3}]


@quiet_kernel
def test_a_misspelt_name_in_an_injected_cell_stops_a_real_notebook(tmp_path):
    """The cell of another tool, which papermill does not know as its own."""
    content = nbformat.read(Path(__file__).parents[2] / "notebooks" / "dataset.ipynb", 4)
    at = next(i for i, cell in enumerate(content.cells) if "parameters" in cell.metadata.get("tags", []))
    content.cells.insert(at + 1, nbformat.v4.new_code_cell("# Injected Parameters\ntrian = 10"))
    nbformat.write(content, tmp_path / "n.ipynb")
    with pytest.raises(papermill.PapermillExecutionError, match="unknown parameter 'trian'; did you mean 'train'"):
        papermill.execute_notebook(tmp_path / "n.ipynb", tmp_path / "out.ipynb", progress_bar=False)
