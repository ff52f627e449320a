"""Shared by the tests of the launcher."""

from pathlib import Path

import pytest

import n2n


@pytest.fixture
def runs() -> Path:
    """The folder of runs and sweeps."""
    return n2n.runs.root()
