"""Jobs: the state in which each ends, and when it is queued again."""

import json
from types import SimpleNamespace

import pytest
from support.small_notebook import trivial

from n2n.launch import job
from n2n.utils.files import read_json
from n2n.utils.lock import locked

quiet_kernel = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")


def test_a_job_that_gets_nowhere_does_not_come_back_for_ever(tmp_path):
    given = job.NotebookJob(tmp_path / "n.ipynb", tmp_path, {}, {})
    (tmp_path / "job.json").write_text(json.dumps({"begun_at_step": 5}))
    for step, comes_back in (
        (7, True),
        (5, True),
        (5, True),
        (7, True),
        *[(5, True)] * (job.MAX_FRUITLESS - 1),
        (5, False),
    ):
        (tmp_path / "status.json").write_text(json.dumps({"step": step}))
        (tmp_path / "job.json").write_text(json.dumps({"begun_at_step": 5}))
        again = given.checkpoint()
        assert (again is not None) == comes_back
        given = again.function if again else given
    told = read_json(tmp_path / "job.json")
    assert told["state"] == "failed"
    assert "3 jobs in a row ended before they saved a step beyond 5" in told["error"]


@pytest.mark.parametrize(
    ("error", "run", "heard", "state"),
    [
        (None, None, "", "done"),
        (None, "done", "requeue", "done"),
        (None, "preempted", "", "preempted"),
        ("Traceback", "preempted", "", "preempted"),
        ("Traceback", None, "requeue", "preempted"),
        ("Traceback", None, "", "failed"),
        ("Traceback", "failed", "leave", "failed"),
        ("Traceback", "done", "", "failed"),
    ],
)
def test_how_a_job_ended(error, run, heard, state):
    told = SimpleNamespace(any=bool(heard))
    assert job._state(error, run, told) == state


@quiet_kernel
def test_what_a_run_said_to_an_earlier_job_is_not_believed(tmp_path):
    """It was preempted; the next job fails before its run has begun."""
    (tmp_path / "status.json").write_text('{"state": "preempted", "step": 7}')
    failing = job.NotebookJob(trivial(tmp_path / "t.ipynb"), tmp_path, {"fail": True}, {})
    with pytest.raises(job.JobFailed, match="as it was asked to"):
        failing()
    assert read_json(tmp_path / "job.json")["state"] == "failed"
    with locked(tmp_path / ".job.lock"), pytest.raises(job.JobFailed, match="another job works"):
        failing()
