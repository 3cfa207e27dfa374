"""Bandwidth trace: the capacity of a link in bit/s, constant between given times.

    bits(a, b)      = integral of rate(t) dt from a to b
    finish(a, bits) = the first t with bits(a, t) = bits; a + bits / rate while the rate stays the same

Rates of 0 are outages: what is on the wire waits. After the last time the last rate holds, or the trace begins again.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from somacast.checks import check_number, shown
from somacast.errors import SomacastError


class BandwidthTrace:
    """Piecewise-constant capacity: rates_bps[i] holds from times_s[i] to times_s[i + 1].

    times_s [N] seconds, ascending from 0; rates_bps [N] bit/s >= 0; period_s: after which it all repeats, or None.
    Raises SomacastError on other values, and if the trace ends in an outage that never ends.
    """

    def __init__(self, times_s: Sequence[float], rates_bps: Sequence[float], *, period_s: float | None = None) -> None:
        times, rates = _as_list("times_s", times_s), _as_list("rates_bps", rates_bps)
        if not times or len(times) != len(rates):
            raise SomacastError(f"trace: expected as many times as rates, got {len(times)} and {len(rates)}")
        if times[0] != 0 or any(b <= a for a, b in pairwise(times)):
            raise SomacastError(f"times_s: expected ascending times from 0, got {shown(times)}")
        if min(rates) < 0:
            raise SomacastError(f"rates_bps: expected rates from 0, got {min(rates):g}")
        if period_s is not None:
            period_s = check_number("period_s", period_s, times[-1], above=True)
        if (rates[-1] if period_s is None else max(rates)) == 0:
            raise SomacastError("rates_bps: expected capacity at the end or in the period, got an outage without end")
        self.times_s, self.rates_bps, self.period_s = times, rates, period_s
        self._ends_s = times[1:] + [math.inf if period_s is None else period_s]
        filled = [r * (b - a) for r, a, b in zip(rates[:-1], times[:-1], times[1:], strict=True)]
        self._bits = [0.0, *np.cumsum(filled).tolist()]  # from the start to each time
        self._period_bits = 0.0 if period_s is None else self._bits[-1] + rates[-1] * (period_s - times[-1])

    @classmethod
    def constant(cls, rate_bps: float) -> BandwidthTrace:
        """The same capacity for ever, in bit/s, above 0."""
        return cls([0.0], [check_number("rate_bps", rate_bps, above=True)])

    def rate_bps(self, time_s: float) -> float:
        """Capacity in bit/s at `time_s` >= 0; at a time of change the new one."""
        return self.rates_bps[self._place(check_number("time_s", time_s))[1]]

    def bits_between(self, start_s: float, end_s: float) -> float:
        """How many bits fit between two times, 0 <= start_s <= end_s."""
        start_s = check_number("start_s", start_s)
        return self._bits_to(check_number("end_s", end_s, start_s)) - self._bits_to(start_s)

    def finish_s(self, start_s: float, bits: float) -> float:
        """When the last of `bits` >= 0 has left a sender that starts at `start_s` >= 0 and has the link to itself."""
        left = check_number("bits", bits)
        base, piece = self._place(check_number("start_s", start_s))
        if left == 0:
            return start_s
        time_s = start_s
        while True:
            rate, end_s = self.rates_bps[piece], base + self._ends_s[piece]
            room = rate * max(end_s - time_s, 0.0) if rate > 0 else 0.0
            if left <= room:
                return time_s + left / rate
            left -= room
            time_s, piece = end_s, piece + 1
            if piece == len(self.rates_bps):  # only a repeating trace gets here: the last piece of others has no end
                base, piece = end_s, 0
                whole = max(math.ceil(left / self._period_bits) - 1, 0)  # the last period is walked, not skipped
                base += whole * (self.period_s or 0.0)
                left -= whole * self._period_bits
                time_s = base

    def _place(self, time_s: float) -> tuple[float, int]:
        """Start in seconds of the repetition that `time_s` lies in, and the index of its piece."""
        base = 0.0 if self.period_s is None else math.floor(time_s / self.period_s) * self.period_s
        return base, max(bisect_right(self.times_s, time_s - base) - 1, 0)

    def _bits_to(self, time_s: float) -> float:
        base, piece = self._place(time_s)
        before = 0.0 if self.period_s is None else round(base / self.period_s) * self._period_bits
        return before + self._bits[piece] + self.rates_bps[piece] * (time_s - base - self.times_s[piece])


def _as_list(name: str, values: Sequence[float]) -> list[float]:
    """Finite floats [N] as a list: single look-ups are faster there than in an array."""
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError):
        raise SomacastError(f"{name}: expected a list of numbers, got {shown(values)}") from None
    if array.ndim != 1 or not np.isfinite(array).all():
        raise SomacastError(f"{name}: expected a list of finite numbers, got {shown(values)}")
    return array.tolist()
