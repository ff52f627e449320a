"""Which run's mixing a notebook looks at, and a view of it that follows widgets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from n2n.analysis.mixing import MixingResult, measure_mixing
from n2n.notebook.output_area import output
from n2n.notebook.run_configs import AttentionConfig
from n2n.runs.run import Run
from n2n.viz import unrolled_mixing

if TYPE_CHECKING:
    import ipywidgets

ALL, EVERY = "mean of all", -1  # how a widget says None, which would leave it blank


def attended(run: Run, config: AttentionConfig) -> MixingResult:
    """The model of a run on its held-out sequences, with the influence of their tokens.

    Raises:
        ValueError: what ``n2n.mixing.measure_mixing`` refuses.
    """
    return measure_mixing(run.config.process, run.model(config.step), config.sequences, run.config.seq_len)


def look(found: MixingResult, config: AttentionConfig) -> Look:
    """Widgets for sequence, query, layer and head, over the unrolled graph, which is drawn anew when one is moved."""
    return Look(found, config)


class Look:
    """Widgets, and the figure that they ask for.

    Attributes:
        widgets: by name, each with a ``value`` that code may set too.
        place: the output that shows the figure.
        box: all of them.
    """

    def __init__(self, found: MixingResult, config: AttentionConfig) -> None:
        import ipywidgets

        self._found = found
        self.widgets = _widgets(found, config)
        self.place = ipywidgets.Output()
        rows = [ipywidgets.HBox(list(self.widgets.values())[i : i + 2]) for i in (0, 2)]
        self.box = ipywidgets.VBox([*rows, self.place])
        for widget in self.widgets.values():
            widget.observe(self._moved, names="value")
        self._moved()

    def _repr_mimebundle_(self, **asked: Any) -> dict[str, Any]:
        return self.box._repr_mimebundle_(**asked)

    def _moved(self, _change: Any = None) -> None:
        chosen = {name: None if widget.value == EVERY else widget.value for name, widget in self.widgets.items()}
        self.place.outputs = (output(unrolled_mixing(self._found, **chosen)),)


def _widgets(found: MixingResult, config: AttentionConfig) -> dict[str, ipywidgets.ValueWidget]:
    """Each sends its value once it is let go of, not while it moves."""
    import ipywidgets as w

    layers, heads = found.mixing.shape[1:3]
    last, calm = found.influence.shape[1] - 1, {"continuous_update": False, "layout": {"width": "380px"}}
    query = last if config.query is None else config.query
    return {
        "sequence": w.IntSlider(config.sequence, 0, len(found.tokens) - 1, description="sequence", **calm),
        "query": w.IntSlider(query, 0, last, description="query", **calm),
        "layer": w.Dropdown(options=_or_all(range(1, layers + 1)), value=_or_every(config.layer), description="block"),
        "head": w.Dropdown(options=_or_all(range(heads)), value=_or_every(config.head), description="head"),
    }


def _or_every(value: int | None) -> int:
    return EVERY if value is None else value


def _or_all(numbers: range) -> list[tuple[str, int]]:
    return [(ALL, EVERY), *((str(i), i) for i in numbers)]
