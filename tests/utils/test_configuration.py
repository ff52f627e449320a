"""Values whose type papermill guessed wrongly, in every notebook: the error names the option that passes them."""

import re
import shlex
import subprocess
import sys

import pytest
import yaml
from papermill.cli import _resolve_type
from support.notebooks import NOTEBOOKS

import n2n
from n2n.launch.notebooks import Notebook
from n2n.utils.configuration import Configuration

BOOKS = {
    path.stem: Notebook(path) for path in sorted(NOTEBOOKS.glob("*.ipynb")) if '"papermill"' not in path.read_text()
}
TEXTS = ("graph", "arch", "data", "schedule", "precision", "kernels", "parallel", "device", "run_dir")
LISTS, MAPPINGS = ("profile_steps",), ("model_options", "tables")


def parameters(kind: type, more: tuple[str, ...]) -> list[tuple[str, str]]:
    """Notebook and name of every parameter whose default has this type, and of further fields of a run."""
    pairs = [
        (stem, name) for stem, book in BOOKS.items() for name, value in book.defaults.items() if type(value) is kind
    ]
    return sorted({*pairs, *(("train", name) for name in more)})


def error_of(stem: str, name: str, value: object) -> str:
    """The error of a notebook's configuration about one parameter."""
    with pytest.raises(ValueError, match=name) as error:
        BOOKS[stem].config_class(**{**BOOKS[stem].defaults, name: value})
    return "\n".join(line for line in str(error.value).splitlines() if line.startswith(f"  - {name}"))


def option(message: str, letter: str) -> list[str]:
    """The values that a shell would pass with the option in a message."""
    return shlex.split(message.splitlines()[-1].rpartition("papermill")[2].partition(f"-{letter} ")[2])


def test_every_notebook_has_a_configuration_class():
    assert len(BOOKS) >= 12
    assert all(issubclass(book.config_class, Configuration) for book in BOOKS.values())


@pytest.mark.parametrize(("stem", "name"), parameters(str, TEXTS))
@pytest.mark.parametrize("typed", ["20240101", "True", "None", "1e5", "nan"])
def test_text_that_papermill_converted(stem, name, typed):
    value = _resolve_type(typed)
    assert not isinstance(value, str)
    message = error_of(stem, name, value)
    assert f"papermill's -r {name} {'TEXT' if isinstance(value, float) else typed}" in message
    assert len(message.splitlines()) == 1


@pytest.mark.parametrize(("stem", "name"), parameters(list, LISTS))
@pytest.mark.parametrize(("typed", "meant"), [("[a, b]", ["a", "b"]), ("a", ["a"]), ("a, 'b c'", ["a", "b c"])])
def test_lists_that_papermill_left_as_text(stem, name, typed, meant):
    value = _resolve_type(typed)
    (passed,) = option(error_of(stem, name, value), "y")
    assert yaml.safe_load(passed) == {name: meant}


@pytest.mark.parametrize(("stem", "name"), parameters(dict, MAPPINGS))
@pytest.mark.parametrize("typed", ["{a: [1, b]}", "a: [1, b]"])
def test_mappings_that_papermill_left_as_text(stem, name, typed):
    (passed,) = option(error_of(stem, name, _resolve_type(typed)), "y")
    assert yaml.safe_load(passed) == {name: {"a": [1, "b"]}}


def test_a_graph_typed_as_a_mapping():
    typed = "{nodes: [{name: X, num_states: 2, observed: true, recurrent: true}]}"
    (passed,) = option(error_of("train", "graph", _resolve_type(typed)), "y")
    assert n2n.TrainConfig(**yaml.safe_load(passed)).graph.vocab_size == 2


def test_names_in_a_list_that_yaml_converted_to_numbers():
    (passed,) = option(error_of("evaluate", "runs", yaml.safe_load("[20240101, 20240102]")), "y")
    assert yaml.safe_load(passed) == {"runs": ["20240101", "20240102"]}


@pytest.mark.parametrize("value", ["[" + "a, " * 500 + "]", "[a\nb]", "[a\x1b]"])
def test_values_unfit_for_a_shell_are_not_repeated(value):
    message = error_of("evaluate", "runs", value)
    assert message.endswith("-y 'runs: [..]'")
    assert len(message) < 400


HOSTILE = {"digits": 10**5000, "parts": [10**5000, object()], "nested": [[[]]], "set": {1}, "bytes": b"x\0"}
HOSTILE |= {"object": object(), "negative": -(10**60), "surrogate": "\ud800"}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize(("stem", "name"), [("train", "run_dir"), ("evaluate", "runs"), ("sweep", "grid")])
def test_errors_are_short_for_any_value(stem, name, value):
    assert len(error_of(stem, name, value)) < 500


@pytest.mark.parametrize(
    ("stem", "name", "value"), [("train", "arch", "mmba"), ("train", "steps", "x"), ("dataset", "part", -1)]
)
def test_no_option_is_suggested_for_other_errors(stem, name, value):
    assert "papermill" not in error_of(stem, name, value)


@pytest.mark.parametrize(
    ("stem", "arguments", "message"),
    [
        ("train", ("-p", "run_dir", "20240101"), "run_dir: saw .*papermill's -r run_dir 20240101"),
        ("evaluate", ("-p", "runs", "[a, b]"), r"runs: saw '\[a, b\]'; .*papermill: -y 'runs: \[a, b\]'"),
    ],
)
def test_papermill_shows_the_suggestion(tmp_path, stem, arguments, message):
    book = str(BOOKS[stem].path)
    command = [sys.executable, "-m", "papermill", book, "out.ipynb", "--no-progress-bar", *arguments]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode != 0
    assert re.search(message, done.stderr)
