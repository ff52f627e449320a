"""How a refusal looks: what goes without a name, what is suggested, and what Jupyter shows of it."""

import inspect
import subprocess
import sys

import nbformat
import papermill
import pytest
from nbclient import NotebookClient

import n2n
from n2n.utils.strict import MAX_REPR, Refused, nearest_name, short_repr, unknown

OURS = n2n.Graph.preset("two_chains")


def test_the_first_obvious_arguments_go_without_names():
    assert n2n.Node("A", 3) == n2n.Node(name="A", num_states=3)
    assert n2n.Node("X", 3, ["A"], observed=True).parents == ("A",)
    assert n2n.Graph([n2n.Node("A", 3), n2n.Node("X", 2, ["A"], observed=True)]).vocab_size == 2
    assert n2n.TrainConfig("sparse", "mamba") == n2n.TrainConfig(graph="sparse", arch="mamba")
    for cls in (n2n.DatasetConfig, n2n.ExploreConfig, n2n.DifficultyConfig):
        assert cls("sparse") == cls(graph="sparse")
    for cls in (n2n.ProbeConfig, n2n.DynamicsConfig, n2n.WelcomeConfig, n2n.AttentionConfig):
        assert cls("example:mamba").run == "example:mamba"
    assert n2n.EvaluateConfig(["example:mamba"]).runs == ("example:mamba",)
    assert n2n.ReportConfig("example:sweep").sweep == "example:sweep"


def refused(call, *args, **given) -> list[str]:
    with pytest.raises(Refused) as caught:
        call(*args, **given)
    return [said for _, said in caught.value.wrong]


def test_too_many_or_repeated_values_are_told_with_all_else():
    assert refused(n2n.TrainConfig, "sparse", "mamba", 3, steps=-1) == [
        "saw 3 values without names; only graph, arch may be",
        "steps: saw -1; it must be greater than 0",
    ]
    assert refused(n2n.TrainConfig, "sparse", graph="dense") == ["graph: given twice, by position and by name"]
    assert refused(n2n.launch.Resources, 3) == ["saw 1 values without names; every field needs its name"]


def test_the_signature_tells_positional_fields_first():
    kinds = {name: parameter.kind for name, parameter in inspect.signature(n2n.TrainConfig).parameters.items()}
    assert list(kinds)[:2] == ["graph", "arch"]
    assert kinds["graph"] is inspect.Parameter.POSITIONAL_OR_KEYWORD
    assert kinds["steps"] is inspect.Parameter.KEYWORD_ONLY


@pytest.mark.parametrize(
    ("value", "allowed", "meant"),
    [
        ("ran", ["run", "sequences"], "run"),
        ("sprase", ["sparse", "dense"], "sparse"),
        ("batch", ["batch_size", "heads"], "batch_size"),
        ("MAMBA", ["mamba"], "mamba"),
        ("expand", ["heads", "dim", "kernels"], None),
        ("epochs", ["steps", "heads"], None),
        ("state_dim", ["dim", "tied"], None),
        ("Z9", ["Z1", "Z2"], None),
        (3, ["3"], None),
        ("x" * 10**6, ["x"], None),
    ],
)
def test_a_far_name_is_not_suggested(value, allowed, meant):
    assert nearest_name(value, allowed) == (f"; did you mean {meant!r}?" if meant else "")


@pytest.mark.parametrize("device", ["gpu", "GPU"])
def test_a_gpu_is_cuda(device):
    (said,) = refused(n2n.TrainConfig, "sparse", device=device)
    assert said == f"device: saw {device!r}; did you mean 'cuda'? (allowed: auto, cpu, cuda)"


def test_values_are_shown_short_and_on_one_line():
    class Wordless:
        def __repr__(self):
            raise RuntimeError

    long = ["x" * 10**6, 10**400, 10**5000, list(range(10**6)), {i: i for i in range(10**5)}, "\n" * 500, Wordless()]
    endless: list = []
    endless.append(endless)
    for value in [*long, endless]:
        assert 0 < len(short_repr(value)) <= MAX_REPR
        assert "\n" not in short_repr(value)
    for value in (None, 1, -2.5, "a b", [1, 2], {"a": 1}, 2**64, (1,), True):
        assert short_repr(value) == repr(value)
    assert len(unknown("name", "x", [str(i) * 50 for i in range(10**4)])) < 2000


CELLS = ["import n2n", "config = (\n    n2n.TrainConfig('sprase', steps=-1)\n)"]


def notebook(path, *cells: str) -> None:
    spec = {"name": "python3", "language": "python", "display_name": "Python 3"}
    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    made.metadata["kernelspec"] = spec
    nbformat.write(made, path)


def error_of(cell) -> nbformat.NotebookNode:
    return next(output for output in cell.outputs if output.output_type == "error")


def test_jupyter_shows_the_refusal_and_the_reader_s_own_line(tmp_path):
    """In a real kernel; what fails for another reason than its values keeps its traceback."""
    late = "n2n.train(n2n.TrainConfig('sparse', run_dir='n.ipynb'))"
    notebook(tmp_path / "n.ipynb", *CELLS, "n2n.no_such_name", late)
    content = nbformat.read(tmp_path / "n.ipynb", as_version=4)
    NotebookClient(content, allow_errors=True, resources={"metadata": {"path": str(tmp_path)}}).execute()
    refusal, bug, refused_late = (error_of(cell) for cell in content.cells[1:])
    assert refusal.traceback[0] == "line 2: n2n.TrainConfig('sprase', steps=-1)"
    text = "\n".join(refusal.traceback)
    assert text.endswith("steps: saw -1; it must be greater than 0")
    assert "did you mean 'sparse'?" in text
    assert len(text.splitlines()) == 4
    assert refusal.ename == "Refused"
    assert "lazy_loader" in "\n".join(bug.traceback), "a bug keeps its whole traceback"
    assert refused_late.traceback[0] == f"line 1: {late}"
    assert len("\n".join(refused_late.traceback).splitlines()) == 3
    assert "is a file; a folder is needed" in refused_late.traceback[-1]


def test_papermill_fails_with_a_short_error_that_the_notebook_keeps(tmp_path):
    notebook(tmp_path / "in.ipynb", *CELLS)
    command = [sys.executable, "-m", "papermill", str(tmp_path / "in.ipynb"), str(tmp_path / "out.ipynb")]
    ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert ended.returncode != 0
    assert "steps: saw -1; it must be greater than 0" in ended.stderr
    assert "pydantic" not in ended.stderr
    stored = error_of(nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[-1])
    assert len("\n".join(stored.traceback)) < 600
    with pytest.raises(papermill.PapermillExecutionError, match="did you mean 'sparse'"):
        papermill.execute_notebook(tmp_path / "in.ipynb", tmp_path / "out.ipynb", progress_bar=False)


def test_draw_graph_takes_what_has_a_graph():
    drawn = n2n.viz.draw_graph(OURS)
    assert n2n.viz.draw_graph(n2n.Process(OURS)) == drawn
    assert n2n.viz.draw_graph("two_chains") == drawn
    with pytest.raises(ValueError, match="graph: saw 3; a Graph, a Process or a preset's name is needed"):
        n2n.viz.draw_graph(3)
    with pytest.raises(ValueError, match="graph: saw <networkx"):
        n2n.viz.draw_graph(OURS.networkx())


def test_explore_takes_a_name_a_graph_or_a_process():
    for asked in ("two_chains", OURS, n2n.Process(OURS, 0), n2n.ExploreConfig("two_chains", length=8)):
        assert n2n.explore(asked, length=8).process == n2n.Process(OURS, 0)
    assert n2n.explore(n2n.Process(OURS, 7), length=8).process.seed == 7
    with pytest.raises(ValueError, match="process: saw given kernels"):
        n2n.explore(n2n.Process.classic("even"))
    with pytest.raises(Refused, match="did you mean 'sparse'"):
        n2n.explore("sprase")


def test_a_learning_curve_draws_each_of_several_runs(small, tmp_path):
    paths = {"a": {"seed": 0}, "b": {"seed": 1}, "c": {"arch": "mamba"}, "d": {"process_seed": 1}}
    runs = {name: n2n.train(small(**fields, run_dir=tmp_path / name)) for name, fields in paths.items()}
    traces = {line.name: line for line in n2n.viz.learning_curve([runs["a"], runs["b"], runs["c"]]).data}
    assert set(traces) == {"a", "b", "mamba", "oracle"}, "the three see the same batches"
    for name, run in (("a", runs["a"]), ("b", runs["b"]), ("mamba", runs["c"])):
        assert list(traces[name].y) == losses(run)
    assert list(traces["oracle"].y) == runs["a"].metrics["oracle_nll"].tolist()
    other = {line.name for line in n2n.viz.learning_curve([runs["a"], runs["d"]]).data}
    assert other == {"a", "oracle, a", "d", "oracle, d"}
    assert n2n.viz.learning_curve([runs["a"]]) == n2n.viz.learning_curve(runs["a"])
    for nothing in ([], "a", [runs["a"], "b"], None):
        with pytest.raises(ValueError, match="a Run or a list of runs is needed"):
            n2n.viz.learning_curve(nothing)


def losses(run: n2n.Run) -> list[float]:
    return run.metrics["loss"].tolist()


def test_a_prompt_is_a_batch():
    model = n2n.models.build("mingru", vocab_size=4, dim=8, layers=1, heads=2)
    with pytest.raises(ValueError, match=r"saw shape \(2,\); \(batch, T\)"):
        model.generate([1, 2], 5)
    assert model.generate([[1, 2]], 5).shape == (1, 7)


def test_a_configuration_that_was_recorded_needs_no_dataset(small, tmp_path):
    """A run is looked at after its dataset is gone, but not trained on."""
    store = n2n.data.generate(n2n.Process(n2n.Graph.preset("sparse")), tmp_path / "a.npy", 40, 12)
    run = n2n.train(small(graph="sparse", data=store.path))
    store.path.unlink()
    assert n2n.Run(run.path).config == run.config
    assert n2n.Run(run.path).model().config.vocab_size == 32
    (said,) = refused(n2n.TrainConfig, **run.config.model_dump(mode="json"))
    assert said.startswith("data: no dataset at")
