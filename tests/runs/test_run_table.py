"""The table of many runs."""

import pytest

import n2n


def test_a_table_of_runs(small):
    runs = n2n.runs.root()
    for seed in (0, 1):
        n2n.train(small(seed=seed, run_dir=runs / "many" / f"seed={seed}"))
    (runs / "many" / "broken").mkdir()
    table = n2n.runs.table("many")
    assert table.index.tolist() == ["seed=0", "seed=1"]
    assert table["seed"].tolist() == [0, 1]
    assert table["state"].tolist() == ["done", "done"]
    assert table["excess_loss"].iloc[1] == n2n.Run(runs / "many" / "seed=1").evaluation["excess_loss"]
    assert table.equals(n2n.runs.table(runs / "many"))
    with pytest.raises(ValueError, match="no sweep 'few'"):
        n2n.runs.table("few")
    with pytest.raises(ValueError, match="holds no runs"):
        n2n.runs.table(runs / "many" / "broken")
