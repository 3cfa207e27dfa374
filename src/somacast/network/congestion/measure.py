"""What a sender measures from reports: transfers, delays, their noise; B(t), D(t) and f from those (eq. 15, 16, 18).

The bottleneck serves datagrams one after the other. So the spacing dt of two that arrive, of which the second had to
wait for the first, is how long the second took: S / dt is the capacity, whatever the rate of the source. These are the
transfers of eq. 15. A datagram had to wait if it left together with the one before, or before that one had left the
wire, at a - p: a is its arrival, p (`base`) the least one-way delay less own serialisation. The clocks' offset is in a
and p alike and drops out; drift is followed by the sliding minimum.

Jitter makes single spacings worthless and leaves their sums right. `noise_s` is about the median by which departures
miss their prediction from the one before; spacings are added up until their sum stands well above it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from statistics import median

from somacast.checks import check_number
from somacast.network.congestion.feedback import FeedbackReport
from somacast.network.congestion.flight import Flight, News, Sent
from somacast.network.congestion.monitor import MonitorConfig, NetworkMonitor

TOGETHER_S = 0.002  # datagrams sent within this are one train
NOISY = 4.0  # times the noise: what stands above it is no noise
_RESIDUALS = 24  # departures behind the noise
_POOL_S = 2.0  # spacings older than this are not added to new ones


class SlidingMinimum:
    """The least value of the last `span_s` seconds, inf without any."""

    def __init__(self, span_s: float):
        self.span_s = span_s
        self._values: deque[tuple[float, float]] = deque()

    def take(self, time_s: float, value: float) -> None:
        """A value at a time that does not go back."""
        while self._values and self._values[-1][1] >= value:
            self._values.pop()
        self._values.append((time_s, value))
        while self._values[0][0] < time_s - self.span_s:
            self._values.popleft()

    def clear(self) -> None:
        """Forget all."""
        self._values.clear()

    @property
    def value(self) -> float:
        """The minimum."""
        return self._values[0][1] if self._values else math.inf


def delay_s(datagram: Sent) -> float:
    """One-way delay plus the offset of the clocks, of a datagram whose arrival is known."""
    assert datagram.arrival_s is not None
    return datagram.arrival_s - datagram.time_s


class Measured:
    """What all controllers measure alike."""

    def __init__(self, monitor: MonitorConfig, base_s: float) -> None:
        self.monitor = NetworkMonitor(monitor)
        self.flight = Flight()
        self.round_trip_s: float | None = None
        self.base = SlidingMinimum(base_s)  # least one-way delay less own serialisation, by both clocks
        self.noise_s = 0.0
        self._misses: deque[tuple[float, int]] = deque(maxlen=_RESIDUALS)  # seconds, bytes
        self._pool = (0.0, 0, 0.0, 0)  # time of the first, bytes, seconds, spacings
        self._now_s = 0.0

    @property
    def loss(self) -> float:
        """Share of recent datagrams that were lost, 0 .. 1."""
        return self.flight.loss

    def network_state(self, time_s: float) -> int:
        """f of eq. 18 in 1/255."""
        return self.monitor.network_state(self._advance(time_s))

    def _advance(self, time_s: float) -> float:
        self._now_s = max(check_number("time_s", time_s), self._now_s)
        return self._now_s

    def _measure(self, time_s: float, report: FeedbackReport) -> tuple[News, list[tuple[int, float, int]]] | None:
        """News of a report and its transfers (bytes, seconds, spacings in it); None if it is of no use."""
        now = self._advance(time_s)
        news = self.flight.take(now, report)
        if news is None:
            return None
        if news.restarted or self._impossible(news):
            self.base.clear()
        for datagram in news.timed:
            self.base.take(now, delay_s(datagram))
        if news.round_trip_s is not None and news.round_trip_s > 0:
            self.round_trip_s = news.round_trip_s
            self.monitor.round_trip(now, max(news.round_trip_s - self._own_s(), 1e-4))
        self._note_noise(news.pairs)
        transfers = list(self._transfers(now, news.pairs))
        for size, seconds, _ in transfers:
            self.monitor.transfer(now, size, seconds)
        return news, transfers

    def _own_s(self) -> float:
        """Time on the wire of the newest arrival, by B(t), and no more than it came later than the fastest: D is of
        control packets, whose own time is small, and does not change with the sizes of datagrams."""
        newest, known = self.flight.newest, self.monitor.bandwidth_bps
        if newest is None or newest.arrival_s is None or math.isnan(known):
            return 0.0
        return min(8 * newest.wire_bytes / known, max(delay_s(newest) - self.base.value, 0.0))

    def _impossible(self, news: News) -> bool:
        """A queue that the round trip cannot hold: the receiver's clock was set."""
        if not news.timed or news.round_trip_s is None or math.isinf(self.base.value):
            return False
        newest = max(news.timed, key=lambda datagram: datagram.number)
        return delay_s(newest) - self.base.value > news.round_trip_s + 0.05

    def _note_noise(self, pairs: Iterable[tuple[Sent, Sent]]) -> None:
        """How far departures miss what the one before and B(t) let expect."""
        known = self.monitor.bandwidth_bps
        for before, after in pairs:
            assert before.arrival_s is not None and after.arrival_s is not None
            own = 0.0 if math.isnan(known) else 8 * after.wire_bytes / known
            expected = max(before.arrival_s - self.base.value, after.time_s) + own
            self._misses.append((after.arrival_s - self.base.value - expected, after.wire_bytes))
        if len(self._misses) >= _RESIDUALS // 2:
            slower = median(miss / size for miss, size in self._misses)  # another capacity is no noise
            deviations = sorted(abs(miss - slower * size) for miss, size in self._misses)
            self.noise_s = 2 * deviations[len(deviations) // 4]  # the quartile holds while half are of another capacity

    def _transfers(self, now: float, pairs: Iterable[tuple[Sent, Sent]]) -> Iterable[tuple[int, float, int]]:
        """Bytes, seconds on the wire and number of those datagrams that had to wait for the one before."""
        known = self.monitor.bandwidth_bps
        for before, after in pairs:
            assert before.arrival_s is not None and after.arrival_s is not None
            seconds, gap = after.arrival_s - before.arrival_s, after.time_s - before.time_s
            if gap > max(TOGETHER_S, delay_s(before) - self.base.value - 2 * self.noise_s):
                continue
            if gap > delay_s(before) - self.base.value and self.noise_s < TOGETHER_S:
                continue
            start, size, total, count = self._pool
            if now - start > _POOL_S:
                start, size, total, count = now, 0, 0.0, 0
            self._pool = start, size, total, count = start, size + after.wire_bytes, total + seconds, count + 1
            if total <= NOISY * self.noise_s or total <= 0:
                continue
            self._pool = now, 0, 0.0, 0
            capacity = 8 * size / total
            fastest = capacity if math.isnan(known) else max(capacity, known)
            # the first of a train has waited for nobody, perhaps: then its delay less its own time is propagation
            self.base.take(now, delay_s(before) - 8 * before.wire_bytes / fastest)
            yield size, total, count
