"""A least-squares line through points of several runs, with intervals from resampled runs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from n2n.utils.arrays import reals
from n2n.utils.strict import as_integer

MIN_SIZES = 3  # different abscissas, since a line through two fits exactly
MIN_RUNS = 8  # for an interval; with fewer, too many resamples consist of two or three runs
LEVELS = (0.975, 0.025)


@dataclass(frozen=True, eq=False)
class Line:
    """``y = intercept + slope * x``, by least squares.

    Attributes:
        slope, intercept: estimates from all points.
        low, high: 95% interval of the slope; nan if there are fewer than 8 runs, or no finite interval.
        fitted: ``(G,)``, the line at the requested abscissas.
        fitted_low, fitted_high: ``(G,)``, its pointwise 95% interval; nan as ``low`` is.
    """

    slope: float
    intercept: float
    low: float
    high: float
    fitted: np.ndarray
    fitted_low: np.ndarray
    fitted_high: np.ndarray


def fit_line(
    x: ArrayLike, y: ArrayLike, runs: ArrayLike, at: ArrayLike, *, resamples: int = 1000, seed: int = 0
) -> Line:
    """Fit a line by least squares with equal weights, and resample whole runs for its intervals.

    Points of one run are not independent, so a run is resampled with all of its points. Intervals are studentised: the
    distance of each resample's slope from the estimate is divided by the resample's own standard error (the sandwich
    estimate with runs as clusters), and quantiles of this ratio are multiplied by the standard error of the estimate.
    In simulations with 8 and 12 runs they cover 91% to 97%; plain percentiles of the slopes cover about 90%.

    All resamples are fitted in a few matrix products. statsmodels has the same sandwich estimate for one fit at a time.

    Args:
        x, y: ``(P,)``, finite.
        runs: ``(P,)``, the run of each point, of any sortable type.
        at: ``(G,)``, abscissas of the line and its band.
        resamples: number of resamples.
        seed: seed of the resamples.

    Raises:
        ValueError: arrays of other shapes, numbers that are not finite, or fewer than 3 different ``x``.

    Source: Davison and Hinkley, "Bootstrap methods and their application" (1997), chapters 2 and 6; Liang and Zeger,
    "Longitudinal data analysis using generalized linear models", Biometrika 73 (1986), for the sandwich.
    """
    x, y, at = (reals(values, name).astype(float) for name, values in (("x", x), ("y", y), ("at", at)))
    as_integer("resamples", resamples, 100)
    _check_points(x, y, np.asarray(runs))
    names, member = np.unique(np.asarray(runs), return_inverse=True)
    (slope,), (fitted,), (slope_error,), (fitted_error,) = _lines(x, y, member, np.ones((1, len(names))), at)
    intercept = float(y.mean() - slope * x.mean())
    if len(names) < MIN_RUNS:
        no_band = np.full_like(at, np.nan)
        return Line(float(slope), intercept, np.nan, np.nan, fitted, no_band, no_band)
    rng = np.random.default_rng(seed)
    times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), resamples).astype(float)
    slopes, lines, errors, line_errors = _lines(x, y, member, times, at)
    defined = np.isfinite(slopes)  # a resample with a single abscissa has no slope
    low, high = _interval(slope, slope_error, slopes[defined], errors[defined])
    fitted_low, fitted_high = _interval(fitted, fitted_error, lines[defined], line_errors[defined])
    return Line(float(slope), intercept, float(low), float(high), fitted, fitted_low, fitted_high)


def _check_points(x: np.ndarray, y: np.ndarray, runs: np.ndarray) -> None:
    if x.ndim != 1 or not x.shape == y.shape == runs.shape:
        raise ValueError(f"saw x {x.shape}, y {y.shape} and runs {runs.shape}; three arrays of one length are needed")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise ValueError("saw a number that is not finite")
    if len(np.unique(x)) < MIN_SIZES:
        raise ValueError(f"x: saw {len(np.unique(x))} different values; at least {MIN_SIZES} are needed")


def _lines(
    x: np.ndarray, y: np.ndarray, member: np.ndarray, times: np.ndarray, at: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Slopes ``(B,)``, lines ``(B, G)`` and their standard errors, if run r counts ``times[b, r]`` times.

    The errors are sandwich estimates with runs as clusters. They lack the factor for few clusters, which cancels in
    ``_interval``. A line's error lacks the covariance of level and slope, with which it would vanish where a line
    passes through an isolated point; ``_interval`` needs the errors only as a scale.
    """
    weights = times[:, member]
    total = weights.sum(1)
    centre = weights @ x / total
    off = x - centre[:, None]
    spread = (weights * off**2).sum(1)
    spread = np.where(spread > 1e-12 * total * np.ptp(x) ** 2, spread, np.nan)  # nan for a single abscissa
    slope, mean = (weights * off) @ y / spread, weights @ y / total
    rest = y - mean[:, None] - slope[:, None] * off
    of_run = np.eye(times.shape[1])[member]  # (P, R)
    level, tilt = rest @ of_run / total[:, None], (off * rest) @ of_run / spread[:, None]
    slope_error, level_error = (np.sqrt((times * scores**2).sum(1)) for scores in (tilt, level))
    distance = at - centre[:, None]
    line_error = np.hypot(level_error[:, None], distance * slope_error[:, None])
    return slope, mean[:, None] + slope[:, None] * distance, slope_error, line_error


def _interval(
    estimate: float | np.ndarray, error: float | np.ndarray, resampled: np.ndarray, errors: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Studentised interval of one number, or of each of ``(G,)``; nan if it is not finite."""
    off = resampled - estimate
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = off / errors
    exact = errors <= 1e-9 * np.maximum(np.abs(error), 1e-12)  # a resample of two points has no scatter
    ratio = np.where(exact, np.copysign(np.inf, off), ratio)
    ratio = np.where(np.isnan(ratio), 0.0, ratio)  # the same line, without scatter
    upper, lower = np.quantile(ratio, LEVELS, axis=0, method="inverted_cdf")
    with np.errstate(invalid="ignore"):
        low, high = estimate - upper * error, estimate - lower * error
    finite = np.isfinite(low) & np.isfinite(high)
    return np.where(finite, low, np.nan), np.where(finite, high, np.nan)
