"""The widgets of ``n2n.mixing_explorer``, and the figure that follows them."""

import json

import numpy as np

import n2n
from n2n.analysis.mixing import MixingResult
from n2n.notebook.mixing_explorer import MixingExplorer

LENGTH = 33


def mixing_result(layers: int, heads: int) -> MixingResult:
    """Random values in the place of a model's."""
    process, rng = n2n.Process(n2n.Graph.preset("four_chains")), np.random.default_rng(0)
    sample = process.sample(3, length=LENGTH)
    mixing = np.tril(rng.random((3, layers, heads, LENGTH - 1, LENGTH - 1)))
    influence = np.tril(rng.random((3, LENGTH - 1, LENGTH - 1)))
    return MixingResult(process.graph, sample.tokens, sample.latents, mixing, influence)


RESULT = mixing_result(2, 3)


def test_the_figure_follows_the_widgets():
    explorer = MixingExplorer(RESULT, n2n.AttentionConfig(sequences=3))
    assert explorer.widgets["layer"].label == explorer.widgets["head"].label == "mean of all", "not blank"
    for name, value in (("query", 4), ("layer", 1), ("head", 2), ("sequence", 2), ("head", -1), ("query", 0)):
        explorer.widgets[name].value = value
        chosen = {key: None if widget.value == -1 else widget.value for key, widget in explorer.widgets.items()}
        figure = n2n.viz.unrolled_mixing(RESULT, **chosen)
        (output,) = explorer.place.outputs
        assert output["data"]["application/vnd.plotly.v1+json"] == json.loads(figure.to_json())
    for widget in explorer.widgets.values():
        assert "continuous_update" not in widget.keys or not widget.continuous_update
    assert "application/vnd.jupyter.widget-view+json" in explorer._repr_mimebundle_()
