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
    from n2n import (
        attended,
        attention,
        benchmark,
        comparison,
        data,
        datasets,
        dynamics,
        examples,
        inspected,
        launch,
        models,
        probes,
        runs,
        viz,
    )
    from n2n.agreement import head_agreement, influence_by_lag, mixing_by_lag
    from n2n.attention import AttentionConfig
    from n2n.baselines import NGram, compression_nats, fit_ngram
    from n2n.calibration import Calibration, calibrate
    from n2n.compressed import compression_table
    from n2n.config import TrainConfig
    from n2n.data import Stream, TokenStore
    from n2n.datasets import DatasetConfig
    from n2n.decoding import Decoded, decode
    from n2n.dependence import edge_information
    from n2n.difficulty import Entropy, entropy
    from n2n.evaluation import Evaluation, evaluate
    from n2n.explorer import ExploreConfig, Explorer, explore
    from n2n.factored import MeanField, mean_field
    from n2n.graph import Graph, Node
    from n2n.in_context import InContext, in_context_nll
    from n2n.inference import Filtered, filter
    from n2n.influence import token_influence
    from n2n.inspected import DynamicsConfig, EvaluateConfig, ProbeConfig, WelcomeConfig
    from n2n.markov import Estimate, markov_entropy, markov_entropy_estimate, markov_nll
    from n2n.notebook import parameters
    from n2n.phase import DifficultyConfig, EqualDifficulty, entropy_grid, equal_difficulty
    from n2n.predictors import best_losses
    from n2n.process import Process, Sample
    from n2n.rates import EntropyRate, entropy_rate
    from n2n.report_page import write_report
    from n2n.runs import Run
    from n2n.scaling import EqualSize, Scaling, at_equal_size, scaling_fits
    from n2n.smoothing import Smoothed, smooth
    from n2n.sweep_report import ReportConfig, read_sweep
    from n2n.sweep_results import SweepResults
    from n2n.training import train

__all__ = [
    "AttentionConfig",
    "Calibration",
    "DatasetConfig",
    "Decoded",
    "DifficultyConfig",
    "DynamicsConfig",
    "Entropy",
    "EntropyRate",
    "EqualDifficulty",
    "EqualSize",
    "Estimate",
    "EvaluateConfig",
    "Evaluation",
    "ExploreConfig",
    "Explorer",
    "Filtered",
    "Graph",
    "InContext",
    "MeanField",
    "NGram",
    "Node",
    "ProbeConfig",
    "Process",
    "ReportConfig",
    "Run",
    "Sample",
    "Scaling",
    "Smoothed",
    "Stream",
    "SweepResults",
    "TokenStore",
    "TrainConfig",
    "WelcomeConfig",
    "at_equal_size",
    "attended",
    "attention",
    "benchmark",
    "best_losses",
    "calibrate",
    "comparison",
    "compression_nats",
    "compression_table",
    "data",
    "datasets",
    "decode",
    "dynamics",
    "edge_information",
    "entropy",
    "entropy_grid",
    "entropy_rate",
    "equal_difficulty",
    "evaluate",
    "examples",
    "explore",
    "filter",
    "fit_ngram",
    "head_agreement",
    "in_context_nll",
    "influence_by_lag",
    "inspected",
    "launch",
    "markov_entropy",
    "markov_entropy_estimate",
    "markov_nll",
    "mean_field",
    "mixing_by_lag",
    "models",
    "parameters",
    "probes",
    "read_sweep",
    "runs",
    "scaling_fits",
    "smooth",
    "token_influence",
    "train",
    "viz",
    "write_report",
]

_HOMES = {
    "AttentionConfig": "attention",
    "head_agreement": "agreement",
    "influence_by_lag": "agreement",
    "mixing_by_lag": "agreement",
    "token_influence": "influence",
    "DynamicsConfig": "inspected",
    "EvaluateConfig": "inspected",
    "MeanField": "factored",
    "ProbeConfig": "inspected",
    "WelcomeConfig": "inspected",
    "mean_field": "factored",
    "Calibration": "calibration",
    "DatasetConfig": "datasets",
    "Entropy": "difficulty",
    "EntropyRate": "rates",
    "Decoded": "decoding",
    "Estimate": "markov",
    "Evaluation": "evaluation",
    "ExploreConfig": "explorer",
    "Explorer": "explorer",
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
    "best_losses": "predictors",
    "calibrate": "calibration",
    "entropy": "difficulty",
    "entropy_rate": "rates",
    "compression_nats": "baselines",
    "decode": "decoding",
    "edge_information": "dependence",
    "evaluate": "evaluation",
    "explore": "explorer",
    "filter": "inference",
    "fit_ngram": "baselines",
    "markov_entropy": "markov",
    "markov_entropy_estimate": "markov",
    "markov_nll": "markov",
    "in_context_nll": "in_context",
    "parameters": "notebook",
    "smooth": "smoothing",
    "train": "training",
    "compression_table": "compressed",
    "DifficultyConfig": "phase",
    "EqualDifficulty": "phase",
    "entropy_grid": "phase",
    "equal_difficulty": "phase",
    "ReportConfig": "sweep_report",
    "SweepResults": "sweep_results",
    "read_sweep": "sweep_report",
    "Scaling": "scaling",
    "EqualSize": "scaling",
    "at_equal_size": "scaling",
    "scaling_fits": "scaling",
    "write_report": "report_page",
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
