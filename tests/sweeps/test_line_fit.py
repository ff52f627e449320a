"""Least squares by hand, resamples against numpy, and the coverage of intervals."""

import numpy as np
import pytest

from n2n.sweeps.line_fit import _lines, fit_line


def test_least_squares_by_hand():
    """x = 0, 1, 3 and y = 1, 2, 2: means 4/3 and 5/3, slope (4/3) / (14/3) = 2/7, intercept 5/3 - 8/21 = 9/7."""
    line = fit_line([0, 1, 3], [1, 2, 2], ["p", "q", "r"], [0.0, 7.0])
    assert line.slope == pytest.approx(2 / 7, abs=1e-12)
    assert line.intercept == pytest.approx(9 / 7, abs=1e-12)
    assert line.fitted == pytest.approx([9 / 7, 9 / 7 + 2])
    assert np.isnan([line.low, line.high, *line.fitted_low]).all(), "three runs are too few for resamples"


def test_a_resample_is_a_fit_to_the_resampled_runs():
    """Slopes and lines of resamples equal numpy's polyfit on the resampled rows."""
    rng = np.random.default_rng(3)
    x, y, runs = rng.normal(size=12), rng.normal(size=12), np.repeat(np.arange(6), 2)
    times = rng.multinomial(6, np.full(6, 1 / 6), 20).astype(float)
    slopes, lines, _, _ = _lines(x, y, runs, times, np.array([0.5]))
    for b in range(20):
        rows = np.repeat(np.arange(12), times[b, runs].astype(int))
        assert [slopes[b], lines[b, 0] - 0.5 * slopes[b]] == pytest.approx(np.polyfit(x[rows], y[rows], 1))


@pytest.mark.parametrize(("runs", "sizes", "each"), [(8, 4, 1), (12, 4, 1), (12, 4, 3)])
def test_intervals_have_their_coverage(runs, sizes, each):
    """400 sweeps of runs that deviate from a line; a run's points share its deviation. The binomial error is 1%."""
    rng, covered, line_covered = np.random.default_rng(1), [], []
    x = np.repeat(np.resize(np.log(np.geomspace(1e3, 1e5, sizes)), runs), each) + np.tile(np.arange(each), runs)
    member = np.repeat(np.arange(runs), each)
    for sweep in range(400):
        y = 1 - 0.5 * x + 0.2 * rng.normal(size=runs)[member] + 0.05 * rng.normal(size=runs * each)
        line = fit_line(x, y, member, [8.0], resamples=400, seed=sweep)
        covered.append(line.low <= -0.5 <= line.high)
        line_covered.append(line.fitted_low[0] <= 1 - 0.5 * 8 <= line.fitted_high[0])
    assert 0.91 <= np.mean(covered) <= 0.99
    assert 0.91 <= np.mean(line_covered) <= 0.99


def test_runs_are_resampled_whole():
    """Three copies of each point do not narrow the interval, as they would if points were resampled."""
    rng = np.random.default_rng(5)
    x = np.resize(np.arange(5.0), 15)
    y, member = x + rng.normal(size=15), np.arange(15)
    once = fit_line(x, y, member, [0.0])
    thrice = fit_line(np.tile(x, 3), np.tile(y, 3), np.tile(member, 3), [0.0])
    assert (once.low, once.high) == pytest.approx((thrice.low, thrice.high))
    points = fit_line(np.tile(x, 3), np.tile(y, 3), np.arange(45), [0.0])
    assert points.high - points.low < 0.75 * (once.high - once.low)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"x": [0, 1, 1], "y": [0, 1, 2]}, "x: saw 2 different values; at least 3"),
        ({"x": [0, 1, np.inf], "y": [0, 1, 2]}, "not finite"),
        ({"x": [0, 1], "y": [0, 1, 2]}, "three arrays of one length"),
        ({"x": [0, 1, 2], "y": [0, 1, 2], "resamples": 5}, "resamples: saw 5"),
    ],
)
def test_wrong_points_are_refused(changed, message):
    with pytest.raises(ValueError, match=message):
        fit_line(**{"runs": [0, 1, 2], "at": [0.0], **changed})
