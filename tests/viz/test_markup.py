"""Names that look like markup, in every figure and on a page: a real browser shows them as typed."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
import pytest
from support.browser import needs_chromium, offline_page
from support.figures import (
    excess_table,
    random_dynamics,
    random_head_maps,
    random_heads,
    random_mixing,
    random_over_pools,
    random_rival_trace,
)

import n2n
from n2n import viz
from n2n.difficulty.calibration import EqualDifficulty
from n2n.monitor.rows import append_row
from n2n.notebook.report_page import PLOTLY, Part, page_of
from n2n.sweeps.equal_size import at_equal_size
from n2n.sweeps.results import SweepResults
from n2n.sweeps.scaling_laws import scaling_fits

EVIL = '<b>B</b><a href="javascript:hit=1">&lt;%{x}</a></script><script>hit=1</script>$a$'
OTHER = f"<i>{EVIL}"
GRAPH = n2n.Graph(
    name=EVIL,
    nodes=[
        n2n.Node(name=EVIL, num_states=3),
        n2n.Node(name=OTHER, num_states=2, parents=[EVIL]),
        n2n.Node(name=f"X{EVIL}", num_states=4, parents=[OTHER], observed=True),
    ],
)


def swept(runs: int = 9) -> SweepResults:
    """Runs of two architectures; these and all other names are hostile."""
    sizes = np.geomspace(1000, 100_000, runs).round().astype(int)
    parts = [
        pd.DataFrame({"run": [f"{i} {arch}" for i in range(runs)], "arch": arch, "parameters": sizes})
        for arch in (EVIL, OTHER)
    ]
    rows = pd.concat(parts, ignore_index=True)
    rows["excess_loss"] = 30 * rows["parameters"] ** -0.5
    common = {"task": EVIL, "seed": 0, "state": "done", "split": EVIL, "step": 1, "tokens": 9000, "flops": 1e9}
    rows = rows.assign(**common, excess_standard_error=0.01, last=True)
    rows = rows.assign(low=rows["excess_loss"] - 0.0196, high=rows["excess_loss"] + 0.0196)
    return SweepResults(Path("x"), rows.set_index("run")[["arch", "state", "task"]], rows, pd.DataFrame())


def probed() -> pd.DataFrame:
    rows = [(EVIL, 0, 0.5), (EVIL, 1, 0.9), (OTHER, None, 0.8)]
    table = pd.DataFrame(rows, columns=["source", "layer", "r2"]).astype({"layer": "Int64"})
    table = pd.concat([table.assign(latent=latent) for latent in (EVIL, OTHER)])
    return table.assign(r2_low=table["r2"] - 0.1, r2_high=table["r2"] + 0.1)


def difficulty() -> EqualDifficulty:
    table = pd.DataFrame(
        {"alpha given": 0.01, "entropy given": 0.5, "alpha": 0.1, "entropy": 1.49}, index=[EVIL, OTHER]
    )
    table = table.assign(
        standard_error=0.01, low=1.4, high=1.6, fresh=1.6, fresh_standard_error=0.1, fresh_low=1.3, fresh_high=2.0
    )
    processes = pd.DataFrame({"graph": [EVIL, OTHER], "seed": [4, 5], "entropy": [1.5, 1.7], "standard_error": 0.01})
    return EqualDifficulty(1.5, table, processes, 4)


def grid() -> pd.DataFrame:
    table = pd.DataFrame([{"alpha_z": z, "alpha_x": x, "entropy": z + x} for z in (0.1, 1.0) for x in (0.2, 2.0)])
    table = table.assign(standard_error=0.01, lowest=0.1, highest=1.0, processes=4)
    table.attrs = {"graph": EVIL, "vocab_size": 32, "given": None}
    return table


def compressed() -> pd.DataFrame:
    rows = [{"graph": g, "compressor": EVIL, "tokens": t, "nats": 2.0} for g in (EVIL, OTHER) for t in (1000, 4000)]
    table = pd.DataFrame(rows).assign(samples=3, lowest=1.8, highest=2.1)
    return table.assign(entropy=1.0, entropy_low=0.98, entropy_high=1.02)


def beliefs() -> go.Figure:
    process = n2n.Process(GRAPH)
    sample = process.sample(1, length=10)
    return viz.draw_beliefs(sample, n2n.filter(process, sample.tokens, beliefs=True))


def ngrams() -> pd.DataFrame:
    losses, predictors = [0.5, 0.2, 0.05, -0.01], ["n-gram", "n-gram", EVIL, OTHER]
    table = excess_table(
        predictor=predictors, order=[1, 2, None, None], excess_loss=losses, fitted_on=[9, 9, None, None]
    )
    return table.astype({"order": "Int64"})


def reliable() -> pd.DataFrame:
    rows = {"model": [EVIL, EVIL, "oracle"], "predicted": [0.01, 0.5, 0.5], "observed": [0.0, 0.6, 0.5]}
    return pd.DataFrame(rows).assign(low=0.1, high=0.7)


LOSSES = pd.DataFrame(
    {"predictor": [EVIL, EVIL, OTHER, OTHER], "position": [1, 2] * 2, "loss": 1.0, "low": 0.9, "high": 1.1}
)
TRACE, POOLS = random_rival_trace([EVIL, OTHER], [f"{EVIL} oracle", OTHER]), random_over_pools([2, None])
TWO = {"model": [EVIL, EVIL, OTHER, OTHER], "excess_loss": [0.1, 0.2, 0.3, 0.4]}
FIGURES: dict[str, Callable[[], go.Figure]] = {
    "graph": lambda: viz.draw_graph(GRAPH),
    "information": lambda: viz.draw_graph(GRAPH, n2n.edge_information(n2n.Process(GRAPH), 8)),
    "kernels": lambda: viz.draw_kernels(n2n.Process(GRAPH)),
    "beliefs": beliefs,
    "losses": lambda: viz.draw_losses(pd.DataFrame({"loss": [1.0, 0.5], "half": 0.1}, index=[EVIL, OTHER])),
    "maps": lambda: viz.mixing_maps(random_mixing(2, 2, 10, GRAPH)),
    "unrolled": lambda: viz.unrolled_mixing(random_mixing(2, 2, 10, GRAPH)),
    "along": lambda: viz.excess_along(excess_table(**TWO, position=[1, 2, 1, 2]), "position", EVIL, EVIL),
    "by state": lambda: viz.excess_by_state(excess_table(**TWO, state=[0, 2, 0, 2]), EVIL, EVIL),
    "n-grams": lambda: viz.excess_against_ngrams(ngrams(), EVIL),
    "reliability": lambda: viz.reliability_diagram(reliable(), EVIL),
    "probes": lambda: viz.probe_curves(probed(), title=EVIL),
    "simplex": lambda: viz.belief_simplex(np.eye(3), np.eye(3), EVIL),
    "over steps": lambda: viz.excess_over_steps(random_dynamics([0, 10], [EVIL, OTHER]), EVIL),
    "beliefs over steps": lambda: viz.beliefs_over_steps(random_dynamics([0, 10], [EVIL, OTHER]), EVIL),
    "forming": lambda: viz.forming(random_dynamics([0, 10], [EVIL, OTHER]), EVIL),
    "losses by position": lambda: viz.losses_by_position(LOSSES[:2], LOSSES[2:], EVIL, EVIL),
    "losses over steps": lambda: viz.losses_over_steps(TRACE.losses, {EVIL: 1.0, OTHER: 0.9}, EVIL),
    "distances over steps": lambda: viz.distances_over_steps(TRACE.distances, EVIL),
    "losses over pools": lambda: viz.losses_over_pools(POOLS.losses, EVIL),
    "distances over pools": lambda: viz.distances_over_pools(POOLS.distances, EVIL),
    "heads over steps": lambda: viz.heads_over_steps(random_heads([EVIL, OTHER]), EVIL),
    "head maps": lambda: viz.head_maps(random_head_maps([EVIL, OTHER]), EVIL),
    "scaling": lambda: viz.scaling_law(scaling_fits(swept(), "parameters", resamples=100)),
    "few runs": lambda: viz.scaling_law(scaling_fits(swept(2), "parameters", resamples=100)),
    "equal size": lambda: viz.equal_size(at_equal_size(swept())),
    "by run": lambda: viz.excess_by_run(
        pd.DataFrame({"excess_loss": [0.1, 0.2], "low": 0.0, "high": 0.3}, index=[EVIL, OTHER])
    ),
    "phase": lambda: viz.phase_diagram(grid()),
    "difficulty": lambda: viz.equal_difficulty(difficulty()),
    "compression": lambda: viz.compression_against_entropy(compressed()),
    "by tokens": lambda: viz.compression_by_tokens(compressed()),
}
NOT_DRAWN = {"legendgroup"}  # fields of a figure that hold names and are never shown


def texts(value: object) -> list[str]:
    """All texts in a figure that a browser may draw."""
    if isinstance(value, dict):
        return [text for key, part in value.items() if key not in NOT_DRAWN for text in texts(part)]
    if isinstance(value, list):
        return [text for part in value for text in texts(part)]
    return [value] if isinstance(value, str) else []


@pytest.fixture(scope="module")
def figures() -> dict[str, go.Figure]:
    return {name: make() for name, make in FIGURES.items()}


@pytest.mark.parametrize("name", FIGURES)
def test_no_figure_holds_a_name_as_markup(figures, name):
    names = texts(json.loads(figures[name].to_json()))
    assert any("&lt;b&gt;B" in text for text in names), "the name is in the figure"
    for part in ("<a", "<b>B", "<script", "&lt;%{", "$a$"):
        assert not [text for text in names if part in text]


def test_names_of_run_folders_are_escaped(tmp_path):
    """Each of several curves has the name of its folder, which may hold any character but a slash."""
    for name in ("<b>one&lt;$a$", "<i>two%{x}"):
        (tmp_path / name).mkdir()
        config = n2n.TrainConfig(graph=GRAPH).model_dump(mode="json")
        (tmp_path / name / "config.json").write_text(json.dumps(config))
        append_row(tmp_path / name / "metrics.jsonl", {"step": 0, "loss": 2.0, "oracle_nll": 1.0})
    figure = viz.learning_curve([n2n.Run(path) for path in sorted(tmp_path.iterdir())])
    names = texts(json.loads(figure.to_json()))
    assert {"&lt;b&gt;one&amp;lt;&#36;a&#36;", "&lt;i&gt;two%&#123;x}"} <= set(names)
    assert not [text for text in names if any(part in text for part in ("<b>", "<i>", "&lt;$", "two%{"))]


def test_every_figure_with_names_is_tested():
    """The others draw only names of architectures, which are Python names, and a run's graph in the title."""
    nameless = {"token_ribbons", "cost_growth", "shares_by_lag", "agreement_by_head", "excess_by_position"}
    source = Path(__file__).read_text()
    assert {name for name in viz.__all__ if f"viz.{name}(" not in source} == nameless


TEXTS = """[...document.querySelectorAll('.js-plotly-plot')].map(plot =>
    [...plot.querySelectorAll('text')].map(text => text.textContent).join('\\n'))"""
HOVER = """async index => {
    const plot = document.querySelectorAll('.js-plotly-plot')[index], texts = [];
    plot.scrollIntoView();
    for (let curve = 0; curve < plot.data.length; curve++) {
        const trace = plot._fullData[curve];
        if (trace.hoverinfo === 'skip' || trace.visible !== true || !trace._length) continue;
        Plotly.Fx.hover(plot, [{curveNumber: curve, pointNumber: 0}], (trace.xaxis ?? 'x') + (trace.yaxis ?? 'y'));
        await new Promise(resolve => setTimeout(resolve, 120));
        texts.push(...[...plot.querySelectorAll('.hoverlayer text')].map(text => text.textContent));
    }
    return texts.join('\\n');
}"""


def hover_over_cells(page, index: int) -> str:
    """The hover texts of a figure of cells while the mouse is over the first cell of each panel."""
    plot, texts = page.locator(".js-plotly-plot").nth(index), []
    for panel in plot.locator(".nsewdrag").all():
        panel.scroll_into_view_if_needed()
        place = panel.bounding_box()
        for offset in (2, 4):  # the mouse enters the cell, then moves in it
            page.mouse.move(place["x"] + offset, place["y"] + offset)
            page.wait_for_timeout(120)
        texts += plot.locator(".hoverlayer text").all_text_contents()
    return "\n".join(texts)


ONLY_NUMBERS = {
    "simplex",
    "over steps",
    "phase",
    "few runs",
    "losses over pools",
    "distances over pools",
}  # figures whose hover texts have no names


@needs_chromium
@pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_browser_shows_names_as_typed_and_runs_nothing(figures, tmp_path):
    """A page with every figure, a hostile heading and a hostile table; hover texts too."""
    from plotly.offline import get_plotlyjs

    parts = [Part(EVIL, EVIL, figure) for figure in figures.values()]
    table = pd.DataFrame({EVIL: [EVIL]}, index=[EVIL])
    (tmp_path / "page.html").write_text(page_of(EVIL, [*parts, Part("table", "", table)]))
    (tmp_path / PLOTLY).write_text(get_plotlyjs())
    with offline_page() as page:
        errors = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.goto(f"file://{tmp_path / 'page.html'}")
        drawn = "[...document.querySelectorAll('.js-plotly-plot')].filter(plot => plot.querySelector('.main-svg'))"
        page.wait_for_function(f"{drawn}.length === {len(figures)}")
        shown = dict(zip(figures, page.evaluate(TEXTS), strict=True))
        hovered = {name: page.evaluate(HOVER, i) for i, name in enumerate(figures)}
        hovered |= {
            name: hover_over_cells(page, list(figures).index(name)) for name in ("kernels", "maps", "head maps")
        }
        assert errors == []
        assert page.evaluate("window.hit") is None
        assert page.locator("svg a").count() == 0
        assert page.title() == EVIL
        assert page.locator("h2").first.inner_text() == EVIL
        assert [cell.inner_text() for cell in page.locator("th, td").all() if cell.inner_text()] == [EVIL] * 3
    assert [name for name, text in shown.items() if EVIL not in text.replace("\xa0", " ")] == ["maps"]
    assert [name for name, text in hovered.items() if EVIL not in text and name not in ONLY_NUMBERS] == []
