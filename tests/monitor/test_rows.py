"""Rows in files are read as they were written, and damage is detected."""

import json
import os
import stat
import zlib

import pytest

from n2n.monitor.rows import DamagedFile, append_row, last_row, read_rows
from n2n.utils.files import read_json


def test_an_unfinished_last_line_is_ignored(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert read_rows(path) == []
    for step in range(4):
        append_row(path, {"step": step})
    with open(path, "a") as file:
        file.write('{"step": 4, "lo')
    assert [row["step"] for row in read_rows(path)] == [0, 1, 2, 3]


def test_rows_are_plain_json_lines_for_other_readers(tmp_path):
    row = {"step": 3, "loss": 0.1 + 0.2, "by_position": [1e-300, -0.0], "text": 'a "crc": \u00e9\n}'}
    append_row(tmp_path / "rows.jsonl", row)
    (parsed,) = map(json.loads, (tmp_path / "rows.jsonl").read_text().splitlines())
    crc = parsed.pop("crc")
    assert parsed == row == last_row(tmp_path / "rows.jsonl")
    assert crc == f"{zlib.crc32(json.dumps(row).encode()):08x}"


def test_every_flipped_bit_of_a_row_is_detected(tmp_path):
    path = tmp_path / "rows.jsonl"
    for step in range(3):
        append_row(path, {"step": step, "loss": 1.5})
    whole = path.read_bytes()
    length = len(whole) // 3
    for bit in range(8 * length, 16 * length - 8):  # the second row without its newline
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        with pytest.raises(DamagedFile, match=r"rows.jsonl, line 2: "):
            read_rows(path)
        assert last_row(path)["step"] == 2


@pytest.mark.parametrize(
    ("insert", "line"),
    [("garbage\n", 2), ("\n", 2), ("[]\n", 2), ('{"step": 1}\n', 2), ("\x00\x00\n", 2), ('{"step": 9, "lo', 2)],
)
def test_a_damaged_row_is_named_by_file_and_line(tmp_path, insert, line):
    path = tmp_path / "rows.jsonl"
    for step in range(2):
        append_row(path, {"step": step})
    first, second = path.read_text().splitlines(keepends=True)
    path.write_text(first + insert + second)
    with pytest.raises(ValueError, match=rf"rows.jsonl, line {line}: .* is no row as it was written; training again"):
        read_rows(path)
    path.write_text(first + insert)
    if insert.endswith("\n"):
        with pytest.raises(ValueError, match=r"rows.jsonl, the last line: .* is no row as it was written"):
            last_row(path)
    else:
        assert last_row(path) == {"step": 0}, "an unfinished line is ignored"


def test_the_last_row_of_a_long_file(tmp_path):
    path = tmp_path / "rows.jsonl"
    assert last_row(path) is None
    for step in range(5000):
        append_row(path, {"step": step, "text": "x" * 20})
    assert last_row(path)["step"] == 4999
    with open(path, "a") as file:
        file.write('{"step": 5000, "te')
    assert last_row(path)["step"] == 4999


@pytest.mark.parametrize("length", [10, 2**16 - 60, 2**16, 68_000, 2**18, 3_000_000])
def test_the_last_row_may_be_long(tmp_path, length):
    path = tmp_path / "rows.jsonl"
    for step in range(3):
        append_row(path, {"step": step, "text": "x" * length})
    assert last_row(path) == {"step": 2, "text": "x" * length}
    path.write_bytes(b"x" * length)
    assert last_row(path) is None, "no line is finished"


def test_pipes_and_devices_are_not_read(tmp_path):
    """Reading them might never end."""
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    for name in ("pipe", "zero"):
        assert (read_rows(tmp_path / name), last_row(tmp_path / name)) == ([], None)
        with pytest.raises(OSError, match="no regular file"):
            read_json(tmp_path / name)


def test_appending_keeps_links_and_modes(tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("")
    path.chmod(0o664)
    (tmp_path / "link").symlink_to(path)
    append_row(tmp_path / "link", {"step": 1})
    assert read_rows(path) == [{"step": 1}]
    assert (tmp_path / "link").is_symlink()
    assert stat.S_IMODE(path.stat().st_mode) == 0o664
