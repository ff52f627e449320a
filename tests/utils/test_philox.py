import numpy as np
import pytest

from n2n.utils.philox import derive_key, fill_uniforms, philox, uniform

# Known answers of Random123's philox4x32-10: counter and key, then the output (its file kat_vectors).
KNOWN = [
    ([0] * 4, [0] * 2, "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ([0xFFFFFFFF] * 4, [0xFFFFFFFF] * 2, "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    (
        [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344],
        [0xA4093822, 0x299F31D0],
        "d16cfe09 94fdcceb 5001e420 24126ea1",
    ),
]


@pytest.mark.parametrize("function", [philox, philox.py_func], ids=["compiled", "numpy"])
@pytest.mark.parametrize(("counter", "key", "expected"), KNOWN)
def test_known_answers(function, counter, key, expected):
    words = function(*(np.uint64(word) for word in [*counter, *key]))
    assert " ".join(f"{int(word):08x}" for word in words) == expected


def test_uniforms_start_at_zero_and_stay_below_one():
    largest = np.uint64(0xFFFFFFFF)
    assert uniform(np.uint64(0), np.uint64(0)) == 0.0
    assert uniform(largest, largest) == 1.0 - 2.0**-53
    assert uniform(np.uint64(1 << 31), np.uint64(0)) == 0.5


def test_keys_depend_on_every_part():
    keys = {tuple(map(int, derive_key(*parts))) for parts in [(0, "train"), (0, "test"), (1, "train"), ("0", "train")]}
    assert len(keys) == 4


def test_blocks_of_many_counters_equal_single_ones():
    rng = np.random.default_rng(0)
    index = rng.integers(0, 2**32, (2, 64), dtype=np.uint64)
    c2, c3, *key = (np.uint64(word) for word in (2**32 - 1, 7, 0xFFFFFFFF, 0xDEADBEEF))
    words, values = np.empty((4, 64), np.uint64), np.empty((2, 64))
    fill_uniforms(index, 64, c2, c3, *key, words, values)
    for lane in range(64):
        block = philox(index[0, lane], index[1, lane], c2, c3, *key)
        assert values[:, lane].tolist() == [uniform(*block[:2]), uniform(*block[2:])]
