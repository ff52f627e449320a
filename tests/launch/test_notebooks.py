"""The parameters and the configuration that the launcher reads from a notebook."""

import re
from pathlib import Path

import nbformat
import pytest
import yaml
from support.small_notebook import trivial

import n2n
from n2n import launch
from n2n.launch.command import main
from n2n.launch.notebooks import Notebook

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


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
    assert book.point_error(dict.fromkeys(values, 1), launch.Resources()) is None
    assert "unknown parameter 'stranger'" in book.point_error({"stranger": 1}, launch.Resources())


def test_a_computed_default_is_a_parameter_that_is_not_judged(tmp_path):
    """Only running the cell tells its value; a point's own value is judged."""
    cell = "import os\ngraph: str = os.environ.get('GRAPH', 'sparse')\nsteps: int = 10 ** 3"
    book = written(tmp_path / "n.ipynb", cell, "import n2n\nconfig = n2n.TrainConfig(**n2n.parameters(globals()))")
    assert book.defaults == {}
    assert {"graph", "steps", "arch"} <= set(book.names)
    assert book.point_error({}, launch.Resources()) is None
    assert book.point_error({"steps": 7}, launch.Resources()) is None
    assert "steps: saw 'many'" in book.point_error({"steps": "many"}, launch.Resources())
    assert "unknown graph 'spares'" in book.point_error({"graph": "spares"}, launch.Resources())


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
    assert written(tmp_path / "n.ipynb", "arch: str = 'mamba'", cell).config_class is n2n.TrainConfig


@pytest.mark.parametrize(
    "cell",
    ["import n2n\nn2n.train(**n2n.parameters(globals()))", "def f(", "config = TrainConfig(**parameters(globals()))"],
)
def test_what_is_no_configuration_of_n2n_is_none(tmp_path, cell):
    assert written(tmp_path / "n.ipynb", "arch: str = 'mamba'", cell).config_class is None


CONTEXT = "{nodes: [{name: Z, num_states: 2, mode: context}, {name: X, num_states: 2, parents: [Z], observed: true}]}"


@pytest.mark.parametrize(
    ("stem", "point", "said"),
    [
        ("train", "{data: gone/train.npy}", "data: .*gone/train.npy"),
        ("train", "{data: gone/train.npy, sequences: 3}", "data: .*gone/train.npy"),
        ("train", f"{{graph: {CONTEXT}}}", "context"),
        ("train", "{run_dir: x}", "run_dir: each point of a sweep has its own folder"),
        ("train", "{data: 20240101}", "data: saw .*papermill's -r data 20240101"),
        ("dataset", "{folder: occupied}", "folder: .*occupied"),
        ("dataset", "{part: 3, parts: 2}", "part: saw 3"),
        ("explore", f"{{graph: {CONTEXT}}}", "context"),
        ("explore", "{sequence: 99}", "sequence: saw 99"),
        ("difficulty", "{graph: spares}", "unknown graph 'spares'; did you mean 'sparse'"),
        ("evaluate", "{runs: [gone]}", "runs.*gone"),
        ("evaluate", "{runs: '[a, b]'}", r"papermill: -y 'runs: \[a, b\]'"),
        ("attention", "{run: gone}", "run: .*gone"),
        ("probe", "{run: gone}", "run: .*gone"),
        ("dynamics", "{most: 1}", "most: saw 1"),
        ("welcome", "{run: gone}", "run: .*gone"),
        ("report", "{sweep: gone}", "sweep: .*gone"),
        ("report", "{export: occupied}", "export: .*occupied"),
        ("benchmark", "{device: gpu}", "device: .*'gpu'"),
        ("sweep", "{notebook: gone.ipynb}", "notebook: no file .*gone.ipynb"),
        ("sweep", "{name: 'a b'}", "name: saw 'a b'"),
        ("sweep", "{cluster: slrum}", "unknown cluster 'slrum'; did you mean 'slurm'"),
        ("sweep", "{grid: {stesp: [1]}}", "unknown parameter 'stesp'; did you mean 'steps'"),
        ("sweep", "{grid: {data: [gone.npy]}}", "data: .*gone.npy"),
        ("sweep", "{fixed: {seed: 3}}", "fixed: saw 'seed', which the grid sets too"),
    ],
)
def test_a_dry_run_refuses_what_the_notebook_would(stem, point, said, tmp_path, monkeypatch, capsys):
    """In one go, with nothing on the disk, and so does the notebook's own configuration cell."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "occupied").write_text("a file")
    (tmp_path / "points.yaml").write_text(f"- {point}\n")
    before = sorted(tmp_path.rglob("*"))
    path = NOTEBOOKS / f"{stem}.ipynb"
    assert main([str(path), "--name", "dry", "-f", "points.yaml", "--cluster", "local", "--dry-run"]) == 2
    told = capsys.readouterr().err
    assert "1 of 1 points are wrong, and nothing was submitted" in told
    assert re.search(said, told)
    assert sorted(tmp_path.rglob("*")) == before
    book, given = Notebook(path), yaml.safe_load(point)
    if "run_dir" not in given:
        with pytest.raises(ValueError, match=said):
            book.config_class(**{**book.defaults, **given})


TRAIN = NOTEBOOKS / "train.ipynb"


@pytest.mark.parametrize(
    ("name", "config_class"),
    [("train", n2n.TrainConfig), ("dataset", n2n.DatasetConfig), ("benchmark", n2n.benchmark.Settings)],
)
def test_the_configuration_of_a_notebook_is_found(name, config_class):
    assert Notebook(NOTEBOOKS / f"{name}.ipynb").config_class is config_class


def test_a_notebook_without_a_configuration_takes_its_own_parameters(tmp_path):
    book = Notebook(trivial(tmp_path / "t.ipynb"))
    assert (book.config_class, book.names) == (None, ["fail", "i"])
    assert book.point_error({"i": 3}, launch.Resources()) is None
    assert "unknown parameter 'fial'; did you mean 'fail'" in book.point_error({"fial": True}, launch.Resources())
    assert "nodes: saw 2, but the notebook has no parameter 'processes'" in book.point_error(
        {}, launch.Resources(nodes=2)
    )
    said = Notebook(TRAIN).point_error({"processes": 3, "batch_size": 30}, launch.Resources(nodes=2))
    assert said == "processes: saw 3, which 2 nodes do not divide"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "notebook: no file"),
        ("nothing", "is no notebook"),
        ("{}", "is no notebook"),
        ("bare", "no cell with the tag"),
    ],
)
def test_what_is_no_notebook_with_parameters_is_refused(tmp_path, content, said):
    path = tmp_path / "n.ipynb"
    if content == "bare":
        nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1")]), path)
    elif content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=said):
        launch.submit(path, [{}], name="bare", cluster="debug")


def test_paths_are_from_where_the_sweep_is_submitted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    book = Notebook(TRAIN)
    found = book.complete({"data": "here/train.npy", "arch": "mamba"}, tmp_path / "point", 1)
    assert found == {"data": str(tmp_path / "here/train.npy"), "arch": "mamba", "run_dir": str(tmp_path / "point")}
    assert book.complete({"data": "online"}, None, 4) == {"data": "online", "processes": 4}
    assert book.complete({"processes": 2}, None, 4) == {"processes": 2}
