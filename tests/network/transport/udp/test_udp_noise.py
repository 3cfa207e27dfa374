"""The handshake: the framework's public vectors, what a wrong secret leads to, keys that are renewed."""

from __future__ import annotations

import sys

import pytest

from somacast.network.transport.udp.noise import MAX_REKEYS_AT_ONCE, REKEY_DATAGRAMS, Room

# Noise_NNpsk0_25519_ChaChaPoly_SHA256 in the vectors of cacophony (github.com/haskell-cryptography/cacophony).
PROLOGUE, PSK = b"John Galt", b"This is my Austrian perspective!"
EPHEMERAL = (
    "893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a",
    "bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b",
)
HANDSHAKE_HASH = "f4d03dc34495c95729ea6de9e1b59004b59733102488b3e24bc441e0be208eaf"
MESSAGES = (
    (
        b"Ludwig von Mises",
        "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944"
        "79b962b8aff8485742ac32f905ba45369e2465fb59e138a93d67a0d1266b6a54",
    ),
    (
        b"Murray Rothbard",
        "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843"
        "d6062704d5a9c422a8e834423f8c1feada7e8d0d910a1a2cd030fb584221e3",
    ),
    (b"F. A. Hayek", "e632c3763d7669067383433197a3baddf146e9e70ad4b4e9e59e0f"),
    (b"Carl Menger", "64c6bee32ea91c8474bb4c21d7a700109ad45af77b29764ba5eb1e"),
    (b"Jean-Baptiste Say", "e2fa0bed0603b62d3ccac2ecabbf3fe33f3e86514909b323361626266cb2471cc8"),
    (
        "Eugen Böhm von Bawerk".encode("latin-1"),
        "0c01dc9cec1fe4ddd692e8dd32188aa351088dc91183639a53b57aa4692b5ebdef8b8ca111",
    ),
)


def session(room=None, other=None):
    """The keys of both sides: (sending, receiving) of the initiator and of the responder."""
    room = room or Room(PSK, PROLOGUE)
    first, second = room.handshake(True), (other or room).handshake(False)
    assert second.read(first.write()) == b"" and first.read(second.write()) == b""
    assert first.hash == second.hash
    return first.keys(), second.keys()


def test_public_vectors():
    from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

    room = Room(PSK, PROLOGUE)
    private = [X25519PrivateKey.from_private_bytes(bytes.fromhex(one)) for one in EPHEMERAL]
    first, second = room.handshake(True, private[0]), room.handshake(False, private[1])
    for writes, reads, (payload, wire) in ((first, second, MESSAGES[0]), (second, first, MESSAGES[1])):
        assert writes.write(payload).hex() == wire and reads.read(bytes.fromhex(wire)) == payload
    assert first.hash.hex() == second.hash.hex() == HANDSHAKE_HASH
    ends = first.keys(), second.keys()
    for k, (payload, wire) in enumerate(MESSAGES[2:]):  # the two sides in turn, two messages each
        (sending, _), (_, receiving) = ends if k % 2 == 0 else ends[::-1]
        assert sending.seal(k // 2, payload, b"").hex() == wire
        assert receiving.open(k // 2, bytes.fromhex(wire), b"") == payload


def test_keys_are_renewed_as_the_framework_says():
    """REKEY: the first 32 bytes of ENCRYPT(k, 2^64 - 1, nothing, zeros)."""
    from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305

    (sending, _), _ = session()
    renewed = ChaCha20Poly1305(sending._key).encrypt(bytes(4) + b"\xff" * 8, bytes(32), b"")[:32]
    sealed = sending.seal(REKEY_DATAGRAMS, b"later", b"head")
    nonce = bytes(4) + REKEY_DATAGRAMS.to_bytes(8, "little")
    assert ChaCha20Poly1305(renewed).decrypt(nonce, sealed, b"head") == b"later"


@pytest.mark.parametrize("other", [Room(bytes(32), PROLOGUE), Room(PSK, b"another room"), Room(None, PROLOGUE)])
def test_who_has_another_secret_or_room_is_not_answered(other):
    room = Room(PSK, PROLOGUE)
    assert other.handshake(False).read(room.handshake(True).write()) is None
    assert room.handshake(False).read(other.handshake(True).write()) is None
    first, second, third = room.handshake(True), room.handshake(False), other.handshake(False)
    hello = first.write()
    third.read(hello)
    forged = third.write() if third._theirs else other.handshake(True).write()
    assert first.read(forged) is None
    assert second.read(hello) == b"" and first.read(second.write()) == b"", "a forged answer spoils nothing"


@pytest.mark.parametrize("room", [Room(PSK, PROLOGUE), Room(None, PROLOGUE)])
def test_changed_messages_are_not_read(room):
    hello = room.handshake(True).write()
    for place in range(0, len(hello), 5):
        changed = bytearray(hello)
        changed[place] ^= 4
        assert room.handshake(False).read(bytes(changed)) is None
    assert room.handshake(False).read(hello[:-1]) is None and room.handshake(False).read(b"") is None


def test_a_public_key_of_low_order_is_an_error_that_sessions_catch():
    room = Room(PSK, PROLOGUE)
    first, second = room.handshake(True), room.handshake(False)
    first._state.mix_public(bytes(32))  # what a member would send to choose the session's keys beforehand
    assert second.read(bytes(32) + first._state.encrypt_and_hash(b"")) == b""
    with pytest.raises(ValueError):
        second.write()


@pytest.mark.parametrize("room", [Room(PSK, PROLOGUE), Room(None, PROLOGUE)])
def test_each_session_and_direction_has_keys_of_its_own(room):
    (one, two), (three, four) = session(room), session(room)
    sealed = one[0].seal(3, b"words", b"head")
    assert two[1].open(3, sealed, b"head") == b"words"
    for key in (one[1], three[1], four[1]):
        assert key.open(3, sealed, b"head") is None
    assert two[1].open(4, sealed, b"head") is None and two[1].open(3, sealed, b"heaD") is None


def test_datagrams_arrive_in_any_order_around_a_renewal_and_old_keys_are_gone():
    (sending, _), (_, receiving) = session()
    counters = (0, REKEY_DATAGRAMS - 1, REKEY_DATAGRAMS, 2 * REKEY_DATAGRAMS, 5 * REKEY_DATAGRAMS)
    sealed = {counter: sending.seal(counter, b"x", b"") for counter in counters}
    assert receiving.open(REKEY_DATAGRAMS, sealed[REKEY_DATAGRAMS], b"") == b"x"
    assert receiving.open(REKEY_DATAGRAMS - 1, sealed[REKEY_DATAGRAMS - 1], b"") == b"x", "overtaken by the renewal"
    assert receiving.open(2 * REKEY_DATAGRAMS, sealed[2 * REKEY_DATAGRAMS], b"") == b"x"
    assert receiving.open(0, sealed[0], b"") is None, "its key is forgotten"
    assert receiving.open(5 * REKEY_DATAGRAMS, sealed[5 * REKEY_DATAGRAMS], b"") == b"x", "after a long gap"


def test_what_is_not_authentic_renews_nothing():
    (sending, _), (_, receiving) = session()
    assert receiving.open(3 * REKEY_DATAGRAMS, bytes(40), b"") is None
    assert receiving.open((MAX_REKEYS_AT_ONCE + 1) * REKEY_DATAGRAMS, bytes(40), b"") is None
    assert receiving.open(2**40 - 1, bytes(40), b"") is None
    assert receiving.open(0, sending.seal(0, b"x", b""), b"") == b"x"


def test_without_keys_cryptography_is_not_needed(monkeypatch):
    monkeypatch.setitem(sys.modules, "cryptography", None)
    (sending, _), (_, receiving) = session(Room(None, PROLOGUE))
    assert receiving.open(0, sending.seal(0, b"x", b""), b"") == b"x"
