"""What the sender knows of the network: bandwidth and delay from its own transfers (AFLSC eq. 15, 16, 18).

    transfers (bytes, seconds)   -> B(t) = phi B(t-1) + (1 - phi) sum S_i / sum dt_i      eq. 15, over a window
    control packets' round trips -> D(t) = sum w_i RTT_i / sum w_i                        eq. 16, w_i falls with age
    f = a (B_max - B) / (B_max - B_min) + b (D - D_min) / (D_max - D_min), a + b = 1      eq. 18, each term in [0, 1]

The paper takes B_min .. D_max as given. Here they are the extremes met so far, and relax towards the present with
time, so that a link that has changed for good becomes the new normal. Extremes that lie close
together are taken to lie apart by a factor of 1.5, so that small changes of a steady link count for little. f
compresses the labels by eq. 17 (`coding/importance.py`).
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from somacast.checks import check_count, check_number
from somacast.errors import SomacastError

STATES = 255  # f travels in a .soma header as 0 .. 255
LINK_BPS, LINK_S = (10e3, 1e6), (0.02, 1.0)  # least and greatest of links that nobody has measured
_MIN_SPAN = 0.5  # extremes are taken to lie at least a factor of 1.5 apart: a steady link's noise is no pressure


@dataclass(frozen=True)
class MonitorConfig:
    """phi of eq. 15 for each window that has passed, window_s of its transfers; a of eq. 18 (b = 1 - a); memory_s: age
    at which a round trip counts 1/e; relax_s: time in which extremes go 1 - 1/e of the way to the present (None:
    never)."""

    phi: float = 0.6
    window_s: float = 1.0
    a: float = 0.5
    memory_s: float = 1.0
    relax_s: float | None = 120.0

    def __post_init__(self) -> None:
        check_number("phi", self.phi, 0.0, 1.0)
        check_number("a", self.a, 0.0, 1.0)
        for name in ("window_s", "memory_s"):
            check_number(name, getattr(self, name), above=True)
        if self.relax_s is not None:
            check_number("relax_s", self.relax_s, above=True)
        if self.phi == 1:
            raise SomacastError("phi: expected a number from 0 to below 1, got 1")


class _Extremes:
    """Least and greatest value met, each relaxing towards the present."""

    def __init__(self, relax_s: float | None):
        self.relax_s = relax_s
        self.low = self.high = math.nan
        self._time_s = 0.0

    def take(self, time_s: float, value: float) -> None:
        if math.isnan(self.low):
            self.low = self.high = value
        elif self.relax_s is not None:
            way = 1 - math.exp(-(time_s - self._time_s) / self.relax_s)
            self.low += way * (value - self.low)
            self.high += way * (value - self.high)
        self.low, self.high, self._time_s = min(self.low, value), max(self.high, value), time_s

    def above_min(self, value: float) -> float:
        """Where a value lies from the least (0) to the greatest (1)."""
        if math.isnan(self.low):
            return 0.0
        span = max(self.high - self.low, _MIN_SPAN * self.low)
        return min(max((value - self.low) / span, 0.0), 1.0) if span > 0 else 0.0

    def below_greatest(self, value: float) -> float:
        """Where a value lies from the greatest (0) to the least (1)."""
        if math.isnan(self.low):
            return 0.0
        span = max(self.high - self.low, self.high - self.high / (1 + _MIN_SPAN))
        return min(max((self.high - value) / span, 0.0), 1.0) if span > 0 else 0.0


class NetworkMonitor:
    """Takes measurements in order of time. Times are seconds of any clock that does not go back.

    SomacastError for values out of range and for times before the last.
    """

    def __init__(self, config: MonitorConfig | None = None):
        self.config = config or MonitorConfig()
        self.bandwidth_bps = math.nan  # B(t); nan until the first window of transfers has passed
        self._bandwidth, self._delay = _Extremes(self.config.relax_s), _Extremes(self.config.relax_s)
        self._window: tuple[float, int, float] | None = None  # start, bytes, seconds
        self._trips: deque[tuple[float, float]] = deque()
        self._now_s = 0.0

    def _advance(self, time_s: float) -> float:
        self._now_s = check_number("time_s", time_s, self._now_s)
        if self._window is not None and self._now_s >= self._window[0] + self.config.window_s:
            _, size, seconds = self._window
            rate, self._window = 8 * size / seconds, None
            phi = 0.0 if math.isnan(self.bandwidth_bps) else self.config.phi
            self.bandwidth_bps = (phi * self.bandwidth_bps if phi else 0.0) + (1 - phi) * rate
            self._bandwidth.take(self._now_s, self.bandwidth_bps)
        return self._now_s

    def transfer(self, time_s: float, size_bytes: int, seconds: float) -> None:
        """One transfer that ended at `time_s`: size_bytes > 0 that took `seconds` > 0 of the link's time."""
        now = self._advance(time_s)
        size, spent = check_count("size_bytes", size_bytes, 1), check_number("seconds", seconds, above=True)
        start, total, time = self._window or (now, 0, 0.0)
        self._window = start, total + size, time + spent

    def round_trip(self, time_s: float, seconds: float) -> None:
        """One control packet whose answer came at `time_s` after `seconds` > 0."""
        now = self._advance(time_s)
        self._trips.append((now, check_number("seconds", seconds, above=True)))
        while now - self._trips[0][0] > 8 * self.config.memory_s:
            self._trips.popleft()
        self._delay.take(now, self.delay_s)

    @property
    def delay_s(self) -> float:
        """D(t) in seconds; nan until the first round trip."""
        weights = [math.exp((t - self._now_s) / self.config.memory_s) for t, _ in self._trips]
        total = sum(weights)
        return sum(w * s for w, (_, s) in zip(weights, self._trips, strict=True)) / total if total else math.nan

    def pressure(self, time_s: float) -> float:
        """f(B, D) of eq. 18 at `time_s`, 0 (all is as good as it ever was) to 1; 0 while nothing has been measured."""
        self._advance(time_s)
        scarce = 0.0 if math.isnan(self.bandwidth_bps) else self._bandwidth.below_greatest(self.bandwidth_bps)
        late = 0.0 if math.isnan(self.delay_s) else self._delay.above_min(self.delay_s)
        return self.config.a * scarce + (1 - self.config.a) * late

    def network_state(self, time_s: float) -> int:
        """The pressure as `Semantics.network_state`, 0 .. 255."""
        return round(STATES * self.pressure(time_s))


def pressure_of(bandwidth_bps: float, delay_s: float, a: float = 0.5) -> float:
    """f(B, D) of eq. 18 for a link that is only told of, its extremes those of LINK_BPS and LINK_S; SomacastError for
    values out of range."""
    bandwidth = check_number("bandwidth", bandwidth_bps, above=True)
    scarce = (LINK_BPS[1] - bandwidth) / (LINK_BPS[1] - LINK_BPS[0])
    late = (check_number("delay", delay_s, 0.0) - LINK_S[0]) / (LINK_S[1] - LINK_S[0])
    return a * min(max(scarce, 0.0), 1.0) + (1 - a) * min(max(late, 0.0), 1.0)
