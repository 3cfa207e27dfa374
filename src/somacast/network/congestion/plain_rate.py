"""Rate controls to compare with: additive increase and multiplicative decrease as in the textbook, and none at all.

    AIMD    window W += one datagram per round trip; W /= 2 when a datagram is lost, once per round trip at most
            what may go out: no more than W in flight, paced at W / RTT           (Chiu and Jain 1989; RFC 5681)
    fixed   what may go out: always the same rate

Both offer what `rate_control.Controller` asks and measure B, D and f as ours does, but do not use them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from itertools import islice

from somacast.checks import check_count, check_number
from somacast.network.congestion.feedback import FeedbackReport
from somacast.network.congestion.measure import Measured
from somacast.network.congestion.monitor import MonitorConfig

DATAGRAM_BYTES = 1228  # by which the window grows: a full datagram with its headers
_LATE = 3  # datagrams that must have arrived after one that counts as lost
_MONITOR = MonitorConfig(window_s=0.1)


class _Paced(Measured, ABC):
    """Pacing at a rate, one datagram after the other."""

    def __init__(self) -> None:
        super().__init__(_MONITOR, 30.0)
        self._next_s = 0.0

    @abstractmethod
    def rate_bps(self, time_s: float) -> float:
        """What may go on the wire now, headers counted."""

    def sent(self, time_s: float, sequence: int, wire_bytes: int) -> None:
        """A datagram left."""
        now = self._advance(time_s)
        if self.flight.sent(now, sequence, wire_bytes) is not None:
            self._next_s = max(self._next_s, now) + 8 * wire_bytes / self.rate_bps(now)

    def reported(self, time_s: float, report: FeedbackReport) -> None:
        """Feedback came."""
        self._measure(time_s, report)

    def wait_s(self, time_s: float, wire_bytes: int) -> float:
        """How long a datagram of that size is to wait, 0: now."""
        check_count("wire_bytes", wire_bytes, 1)
        return max(self._next_s - self._advance(time_s), 0.0)


class FixedRate(_Paced):
    """No adaptation: always `rate` bit/s."""

    def __init__(self, rate_bps: float) -> None:
        super().__init__()
        self._rate_bps = check_number("rate_bps", rate_bps, above=True)

    def rate_bps(self, time_s: float) -> float:
        """The rate it was made with."""
        self._advance(time_s)
        return self._rate_bps

    def network_state(self, time_s: float) -> int:
        """0: nothing is adapted."""
        self._advance(time_s)
        return 0


class AimdController(_Paced):
    """Plain AIMD. window_bytes: W; without any arrival for four round trips (one second at least) it falls to one
    datagram, as after a retransmission timeout."""

    def __init__(self, start_bytes: int = 2 * DATAGRAM_BYTES) -> None:
        super().__init__()
        self.window_bytes = float(check_count("start_bytes", start_bytes, 1))
        self.smooth_s = 0.1  # smoothed round trip
        self._halved = -1  # number of the newest datagram when the window was halved
        self._judged = -1  # highest number that has been looked at
        self._heard_s = 0.0

    def reported(self, time_s: float, report: FeedbackReport) -> None:
        """Feedback came: grow, or halve."""
        found = self._measure(time_s, report)
        newest = self.flight.newest
        if found is None or newest is None:
            return
        news, _ = found
        if news.round_trip_s is not None and news.round_trip_s > 0:
            self.smooth_s += (news.round_trip_s - self.smooth_s) / 8
        if news.fresh_bytes:
            self._heard_s = self._now_s
        lost = [d for d in self._gone(newest.number - _LATE) if d > self._halved]
        self._judged = max(self._judged, newest.number - _LATE)
        if lost:
            self.window_bytes = max(self.window_bytes / 2, DATAGRAM_BYTES)
            self._halved = self.flight.last_number
        else:
            self.window_bytes += DATAGRAM_BYTES * news.fresh_bytes / self.window_bytes

    def _gone(self, last: int) -> list[int]:
        """Numbers above those judged, to `last`, that have not arrived."""
        return [d.number for d in self.flight.kept(self._judged + 1, last) if not d.arrived]

    def _timed_out(self, now: float) -> bool:
        oldest = next(islice(self.flight.waiting(), 1), None)
        since = max(self._heard_s, oldest.time_s) if oldest else now
        return now - since > max(4 * self.smooth_s, 1.0)

    def rate_bps(self, time_s: float) -> float:
        """W over the smoothed round trip."""
        window = DATAGRAM_BYTES if self._timed_out(self._advance(time_s)) else self.window_bytes
        return 8 * window / self.smooth_s

    def wait_s(self, time_s: float, wire_bytes: int) -> float:
        """How long a datagram of that size is to wait: for its pace and for room in the window."""
        wait = super().wait_s(time_s, wire_bytes)
        if self._timed_out(self._now_s):  # what was in flight is given up; one datagram per timeout
            self.window_bytes, self._heard_s = float(DATAGRAM_BYTES), self._now_s
            return 0.0
        room = self.flight.in_flight_bytes + wire_bytes <= max(self.window_bytes, wire_bytes)
        return wait if room else max(wait, 0.01)
