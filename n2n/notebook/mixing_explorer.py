"""Widgets over the unrolled mixing of a model, for a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from n2n.analysis.mixing import MixingResult
from n2n.notebook.output_area import display_data
from n2n.notebook.run_notebook_configs import AttentionConfig
from n2n.viz import unrolled_mixing

if TYPE_CHECKING:
    import ipywidgets

MEAN, MEAN_VALUE = "mean of all", -1  # stands for None, which a widget would show as blank


class MixingExplorer:
    """Widgets for sequence, query, layer and head, and the figure of the unrolled graph that follows them.

    Args:
        result: what ``n2n.mixing.measure_mixing`` returns.
        config: initial values of the widgets.

    Attributes:
        widgets: widgets by name; code may set the ``value`` of each, too.
        place: the output that shows the figure.
        box: the widgets and the figure.
    """

    def __init__(self, result: MixingResult, config: AttentionConfig) -> None:
        import ipywidgets

        self._result = result
        self.widgets = _widgets(result, config)
        self.place = ipywidgets.Output()
        rows = [ipywidgets.HBox(list(self.widgets.values())[i : i + 2]) for i in (0, 2)]
        self.box = ipywidgets.VBox([*rows, self.place])
        for widget in self.widgets.values():
            widget.observe(self._redraw, names="value")
        self._redraw()

    def _repr_mimebundle_(self, **options: Any) -> dict[str, Any]:
        return self.box._repr_mimebundle_(**options)

    def _redraw(self, _change: Any = None) -> None:
        values = {name: None if widget.value == MEAN_VALUE else widget.value for name, widget in self.widgets.items()}
        self.place.outputs = (display_data(unrolled_mixing(self._result, **values)),)


def _widgets(result: MixingResult, config: AttentionConfig) -> dict[str, ipywidgets.ValueWidget]:
    """Sliders send their value when they are released, not while they move."""
    import ipywidgets

    layers, heads = result.mixing.shape[1:3]
    last = result.influence.shape[1] - 1
    query = last if config.query is None else config.query
    return {
        "sequence": _slider("sequence", config.sequence, len(result.tokens) - 1),
        "query": _slider("query", query, last),
        "layer": ipywidgets.Dropdown(
            options=_options(range(1, layers + 1)), value=_option(config.layer), description="block"
        ),
        "head": ipywidgets.Dropdown(options=_options(range(heads)), value=_option(config.head), description="head"),
    }


def _slider(name: str, value: int, maximum: int) -> ipywidgets.IntSlider:
    import ipywidgets

    return ipywidgets.IntSlider(value, 0, maximum, description=name, continuous_update=False, layout={"width": "380px"})


def _option(value: int | None) -> int:
    return MEAN_VALUE if value is None else value


def _options(numbers: range) -> list[tuple[str, int]]:
    return [(MEAN, MEAN_VALUE), *((str(i), i) for i in numbers)]
