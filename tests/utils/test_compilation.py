"""Caches of compiled code: shared by equal sources; damaged, full or out of reach."""

import errno
import os
import pickle
import subprocess
import sys
import time
import warnings
from pathlib import Path
from unittest import mock

import numba
import pytest

from n2n.utils.compilation import MAX_AGE, TolerantCache, compiled, compiled_part


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
    """What a new process would get: the result, the number of hits of the cache, and the warnings."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        function = compiled(add)
        result = function(1, 2)
    return result, sum(function.stats.cache_hits.values()), [str(warning.message) for warning in caught]


def files(cache: Path, suffix: str) -> list[Path]:
    paths = list(cache.rglob(f"*{suffix}"))
    assert paths
    return paths


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
    result, hits, messages = called()
    assert (result, hits) == (3, 0)
    assert len(messages) == 1
    assert str(cache) in messages[0]
    assert "was damaged (" in messages[0]
    assert "and has been emptied" in messages[0]
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
    warned = []
    for _ in range(2):
        result, hits, messages = called()
        assert (result, hits) == (3, 0)
        warned += messages
    assert len(warned) == 1
    assert f"is damaged (EOFError: Ran out of input) and cannot be emptied ({os.strerror(number)})" in warned[0]


def test_a_cache_without_room_for_a_new_function_warns(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(TolerantCache, "has_warned", False)
    monkeypatch.setattr("numba.core.caching.IndexDataCacheFile.save", mock.Mock(side_effect=OSError(28, "Full")))
    result, hits, (message,) = called()
    assert (result, hits) == (3, 0)
    assert "cannot be written to (Full), so n2n compiles again in each process" in message
    assert "NUMBA_CACHE_DIR names another folder" in message


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
    errors = fresh(tmp_path, FULL)
    assert errors.count("RuntimeWarning: numba's cache in") == 1
    assert "cannot be written to (File too large)" in errors
    assert not list(tmp_path.rglob("*.tmp.*")), "nothing half-written is left to fill the disk"
    assert fresh(tmp_path) == "", "there is room again"
    for path in files(tmp_path, ".nbi"):
        path.write_bytes(b"")
    assert fresh(tmp_path).count("was damaged (EOFError: Ran out of input) and has been emptied") == 1
    assert fresh(tmp_path) == ""


HEADER = "from n2n.utils.compilation import compiled\n"
CALLER = f"{HEADER}from package.callee import number\n\n@compiled\ndef call():\n    return number()\n"
CALL = "from package.caller import call; print(call(), call.stats.cache_hits.total())"


def call_package(folder: Path, number: int, cache: Path | None, **variables: str) -> list[int]:
    """What a compiled function returns that calls one of another file, and how often it came from the cache."""
    package = folder / "package"
    package.mkdir(parents=True, exist_ok=True)
    (package / "__init__.py").write_text("")
    (package / "caller.py").write_text(CALLER)
    (package / "callee.py").write_text(f"{HEADER}\n@compiled\ndef number():\n    return {number}\n")
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(cache or ""), "PYTHONDONTWRITEBYTECODE": "1", **variables}
    command = [sys.executable, "-c", CALL]
    done = subprocess.run(command, env=environment, cwd=folder, capture_output=True, text=True, check=True)
    return [int(word) for word in done.stdout.split()]


def test_a_change_in_a_called_file_is_seen(tmp_path):
    """numba's own cache keeps the caller's code, which contains the old callee."""
    results = [call_package(tmp_path, number, tmp_path / "cache") for number in (1, 1, 2)]
    assert results == [[1, 0], [1, 1], [2, 0]]


def test_without_a_user_s_cache_the_code_lies_with_its_sources(tmp_path):
    """Also there, a change in a called file is seen."""
    (tmp_path / "file").write_text("")
    variables = {"XDG_CACHE_HOME": str(tmp_path / "file")}
    results = [call_package(tmp_path, number, None, **variables) for number in (1, 1, 2)]
    assert results == [[1, 0], [1, 1], [2, 0]]
    assert list((tmp_path / "package" / "__pycache__").rglob("*.nbc"))


def test_copies_of_the_same_sources_share_their_code(tmp_path):
    """The copy that a sweep makes for its jobs, and another checkout; each keeps its own when they differ."""
    copies = [("a", 1), ("b", 1), ("c", 2), ("a", 1)]
    results = [call_package(tmp_path / folder, number, tmp_path / "cache") for folder, number in copies]
    assert results == [[1, 0], [1, 1], [2, 0], [1, 1]]


def test_code_of_old_sources_is_removed_when_new_code_comes(tmp_path):
    cache, other = tmp_path / "cache", tmp_path / "cache" / "n2n_other_0_0"
    call_package(tmp_path, 0, cache)
    other.mkdir()
    old = time.time() - MAX_AGE - 10
    folders = {}
    for number in (1, 2):
        for path in cache.iterdir():
            os.utime(path, (old, old))
        folders[number] = set(cache.glob("n2n_package_*"))
        call_package(tmp_path, number, cache)
    left = set(cache.glob("n2n_package_*"))
    assert [len(folders[number]) for number in (1, 2)] == [1, 1]
    assert len(left) == 1
    assert not left & (folders[1] | folders[2])
    assert other.exists(), "another package's"


def test_a_cache_folder_that_is_a_file_is_done_without(tmp_path):
    (tmp_path / "file").write_text("")
    fresh(tmp_path / "file")
    assert (tmp_path / "file").read_text() == ""


def test_a_part_is_called_by_compiled_functions_only():
    part = compiled_part(add)
    whole = numba.njit(lambda a, b: part(a, b) + 1)
    for _ in range(2):  # before and after it is compiled for these types
        with pytest.raises(TypeError, match="add is part of compiled functions and cannot be called from Python"):
            part(1, 2)
        assert whole(1, 2) == 4
