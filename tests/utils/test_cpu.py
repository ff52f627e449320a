"""Memory that stays with the process; caches of compiled code that are damaged, full or out of reach."""

import errno
import os
import pickle
import platform
import subprocess
import sys
import threading
import time
import warnings
from pathlib import Path
from unittest import mock

import numba
import pytest

from n2n.utils.cpu import TolerantCache, compiled, run_parts


def add(a, b):
    return a + b


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(TolerantCache, "has_warned", False)
    assert called() == (3, 0, []), "nothing is cached yet"
    assert called() == (3, 1, []), "now it is"
    return tmp_path / "cache"


def called() -> tuple[int, int, list[str]]:
    """What a new process would find: the result, how often it came from the cache, and what was warned of."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function = compiled(add)
        result = function(1, 2)
    return result, sum(function.stats.cache_hits.values()), [str(warning.message) for warning in caught]


def files(cache: Path, suffix: str) -> list[Path]:
    found = list(cache.rglob(f"*{suffix}"))
    assert found
    return found


DAMAGE = {
    "an empty index": (".nbi", lambda content: b""),
    "a torn index": (".nbi", lambda content: content[: len(content) // 2]),
    "garbage for an index": (".nbi", lambda content: b"\x93NUMPY garbage"),
    "an index of another shape": (".nbi", lambda content: pickle.dumps(numba.__version__) + pickle.dumps(3)),
    "zeros for an index": (".nbi", lambda content: bytes(len(content))),
    "empty code": (".nbc", lambda content: b""),
    "torn code": (".nbc", lambda content: content[: len(content) // 2]),
    "garbage for code": (".nbc", lambda content: b"\x93NUMPY garbage"),
    "other code": (".nbc", lambda content: pickle.dumps((1, 2, 3))),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_cache_warns_once_and_is_emptied(cache, damage):
    suffix, spoil = DAMAGE[damage]
    for path in files(cache, suffix):
        path.write_bytes(spoil(path.read_bytes()))
    result, hits, warned = called()
    assert (result, hits) == (3, 0)
    assert len(warned) == 1
    assert str(cache) in warned[0]
    assert "was damaged (" in warned[0]
    assert "and has been emptied" in warned[0]
    TolerantCache.has_warned = False
    assert called() == (3, 1, []), "the next process has its cache back"


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO])
def test_a_disk_that_cannot_be_written_warns_once(cache, number, monkeypatch):
    """Of a damaged index on a full disk too, which can't be emptied then."""

    def refuse(*arguments):
        raise OSError(number, os.strerror(number))

    for path in files(cache, ".nbi"):
        path.write_bytes(b"")
    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile._open_for_write", refuse)
    said = []
    for _ in range(2):
        result, hits, warned = called()
        assert (result, hits) == (3, 0)
        said += warned
    assert len(said) == 1
    assert f"is damaged (EOFError: Ran out of input) and cannot be emptied ({os.strerror(number)})" in said[0]


def test_a_cache_without_room_for_a_new_function_warns(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(TolerantCache, "has_warned", False)
    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", mock.Mock(side_effect=OSError(28, "Full")))
    result, hits, (warned,) = called()
    assert (result, hits) == (3, 0)
    assert "cannot be written to (Full), so n2n compiles again in each process" in warned
    assert "NUMBA_CACHE_DIR names another folder" in warned


def test_an_error_of_the_function_itself_is_not_swallowed(cache):
    with pytest.raises(numba.TypingError):
        compiled(add)(1, "x")


CODE = """
import numpy as np
from n2n.utils.philox import philox
print(*(int(word) for word in philox(*(np.uint64(0) for _ in range(6)))))
"""
FULL = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))"
KNOWN = [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]  # of Random123, as in test_philox


def fresh(folder: Path, before: str = "") -> str:
    """What another process warns of, which compiles the sampler's generator; its numbers must be right."""
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", before + CODE]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert [int(word) for word in done.stdout.split()] == KNOWN
    return done.stderr


def test_a_process_with_a_full_disk_and_the_next_one(tmp_path):
    """A file may not grow, as on a full disk: the index is left, the code is not. Then the index is emptied."""
    assert fresh(tmp_path / "none") == ""
    said = fresh(tmp_path, FULL)
    assert said.count("RuntimeWarning: numba's cache in") == 1
    assert "cannot be written to (File too large)" in said
    assert not list(tmp_path.rglob("*.tmp.*")), "nothing half-written is left to fill the disk"
    assert fresh(tmp_path) == "", "there is room again"
    for path in files(tmp_path, ".nbi"):
        path.write_bytes(b"")
    assert fresh(tmp_path).count("was damaged (EOFError: Ran out of input) and has been emptied") == 1
    assert fresh(tmp_path) == ""


def test_a_change_in_a_called_file_is_seen(tmp_path):
    """numba's own cache keeps the caller's code, which contains the old callee."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    header = "from n2n.utils.cpu import compiled\n"
    (package / "caller.py").write_text(
        f"{header}from package.callee import number\n\n@compiled\ndef call():\n    return number()\n"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path / "cache"), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", "from package.caller import call; print(call(), call.stats.cache_hits.total())"]
    results = []
    for number in (1, 1, 2):
        (package / "callee.py").write_text(f"{header}\n@compiled\ndef number():\n    return {number}\n")
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True)
        results.append(done.stdout.split())
    assert results == [["1", "0"], ["1", "1"], ["2", "0"]]


def test_a_cache_folder_that_is_a_file_is_done_without(tmp_path):
    (tmp_path / "file").write_text("")
    fresh(tmp_path / "file")
    assert (tmp_path / "file").read_text() == ""


REPEATED_STEPS = """
import resource, torch
from n2n.utils.cpu import keep_freed_memory

def faults():
    def step():
        return [torch.ones(2**20) for _ in range(20)]
    for _ in range(3):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(5):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

first = faults()
print(keep_freed_memory(), first, faults())
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's malloc")
def test_a_repeated_step_asks_for_no_new_pages():
    # Left alone, glibc moves its threshold as it goes, and then gives back every piece or none; a threshold set from
    # outside stays, so that before the call each of the 100 pieces is new, in pages small or huge.
    environment = os.environ | {"MALLOC_MMAP_THRESHOLD_": str(2**17)}
    command = [sys.executable, "-c", REPEATED_STEPS]
    told = subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.split()
    assert told[0] == "True"
    before, after = int(told[1]), int(told[2])
    assert before >= 100 > 10 * after


@pytest.mark.parametrize("threads", [1, 2, 5, 50])
def test_each_part_is_worked_on_once(threads):
    seen, before = [], threading.active_count()
    run_parts(seen.append, range(30), threads)
    assert sorted(seen) == list(range(30))
    assert threading.active_count() == before


def test_parts_run_side_by_side():
    """Two parts that wait for each other end only if two threads work on them."""
    barrier = threading.Barrier(2, timeout=20)
    run_parts(lambda part: barrier.wait(), range(2), 2)


@pytest.mark.parametrize("threads", [1, 3])
def test_an_error_of_a_part_is_raised(threads):
    def fail(part: int) -> None:
        if part == 5:
            raise KeyError("of part 5")

    with pytest.raises(KeyError, match="of part 5"):
        run_parts(fail, range(9), threads)


def test_an_error_stops_the_other_threads():
    """An interrupt ends the call after the parts that are being worked on, not after all of them."""
    seen, failed = [], threading.Event()

    def work(part: int) -> None:
        if threading.current_thread() is threading.main_thread():
            failed.set()
            raise KeyboardInterrupt
        failed.wait(20)
        time.sleep(0.01)
        seen.append(part)

    with pytest.raises(KeyboardInterrupt):
        run_parts(work, range(500), 2)
    assert len(seen) < 100
