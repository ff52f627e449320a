"""Imported by the server that trainers are forked from: what each would load before its first step, except threads."""

import gc

import torch
import torch._dynamo
import torch.distributed.checkpoint.state_dict
import torch.distributed.fsdp
import torch.distributed.run
import torch.utils.serialization
from support.run_folders import config

import n2n.training.cli  # noqa: F401
from n2n.analysis.evaluation import evaluate_model, held_out
from n2n.models import names
from n2n.models.sizes import forward_flops
from n2n.monitor.profiler import matrix_rate

for arch in names():
    model = config(arch=arch).build_model()
    forward_flops(model, 11)
evaluate_model(model, held_out(config()))  # loads numba's compiled code
matrix_rate("cpu", "float32")
torch.optim.AdamW(model.parameters(), fused=True)
gc.freeze()  # children share these objects instead of copying them
