"""The README's commands, examples and layout, and the dependencies."""

import doctest
import importlib
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOP = {"README.md", "requirements.txt", "pyproject.toml", "LICENSE", "notebooks", "n2n", "runs", "tests"}


def test_the_top_level_has_no_other_files():
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so what belongs to the repository is not known")
    files = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\n")
    assert {file.split("/")[0] for file in files if file and not file.startswith(".")} == TOP


def test_ci_runs_the_readme_s_test_command():
    command = "pip install -r requirements.txt && pytest"
    assert re.search(rf"^{re.escape(command)}$", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert re.search(rf"^{re.escape(command)}$", (ROOT / ".ci" / "run").read_text(), re.MULTILINE)


PACKAGES_WITH_EXAMPLES = ("models", "oracle", "launch")


def examples(package: str) -> str:
    """The ``>>>`` lines of a package's docstring as a program."""
    doc = importlib.import_module(f"n2n.{package}").__doc__
    return "".join(example.source for example in doctest.DocTestParser().get_examples(doc))


def test_python_in_the_readme_and_in_packages_runs(monkeypatch):
    """The blocks in order, as a reader would type them; runs are cut to three steps, the sweep to two runs."""
    monkeypatch.setattr("plotly.graph_objects.Figure.show", lambda self: None)
    monkeypatch.setattr("n2n.launch.slurm.available", lambda: False)  # no real jobs
    monkeypatch.chdir(ROOT)
    blocks = re.findall(r"^```python\n(.*?)^```", (ROOT / "README.md").read_text(), re.M | re.S)
    names = {}
    for block in [*blocks, *map(examples, PACKAGES_WITH_EXAMPLES)]:
        exec(block.replace("steps=300", "steps=3").replace("seed=range(3)", "seed=0, steps=3"), names)
    assert names["run"].metrics["step"].tolist()[-1] == 2
    assert names["inside"].residual.shape[:3] == (2, 3, 21)
    assert names["inside"].mixing.shape == (2, 2, 4, 21, 21)
    assert (names["edited"].latents["Z1"][:, 40] == 3).all()
    assert names["influence"].shape == (16, 127, 127)
    assert names["table"][["arch", "state"]].to_numpy().tolist() == [["transformer", "done"], ["mamba", "done"]]


def test_the_readme_s_layout_lists_the_packages():
    """Every package is listed once, and imports only packages above it."""
    layout = re.search(r"^n2n/\n(.*?)^notebooks/", (ROOT / "README.md").read_text(), re.M | re.S)[1]
    listed = re.findall(r"^  (\w+)/ ", layout, re.M)
    assert sorted(listed) == sorted(path.parent.name for path in (ROOT / "n2n").glob("*/__init__.py"))
    for i, package in enumerate(listed):
        for path in (ROOT / "n2n" / package).rglob("*.py"):
            imported = set(re.findall(r"^\s*from n2n\.(\w+)", path.read_text(), re.M))
            assert imported <= set(listed[: i + 1]), path


def pinned() -> dict[str, str]:
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pairs = (re.match(r"([\w-]+)==([\d.]+)(?!.*<)", line) for line in lines)
    return {pair[1]: pair[2] for pair in pairs if pair}


def bounds() -> dict[str, str]:
    dependencies = re.search(r"^dependencies = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.M | re.S)[1]
    return dict(re.findall(r'"([\w-]+)>=([\d.]+)"', dependencies))


def test_every_dependency_is_pinned_and_every_pin_a_dependency():
    assert pinned().keys() == bounds().keys()
    assert (ROOT / "requirements.txt").read_text().endswith("\n-e .\n")


@pytest.mark.parametrize("package", bounds())
def test_pins_lie_within_the_bounds(package):
    numbers = [tuple(map(int, version[package].split("."))) for version in (bounds(), pinned())]
    assert numbers[0] <= numbers[1]
