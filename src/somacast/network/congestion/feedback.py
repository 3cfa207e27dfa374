"""Reports of a receiver about the datagrams that reach it: what the sender's rate control runs on.

    arrived(sequence, time_s, wire_bytes) ... -> report(time_s) -> control datagram -> parse_report -> FeedbackReport

    kind u8 | receiver's clock u32 | newest sequence u16 | bitmap u64 | count u8 | count x varint | CRC32C, low 16 bits

All little-endian. The clock counts 1/65536 s and wraps; bit k of the bitmap says that newest - k has arrived, so a lost
report hides nothing that matters. The varints are ages in ticks of the `count` newest sequences that are in the bitmap:
of the first from the report on (how long the receiver held it: a round trip on the sender's clock is its own time less
this), of the others from the one before, folded (0, -1, 1, -2, ...), since datagrams may overtake. Both clocks may
stand anywhere and run apart slowly: only differences are used. At most 64 bytes.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import google_crc32c

from somacast.checks import check_count, check_number
from somacast.errors import BitstreamError

KIND = 0xF1
TICKS_PER_S = 65536
CLOCK_SPAN = 1 << 32
SEQUENCES = 1 << 16
WINDOW = 64  # sequences that a report looks back on
MAX_REPORT_BYTES = 64
REPORT_WIRE_BYTES = 60  # about what one takes with its headers
FEEDBACK_SHARE = 0.05  # of the rate that arrives, for reports
MIN_INTERVAL_S, MAX_INTERVAL_S = 0.015, 0.15
IDLE_S = 0.4  # between reports while nothing comes
_HEAD = struct.Struct("<BIHQB")
_CRC_BYTES = 2
_KEPT = 0.75  # of the bytes and seconds before, at each report
_MAX_AGE = 1 << 23  # ticks, two minutes: older arrivals are told without their time
_AGAIN = 4  # arrivals told once more, in case the report before was lost
_STRAYS = 3  # old sequences that count up: the sender has begun anew


@dataclass(frozen=True)
class FeedbackReport:
    """clock_s: receiver's clock at the report, modulo 65536 s; arrived: sequences 0 .. 65535, newest first, at most 64
    (none before the first arrival); ages_s: seconds from the arrival of each of the first len(ages_s) of them to the
    report, 0 .. 128."""

    clock_s: float
    arrived: tuple[int, ...]
    ages_s: tuple[float, ...]

    @property
    def newest(self) -> int | None:
        """The newest sequence that has arrived."""
        return self.arrived[0] if self.arrived else None


class FeedbackRecorder:
    """The receiver's side. Times are seconds >= 0 of one clock; copies, reordering and replays change nothing."""

    def __init__(self) -> None:
        self.arrivals = 0  # different datagrams
        self._newest: int | None = None
        self._times: dict[int, int] = {}  # of the last WINDOW sequences: ticks of the first arrival
        self._fresh = 0  # arrivals since the last report
        self._fresh_bytes = 0
        self._strays, self._stray = 0, 0
        self._rate = (0.0, 0.0)  # bytes, seconds, falling with every report
        self._reported_s = -1e9
        self._wait_s = MIN_INTERVAL_S

    def arrived(self, sequence: int, time_s: float, wire_bytes: int) -> bool:
        """Count a datagram of wire_bytes (headers included) in; False for a copy and for one too old to tell.

        SomacastError for a sequence out of 0 .. 65535, a time below 0, bytes below 0.
        """
        sequence = check_count("sequence", sequence, 0, SEQUENCES - 1)
        ticks = round(check_number("time_s", time_s) * TICKS_PER_S)
        size = check_count("wire_bytes", wire_bytes)
        ahead = 1 if self._newest is None else (sequence - self._newest + SEQUENCES // 2) % SEQUENCES - SEQUENCES // 2
        if ahead <= -WINDOW:
            onward = self._strays and (sequence - self._stray) % SEQUENCES in range(1, WINDOW)
            self._strays, self._stray = (self._strays + 1 if onward else 1), sequence
            if self._strays < _STRAYS:
                return False
            self._times, ahead = {}, 1
        elif sequence in self._times:
            return False
        self._strays = 0
        if ahead > 0:
            self._newest = sequence
            if ahead >= WINDOW:
                self._times = {}
            self._times = {s: t for s, t in self._times.items() if (sequence - s) % SEQUENCES < WINDOW}
        self._times[sequence] = ticks
        self.arrivals += 1
        self._fresh += 1
        self._fresh_bytes += size
        return True

    @property
    def next_s(self) -> float:
        """When the next report is due: reports take a twentieth of the rate that arrives, every 15 to 150 ms; while
        nothing arrives ever fewer, down to one in 0.4 s."""
        return self._reported_s + self._wait_s

    def due(self, time_s: float) -> bool:
        """Whether a report should go out now."""
        return time_s >= self.next_s

    def report(self, time_s: float) -> bytes:
        """The control datagram to send now, at most 64 bytes."""
        now = round(check_number("time_s", time_s) * TICKS_PER_S)
        self._pace(time_s)
        back = sorted(((self._newest or 0) - s) % SEQUENCES for s in self._times)
        out, count, before = b"", 0, now
        for place, distance in enumerate(back[: max(2 * self._fresh, _AGAIN)]):
            ticks = self._times[((self._newest or 0) - distance) % SEQUENCES]
            step = max(before - ticks, 0) if place == 0 else before - ticks
            part = _varint(step if place == 0 else _fold(step))
            if not 0 <= now - ticks < _MAX_AGE or len(out) + len(part) > MAX_REPORT_BYTES - _HEAD.size - _CRC_BYTES:
                break
            out, count, before = out + part, count + 1, ticks
        self._fresh = self._fresh_bytes = 0
        bitmap = sum(1 << distance for distance in back)
        out = _HEAD.pack(KIND, now % CLOCK_SPAN, self._newest or 0, bitmap, count) + out
        return out + _check(out)

    def _pace(self, time_s: float) -> None:
        spent, self._reported_s = max(time_s - self._reported_s, 0.0), time_s
        if self._fresh:
            size, span = self._rate
            self._rate = _KEPT * size + self._fresh_bytes, min(_KEPT * span + spent, IDLE_S)
            wait = REPORT_WIRE_BYTES / FEEDBACK_SHARE * self._rate[1] / max(self._rate[0], 1.0)
            self._wait_s = min(max(wait, MIN_INTERVAL_S), MAX_INTERVAL_S)
        else:  # silence after traffic is news: the first reports of it come as fast as before
            self._wait_s = min(1.5 * self._wait_s, IDLE_S)


def parse_report(data: bytes) -> FeedbackReport:
    """Inverse of `FeedbackRecorder.report`; BitstreamError for everything that it could not have written."""
    data = bytes(data[: MAX_REPORT_BYTES + 1])
    least = _HEAD.size + _CRC_BYTES
    if not least <= len(data) <= MAX_REPORT_BYTES:
        raise BitstreamError(f"report: expected {least} to {MAX_REPORT_BYTES} bytes, got {len(data)}")
    kind, clock, newest, bitmap, count = _HEAD.unpack_from(data)
    if kind != KIND:
        raise BitstreamError(f"report: expected kind {KIND}, got {kind}")
    if data[-_CRC_BYTES:] != _check(data[:-_CRC_BYTES]):
        raise BitstreamError("report: the checksum is wrong: it is damaged")
    marked = bitmap.bit_count()
    if (bitmap and not bitmap & 1) or count > marked or (not bitmap and newest):
        raise BitstreamError(f"report: expected times for at most the newest {marked} that arrived, got {count}")
    position, age, ages = _HEAD.size, 0, []
    for place in range(count):
        value, position = _read_varint(data, position, len(data) - _CRC_BYTES)
        age += value if place == 0 else (value >> 1) ^ -(value & 1)
        if not 0 <= age < _MAX_AGE:
            raise BitstreamError(f"report: expected an age from 0 to {_MAX_AGE - 1} ticks, got {age}")
        ages.append(age / TICKS_PER_S)
    if position != len(data) - _CRC_BYTES:
        raise BitstreamError(f"report: {len(data) - _CRC_BYTES - position} bytes too many")
    arrived = tuple((newest - k) % SEQUENCES for k in range(WINDOW) if bitmap >> k & 1)
    return FeedbackReport(clock / TICKS_PER_S, arrived, tuple(ages))


def _fold(value: int) -> int:
    return 2 * value if value >= 0 else -2 * value - 1


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes(out) + bytes([value])


def _read_varint(data: bytes, position: int, end: int) -> tuple[int, int]:
    """Value and where it ends; at most four bytes, none of them idle."""
    value = 0
    for k in range(4):
        if position >= end:
            raise BitstreamError("report: it ends within a number")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << 7 * k
        if byte < 0x80:
            if k and not byte:
                break
            return value, position
    raise BitstreamError("report: a number is longer than it may be")


def _check(data: bytes) -> bytes:
    return struct.pack("<H", google_crc32c.value(data) & 0xFFFF)
