"""What launching reads off a notebook: parameters whatever they look like, and the configuration that takes them."""

from pathlib import Path

import nbformat
import pytest

import n2n
from n2n import launch
from n2n.launch.notebooks import Notebook


def written(path: Path, parameters: str, *cells: str) -> Notebook:
    content = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in (parameters, *cells)])
    content.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(content, path)
    return Notebook(path)


@pytest.mark.parametrize(
    ("cell", "values"),
    [
        ('source = "a=b"', {"source": "a=b"}),
        ("rate = 1e-3; other = 2", {"rate": 1e-3, "other": 2}),
        ('page: str = "http://h/x#frag"  # where = what', {"page": "http://h/x#frag"}),
        ("grid = {\n    'lr': [1e-3],  # two\n}\nname = 'x'", {"grid": {"lr": [1e-3]}, "name": "x"}),
        ("rate = 1e-3  # type: float", {"rate": 1e-3}),
        ("%matplotlib inline\nsteps: int = 5\n!ls", {"steps": 5}),
        ("%%time\nsteps: int = 5", {"steps": 5}),
        ('text = """a: int = 3\n"""', {"text": "a: int = 3\n"}),
        ("low, high = -1, (2, 3)", {"low": -1, "high": (2, 3)}),
        ("none: str | None = None; some: dict[str, int] = {}", {"none": None, "some": {}}),
    ],
)
def test_every_parameter_has_its_whole_default(tmp_path, cell, values):
    book = written(tmp_path / "n.ipynb", cell)
    assert book.defaults == values
    assert book.names == sorted(values)
    assert book.judge(dict.fromkeys(values, 1), launch.Resources()) is None
    assert "unknown parameter 'stranger'" in book.judge({"stranger": 1}, launch.Resources())


def test_a_computed_default_is_a_parameter_that_is_not_judged(tmp_path):
    """Only running the cell tells its value; a point's own value is judged."""
    cell = "import os\ngraph: str = os.environ.get('GRAPH', 'sparse')\nsteps: int = 10 ** 3"
    book = written(tmp_path / "n.ipynb", cell, "import n2n\nconfig = n2n.TrainConfig(**n2n.parameters(globals()))")
    assert book.defaults == {}
    assert {"graph", "steps", "arch"} <= set(book.names)
    assert book.judge({}, launch.Resources()) is None
    assert book.judge({"steps": 7}, launch.Resources()) is None
    assert "steps: saw 'many'" in book.judge({"steps": "many"}, launch.Resources())
    assert "unknown graph 'spares'" in book.judge({"graph": "spares"}, launch.Resources())


@pytest.mark.parametrize(
    "cell",
    [
        "import n2n\nconfig = n2n.TrainConfig(**n2n.parameters(globals()))",
        "%%time\nimport n2n\nconfig = n2n.TrainConfig(**n2n.parameters(globals()))",
        "%load_ext autoreload\nimport n2n\nconfig = n2n.TrainConfig(**n2n.parameters(globals()))",
        "import n2n as latent\nconfig = latent.TrainConfig(**latent.parameters(globals()))",
        "from n2n import TrainConfig, parameters\nconfig = TrainConfig(**parameters(globals()))",
        "from n2n import TrainConfig as C\nimport n2n\nif True:\n    config = C(**n2n.parameters(globals()))",
    ],
)
def test_the_configuration_is_found_however_it_is_imported(tmp_path, cell):
    assert written(tmp_path / "n.ipynb", "arch: str = 'mamba'", cell).strict is n2n.TrainConfig


@pytest.mark.parametrize(
    "cell",
    ["import n2n\nn2n.train(**n2n.parameters(globals()))", "def f(", "config = TrainConfig(**parameters(globals()))"],
)
def test_what_is_no_configuration_of_n2n_is_none(tmp_path, cell):
    assert written(tmp_path / "n.ipynb", "arch: str = 'mamba'", cell).strict is None
