"""The table of many runs."""

import shutil
from pathlib import Path

import pytest
from support.run_folders import config

import n2n
from n2n.sweeps.results import read_folder


@pytest.fixture(scope="module")
def trained_sweep(tmp_path_factory) -> Path:
    """The folder of two finished runs, a and b."""
    folder = tmp_path_factory.mktemp("runs") / "sweep"
    for name in ("a", "b"):
        n2n.train(config(steps=5, run_dir=folder / name))
    return folder


@pytest.fixture
def sweep(trained_sweep, tmp_path) -> Path:
    return shutil.copytree(trained_sweep, tmp_path / "sweep")


def test_a_table_of_runs(small):
    runs = n2n.runs.root()
    for seed in (0, 1):
        n2n.train(small(seed=seed, run_dir=runs / "many" / f"seed={seed}"))
    (runs / "many" / "broken").mkdir()
    table = n2n.runs.table("many")
    assert table.index.tolist() == ["seed=0", "seed=1"]
    assert table["seed"].tolist() == [0, 1]
    assert table["state"].tolist() == ["done", "done"]
    assert table["excess_loss"].iloc[1] == n2n.Run(runs / "many" / "seed=1").evaluation["excess_loss"]
    assert table.equals(n2n.runs.table(runs / "many"))
    with pytest.raises(ValueError, match="no sweep 'few'"):
        n2n.runs.table("few")
    with pytest.raises(ValueError, match="holds no runs"):
        n2n.runs.table(runs / "many" / "broken")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("[]", "saw a value of type list; an object is needed"),
        ("3", "saw a value of type int; an object is needed"),
        ("", "Expecting value: line 1 column 1 (char 0)"),
        ("{", "Expecting property name enclosed in double quotes: line 1 column 2 (char 1)"),
        ("[" * 10**5, "nested too deeply"),
        ('{"graph": 3}', "it holds no configuration of a run"),
        ('{"graph": {"nodes": []}}', None),  # a graph, which only Run.config checks
    ],
)
def test_a_damaged_configuration_affects_only_its_row(sweep, content, reason):
    (sweep / "a" / "config.json").write_text(content)
    table = n2n.runs.table(sweep)
    assert table["arch"].tolist()[1:] == ["transformer"]
    if reason is not None:
        assert table["state"].tolist() == ["damaged", "done"]
        assert table.loc["a", "error"] == f"damaged: config.json: {reason}"
    with pytest.raises(ValueError, match=r"a/config.json is no configuration of a run: "):
        _ = n2n.Run(sweep / "a").config


def test_damaged_evaluations_affect_only_their_row(sweep):
    path = sweep / "a" / "evals.jsonl"
    path.write_bytes(path.read_bytes().replace(b"1", b"2", 1))
    table = n2n.runs.table(sweep)
    assert table["state"].tolist() == ["done", "done"]
    assert table["excess_loss"].isna().tolist() == [True, False]
    assert table.loc["a", "error"].startswith("damaged: evals.jsonl: line 1: ")
    results = read_folder(sweep)
    assert results.evaluations["run"].tolist() == ["b"]
    assert results.unfinished.loc["a", "error"].startswith("damaged: evals.jsonl: line 1: ")
