"""How fast n2n is here, each piece of work beside a slow twin or torch's own in the same run."""

from n2n.benchmark.learners import learner_table
from n2n.benchmark.operations import operation_table
from n2n.benchmark.overhead import overhead_table
from n2n.benchmark.processes import filter_table, growth_table, sampler_table, thread_table
from n2n.benchmark.timing import Settings, matrix_rate

__all__ = [
    "Settings",
    "filter_table",
    "growth_table",
    "learner_table",
    "matrix_rate",
    "operation_table",
    "overhead_table",
    "sampler_table",
    "thread_table",
]
