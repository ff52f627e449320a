"""Jobs: their final states, and when they are queued again."""

import json
from types import SimpleNamespace

import pytest
from support.notebooks import quiet_kernel
from support.small_notebook import trivial

from n2n.launch import job
from n2n.utils.files import read_json
from n2n.utils.lock import locked


def test_jobs_without_progress_are_queued_again_only_so_often(tmp_path):
    attempt = job.NotebookJob(tmp_path / "n.ipynb", tmp_path, {}, {})
    (tmp_path / "job.json").write_text(json.dumps({"begun_at_step": 5}))
    for step, queued_again in (
        (7, True),
        (5, True),
        (5, True),
        (7, True),
        *[(5, True)] * (job.MAX_FRUITLESS - 1),
        (5, False),
    ):
        (tmp_path / "status.json").write_text(json.dumps({"step": step}))
        (tmp_path / "job.json").write_text(json.dumps({"begun_at_step": 5}))
        submission = attempt.checkpoint()
        assert (submission is not None) == queued_again
        attempt = submission.function if submission else attempt
    status = read_json(tmp_path / "job.json")
    assert status["state"] == "failed"
    assert "3 jobs in a row ended before they saved a step beyond 5" in status["error"]


@pytest.mark.parametrize(
    ("error", "run", "signal", "state"),
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
def test_the_final_state_of_a_job(error, run, signal, state):
    assert job._state(error, run, SimpleNamespace(any=bool(signal))) == state


@quiet_kernel
def test_a_status_of_an_earlier_job_does_not_count(tmp_path):
    """The earlier job was preempted; this one fails before its run begins."""
    (tmp_path / "status.json").write_text('{"state": "preempted", "step": 7}')
    failing = job.NotebookJob(trivial(tmp_path / "t.ipynb"), tmp_path, {"fail": True}, {})
    with pytest.raises(job.JobFailed, match="fail is set"):
        failing()
    assert read_json(tmp_path / "job.json")["state"] == "failed"
    with locked(tmp_path / ".job.lock"), pytest.raises(job.JobFailed, match="another job works"):
        failing()
