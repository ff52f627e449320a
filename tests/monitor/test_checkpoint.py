import hashlib
import json
import os
import shutil
import stat
import tracemalloc

import pytest
import safetensors
import safetensors.torch
import torch

from n2n.monitor import checkpoint

MARKS = {"rows.jsonl": {"bytes": 120, "crc": 7}}


def save(folder, step, state, run="mine"):
    return checkpoint.save(folder, step, state, run, MARKS)


def test_a_saved_state_is_loaded(tmp_path):
    state = {"model": {"weights": torch.arange(5.0)}, "step": 3, "groups": [{"lr": 0.1}]}
    save(tmp_path, 3, state)
    save(tmp_path, 12, {**state, "step": 12})
    assert checkpoint.steps(tmp_path) == [3, 12]
    loaded = checkpoint.load(tmp_path, 3, "mine").state
    assert torch.equal(loaded.pop("model")["weights"], state["model"]["weights"])
    assert loaded == {"step": 3, "groups": [{"lr": 0.1}]}
    latest = checkpoint.load_latest(tmp_path, "mine")
    assert (latest.step, latest.state["step"], latest.marks) == (12, 12, MARKS)
    assert checkpoint.load_latest(tmp_path / "nothing", "mine") is None
    with pytest.raises(ValueError, match=r"no checkpoint of step 4 in .*; there are \[3, 12\]"):
        checkpoint.load(tmp_path, 4, "mine")


@pytest.mark.parametrize("value", [torch.arange(6.0).reshape(2, 3).T, torch.tensor(3), torch.zeros(0, 4)])
def test_weights_are_in_a_file_that_other_tools_open(tmp_path, value):
    path = save(tmp_path, 1, {"model": {"a": value}, "b": 1})
    assert torch.equal(safetensors.torch.load_file(path / "model.safetensors")["a"], value)
    assert torch.load(path / "state.pt", weights_only=True) == {"b": 1}
    assert stat.S_IMODE((path / "model.safetensors").stat().st_mode) == stat.S_IMODE((path / "state.pt").stat().st_mode)


def test_weights_come_in_the_same_order_in_every_process(tmp_path):
    """Processes exchange them one by one, and safetensors has an order of its own in each process."""
    names = [f"weight{i:02d}" for i in range(30)]
    save(tmp_path, 1, {"model": {name: torch.ones(i) for i, name in enumerate(names)}})
    assert list(checkpoint.load(tmp_path, 1, "mine").state["model"]) == names


def test_weights_are_loaded_without_the_rest(tmp_path):
    path = save(tmp_path, 1, {"model": {"a": torch.arange(5.0)}, "b": 1})
    (path / "state.pt").unlink()
    assert torch.equal(checkpoint.load_weights(tmp_path, 1, "mine")["a"], torch.arange(5.0))
    flip(path, "model.safetensors")
    with pytest.raises(ValueError, match=r"damaged checkpoint .*: model.safetensors does not match its manifest"):
        checkpoint.load_weights(tmp_path, 1, "mine")


def test_weights_are_written_and_read_without_a_copy_in_memory(tmp_path):
    weights = {f"weight{i}": torch.ones(2**20) for i in range(8)}
    tracemalloc.start()
    save(tmp_path, 1, {"model": weights})
    loaded = checkpoint.load_weights(tmp_path, 1, "mine")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**22, "the weights have 32 MiB"
    assert all(torch.equal(loaded[name], value) for name, value in weights.items())


def test_weights_that_cannot_be_written_are_an_error(tmp_path, monkeypatch):
    def full(weights, path):
        path.write_bytes(b"half of it")
        raise safetensors.SafetensorError("No space left on device")

    save(tmp_path, 1, {"model": {}})
    monkeypatch.setattr(safetensors.torch, "save_file", full)
    message = r"step 2 could not be written to .* \(No space left on device\); that of step 1 is whole"
    with pytest.raises(OSError, match=message):
        save(tmp_path, 2, {"model": {"a": torch.ones(3)}})
    assert [path.name for path in tmp_path.iterdir()] == ["step_00000001"]


def flip(folder, name="state.pt"):
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)


def rewrite(folder, **fields):
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**manifest, **fields}))


def copy_over(source, target):
    shutil.rmtree(target)
    shutil.copytree(source, target)


def linked(folder, name, target):
    (folder / name).unlink()
    (folder / name).symlink_to(target)


def piped(folder, name):
    (folder / name).unlink()
    os.mkfifo(folder / name)


def evil(folder):
    """A checkpoint that agrees with its manifest and would run code if safety were turned off."""
    torch.save({"weights": os.system}, folder / "state.pt")
    rewrite(folder, files={name: measured(folder / name) for name in FILES})


def nonsense(folder):
    (folder / "model.safetensors").write_bytes(b"nonsense")
    rewrite(folder, files={name: measured(folder / name) for name in FILES})


def older(folder):
    """A checkpoint of an earlier version, with its weights in the same file."""
    (folder / "model.safetensors").unlink()
    rewrite(folder, files={"state.pt": measured(folder / "state.pt")})


FILES = ("model.safetensors", "state.pt")


def measured(path):
    content = path.read_bytes()
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


DAMAGE = {
    "flip": (flip, "state.pt does not match its manifest"),
    "truncate": (lambda f: os.truncate(f / "state.pt", 100), "does not match"),
    "remove": (lambda f: (f / "state.pt").unlink(), "No such file"),
    "no manifest": (lambda f: (f / "manifest.json").unlink(), "No such file"),
    "half a manifest": (lambda f: (f / "manifest.json").write_text("{"), "Expecting property name"),
    "nested manifest": (lambda f: (f / "manifest.json").write_text("[" * 10**5), "nested too deeply"),
    "a list": (lambda f: (f / "manifest.json").write_text("[]"), "manifest.json is incomplete"),
    "copied": (lambda f: copy_over(f.parent / "step_00000001", f), "manifest.json is of step 1"),
    "step": (lambda f: rewrite(f, step=1), "manifest.json is of step 1"),
    "no files": (lambda f: rewrite(f, files={}), r"manifest.json names \[\]"),
    "files of another": (lambda f: rewrite(f, files={name: {} for name in FILES}), "manifest.json is incomplete"),
    "files without names": (lambda f: rewrite(f, files=3), "manifest.json is incomplete"),
    "too many files": (lambda f: rewrite(f, files={name: {} for name in [*FILES, "/dev/zero"]}), "zero"),
    "older": (older, r"names \['state.pt'\]; a checkpoint has exactly \['model.safetensors', 'state.pt'\]"),
    "weights flip": (lambda f: flip(f, FILES[0]), "model.safetensors does not match its manifest"),
    "weights truncate": (lambda f: os.truncate(f / FILES[0], 100), "model.safetensors does not match its manifest"),
    "weights remove": (lambda f: (f / FILES[0]).unlink(), "No such file"),
    "weights link": (lambda f: linked(f, FILES[0], "../step_00000001/model.safetensors"), "symbolic link"),
    "weights pipe": (lambda f: piped(f, FILES[0]), "no regular file"),
    "weights nonsense": (nonsense, r"model.safetensors cannot be read \(SafetensorError\)"),
    "no rows": (lambda f: rewrite(f, rows=None), "manifest.json is incomplete"),
    "run": (lambda f: rewrite(f, run="another"), "it is of another run"),
    "device": (lambda f: linked(f, "state.pt", "/dev/zero"), "symbolic link"),
    "manifest of a device": (lambda f: linked(f, "manifest.json", "/dev/zero"), "symbolic link"),
    "link": (lambda f: linked(f, "state.pt", "../step_00000001/state.pt"), "symbolic link"),
    "pipe": (lambda f: piped(f, "state.pt"), "no regular file"),
    "manifest of a pipe": (lambda f: piped(f, "manifest.json"), "no regular file"),
    "pickled code": (evil, r"state.pt cannot be read \(UnpicklingError\)"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_passed_over(tmp_path, damage):
    for step in (1, 2):
        save(tmp_path, step, {"model": {"weights": torch.ones(100) * step}})
    do_damage, message = DAMAGE[damage]
    do_damage(tmp_path / "step_00000002")
    with pytest.warns(UserWarning, match=f"damaged checkpoint .*step_00000002: .*{message}") as warned:
        latest = checkpoint.load_latest(tmp_path, "mine")
    assert latest.step == 1
    assert torch.equal(latest.state["model"]["weights"], torch.ones(100))
    assert "weights_only" not in str(warned[0].message), "no advice to turn safety off"
    with pytest.raises(ValueError, match="damaged checkpoint"):
        checkpoint.load(tmp_path, 2, "mine")


@pytest.mark.parametrize(
    ("last", "every", "kept"),
    [(None, None, [2, 4, 6, 8, 9]), (1, None, [9]), (2, None, [8, 9]), (1, 4, [4, 8, 9]), (9, None, [2, 4, 6, 8, 9])],
)
def test_the_last_checkpoints_and_every_nth_are_kept(tmp_path, last, every, kept):
    for step in (2, 4, 6, 8, 9):
        save(tmp_path, step, {"model": {}, "a": 1})
        checkpoint.prune(tmp_path, last, every)
    assert checkpoint.steps(tmp_path) == kept


def test_damaged_and_unfinished_checkpoints_are_set_aside(tmp_path):
    for step in (1, 2, 3):
        save(tmp_path, step, {"model": {}, "a": step})
    for step in (2, 3):
        (tmp_path / f"step_0000000{step}" / "state.pt").write_bytes(b"damage")
    (tmp_path / ".step_00000004.99.part").mkdir()
    with pytest.warns(UserWarning, match="damaged checkpoint"):
        assert checkpoint.load_latest(tmp_path, "mine").step == 1
    checkpoint.set_aside(tmp_path, after=1)
    expected = ["aside_step_00000002", "aside_step_00000003", "step_00000001"]
    assert sorted(path.name for path in tmp_path.iterdir()) == expected


def test_a_folder_that_cannot_be_written_to_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"the checkpoint of step 3 could not be written .*; there is none before it"):
        save(tmp_path / "file", 3, {"model": {}, "a": 1})


def test_an_unfinished_checkpoint_does_not_count(tmp_path):
    path = save(tmp_path, 1, {"model": {}, "a": 1})
    shutil.copytree(path, tmp_path / ".step_00000002.123.part")
    assert checkpoint.steps(tmp_path) == [1]
