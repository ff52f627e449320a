"""n2n, from nodes to narratives: sequence learners against the best predictor that can exist.

>>> graph = n2n.Graph.preset("two_chains")
>>> process = n2n.Process(graph, seed=0)
>>> sample = process.sample(8, length=64)
>>> n2n.filter(process, sample.tokens).nll.shape
torch.Size([8, 63])

Every name is imported when it is first used, so that ``import n2n`` costs next to nothing.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from n2n import benchmark, data, datasets, launch, models, runs, viz
    from n2n.baselines import NGram, compression_nats, fit_ngram
    from n2n.calibration import Calibration, calibrate
    from n2n.config import TrainConfig
    from n2n.data import Stream, TokenStore
    from n2n.datasets import DatasetConfig
    from n2n.decoding import Decoded, decode
    from n2n.difficulty import Entropy, EntropyRate, entropy, entropy_rate
    from n2n.evaluation import Evaluation, evaluate
    from n2n.graph import Graph, Node
    from n2n.in_context import InContext, in_context_nll
    from n2n.inference import Filtered, filter
    from n2n.markov import Estimate, markov_entropy, markov_entropy_estimate, markov_nll
    from n2n.notebook import parameters
    from n2n.process import Process, Sample
    from n2n.runs import Run
    from n2n.smoothing import Smoothed, smooth
    from n2n.training import train

__all__ = [
    "Calibration",
    "DatasetConfig",
    "Decoded",
    "Entropy",
    "EntropyRate",
    "Estimate",
    "Evaluation",
    "Filtered",
    "Graph",
    "InContext",
    "NGram",
    "Node",
    "Process",
    "Run",
    "Sample",
    "Smoothed",
    "Stream",
    "TokenStore",
    "TrainConfig",
    "benchmark",
    "calibrate",
    "compression_nats",
    "data",
    "datasets",
    "decode",
    "entropy",
    "entropy_rate",
    "evaluate",
    "filter",
    "fit_ngram",
    "in_context_nll",
    "launch",
    "markov_entropy",
    "markov_entropy_estimate",
    "markov_nll",
    "models",
    "parameters",
    "runs",
    "smooth",
    "train",
    "viz",
]

_HOMES = {
    "Calibration": "calibration",
    "DatasetConfig": "datasets",
    "Entropy": "difficulty",
    "EntropyRate": "difficulty",
    "Decoded": "decoding",
    "Estimate": "markov",
    "Evaluation": "evaluation",
    "Filtered": "inference",
    "Graph": "graph",
    "NGram": "baselines",
    "InContext": "in_context",
    "Node": "graph",
    "Process": "process",
    "Run": "runs",
    "Sample": "process",
    "Smoothed": "smoothing",
    "Stream": "data",
    "TokenStore": "data",
    "TrainConfig": "config",
    "calibrate": "calibration",
    "entropy": "difficulty",
    "entropy_rate": "difficulty",
    "compression_nats": "baselines",
    "decode": "decoding",
    "evaluate": "evaluation",
    "filter": "inference",
    "fit_ngram": "baselines",
    "markov_entropy": "markov",
    "markov_entropy_estimate": "markov",
    "markov_nll": "markov",
    "in_context_nll": "in_context",
    "parameters": "notebook",
    "smooth": "smoothing",
    "train": "training",
}


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        value = getattr(import_module(f"n2n.{_HOMES[name]}"), name)
    elif name in __all__:
        value = import_module(f"n2n.{name}")
    else:
        raise AttributeError(f"module 'n2n' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
