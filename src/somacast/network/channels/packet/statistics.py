"""Counts and one-way delays of a link, in memory that does not grow with the number of datagrams."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from somacast.checks import check_probability

SMALLEST_S = 1e-6  # delays below share one bin
GROWTH = 1.02  # width of a bin: a quantile is within one per cent of a delay that was measured
BINS = 1 + math.ceil(math.log(1e5 / SMALLEST_S) / math.log(GROWTH))  # the last one also takes all beyond a day


class DelayRecord:
    """Delays in seconds: exact count, mean, deviation and extremes; quantiles from a histogram with logarithmic bins.

    Mean and deviation are updated as in B. P. Welford, "Note on a method for calculating corrected sums of squares",
    1962. Without any delay all values are NaN.
    """

    def __init__(self) -> None:
        self.count = 0
        self.min_s = self.max_s = math.nan
        self._mean_s = 0.0
        self._bins = np.zeros(BINS, np.int64)

    def add(self, delay_s: float) -> None:
        """Take one delay in seconds, >= 0, into account."""
        self.count += 1
        self._mean_s += (delay_s - self._mean_s) / self.count
        self.min_s = delay_s if self.count == 1 else min(self.min_s, delay_s)
        self.max_s = delay_s if self.count == 1 else max(self.max_s, delay_s)
        place = 0 if delay_s < SMALLEST_S else 1 + int(math.log(delay_s / SMALLEST_S) / math.log(GROWTH))
        self._bins[min(place, BINS - 1)] += 1

    @property
    def mean_s(self) -> float:
        """Mean delay in seconds."""
        return self._mean_s if self.count else math.nan

    def quantile_s(self, part: float) -> float:
        """The smallest delay that at least `part` in [0, 1] of all do not exceed, to one per cent (or 1 us)."""
        part = check_probability("part", part)
        if not self.count:
            return math.nan
        rank = max(math.ceil(part * self.count), 1)
        place = int(np.searchsorted(np.cumsum(self._bins), rank))
        middle = SMALLEST_S * GROWTH ** (place - 0.5) if place else 0.0
        return min(max(middle, self.min_s), self.max_s)


@dataclass
class LinkStatistics:
    """What became of the datagrams: sent + duplicated = delivered + lost + dropped + in flight, at any time.

    Bytes are counted on the wire, headers included. reordered: arrivals that were sent before one that had arrived
    already (RFC 4737). delays: from send to arrival, copies included.
    """

    sent: int = 0
    sent_bytes: int = 0
    duplicated: int = 0  # copies made, the first not counted
    lost: int = 0
    dropped: int = 0
    delivered: int = 0
    delivered_bytes: int = 0
    reordered: int = 0
    delays: DelayRecord = field(default_factory=DelayRecord)
