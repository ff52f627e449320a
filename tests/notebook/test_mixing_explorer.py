"""The widgets of ``n2n.mixing_explorer``, and the figure that follows them."""

import json

from support.figures import random_mixing

import n2n
from n2n.notebook.mixing_explorer import MixingExplorer


def test_the_figure_follows_the_widgets():
    result = random_mixing(2, 3)
    explorer = MixingExplorer(result, n2n.AttentionConfig(sequences=3))
    assert explorer.widgets["layer"].label == explorer.widgets["head"].label == "mean of all", "not blank"
    for name, value in (("query", 4), ("layer", 1), ("head", 2), ("sequence", 2), ("head", -1), ("query", 0)):
        explorer.widgets[name].value = value
        indices = {key: None if widget.value == -1 else widget.value for key, widget in explorer.widgets.items()}
        figure = n2n.viz.unrolled_mixing(result, **indices)
        (output,) = explorer.place.outputs
        assert output["data"]["application/vnd.plotly.v1+json"] == json.loads(figure.to_json())
    for widget in explorer.widgets.values():
        assert "continuous_update" not in widget.keys or not widget.continuous_update
    assert "application/vnd.jupyter.widget-view+json" in explorer._repr_mimebundle_()
