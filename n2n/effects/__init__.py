"""What a factor does to a loss: paired comparisons and exponents with intervals over processes, and their verdicts.

>>> table = n2n.experiments.judged(design, file.read())
>>> n2n.effects.effects(table, measure="relative_excess")
"""

from n2n.effects.ideal_curves import equivalent_sequences, sample_efficiency
from n2n.effects.intervals import Interval, geometric_ratio, mean_over_processes, ratio_of_means
from n2n.effects.measures import MEASURES, with_measure
from n2n.effects.paired_effects import STRATA, Effect, effects, verdict
from n2n.effects.slopes import exponents

__all__ = [
    "MEASURES",
    "STRATA",
    "Effect",
    "Interval",
    "effects",
    "equivalent_sequences",
    "exponents",
    "geometric_ratio",
    "mean_over_processes",
    "ratio_of_means",
    "sample_efficiency",
    "verdict",
    "with_measure",
]
