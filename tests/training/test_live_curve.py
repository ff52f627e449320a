"""A notebook shows an image and a line of a run, and no widget after its end."""

import base64
import re
from xml.etree import ElementTree

import numpy as np
import pandas as pd
import pytest

import n2n
from n2n.runs.folder import RunFolder
from n2n.training import live_curve, trainer
from n2n.training.sketch import MAX_POINTS, sketch


def curves(picture: str) -> list[np.ndarray]:
    """Points of the lines in an image, in pixels."""
    (packed,) = re.findall(r'src="data:image/svg\+xml;base64,([^"]+)"', picture)
    lines = ElementTree.fromstring(base64.b64decode(packed)).iter("{http://www.w3.org/2000/svg}polyline")
    return [np.array([point.split(",") for point in line.get("points").split()], float) for line in lines]


def test_the_image_has_both_losses_to_scale():
    steps = np.arange(5) * 10
    metrics = pd.DataFrame({"step": steps, "loss": [3.0, 2.0, 1.5, np.nan, 1.0], "oracle_nll": 0.5})
    picture = sketch(metrics)
    loss, oracle = curves(picture)
    assert len(loss) == 4, "values that are not finite are left out"
    assert len(oracle) == 5
    assert np.ptp(oracle[:, 1]) == 0
    assert np.ptp(np.diff(oracle[:, 0])) == pytest.approx(0, abs=0.2)
    below = oracle[0, 1] - loss[:, 1]
    assert below / below[0] == pytest.approx([1.0, 0.6, 0.4, 0.2], abs=0.01)
    assert 'alt="loss 1.0000, oracle 0.5000 nats per token at step 40"' in picture


def test_the_image_of_a_long_run_is_small():
    long = pd.DataFrame({"step": range(10**5), "loss": 1.0, "oracle_nll": 1.0})
    loss, _ = curves(sketch(long))
    assert len(loss) == MAX_POINTS
    assert len(sketch(long)) < 40_000


def test_lines_are_escaped():
    assert "<img" not in live_curve._line("ended by <img src=x onerror=alert(1)>")


@pytest.mark.parametrize(("steps", "figures"), [(8, 1), (1, 0)])
def test_the_final_figure_reads_the_metrics_once(small, monkeypatch, steps, figures):
    run, reads, displays, real = n2n.train(small(steps=steps)), [], [], RunFolder.read_metrics
    monkeypatch.setattr(RunFolder, "read_metrics", lambda folder: reads.append(folder) or real(folder))
    monkeypatch.setattr("IPython.display.display", lambda figure: displays.append(figure))
    live_curve.LiveCurve(run.folder, steps, steps, print)._draw_final()
    assert len(reads) == len(displays) == figures
    assert all(len(figure.data[0].x) == len(run.metrics) for figure in displays)


def test_a_run_stopped_in_a_notebook_is_evaluated(small, tmp_path, monkeypatch):
    """The cells below can then show results. Outside notebooks ``evaluation`` says how to continue."""
    for watched in (False, True):
        folder = tmp_path / str(watched)
        folder.mkdir()
        (folder / "STOP").touch()
        monkeypatch.setattr(trainer, "in_watched_notebook", lambda watched=watched: watched)
        run = n2n.train(small(run_dir=folder))
        assert run.status["state"] == "preempted"
        if watched:
            assert (run.evaluation["step"], run.evaluation["split"]) == (0, "test")
        else:
            with pytest.raises(ValueError, match=rf"'preempted' at step 0 of 8.*run_dir='{folder}'.*n2n.evaluate"):
                run.summary()
