"""A hash of the code that determines a training run."""

from __future__ import annotations

import ast
import hashlib
import sys
from pathlib import Path

import torch

# Packages whose code determines the files of a run. Training also imports viz, which only reads such files.
PACKAGES = ("analysis", "config", "data", "difficulty", "graph", "models", "monitor", "oracle", "process", "training")
PACKAGES += ("runs", "utils")


def code_hash(source: Path) -> str:
    """Hash the code that determines a training run, and the versions of torch and Python.

    Comments, docstrings and layout do not count.

    Args:
        source: folder of the package ``n2n``.
    """
    digest = hashlib.sha256(f"torch {torch.__version__}, Python {sys.version_info[:2]}".encode())
    for path in sorted(path for package in PACKAGES for path in (source / package).rglob("*.py")):
        digest.update(f"{path.relative_to(source)}\n{_code(path.read_text(encoding='utf-8'))}\n".encode())
    return digest.hexdigest()


def _code(text: str) -> str:
    """The syntax tree of a module as text, without docstrings; stable within a minor version of Python."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        documented = isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        if documented and ast.get_docstring(node, clean=False) is not None:
            del node.body[0]
    return ast.dump(tree)
