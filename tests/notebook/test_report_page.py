"""The report of a sweep: its files, escaped texts, and the page in a real browser without a network."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from support.browser import needs_chromium, offline_page

import n2n
from n2n.monitor.rows import append_row
from n2n.notebook.examples import read_sweep
from n2n.notebook.report_page import Part, page_of

FILES = ["equal_size.csv", "evaluations.csv", "fits.csv", "index.html", "plotly.min.js", "runs.csv", "unfinished.csv"]
COLOURS = {"light": ["rgb(34, 34, 34)", "rgb(255, 255, 255)"], "dark": ["rgb(221, 221, 221)", "rgb(17, 17, 17)"]}
BODY = "[getComputedStyle(document.body).color, getComputedStyle(document.body).backgroundColor]"
EVIL = "<script>document.title = 'hacked'</script>"


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Path:
    """Eight widths of an architecture with planted evaluations, and three runs that failed or are missing."""
    folder, rng = tmp_path_factory.mktemp("here") / "sweep", np.random.default_rng(0)
    for dim in (8, 12, 16, 20, 24, 32, 40, 48):
        config = n2n.TrainConfig(graph="four_chains", dim=dim, heads=2, seq_len=16, steps=20, device="cpu")
        run = folder / f"dim={dim}"
        run.mkdir(parents=True)
        (run / "config.json").write_text(json.dumps(config.model_dump(mode="json")))
        (run / "status.json").write_text(json.dumps({"state": "done", "step": 20, "error": None}))
        parameters = config.build_model().num_parameters
        excess = 20 * parameters**-0.5 * np.exp(0.05 * rng.normal())
        row = {
            "step": 20,
            "split": "test",
            "parameters": parameters,
            "excess_loss": excess,
            "excess_standard_error": 0.01,
            "sequences": 512,
        }
        row |= {"cross_entropy": 1 + excess, "oracle_nll": 1.0, "unigram": 3.0, "bigram": 2.0}
        append_row(run / "evals.jsonl", row)
    failed = folder / "failed"
    shutil.copytree(folder / "dim=8", failed)
    (failed / "evals.jsonl").unlink()
    (failed / "status.json").write_text(json.dumps({"state": "failed", "step": 0, "error": f"KeyError: {EVIL}\n"}))
    points = {name: {"arch": "transformer"} for name in ("failed", "gone", "beaten")}
    (folder / "sweep.json").write_text(json.dumps({"points": points}))
    (folder / "beaten").mkdir()
    job = {"state": "failed", "error": "Traceback\nValueError: steps: saw 'x'"}
    (folder / "beaten" / "job.json").write_text(json.dumps(job))
    return folder


@pytest.fixture(scope="module")
def page(sweep) -> Path:
    results = read_sweep(str(sweep))
    scaling = {axis: n2n.scaling_fits(results, axis, resamples=200) for axis in ("parameters", "tokens", "flops")}
    return n2n.write_report(results, scaling, n2n.at_equal_size(results))


def test_the_folder_holds_the_page_and_the_tables(sweep, page):
    assert page == sweep / "report" / "index.html"
    assert sorted(path.name for path in page.parent.iterdir()) == FILES
    runs, fits, unfinished = (pd.read_csv(page.parent / f"{name}.csv") for name in ("runs", "fits", "unfinished"))
    assert len(runs) == 11
    assert set(runs["task"].dropna()) == {"four_chains, process 0"}
    assert unfinished["state"].tolist() == ["failed", "missing", "failed"]
    assert unfinished["error"].fillna("").tolist() == [f"KeyError: {EVIL}", "", "ValueError: steps: saw 'x'"]
    laws = fits.set_index("axis")
    assert laws.loc["parameters", "exponent"] == pytest.approx(0.5, abs=0.1)
    assert laws.loc["tokens", "note"] == "no fit: different sizes: 1, needed: 3"
    assert read_sweep(str(sweep)).table.index.tolist() == runs["run"].tolist(), "the report is not listed as a run"


def test_the_page_escapes_texts_of_runs(page):
    text = page.read_text()
    assert EVIL not in text
    assert "3 of 11 runs left out" in text
    assert "KeyError: &lt;script&gt;" in text
    hostile = page_of(EVIL, [Part(EVIL, EVIL, pd.DataFrame({EVIL: [EVIL]}, index=[EVIL]))])
    assert EVIL not in hostile
    assert hostile.count("&lt;script&gt;") == 7


def test_an_unfinished_run_is_drawn_where_the_page_says(sweep, tmp_path):
    """It is drawn against data and among the runs, but not against parameters or compute or at equal size."""
    moved = tmp_path / "sweep"
    shutil.copytree(sweep, moved, ignore=shutil.ignore_patterns("report"))
    (moved / "dim=48" / "status.json").write_text(json.dumps({"state": "failed", "step": 20, "error": "late"}))
    results = read_sweep(moved)
    scaling = {axis: n2n.scaling_fits(results, axis, resamples=100) for axis in ("parameters", "tokens", "flops")}
    drawn = {axis: "dim=48" in set(fitted.points["run"]) for axis, fitted in scaling.items()}
    assert drawn == {"parameters": False, "tokens": True, "flops": False}
    assert "dim=48" in n2n.viz.excess_by_run(results.table).data[-1].y
    equal = n2n.at_equal_size(results)
    assert (equal.left_out, equal.runs) == (4, 11)
    page = n2n.write_report(results, scaling, equal).read_text()
    assert "appear in the excess loss of each run and against data. They appear against parameters" in page
    assert "at equal size only if no run is finished, and never against compute" in page


def test_the_page_loads_only_its_own_script(page):
    assert re.findall(r"""(?:src|href)=["']?([^"' >]+)""", page.read_text()) == ["plotly.min.js"]


def test_a_report_replaces_an_earlier_one_but_not_a_file(sweep, page, tmp_path):
    results = read_sweep(str(sweep))
    scaling, equal = {"parameters": n2n.scaling_fits(results, "parameters")}, n2n.at_equal_size(results)
    folder = tmp_path / "a" / "b"
    first = n2n.write_report(results, scaling, equal, str(folder)).read_bytes()
    (folder / ".index.html.1.part").write_text("unfinished")
    assert n2n.write_report(results, scaling, equal, str(folder)).read_bytes() == first
    assert sorted(path.name for path in folder.iterdir()) == FILES
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"export: saw .*file, which is a file; a folder is needed"):
        n2n.write_report(results, scaling, equal, str(tmp_path / "file"))


@needs_chromium
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_browser_without_a_network_draws_every_figure(page, tmp_path):
    moved = shutil.copytree(page.parent, tmp_path / "moved")
    with offline_page(viewport={"width": 900, "height": 900}) as tab:
        messages = []
        tab.on("console", lambda message: messages.append(message.text))
        tab.on("pageerror", lambda error: messages.append(str(error)))
        tab.goto(f"file://{moved / 'index.html'}")
        tab.wait_for_function("document.querySelectorAll('.js-plotly-plot .main-svg').length >= 5")
        assert tab.title() == "Sweep sweep"
        assert tab.locator(".js-plotly-plot").count() == 5
        assert tab.locator(".js-plotly-plot .scatterlayer .trace").count() >= 10
        assert messages == []
        for scheme, expected in COLOURS.items():
            tab.emulate_media(color_scheme=scheme)
            assert tab.evaluate(BODY) == expected
            tab.screenshot(path=str(tmp_path / f"{scheme}.png"), full_page=True)
