from . import (
    analysis as analysis,
    benchmark as benchmark,
    config as config,
    data as data,
    difficulty as difficulty,
    effects as effects,
    experiments as experiments,
    graph as graph,
    launch as launch,
    models as models,
    monitor as monitor,
    notebook as notebook,
    oracle as oracle,
    process as process,
    runs as runs,
    sweeps as sweeps,
    training as training,
    utils as utils,
    viz as viz,
)
from .analysis import (
    comparison as comparison,
    dynamics as dynamics,
    in_context as in_context,
    induction as induction,
    mixing as mixing,
    of_runs as of_runs,
    probes as probes,
    rivals as rivals,
)
from .analysis.agreement import (
    head_agreement as head_agreement,
    influence_by_lag as influence_by_lag,
    mixing_by_lag as mixing_by_lag,
)
from .analysis.evaluation import Evaluation as Evaluation, evaluate as evaluate
from .config.train_config import TrainConfig as TrainConfig
from .data import Stream as Stream, TokenStore as TokenStore
from .difficulty.alpha_grid import entropy_grid as entropy_grid
from .difficulty.best_losses import best_losses as best_losses
from .difficulty.blind_graphs import blind_graph as blind_graph
from .difficulty.calibration import (
    Calibration as Calibration,
    EqualDifficulty as EqualDifficulty,
    calibrate as calibrate,
    equal_difficulty as equal_difficulty,
)
from .difficulty.compression import compression_nats as compression_nats, compression_table as compression_table
from .difficulty.context_ngrams import context_ngram_nll as context_ngram_nll
from .difficulty.entropies import Entropy as Entropy, entropy as entropy
from .difficulty.entropy_rates import EntropyRate as EntropyRate, entropy_rate as entropy_rate
from .difficulty.kernel_fits import KernelFit as KernelFit, fit_kernels as fit_kernels
from .difficulty.markov import (
    Estimate as Estimate,
    markov_entropy as markov_entropy,
    markov_entropy_estimate as markov_entropy_estimate,
    markov_nll as markov_nll,
)
from .difficulty.mutual_information import edge_information as edge_information
from .difficulty.ngrams import NGram as NGram, fit_ngram as fit_ngram
from .graph.graph import Graph as Graph
from .graph.node import Node as Node
from .notebook import datasets as datasets, examples as examples, mixing_explorer as mixing_explorer
from .notebook.examples import read_sweep as read_sweep
from .notebook.in_context_config import InContextConfig as InContextConfig
from .notebook.parameters import parameters as parameters
from .notebook.process_explorer import Explorer as Explorer, explore as explore
from .notebook.process_notebook_configs import (
    DatasetConfig as DatasetConfig,
    DifficultyConfig as DifficultyConfig,
    ExploreConfig as ExploreConfig,
)
from .notebook.report_page import write_report as write_report
from .notebook.run_notebook_configs import (
    AttentionConfig as AttentionConfig,
    DynamicsConfig as DynamicsConfig,
    EvaluateConfig as EvaluateConfig,
    ProbeConfig as ProbeConfig,
    ReportConfig as ReportConfig,
    WelcomeConfig as WelcomeConfig,
)
from .oracle.decoding import Decoded as Decoded, decode as decode
from .oracle.filtering import Filtered as Filtered, filter as filter
from .oracle.in_context import InContext as InContext, in_context_nll as in_context_nll
from .oracle.influence import token_influence as token_influence
from .oracle.mean_field import MeanField as MeanField, mean_field as mean_field
from .oracle.mixture import mixture_nll as mixture_nll
from .oracle.smoothing import Smoothed as Smoothed, smooth as smooth
from .oracle.told import told_nll as told_nll
from .process.process import Process as Process, Sample as Sample
from .runs.run import Run as Run
from .sweeps.equal_size import EqualSize as EqualSize, at_equal_size as at_equal_size
from .sweeps.results import SweepResults as SweepResults
from .sweeps.scaling_laws import Scaling as Scaling, scaling_fits as scaling_fits
from .training.trainer import train as train
