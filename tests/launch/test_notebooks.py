"""Parameters and configuration class of a notebook, as the launcher reads them."""

import re
from pathlib import Path

import pytest
import yaml
from support.notebooks import NOTEBOOKS, TRAIN, write_notebook
from support.small_notebook import trivial

import n2n
from n2n import launch
from n2n.launch.command import main
from n2n.launch.notebooks import Notebook


def notebook_of(path: Path, parameters: str, *cells: str) -> Notebook:
    return Notebook(write_notebook(path, parameters, *cells, tags=["parameters"]))


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
def test_defaults_are_read_from_the_parameters_cell(tmp_path, cell, values):
    book = notebook_of(tmp_path / "n.ipynb", cell)
    assert book.defaults == values
    assert book.names == sorted(values)
    assert book.point_error(dict.fromkeys(values, 1), launch.Resources()) is None
    assert "unknown parameter 'strange'" in book.point_error({"strange": 1}, launch.Resources())


def test_a_computed_default_is_not_checked(tmp_path):
    """Its value is known only when the cell runs; the value of a point is checked."""
    cell = "import os\ngraph: str = os.environ.get('GRAPH', 'sparse')\nsteps: int = 10 ** 3"
    book = notebook_of(tmp_path / "n.ipynb", cell, "import n2n\nconfig = n2n.TrainConfig(**n2n.parameters(globals()))")
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
def test_every_form_of_import_leads_to_the_configuration_class(tmp_path, cell):
    assert notebook_of(tmp_path / "n.ipynb", "arch: str = 'mamba'", cell).config_class is n2n.TrainConfig


@pytest.mark.parametrize(
    "cell",
    ["import n2n\nn2n.train(**n2n.parameters(globals()))", "def f(", "config = TrainConfig(**parameters(globals()))"],
)
def test_a_notebook_without_a_configuration_of_n2n_has_no_class(tmp_path, cell):
    assert notebook_of(tmp_path / "n.ipynb", "arch: str = 'mamba'", cell).config_class is None


CONTEXT = "{nodes: [{name: Z, num_states: 2, mode: context}, {name: X, num_states: 2, parents: [Z], observed: true}]}"


@pytest.mark.parametrize(
    ("stem", "point", "message"),
    [
        ("train", "{data: gone/train.npy}", "data: .*gone/train.npy"),
        ("train", "{data: gone/train.npy, sequences: 3}", "data: .*gone/train.npy"),
        ("train", f"{{graph: {CONTEXT.replace('2, mode', '20000, mode')}}}", "Z: its kernel of 400000000 entries"),
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
        ("in_context", "{graph: sparse}", "graph: saw no node in mode 'context'"),
        ("in_context", "{learners: {a: {arch: mmba}}}", "learners: a: arch: unknown architecture 'mmba'"),
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
def test_a_dry_run_refuses_the_same_values_as_the_notebook(stem, point, message, tmp_path, monkeypatch, capsys):
    """The dry run writes nothing, and the notebook's configuration cell raises the same error."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "occupied").write_text("a file")
    (tmp_path / "points.yaml").write_text(f"- {point}\n")
    before = sorted(tmp_path.rglob("*"))
    path = NOTEBOOKS / f"{stem}.ipynb"
    assert main([str(path), "--name", "dry", "-f", "points.yaml", "--cluster", "local", "--dry-run"]) == 2
    errors = capsys.readouterr().err
    assert "1 of 1 points are wrong, and nothing was submitted" in errors
    assert re.search(message, errors)
    assert sorted(tmp_path.rglob("*")) == before
    book, values = Notebook(path), yaml.safe_load(point)
    if "run_dir" not in values:
        with pytest.raises(ValueError, match=message):
            book.config_class(**{**book.defaults, **values})


@pytest.mark.parametrize(
    ("name", "config_class"),
    [("train", n2n.TrainConfig), ("dataset", n2n.DatasetConfig), ("benchmark", n2n.benchmark.Settings)],
)
def test_the_configuration_classes_of_notebooks(name, config_class):
    assert Notebook(NOTEBOOKS / f"{name}.ipynb").config_class is config_class


def test_a_notebook_without_a_configuration_accepts_only_its_parameters(tmp_path):
    book = Notebook(trivial(tmp_path / "t.ipynb"))
    assert (book.config_class, book.names) == (None, ["fail", "i"])
    assert book.point_error({"i": 3}, launch.Resources()) is None
    assert "unknown parameter 'fial'; did you mean 'fail'" in book.point_error({"fial": True}, launch.Resources())
    assert "nodes: saw 2, but the notebook has no parameter 'processes'" in book.point_error(
        {}, launch.Resources(nodes=2)
    )
    error = Notebook(TRAIN).point_error({"processes": 3, "batch_size": 30}, launch.Resources(nodes=2))
    assert error == "processes: saw 3, which 2 nodes do not divide"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "notebook: no file"),
        ("nothing", "is no notebook"),
        ("{}", "is no notebook"),
        ("bare", "no cell with the tag"),
    ],
)
def test_files_without_a_parameters_cell_are_refused(tmp_path, content, message):
    path = tmp_path / "n.ipynb"
    if content == "bare":
        write_notebook(path, "1")
    elif content is not None:
        path.write_text(content)
    with pytest.raises(ValueError, match=message):
        launch.submit(path, [{}], name="bare", cluster="debug")


def test_relative_paths_start_at_the_submitter_s_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    book = Notebook(TRAIN)
    values = book.complete({"data": "here/train.npy", "arch": "mamba"}, tmp_path / "point", 1)
    assert values == {"data": str(tmp_path / "here/train.npy"), "arch": "mamba", "run_dir": str(tmp_path / "point")}
    assert book.complete({"data": "online"}, None, 4) == {"data": "online", "processes": 4}
    assert book.complete({"processes": 2}, None, 4) == {"processes": 2}
