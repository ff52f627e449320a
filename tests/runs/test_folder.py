"""The names of a run's files, and reading of folders with and without a run."""

import ast
from collections import Counter
from pathlib import Path

import pytest

import n2n
from n2n.runs.folder import RunFolder

PATHS = [name for name, value in vars(RunFolder).items() if name.endswith("_path") and isinstance(value, property)]


@pytest.fixture(scope="module")
def texts() -> Counter[str]:
    """The text literals in the library's source, with their counts."""
    nodes = (node for path in Path(n2n.__file__).parent.rglob("*.py") for node in ast.walk(ast.parse(path.read_text())))
    return Counter(node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str))


@pytest.mark.parametrize("attribute", PATHS)
def test_each_name_is_written_once_in_the_library(attribute, texts):
    name = getattr(RunFolder(Path("run")), attribute).name
    assert texts[name] == (2 if name == "tensorboard" else 1)  # TensorBoard's package has the name of its folder


def test_an_empty_folder_holds_nothing(tmp_path):
    folder = RunFolder(tmp_path)
    assert not folder.holds_run
    assert (folder.read_config(), folder.read_status(), folder.read_job(), folder.read_environment()) == ({},) * 4
    assert folder.read_metrics().empty
    assert (folder.read_evaluations(), folder.steps, folder.last_step) == ([], [], 0)
    assert list(tmp_path.iterdir()) == [], "reading writes nothing"


def test_the_files_of_a_run_are_where_the_folder_says(small, tmp_path):
    run = n2n.train(small(run_dir=tmp_path / "run", eval_every=4))
    folder = run.folder
    assert folder.holds_run
    assert folder.read_config() == run.config.model_dump(mode="json")
    assert folder.read_status() == run.status
    assert folder.last_step == folder.steps[-1] == run.steps[-1] == 8
    assert all(path.exists() for path in (folder.log_path(0), folder.environment_path, folder.checkpoints_path))
    assert [row["step"] for row in folder.read_evaluations()] == [4, 8, 8]
