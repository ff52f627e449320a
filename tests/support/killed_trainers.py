"""Trainers in separate processes that are killed; they are forked from a server that has imported everything."""

import itertools
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from unittest import mock

import torch
from support.run_folders import config

from n2n.monitor import checkpoint, journal
from n2n.training import learner
from n2n.training.trainer import train
from n2n.utils import files

# Calls at which a process can kill itself: name -> (object, attribute).
PLACES = {
    "step": (learner, "update"),
    "row": (journal, "append_row"),
    "rename": (checkpoint.os, "rename"),
    "manifest": (checkpoint, "write_json"),
    "state": (torch, "save"),
    "weights": (checkpoint.safetensors.torch, "save_file"),
    "replace": (files.os, "replace"),
    "prune": (checkpoint.shutil, "rmtree"),
    "flush": (files.os, "fsync"),
}


def trainer(target: Callable, *arguments, daemon: bool = True) -> multiprocessing.Process:
    """A started process that runs ``target``; it can start others if it is no daemon."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["support.killed_trainers", "support.preload"])
    process = context.Process(target=target, args=arguments, daemon=daemon)
    with mock.patch.dict(os.environ, PYTHONPATH=str(Path(__file__).parents[1])):  # the server imports these modules
        process.start()
    return process


def train_quietly(fields: dict) -> None:
    with open(os.devnull, "w") as null, mock.patch("sys.stdout", null):
        train(config(**fields))


def train_slowly(fields: dict, seconds: float) -> None:
    """Train with ``seconds`` of delay in each step after the first, so that a test can stop it there."""
    real, calls = learner.update, itertools.count()

    def update(*arguments):
        if next(calls):
            time.sleep(seconds)
        return real(*arguments)

    with mock.patch.object(learner, "update", update):
        train_quietly(fields)


def train_and_die(fields: dict, place: str, call: int) -> None:
    """Train, and die at this call of a place; a place that writes is killed half-way through its output."""
    owner, name = PLACES[place]
    real, calls = getattr(owner, name), itertools.count(1)

    def call_or_die(*arguments, **options):
        if next(calls) == call:
            if place == "row":
                with open(arguments[0], "a") as file:
                    file.write('{"step": 4, "lo')
            elif place == "state":
                arguments[1].write(b"half of it")
                arguments[1].flush()
            elif place == "weights":
                arguments[1].write_bytes(b"half of it")
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*arguments, **options)

    with mock.patch.object(owner, name, call_or_die):
        train_quietly(fields)


def train_telling(fields: dict, seconds: float, path: str) -> None:
    """As ``train_slowly``; the type and message of the final error are written to a file."""
    try:
        train_slowly(fields, seconds)
    except BaseException as error:
        with open(path, "w") as file:
            file.write(f"{type(error).__name__}: {error}")
        raise
