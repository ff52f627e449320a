"""The tests lie in the same tree as n2n: ``tests/oracle/test_filtering.py`` tests ``n2n/oracle/filtering.py``.

Tests of a package within a package lie among those of the outer one.
"""

from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PACKAGE = TESTS.parent / "n2n"
NO_PACKAGE = {"end_to_end", "repository", "support"}  # tests of whole programs and of the repository, shared helpers
WHOLE_PACKAGE = {  # tests of what several modules of a package do together
    "models/test_compiled_ops.py",
    "models/test_fused_kernels.py",
    "notebook/test_refusals.py",
    "oracle/test_frozen.py",
    "oracle/test_properties.py",
    "process/test_starts.py",
    "training/test_replaced.py",
    "viz/test_markup.py",
}
FILES = [path for path in sorted(TESTS.glob("*/test_*.py")) if path.parent.name not in NO_PACKAGE]


def test_every_folder_of_tests_is_a_package():
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    folders = {path.name for path in TESTS.iterdir() if path.is_dir() and not path.name.startswith(("_", "."))}
    assert folders == packages | NO_PACKAGE
    assert {path.name for path in TESTS.glob("*.py")} == {"conftest.py"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_every_test_file_has_its_module(path):
    package, module = PACKAGE / path.parent.name, path.name.removeprefix("test_")
    is_package = (package / module).with_suffix("").is_dir() or path.stem == f"test_{package.name}"
    own = is_package or any(package.rglob(module))
    assert own != (f"{path.parent.name}/{path.name}" in WHOLE_PACKAGE)


def test_no_file_has_more_than_300_lines():
    files = [path for folder in (PACKAGE, TESTS) for path in folder.rglob("*.py")]
    assert [path for path in files if len(path.read_text().splitlines()) > 300] == []
