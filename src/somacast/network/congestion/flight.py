"""What a sender knows of its datagrams on the way: when each left, what a report says of it, how many were lost.

    sent(time_s, sequence, wire_bytes) ... take(time_s, report) -> News: arrivals, transfers, a round trip

Times of sending are of the sender's clock, times of arrival of the receiver's. Sequences are 16 bit and wrap; inside,
datagrams have numbers that do not.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from somacast.checks import check_count, check_number
from somacast.network.congestion.feedback import CLOCK_SPAN, SEQUENCES, TICKS_PER_S, WINDOW, FeedbackReport

MAX_KEPT = 4096  # datagrams; the oldest are forgotten first
LOSS_WINDOW_S = 4.0
_LATE = 3  # a datagram counts as lost once this many later ones have arrived
_CLOCK_S = CLOCK_SPAN / TICKS_PER_S
_RESTARTS = 3  # reports in a row with an older clock: the receiver has begun anew


@dataclass
class Sent:
    """One datagram. arrival_s: by the receiver's clock, None until told."""

    number: int
    time_s: float
    wire_bytes: int
    arrived: bool = False
    arrival_s: float | None = None
    paired: bool = False  # its spacing from the one before has been used


@dataclass(frozen=True)
class News:
    """What a report adds. timed: datagrams whose time of arrival is new, by number; pairs: neighbours (before, after)
    whose spacing is known now; clock_s: receiver's clock at the report, unwrapped; round_trip_s: of the newest, if it
    is new; fresh_bytes: of all that is newly known to have arrived; restarted: the receiver's clock is another one."""

    timed: tuple[Sent, ...]
    pairs: tuple[tuple[Sent, Sent], ...]
    clock_s: float
    round_trip_s: float | None
    fresh_bytes: int
    restarted: bool


class Flight:
    """The datagrams between two ends, as the sender knows them. In memory that does not grow."""

    def __init__(self) -> None:
        self.newest: Sent | None = None  # of those that arrived, by number
        self.clock_s = math.nan  # receiver's, at the newest report
        self.in_flight_bytes = 0  # sent after the newest that arrived
        self._kept: deque[Sent] = deque()  # consecutive numbers
        self._outcomes: deque[tuple[float, int, int]] = deque()  # time, lost, judged
        self._judged = -1  # highest number whose fate is counted
        self._older = 0

    def sent(self, time_s: float, sequence: int, wire_bytes: int) -> Sent | None:
        """A datagram leaves; None (and nothing happens) if its sequence is the last one's. Skipped sequences count as
        never sent."""
        time_s, size = check_number("time_s", time_s), check_count("wire_bytes", wire_bytes, 1)
        sequence = check_count("sequence", sequence, 0, SEQUENCES - 1)
        number = sequence
        if self._kept:
            last = self._kept[-1].number
            number = last + (sequence - last) % SEQUENCES
            if number == last:
                return None
            if number - last > 1:  # numbers in the deque stay consecutive
                self._kept.clear()
                self.newest, self._judged, self.in_flight_bytes = None, number - 1, 0
        else:
            self._judged = number - 1
        datagram = Sent(number, time_s, size)
        self._kept.append(datagram)
        self.in_flight_bytes += size
        self._prune()
        return datagram

    def _prune(self) -> None:
        """Forget what no report can speak of any more."""
        least = self._kept[-1].number - MAX_KEPT
        if self.newest is not None:
            least = max(least, min(self.newest.number - WINDOW, self._judged))
        while self._kept[0].number < least:
            gone = self._kept.popleft()
            if self.newest is None or gone.number > self.newest.number:
                self.in_flight_bytes -= gone.wire_bytes

    def waiting(self) -> Iterator[Sent]:
        """What was sent after the newest that arrived, in order."""
        if not self._kept:
            return iter(())
        start = 0 if self.newest is None else self.newest.number + 1 - self._kept[0].number
        return islice(self._kept, max(start, 0), None)

    @property
    def last_number(self) -> int:
        """Of the newest datagram that was sent, -1 before the first."""
        return self._kept[-1].number if self._kept else -1

    def kept(self, first: int, last: int) -> Iterator[Sent]:
        """Datagrams with numbers from first to last, as far as they are remembered."""
        start = self._kept[0].number if self._kept else 0
        return islice(self._kept, max(first - start, 0), max(last + 1 - start, 0))

    def take(self, time_s: float, report: FeedbackReport) -> News | None:
        """Use a report that came at time_s; None if it is a copy, old, or of datagrams that were not sent here."""
        if not self._kept or not report.arrived:
            return None
        last = self._kept[-1].number
        newest = last - (last - report.arrived[0]) % SEQUENCES
        if newest < self._kept[0].number:
            return None
        restarted = math.isnan(self.clock_s)
        if not restarted:
            ahead = (report.clock_s - self.clock_s + _CLOCK_S / 2) % _CLOCK_S - _CLOCK_S / 2
            if ahead <= 0:
                self._older += ahead < 0
                if self._older < _RESTARTS:
                    return None
                restarted = True
        self._older = 0
        self.clock_s = report.clock_s if restarted else self.clock_s + ahead
        if restarted:  # times by the other clock say nothing
            for datagram in self._kept:
                datagram.arrival_s = None
        return self._note(time_s, report, newest, restarted)

    def _note(self, time_s: float, report: FeedbackReport, newest: int, restarted: bool) -> News:
        first, timed, fresh, trip = self._kept[0].number, [], 0, None
        for place, sequence in enumerate(report.arrived):
            number = newest - (newest - sequence) % SEQUENCES
            if number < first:
                break
            datagram = self._kept[number - first]
            if not datagram.arrived:
                datagram.arrived = True
                fresh += datagram.wire_bytes
            if place < len(report.ages_s) and datagram.arrival_s is None:
                datagram.arrival_s = self.clock_s - report.ages_s[place]
                timed.append(datagram)
        if self.newest is None or newest > self.newest.number:
            before = first - 1 if self.newest is None else self.newest.number
            self.newest = self._kept[newest - first]
            passed = islice(self._kept, max(before + 1 - first, 0), newest + 1 - first)
            self.in_flight_bytes -= sum(datagram.wire_bytes for datagram in passed)
            if report.ages_s:
                trip = time_s - self.newest.time_s - report.ages_s[0]
        self._judge(time_s)
        timed.sort(key=lambda datagram: datagram.number)
        return News(tuple(timed), tuple(self._pairs(timed)), self.clock_s, trip, fresh, restarted)

    def _pairs(self, timed: list[Sent]) -> Iterator[tuple[Sent, Sent]]:
        first, last = self._kept[0].number, self._kept[-1].number
        for number in sorted({d.number for d in timed} | {d.number + 1 for d in timed}):
            if not first < number <= last:
                continue
            before, after = self._kept[number - 1 - first], self._kept[number - first]
            if before.arrival_s is not None and after.arrival_s is not None and not after.paired:
                after.paired = True
                yield before, after

    def _judge(self, time_s: float) -> None:
        """Count the fate of all that is old enough; whoever arrives after that stays lost in the count."""
        assert self.newest is not None
        first, lost, judged = self._kept[0].number, 0, 0
        while self._judged < self.newest.number - _LATE:
            self._judged += 1
            if self._judged >= first:
                lost += not self._kept[self._judged - first].arrived
                judged += 1
        if judged:
            self._outcomes.append((time_s, lost, judged))
        while self._outcomes and self._outcomes[0][0] < time_s - LOSS_WINDOW_S:
            self._outcomes.popleft()

    @property
    def loss(self) -> float:
        """Share of the datagrams of the last seconds that did not arrive, 0 .. 1; 0 while none is known."""
        judged = sum(row[2] for row in self._outcomes)
        return sum(row[1] for row in self._outcomes) / judged if judged else 0.0
