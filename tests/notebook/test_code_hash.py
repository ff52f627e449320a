"""The hash of the code that determines a run: it ignores docstrings, comments and code that only reads runs."""

import ast
import shutil
from pathlib import Path

import pytest

import n2n
from n2n.notebook.code_hash import PACKAGES, code_hash

SOURCE = Path(n2n.__file__).parent
READERS = {"viz"}  # imported by training, but it only reads files


@pytest.fixture(scope="module")
def copy(tmp_path_factory) -> Path:
    target = tmp_path_factory.mktemp("source") / "n2n"
    shutil.copytree(SOURCE, target, ignore=shutil.ignore_patterns("__pycache__"))
    return target


@pytest.fixture(scope="module")
def unedited() -> str:
    return code_hash(SOURCE)


def edited_hash(copy: Path, name: str, old: str, new: str) -> str:
    path = copy / name
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    try:
        return code_hash(copy)
    finally:
        path.write_text(text)


@pytest.mark.parametrize("name", ["viz/comparison.py", "training/trainer.py", "training/optimization.py"])
def test_an_edit_of_a_docstring_or_a_comment_leaves_the_hash(copy, name, unedited):
    docstring = ast.get_docstring(ast.parse((copy / name).read_text()))
    assert edited_hash(copy, name, docstring, "Another docstring.") == unedited
    assert edited_hash(copy, name, "\n\n\n", "\n\n\n# A comment.\n\n") == unedited


def test_an_edit_of_a_figure_s_code_leaves_the_hash(copy, unedited):
    assert edited_hash(copy, "viz/comparison.py", "\n\n\n", "\n\n\nNEW = 1\n\n") == unedited


def test_an_edit_of_a_constant_of_the_optimizer_changes_the_hash(copy, unedited):
    assert edited_hash(copy, "training/optimization.py", "0.98", "0.99") != unedited


def imported_packages(module: Path) -> set[str]:
    """The packages of n2n that a module imports anywhere, directly or through other modules."""
    visited, remaining = set(), [module]
    while remaining:
        path = remaining.pop()
        if path in visited or not path.is_file():
            continue
        visited.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            names = []
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "n2n":
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                file = SOURCE.parent.joinpath(*name.split("."))
                remaining += [file.with_suffix(".py"), file / "__init__.py"]
    return {path.relative_to(SOURCE).parts[0] for path in visited} - {"__init__.py"}


def test_every_package_that_training_imports_counts():
    assert imported_packages(SOURCE / "training" / "trainer.py") == set(PACKAGES) | READERS
