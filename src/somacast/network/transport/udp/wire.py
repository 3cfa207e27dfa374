"""Datagrams of the UDP transport: how they are sealed, told apart from replays, and how long messages travel in parts.

    byte 0       version << 4 | kind
    bytes 1-8    session: random, new at each start of an end
    bytes 9-13   counter: of all datagrams of the session, from 0; the nonce
    then         body, encrypted; tag of 16 bytes over all of it (ChaCha20-Poly1305, RFC 8439)

Each session has a key of its own in each direction, made from the shared secret by HKDF-Expand (RFC 5869; the secret is
uniform): way | session | session of the other side, or zeros | name of the room. So a nonce never comes twice under
one key, and a datagram means nothing in another room, sent back, or to a sender that has started anew. Without keys
the secret is public and the body stays in the clear, with a keyed BLAKE2s of 16 bytes behind it: the same rules, but no
secrecy and no proof of anything.
"""

from __future__ import annotations

import hashlib
import hmac
import struct
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Protocol

from somacast.extras import require

VERSION = 1
SESSION_BYTES, COUNTER_BYTES, TAG_BYTES = 8, 5, 16
HEAD_BYTES = 1 + SESSION_BYTES + COUNTER_BYTES
FRAME_BYTES = HEAD_BYTES + TAG_BYTES  # added to each message
MAX_COUNTER = (1 << 8 * COUNTER_BYTES) - 1  # 87 years at 400 a second
NOBODY = bytes(SESSION_BYTES)
DOWN, UP = b"D", b"U"  # sender to receivers, and back
WINDOW = 1024  # datagrams by which one may be overtaken
PART_BYTES = 1200  # of a message that is split
MAX_PARTS = 32
_LABEL = b"somacast udp 1"
_PUBLIC = hashlib.sha256(b"somacast udp without keys").digest()
_PART, _ACK = struct.Struct(">HBB"), struct.Struct(">HI")
PART_HEAD_BYTES = _PART.size


class Kind(IntEnum):
    """What a datagram says. LIVE and IDENTITY, PROOF go down; CONTROL, ACK, JOIN, ASK go up; BYE either way."""

    LIVE = 0
    IDENTITY = 1  # number, index, count, part
    CONTROL = 2
    ACK = 3  # number, bits of the parts that are there
    JOIN = 4  # zeros: a receiver that knows no session of the sender asks for a PROOF, and for nothing else
    ASK = 5  # zeros, name: a receiver is there and asks for a PROOF
    PROOF = 6  # session of the receiver that asked, or zeros; no longer than what asks for it
    BYE = 7


class Sealer(Protocol):
    """Seals and opens the datagrams of one session in one direction."""

    def seal(self, nonce: bytes, body: bytes, head: bytes) -> bytes: ...

    def open(self, nonce: bytes, sealed: bytes, head: bytes) -> bytes | None: ...


class _Encrypted:
    def __init__(self, key: bytes) -> None:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        self._cipher, self._invalid = ChaCha20Poly1305(key), InvalidTag

    def seal(self, nonce: bytes, body: bytes, head: bytes) -> bytes:
        return self._cipher.encrypt(nonce, body, head)

    def open(self, nonce: bytes, sealed: bytes, head: bytes) -> bytes | None:
        try:
            return self._cipher.decrypt(nonce, sealed, head)
        except self._invalid:
            return None


class _Plain:
    def __init__(self, key: bytes) -> None:
        self._key = key

    def _tag(self, body: bytes, head: bytes) -> bytes:
        return hashlib.blake2s(head + body, key=self._key, digest_size=TAG_BYTES).digest()

    def seal(self, nonce: bytes, body: bytes, head: bytes) -> bytes:
        return body + self._tag(body, head)

    def open(self, nonce: bytes, sealed: bytes, head: bytes) -> bytes | None:
        body, tag = sealed[:-TAG_BYTES], sealed[-TAG_BYTES:]
        return body if hmac.compare_digest(tag, self._tag(body, head)) else None


class Secret:
    """Makes the sealers of a room. room_key: 32 bytes, or None to go in the clear."""

    def __init__(self, room_key: bytes | None, room: str) -> None:
        if room_key is not None:
            require("cryptography", "the UDP transport with keys")
        self.encrypts, self._key, self._room = room_key is not None, room_key or _PUBLIC, room.encode()

    def sealer(self, way: bytes, session: bytes, other: bytes = NOBODY) -> Sealer:
        """For datagrams of `session` that go `way`, to session `other` if that is known."""
        info = _LABEL + way + session + other + self._room
        key = hmac.digest(self._key, info + b"\x01", "sha256")
        return _Encrypted(key) if self.encrypts else _Plain(key)


def seal(sealer: Sealer, kind: Kind, session: bytes, counter: int, body: bytes) -> bytes:
    """A datagram; counter: 0 to MAX_COUNTER, each once in a session."""
    head = bytes([VERSION << 4 | kind]) + session + counter.to_bytes(COUNTER_BYTES)
    return head + sealer.seal(_nonce(counter), body, head)


def look(datagram: bytes) -> tuple[Kind, bytes, int] | None:
    """Kind, session and counter as a datagram states them, not yet to be believed; None for other bytes."""
    if len(datagram) < FRAME_BYTES or datagram[0] >> 4 != VERSION or datagram[0] & 15 > max(Kind):
        return None
    return Kind(datagram[0] & 15), datagram[1 : 1 + SESSION_BYTES], int.from_bytes(datagram[9:HEAD_BYTES])


def unseal(sealer: Sealer, datagram: bytes) -> bytes | None:
    """The body of a datagram that `look` has understood; None if it was not sealed by the same key."""
    nonce = _nonce(int.from_bytes(datagram[1 + SESSION_BYTES : HEAD_BYTES]))
    return sealer.open(nonce, datagram[HEAD_BYTES:], datagram[:HEAD_BYTES])


def _nonce(counter: int) -> bytes:
    return counter.to_bytes(12)


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
