"""Datasets on disk: generated in parts, resumed after a kill, and verified."""

import json
import os
import subprocess
import sys
import time

import numpy as np
import pytest
from support.run_folders import wait_until

import n2n
from n2n.data import generate, generate_part, generation

PROCESS = n2n.Process(n2n.Graph.preset("four_chains"), seed=5)


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    monkeypatch.setattr(generation, "BLOCK", 10 * 12)


def expected(count: int = 64, split: str = "train") -> np.ndarray:
    return PROCESS.sample(count, length=12, split=split).tokens


def test_sequence_i_of_the_file_is_sequence_i_of_the_process(tmp_path):
    store = generate(PROCESS, tmp_path / "data" / "valid.npy", 64, 12, split="valid")
    assert np.array_equal(store.tokens, expected(split="valid"))
    assert store.tokens.dtype == np.uint8
    assert isinstance(store.tokens, np.memmap)
    assert (len(store), store.length, store.vocab_size, store.split) == (64, 12, 32, "valid")
    assert store.graph == PROCESS.graph.model_copy(update={"name": ""})
    assert {path.name for path in store.path.parent.iterdir()} == {"valid.npy", "valid.json"}
    assert np.array_equal(np.load(store.path), store.tokens), "a plain .npy file"
    store.verify()
    n2n.TokenStore(str(store.path)).check_drawn_from(PROCESS)


def test_tokens_have_the_smallest_type(tmp_path):
    nodes = [{"name": "Z", "num_states": 2}, {"name": "X", "num_states": 300, "parents": ["Z"], "observed": True}]
    store = generate(n2n.Process(n2n.Graph(nodes=nodes)), tmp_path / "wide.npy", 5, 12)
    assert store.tokens.dtype == np.uint16


def test_parts_in_any_order_give_the_same_file(tmp_path):
    whole = generate(PROCESS, tmp_path / "whole.npy", 64, 12)
    path = tmp_path / "parts.npy"
    for part in (2, 0):
        assert generate_part(PROCESS, path, 64, 12, part=part, parts=3) is None
        assert not path.exists()
    with pytest.raises(ValueError, match=r"no dataset at .*parts.npy; it is not finished"):
        n2n.TokenStore(path)
    last = generate_part(PROCESS, path, 64, 12, part=1, parts=3)
    assert last.sha256 == whole.sha256
    assert path.read_bytes() == whole.path.read_bytes()


def worker(path, part: int, parts: int) -> subprocess.Popen:
    code = f"""
import n2n
from n2n.data import generation
generation.BLOCK = 2 ** 12
process = n2n.Process(n2n.Graph.preset("four_chains"), seed=5)
print("ready", flush=True)
generation.generate_part(process, {str(path)!r}, 40_000, 12, part={part}, parts={parts})
"""
    return subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)


def test_generation_resumes_after_processes_are_killed(tmp_path):
    """Two processes are killed repeatedly; blocks on the disk are not generated again."""
    path, rng, blocks = tmp_path / "killed.npy", np.random.default_rng(0), []
    for _ in range(4):
        workers = [worker(path, part, 2) for part in range(2)]
        for process in workers:
            assert process.stdout.readline() == "ready\n"
        wait_until(lambda: len(list(tmp_path.glob(".killed.npy.parts/*.sha256"))) > (blocks[-1] if blocks else 0))
        time.sleep(rng.uniform(0.0, 0.05))
        for process in workers:
            process.kill()
            process.communicate()
        blocks.append(len(list(tmp_path.glob(".killed.npy.parts/*.sha256"))))
    assert blocks == sorted(set(blocks)), "the number of blocks grows in each round"
    workers = [worker(path, part, 2) for part in range(2)]
    assert [process.communicate() and process.returncode for process in workers] == [0, 0]
    store = n2n.TokenStore(path)
    store.verify()
    assert np.array_equal(store.tokens, n2n.Process(PROCESS.graph, 5).sample(40_000, length=12).tokens)
    assert not list(tmp_path.glob(".*"))


def test_a_block_damaged_after_its_marker_is_generated_again(tmp_path):
    path = tmp_path / "torn.npy"
    generate_part(PROCESS, path, 64, 12, part=0, parts=2)
    tokens = np.load(tmp_path / ".torn.npy.parts" / "tokens.npy", mmap_mode="r+")
    tokens[3, 4] += 1
    tokens.flush()
    assert np.array_equal(generate(PROCESS, path, 64, 12).tokens, expected())


def test_a_finished_dataset_is_verified_and_left_unchanged(tmp_path, monkeypatch):
    store = generate(PROCESS, tmp_path / "once.npy", 64, 12)
    before = store.path.stat().st_mtime_ns
    assert generate(PROCESS, store.path, 64, 12).sha256 == store.sha256
    assert store.path.stat().st_mtime_ns == before
    data = bytearray(store.path.read_bytes())
    data[-1] ^= 1
    store.path.write_bytes(data)
    with pytest.raises(ValueError, match=r"once.npy is damaged: its SHA-256 is"):
        generate(PROCESS, store.path, 64, 12)
    assert store.path.read_bytes() == bytes(data)


@pytest.mark.parametrize("finished", [True, False])
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((PROCESS, 65, 12), "count 64, not 65"),
        ((PROCESS, 64, 11), "length 12, not 11"),
        ((n2n.Process(PROCESS.graph, seed=6), 64, 12), "seed 5, not 6"),
        ((n2n.Process(n2n.Graph.preset("sparse"), seed=5), 64, 12), "holds a dataset with another graph"),
    ],
)
def test_another_dataset_is_never_overwritten(tmp_path, arguments, message, finished):
    path = tmp_path / "data.npy"
    generate_part(PROCESS, path, 64, 12, parts=1 if finished else 2)
    before = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    process, count, length = arguments
    with pytest.raises(ValueError, match=message):
        generate(process, path, count, length)
    assert {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_other_kernels_of_the_same_graph_are_refused(tmp_path):
    store = generate(PROCESS, tmp_path / "data.npy", 64, 12)
    tables = {name: np.roll(table, 1, axis=-1) for name, table in PROCESS.kernels.items()}
    other = n2n.Process.from_kernels(PROCESS.graph, tables, seed=5)
    with pytest.raises(ValueError, match="other kernels"):
        store.check_drawn_from(other)
    with pytest.raises(ValueError, match="holds a dataset with other kernels"):
        generate(other, store.path, 64, 12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sequences": 0}, "sequences: saw 0"),
        ({"length": 1}, "length: saw 1"),
        ({"path": "data.bin"}, "saw 'data.bin'; a name that ends in .npy"),
        ({"split": "tset"}, "unknown split 'tset'; did you mean 'test'"),
        ({"part": 2, "parts": 2}, "part: saw 2"),
    ],
)
def test_bad_arguments_write_nothing(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=message):
        generate_part(PROCESS, **{"path": "data.npy", "sequences": 4, "length": 12, **arguments})
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_reported_before_anything_is_written(tmp_path):
    with pytest.raises(OSError, match=r"data.npy needs [\d,.]+ GiB; [\d,.]+ GiB are free"):
        generate(PROCESS, tmp_path / "data.npy", 10**13, 12)
    assert not list(tmp_path.iterdir())


def test_a_file_without_a_matching_sidecar_is_refused(tmp_path):
    np.save(tmp_path / "mine.npy", np.zeros((3, 4)))
    with pytest.raises(ValueError, match=r"mine.json does not describe a dataset"):
        n2n.TokenStore(tmp_path / "mine.npy")
    store = generate(PROCESS, tmp_path / "data.npy", 64, 12)
    fields = json.loads((tmp_path / "data.json").read_text())
    (tmp_path / "data.json").write_text(json.dumps({**fields, "count": 63}))
    with pytest.raises(ValueError, match=r"holds \(\(64, 12\), 'uint8'\); its JSON file says \(\(63, 12\)"):
        n2n.TokenStore(store.path)
    store.path.write_bytes(store.path.read_bytes()[:50])
    with pytest.raises(ValueError, match=r"is not a complete .npy file"):
        n2n.TokenStore(store.path)


def test_a_pickled_store_opens_the_file_again(tmp_path):
    import pickle

    store = generate(PROCESS, tmp_path / "data.npy", 64, 12)
    assert store.tokens is not None
    pickled = pickle.dumps(store)
    assert len(pickled) < 10_000
    assert np.array_equal(pickle.loads(pickled).tokens, store.tokens)


def test_memory_is_bounded_by_the_block(tmp_path):
    """Generating 120 MB of tokens raises the memory of a process by less than 64 MiB."""
    code = f"""
import resource, n2n
process = n2n.Process(n2n.Graph.preset("four_chains"))
n2n.data.generate(process, {str(tmp_path / "small.npy")!r}, 100_000, 100)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
n2n.data.generate(process, {str(tmp_path / "large.npy")!r}, 1_200_000, 100)
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
"""
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(process.stdout.split()[-1]) < 64
    assert os.path.getsize(tmp_path / "large.npy") > 120e6
