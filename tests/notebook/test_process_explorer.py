"""The explorer of processes: its widgets, its figures and its messages."""

import json

import numpy as np
import plotly.graph_objects as go
import pytest

import n2n
from n2n.graph.graph import Graph
from n2n.graph.presets import PRESETS
from n2n.notebook.output_area import display_data, paragraph
from n2n.notebook.process_explorer import GIVEN, MAX_STATES, RANDOM, VIEWS
from n2n.utils.strict import Refused

FIGURE = "application/vnd.plotly.v1+json"


def explorer(graph="four_chains", **fields) -> n2n.Explorer:
    return n2n.explore(n2n.ExploreConfig(graph=graph, length=16, **fields))


def views(explorer: n2n.Explorer) -> dict[str, go.Figure | str]:
    """The figure or the message of each view."""
    contents = {}
    for view, place in explorer.places.items():
        (output,) = place.outputs
        data = output["data"]
        contents[view] = go.Figure(data[FIGURE]) if FIGURE in data else data["text/plain"]
    return contents


def views_as_text(explorer: n2n.Explorer) -> dict[str, str]:
    return {view: part if isinstance(part, str) else part.to_json() for view, part in views(explorer).items()}


def changed(explorer: n2n.Explorer, **values) -> set[str]:
    """The views that change when the widgets are set to these values."""
    before = views_as_text(explorer)
    for name, value in values.items():
        explorer.widgets[name].value = value
    after = views_as_text(explorer)
    return {view for view in VIEWS if before[view] != after[view]}


def test_the_first_views_are_the_figures_of_the_notebook():
    config = n2n.ExploreConfig(graph="four_chains", length=16, process_seed=2, sequence=3)
    first = views(n2n.explore(config))
    sample = config.process.sample(config.sequences, length=16)
    oracle = n2n.filter(config.process, sample.tokens, beliefs=True)
    expected = {
        "graph": n2n.viz.draw_graph(config.graph, n2n.edge_information(config.process, 16)),
        "kernels": n2n.viz.draw_kernels(config.process),
        "beliefs": n2n.viz.draw_beliefs(sample, oracle, 3),
    }
    for view, figure in expected.items():
        assert json.loads(first[view].to_json()) == json.loads(figure.to_json()), view
    exact = n2n.best_losses(config.process, 16)["loss"].tolist()
    assert list(first["losses"].data[1].x) == pytest.approx(exact, abs=0.05)


def test_each_widget_changes_its_views():
    it = explorer()
    assert changed(it, sequence=1) == {"beliefs"}
    assert changed(it, process_seed=1) == set(VIEWS)
    assert changed(it, alpha_x=1.0) >= {"kernels", "losses", "beliefs"}
    assert it.process.graph == Graph.preset("four_chains", alpha_x=1.0)
    assert changed(it, alpha_z=1.0) >= {"graph", "kernels", "losses"}
    assert changed(it, mode="slow") >= {"graph", "kernels"}
    assert {node.mode for node in it.process.graph.latents} == {"slow"}
    assert it.process.graph.observed.mode == "default"
    assert changed(it, graph="slow_switch") >= {"graph", "kernels", "beliefs"}


def test_random_graphs_have_their_own_widgets():
    it = explorer()
    shape = ("latents", "probability", "seed", "num_states", "vocab_size")
    assert all(it.widgets[name].disabled for name in shape)
    assert "graph" in changed(it, graph=RANDOM)
    assert not any(it.widgets[name].disabled for name in shape)
    for name, value in {"latents": 3, "probability": 1.0, "seed": 4, "num_states": 2, "vocab_size": 8}.items():
        assert "graph" in changed(it, **{name: value}) or name == "seed"
    alphas = {"alpha_z": it.widgets["alpha_z"].value, "alpha_x": it.widgets["alpha_x"].value}
    assert it.process.graph == Graph.random_dag(3, 1.0, 4, num_states=2, vocab_size=8, **alphas)
    assert "3 latent nodes, 8 joint states, 8 symbols" in views(it)["graph"].layout.title.text


def test_a_user_s_graph_cannot_be_changed():
    nodes = [{"name": "A", "num_states": 2}, {"name": "X", "num_states": 3, "parents": ["A"], "observed": True}]
    graph = Graph(nodes=nodes)
    it = explorer(graph)
    assert it.process.graph == graph
    assert it.widgets["graph"].options[0] == GIVEN
    assert all(it.widgets[name].disabled for name in ("alpha_z", "alpha_x", "mode", "latents"))
    changed(it, graph="two_chains")
    assert it.process.graph == Graph.preset("two_chains")
    assert explorer("two_chains").widgets["graph"].options == (*PRESETS, RANDOM)


EXTREMES = [(1e-3, 1e-3, "slow"), (10.0, 10.0, "dead"), (1e-3, 10.0, "dead"), (10.0, 1e-3, "slow")]


@pytest.mark.parametrize(("alpha_z", "alpha_x", "mode"), EXTREMES)
def test_extreme_values_of_the_sliders(alpha_z, alpha_x, mode):
    it = explorer()
    changed(it, alpha_z=alpha_z, alpha_x=alpha_x, mode=mode)
    assert all(isinstance(part, go.Figure) for part in views(it).values())
    assert "256 joint latent states, drawn in" in it.message.value


@pytest.mark.parametrize(
    ("num_states", "probability", "message"),
    [(4, 0.0, f"up to {MAX_STATES:,} are drawn"), (8, 1.0, "more than the budget")],
)
def test_a_graph_too_large_for_the_oracle_is_drawn_with_a_message(num_states, probability, message):
    it = explorer()
    changed(it, num_states=num_states, probability=probability, latents=8, graph=RANDOM)
    parts = views(it)
    assert f"{num_states**8:,} joint states" in parts["graph"].layout.title.text
    assert len({parts[view] for view in VIEWS[1:]}) == 1
    assert message in parts["losses"]
    assert it.message.value == paragraph(parts["losses"])
    assert changed(it, latents=1) == set(VIEWS)  # all views are figures again
    assert all(isinstance(part, go.Figure) for part in views(it).values())


def test_messages_are_escaped_in_html():
    html = '<p class="mathjax_ignore tex2jax_ignore">a &lt; b</p>'
    assert display_data("a < b")["data"] == {"text/plain": "a < b", "text/html": html}


def test_the_explorer_displays_its_box():
    it = explorer()
    bundle = it._repr_mimebundle_()
    assert bundle["application/vnd.jupyter.widget-view+json"]["model_id"] == it.box.model_id
    assert len({it.message, *it.places.values()} & set(it.box.children)) == 1 + len(VIEWS)


def test_sliders_update_only_on_release():
    widgets = explorer().widgets
    assert not any(getattr(widget, "continuous_update", False) for widget in widgets.values())
    assert (widgets["alpha_z"].min, widgets["alpha_z"].max) == (-3, 1)
    assert np.log10(widgets["alpha_z"].value) == pytest.approx(np.log10(0.03))


def test_wrong_configurations_are_refused():
    with pytest.raises(ValueError, match="sequence: saw 16; there are 16, from 0"):
        n2n.ExploreConfig(graph="sparse", sequence=16)
    with pytest.raises(ValueError, match=r"(?s)unknown graph 'sprase'; did you mean 'sparse'.*sequence: saw 9; there"):
        n2n.ExploreConfig(graph="sprase", sequence=9, sequences=4)
    with pytest.raises(ValueError, match="unknown parameter 'lenght'; did you mean 'length'"):
        n2n.ExploreConfig(graph="sparse", lenght=3)
    with pytest.raises(ValueError, match=r"graph: .*mode 'context' redraws"):
        n2n.ExploreConfig(graph=Graph.chain(2, mode="context"))
    with pytest.raises(ValueError, match=r"graph: .* bytes"):
        n2n.ExploreConfig(graph=Graph.independent(20, num_states=4, vocab_size=2))
    with pytest.raises(ValueError, match="length: saw 513"):
        n2n.ExploreConfig(graph="sparse", length=513)
    with pytest.raises(ValueError, match=r"process_seed: saw 9007199254740993; it must be less than or equal to"):
        n2n.ExploreConfig(graph="sparse", process_seed=2**53 + 1)


def test_the_largest_seeds_are_exact():
    it = explorer(process_seed=2**53)
    assert it.widgets["process_seed"].value == 2**53
    assert it.process == n2n.ExploreConfig(graph="four_chains", process_seed=2**53).process
    assert changed(it, sequence=2**53) == {"beliefs"}
    assert "graph" in changed(it, graph=RANDOM, seed=2**53)
    assert all(isinstance(part, go.Figure) for part in views(it).values())


def test_explore_takes_a_name_a_graph_or_a_process():
    graph = Graph.preset("two_chains")
    for value in ("two_chains", graph, n2n.Process(graph, 0), n2n.ExploreConfig("two_chains", length=8)):
        assert n2n.explore(value, length=8).process == n2n.Process(graph, 0)
    assert n2n.explore(n2n.Process(graph, 7), length=8).process.seed == 7
    with pytest.raises(ValueError, match="process: saw given kernels"):
        n2n.explore(n2n.Process.classic("even"))
    with pytest.raises(Refused, match="did you mean 'sparse'"):
        n2n.explore("sprase")
