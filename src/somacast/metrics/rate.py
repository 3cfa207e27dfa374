"""Comparing two ways of coding over a range of rates: the Bjontegaard delta."""

from __future__ import annotations

import numpy as np
from scipy.interpolate import PchipInterpolator

from somacast.types import SomacastError


def _curve(name: str, rates: np.ndarray, qualities: np.ndarray) -> tuple[PchipInterpolator, float, float]:
    """Log rate as a monotone function of quality, and the range of qualities it covers."""
    rates, qualities = np.asarray(rates, np.float64), np.asarray(qualities, np.float64)
    if rates.ndim != 1 or rates.shape != qualities.shape or len(rates) < 2:
        raise SomacastError(f"{name}: expected at least two (rate, quality) points, got {rates.shape} rates "
                            f"and {qualities.shape} qualities")  # fmt: skip
    if not (np.isfinite(rates).all() and np.isfinite(qualities).all() and (rates > 0).all()):
        raise SomacastError(f"{name}: expected finite qualities and rates above zero")
    order = np.argsort(rates)
    rates, qualities = rates[order], qualities[order]
    if not (np.diff(rates) > 0).all() or not (np.diff(qualities) > 0).all():
        raise SomacastError(f"{name}: expected quality that grows with the rate, got {qualities.tolist()}")
    return PchipInterpolator(qualities, np.log(rates)), float(qualities[0]), float(qualities[-1])


def bd_rate(anchor_rates: np.ndarray, anchor_qualities: np.ndarray, rates: np.ndarray, qualities: np.ndarray) -> float:
    """Bjontegaard delta rate in percent: how much more (+) or less (-) rate than the anchor at equal quality.

    exp(mean over the common qualities of log rate - log anchor rate) - 1, with both curves interpolated by PCHIP.
    Rates in any one unit; quality in any unit that grows with the rate (negate a distance). Points in any order.
    Raises SomacastError for fewer than two points, quality that falls as the rate grows, or no common quality.
    """
    anchor, anchor_low, anchor_high = _curve("anchor", anchor_rates, anchor_qualities)
    curve, low, high = _curve("curve", rates, qualities)
    low, high = max(low, anchor_low), min(high, anchor_high)
    if high <= low:
        raise SomacastError("expected two curves with qualities in common, got curves that do not overlap")
    gap = (float(curve.integrate(low, high)) - float(anchor.integrate(low, high))) / (high - low)
    return 100 * (float(np.exp(gap)) - 1)
