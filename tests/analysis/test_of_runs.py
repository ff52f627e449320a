"""Comparisons and probe data of trained runs."""

import pytest

import n2n
from n2n.analysis import of_runs


def test_compared_runs_have_different_names_and_one_process(run, small):
    mingru, other_process = n2n.train(small(arch="mingru")), n2n.train(small(process_seed=7))
    comparison = of_runs.compare([run, mingru], 4)
    assert list(comparison.models) == ["transformer", "mingru"]
    assert comparison.data.length == 12
    with pytest.raises(ValueError, match=f"{other_process.path.name} has another process than {run.path.name}"):
        of_runs.compare([run, other_process], 4)
    longer = n2n.train(small(seq_len=16))
    with pytest.raises(ValueError, match="has another seq_len than"):
        of_runs.compare([run, longer], 4)
    same = n2n.train(small(seed=3))
    assert list(of_runs.compare([run, same], 4).models) == [run.path.name, same.path.name]
    a, b = (n2n.train(small(run_dir=run.path.parent / part / "run", seed=k)) for k, part in enumerate("ab"))
    assert list(of_runs.compare([a, b], 4).models) == ["a/run", "b/run"]
    c = n2n.train(small(run_dir=run.path.parent / "c" / "b" / "run"))
    with pytest.raises(ValueError, match="saw folders of the same names"):
        of_runs.compare([b, c], 4)


def test_number_of_training_sequences(run, small):
    assert of_runs.sequences_seen([run]) == 12 * 4
    assert of_runs.sequences_seen([run], step=8) == 8 * 4
    assert of_runs.sequences_seen([run, n2n.train(small(steps=20))]) == 20 * 4


def test_probe_data_have_the_model_s_inputs(run):
    assert of_runs.probe_data(run, 4).tokens.judged.shape == (4, 11)
