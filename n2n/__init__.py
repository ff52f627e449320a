"""n2n, from nodes to narratives: sequence learners against the best predictor that can exist.

>>> graph = n2n.Graph.preset("two_chains")
>>> process = n2n.Process(graph, seed=0)
>>> sample = process.sample(8, length=64)
>>> n2n.filter(process, sample.tokens).nll.shape
torch.Size([8, 63])

Public names are listed in ``__init__.pyi`` and imported when first used, so that ``import n2n`` is fast.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
