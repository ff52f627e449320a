import json
import subprocess

import torch

from n2n.monitor.environment import SNAPSHOT, describe_environment, git_state


def test_environment_names_packages_and_machine(tmp_path):
    found = describe_environment(tmp_path)
    assert found["packages"]["torch"] == torch.__version__
    assert found["git_commit"] is None  # a temporary folder is no checkout
    json.dumps(found)


def test_a_copy_tells_of_the_checkout_that_it_was_made_from(tmp_path):
    (tmp_path / SNAPSHOT).write_text('{"git_commit": "abc", "git_diff": "+1"}')
    assert git_state(tmp_path / "n2n") == {"git_commit": "abc", "git_diff": "+1"}


def test_new_files_of_a_checkout_are_named(tmp_path):
    for command in (
        ["init", "-q"],
        ["-c", "user.name=x", "-c", "user.email=x", "commit", "-q", "--allow-empty", "-m", "x"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    (tmp_path / "mine.py").write_text("1")
    (tmp_path / "n2n").mkdir()
    found = git_state(tmp_path / "n2n")
    assert found["git_untracked"] == ["mine.py"]
    assert len(found["git_commit"]) == 40
