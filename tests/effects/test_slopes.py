"""Exponents of planted power laws, their intervals, and what has no exponent."""

import numpy as np
import pandas as pd
import pytest
from support.small_designs import planted_table

from n2n.effects import exponents

STATES = np.array([16, 64, 256])


def power_law(exponent: float, seed: int = 0, *, processes: int = 5, seeds: int = 2, spread: float = 0.05):
    """Results whose losses grow as ``states**exponent``; the exponents of processes differ by ``spread``."""
    rng = np.random.default_rng(seed)
    own = exponent + spread * rng.normal(size=(processes, 1))
    sizes = np.exp(rng.normal(size=(processes, 1)))
    noise = np.exp(0.02 * rng.normal(size=(3, 1, processes, seeds)))
    table = planted_table(0.001 * sizes * STATES[:, None, None, None] ** own * noise, standard_error=1e-7)
    return table.assign(level=table["level"].map(dict(zip("012", map(str, STATES), strict=True))))


def test_a_planted_exponent_is_found():
    found = exponents(power_law(0.7))
    assert len(found) == 1
    row = found.iloc[0]
    assert row["low"] < 0.7 < row["high"] < row["low"] + 0.3
    assert (row["processes"], row["values"]) == (5, 3)
    assert row["verdict"].startswith("the excess loss grows as level^0.")


def test_the_exponent_equals_that_of_numpy_for_a_single_seed():
    table = power_law(0.7, seeds=1)
    each = [
        np.polyfit(np.log(rows["level"].astype(float)), np.log(rows["excess"]), 1)[0]
        for _, rows in table.groupby("process")
    ]
    assert exponents(table)["exponent"][0] == pytest.approx(np.mean(each), rel=1e-12)


def test_the_interval_covers_the_exponent():
    """Over 400 tables of 5 processes; the standard error of such a coverage is 1.1%."""
    found = pd.concat([exponents(power_law(0.5, seed)) for seed in range(400)])
    assert 0.92 < ((found["low"] < 0.5) & (found["high"] > 0.5)).mean() < 0.98


def test_no_growth_and_losses_near_0_are_undecided():
    assert exponents(power_law(0.0))["verdict"][0].startswith("undecided: the excess loss grows as level^")
    table = power_law(0.7)
    table.loc[0, "excess"] = -1e-3
    found = exponents(table).iloc[0]
    assert np.isnan(found["exponent"])
    assert "not distinguishable from 0" in found["verdict"]


def test_processes_without_every_value_do_not_count():
    table = power_law(0.7)
    table = table[(table["process"] != 1) | (table["level"] != "64")]
    assert exponents(table)["processes"][0] == 4


def test_names_that_are_no_numbers_are_refused():
    table = power_law(0.7)
    with pytest.raises(ValueError, match="level: saw 16x1, 64x1, 256x1; a slope needs positive numbers"):
        exponents(table.assign(level=table["level"] + "x1"))
    with pytest.raises(ValueError, match="along: unknown column 'levels'"):
        exponents(table, along="levels")
