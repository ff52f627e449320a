"""The batches of a run, and a rehearsal of a step on one of them."""

from __future__ import annotations

from collections.abc import Callable

import torch

from n2n.config.train_config import TrainConfig
from n2n.data import Batches, Drawn, Epochs, Stream, TokenStore
from n2n.data.batches import micro_batch_size
from n2n.models.lm import LanguageModel
from n2n.models.sizes import forward_flops
from n2n.training.optimization import autocast
from n2n.training.process_group import ProcessGroup

MAX_REHEARSAL = 2e9  # floating-point operations of its forward pass, unless one sequence has more


def open_batches(config: TrainConfig, group: ProcessGroup) -> Batches:
    """The batches of this process. The first one is generated, as a check that a batch fits in memory.

    Raises:
        ValueError: if the number of processes or of micro-batches does not divide the batch, or as ``open_data``.
    """
    micro_batch_size(config.batch_size, group.size, config.accumulate)  # before the dataset, which is read whole
    batches = Batches(open_data(config), config.batch_size, group.rank, group.size)
    batches.batch(0)
    return batches


def open_data(config: TrainConfig) -> Stream | Epochs:
    """The training sequences of a configuration.

    Raises:
        ValueError: if the dataset does not exist, if its process, split, length or number of sequences does not fit, or
            if its tokens have changed since they were generated. The whole dataset is read, at about 1 GB a second.
    """
    if config.data == "online" and config.sequences is None:
        return Stream(config.process, config.seq_len)
    if config.data == "online":
        drawn = Drawn(config.process, config.sequences, config.seq_len)
        return Epochs(drawn, seed=config.process_seed)
    source = config.epochs()
    source.store.check_drawn_from(config.process)
    source.store.verify()
    return source


def dataset_hash(batches: Batches) -> str | None:
    """The SHA-256 of the dataset on disk; None for sequences that are generated during training."""
    store = batches.source.store if isinstance(batches.source, Epochs) else None
    return store.sha256 if isinstance(store, TokenStore) else None


def rehearsal(model: LanguageModel, batches: Batches, config: TrainConfig) -> Callable[[], None]:
    """A function that makes a forward and a backward pass of one micro-batch, or of part of a large one.

    The sequences are drawn before the function is called, so its time is that of the passes. It leaves the model
    and the random state unchanged.
    """
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[]):  # dropout draws random numbers
        flops = forward_flops(model, config.seq_len - 1)["Global"]
    micro_batch = micro_batch_size(config.batch_size, config.processes, config.accumulate)
    rows = max(1, min(micro_batch, int(MAX_REHEARSAL // flops)))
    tokens = torch.from_numpy(batches.batch(0).tokens[:rows]).to(device)
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]

    def passes() -> None:
        with torch.random.fork_rng(devices=[]):
            with autocast(device, config.precision):
                loss = model.nll(tokens).mean()
            torch.autograd.grad(loss, parameters, allow_unused=True)

    return passes
