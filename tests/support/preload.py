"""Imported by the server that trainers are forked from: what each would load before its first step, threads apart."""

import torch
from support.run_folders import config

config().process.sample(2, length=12)  # numba's compiled code
torch.optim.AdamW([torch.zeros(1)])  # torch's compiler, which optimizers import
