"""Timings of n2n on this machine, each next to a slow reference implementation or to torch's own layers."""

from n2n.benchmark.in_context import in_context_table
from n2n.benchmark.learners import learner_table
from n2n.benchmark.operations import operation_table
from n2n.benchmark.overhead import overhead_table
from n2n.benchmark.peers import filter_rates, oracle_rates
from n2n.benchmark.processes import filter_table, growth_table, sampler_table, thread_table
from n2n.benchmark.timing import Settings, matrix_rate

__all__ = [
    "Settings",
    "filter_rates",
    "filter_table",
    "growth_table",
    "in_context_table",
    "learner_table",
    "matrix_rate",
    "operation_table",
    "oracle_rates",
    "overhead_table",
    "sampler_table",
    "thread_table",
]
