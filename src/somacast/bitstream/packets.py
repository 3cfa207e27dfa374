"""Packets of a live stream: what each datagram says, and nothing of what it means. The layout stands in FORMAT.md.

version, kind | sequence | epoch | body | check

The check covers the digest of the weights too, which is not sent: packets made for other weights look damaged.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import google_crc32c

from somacast.bitstream.container import DIGEST_BYTES
from somacast.errors import BitstreamError, SomacastError

VERSION = 1
MAX_PACKET_BYTES = 1200  # fits every link's datagrams
MAX_PERSON_BYTES = 16_384  # of a packet on a reliable channel or in a file
MAX_FRAMES, MAX_COPIES = 64, 16
TICKS_PER_S = 120  # divides the usual frame rates
TICK_SPAN = 1 << 16  # ticks and sequence numbers wrap here
MAX_LOOK_BYTES = MAX_PERSON_BYTES  # of the container that its parts make
MAX_PARTS = 64
MOTION, PERSON, PICTURE, END, LOOK = 1, 2, 3, 4, 5
_HEAD = struct.Struct("<BHB")
_MOTION = struct.Struct("<BHBBBB")
_PART = struct.Struct("<BBB")
CRC_BYTES = 2


@dataclass(frozen=True)
class Motion:
    """Frames of motion at even times. person: number of the person packet that tells who moves so (0 .. 255); tick: of
    the first frame, in 1/120 s, modulo 65536; step: ticks between frames (1 .. 255); count: frames (1 .. 64); state:
    network state; activity 0 .. 7 and velocity 0 .. 3 of the coder; reference: tick of the frame that the first one is
    predicted from, None if it stands for itself; copies: ticks from each copy of an earlier frame to the first frame,
    rising in even steps."""

    person: int
    tick: int
    step: int
    count: int
    state: int
    activity: int
    velocity: int
    payload: bytes
    reference: int | None = None
    copies: tuple[int, ...] = ()


@dataclass(frozen=True)
class Person:
    """Who somebody is: a whole .soma container (of a moment at `tick`), under a number 0 .. 255."""

    person: int
    tick: int
    container: bytes = field(repr=False)


@dataclass(frozen=True)
class Picture:
    """A part of the sender's picture (JPEG): number of the picture, number and count of its parts."""

    picture: int
    part: int
    parts: int
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class Look:
    """A part of a person packet that is too long for one datagram: a whole .soma container of who somebody is, in the
    pose and with the picture of one moment. Number of the look, number and count of its parts."""

    look: int
    part: int
    parts: int
    data: bytes = field(repr=False)


@dataclass(frozen=True)
class End:
    """The sender stops on purpose."""


Body = Motion | Person | Picture | Look | End


@dataclass(frozen=True)
class LivePacket:
    """sequence: 0 .. 65535, one more each time; epoch: 0 .. 255, drawn anew whenever a sender starts."""

    sequence: int
    epoch: int
    body: Body


def pack_packet(packet: LivePacket, digest: bytes, most_bytes: int = MAX_PACKET_BYTES) -> bytes:
    """The bytes of a packet; digest: three bytes that name the weights; most_bytes: that one may have beside those of a
    person. SomacastError if a field is out of range."""
    body = packet.body
    kind, content = _write_body(body)
    limit = MAX_PERSON_BYTES if isinstance(body, Person) else most_bytes
    try:
        head = _HEAD.pack(VERSION << 4 | kind, packet.sequence, packet.epoch)
    except struct.error as fault:
        raise SomacastError(f"packet: a number is out of range ({fault})") from None
    out = head + content
    if len(out) + CRC_BYTES > limit:
        raise SomacastError(f"packet: expected at most {limit} bytes, got {len(out) + CRC_BYTES}")
    return out + _check(out, digest)


def _write_body(body: Body) -> tuple[int, bytes]:
    try:
        if isinstance(body, Motion):
            return MOTION, _write_motion(body)
        if isinstance(body, Person):
            return PERSON, struct.pack("<BH", body.person, body.tick) + body.container
        if isinstance(body, Picture | Look):
            if not 0 <= body.part < body.parts <= MAX_PARTS:
                raise SomacastError(f"packet: expected a part below its count, {MAX_PARTS} at most, got {body}")
            kind, number = (PICTURE, body.picture) if isinstance(body, Picture) else (LOOK, body.look)
            return kind, _PART.pack(number, body.part, body.parts) + body.data
        return END, b""
    except struct.error as fault:
        raise SomacastError(f"packet: a number is out of range ({fault})") from None


def _write_motion(m: Motion) -> bytes:
    fits = 1 <= m.count <= MAX_FRAMES and m.step >= 1 and 0 <= m.activity < 8 and 0 <= m.velocity < 4
    if not fits or len(m.copies) > MAX_COPIES:
        raise SomacastError(f"motion packet: a number is out of range in {m}")
    mode = m.activity << 5 | m.velocity << 3 | (m.reference is not None) << 2 | bool(m.copies) << 1
    out = _MOTION.pack(m.person, m.tick, m.count, m.step, m.state, mode)
    if m.reference is not None:
        out += struct.pack("<H", m.reference)
    copies = list(m.copies)
    if copies:
        step = copies[1] - copies[0] if len(copies) > 1 else 1
        if copies != [copies[0] + step * k for k in range(len(copies))] or step < 1:
            raise SomacastError(f"motion packet: expected copies in even steps, got {m.copies}")
        out += struct.pack("<BBB", len(copies), copies[0], step)
    return out + m.payload


def unpack_packet(data: bytes, digest: bytes) -> LivePacket:
    """Inverse of `pack_packet`; BitstreamError for everything that is not whole, ours and in range."""
    data = bytes(data)
    if len(data) < _HEAD.size + CRC_BYTES:
        raise BitstreamError(f"live packet: expected at least {_HEAD.size + CRC_BYTES} bytes, got {len(data)}")
    if len(data) > MAX_PERSON_BYTES:
        raise BitstreamError(f"live packet: expected at most {MAX_PERSON_BYTES} bytes, got {len(data)}")
    first, sequence, epoch = _HEAD.unpack_from(data)
    if first >> 4 != VERSION:
        raise BitstreamError(f"live packet: expected version {VERSION}, got {first >> 4}")
    if _check(data[:-CRC_BYTES], digest) != data[-CRC_BYTES:]:
        raise BitstreamError("live packet: damaged, or made for other weights")
    return LivePacket(sequence, epoch, _read_body(first & 15, data[_HEAD.size : -CRC_BYTES]))


def _read_body(kind: int, body: bytes) -> Body:
    try:
        if kind == MOTION:
            return _read_motion(body)
        if kind == PERSON:
            person, tick = struct.unpack_from("<BH", body)
            return Person(person, tick, body[3:])
        if kind in (PICTURE, LOOK):
            number, part, parts = _PART.unpack_from(body)
            if not part < parts <= MAX_PARTS:
                raise BitstreamError(f"live packet: kind {kind} with part {part} of {parts}, at most {MAX_PARTS}")
            return (Picture if kind == PICTURE else Look)(number, part, parts, body[_PART.size :])
    except struct.error:
        raise BitstreamError(f"live packet: kind {kind} is cut after {len(body)} bytes") from None
    if kind != END or body:
        raise BitstreamError(f"live packet: unknown kind {kind} or bytes behind its end")
    return End()


def _read_motion(body: bytes) -> Motion:
    person, tick, count, step, state, mode = _MOTION.unpack_from(body)
    at, reference = _MOTION.size, None
    copies: tuple[int, ...] = ()
    if mode & 1 or not 1 <= count <= MAX_FRAMES or not step:
        raise BitstreamError("motion packet: a number is out of range")
    if mode & 4:
        (reference,) = struct.unpack_from("<H", body, at)
        at += 2
    if mode & 2:
        number, first, gap = struct.unpack_from("<BBB", body, at)
        at += 3
        if not 1 <= number <= MAX_COPIES or not first or not gap or (number == 1 and gap != 1):
            raise BitstreamError("motion packet: a number of its copies is out of range")
        copies = tuple(first + gap * k for k in range(number))
    return Motion(person, tick, step, count, state, mode >> 5, mode >> 3 & 3, body[at:], reference, copies)


def _check(data: bytes, digest: bytes) -> bytes:
    if len(digest) != DIGEST_BYTES:
        raise SomacastError(f"weights digest: expected {DIGEST_BYTES} bytes, got {len(digest)}")
    return google_crc32c.value(digest + data).to_bytes(4, "little")[:CRC_BYTES]


class Unwrapper:
    """Numbers that wrap at 65536 to numbers that go on: each is taken to be the nearest to the newest one.

    One that lies more than `limit` away is not believed (None), so that a single forged number cannot carry the count
    off; several in a row that lie close to each other are a new beginning, where the caller lets one be.
    """

    _CONFIRM = 4

    def __init__(self, limit: int = 2048) -> None:
        self.newest: int | None = None
        self.last: int | None = None  # what the last call gave
        self.limit = limit
        self._strange: list[int] = []

    def __call__(self, wrapped: int, may_jump: bool = True) -> int | None:
        self.last = self._unwrap(wrapped, may_jump)
        return self.last

    def _unwrap(self, wrapped: int, may_jump: bool) -> int | None:
        if self.newest is None:
            self.newest = wrapped
            return wrapped
        half = TICK_SPAN // 2
        value = self.newest + (wrapped - self.newest + half) % TICK_SPAN - half
        if abs(value - self.newest) > self.limit:
            if self._strange and abs(value - self._strange[-1]) > self.limit:
                self._strange = []
            self._strange = [*self._strange[-self._CONFIRM :], value]
            if len(self._strange) < self._CONFIRM or not may_jump:
                return None
            self.newest = value
        self._strange = []
        self.newest = max(self.newest, value)
        return value
