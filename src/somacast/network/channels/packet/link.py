"""A link: packet channel models in a row, on a simulated clock.

    send(time_s, payload) -> stage -> stage -> ... -> receive(until_s) -> [Delivery(time_s, payload), ...]

Each stage gets the datagrams in order of time, also behind a stage that reorders: what is on its way stands in a heap
of events, and nothing happens before `receive` or `drain` moves the clock. The same calls with generators of the same
seeds give the same deliveries. Give every stage a generator of its own (`rng.spawn`), then a change to one does not
disturb the draws of another.

    rng = np.random.default_rng(1)
    link = Link([Bottleneck(50_000, 8_000), Erasure(0.1, rng), Delay(0.05)], header_bytes=60)
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from somacast.checks import check_count, check_number, shown
from somacast.errors import SomacastError
from somacast.network.channels.packet.stage import Stage
from somacast.network.channels.packet.statistics import LinkStatistics

MAX_DATAGRAM_BYTES = 65_535  # what the length field of IPv4 can say
EVENT_BYTES = 256  # about what a datagram costs in memory beside its payload


class Delivery(NamedTuple):
    """One arrival: time in seconds of the link's clock, and the payload as it was sent."""

    time_s: float
    payload: bytes


class _Datagram(NamedTuple):
    sequence: int
    sent_s: float
    wire_bytes: int
    payload: bytes


_Event = tuple[
    float, int, int, _Datagram
]  # time, age, stage to enter, what enters; equal times keep their order by age


class Link:
    """Carries datagrams through `stages` in order; no stage at all is a perfect link.

    header_bytes: what lower layers add to each datagram (UDP on IPv4: 28), >= 0. max_in_flight_bytes: memory for what
    is on its way, above 0; what would exceed it is dropped and counted. Raises SomacastError on other values.
    """

    def __init__(
        self, stages: Sequence[Stage] = (), *, header_bytes: int = 0, max_in_flight_bytes: int = 64 << 20
    ) -> None:
        for stage in stages:
            if not hasattr(stage, "pass_on") or getattr(stage, "removes_as", None) not in ("lost", "dropped"):
                raise SomacastError(f"stages: expected packet channel models, got {shown(stage)}")
        self.stages = tuple(stages)
        self.header_bytes = check_count("header_bytes", header_bytes, 0, MAX_DATAGRAM_BYTES)
        self.max_in_flight_bytes = check_count("max_in_flight_bytes", max_in_flight_bytes, 1)
        self.statistics = LinkStatistics()
        self.now_s = 0.0
        self._events: list[_Event] = []
        self._numbers = 0
        self._held_bytes = 0
        self._newest = -1  # highest sequence that has arrived

    @property
    def in_flight(self) -> int:
        """Datagrams, copies included, that have neither arrived nor gone."""
        return len(self._events)

    @property
    def next_s(self) -> float | None:
        """Time in seconds at which something happens next (not always an arrival), None if nothing is on its way."""
        return self._events[0][0] if self._events else None

    def send(self, time_s: float, payload: bytes, header_bytes: int | None = None) -> int:
        """Hand over one datagram; returns its sequence number, from 0.

        time_s: seconds, not before the clock (`now_s`); header_bytes: in place of the link's. Payload and header have
        at most 65,535 bytes together. Raises SomacastError on other values.
        """
        time_s = check_number("time_s", time_s, self.now_s)
        if not isinstance(payload, bytes | bytearray | memoryview):
            raise SomacastError(f"payload: expected bytes, got {shown(payload)}")
        payload = bytes(payload)
        header = self.header_bytes if header_bytes is None else check_count("header_bytes", header_bytes)
        wire_bytes = check_count("payload and header", len(payload) + header, 0, MAX_DATAGRAM_BYTES)
        sequence = self.statistics.sent
        self.statistics.sent += 1
        self.statistics.sent_bytes += wire_bytes
        self._push(time_s, 0, _Datagram(sequence, time_s, wire_bytes, payload))
        return sequence

    def receive(self, until_s: float) -> list[Delivery]:
        """Move the clock to `until_s` (finite, not back) and return all arrivals up to and at it, in order of time."""
        until_s = check_number("until_s", until_s, self.now_s)
        arrived: list[Delivery] = []
        while self._events and self._events[0][0] <= until_s:
            self._step(heapq.heappop(self._events), arrived)
        self.now_s = until_s
        return arrived

    def drain(self) -> list[Delivery]:
        """Move the clock until nothing is on its way; returns what arrived, in order of time."""
        arrived: list[Delivery] = []
        while self._events:
            self.now_s = self._events[0][0]
            self._step(heapq.heappop(self._events), arrived)
        return arrived

    def carry(self, datagrams: Iterable[tuple[float, bytes]]) -> list[Delivery]:
        """Send all (time_s, payload), in order of time, and return all arrivals; the clock ends at the last event."""
        arrived: list[Delivery] = []
        for time_s, payload in datagrams:
            arrived += self.receive(time_s)
            self.send(time_s, payload)
        return arrived + self.drain()

    def _push(self, time_s: float, stage: int, datagram: _Datagram) -> None:
        cost = len(datagram.payload) + EVENT_BYTES
        if self._held_bytes + cost > self.max_in_flight_bytes:
            self.statistics.dropped += 1
            return
        self._held_bytes += cost
        heapq.heappush(self._events, (time_s, self._numbers, stage, datagram))
        self._numbers += 1

    def _step(self, event: _Event, arrived: list[Delivery]) -> None:
        """Let one event happen: into its stage, or out of the link."""
        time_s, _, place, datagram = event
        self._held_bytes -= len(datagram.payload) + EVENT_BYTES
        if place == len(self.stages):
            arrived.append(self._deliver(time_s, datagram))
            return
        stage = self.stages[place]
        exits = stage.pass_on(time_s, datagram.wire_bytes)
        if not exits:
            if stage.removes_as == "lost":
                self.statistics.lost += 1
            else:
                self.statistics.dropped += 1
            return
        if not min(exits) >= time_s:
            raise SomacastError(f"{shown(stage)}: expected exits from {time_s:g} s, got {shown(exits)}")
        self.statistics.duplicated += len(exits) - 1
        for exit_s in exits:
            self._push(exit_s, place + 1, datagram)

    def _deliver(self, time_s: float, datagram: _Datagram) -> Delivery:
        counts = self.statistics
        counts.delivered += 1
        counts.delivered_bytes += datagram.wire_bytes
        counts.reordered += datagram.sequence < self._newest
        counts.delays.add(time_s - datagram.sent_s)
        self._newest = max(self._newest, datagram.sequence)
        return Delivery(time_s, datagram.payload)
