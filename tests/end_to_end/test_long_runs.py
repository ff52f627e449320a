"""Runs with very many logged steps are read in chunks, resumed without parsing, and drawn with few points."""

import tracemalloc
import zlib

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings, strategies as st
from support.run_folders import config

import n2n
from n2n.monitor import journal
from n2n.monitor.columns import read_columns
from n2n.monitor.journal import NOTHING, Journal
from n2n.monitor.rows import append_row, read_rows
from n2n.viz.style import MAX_POINTS, thinned


def test_columns_are_those_of_the_rows(tmp_path):
    """The rows need several chunks, and one field appears late."""
    path, rng = tmp_path / "rows.jsonl", np.random.default_rng(0)
    assert read_columns(path).empty
    for step in range(9000):
        row = {"step": step, "loss": rng.normal() * 10.0 ** rng.integers(-300, 300), "whole": 1.0}
        if step % 4001 == 4000:
            row = {"late": 0.1 * step, **row}
        append_row(path, row)
    pd.testing.assert_frame_equal(read_columns(path), pd.DataFrame(read_rows(path)), check_exact=True)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"rows.jsonl, line \d{4}: "):
        read_columns(path)


def test_reading_needs_little_more_memory_than_the_numbers(tmp_path):
    path = tmp_path / "rows.jsonl"
    append_row(path, {"step": 10**5, **{f"ms_{i}": i / 3 for i in range(16)}})
    path.write_bytes(path.read_bytes() * 30_000)
    read_columns(path)  # makes allocations that happen only once
    tracemalloc.start()
    frame = read_columns(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    chunk = 4096 * 17 * 150  # bytes of the rows that are parsed at a time, as Python objects
    assert peak < 3 * frame.memory_usage().sum() + chunk


def test_resuming_parses_no_row_before_the_checkpoint(tmp_path, monkeypatch):
    path = tmp_path / "rows.jsonl"
    for step in range(100):
        append_row(path, {"step": step})
    size = path.stat().st_size
    mark = {"bytes": size, "crc": zlib.crc32(path.read_bytes())}
    append_row(path, {"step": 100})
    checked = []
    real = journal.is_intact
    monkeypatch.setattr(journal, "is_intact", lambda line: checked.append(line) or real(line))
    monkeypatch.setattr(journal, "parse_row", None)
    resumed = Journal(path)
    assert resumed.holds(mark)
    assert resumed.restore(mark) == []
    assert (len(checked), path.stat().st_size) == (1, size)
    assert resumed.mark() == mark


@settings(deadline=None, max_examples=50)
@given(st.data())
def test_a_journal_can_be_restored_to_any_of_its_marks(tmp_path_factory, data):
    """Inserted lines do not matter, but all lines before the mark must exist."""
    path = tmp_path_factory.mktemp("journal") / "rows.jsonl"
    written, marks = Journal(path), [NOTHING]
    for step in range(8):
        written.append({"step": step})
        marks.append(written.mark())
    lines = path.read_bytes().splitlines(keepends=True)
    lost = data.draw(st.none() | st.integers(0, 7))
    if lost is not None:
        del lines[lost]
    for place in data.draw(st.lists(st.integers(0, len(lines)), max_size=3)):
        lines.insert(place, b"garbage\n")
    path.write_bytes(b"".join(lines) + data.draw(st.sampled_from([b"", b'{"step": 8, "lo'])))
    holding = [step for step, mark in enumerate(marks) if Journal(path).holds(mark)]
    assert holding == list(range((8 if lost is None else lost) + 1))
    step = data.draw(st.sampled_from(holding))
    restored = Journal(path)
    repairs = restored.restore(marks[step])
    assert [row["step"] for row in read_rows(path)] == list(range(step))
    assert restored.mark() == marks[step]
    assert bool(repairs) is path.with_name("rows.jsonl.damaged").exists()


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20_000), st.integers(1, 3), st.integers(10, 500))
def test_thinning_keeps_peaks_and_few_points(seed, points, count, max_points):
    rng = np.random.default_rng(seed)
    curves = [rng.standard_cauchy(points) for _ in range(count)]
    kept = thinned(*curves, max_points=max_points)
    assert (np.diff(kept) > 0).all()
    assert (kept[0], kept[-1]) == (0, points - 1)
    assert len(kept) <= max_points or len(kept) <= 2 * count + 2
    for curve in curves:
        assert (curve[kept].min(), curve[kept].max()) == (curve.min(), curve.max())
    if points <= max_points:
        assert kept.tolist() == list(range(points))


def test_every_interval_keeps_its_peak():
    curve = np.zeros(10**6)
    curve[500::1000] = np.arange(1000) + 1  # a peak in each thousand steps
    kept = thinned(curve)
    assert len(kept) <= MAX_POINTS
    assert len(set(curve[kept])) > 900


def test_a_long_run_is_drawn_with_few_points_and_its_peak(tmp_path):
    run = n2n.train(config(steps=2, run_dir=tmp_path / "run"))
    for step in range(2, 30_000):
        append_row(run.path / "metrics.jsonl", {"step": step, "loss": 2.0, "oracle_nll": 1.0})
    append_row(run.path / "metrics.jsonl", {"step": 30_000, "loss": 99.0, "oracle_nll": 1.0})
    append_row(run.path / "metrics.jsonl", {"step": 30_001, "loss": 2.0, "oracle_nll": 1.0})
    loss = n2n.viz.learning_curve(run).data[0]
    assert len(loss.x) <= MAX_POINTS
    assert (max(loss.y), loss.x[int(np.argmax(loss.y))], loss.x[-1]) == (99.0, 30_000, 30_001)
