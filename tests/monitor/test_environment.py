import json
import subprocess

import torch

from n2n.monitor.environment import SNAPSHOT, describe_environment, git_state


def test_the_environment_has_packages_and_machine(tmp_path):
    environment = describe_environment(tmp_path)
    assert environment["packages"]["torch"] == torch.__version__
    assert environment["git_commit"] is None  # a temporary folder is no checkout
    json.dumps(environment)


def test_a_copy_has_the_git_state_of_its_checkout(tmp_path):
    (tmp_path / SNAPSHOT).write_text('{"git_commit": "abc", "git_diff": "+1"}')
    assert git_state(tmp_path / "n2n") == {"git_commit": "abc", "git_diff": "+1"}


def test_untracked_files_are_listed(tmp_path):
    for command in (
        ["init", "-q"],
        ["-c", "user.name=x", "-c", "user.email=x", "commit", "-q", "--allow-empty", "-m", "x"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    (tmp_path / "mine.py").write_text("1")
    (tmp_path / "n2n").mkdir()
    state = git_state(tmp_path / "n2n")
    assert state["git_untracked"] == ["mine.py"]
    assert len(state["git_commit"]) == 40
