"""Assignments of cells, compared with the names and values that Python leaves when it executes them."""

import math

import pytest
from hypothesis import given, settings, strategies as st
from papermill.translators import PythonTranslator

from n2n.notebook.assignments import constant, read_assignments

CELLS = [
    'source = "a=b"',
    "rate = 1e-3; other = 2",
    'page = "http://h/x#frag"  # where it is',
    'a: str = "x = 1"; b: int = 2  # a = 3',
    "grid = {\n    'lr': [1e-3, 1e-4],  # two\n    'seed': (0,),\n}",
    'text = """one = 1\ntwo: int = 2\n"""',
    "rate = 1e-3  # type: float",
    "low, (high, best) = 1, (2, [3])",
    "a = b = -1",
    "seed = 1\nseed = 2",
    "joined = 'a' \\\n    'b'",
    "void: None = None; yes: bool = True",
    "import math\nn: int = 4",
    '"""What this is."""\nn: int = 4',
]


@pytest.mark.parametrize("cell", CELLS)
def test_names_and_values_are_those_of_python(cell):
    scope: dict = {}
    exec(cell, {}, scope)
    expected = {name: value for name, value in scope.items() if name not in ("math", "__doc__", "__annotations__")}
    nodes = read_assignments(cell).values
    assert {name: constant(value).value for name, value in nodes.items()} == expected
    assert list(nodes) == list(expected)


@pytest.mark.parametrize(
    ("cell", "names"),
    [
        ("%matplotlib inline\nsteps: int = 5", ["steps"]),
        ("%load_ext autoreload\n%autoreload 2\nsteps: int = 5\n!ls\nrate: float = 0.1", ["steps", "rate"]),
        ("%%time\nsteps: int = 5", ["steps"]),
        ("%%capture output\nsteps: int = 5; rate: float = 0.1", ["steps", "rate"]),
        ("%time steps = 5", ["steps"]),
        ("get_ipython().run_line_magic('time', 'steps = 5')", ["steps"]),
        ("get_ipython().run_cell_magic('time', '', 'steps: int = 5\\n')", ["steps"]),
        ("%%bash\nsteps=5", []),
        ("%%writefile x.py\nsteps: int = 5", []),
    ],
)
def test_names_next_to_magics_are_read(cell, names):
    assignments = read_assignments(cell)
    assert list(assignments.values) == names
    assert assignments.only_assigns


@pytest.mark.parametrize("cell", ["steps = len('abc')", "folder = %pwd", "n = 1\nn += 1", "first, *rest = 1, 2"])
def test_computed_values_are_unknown(cell):
    assignments = read_assignments(cell)
    assert assignments.values
    assert any(value is None or constant(value) is None for value in assignments.values.values())
    assert not assignments.literal


@pytest.mark.parametrize("cell", ["def f(", "[" * 5000, "\0", "", "# a comment", "x = = 3", '"""'])
def test_invalid_python_assigns_nothing(cell):
    assert read_assignments(cell).empty


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def _without_nan(value):
    if isinstance(value, dict):
        return {key: _without_nan(part) for key, part in value.items()}
    if isinstance(value, list):
        return [_without_nan(part) for part in value]
    return "not a number" if isinstance(value, float) and math.isnan(value) else value


@settings(deadline=None, max_examples=200)
@given(st.dictionaries(st.from_regex(r"p_[a-z]{1,8}", fullmatch=True), VALUES, min_size=1, max_size=4))
def test_cells_that_papermill_injects_are_recognised(parameters):
    for comment in ("Parameters", "Injected Parameters"):
        cell = PythonTranslator.codify(parameters, comment)
        assignments = read_assignments(cell)
        assert assignments.literal
        assert list(assignments.values) == list(parameters)
        scope: dict = {}
        exec(cell, {}, scope)
        nodes = {name: constant(value) for name, value in assignments.values.items()}
        values = {name: _without_nan(node.value) for name, node in nodes.items() if node}
        assert values == {name: _without_nan(scope[name]) for name in values}
