"""Widgets over the figures of a process, for a notebook."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from n2n.difficulty.best_losses import best_losses
from n2n.difficulty.mutual_information import edge_information
from n2n.graph.graph import Graph
from n2n.graph.presets import ALPHA_X, ALPHA_Z, PRESETS
from n2n.notebook.output_area import View, display_data, paragraph
from n2n.notebook.process_notebook_configs import MAX_SEED, ExploreConfig
from n2n.oracle.checks import check_budget
from n2n.oracle.filtering import filter
from n2n.process.process import Process
from n2n.utils.configuration import errors_of
from n2n.viz import draw_beliefs, draw_graph, draw_kernels, draw_losses

if TYPE_CHECKING:
    import ipywidgets

MAX_STATES = 4096  # joint latent states that can be drawn in seconds
PRECISION = 0.05  # nats per token, standard error of the oracle's loss in the figure of losses
GIVEN, RANDOM, OWN = "as given", "random DAG", "the graph's own"
VIEWS = ("graph", "kernels", "beliefs", "losses")
MODES = (OWN, "default", "slow", "dead")
STYLE, LAYOUT = {"description_width": "100px"}, {"width": "330px"}  # of every widget


def views(process: Process, length: int, sequence: int) -> dict[str, View]:
    """Return the figures of a process; a figure that cannot be drawn is replaced by the error's sentence.

    The graph is always drawn, without the mutual information of its edges if it is too large.
    """
    if errors := errors_of(_check_size, process.graph):
        return {view: draw_graph(process.graph) if view == "graph" else errors[0] for view in VIEWS}
    return {
        "graph": draw_graph(process.graph, edge_information(process, length)),
        "kernels": _attempt(draw_kernels, process),
        "beliefs": beliefs(process, length, sequence),
        "losses": _attempt(_losses, process, length),
    }


def beliefs(process: Process, length: int, sequence: int) -> View:
    """Return the figure of the beliefs along one sequence, or the sentence that says why it cannot be drawn."""
    if errors := errors_of(_check_size, process.graph):
        return errors[0]
    sample = process.sample(1, length=length, start=sequence)
    return draw_beliefs(sample, filter(process, sample.tokens, beliefs=True))


def _attempt(function: Callable[..., Any], *arguments: Any) -> Any:
    """Return what the function returns, or the message of its ``ValueError``."""
    try:
        return function(*arguments)
    except ValueError as error:
        return str(error)


def _check_size(graph: Graph) -> None:
    check_budget(graph)
    if graph.num_joint_states > MAX_STATES:
        raise ValueError(
            f"graph: saw {graph.num_joint_states:,} joint latent states; up to {MAX_STATES:,} are drawn as widgets "
            "move, so take fewer latents or fewer states"
        )


def _losses(process: Process, length: int) -> go.Figure:
    return draw_losses(best_losses(process, length, precision=PRECISION))


class Explorer:
    """Widgets for a process and, under them, its figures, which are redrawn when a widget changes; for a notebook.

    Args:
        source: a whole configuration; or a graph or a preset's name, or a process whose kernels were drawn.
        **fields: further fields of ``n2n.ExploreConfig``.

    Attributes:
        config: initial values of the widgets.
        widgets: widgets by name; code may set the ``value`` of each, too.
        places: for each of ``VIEWS``, the output that shows it.
        message: number of joint states and drawing time, or why nothing was drawn.
        box: the widgets and the figures.

    Raises:
        ValueError: as ``n2n.ExploreConfig``, or for a process with given kernels, which the widgets cannot redraw.
    """

    def __init__(self, source: ExploreConfig | Graph | Process | str, **fields: Any) -> None:
        import ipywidgets

        self.config = _configuration(source, fields)
        self.widgets = _widgets(self.config)
        self.places = {view: ipywidgets.Output() for view in VIEWS}
        self.message = ipywidgets.HTML()
        names = list(self.widgets)
        columns = [
            ipywidgets.VBox([self.widgets[name] for name in part]) for part in (names[:4], names[4:6], names[6:])
        ]
        self.box = ipywidgets.VBox(
            [ipywidgets.HBox(columns, layout={"flex_flow": "row wrap"}), self.message, *self.places.values()]
        )
        for name, widget in self.widgets.items():
            widget.observe(self._redraw_beliefs if name == "sequence" else self._redraw, names="value")
        self._redraw()

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return self.box._repr_mimebundle_(**options)

    @property
    def process(self) -> Process:
        """The process that the widgets describe."""
        values = {name: widget.value for name, widget in self.widgets.items()}
        return Process(_graph(self.config.graph, values), values["process_seed"])

    def _redraw(self, _change: Any = None) -> None:
        source = self.widgets["graph"].value
        for name in ("alpha_z", "alpha_x", "mode"):
            self.widgets[name].disabled = source == GIVEN
        for name in ("latents", "probability", "seed", "num_states", "vocab_size"):
            self.widgets[name].disabled = source != RANDOM
        self._show(views)

    def _redraw_beliefs(self, _change: Any) -> None:
        self._show(lambda process, length, sequence: {"beliefs": beliefs(process, length, sequence)})

    def _show(self, draw: Callable[[Process, int, int], dict[str, View]]) -> None:
        start, process = time.monotonic(), self.process
        self.message.value = "drawing .."
        views = draw(process, self.config.length, self.widgets["sequence"].value)
        for name, view in views.items():
            self.places[name].outputs = (display_data(view),)
        states, seconds = process.graph.num_joint_states, time.monotonic() - start
        sentences = [paragraph(view) for view in views.values() if isinstance(view, str)]
        self.message.value = (sentences or [f"{states:,} joint latent states, drawn in {seconds:.1f} s"])[0]


explore = Explorer  # in a notebook, the name of an action reads better


def _configuration(source: ExploreConfig | Graph | Process | str, fields: dict[str, Any]) -> ExploreConfig:
    if isinstance(source, ExploreConfig):
        return source.model_copy(update=fields)
    if not isinstance(source, Process):
        return ExploreConfig(source, **fields)
    if source.tables is not None:
        raise ValueError("process: saw given kernels; the widgets redraw kernels, so explore its graph instead")
    return ExploreConfig(source.graph, **{"process_seed": source.seed, **fields})


def _graph(original: Graph, values: dict[str, Any]) -> Graph:
    """Return the graph that the widgets describe; ``original`` is the one that the widgets were made with."""
    if values["graph"] == GIVEN:
        return original
    alphas = {name: values[name] for name in ("alpha_z", "alpha_x")}
    if values["graph"] == RANDOM:
        sizes = {name: values[name] for name in ("probability", "seed", "num_states", "vocab_size")}
        graph = Graph.random_dag(nodes=values["latents"], **sizes, **alphas)
    else:
        graph = Graph.preset(values["graph"], **alphas)
    if values["mode"] == OWN:
        return graph
    return graph.model_copy(
        update={"nodes": [n if n.observed else n.model_copy(update={"mode": values["mode"]}) for n in graph.nodes]}
    )


def _widgets(config: ExploreConfig) -> dict[str, ipywidgets.ValueWidget]:
    """Sliders and number boxes send their value when they are released, not while they move."""
    import ipywidgets

    preset = config.graph.name in PRESETS and config.graph == Graph.preset(config.graph.name)
    sources = [*([] if preset else [GIVEN]), *PRESETS, RANDOM]

    def dropdown(label: str, options: Sequence[str], value: str) -> ipywidgets.Dropdown:
        return ipywidgets.Dropdown(options=options, value=value, description=label, style=STYLE, layout=LAYOUT)

    def number(label: str, value: int) -> ipywidgets.BoundedIntText:
        return _on_release(ipywidgets.BoundedIntText, value, max=MAX_SEED, description=label)

    def slider(label: str, value: int, minimum: int, maximum: int) -> ipywidgets.IntSlider:
        return _on_release(ipywidgets.IntSlider, value, minimum, maximum, description=label)

    def log_slider(label: str, value: float) -> ipywidgets.FloatLogSlider:
        return _on_release(
            ipywidgets.FloatLogSlider, value, min=-3, max=1, step=0.1, readout_format=".3g", description=label
        )

    return {
        "graph": dropdown("graph", sources, config.graph.name if preset else GIVEN),
        "mode": dropdown("latents' mode", MODES, OWN),
        "process_seed": number("process seed", config.process_seed),
        "sequence": number("sequence", config.sequence),
        "alpha_z": log_slider("latents' alpha", ALPHA_Z),
        "alpha_x": log_slider("X's alpha", ALPHA_X),
        "latents": slider("latents", 4, 1, 8),
        "probability": _on_release(ipywidgets.FloatSlider, 0.5, min=0, max=1, step=0.05, description="P(edge)"),
        "seed": number("graph seed", 0),
        "num_states": slider("states of each", 4, 2, 8),
        "vocab_size": slider("symbols", 32, 2, 64),
    }


def _on_release(widget: type[ipywidgets.ValueWidget], *values: float, **options: Any) -> ipywidgets.ValueWidget:
    return widget(*values, continuous_update=False, style=STYLE, layout=LAYOUT, **options)
