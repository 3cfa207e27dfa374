"""A .soma video as a transport: played to a receiver at the pace at which it was taken.

PATH (.soma video) -> receiver: each packet comes when its last frame was taken, with the exact times of all its frames
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from somacast.bitstream.packets import TICK_SPAN, LivePacket, Person, pack_packet
from somacast.bitstream.video import (
    MAX_RECORD_BYTES,
    US_PER_S,
    Absent,
    End,
    Frames,
    RecordReader,
    Turn,
    Who,
    numbered,
)
from somacast.errors import SomacastError
from somacast.network.transport.base import SENDER, TO_SENDER, Arrival, Clock, Ends, Lane, Limits, check_lane


class FileReceiver(Ends):
    """Plays a .soma video of any length, counted from the first call. Damage ends it: `notice` says so."""

    header_bytes = 2

    def __init__(self, path: Path, limits: Limits | None = None, clock: Clock = time.monotonic) -> None:
        super().__init__(TO_SENDER, limits or Limits(), clock)
        self.address = str(path)
        try:
            data = path.read_bytes()
        except OSError as fault:
            raise SomacastError(f"{path}: cannot be read ({(fault.strerror or str(fault)).lower()})") from fault
        self._clock = clock
        self._coming = self._timed(RecordReader(data))
        self._next = next(self._coming, None)
        self._start_s: float | None = None

    def _timed(self, reader: RecordReader) -> Iterator[tuple[float, bytes, tuple[float, ...]]]:
        """When each packet is due in seconds, the packet, and the times of its frames."""
        number, people, sequence, now_s = 0, {}, 0, 0.0

        def packet(body) -> bytes:
            nonlocal sequence
            sequence += 1
            return pack_packet(LivePacket(sequence % TICK_SPAN, 0, body), reader.digest, MAX_RECORD_BYTES)

        try:
            for record in reader:
                if isinstance(record, Frames):
                    times_s = tuple(time_us / US_PER_S for time_us in record.times_us)
                    now_s = times_s[-1]
                    yield now_s, packet(numbered(record, number)), times_s
                elif isinstance(record, Who):
                    people[record.number] = record.container
                    yield now_s, packet(Person(record.number % 256, 0, record.container)), ()
                elif isinstance(record, Turn):
                    number = record.number
                    if number in people:
                        yield now_s, packet(Person(number % 256, 0, people[number])), ()
                elif isinstance(record, Absent):
                    now_s = max(now_s, record.end_us / US_PER_S)
                elif isinstance(record, End):
                    now_s = max(now_s, record.time_us / US_PER_S)
        except SomacastError as fault:
            self._notice = str(fault)

    @property
    def finished(self) -> bool:
        """Whether all has been played."""
        return self._next is None

    def send(self, lane: Lane, data: bytes) -> bool:
        """Nobody listens."""
        check_lane(lane, self.sends)
        return False

    def receive(self, timeout_s: float = 0.0) -> Arrival | None:
        """See Transport."""
        now = self._clock()
        self._start_s = now if self._start_s is None else self._start_s
        if self._next is None:
            time.sleep(timeout_s)
            return None
        wait = self._start_s + self._next[0] - now
        if wait > timeout_s:
            time.sleep(timeout_s)
            return None
        if wait > 0:
            time.sleep(wait)
        (_, data, times_s), self._next = self._next, next(self._coming, None)
        self.statistics.received += 1
        self.statistics.received_bytes += len(data)
        return Arrival(Lane.LIVE, data, self._clock(), SENDER, times_s)

    def peers(self) -> int:
        """See Transport."""
        return 1
