"""The folder of a sweep: its name, its place and its copy of n2n."""

import pytest
from support.small_notebook import trivial

from n2n import launch


@pytest.mark.parametrize("name", ["", "../x", "a b", ".hidden", "x.ipynb"])
def test_names_that_cannot_be_folders_are_refused(name, tmp_path):
    with pytest.raises(ValueError, match="name: saw"):
        launch.submit(trivial(tmp_path / "t.ipynb"), [{}], name=name, cluster="debug")


def test_an_interrupted_copy_of_the_code_is_made_again(tmp_path, runs, monkeypatch):
    from n2n.launch import sweep

    notebook = trivial(tmp_path / "t.ipynb")
    with monkeypatch.context() as patch:
        patch.setattr(sweep, "write_json", lambda *arguments: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            launch.submit(notebook, [{}], name="cut", cluster="debug")
    (runs / "cut" / ".code.killed.part").mkdir()
    launch.submit(notebook, [{}], name="cut", cluster="debug")
    assert {path.name for path in (runs / "cut").iterdir() if "code" in path.name} == {"code"}


@pytest.mark.parametrize("name", ["x" * 201, "x" * 5000, "x\n", "x\ny", "-x", "x\u2028", "x/y", "x%j"])
def test_names_with_other_characters_are_refused(name, tmp_path):
    with pytest.raises(
        ValueError, match=r"name: saw .*letters, digits and any of _.\+-, with a letter or digit first"
    ) as error:
        launch.submit(trivial(tmp_path / "t.ipynb"), [{}], name=name, cluster="debug")
    assert len(str(error.value)) < 300


@pytest.mark.parametrize("part", ["a\nb", "a%jb", "a\\b", "a\u2028b", "a\rb"])
def test_folders_that_a_batch_script_cannot_name_are_refused(part, tmp_path, monkeypatch):
    monkeypatch.setenv("N2N_RUNS", str(tmp_path / part))
    with pytest.raises(ValueError, match="which a batch script cannot hold; set N2N_RUNS"):
        launch.submit(trivial(tmp_path / "t.ipynb"), [{}], name="s", cluster="debug")
    assert not (tmp_path / part).exists()
