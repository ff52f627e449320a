"""An editable install, as requirements.txt makes one, seen from the clone's parent folder."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILD = "import sys; from setuptools.build_meta import build_editable; build_editable(sys.argv[1])"
IMPORT = "import site, sys; site.addsitedir(sys.argv[1]); import n2n; print(n2n.__file__); print(n2n.__version__)"


def test_a_script_in_the_clone_s_parent_folder_imports_the_package(tmp_path):
    """The clone's folder has the package's name, and Python could import it as a namespace package."""
    pytest.importorskip("setuptools", minversion="77", reason="needs setuptools, with which pip builds n2n")
    clone = tmp_path / "n2n"
    clone.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, clone)
    (clone / "n2n").mkdir()
    (clone / "n2n" / "__init__.py").write_text("__version__ = 'of the package'\n")
    (site := tmp_path / "site").mkdir()
    subprocess.run([sys.executable, "-W", "ignore", "-c", BUILD, site], cwd=clone, check=True, capture_output=True)
    (wheel,) = site.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(site)
    command = [sys.executable, "-S", "-c", IMPORT, site]  # without the n2n of this environment
    process = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert process.stdout.split("\n")[:2] == [str(clone / "n2n" / "__init__.py"), "of the package"]
