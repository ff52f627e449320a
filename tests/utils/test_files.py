"""Replacing a file keeps its links, mode and owner; read-only files are refused."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest

import n2n
from n2n.monitor.rows import read_rows
from n2n.notebook import stored_outputs
from n2n.utils.files import making_folder, read_json, remove_unfinished, write_atomic, write_json, write_text

GRAPH = n2n.Graph.preset("single")


def _write(path, text="new\n"):
    write_atomic(path, lambda file: file.write(text.encode()))


def _clear(path):
    cell = nbformat.v4.new_code_cell("1  # NBVAL_IGNORE_OUTPUT", outputs=[nbformat.v4.new_output("stream", text="1")])
    mode = stat.S_IMODE(path.stat().st_mode)
    path.chmod(0o644)  # other users than root could not write the notebook otherwise
    path.write_text(nbformat.writes(nbformat.v4.new_notebook(cells=[cell])))
    path.chmod(mode)
    stored_outputs.clear(path)


# Functions that replace a file, with the suffix that they need.
WRITERS = {
    "write_atomic": (_write, ".txt"),
    "write_json": (lambda path: write_json(path, {"new": 1}), ".json"),
    "to_yaml": (GRAPH.to_yaml, ".yaml"),
    "report page": (lambda path: write_text(path, "<p>"), ".html"),
    "notebook": (_clear, ".ipynb"),
}
each_writer = pytest.mark.parametrize("writer", WRITERS)


def old(folder: Path, writer: str, mode: int = 0o644) -> Path:
    path = folder / f"old{WRITERS[writer][1]}"
    path.write_text('{"old": 1}\n')
    path.chmod(mode)
    return path


@each_writer
@pytest.mark.parametrize("mode", [0o664, 0o600, 0o755, 0o640])
def test_the_mode_is_kept(tmp_path, writer, mode):
    path = old(tmp_path, writer, mode)
    inode = path.stat().st_ino
    WRITERS[writer][0](path)
    assert stat.S_IMODE(path.stat().st_mode) == mode
    assert path.stat().st_ino != inode, "the file was replaced atomically"
    assert [file.name for file in tmp_path.iterdir()] == [path.name]


@each_writer
def test_a_link_stays_and_its_target_is_written(tmp_path, writer):
    (tmp_path / "target").mkdir()
    path = old(tmp_path / "target", writer, 0o664)
    middle, link = tmp_path / f"middle{path.suffix}", tmp_path / f"link{path.suffix}"
    middle.symlink_to(Path("target") / path.name)  # a relative link
    link.symlink_to(middle)
    WRITERS[writer][0](link)
    assert link.is_symlink()
    assert middle.is_symlink()
    assert os.readlink(middle) == f"target/{path.name}"
    assert stat.S_IMODE(path.stat().st_mode) == 0o664
    assert path.read_text() != '{"old": 1}\n'
    assert link.read_text() == path.read_text()


@each_writer
@pytest.mark.parametrize("linked", [False, True])
@pytest.mark.parametrize("mode", [0o444, 0o400])
def test_a_read_only_file_is_refused_even_to_root(tmp_path, writer, linked, mode):
    path = old(tmp_path, writer, mode)
    target = path
    if linked:
        target = tmp_path / f"link{path.suffix}"
        target.symlink_to(path)
    before = path.read_bytes(), path.stat().st_ino
    with pytest.raises(ValueError, match=rf"cannot be written: it is read-only \(mode {mode:04o}\)"):
        WRITERS[writer][0](target)
    assert path.stat().st_ino == before[1]
    assert writer == "notebook" or path.read_bytes() == before[0]
    assert len(list(tmp_path.iterdir())) == 1 + linked


def test_pipes_folders_devices_and_broken_links_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "device").symlink_to("/dev/null")
    before = sorted(tmp_path.iterdir())
    for name, message in (
        ("pipe", "a folder or a device"),
        ("folder", "a folder or a device"),
        ("dangling", "a link to .*nowhere, which is not there"),
        ("loop", "symbolic links"),
        ("device", "a folder or a device"),
    ):
        with pytest.raises(ValueError, match=f"{name} cannot be written: .*{message}"):
            _write(tmp_path / name)
    assert sorted(tmp_path.iterdir()) == before
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    with pytest.raises(ValueError, match="folder cannot be written: it is a folder"):
        GRAPH.to_yaml(tmp_path / "folder")


def test_the_umask_sets_the_mode_of_a_new_file(tmp_path):
    code = f"""
import os
from pathlib import Path
from n2n.utils.files import write_json
os.umask(0o027)
write_json(Path({str(tmp_path / "new.json")!r}), 1)
"""
    subprocess.run([sys.executable, "-c", code], check=True)
    assert stat.S_IMODE((tmp_path / "new.json").stat().st_mode) == 0o640


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_the_owner_is_kept(tmp_path):
    path = old(tmp_path, "write_atomic", 0o660)
    os.chown(path, 12345, 54321)
    _write(path)
    assert (path.stat().st_uid, path.stat().st_gid) == (12345, 54321)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660


def test_extended_attributes_are_kept(tmp_path):
    path = old(tmp_path, "write_atomic")
    try:
        os.setxattr(path, "user.note", b"mine")
    except OSError:
        pytest.skip("the file system of the tests has no extended attributes")
    _write(path)
    assert os.getxattr(path, "user.note") == b"mine"


def test_a_failure_leaves_the_old_file_unchanged(tmp_path):
    path = old(tmp_path, "write_atomic", 0o640)

    def fail(file):
        file.write(b"half")
        raise RuntimeError("cut off")

    with pytest.raises(RuntimeError, match="cut off"):
        write_atomic(path, fail)
    assert path.read_text() == '{"old": 1}\n'
    assert list(tmp_path.iterdir()) == [path]


def test_files_with_the_longest_possible_names_are_written(tmp_path):
    path = tmp_path / ("x" * 250 + ".json")
    write_json(path, 1)
    write_json(path, 2)
    assert path.read_text() == "2\n"
    GRAPH.to_yaml(tmp_path / ("é" * 120 + ".yaml"))


def test_only_unfinished_files_are_removed(tmp_path):
    for name in (".metrics.jsonl.123.part", ".mine.part", "a.123.part", ".x.part.bak"):
        (tmp_path / name).touch()
    (tmp_path / ".step_00000010.5.part").mkdir()
    remove_unfinished(tmp_path)
    assert sorted(os.listdir(tmp_path)) == [".mine.part", ".step_00000010.5.part", ".x.part.bak", "a.123.part"]


def test_only_a_new_empty_folder_is_removed_after_an_error(tmp_path):
    (tmp_path / "target").mkdir()

    def fail(folder, write):
        with making_folder(folder):
            if write:
                (folder / "file").touch()
            raise RuntimeError("failed")

    for folder, write in ((tmp_path / "target", False), (tmp_path / "a" / "b", False), (tmp_path / "c" / "d", True)):
        with pytest.raises(RuntimeError, match="failed"):
            fail(folder, write)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*")) == [
        "c",
        "c/d",
        "c/d/file",
        "target",
    ]


def test_files_of_a_run_may_be_links(small, tmp_path):
    """A run whose metrics lie on another disk keeps writing there."""
    run = n2n.train(small(run_dir=tmp_path / "run", steps=2))
    (tmp_path / "disk").mkdir()
    for name in ("metrics.jsonl", "evals.jsonl", "status.json"):
        (run.path / name).rename(tmp_path / "disk" / name)
        (run.path / name).symlink_to(tmp_path / "disk" / name)
    n2n.train(small(run_dir=tmp_path / "run", steps=4))
    assert all((run.path / path.name).is_symlink() for path in (tmp_path / "disk").iterdir())
    assert pd.DataFrame(read_rows(tmp_path / "disk" / "metrics.jsonl"))["step"].tolist() == np.arange(4).tolist()


def test_json_is_replaced_completely_or_not_at_all(tmp_path):
    path = tmp_path / "value.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(path, {"a": float("nan")})

    def fail(file):
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomic(path, fail)
    assert read_json(path) == {"a": 1}
    assert [entry.name for entry in tmp_path.iterdir()] == ["value.json"]
