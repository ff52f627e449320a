"""Runs, widgets and texts in a real JupyterLab in a real browser."""

import json
import os
import shutil
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.browser import CHROMIUM, needs_chromium
from support.notebooks import NOTEBOOKS
from support.run_folders import logged, wait_until
from support.small_notebook import trivial

import n2n

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
pytestmark = [
    needs_chromium,
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
# Numbers of points drawn in figures with the oracle. ``calcdata`` is read because plotly may pack ``data``.
POINTS = """[...document.querySelectorAll('.js-plotly-plot')]
    .filter(plot => plot._fullData?.some(trace => trace.name === 'oracle'))
    .map(plot => plot.calcdata[0].length)"""

PICTURE = 'img[src^="data:image/svg+xml"]'  # of an unfinished run
TITLES = "[...document.querySelectorAll('.js-plotly-plot')].map(plot => plot.layout?.title?.text ?? '')"


def answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=1).status == 200
    except OSError:
        return False


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Iterator[tuple[str, Path]]:
    """Address and folder of a JupyterLab with its own settings. Its kernels write their runs to this folder."""
    root = tmp_path_factory.mktemp("lab")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--no-browser", f"--port={port}", "--allow-root", "--IdentityProvider.token=", f"--notebook-dir={root}"]
    home = {name: str(root / ".home") for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR")}
    settings = root / ".home" / "settings"
    home |= {"JUPYTERLAB_SETTINGS_DIR": str(settings), "N2N_RUNS": str(root / "runs")}
    (settings / "@jupyterlab" / "notebook-extension").mkdir(parents=True)
    tracker = settings / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    tracker.write_text('{"windowingMode": "none"}')  # keeps invisible cells in the page, where tests look for them
    with open(root / "lab.log", "w") as log:
        command = [sys.executable, "-m", "jupyter", "lab", *options]
        server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **home})
    try:
        wait_until(lambda: answers(f"http://127.0.0.1:{port}/api"))
        yield f"http://127.0.0.1:{port}", root
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="module")
def browser() -> Iterator["playwright.BrowserContext"]:
    """One browser for all tests, which loads JupyterLab's code once."""
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield browser.new_context(viewport={"width": 1200, "height": 1600})
        browser.close()


@pytest.fixture
def page(browser) -> Iterator["playwright.Page"]:
    page = browser.new_page()
    page.set_default_timeout(60_000)
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.on("console", lambda message: page.errors.append(message.text) if message.type == "error" else None)
    yield page
    page.close()


def run_notebook(page, lab: tuple[str, Path], name: str, **parameters) -> None:
    """Open one of the notebooks with these parameters and run all its cells."""
    content = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())
    (cell,) = (cell for cell in content["cells"] if "parameters" in cell["metadata"].get("tags", []))
    lines = "".join(cell["source"]).splitlines()
    for key, value in parameters.items():
        (i,) = (i for i, line in enumerate(lines) if line.startswith(f"{key}:"))
        lines[i] = f"{key}: {type(value).__name__} = {value!r}"
    cell["source"] = "\n".join(lines)
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    run_cells(page, lab, name, content)


def run_cells(page, lab: tuple[str, Path], name: str, content: dict) -> None:
    """Write a notebook into JupyterLab's folder, open it and run all its cells."""
    url, root = lab
    (root / f"{name}.ipynb").write_text(json.dumps(content))
    page.goto(f"{url}/lab/workspaces/{name}/tree/{name}.ipynb")  # a workspace without the tabs of other tests
    page.wait_for_selector(".jp-Notebook-cell")
    page.wait_for_selector("text=Python 3 (ipykernel) | Idle")  # without a kernel, running cells would open a dialog
    page.click("text=Run >> nth=0")
    page.click("text=Run All Cells")


def test_a_run_is_shown_during_training_and_stopped_by_a_button(lab, page, tmp_path):
    folder = tmp_path / "run"
    small = {"dim": 16, "layers": 1, "heads": 2, "seq_len": 16, "batch_size": 8}
    run_notebook(page, lab, "train", steps=10**6, run_dir=str(folder), **small)
    page.wait_for_selector("button:has-text('Stop')")
    page.locator("button:has-text('Stop')").first.scroll_into_view_if_needed()
    page.wait_for_selector(PICTURE)
    first = page.locator(PICTURE).get_attribute("src")
    page.wait_for_function(f"first => document.querySelector('{PICTURE}').src !== first", arg=first)
    page.keyboard.press("Control+s")
    saved = Path(lab[1] / "train.ipynb")
    wait_until(lambda: "data:image/svg+xml" in saved.read_text())
    shutil.copy(saved, lab[1] / "unfinished.ipynb")
    before = logged(folder)
    page.locator("button:has-text('Stop')").first.click()
    wait_until(lambda: n2n.Run(folder).status["state"] == "preempted")
    status = n2n.Run(folder).status
    assert before <= status["step"] < 10**6
    page.wait_for_selector(f"text=saved at step {status['step']} of 1000000")
    page.wait_for_function(f"{POINTS}.some(points => points >= {len(n2n.Run(folder).metrics)})")
    wait_for_all_cells(page, figures=None)  # cells after the training evaluate the run where it stopped
    assert n2n.Run(folder).evaluation["step"] == status["step"]
    assert page.errors == []
    page.screenshot(path=str(tmp_path / "stopped.png"))
    assert_shows_the_picture(page, lab)


def assert_shows_the_picture(page, lab) -> None:
    """Open a notebook that was saved during training, without its kernel, and check the image of the run."""
    page.goto(f"{lab[0]}/lab/workspaces/unfinished/tree/unfinished.ipynb")
    page.wait_for_selector(PICTURE)
    page.wait_for_selector("text=Python 3 (ipykernel) | Idle")
    page.wait_for_timeout(2000)
    assert page.locator(PICTURE).is_visible()
    assert [text.is_visible() for text in page.locator("text=Error displaying widget").all()] in ([], [False])


def wait_for_all_cells(page, figures: int | None) -> None:
    """Wait until all cells have run without an error and this many figures are drawn."""
    prompts = "[...document.querySelectorAll('.jp-CodeCell .jp-InputArea-prompt')]"
    numbered = f"{prompts}.every(prompt => /[0-9]/.test(prompt.textContent))"
    failed = "document.querySelector('[data-mime-type=\"application/vnd.jupyter.error\"]')"
    page.wait_for_function(f"{numbered} || {failed}")
    page.wait_for_selector("text=Python 3 (ipykernel) | Idle")
    errors = page.locator('[data-mime-type="application/vnd.jupyter.error"]').all_inner_texts()
    assert errors == []
    if figures is None:
        return
    drawn = "[...document.querySelectorAll('.js-plotly-plot')].filter(plot => plot.querySelector('.main-svg'))"
    page.wait_for_function(f"{drawn}.length === {figures}")


def titles(page) -> list[str]:
    return page.evaluate(TITLES)


@pytest.fixture
def small_run(lab) -> str:
    """Path of a short run."""
    small = {"dim": 16, "layers": 1, "heads": 2, "seq_len": 16, "batch_size": 8, "steps": 30, "checkpoint_every": 10}
    folder = lab[1] / "small"
    n2n.train(n2n.TrainConfig(graph=n2n.examples.REGIMES, eval_sequences=8, device="cpu", run_dir=folder, **small))
    return str(folder)


def test_the_explorer_follows_its_widgets(lab, page, tmp_path):
    run_notebook(page, lab, "explore", graph="two_chains", sequences=4, length=16)
    wait_for_all_cells(page, figures=9)  # five above the widgets, four below them
    before = titles(page)
    page.locator(".widget-dropdown select").first.select_option("dense")
    page.wait_for_function(f"{TITLES}.slice(5).some(title => title.startsWith('dense'))")
    assert titles(page)[:5] == before[:5], "figures above the widgets stay"
    assert min(box.bounding_box()["width"] for box in page.locator(".slider-container").all()) >= 120, (
        "wide enough to click"
    )
    slider = page.locator(".widget-slider .noUi-handle").first
    for key, times in (("End", 1), ("Home", 1), ("ArrowRight", 3)):  # to both ends, and then three steps
        drawn = page.locator("text=drawn in").first
        drawn.wait_for()
        slider.focus()
        for _ in range(times):
            slider.press(key)
        page.wait_for_selector("text=Python 3 (ipykernel) | Idle")
    assert page.locator('[data-mime-type="application/vnd.jupyter.error"]').count() == 0
    assert page.errors == []
    page.screenshot(path=str(tmp_path / "explored.png"))


def test_the_arcs_follow_the_query(lab, page, small_run):
    run_notebook(page, lab, "attention", run=small_run, sequences=16)
    wait_for_all_cells(page, figures=5)
    before = titles(page)
    slider = page.locator(".widget-slider .noUi-handle").nth(1)
    slider.focus()
    slider.press("ArrowLeft")
    page.wait_for_function(f"before => {TITLES}.at(-1) !== before", arg=before[-1])
    assert titles(page)[:-1] == before[:-1]
    assert page.errors == []


def test_a_slider_selects_the_checkpoint(lab, page, small_run):
    run_notebook(page, lab, "dynamics", run=small_run, sequences=8)
    wait_for_all_cells(page, figures=3)
    plot = "[...document.querySelectorAll('.js-plotly-plot')].find(plot => plot._transitionData?._frames?.length)"
    assert page.evaluate(f"{plot}._transitionData._frames.map(frame => frame.name)") == ["0", "10", "20", "30"]
    first = page.evaluate(f"[...{plot}._transitionData._frames[0].data[1].y]")
    assert page.evaluate(f"[...{plot}.data[1].y]") != first
    rail = page.locator(".slider-rail-touch-rect").first
    rail.scroll_into_view_if_needed()
    rail.click(position={"x": 3, "y": 5})  # the left end of the slider
    page.wait_for_function(
        f"first => JSON.stringify([...{plot}.data[1].y]) === first", arg=json.dumps(first, separators=(",", ":"))
    )
    assert page.errors == []


MARKUP = "<img src=x onerror='hit=1'><b>B</b>&lt;$a$ and $b$"
HOSTILE = f"""import n2n, pandas as pd
name = {MARKUP!r}
nodes = [n2n.Node(name=name, num_states=3), n2n.Node(name="X", num_states=4, parents=[name], observed=True)]
graph = n2n.Graph(nodes=nodes, name=name)"""
CELLS = [
    "table = n2n.launch.load('hostile').wait(watch=True)",
    "graph",
    "explorer = n2n.explore(n2n.ExploreConfig(graph=graph, length=8, sequences=2)); explorer",
    "from n2n.notebook.output_area import display_data, paragraph\nimport ipywidgets\n"
    "ipywidgets.VBox([ipywidgets.Output(outputs=(display_data(name),)), ipywidgets.HTML(paragraph(name))])",
]
LIVE = ".jp-OutputArea-output table"


def test_texts_are_shown_literally_and_run_no_code(lab, page, tmp_path, monkeypatch):
    """Markup in the error of a run in the live table, and in names of a graph and in widgets, is only shown."""
    monkeypatch.setenv("N2N_RUNS", str(lab[1] / "runs"))
    failing = trivial(tmp_path / "failing.ipynb", f"raise ValueError({MARKUP!r})")
    n2n.launch.submit(failing, [{}], name="hostile", cluster="debug")
    content = json.loads((NOTEBOOKS / "explore.ipynb").read_text())
    cell = next(cell for cell in content["cells"] if cell["cell_type"] == "code")
    more = {"metadata": {}, "outputs": [], "execution_count": None}
    content["cells"] = [{**cell, **more, "id": f"c{i}", "source": text} for i, text in enumerate([HOSTILE, *CELLS])]
    run_cells(page, lab, "hostile", content)
    wait_for_all_cells(page, figures=5)  # the graph, and four under the widgets
    page.wait_for_selector(LIVE)
    cells = [text for text in page.locator(f"{LIVE} td").all_inner_texts() if text.startswith("ValueError")]
    assert cells == [f"ValueError: {MARKUP}"]
    titles = [text for text in page.locator("text.gtitle").all_text_contents() if text.startswith(MARKUP)]
    assert len(titles) == 2
    assert page.locator("p.mathjax_ignore").all_inner_texts() == [MARKUP] * 2
    assert page.evaluate("window.hit") is None
    assert page.locator("img[src='x']").count() == 0
