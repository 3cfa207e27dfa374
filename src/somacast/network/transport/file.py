"""A file as a transport: what a sender says is kept, and played to a receiver at the pace at which it was sent.

sender -> PATH.part -> PATH (.soma video, whole or not there) -> receiver
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from somacast.bitstream.packets import TICK_SPAN, TICKS_PER_S, Motion, Unwrapper, unpack_packet
from somacast.bitstream.video import read_head, read_records, record
from somacast.errors import BitstreamError, SomacastError
from somacast.files import check_output_path
from somacast.network.transport.base import (
    SENDER,
    TO_RECEIVERS,
    TO_SENDER,
    Arrival,
    Clock,
    Ends,
    Lane,
    Limits,
    check_lane,
)

MAX_FILE_BYTES = 64 << 20


class FileSender(Ends):
    """Writes all that is sent into a .soma video; head: its start (`bitstream.video.video_head`). Nobody
    answers."""

    header_bytes = 2

    def __init__(self, path: Path, head: bytes, limits: Limits | None = None) -> None:
        super().__init__(TO_RECEIVERS, limits or Limits())
        self.path = check_output_path(path)
        self.address = str(path)
        self._part = self.path.with_name(self.path.name + ".part")
        self._file = self._part.open("wb")
        self._size = self._file.write(head)

    def send(self, lane: Lane, data: bytes) -> bool:
        """See Transport; False once the file is as large as files may be."""
        if not self._fits(lane, data):
            return False
        if self._file.closed or self._size + len(data) + 2 > MAX_FILE_BYTES:
            return self._refuse()
        self._size += self._file.write(record(data))
        return self._count(data)

    def peers(self) -> int:
        """See Transport."""
        return 0

    def close(self) -> None:
        """The file gets its name; without a packet nothing is left."""
        super().close()
        if self._file.closed:
            return
        self._file.close()
        if self.statistics.sent:
            self._part.replace(self.path)
        else:
            self._part.unlink(missing_ok=True)


class FileReceiver(Ends):
    """Plays a .soma video: each packet comes when its first frame was taken, counted from the first call."""

    header_bytes = 2

    def __init__(self, path: Path, limits: Limits | None = None, clock: Clock = time.monotonic) -> None:
        super().__init__(TO_SENDER, limits or Limits(), clock)
        self.address = str(path)
        try:
            with path.open("rb") as stream:
                data = stream.read(MAX_FILE_BYTES + 1)
        except OSError as fault:
            raise SomacastError(f"{path}: cannot be read ({(fault.strerror or str(fault)).lower()})") from fault
        if len(data) > MAX_FILE_BYTES:
            raise SomacastError(f"{path}: expected a .soma video of at most {MAX_FILE_BYTES} bytes, got more")
        self._clock = clock
        _, digest = read_head(data)
        self._packets = self._timed(data, digest)
        self._next = next(self._packets, None)
        self._start_s: float | None = None

    @staticmethod
    def _timed(data: bytes, digest: bytes) -> Iterator[tuple[float, bytes]]:
        """Packets with seconds since the first frame of the file; damaged ones are handed on as they are."""
        tick, first, now = Unwrapper(TICK_SPAN // 2), None, 0.0
        for packet in read_records(data):
            try:
                body = unpack_packet(packet, digest).body
            except BitstreamError:
                body = None
            if isinstance(body, Motion):
                start = tick(body.tick) or 0
                first = start if first is None else first
                # a packet was complete when its last frame was
                now = (start - first + (body.count - 1) * body.step) / TICKS_PER_S
            yield now, packet

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
        data, self._next = self._next[1], next(self._packets, None)
        self.statistics.received += 1
        self.statistics.received_bytes += len(data)
        return Arrival(Lane.LIVE, data, self._clock(), SENDER)

    def peers(self) -> int:
        """See Transport."""
        return 1
