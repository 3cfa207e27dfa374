"""Datagrams of the UDP transport: what they look like, how replays are told apart, how long messages travel in parts.

    byte 0       version << 4 | kind
    bytes 1-4    session: the first bytes of the initiator's public key
    then         HELLO, REPLY: a message of the handshake (`noise`), 48 bytes
    or           counter, 5 bytes: of all datagrams of one direction of the session, from 0; the nonce
                 body, encrypted; tag of 16 bytes over all of it (ChaCha20-Poly1305, RFC 8439)

Each session has a key of its own in each direction, so a nonce never comes twice under one key, and a datagram means
nothing in another room, sent back, or to an end that has started anew.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from enum import IntEnum

from somacast.network.transport.udp.noise import MESSAGE_BYTES, TAG_BYTES, ReceivingKey, SendingKey

VERSION = 2
SESSION_BYTES, COUNTER_BYTES = 4, 5
START_BYTES = 1 + SESSION_BYTES
HEAD_BYTES = START_BYTES + COUNTER_BYTES
FRAME_BYTES = HEAD_BYTES + TAG_BYTES  # added to each message
HANDSHAKE_BYTES = START_BYTES + MESSAGE_BYTES
MAX_COUNTER = (1 << 8 * COUNTER_BYTES) - 1  # 87 years at 400 a second
WINDOW = 1024  # datagrams by which one may be overtaken
PART_BYTES = 1200  # of a message that is split
MAX_PARTS = 32
_OLD_BYTES = 30  # version 1, the shortest
_QUIC_BYTES = 1200  # of its first datagrams, at least
_PART, _ACK = struct.Struct(">HBB"), struct.Struct(">HI")
PART_HEAD_BYTES = _PART.size


class Kind(IntEnum):
    """What a datagram says. LIVE, IDENTITY go from a sender, CONTROL, ACK to it; the others either way."""

    LIVE = 0
    IDENTITY = 1  # number, index, count, part
    CONTROL = 2
    ACK = 3  # number, bits of the parts that are there
    HELLO = 4  # first message of the handshake
    REPLY = 5  # second message of the handshake
    PING = 6  # name of a receiver, or nothing
    BYE = 7


HANDSHAKE = frozenset((Kind.HELLO, Kind.REPLY))


def look(datagram: bytes) -> tuple[Kind, bytes] | None:
    """Kind and session as a datagram states them, not yet to be believed; None for other bytes."""
    if not datagram or datagram[0] >> 4 != VERSION or datagram[0] & 15 > max(Kind):
        return None
    kind = Kind(datagram[0] & 15)
    fits = len(datagram) == HANDSHAKE_BYTES if kind in HANDSHAKE else len(datagram) >= FRAME_BYTES
    return (kind, datagram[1:START_BYTES]) if fits else None


def stranger(datagram: bytes) -> str:
    """What bytes that `look` does not understand tell of whoever sent them, as the end of a sentence; "": nothing."""
    if len(datagram) >= _OLD_BYTES and datagram[0] >> 4 == 1 and datagram[0] & 15 <= 7:
        return "sends what a Somacast before wire version 2 sends; expected version 2 there"
    if len(datagram) >= _QUIC_BYTES and datagram[0] >> 6 == 3:
        return "speaks QUIC, as zenoh:HOST:PORT does; expected the same transport at both ends"
    return ""


def greet(kind: Kind, session: bytes, message: bytes) -> bytes:
    """The datagram of one message of a handshake."""
    return bytes([VERSION << 4 | kind]) + session + message


def greeting(datagram: bytes) -> bytes:
    """The message of a handshake in a datagram that `look` has understood."""
    return datagram[START_BYTES:]


def seal(key: SendingKey, kind: Kind, session: bytes, counter: int, body: bytes) -> bytes:
    """A datagram; counter: 0 to MAX_COUNTER, each once in a session and rising."""
    head = bytes([VERSION << 4 | kind]) + session + counter.to_bytes(COUNTER_BYTES)
    return head + key.seal(counter, body, head)


def unseal(key: ReceivingKey, datagram: bytes) -> tuple[int, bytes] | None:
    """Counter and body of a datagram that `look` has understood; None if it was not sealed in the same session."""
    counter = int.from_bytes(datagram[START_BYTES:HEAD_BYTES])
    body = key.open(counter, datagram[HEAD_BYTES:], datagram[:HEAD_BYTES])
    return None if body is None else (counter, body)


class Window:
    """Which counters of a session have come; those further back than WINDOW count as come (RFC 4303, 3.4.3)."""

    __slots__ = ("_bits", "highest")

    def __init__(self) -> None:
        self.highest, self._bits = -1, 0

    def take(self, counter: int) -> bool:
        """Whether a counter comes for the first time."""
        ahead = counter - self.highest
        if ahead > 0:
            self._bits = (self._bits << min(ahead, WINDOW) | 1) & ((1 << WINDOW) - 1)
            self.highest = counter
            return True
        if -ahead >= WINDOW or self._bits >> -ahead & 1:
            return False
        self._bits |= 1 << -ahead
        return True


def split(number: int, data: bytes, part_bytes: int = PART_BYTES) -> list[bytes] | None:
    """The bodies in which message `number` (modulo 65,536) travels, at least one; None if it is too long."""
    count = max(-(-len(data) // part_bytes), 1)
    if count > MAX_PARTS:
        return None
    pieces = (data[k * part_bytes : (k + 1) * part_bytes] for k in range(count))
    return [_PART.pack(number & 0xFFFF, k, count) + piece for k, piece in enumerate(pieces)]


def read_ack(body: bytes) -> tuple[int, int] | None:
    """Number of a message and bits of its parts that are there."""
    return _ACK.unpack(body) if len(body) == _ACK.size else None


@dataclass
class Assembly:
    """Parts of one message at a time, the newest; holds at most MAX_PARTS parts of PART_BYTES."""

    number: int | None = None
    count: int = 0
    parts: dict[int, bytes] = field(default_factory=dict)

    def take(self, body: bytes) -> tuple[bytes | None, bytes | None]:
        """What to answer to a part, and the message if it is now complete for the first time; None: nothing."""
        if len(body) < _PART.size or len(body) > _PART.size + PART_BYTES:
            return None, None
        number, index, count = _PART.unpack_from(body)
        if not index < count <= MAX_PARTS:
            return None, None
        newer = True if self.number is None else 0 < (number - self.number) & 0xFFFF < 0x8000
        if newer:
            self.number, self.count, self.parts = number, count, {}
        elif number != self.number or count != self.count:
            return None, None
        fresh = index not in self.parts
        self.parts.setdefault(index, body[_PART.size :])
        ack = _ACK.pack(number, sum(1 << k for k in self.parts))
        whole = fresh and len(self.parts) == count
        message = b"".join(self.parts[k] for k in range(count)) if whole else None
        if whole:
            self.parts = dict.fromkeys(range(count), b"")
        return ack, message
