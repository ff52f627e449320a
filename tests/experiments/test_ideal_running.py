"""The ideal learners of a design are fitted once, in several processes, and go on after a kill."""

import os
import signal
import subprocess
import sys
import time

import pytest
from support.small_designs import small_design

from n2n import experiments
from n2n.experiments import command, designs
from n2n.utils.lock import locked

KEYS = list(experiments.Ideal._fields)


@pytest.fixture(autouse=True)
def folders(tmp_path, monkeypatch):
    monkeypatch.setenv("N2N_RUNS", str(tmp_path / "runs"))
    return tmp_path


def test_several_processes_find_what_one_finds(tmp_path):
    design, lines = small_design(processes=[0]), []
    one = experiments.run_ideal(design, tmp_path / "one", sequences=[5], parallel=1, log=lines.append)
    several = experiments.run_ideal(design, tmp_path / "two", sequences=[5], parallel=2, log=lambda line: None)
    assert (one.done, one.fits, one.pending) == (6, 6, ())
    assert several == one
    assert str(one) == "6 of 6 ideal learners are fitted"
    assert len([line for line in lines if "excess" in line]) == 6
    tables = [experiments.ideal_file(design, tmp_path / name).read() for name in ("one", "two")]
    tables = [table.sort_values(KEYS, ignore_index=True).drop(columns="seconds") for table in tables]
    assert tables[0].equals(tables[1])
    assert len(tables[0]) == 10  # each of the four fits of a chain is the blind one, too
    assert not tables[0].duplicated(KEYS).any()
    assert os.listdir(tmp_path / "runs") == []


def test_it_goes_on_after_a_kill(tmp_path):
    here = os.path.join(os.path.dirname(__file__), "..")
    code = "from support.small_designs import small_design\nfrom n2n.experiments import run_ideal\n"
    code += f"if __name__ == '__main__':\n    run_ideal(small_design(), {str(tmp_path)!r}, sequences=[5, 300])\n"
    (tmp_path / "script.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": here}
    design = small_design()
    file = experiments.ideal_file(design, tmp_path)
    process = subprocess.Popen([sys.executable, str(tmp_path / "script.py")], env=environment)
    while process.poll() is None and len(file.read()) < 2:
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done = file.path.read_text()
    state = experiments.ideal_progress(design, tmp_path, [5, 300])
    assert 0 < state.done < state.fits == 24
    state = experiments.run_ideal(design, tmp_path, sequences=[5], parallel=1, log=lambda line: None)
    assert state.pending == ()
    assert file.path.read_text().startswith(done)
    assert not file.read().duplicated(KEYS).any()


def test_the_time_limit_leaves_what_is_at_work(tmp_path):
    design = small_design(processes=[0], targets=[1.4])
    for _ in experiments.calibrations(design, experiments.calibrations_file(design, tmp_path)):
        pass
    began = time.monotonic()
    state = experiments.run_ideal(design, tmp_path, sequences=[100_000], limit_minutes=0.05, log=lambda line: None)
    assert state.pending
    assert time.monotonic() - began < 20


def test_two_processes_do_not_fit_one_design(tmp_path):
    design = small_design()
    place = tmp_path / "runs" / f"ideal-small-{design.hash}"
    place.mkdir(parents=True)
    with locked(place / ".lock"), pytest.raises(ValueError, match="another process fits the ideal learners of small"):
        experiments.run_ideal(design, tmp_path)


def test_the_command_lists_and_fits(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(designs.DESIGNS, "small", lambda: small_design(processes=[0]))
    monkeypatch.setattr("n2n.experiments.ideal_running.ideals", lambda *arguments: list(IDEALS))
    options = ["small", "--ideal", "--results", str(tmp_path), "--parallel", "1"]
    assert command.main([*options, "--list"]) == 0
    assert capsys.readouterr().out == "4 1.4 0 ngram none 10\n0 of 1 ideal learners are fitted\n"
    assert command.main(options) == 0
    out = capsys.readouterr().out
    assert "states=4,target=1.4,process=0,ngram,start=none,sequences=10: excess " in out
    assert out.endswith("1 of 1 ideal learners are fitted\n")


IDEALS = [experiments.Ideal("4", 1.4, 0, "ngram", "none", 10)]


def test_wrong_numbers_are_refused(tmp_path):
    with pytest.raises(ValueError, match="sequences: saw 0"):
        experiments.run_ideal(small_design(), tmp_path, sequences=[0])
    with pytest.raises(ValueError, match="parallel: saw 0"):
        experiments.run_ideal(small_design(), tmp_path, parallel=0)
