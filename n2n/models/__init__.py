"""Sequence learners: one shared language model, and a file in ``architectures`` for each kind of token mixing.

The architectures are ``transformer``, ``mamba`` (Mamba-2), ``mingru``, ``minlstm`` and ``hawk`` (RG-LRU), each as
published, and ``hybrid``, which mixes them layer by layer. All add a learned vector to the first token's embedding:
attention over relative positions could not tell the context v from vv.

>>> import torch
>>> sized = n2n.models.match("mamba", parameters=200_000, vocab_size=32)  # nearest width; see sized.distance
>>> model = n2n.models.build("mamba", **sized.options)
>>> hybrid = n2n.models.build("hybrid", vocab_size=32, pattern="mamba,mamba,transformer")
>>> table = n2n.models.describe(model)  # parameters and operations of each part
>>> prompt = torch.zeros(2, 1, dtype=torch.int64)
>>> tokens = model.generate(prompt, 20, temperature=0.8, top_p=0.9, seed=0)
>>> inside = model.inspect(tokens)  # the residual stream of each layer, and how each layer mixes tokens

To add an architecture, put a file into ``n2n/models/architectures``, say ``summer.py``. It is registered automatically,
``-p arch summer`` trains it, and the tests of ``tests/models`` apply to it (causality, reproducible weights, ..)::

    from torch import Tensor, nn

    from n2n.models.mixer import ModelConfig, SequenceMixer


    class Config(ModelConfig):
        gain: float = 1.0  # further options, validated; set by model_options


    class Mixer(SequenceMixer):
        def __init__(self, config: Config) -> None:
            super().__init__()
            self.gain = config.gain
            self.out = nn.Linear(config.dim, config.dim, bias=False)

        def forward(self, x: Tensor) -> Tensor:  # (batch, T, dim) to the same shape; causal
            return self.out(self.gain * x.cumsum(1))

Everything runs in plain torch on a CPU or a GPU. The fused kernels of mamba-ssm and causal-conv1d are used where they
can be imported and the tensors are on a CUDA GPU, unless ``kernels="torch"``. They change only the speed, and have not
been run on a GPU here yet. They compile against an installed CUDA torch and its compiler:
``pip install --no-build-isolation -e ".[mamba]"``.
"""

from n2n.models.registry import HYBRID, build, configure, describe, match, names

__all__ = ["HYBRID", "build", "configure", "describe", "match", "names"]
