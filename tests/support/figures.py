"""Parts of plotly figures, and values that figures are drawn from."""

import json

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from n2n.analysis.dynamics import Dynamics
from n2n.analysis.in_context import HeadMaps, OverPools, RivalTrace
from n2n.analysis.mixing import MixingResult
from n2n.analysis.rivals import Rivals
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
    rng = np.random.default_rng(0)
    excess = with_interval(crossed(step=steps), rng, "excess_loss")
    positions = with_interval(crossed(step=steps, position=[1, 2, 3, 4, 5]), rng, "excess_loss")
    beliefs = with_interval(crossed(step=steps, latent=latents, layer=[0, 1]), rng, "r2")
    beliefs = beliefs.rename(columns={"low": "r2_low", "high": "r2_high"})
    mixing = crossed(step=steps, layer=[1], head=[0, 1], lag=[0, 1, 2])
    return Dynamics(steps, excess, positions, beliefs, mixing.assign(share=rng.random(len(mixing))))


def crossed(**columns: list) -> pd.DataFrame:
    """A row for each combination of the columns' values."""
    return pd.MultiIndex.from_product(columns.values(), names=columns).to_frame(index=False)


def with_interval(table: pd.DataFrame, rng: np.random.Generator, column: str) -> pd.DataFrame:
    """The table with random values of at least 0.1, and intervals around them."""
    values = 0.1 + rng.random(len(table))
    return table.assign(**{column: values, "low": values - 0.1, "high": values + 0.1})


def random_rival_trace(learners: list[str], rivals: list[str], steps: tuple[int, ...] = (0, 4, 12)) -> RivalTrace:
    """Random losses and distances of learners at each step."""
    rng, places = np.random.default_rng(0), {"learner": learners, "step": list(steps)}
    losses = {name: rng.random((3, 5)) for name in rivals}
    distances = with_interval(crossed(**places, rival=rivals), rng, "distance")
    nearest = distances.loc[distances.groupby(["learner", "step"])["distance"].idxmin()].assign(ratio=2.0, clear=True)
    mean = with_interval(crossed(**places), rng, "loss")
    return RivalTrace(Rivals(losses), {name: rng.random((3, 5)) for name in learners}, mean, distances, nearest)


def random_over_pools(pools: list[int | None]) -> OverPools:
    """Random losses and distances of a learner trained on each pool."""
    rng, oracles = np.random.default_rng(0), ["oracle of the pool", "oracle of the prior"]
    places = {"pool": pd.array(pools, dtype="Int64"), "source": ["pool", "prior"]}
    losses = with_interval(crossed(**places, predictor=["learner", *oracles]), rng, "loss")
    return OverPools(losses, with_interval(crossed(**places, rival=oracles), rng, "distance"))


def random_heads(learners: list[str], steps: tuple[int, ...] = (0, 4, 12)) -> pd.DataFrame:
    """Random induction scores of two blocks with two heads."""
    table = crossed(learner=learners, layer=[1, 2], head=[0, 1], step=list(steps))
    scores = np.random.default_rng(0).random(len(table))
    return table.assign(score=scores, standard_error=0.01, null_low=0.3, null_high=0.3 + 0.1 * table["layer"])


def random_head_maps(names: list[str]) -> HeadMaps:
    """Random signed mixing of five tokens."""
    rng = np.random.default_rng(0)
    targets = np.tril(rng.random((5, 5)) > 0.5, -1)
    return HeadMaps(np.array([0, 1, 0, 2, 1]), targets, {name: np.tril(rng.normal(size=(5, 5))) for name in names})
