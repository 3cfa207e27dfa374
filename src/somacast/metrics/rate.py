"""Comparing two ways of coding over a range of rates: the Bjontegaard delta."""

from __future__ import annotations

import numpy as np

from somacast.errors import SomacastError


class MonotoneCurve:
    """Piecewise cubic through points that keeps their ups and downs (PCHIP: Fritsch, Butland 1984).

    x [N] ascending, y [N]; at least two points. Two points make a straight line.
    """

    def __init__(self, x: np.ndarray, y: np.ndarray):
        self.x, self.y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        self.width = np.diff(self.x)
        self.rise = np.diff(self.y) / self.width
        self.slope = self._slopes()

    def _slopes(self) -> np.ndarray:
        """Slopes [N] at the points: weighted harmonic means of both sides, 0 at a peak."""
        width, rise = self.width, self.rise
        if len(rise) == 1:
            return np.repeat(rise, 2)
        before, after = 2 * width[1:] + width[:-1], width[1:] + 2 * width[:-1]
        same = rise[:-1] * rise[1:] > 0
        safe = np.where(same, rise[:-1] * rise[1:], 1.0)
        inner = np.where(same, (before + after) * safe / (before * rise[1:] + after * rise[:-1] + ~same), 0.0)
        first = self._end(width[0], width[1], rise[0], rise[1])
        last = self._end(width[-1], width[-2], rise[-1], rise[-2])
        return np.concatenate([[first], inner, [last]])

    @staticmethod
    def _end(near: float, far: float, rise: float, next_rise: float) -> float:
        """The slope at an end: of the parabola through three points, limited so that it does not overshoot."""
        slope = ((2 * near + far) * rise - near * next_rise) / (near + far)
        if slope * rise <= 0:
            return 0.0
        return 3 * rise if rise * next_rise <= 0 and abs(slope) > 3 * abs(rise) else slope

    def integral(self, low: float, high: float) -> float:
        """Integral from low to high, both inside [x[0], x[-1]]."""
        return self._integral_to(high) - self._integral_to(low)

    def _integral_to(self, end: float) -> float:
        """From x[0] to end: whole pieces, and the part of one."""
        t = np.clip((end - self.x[:-1]) / self.width, 0, 1)  # of each piece, how much lies before the end
        left, right = self.slope[:-1] * self.width, self.slope[1:] * self.width
        step = self.rise * self.width
        pieces = self.y[:-1] * t + left * t**2 / 2 + (3 * step - 2 * left - right) * t**3 / 3
        return float((self.width * (pieces + (left + right - 2 * step) * t**4 / 4)).sum())


def _curve(name: str, rates: np.ndarray, qualities: np.ndarray) -> tuple[MonotoneCurve, float, float]:
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
    return MonotoneCurve(qualities, np.log(rates)), float(qualities[0]), float(qualities[-1])


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
    gap = (curve.integral(low, high) - anchor.integral(low, high)) / (high - low)
    return 100 * (float(np.exp(gap)) - 1)
