"""A sweep's folder: its name and its copy of n2n."""

from pathlib import Path

import pytest
from support.small_notebook import trivial

import n2n
from n2n import launch


@pytest.fixture
def runs() -> Path:
    return n2n.runs.root()


@pytest.mark.parametrize("name", ["", "../x", "a b", ".hidden", "x.ipynb"])
def test_names_that_are_no_folders_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match="name: saw"):
        launch.submit(trivial(tmp_path / "t.ipynb"), [{}], name=name, cluster="debug")


def test_a_copy_that_was_cut_off_is_made_anew(tmp_path, runs, monkeypatch):
    from n2n.launch import sweep

    notebook = trivial(tmp_path / "t.ipynb")
    with monkeypatch.context() as patch:
        patch.setattr(sweep, "write_json", lambda *given: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            launch.submit(notebook, [{}], name="cut", cluster="debug")
    (runs / "cut" / ".code.killed.part").mkdir()
    launch.submit(notebook, [{}], name="cut", cluster="debug")
    assert {path.name for path in (runs / "cut").iterdir() if "code" in path.name} == {"code"}
