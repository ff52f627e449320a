from . import (
    attention as attention,
)
from . import (
    benchmark as benchmark,
)
from . import (
    data as data,
)
from . import (
    datasets as datasets,
)
from . import (
    examples as examples,
)
from . import (
    inspected as inspected,
)
from . import (
    launch as launch,
)
from . import (
    models as models,
)
from . import (
    runs as runs,
)
from . import (
    viz as viz,
)
from .analysis import comparison as comparison
from .analysis import dynamics as dynamics
from .analysis import mixing as mixing
from .analysis import probes as probes
from .analysis.agreement import (
    head_agreement as head_agreement,
)
from .analysis.agreement import (
    influence_by_lag as influence_by_lag,
)
from .analysis.agreement import (
    mixing_by_lag as mixing_by_lag,
)
from .analysis.evaluation import Evaluation as Evaluation
from .analysis.evaluation import evaluate as evaluate
from .attention import AttentionConfig as AttentionConfig
from .config.train_config import TrainConfig as TrainConfig
from .data import Stream as Stream
from .data import TokenStore as TokenStore
from .datasets import DatasetConfig as DatasetConfig
from .difficulty.alpha_grid import DifficultyConfig as DifficultyConfig
from .difficulty.alpha_grid import entropy_grid as entropy_grid
from .difficulty.best_losses import best_losses as best_losses
from .difficulty.calibration import (
    Calibration as Calibration,
)
from .difficulty.calibration import (
    EqualDifficulty as EqualDifficulty,
)
from .difficulty.calibration import (
    calibrate as calibrate,
)
from .difficulty.calibration import (
    equal_difficulty as equal_difficulty,
)
from .difficulty.compression import compression_nats as compression_nats
from .difficulty.compression import compression_table as compression_table
from .difficulty.entropies import Entropy as Entropy
from .difficulty.entropies import entropy as entropy
from .difficulty.entropy_rates import EntropyRate as EntropyRate
from .difficulty.entropy_rates import entropy_rate as entropy_rate
from .difficulty.markov import (
    Estimate as Estimate,
)
from .difficulty.markov import (
    markov_entropy as markov_entropy,
)
from .difficulty.markov import (
    markov_entropy_estimate as markov_entropy_estimate,
)
from .difficulty.markov import (
    markov_nll as markov_nll,
)
from .difficulty.mutual_information import edge_information as edge_information
from .difficulty.ngrams import NGram as NGram
from .difficulty.ngrams import fit_ngram as fit_ngram
from .explorer import ExploreConfig as ExploreConfig
from .explorer import Explorer as Explorer
from .explorer import explore as explore
from .graph.graph import Graph as Graph
from .graph.node import Node as Node
from .inspected import (
    DynamicsConfig as DynamicsConfig,
)
from .inspected import (
    EvaluateConfig as EvaluateConfig,
)
from .inspected import (
    ProbeConfig as ProbeConfig,
)
from .inspected import (
    WelcomeConfig as WelcomeConfig,
)
from .notebook import parameters as parameters
from .oracle.decoding import Decoded as Decoded
from .oracle.decoding import decode as decode
from .oracle.filtering import Filtered as Filtered
from .oracle.filtering import filter as filter
from .oracle.in_context import InContext as InContext
from .oracle.in_context import in_context_nll as in_context_nll
from .oracle.influence import token_influence as token_influence
from .oracle.mean_field import MeanField as MeanField
from .oracle.mean_field import mean_field as mean_field
from .oracle.smoothing import Smoothed as Smoothed
from .oracle.smoothing import smooth as smooth
from .process.process import Process as Process
from .process.process import Sample as Sample
from .report_page import write_report as write_report
from .runs.run import Run as Run
from .sweep_report import ReportConfig as ReportConfig
from .sweep_report import read_sweep as read_sweep
from .sweeps.equal_size import EqualSize as EqualSize
from .sweeps.equal_size import at_equal_size as at_equal_size
from .sweeps.results import SweepResults as SweepResults
from .sweeps.scaling_laws import Scaling as Scaling
from .sweeps.scaling_laws import scaling_fits as scaling_fits
from .training import train as train
