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
    from n2n import models, runs, viz
    from n2n.config import TrainConfig
    from n2n.data import Stream
    from n2n.evaluation import Evaluation, evaluate
    from n2n.graph import Graph, Node
    from n2n.in_context import InContext, in_context_nll
    from n2n.inference import Filtered, filter
    from n2n.notebook import parameters
    from n2n.process import Process, Sample
    from n2n.runs import Run
    from n2n.training import train

__all__ = [
    "Evaluation",
    "Filtered",
    "Graph",
    "InContext",
    "Node",
    "Process",
    "Run",
    "Sample",
    "Stream",
    "TrainConfig",
    "evaluate",
    "filter",
    "in_context_nll",
    "models",
    "parameters",
    "runs",
    "train",
    "viz",
]

_HOMES = {
    "Evaluation": "evaluation",
    "Filtered": "inference",
    "Graph": "graph",
    "InContext": "in_context",
    "Node": "graph",
    "Process": "process",
    "Run": "runs",
    "Sample": "process",
    "Stream": "data",
    "TrainConfig": "config",
    "evaluate": "evaluation",
    "filter": "inference",
    "in_context_nll": "in_context",
    "parameters": "notebook",
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
