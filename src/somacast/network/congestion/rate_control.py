"""How fast a sender may send: from measured transfers and delays alone, on any link (AFLSC eq. 15, 16, 18).

    sent(time_s, sequence, wire_bytes), reported(time_s, report) -> rate_bps(time_s), wait_s(time_s, wire_bytes)

The capacity is measured by trains (`measure.py`): datagrams leave two or so at a time while they are short; on narrow
links, where each is long, one pair in `probe_s` is enough. It is taken over as B(t) rises; it is lowered at once, to
what the newest transfers say, but only where a queue stands or the spacings are beyond the noise.

Where the queue stands follows from the newest arrival: it left the wire at a_n - p, p the least one-way delay less own
serialisation, and what was sent since is served at the capacity C (Lindley 1952):

    free = a_n - p;  for each datagram since, in order: free = max(free, s_i) + 8 S_i / C

Nothing more leaves while free lies ahead of now. Silence is news too: while datagrams that were sent do not arrive, C
can be no more than their bits in that time. Where `MISSED` reports fail to come, the sender waits for news. Loss says
nothing about the capacity and lowers no rate, below `MOST_LOSS`.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from somacast.checks import check_count, check_number
from somacast.errors import SomacastError
from somacast.network.congestion.feedback import FeedbackReport
from somacast.network.congestion.flight import News
from somacast.network.congestion.measure import NOISY, TOGETHER_S, Measured, SlidingMinimum, delay_s
from somacast.network.congestion.monitor import MonitorConfig, NetworkMonitor

MAX_LOSS = 0.5  # beyond this a policer is likelier than a bad link: no more than arrives
RECENT_S = 0.25  # of transfers that tell a fall
STANDING = 4  # arrivals in a row that all waited: a queue stands
STANDS_S = 0.003
RISE = 3.0  # the most by which the capacity used grows in a round trip
UNKNOWN_RISE = 1.25  # growth in a round trip without any transfer measured, while the rate is used and no queue stands
SILENT_DATAGRAMS = 2  # these and no fewer must be late: one alone may be lost
MISSED = 2.0  # reports that may fail to come before the sender waits for news
MIN_ROOM_BYTES = 100  # a small datagram
HOLD_S = 0.02  # between looks at whether they have
DECAY_S = 0.5  # without feedback the rate halves in this time


@dataclass(frozen=True)
class RateConfig:
    """start_bps: before anything is known; floor_bps: never less, feedback or not; most_bps: never more; margin: share
    of the capacity that is used, 0 .. 1; train_s: time on the wire of the datagrams that leave together; probe_s:
    longest time without measuring the capacity; slack_s: queue that is let be; drain_s: time in which a queue is to go;
    trickle_s: a standing queue lets a datagram pass this often; silence_s: without feedback, before the rate falls;
    base_s: memory of the least delay; monitor: of eq. 15, 16, 18."""

    start_bps: float = 40_000.0
    floor_bps: float = 4_000.0
    max_bps: float = 20e6
    margin: float = 0.97
    train_s: float = 0.02
    probe_s: float = 1.0
    slack_s: float = 0.005
    drain_s: float = 0.25
    trickle_s: float = 1.0
    silence_s: float = 1.5
    base_s: float = 30.0
    monitor: MonitorConfig = field(default_factory=lambda: MonitorConfig(window_s=0.05))

    def __post_init__(self) -> None:
        check_number("margin", self.margin, 0.0, 1.0, above=True)
        for name in ("floor_bps", "train_s", "probe_s", "drain_s", "trickle_s", "silence_s", "base_s"):
            check_number(name, getattr(self, name), above=True)
        check_number("slack_s", self.slack_s)
        if not self.floor_bps <= self.start_bps <= self.max_bps < math.inf:
            raise SomacastError(
                f"rates: expected floor <= start <= max, got {self.floor_bps}, {self.start_bps}, {self.max_bps}"
            )


class Controller(Protocol):
    """What a sender asks of any rate control. Times do not go back."""

    monitor: NetworkMonitor

    def sent(self, time_s: float, sequence: int, wire_bytes: int) -> None:
        """A datagram left; sequence 0 .. 65535, wire_bytes with headers."""
        ...

    def reported(self, time_s: float, report: FeedbackReport) -> None:
        """Feedback came."""
        ...

    def rate_bps(self, time_s: float) -> float:
        """What may go on the wire now, headers counted, > 0."""
        ...

    def wait_s(self, time_s: float, wire_bytes: int) -> float:
        """How long a datagram of that size is to wait before it is sent, 0: now. Ask again then: it may have grown."""
        ...

    def network_state(self, time_s: float) -> int:
        """f of eq. 18 in 1/255."""
        ...

    @property
    def loss(self) -> float:
        """Share of recent datagrams that were lost, 0 .. 1."""
        ...

    @property
    def round_trip_s(self) -> float | None:
        """The newest round trip, None before the first."""
        ...


class RateController(Measured):
    """The adaptive one. Public state: capacity_bps (what it holds the capacity to be), silent_bps (bound by what is
    late, inf if nothing is), delivered_bps (what arrived in the last second), free_s (when the bottleneck will have
    sent all, on the sender's clock)."""

    def __init__(self, config: RateConfig | None = None) -> None:
        self.config = config or RateConfig()
        super().__init__(self.config.monitor, self.config.base_s)
        self.capacity_bps = self.config.start_bps / self.config.margin
        self.silent_bps = math.inf
        self.free_s = -math.inf
        self.delivered_bps = math.nan
        self._recent: deque[tuple[float, int, float, int]] = deque()  # transfers: time, bytes, seconds, spacings
        self._waits: deque[float] = deque(maxlen=STANDING)  # in the queue, of the newest arrivals
        self._arrived: deque[tuple[float, int]] = deque()  # time of report, bytes, of the last second
        self._unheard_s: float | None = None  # when the first datagram left of those since the last news of arrivals
        self._updated_s = 0.0  # newest report
        self._between_s = 0.1  # reports, smoothed
        self._trip = SlidingMinimum(self.config.base_s)  # least round trip
        self._measured_s = -math.inf  # newest transfer
        self._probe = False  # a change is suspected
        self._next_s = -math.inf  # pacing: when what was sent is paid
        self._train = (-math.inf, 0, 0)  # start, datagrams, bytes of the newest
        self._probed_s = -math.inf  # newest train of two
        self._last_s = -math.inf  # newest datagram

    # what happens

    def sent(self, time_s: float, sequence: int, wire_bytes: int) -> None:
        """A datagram left; sequence 0 .. 65535, wire_bytes > 0 with headers."""
        now = self._advance(time_s)
        if self.flight.sent(now, sequence, wire_bytes) is None:
            return
        self._unheard_s = now if self._unheard_s is None else self._unheard_s
        start, count, _ = self._train
        joins = now - start <= TOGETHER_S
        self._train = (start if joins else now, count + 1 if joins else 1, wire_bytes)
        if joins:
            self._probe, self._probed_s = False, now
        self._next_s = max(self._next_s, now) + 8 * wire_bytes / self.rate_bps(now)
        self.free_s = max(self.free_s, now) + 8 * wire_bytes / self._capacity()
        self._last_s = now

    def reported(self, time_s: float, report: FeedbackReport) -> None:
        """Feedback came; copies, old ones and foreign ones change nothing."""
        silence = self._silence(self._advance(time_s))
        found = self._measure(time_s, report)
        if found is None:
            return
        now, (news, transfers) = self._now_s, found
        if news.fresh_bytes:
            self.capacity_bps = max(self.capacity_bps * silence, self.config.floor_bps)
            self._unheard_s = None
            self.silent_bps = math.inf
        self._between_s += (min(now - self._updated_s, 0.2) - self._between_s) / 8
        if self.round_trip_s is not None:
            self._trip.take(now, self.round_trip_s)
        self._note_arrived(now, news.fresh_bytes)
        self._update_capacity(now, news, transfers)
        self._hear_silence(news)
        self._predict()

    # what follows from it

    def _capacity(self) -> float:
        return max(min(self.capacity_bps, self.silent_bps), self.config.floor_bps)

    def _note_arrived(self, now: float, fresh_bytes: int) -> None:
        self._arrived.append((now, fresh_bytes))
        while self._arrived[0][0] < now - 1:
            self._arrived.popleft()
        span = now - self._arrived[0][0]
        if span > 0.2:
            self.delivered_bps = 8 * sum(size for _, size in islice(self._arrived, 1, None)) / span

    def _update_capacity(self, now: float, news: News, transfers: list[tuple[int, float, int]]) -> None:
        trips = (now - self._updated_s) / max(self.round_trip_s or 0.1, 0.02)
        self._updated_s = now
        for size, seconds, count in transfers:
            self._recent.append((now, size, seconds, count))
            self._measured_s = now
        while len(self._recent) > 1 and self._recent[0][0] < now - RECENT_S:
            self._recent.popleft()
        for datagram in news.timed:
            self._waits.append(delay_s(datagram) - self.base.value - 8 * datagram.wire_bytes / self.capacity_bps)
        capacity, trusted = self.capacity_bps, now - self._measured_s < 2 * self.config.probe_s
        if trusted:
            _, sizes, seconds, counts = (sum(column) for column in zip(*self._recent, strict=True))
            newest, average = 8 * sizes / seconds, self.monitor.bandwidth_bps
            average = newest if math.isnan(average) else average
            trusted = seconds / counts > NOISY * self.noise_s
            if average > capacity and newest > capacity:
                self.capacity_bps = min(average, newest, capacity * RISE ** min(trips, 2.0))
            elif newest < capacity and (self.queued or trusted):
                self.capacity_bps = newest
        if not trusted and news.timed and not self.queued:
            used = self.delivered_bps > 0.6 * (1 - self.loss) * self.config.margin * capacity
            self.capacity_bps = max(self.capacity_bps, capacity * UNKNOWN_RISE ** min(trips, 1.0) if used else 0.0)
        most = self.config.max_bps / self.config.margin
        self.capacity_bps = min(max(self.capacity_bps, self.config.floor_bps), most)
        for datagram in news.timed:  # faster through than the capacity allows: it has risen
            if delay_s(datagram) - self.base.value < 0.6 * 8 * datagram.wire_bytes / self.capacity_bps - 0.002:
                self._probe = True

    @property
    def queued(self) -> bool:
        """Whether a queue stands: all of the newest arrivals have waited, beyond the noise."""
        return len(self._waits) == STANDING and min(self._waits) > max(2 * self.noise_s, STANDS_S)

    def _hear_silence(self, news: News) -> None:
        """Datagrams that should have arrived by the time of the report and have not bound the capacity."""
        newest = self.flight.newest
        if newest is None or newest.arrival_s is None:
            return
        reached = news.clock_s - self.base.value  # what left the wire by then would have arrived
        late = [d for d in islice(self.flight.waiting(), SILENT_DATAGRAMS) if d.time_s < reached]
        if len(late) == SILENT_DATAGRAMS:
            busy = reached - max(newest.arrival_s - self.base.value, late[0].time_s) - 2 * self.noise_s
            if busy > 0:
                self.silent_bps = min(self.silent_bps, 8 * sum(d.wire_bytes for d in late) / busy)

    def _predict(self) -> None:
        """When the bottleneck will have sent all that is on its way."""
        newest = self.flight.newest
        if newest is None or newest.arrival_s is None:
            return
        capacity = self._capacity()
        free = newest.arrival_s - self.base.value - 2 * self.noise_s
        for datagram in self.flight.waiting():
            free = max(free, datagram.time_s) + 8 * datagram.wire_bytes / capacity
        self.free_s = free

    def _silence(self, now: float) -> float:
        """What the lack of feedback leaves of the rate, 0 .. 1."""
        if self._unheard_s is None:
            return 1.0
        late = now - self._unheard_s - self.config.silence_s - 2 * (self.round_trip_s or 0.0)
        return 0.5 ** (max(late, 0.0) / DECAY_S)

    def queue_s(self, time_s: float) -> float:
        """Time that a datagram sent now would wait in the queue."""
        return max(self.free_s - time_s, 0.0)

    def rate_bps(self, time_s: float) -> float:
        """What may go on the wire now, headers counted; from floor_bps to most_bps."""
        config, now = self.config, self._advance(time_s)
        capacity = self._capacity()
        rate = config.margin * capacity - capacity * max(self.queue_s(now) - self._own_queue_s(), 0.0) / config.drain_s
        if self.loss > MAX_LOSS and not math.isnan(self.delivered_bps):
            rate = min(rate, 1.5 * self.delivered_bps)
        return min(max(rate * self._silence(now), config.floor_bps), config.max_bps)

    def _own_queue_s(self) -> float:
        """Queue that pacing itself makes: a train on the wire."""
        return max(self._next_s - self._now_s, 0.0) + self.config.slack_s

    def wait_s(self, time_s: float, wire_bytes: int) -> float:
        """How long a datagram of that size is to wait, 0: now."""
        now, size = self._advance(time_s), check_count("wire_bytes", wire_bytes, 1)
        if self._next_s <= now:
            wait = 0.0
        elif now - self._train[0] <= TOGETHER_S and self._may_join(now, size):
            return 0.0
        else:
            wait = self._next_s - now
        ahead = self.queue_s(now) - self.config.slack_s
        if ahead > wait:
            wait = max(wait, min(ahead, self._last_s + self.config.trickle_s - now))
        if self.flight.in_flight_bytes + size > self._room_bytes():
            wait = max(wait, min(HOLD_S, self._last_s + self.config.trickle_s - now))
        floor_wait = self._last_s + 8 * size / self.config.floor_bps - now
        return max(min(wait, max(floor_wait, 0.0)) if self._silence(now) < 1 else wait, 0.0)

    def _room_bytes(self) -> float:
        """What may be in flight: more is there only if reports have failed to come, and then not much more."""
        if math.isinf(self._trip.value):
            return math.inf
        seconds = self._trip.value + (1 + MISSED) * self._between_s + self.config.train_s
        return max(seconds * self.capacity_bps / 8, 3 * MIN_ROOM_BYTES)

    def _may_join(self, now: float, size: int) -> bool:
        """Whether one more datagram may leave with the train that has just started."""
        if self._next_s - now <= self.config.train_s:
            return True
        _, count, first = self._train  # a small one behind a large one would wait longer than it takes itself
        fits = count == 1 and (self._probe or size >= first) and self._silence(now) == 1
        return fits and self.probe_due(now) and self.queue_s(now) - (self._next_s - now) < 0.01

    def probe_due(self, time_s: float) -> bool:
        """Whether two datagrams that leave together would tell something: the capacity has not been measured lately.
        A sender of single datagrams may then send something useful twice or in two parts."""
        now = self._advance(time_s)
        return self._probe or now - max(self._measured_s, self._probed_s) > self.config.probe_s
