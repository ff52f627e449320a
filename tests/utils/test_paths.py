"""Every function of a path refuses other values; every name becomes the name of one folder inside its parent."""

import os
import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings, strategies as st

import n2n
from n2n import runs
from n2n.data import generate
from n2n.launch import points
from n2n.notebook.examples import RunConfig
from n2n.notebook.process_notebook_configs import DatasetConfig
from n2n.training import run_folder
from n2n.utils import paths

GRAPH = n2n.Graph.preset("single")
PROCESS = n2n.Process(GRAPH)


def _report(folder):
    from n2n.notebook.report_page import write_report

    return write_report(None, {}, None, folder)


def _config(folder):
    return run_folder.requested_folder(n2n.TrainConfig(graph=GRAPH, run_dir=folder))


def _root(folder, monkeypatch):
    monkeypatch.setenv("N2N_RUNS", os.fspath(folder))
    return runs.root()


# Functions of a path, each with the suffix that it requires.
FUNCTIONS = {
    "TrainConfig.run_dir": (_config, ""),
    "TrainConfig.data": (lambda path: n2n.TokenStore(n2n.TrainConfig(graph=GRAPH, data=path).data), ""),
    "DatasetConfig.folder": (lambda path: DatasetConfig(graph=GRAPH, folder=path), ""),
    "N2N_RUNS": (_root, ""),
    "generate": (lambda path: generate(PROCESS, path, 4, 8), ".npy"),
    "TokenStore": (n2n.TokenStore, ".npy"),
    "from_yaml": (n2n.Graph.from_yaml, ".yaml"),
    "to_yaml": (GRAPH.to_yaml, ".yaml"),
    "Run": (n2n.Run, ""),
    "evaluate": (n2n.evaluate, ""),
    "runs.table": (runs.table, ""),
    "OneRun": (lambda path: RunConfig(run=path), ""),
    "read_sweep": (n2n.read_sweep, ""),
    "write_report": (_report, ""),
    "submit": (lambda path: n2n.launch.submit(path, [{}], name="s"), ".ipynb"),
    "read_points": (points.read_points, ".yaml"),
}
# Paths to which the suffix is appended.
REFUSED = {
    "s3://bucket/run": "a URL of scheme 's3'",
    "gs://b/t": "a URL of scheme 'gs'",
    "file:///tmp/run": "a URL of scheme 'file'",
    "https://h/x": "a URL of scheme 'https'",
    "S3:/b/run": "a URL of scheme 'S3'",
    "~nosuchuser/run": "there is no home ~nosuchuser",
    "ru\0n": "null character",
    "x" * 300: "a name of 30[0-9] bytes",
    "deep/" + "é" * 150: "a name of 30[0-9] bytes",
    "a/" * 2100 + "run": "at most 4095 bytes",
    "dangling": "dangling.* is a link to .*nowhere.*, which is not there",
    "gone/run": "gone is a link to .*nowhere, which is not there",
    "loop/run": "loop is a link to .*loop, which is not there",
}


@pytest.fixture
def links(tmp_path, monkeypatch):
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    (here / "gone").symlink_to(tmp_path / "nowhere")
    (here / "loop").symlink_to(here / "loop")
    for suffix in {suffix for _, suffix in FUNCTIONS.values()}:
        (here / f"dangling{suffix}").symlink_to(tmp_path / f"nowhere{suffix}")
    return here


@pytest.mark.parametrize("name", FUNCTIONS)
def test_every_function_refuses_invalid_paths(name, links, monkeypatch):
    call, suffix = FUNCTIONS[name]
    before = sorted(links.rglob("*"))
    for path, message in REFUSED.items():
        if name == "N2N_RUNS" and "\0" in path:
            continue  # environment variables cannot contain it
        arguments = (monkeypatch,) if name == "N2N_RUNS" else ()
        with pytest.raises(ValueError, match=message) as caught:
            call(path + suffix, *arguments)
        assert len(str(caught.value)) < 600
    assert sorted(links.rglob("*")) == before


@pytest.mark.parametrize("name", ["TrainConfig.run_dir", "DatasetConfig.folder", "N2N_RUNS", "TokenStore", "to_yaml"])
def test_invalid_path_objects_and_other_types_are_refused(name, links, monkeypatch):
    call, suffix = FUNCTIONS[name]
    arguments = (monkeypatch,) if name == "N2N_RUNS" else ()
    with pytest.raises(ValueError, match="a URL of scheme 's3'"):
        call(Path("s3://b/run" + suffix), *arguments)
    if name != "N2N_RUNS":
        for wrong in (3, b"run", ["run"]):
            with pytest.raises(ValueError, match=re.escape(f"saw {wrong!r}; the path of a file or folder is needed")):
                call(wrong)


@pytest.mark.parametrize("text", ["run", "a b/ü", "x" * 255, "./~odd", "example:x", "a:b", "-", "..", "C:x"])
def test_a_valid_path_is_not_changed(text):
    assert paths.path_text(text) == text
    assert paths.checked_path(text, "path") == Path(text).absolute()


def test_the_tilde_is_expanded_by_configurations(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert n2n.TrainConfig(graph=GRAPH, run_dir="~/run").run_dir == f"{tmp_path}/run"
    assert n2n.TrainConfig.recorded({"graph": GRAPH, "data": Path("~/t.npy")}).data == f"{tmp_path}/t.npy"
    assert DatasetConfig(graph=GRAPH, folder="~/d").path("test") == tmp_path / "d" / "test.npy"


def test_a_configuration_is_read_on_a_machine_without_its_folders(links):
    """A run whose data are missing can still be read; a new configuration with these data is refused."""
    config = n2n.TrainConfig.recorded({"graph": GRAPH, "data": "gone/t.npy", "run_dir": "gone/run"})
    assert n2n.TrainConfig.recorded(config.model_dump(mode="json")) == config
    with pytest.raises(ValueError, match=r"data: .*gone is a link to"):
        n2n.TrainConfig(**config.model_dump(mode="json"))


def test_runs_in_a_bucket_are_refused_before_any_work(links, small, monkeypatch):
    monkeypatch.setenv("N2N_RUNS", "gs://b/runs")
    before = sorted(links.rglob("*"))
    message = "N2N_RUNS: saw 'gs://b/runs', a URL of scheme 'gs'"
    for work in (
        lambda: n2n.train(small(run_dir="")),
        lambda: DatasetConfig(graph=GRAPH).path("train"),
        lambda: n2n.launch.submit("train.ipynb", [{"graph": "sparse"}], name="bucket", cluster="debug"),
        lambda: n2n.launch.load("bucket"),
        lambda: n2n.examples.open_run("example:mess3"),
    ):
        with pytest.raises(ValueError, match=message):
            work()
    assert sorted(links.rglob("*")) == before


def test_paths_of_a_sweep_s_points_are_checked(links, monkeypatch):
    monkeypatch.setattr("n2n.launch.slurm.available", lambda: False)
    with pytest.raises(ValueError, match=r"data: saw 's3://b/t\.npy', a URL of scheme 's3'"):
        n2n.launch.submit("train.ipynb", [{"graph": "sparse", "data": "s3://b/t.npy"}], name="urls")


HOSTILE = [
    "../../evil/x",
    "/abs",
    "..",
    ".",
    "",
    "~",
    "a\nb",
    "a/../../b",
    "x" * 300,
    "é" * 200,
    "граф",
    "-rf",
    "\0",
    "a b",
]


@pytest.mark.parametrize("name", HOSTILE)
def test_a_graph_s_name_is_one_folder_inside(name, tmp_path):
    graph = n2n.Graph(nodes=GRAPH.nodes, name=name)
    dataset = DatasetConfig(graph=graph).path("train")
    assert dataset.parent.parent == runs.root()
    label = run_folder.label_of(n2n.TrainConfig(graph=graph, seed=2**62 - 1, arch="transformer"))
    folder = runs.new_folder(label)
    assert folder.parent == runs.root()
    assert folder.name.endswith(f"-transformer-s{2**62 - 1}")
    assert os.listdir(runs.root()) == [folder.name]


def test_long_names_that_differ_at_their_ends_get_different_folders():
    names = {paths.folder_name("x" * 300 + end) for end in "abc"}
    assert len(names) == 3
    assert {len(name) for name in names} == {80}


def test_a_graph_with_a_long_hostile_name_is_trained(small, tmp_path):
    graph = n2n.Graph(nodes=GRAPH.nodes, name="../" * 100 + "x" * 300)
    run = n2n.train(small(graph=graph, steps=1, run_dir=""))
    assert run.path.parent == runs.root()
    stores = n2n.datasets.generate_splits(DatasetConfig(graph=graph, seq_len=8, train=3, valid=0, test=0))
    assert stores["train"].path.parent.parent == runs.root()
    assert stores["train"].count == 3


@settings(max_examples=200, deadline=None)
@given(st.text(), st.integers(12, 200))
def test_any_name_becomes_one_plain_folder(text, max_bytes):
    name = paths.folder_name(text, max_bytes)
    assert 0 < len(name.encode()) <= max_bytes
    assert name not in (".", "..")
    assert not set(name) - set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.+-")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / name).mkdir()
        assert os.listdir(folder) == [name]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(max_size=300), min_size=2, max_size=4, unique=True))
def test_every_point_has_its_own_folder(values):
    names = list(points.points_by_name([{"graph": value} for value in values]))
    assert len(set(names)) == len(values)
    assert all(paths.slug(name.replace("=", "")) == name.replace("=", "") for name in names)
    assert all(0 < len(name) <= points.MAX_NAME for name in names)


@pytest.mark.parametrize("name", ["../x", "x" * 201, "", ".x", "a/b", "a\n"])
def test_names_of_sweeps_are_plain(name):
    from n2n.launch.sweep import sweep_path

    with pytest.raises(ValueError, match="name: saw"):
        sweep_path(name)
    assert sweep_path("x" * 200).parent == runs.root()
