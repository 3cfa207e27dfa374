"""The handshake of the UDP transport: Noise_NNpsk0_25519_ChaChaPoly_SHA256 (Noise Protocol Framework, revision 34).

    -> psk, e          32 bytes of public key, tag of 16 bytes
    <- e, ee           the same

Both ends draw a key pair for one session and prove that they hold the secret of the room; the keys of the session come
from both, so whoever gets the room's secret later cannot open what was recorded. Keys are renewed within a session by
Noise's REKEY every REKEY_DATAGRAMS, and the old ones forgotten. Written on primitives of `cryptography`, and held to
the framework's public test vectors.

Without keys the same steps run on `Open`: no key exchange, nothing encrypted, a checksum that anybody can make in place
of the tag. Such ends tell sessions and replays apart as others do, but nothing is secret or proven.
"""

from __future__ import annotations

import copy
import hashlib
import hmac
import secrets
import struct
from collections.abc import Callable
from typing import Any, Protocol

from somacast.extras import require

KEY_BYTES, TAG_BYTES = 32, 16
MESSAGE_BYTES = KEY_BYTES + TAG_BYTES  # of each of the two messages, without a payload
REKEY_DATAGRAMS = 4096  # sent under one key: two minutes at 30 a second
MAX_REKEYS_AT_ONCE = 8  # datagrams from further ahead are refused: a lost minute at 400 a second
_NONCE = struct.Struct("<4xQ")
_LAST_NONCE = (1 << 64) - 1


class Aead(Protocol):
    """Encrypts and authenticates under one key; decrypt raises ValueError or the suite's `invalid`."""

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes: ...

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes: ...


class Curve25519:
    """The primitives of the protocol, from `cryptography`."""

    name = b"Noise_NNpsk0_25519_ChaChaPoly_SHA256"

    def __init__(self) -> None:
        require("cryptography", "the UDP transport with keys")
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
        from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

        self._private, self._public = X25519PrivateKey, X25519PublicKey
        self.aead: Callable[[bytes], Aead] = ChaCha20Poly1305
        self.invalid: type[Exception] = InvalidTag

    def generate(self) -> Any:
        """A fresh private key."""
        return self._private.generate()

    def public(self, private: Any) -> bytes:
        """The public half, 32 bytes."""
        return private.public_key().public_bytes_raw()

    def exchange(self, private: Any, public: bytes) -> bytes:
        """32 bytes that both sides share; ValueError for a public key of low order."""
        return private.exchange(self._public.from_public_bytes(public))


class _Checksum:
    def __init__(self, key: bytes) -> None:
        self._key = key

    def _tag(self, nonce: bytes, data: bytes, associated_data: bytes) -> bytes:
        return hashlib.blake2s(nonce + associated_data + data, key=self._key, digest_size=TAG_BYTES).digest()

    def encrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes:
        return data + self._tag(nonce, data, associated_data)

    def decrypt(self, nonce: bytes, data: bytes, associated_data: bytes, /) -> bytes:
        body, tag = data[:-TAG_BYTES], data[-TAG_BYTES:]
        if not hmac.compare_digest(tag, self._tag(nonce, body, associated_data)):
            raise ValueError("checksum")
        return body


class Open:
    """In place of Curve25519 where there are no keys: random bytes as public keys, a checksum as tag, no secrecy."""

    name = b"somacast udp without keys"
    aead: Callable[[bytes], Aead] = _Checksum
    invalid: type[Exception] = ValueError

    def generate(self) -> Any:
        return secrets.token_bytes(KEY_BYTES)

    def public(self, private: Any) -> bytes:
        return private

    def exchange(self, private: Any, public: bytes) -> bytes:
        return bytes(KEY_BYTES)


Suite = Curve25519 | Open


def _hkdf(chaining_key: bytes, material: bytes, count: int) -> list[bytes]:
    """The framework's HKDF: `count` outputs of 32 bytes."""
    secret, found, last = hmac.digest(chaining_key, material, "sha256"), [], b""
    for k in range(1, count + 1):
        last = hmac.digest(secret, last + bytes([k]), "sha256")
        found.append(last)
    return found


class _Symmetric:
    """The framework's SymmetricState with its CipherState."""

    def __init__(self, suite: Suite) -> None:
        self.suite = suite
        name = suite.name
        self.hash = name.ljust(32, b"\0") if len(name) <= 32 else hashlib.sha256(name).digest()
        self._chaining_key, self._nonce = self.hash, 0
        self._aead: Aead | None = None

    def mix_hash(self, data: bytes) -> None:
        self.hash = hashlib.sha256(self.hash + data).digest()

    def mix_key(self, material: bytes) -> None:
        self._chaining_key, key = _hkdf(self._chaining_key, material, 2)
        self._aead, self._nonce = self.suite.aead(key), 0

    def mix_key_and_hash(self, material: bytes) -> None:
        self._chaining_key, mixed, key = _hkdf(self._chaining_key, material, 3)
        self.mix_hash(mixed)
        self._aead, self._nonce = self.suite.aead(key), 0

    def mix_public(self, public: bytes) -> None:
        """Token e, where a pre-shared key is used."""
        self.mix_hash(public)
        self.mix_key(public)

    def encrypt_and_hash(self, payload: bytes) -> bytes:
        assert self._aead is not None
        data = self._aead.encrypt(_NONCE.pack(self._nonce), payload, self.hash)
        self._nonce += 1
        self.mix_hash(data)
        return data

    def decrypt_and_hash(self, data: bytes) -> bytes:
        assert self._aead is not None
        payload = self._aead.decrypt(_NONCE.pack(self._nonce), data, self.hash)
        self._nonce += 1
        self.mix_hash(data)
        return payload

    def split(self) -> tuple[bytes, bytes]:
        first, second = _hkdf(self._chaining_key, b"", 2)
        return first, second


class Room:
    """What all handshakes of a room have in common. psk: 32 bytes, or None to go in the clear; prologue: what both ends
    must agree on beside it."""

    def __init__(self, psk: bytes | None, prologue: bytes) -> None:
        self._start = _Symmetric(Open() if psk is None else Curve25519())
        self._start.mix_hash(prologue)
        self._start.mix_key_and_hash(bytes(KEY_BYTES) if psk is None else psk)

    def handshake(self, initiates: bool, private: Any = None) -> Handshake:
        """One side of a new handshake. private: only in tests; else drawn."""
        return Handshake(copy.copy(self._start), initiates, private)


class Handshake:
    """One side: the initiator writes, then reads; the responder reads, then writes; then both take `keys`, once.

    Where `read` says None the message was not made with the room's secret, or is damaged; the handshake stays as it was
    and may read another.
    """

    def __init__(self, state: _Symmetric, initiates: bool, private: Any) -> None:
        self._state, self._initiates, self._suite = state, initiates, state.suite
        self._private, self._theirs = private, b""

    @property
    def hash(self) -> bytes:
        """Of all that was said, 32 bytes."""
        return self._state.hash

    def write(self, payload: bytes = b"") -> bytes:
        """The next message."""
        if self._private is None:
            self._private = self._suite.generate()
        public = self._suite.public(self._private)
        self._state.mix_public(public)
        if not self._initiates:
            self._state.mix_key(self._suite.exchange(self._private, self._theirs))
        return public + self._state.encrypt_and_hash(payload)

    def read(self, message: bytes) -> bytes | None:
        """The payload of the other side's message."""
        if len(message) < MESSAGE_BYTES:
            return None
        theirs, state = message[:KEY_BYTES], copy.copy(self._state)
        state.mix_public(theirs)
        try:
            if self._initiates:
                state.mix_key(self._suite.exchange(self._private, theirs))
            payload = state.decrypt_and_hash(message[KEY_BYTES:])
        except (ValueError, self._suite.invalid):
            return None
        self._theirs, self._state = theirs, state
        return payload

    def keys(self) -> tuple[SendingKey, ReceivingKey]:
        """Of the session, for this side; the private key is forgotten."""
        first, second = self._state.split()
        own, other = (first, second) if self._initiates else (second, first)
        self._private = None
        return SendingKey(self._suite, own), ReceivingKey(self._suite, other)


def _renewed(suite: Suite, key: bytes) -> bytes:
    """The framework's REKEY."""
    return suite.aead(key).encrypt(_NONCE.pack(_LAST_NONCE), bytes(KEY_BYTES), b"")[:KEY_BYTES]


class SendingKey:
    """Encrypts datagrams with counters that only rise."""

    def __init__(self, suite: Suite, key: bytes) -> None:
        self._suite, self._key, self._age, self._aead = suite, key, 0, suite.aead(key)

    def seal(self, counter: int, body: bytes, head: bytes) -> bytes:
        """body and tag; head is authenticated as well."""
        while self._age < counter // REKEY_DATAGRAMS:
            self._key, self._age = _renewed(self._suite, self._key), self._age + 1
            self._aead = self._suite.aead(self._key)
        return self._aead.encrypt(_NONCE.pack(counter), body, head)


class ReceivingKey:
    """Opens datagrams in any order; keeps the key of now and the one before."""

    def __init__(self, suite: Suite, key: bytes) -> None:
        self._suite, self._key, self._age = suite, key, 0
        self._aead: Aead = suite.aead(key)
        self._before: Aead | None = None

    def open(self, counter: int, sealed: bytes, head: bytes) -> bytes | None:
        """The body; None if it was not sealed with the key of the connection, or lies too far back or ahead."""
        ahead, key, aead, before = counter // REKEY_DATAGRAMS - self._age, self._key, self._aead, self._before
        if not -1 <= ahead <= MAX_REKEYS_AT_ONCE:
            return None
        for _ in range(ahead):
            key, before = _renewed(self._suite, key), aead
            aead = self._suite.aead(key)
        chosen = before if ahead < 0 else aead
        if chosen is None:
            return None
        try:
            body = chosen.decrypt(_NONCE.pack(counter), sealed, head)
        except (ValueError, self._suite.invalid):
            return None
        if ahead > 0:  # only what is authentic may renew the keys
            self._key, self._age, self._aead, self._before = key, self._age + ahead, aead, before
        return body
