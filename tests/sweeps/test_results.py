"""Results of folders with finished, failed and unfinished runs."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import n2n
from n2n.monitor.rows import append_row, read_rows
from n2n.sweeps.results import read_folder
from n2n.utils.statistics import t_interval


@pytest.fixture(scope="module")
def sweep(tmp_path_factory) -> Path:
    """Two trained runs, one that failed after its first evaluation, and one without an evaluation."""
    folder = tmp_path_factory.mktemp("sweep")
    fields = {
        "graph": "four_chains",
        "layers": 1,
        "heads": 2,
        "seq_len": 12,
        "batch_size": 4,
        "steps": 4,
        "device": "cpu",
    }
    fields |= {"log_every": 2, "checkpoint_every": 4, "eval_sequences": 8, "eval_every": 2}
    for arch in ("transformer", "mamba"):
        n2n.train(n2n.TrainConfig(**fields, arch=arch, dim=16, run_dir=folder / f"arch={arch}"))
    failed, early = folder / "failed", folder / "early"
    for copy in (failed, early):
        copy.mkdir()
        config = json.loads((folder / "arch=mamba" / "config.json").read_text())
        (copy / "config.json").write_text(json.dumps(config))
    error = "Traceback (most recent call last):\n  File ..\nRuntimeError: out of <memory>\n"
    (failed / "status.json").write_text(json.dumps({"state": "failed", "step": 2, "error": error}))
    rows = (folder / "arch=mamba" / "evals.jsonl").read_text().splitlines()
    (failed / "evals.jsonl").write_text(rows[0] + "\n" + rows[1][:50])  # the second row is cut off
    (early / "status.json").write_text(json.dumps({"state": "running", "step": 0}))
    return folder


def test_finished_failed_and_unfinished_runs_are_read(sweep):
    results = read_folder(sweep)
    assert results.table["task"].tolist() == ["four_chains, process 0"] * 4
    assert results.states == {"done": 2, "failed": 1, "running": 1}
    assert results.unfinished["error"].to_dict() == {"early": "", "failed": "RuntimeError: out of <memory>"}
    assert results.unfinished["evaluations"].to_dict() == {"early": 0, "failed": 1}
    rows = results.evaluations[results.evaluations["run"] == "arch=mamba"]
    assert rows[["step", "split", "last", "tokens"]].to_numpy().tolist() == [
        [2, "valid", False, 96],
        [4, "valid", False, 192],
        [4, "test", True, 192],
    ]
    low, high = t_interval(rows["excess_loss"], rows["excess_standard_error"], 8)
    np.testing.assert_allclose(rows[["low", "high"]], np.stack([low, high], 1), err_msg="over 8 sequences")
    laws = n2n.scaling_fits(results, "parameters")
    assert (laws.left_out, laws.runs, laws.tokens) == (2, 4, 192)


def test_operations_are_those_of_the_model(sweep):
    """Training costs three forward passes of 11 inputs, each 2 per weight and token, plus 4 T^2 dim for attention."""
    rows = read_folder(sweep).evaluations
    row = rows[(rows["run"] == "arch=transformer") & rows["last"]].iloc[0]
    model = n2n.Run(sweep / "arch=transformer").model()
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embedding" not in name]
    matrices += [model.embedding.weight] if model.head is None else []
    forward = sum(2 * 11 * p.numel() for p in matrices) + 4 * 11 * 11 * 16
    assert row["flops"] == 3 * forward * 4 * 4
    assert isinstance(model, torch.nn.Module)


def test_a_run_of_an_older_version_is_a_row_that_says_so(tmp_path, sweep):
    """Its evaluations have ``excess_se``, which is ``excess_standard_error`` now."""
    for name in ("arch=mamba", "arch=transformer"):
        shutil.copytree(sweep / name, tmp_path / name)
    rows = read_rows(tmp_path / "arch=mamba" / "evals.jsonl")
    (tmp_path / "arch=mamba" / "evals.jsonl").unlink()
    for row in rows:
        old = {name.replace("excess_standard_error", "excess_se"): value for name, value in row.items()}
        append_row(tmp_path / "arch=mamba" / "evals.jsonl", old)
    sentence = (
        "damaged: evals.jsonl: an older version of n2n wrote it, with 'excess_se' for 'excess_standard_error'; train "
        "again into a new folder, or read the run with that version"
    )
    results = read_folder(tmp_path)
    assert results.table.loc["arch=mamba", "error"] == sentence
    assert results.unfinished["error"].to_dict() == {"arch=mamba": sentence}
    assert set(results.evaluations["run"]) == {"arch=transformer"}
    with pytest.raises(ValueError, match=r"arch=mamba/evals.jsonl, an older version of n2n wrote it"):
        n2n.Run(tmp_path / "arch=mamba").summary()
    shutil.rmtree(tmp_path / "arch=transformer")
    with pytest.raises(ValueError, match=r"none of its evaluations can be read \(1 done\); arch=mamba: damaged: evals"):
        read_folder(tmp_path)


def test_a_sweep_without_evaluations_is_refused(tmp_path, sweep):
    with pytest.raises(ValueError, match="holds no runs"):
        read_folder(tmp_path)
    (tmp_path / "early").mkdir()
    for name in ("config.json", "status.json"):
        (tmp_path / "early" / name).write_text((sweep / "early" / name).read_text())
    with pytest.raises(ValueError, match=r"none of its runs was evaluated yet \(1 running\)"):
        read_folder(tmp_path)
