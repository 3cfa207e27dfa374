"""Video in a .soma file: who it is, what moves and exactly when, and when nobody is there; see FORMAT.md, section 10.

magic | version 5 | system | digest | [name] | records: length, kind, content, check | ...

Records are written as things happen, and a file that ends anywhere holds all records before. Files of version 3, which
are live packets one after the other, are read into the same records.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise

import google_crc32c

from somacast.bitstream.container import DIGEST_BYTES, MAGIC, varint
from somacast.bitstream.packets import (
    CRC_BYTES,
    MAX_FRAMES,
    MAX_PERSON_BYTES,
    TICK_SPAN,
    TICKS_PER_S,
    Motion,
    Person,
    unpack_packet,
)
from somacast.bitstream.systems import read_system, system_bytes
from somacast.errors import BitstreamError, SomacastError

VIDEO_VERSION, PACKETS_VERSION = 5, 3
HEAD_BYTES = len(MAGIC) + 2 + DIGEST_BYTES
MAX_RECORD_BYTES = MAX_PERSON_BYTES + 16
US_PER_S = 1_000_000
EVEN_US = 1000  # frames that lie this near to even times are said to lie there
UNEVEN_US = 250  # unit of how far uneven ones lie from there
_FRAMES, _WHO, _ABSENT, _TURN, _END = 1, 2, 3, 4, 5
_UNEVEN, _REFERENCE = 2, 4  # bits of the mode
_VARINT_BYTES = 7  # of 49 bits: microseconds of 17 years


@dataclass(frozen=True)
class Frames:
    """Frames of whoever moves. times_us: of each, rising, microseconds since the first frame of the film; motion: how
    they move, `motion.tick` and `motion.reference` counting on in a way that has nothing to do with time; tick: that of
    the first frame, unwrapped."""

    times_us: tuple[int, ...]
    motion: Motion = field(repr=False)
    tick: int


@dataclass(frozen=True)
class Who:
    """Who `number` is (0, 1, ... in the order of their first coming): a whole .soma file of a still. The last one that
    a video holds of a number is the best."""

    number: int
    container: bytes = field(repr=False)


@dataclass(frozen=True)
class Absent:
    """Nobody is to be seen from start_us to end_us."""

    start_us: int
    end_us: int


@dataclass(frozen=True)
class Turn:
    """All frames from here on are of `number`."""

    number: int


@dataclass(frozen=True)
class End:
    """The film ends here, one frame's time behind its last frame."""

    time_us: int


Record = Frames | Who | Absent | Turn | End


def is_video(data: bytes) -> bool:
    """Whether these first bytes (three are enough) are of a .soma file that holds video."""
    return data[:2] == MAGIC and len(data) > 2 and data[2] in (VIDEO_VERSION << 4, PACKETS_VERSION << 4)


def video_head(system: str, digest: bytes) -> bytes:
    """The start of a file; digest: three bytes that name the weights of the motion."""
    number, name = system_bytes(system)
    return MAGIC + bytes([VIDEO_VERSION << 4, number]) + digest + name


def _read_head(data: bytes) -> tuple[str, bytes, int]:
    """System, digest, and where the records begin; BitstreamError for what holds no video."""
    if not is_video(data):
        raise BitstreamError("this is no .soma video: expected one that `somacast encode` made of a video")
    if len(data) < HEAD_BYTES:
        raise BitstreamError(f"cut .soma video: {len(data)} bytes, the header alone has {HEAD_BYTES}")
    name, end = read_system(data[3], data[: HEAD_BYTES + 64], HEAD_BYTES)
    return name, data[4:HEAD_BYTES], end


class RecordWriter:
    """Records to bytes, one after the other; digest: as in the head. Times and ticks of a record are told from those of
    the one before."""

    def __init__(self, digest: bytes):
        self._digest = digest
        self._clock_us = 0

    def record(self, record: Record) -> bytes:
        """The bytes of the next record. SomacastError for one that cannot follow, or is too long."""
        kind, content = self._content(record)
        body = bytes([kind]) + content
        body += _check(body, self._digest)
        if len(body) > MAX_RECORD_BYTES:
            raise SomacastError(f"video: expected a record of at most {MAX_RECORD_BYTES} bytes, got {len(body)}")
        return varint(len(body)) + body

    def _content(self, record: Record) -> tuple[int, bytes]:
        if isinstance(record, Frames):
            return _FRAMES, self._frames(record)
        if isinstance(record, Who):
            return _WHO, varint(record.number) + record.container
        if isinstance(record, Turn):
            return _TURN, varint(record.number)
        if isinstance(record, End):
            return _END, self._since(record.time_us)
        if record.end_us < record.start_us:
            raise SomacastError("video: expected an absence that ends behind its start")
        return _ABSENT, self._since(record.start_us) + self._since(record.end_us)

    def _since(self, time_us: int) -> bytes:
        """Microseconds since what the record before told."""
        step, self._clock_us = time_us - self._clock_us, time_us
        if step < 0:
            raise SomacastError(f"video: expected times that rise, got {time_us} us {-step} us too late")
        return varint(step)

    def _frames(self, record: Frames) -> bytes:
        times, motion, count = record.times_us, record.motion, len(record.times_us)
        if not count == motion.count or motion.copies or any(b <= a for a, b in pairwise(times)):
            raise SomacastError("video: expected frames at rising times without copies")
        mode = motion.activity << 5 | motion.velocity << 3
        gap = b""
        if motion.reference is not None:
            mode |= _REFERENCE
            gap = varint((motion.tick - motion.reference) % TICK_SPAN)
        when = self._since(times[0])
        if count > 1:
            when += self._since(times[-1])
            off = _off_even(times)
            if off:
                mode |= _UNEVEN
                when += b"".join(varint(value << 1 if value >= 0 else -value << 1 | 1) for value in off)
        return bytes([count, motion.step, motion.state, mode]) + gap + when + motion.payload


def _even(span_us: int, count: int) -> list[int]:
    """Even times of `count` frames over a span that begins at 0."""
    gaps = max(count - 1, 1)
    return [(2 * k * span_us + gaps) // (2 * gaps) for k in range(count)]


def _off_even(times_us: Sequence[int]) -> list[int]:
    """How far the frames between the first and the last lie from even times in units of UNEVEN_US; none: nowhere."""
    even = _even(times_us[-1] - times_us[0], len(times_us))
    off = [time - times_us[0] - place for time, place in zip(times_us, even, strict=True)][1:-1]
    if all(abs(value) <= EVEN_US for value in off) or not off:
        return []
    return [(2 * value + UNEVEN_US) // (2 * UNEVEN_US) for value in off]


def _times(start_us: int, span_us: int, count: int, off: Sequence[int]) -> tuple[int, ...]:
    even = _even(span_us, count)
    for place, value in enumerate(off, 1):
        even[place] += UNEVEN_US * value
    for place in range(1, count - 1):  # rounding may bring frames together
        even[place] = max(even[place], even[place - 1] + 1)
    for place in range(count - 2, 0, -1):
        even[place] = min(even[place], even[place + 1] - 1)
    return tuple(start_us + time for time in even)


class RecordReader:
    """The records of a file in order. data: the file, or anything that is sliced like bytes.

    `used`: bytes of the head and of records that were read; behind all records, `cut` says whether bytes are left over,
    which happens where a file was cut or is still being written.
    """

    def __init__(self, data: bytes):
        self.system, self.digest, self.used = _read_head(data)
        self._data, self._packets = data, data[2] == PACKETS_VERSION << 4
        self._clock_us, self._tick, self._newest_us = 0, -1, -1
        self._first_tick: int | None = None

    @property
    def cut(self) -> bool:
        return self.used < len(self._data)

    @property
    def version(self) -> int:
        return PACKETS_VERSION if self._packets else VIDEO_VERSION

    def __iter__(self) -> Iterator[Record]:
        for record, _ in self.with_bytes():
            yield record

    def with_bytes(self) -> Iterator[tuple[Record, bytes]]:
        """Records, and how they stand in the file. Ends before one that is cut; BitstreamError for what is damaged."""
        while (place := self._next()) is not None:
            start, end = place
            body = self._data[start:end]
            record = self._packet(body) if self._packets else self._record(body)
            whole, self.used = self._data[self.used : end], end
            if record is not None:
                yield record, whole

    def _next(self) -> tuple[int, int] | None:
        """Where the next record begins behind its length and ends; None if it is not whole."""
        head = self._data[self.used : self.used + 3]
        if self._packets:
            if len(head) < 2:
                return None
            length, start = int.from_bytes(head[:2], "little"), self.used + 2
        else:
            if not head or (head[-1] >= 0x80 and len(head) < 3):
                return None
            length, width = read_varint(head, 0)
            start = self.used + width
            if not length and not any(self._data[self.used :]):  # a machine that went down leaves zeros
                return None
        if not 1 <= length <= MAX_RECORD_BYTES:
            raise BitstreamError(f"damaged .soma video: a record of {length} bytes at byte {self.used}")
        return (start, start + length) if start + length <= len(self._data) else None

    def _packet(self, data: bytes) -> Record | None:
        """A packet of version 3: times are ticks, which only go on."""
        body = unpack_packet(data, self.digest).body
        if isinstance(body, Person):
            return Who(0, body.container)
        if not isinstance(body, Motion):
            return None
        if self._first_tick is None:
            self._first_tick = self._tick = body.tick
        else:
            self._tick += (body.tick - self._tick) % TICK_SPAN
        first = self._tick - self._first_tick
        self._tick += (body.count - 1) * body.step
        ticks = [first + k * body.step for k in range(body.count)]
        times = tuple((2 * tick * US_PER_S + TICKS_PER_S) // (2 * TICKS_PER_S) for tick in ticks)
        if times[0] <= self._newest_us:
            raise BitstreamError("damaged .soma video: frames that come again")
        self._newest_us = times[-1]
        return Frames(times, body, self._first_tick + first)

    def _record(self, body: bytes) -> Record:
        if len(body) <= CRC_BYTES or _check(body[:-CRC_BYTES], self.digest) != body[-CRC_BYTES:]:
            raise BitstreamError(f"damaged .soma video: the record at byte {self.used} does not match its check")
        kind, content = body[0], body[1:-CRC_BYTES]
        if kind == _FRAMES:
            return self._frames(content)
        if kind == _WHO:
            number, at = read_varint(content, 0)
            return Who(number, content[at:])
        if kind > _END or not kind:
            raise BitstreamError(f"the .soma video has records of kind {kind}, which this reader does not know")
        first, at = read_varint(content, 0)
        if kind == _ABSENT:
            span, at = read_varint(content, at)
        if at != len(content):
            raise BitstreamError(f"damaged .soma video: bytes behind the end of a record at byte {self.used}")
        if kind == _TURN:
            return Turn(first)
        self._clock_us += first
        if kind == _END:
            return End(self._clock_us)
        self._clock_us += span
        return Absent(self._clock_us - span, self._clock_us)

    def _frames(self, content: bytes) -> Frames:
        if len(content) < 5:
            raise BitstreamError("damaged .soma video: a record of frames is cut")
        count, step, state, mode = content[:4]
        gap, at = read_varint(content, 4) if mode & _REFERENCE else (step, 4)
        start, at = read_varint(content, at)
        span, at = read_varint(content, at) if count > 1 else (0, at)
        off = []
        for _ in range(count - 2 if mode & _UNEVEN else 0):
            value, at = read_varint(content, at)
            off.append(-(value >> 1) if value & 1 else value >> 1)
        if not 1 <= count <= MAX_FRAMES or not step or mode & 1 or not 1 <= gap < TICK_SPAN // 2 or span < count - 1:
            raise BitstreamError("damaged .soma video: a number of a record of frames is out of range")
        times = _times(self._clock_us + start, span, count, off)
        if times[0] <= self._newest_us or any(b <= a for a, b in pairwise(times)):
            raise BitstreamError("damaged .soma video: expected times of frames that rise")
        tick = self._tick + gap
        reference = self._tick % TICK_SPAN if mode & _REFERENCE else None
        self._clock_us = self._newest_us = times[-1]
        self._tick = tick + (count - 1) * step
        made = Motion(
            0, tick % TICK_SPAN, step, count, state, mode >> 5, mode >> 3 & 3, content[at:], reference
        )  # fmt: skip
        return Frames(times, made, tick)


def best_people(data: bytes) -> Iterator[bytes]:
    """The bytes of a video of version 5 without what was told of a person before it was known best: head, then records,
    each person's best word where the first one stood."""
    best = {record.number: whole for record, whole in RecordReader(data).with_bytes() if isinstance(record, Who)}
    reader = RecordReader(data)
    yield data[: reader.used]
    for record, whole in reader.with_bytes():
        if not isinstance(record, Who):
            yield whole
        elif record.number in best:
            yield best.pop(record.number)


def numbered(record: Frames, number: int) -> Motion:
    """The motion of a record as a live packet has it: with the number (0 .. 255) of who moves."""
    return replace(record.motion, person=number % 256)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """A number in its shortest form, and the position behind it; BitstreamError otherwise."""
    value = 0
    for place in range(_VARINT_BYTES):
        byte = data[at + place] if at + place < len(data) else 0x80
        value |= (byte & 0x7F) << 7 * place
        if byte < 0x80 and (byte or not place):
            return value, at + place + 1
        if byte < 0x80:
            break
    raise BitstreamError("damaged .soma video: a number in it is none")


def _check(body: bytes, digest: bytes) -> bytes:
    return google_crc32c.value(digest + body).to_bytes(4, "little")[:CRC_BYTES]
