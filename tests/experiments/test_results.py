"""Results files: whole rows or none, of one design and one version."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import pytest
from support.small_designs import planted_row, small_design

import n2n
from n2n.experiments import Cell, Point, runs_file
from n2n.experiments.rates import finished_points


def point(process: int) -> Point:
    return Point(Cell("4", 1 / 3, process, "mamba", 8, 1, 3, 12, 0), 1e-3 / 3)


def append(folder, first: int, count: int) -> None:
    for process in range(first, first + count):
        runs_file(small_design(), folder).append([planted_row(point(process), 0.1)])


def test_rows_come_back_as_they_were_written(tmp_path):
    file = runs_file(small_design(), tmp_path / "new")
    assert len(file.read()) == 0
    rows = [planted_row(point(0), 0.125, note=""), planted_row(point(1), None, state="diverged", split=None)]
    file.append(rows)
    table = file.read()
    assert finished_points(table) == {point(0), point(1)}
    assert table.loc[0, "excess"] == 0.125
    assert table.loc[1, ["excess", "split"]].isna().all()
    assert table["level"].tolist() == ["4", "4"]


def test_two_processes_append_without_losing_a_row(tmp_path):
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=append, args=(tmp_path, 100 * i, 20)) for i in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    table = runs_file(small_design(), tmp_path).read()
    assert sorted(table["process"]) == [*range(20), *range(100, 120)]


def test_a_kill_at_any_time_leaves_whole_rows(tmp_path):
    code = f"from test_results import append; append({str(tmp_path)!r}, 0, 10**6)"
    here, support = os.path.dirname(__file__), os.path.join(os.path.dirname(__file__), "..")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([here, support])}
    file = runs_file(small_design(), tmp_path)
    writer = subprocess.Popen([sys.executable, "-c", code], env=environment)
    while not file.path.exists():
        time.sleep(0.01)
    time.sleep(0.3)
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    before = len(file.read())
    file.append([planted_row(point(10**7), 0.1)])
    assert file.read()["process"].tolist() == [*range(before), 10**7]


def test_a_file_of_another_design_is_refused_and_unchanged(tmp_path):
    append(tmp_path, 0, 1)
    file = runs_file(small_design(seq_len=9), tmp_path)
    before = file.path.read_text()
    for use in (file.read, lambda: file.append([planted_row(point(3), 0.1)])):
        with pytest.raises(ValueError, match=r"holds results of the design small \w+, not of small \w+"):
            use()
    assert file.path.read_text() == before


def test_a_file_of_another_version_is_refused(tmp_path, monkeypatch):
    append(tmp_path, 0, 1)
    monkeypatch.setattr("n2n.experiments.results.version", lambda name: "99.0")
    with pytest.raises(ValueError, match=r"written by n2n .*, and this is n2n 99\.0"):
        runs_file(small_design(), tmp_path).read()


@pytest.mark.parametrize(("text", "message"), [("", "names no design"), ("level,arch\n", "names no design")])
def test_a_foreign_file_is_refused(tmp_path, text, message):
    (tmp_path / "small.csv").write_text(text)
    with pytest.raises(ValueError, match=message):
        runs_file(small_design(), tmp_path).read()


def test_a_file_with_other_columns_is_refused(tmp_path):
    file = runs_file(small_design(), tmp_path)
    file.path.write_text(f"{file.header}\nlevel,arch\n2,mamba\n")
    with pytest.raises(ValueError, match="is damaged: it has the columns level, arch"):
        file.read()


def test_the_standard_folder_lies_beside_the_notebooks():
    assert n2n.experiments.results_folder().parts[-2:] == ("notebooks", "results")
