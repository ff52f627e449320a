"""Parts of plotly figures, and values that figures are drawn from."""

import json

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from n2n.analysis.dynamics import Dynamics
from n2n.analysis.mixing import MixingResult
from n2n.graph.graph import Graph
from n2n.process.process import Process

FEEDBACK = Graph(
    nodes=[
        {"name": "Z", "num_states": 2, "parents": ["X"]},
        {"name": "X", "num_states": 3, "parents": ["Z"], "observed": True, "recurrent": True},
    ]
)


def traces(figure: go.Figure, name: str) -> list:
    """All traces with this name."""
    return [trace for trace in figure.data if trace.name == name]


def trace(figure: go.Figure, prefix: str):
    """The only trace whose name begins so."""
    (match,) = (trace for trace in figure.data if trace.name and trace.name.startswith(prefix))
    return match


def assert_small(figure: go.Figure, size: int = 200_000) -> None:
    """Check that a figure is valid JSON of at most this many characters."""
    text = figure.to_json()
    json.loads(text)
    assert len(text) < size


def excess_table(**columns) -> pd.DataFrame:
    """A table of excess losses with intervals and 10 tokens in each row."""
    table = pd.DataFrame(columns)
    return table.assign(low=table["excess_loss"] - 0.01, high=table["excess_loss"] + 0.02, tokens=[10] * len(table))


def random_mixing(layers: int, heads: int, length: int = 33, graph: Graph = FEEDBACK) -> MixingResult:
    """Three sequences of a process with random mixing and random influence."""
    sample, rng = Process(graph).sample(3, length=length), np.random.default_rng(0)
    mixing = np.tril(rng.random((3, layers, heads, length - 1, length - 1)))
    influence = np.tril(rng.random((3, length - 1, length - 1)))
    return MixingResult(graph, sample.tokens, sample.latents, mixing, influence)


def random_dynamics(steps: list[int], latents: list[str]) -> Dynamics:
    """Random values at each step: one layer with two heads, five positions and three lags."""
    rng, step = np.random.default_rng(0), pd.DataFrame({"step": steps})

    def with_interval(table: pd.DataFrame, column: str, low: str, high: str) -> pd.DataFrame:
        values = rng.random(len(table))
        return table.assign(**{column: values, low: values - 0.1, high: values + 0.1})

    def crossed(**columns: list) -> pd.DataFrame:
        table = step
        for name, values in columns.items():
            table = table.merge(pd.DataFrame({name: values}), how="cross")
        return table

    excess = with_interval(step, "excess_loss", "low", "high")
    positions = with_interval(crossed(position=[1, 2, 3, 4, 5]), "excess_loss", "low", "high")
    beliefs = with_interval(crossed(latent=latents, layer=[0, 1]), "r2", "r2_low", "r2_high")
    mixing = crossed(layer=[1], head=[0, 1], lag=[0, 1, 2])
    return Dynamics(steps, excess, positions, beliefs, mixing.assign(share=rng.random(len(mixing))))
