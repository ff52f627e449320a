import threading

import numpy as np
import pytest

from n2n.data import Stream
from n2n.graph import Graph
from n2n.process import Process

STREAM = Stream(Process(Graph.preset("sparse")), batch_size=5, length=12)


def test_batches_are_consecutive_sequences():
    whole = STREAM.process.sample(20, length=12).tokens
    assert np.array_equal(np.concatenate([STREAM.batch(step) for step in range(4)]), whole)
    assert STREAM.batch(0).dtype == np.int64


@pytest.mark.parametrize(("start", "stop"), [(0, 7), (3, 7), (6, 7), (7, 7)])
def test_batches_made_ahead_are_the_same(start, stop):
    made = list(STREAM.batches(start, stop))
    assert len(made) == stop - start
    for step, tokens in enumerate(made, start=start):
        assert np.array_equal(tokens, STREAM.batch(step))


def test_no_thread_is_left_when_the_reader_leaves():
    batches = STREAM.batches(0, 1000)
    next(batches)
    assert any(thread.name.startswith("n2n-stream") for thread in threading.enumerate())
    batches.close()
    assert not any(thread.name.startswith("n2n-stream") for thread in threading.enumerate())


def test_a_failure_in_the_thread_reaches_the_reader():
    with pytest.raises(ValueError, match="unknown split 'trian'"):
        next(Stream(STREAM.process, 5, 12, split="trian").batches(0, 3))
