"""Models against the oracle: evaluation, comparison, token mixing, agreement, probes, dynamics, in context."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    [
        "agreement",
        "comparison",
        "dynamics",
        "evaluation",
        "in_context",
        "induction",
        "mixing",
        "of_runs",
        "probes",
        "rivals",
    ],
)
