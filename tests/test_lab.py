"""A real JupyterLab in a real browser: what a person sees of a run, and the button that stops it."""

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
from run_folders import logged, waited

import n2n

TRAIN = Path(__file__).parents[1] / "notebooks" / "train.ipynb"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: pip install playwright")
pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="needs a chromium browser on the PATH"),
    pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning"),
]
# how many points the lines of the figure with the oracle have, as drawn: its data may come in plotly's packed form
POINTS = """[...document.querySelectorAll('.js-plotly-plot')]
    .filter(plot => plot._fullData?.some(trace => trace.name === 'oracle'))
    .map(plot => plot.calcdata[0].length)"""


def answers(url: str) -> bool:
    try:
        return urllib.request.urlopen(url, timeout=1).status == 200
    except OSError:
        return False


@pytest.fixture
def lab(tmp_path) -> Iterator[str]:
    """The address of a JupyterLab in an empty folder, with settings of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = [
        "--no-browser",
        f"--port={port}",
        "--allow-root",
        "--IdentityProvider.token=",
        f"--notebook-dir={tmp_path}",
    ]
    home = {name: str(tmp_path / ".home") for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_DATA_DIR")}
    settings = tmp_path / ".home" / "settings"
    home["JUPYTERLAB_SETTINGS_DIR"] = str(settings)
    (settings / "@jupyterlab" / "notebook-extension").mkdir(parents=True)
    tracker = settings / "@jupyterlab" / "notebook-extension" / "tracker.jupyterlab-settings"
    tracker.write_text('{"windowingMode": "none"}')  # cells out of sight stay in the page, where a test can find them
    with open(tmp_path / "lab.log", "w") as log:
        command = [sys.executable, "-m", "jupyter", "lab", *options]
        server = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, **home})
    try:
        waited(lambda: answers(f"http://127.0.0.1:{port}/api"))
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(30)


@pytest.fixture
def page(lab) -> Iterator["playwright.Page"]:
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        page = browser.new_page(viewport={"width": 1200, "height": 1600})
        page.set_default_timeout(60_000)
        yield page
        browser.close()


def notebook(path: Path, **parameters) -> None:
    """The notebook of a run with other parameters, as a person would have typed them."""
    content = json.loads(TRAIN.read_text())
    (cell,) = (cell for cell in content["cells"] if "parameters" in cell["metadata"].get("tags", []))
    lines = "".join(cell["source"]).splitlines()
    for name, value in parameters.items():
        (i,) = (i for i, line in enumerate(lines) if line.startswith(f"{name}:"))
        lines[i] = f"{name}: {type(value).__name__} = {value!r}"
    cell["source"] = "\n".join(lines)
    for cell in content["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"], cell["execution_count"] = [], None
    path.write_text(json.dumps(content))


def test_a_run_is_seen_as_it_goes_and_stopped_by_a_button(lab, page, tmp_path):
    folder = tmp_path / "run"
    small = {"dim": 16, "layers": 1, "heads": 2, "seq_len": 16, "batch_size": 8}
    notebook(tmp_path / "train.ipynb", steps=10**6, run_dir=str(folder), **small)
    page.goto(f"{lab}/lab/tree/train.ipynb")
    page.wait_for_selector(".jp-Notebook-cell")
    page.wait_for_selector("text=Python 3 (ipykernel) | Idle")  # before it, the first run asks for a kernel
    page.click("text=Run >> nth=0")
    page.click("text=Run All Cells")
    page.wait_for_selector("button:has-text('Stop')")
    page.locator("button:has-text('Stop')").first.scroll_into_view_if_needed()
    page.wait_for_function(f"{POINTS}.some(points => points >= 2)")
    seen = max(page.evaluate(POINTS))
    page.wait_for_function(f"{POINTS}.some(points => points >= {seen + 5})")  # drawn anew in its place
    before = logged(folder)
    page.locator("button:has-text('Stop')").first.click()
    page.wait_for_selector("button:has-text('Stopping')")
    waited(lambda: n2n.Run(folder).status["state"] == "preempted")
    status = n2n.Run(folder).status
    assert before <= status["step"] < 10**6
    page.wait_for_selector(f"text=saved at step {status['step']} of 1000000")
    page.wait_for_function(f"{POINTS}.some(points => points >= {len(n2n.Run(folder).metrics)})")
    page.screenshot(path=str(tmp_path / "stopped.png"))
