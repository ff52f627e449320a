"""A process looked at from all sides, and again whenever a person moves a widget."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import plotly.graph_objects as go

from n2n.difficulty.best_losses import best_losses
from n2n.difficulty.mutual_information import edge_information
from n2n.graph.graph import Graph
from n2n.graph.presets import ALPHA_X, ALPHA_Z, PRESETS
from n2n.notebook.output_area import View, output, paragraph
from n2n.notebook.process_configs import MAX_SEED, ExploreConfig
from n2n.oracle.checks import check_budget
from n2n.oracle.filtering import filter
from n2n.process.process import Process
from n2n.utils.strict import errors_of
from n2n.viz import draw_beliefs, draw_graph, draw_kernels, draw_losses

if TYPE_CHECKING:
    import ipywidgets

MAX_STATES = 4096  # joint latent states, up to which all is drawn in seconds
PRECISION = 0.05  # nats per token, the standard error of the oracle's loss beside the widgets
GIVEN, RANDOM, OWN = "as given", "random DAG", "the graph's own"
VIEWS = ("graph", "kernels", "beliefs", "losses")
MODES = (OWN, "default", "slow", "dead")


def explore(asked: ExploreConfig | Graph | Process | str, **fields: Any) -> Explorer:
    """Widgets for a process and, under them, its figures, which are drawn anew when one is moved; for a notebook.

    Args:
        asked: a whole configuration; or a graph or a preset's name, or a process whose kernels were drawn.
        **fields: further fields of ``ExploreConfig``, where ``asked`` is not one.

    Raises:
        ValueError: as ``ExploreConfig``, or a process with given kernels, which the widgets cannot draw anew.
    """
    if isinstance(asked, ExploreConfig):
        return Explorer(asked.model_copy(update=fields))
    if isinstance(asked, Process):
        if asked.given is not None:
            raise ValueError("process: saw given kernels; the widgets draw kernels anew, so explore its graph instead")
        asked, fields = asked.graph, {"process_seed": asked.seed, **fields}
    return Explorer(ExploreConfig(asked, **fields))


def views(process: Process, length: int, sequence: int) -> dict[str, View]:
    """The figures of a process, or in the place of each that cannot be drawn what the ``ValueError`` says.

    The graph is always drawn, without its edges' information if it is too large.
    """
    if errors := errors_of(_refuse_large, process.graph):
        return {view: draw_graph(process.graph) if view == "graph" else errors[0] for view in VIEWS}
    return {
        "graph": draw_graph(process.graph, edge_information(process, length)),
        "kernels": _attempt(draw_kernels, process),
        "beliefs": beliefs(process, length, sequence),
        "losses": _attempt(_losses, process, length),
    }


def beliefs(process: Process, length: int, sequence: int) -> View:
    """The beliefs along one sequence, or why there are none."""
    if errors := errors_of(_refuse_large, process.graph):
        return errors[0]
    sample = process.sample(1, length=length, start=sequence)
    return draw_beliefs(sample, filter(process, sample.tokens, beliefs=True))


def _attempt(make: Callable[..., Any], *given: Any) -> Any:
    """What a function returns, or the sentence that it refuses with."""
    try:
        return make(*given)
    except ValueError as error:
        return str(error)


def _refuse_large(graph: Graph) -> None:
    check_budget(graph)
    if graph.num_joint_states > MAX_STATES:
        raise ValueError(
            f"graph: saw {graph.num_joint_states:,} joint latent states; up to {MAX_STATES:,} are drawn as widgets "
            "move, so take fewer latents or fewer states"
        )


def _losses(process: Process, length: int) -> go.Figure:
    return draw_losses(best_losses(process, length, precision=PRECISION))


class Explorer:
    """Widgets, and the figures of the process that they name.

    Attributes:
        widgets: by name, each with a ``value`` that code may set too.
        places: for each of ``VIEWS`` the output that shows it.
        message: what was drawn and how long it took.
        box: all of them.
    """

    def __init__(self, config: ExploreConfig) -> None:
        import ipywidgets

        self.config = config
        self.widgets = _widgets(config)
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
            widget.observe(self._sequence_moved if name == "sequence" else self._moved, names="value")
        self._moved()

    def _repr_mimebundle_(self, **asked: Any) -> dict[str, Any]:
        return self.box._repr_mimebundle_(**asked)

    @property
    def process(self) -> Process:
        """The process that the widgets name."""
        chosen = {name: widget.value for name, widget in self.widgets.items()}
        return Process(_graph(self.config.graph, chosen), chosen["process_seed"])

    def _moved(self, _change: Any = None) -> None:
        source = self.widgets["graph"].value
        for name in ("alpha_z", "alpha_x", "mode"):
            self.widgets[name].disabled = source == GIVEN
        for name in ("latents", "probability", "seed", "num_states", "vocab_size"):
            self.widgets[name].disabled = source != RANDOM
        self._show(views)

    def _sequence_moved(self, _change: Any) -> None:
        self._show(lambda process, length, sequence: {"beliefs": beliefs(process, length, sequence)})

    def _show(self, draw: Callable[[Process, int, int], dict[str, View]]) -> None:
        began, process = time.monotonic(), self.process
        self.message.value = "drawing .."
        found = draw(process, self.config.length, self.widgets["sequence"].value)
        for view, drawn in found.items():
            self.places[view].outputs = (output(drawn),)
        states, seconds = process.graph.num_joint_states, time.monotonic() - began
        sentences = [paragraph(drawn) for drawn in found.values() if isinstance(drawn, str)]
        self.message.value = (sentences or [f"{states:,} joint latent states, drawn in {seconds:.1f} s"])[0]


def _graph(given: Graph, chosen: dict[str, Any]) -> Graph:
    if chosen["graph"] == GIVEN:
        return given
    alphas = {"alpha_z": chosen["alpha_z"], "alpha_x": chosen["alpha_x"]}
    if chosen["graph"] == RANDOM:
        shape = {"nodes": chosen["latents"], "probability": chosen["probability"], "seed": chosen["seed"]}
        sizes = {"num_states": chosen["num_states"], "vocab_size": chosen["vocab_size"]}
        graph = Graph.random_dag(**shape, **sizes, **alphas)
    else:
        graph = Graph.preset(chosen["graph"], **alphas)
    mode = {} if chosen["mode"] == OWN else {"mode": chosen["mode"]}
    return graph.model_copy(update={"nodes": [n if n.observed else n.model_copy(update=mode) for n in graph.nodes]})


def _widgets(config: ExploreConfig) -> dict[str, ipywidgets.ValueWidget]:
    """Each sends its value once it is let go of, not while it moves."""
    import ipywidgets as w

    preset = config.graph.name in PRESETS and config.graph == Graph.preset(config.graph.name)
    sources = [*([] if preset else [GIVEN]), *PRESETS, RANDOM]
    look = {"style": {"description_width": "100px"}, "layout": {"width": "330px"}}
    calm = {"continuous_update": False, **look}
    power = {"base": 10, "min": -3, "max": 1, "step": 0.1, "readout_format": ".3g"}
    start = config.graph.name if preset else GIVEN
    return {
        "graph": w.Dropdown(options=sources, value=start, description="graph", **look),
        "mode": w.Dropdown(options=MODES, value=OWN, description="latents' mode", **look),
        "process_seed": w.BoundedIntText(config.process_seed, max=MAX_SEED, description="process seed", **calm),
        "sequence": w.BoundedIntText(config.sequence, max=MAX_SEED, description="sequence", **calm),
        "alpha_z": w.FloatLogSlider(ALPHA_Z, **power, description="latents' alpha", **calm),
        "alpha_x": w.FloatLogSlider(ALPHA_X, **power, description="X's alpha", **calm),
        "latents": w.IntSlider(4, 1, 8, description="latents", **calm),
        "probability": w.FloatSlider(0.5, min=0, max=1, step=0.05, description="P(edge)", **calm),
        "seed": w.BoundedIntText(0, max=MAX_SEED, description="graph seed", **calm),
        "num_states": w.IntSlider(4, 2, 8, description="states of each", **calm),
        "vocab_size": w.IntSlider(32, 2, 64, description="symbols", **calm),
    }
