"""Shared by the tests of YAML files."""

from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest


@pytest.fixture
def write_yaml(tmp_path) -> Callable[..., Path]:
    """A function that writes a text, without its common indentation, to a file of this name."""

    def write(text: str, name: str = "graph.yaml") -> Path:
        path = tmp_path / name
        path.write_text(dedent(text))
        return path

    return write
