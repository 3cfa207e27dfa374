"""The threat model of docs/network_transport.md, attacker by attacker."""

from __future__ import annotations

import pytest
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from somacast.network.keys import load_keys, read_room_key
from somacast.network.transport.base import Lane, TransportOptions
from somacast.network.transport.udp import noise, session
from somacast.network.transport.udp.noise import Curve25519, Room
from somacast.network.transport.udp.wire import FRAME_BYTES, HANDSHAKE_BYTES, Kind, greet, greeting, seal, unseal
from support.network.transport_cases import drain
from support.network.udp_cases import HERE, kind_of

PROLOGUE = b"somacast udp 2 sender room"


@pytest.fixture
def ephemerals(monkeypatch):
    """All private keys that are given meanwhile, in order."""
    given, generate = [], Curve25519.generate

    def drawing(suite):
        given.append(generate(suite))
        return given[-1]

    monkeypatch.setattr(Curve25519, "generate", drawing)
    return given


def talk(sim, receiver, sender):
    """A session with something on every lane; returns what was on the wire."""
    sender.send(Lane.IDENTITY, b"who this is" * 200)
    assert sim.run(2.0, lambda: sender.peers() and receiver.peers())
    for k in range(5):
        sender.send(Lane.LIVE, b"how they move" + bytes([k]))
        receiver.send(Lane.CONTROL, b"what came")
        sim.run(0.05)
    sim.run(1.0)
    assert drain(receiver, 0.0) and drain(sender, 0.0)
    return sim.said()


def opened(recorded, keys):
    """Bodies of all recorded datagrams that some of these receiving keys opens."""
    found = []
    for make in keys:
        for data in recorded:
            if kind_of(data) not in (Kind.HELLO, Kind.REPLY):
                body = unseal(make(), data)  # fresh for each: keys only go on
                found += [] if body is None else [body[1]]
    return found


# who listens, and later has the secret


def test_a_stolen_secret_does_not_open_what_was_recorded(lab, keyed, homes, ephemerals):
    """Forward secrecy: every long-term key of every machine, and a whole session on tape."""
    sim = lab()
    receiver = sim.receiver(HERE, keyed())
    sender = sim.sender(receiver.address, keyed("sender"))
    recorded = talk(sim, receiver, sender)
    sender.close(), receiver.close()
    assert not any(b"who this is" in data or b"how they move" in data for data in recorded)

    psk = read_room_key(load_keys(homes / "home" / "sender").room_key)
    room = Room(psk, PROLOGUE)
    (hello,) = {data for data in recorded if kind_of(data) is Kind.HELLO}
    (reply,) = {data for data in recorded if kind_of(data) is Kind.REPLY}

    own, public = X25519PrivateKey.generate(), greeting(reply)[:32]
    exchanges = [bytes(32), psk, public, greeting(hello)[:32]]
    exchanges += [own.exchange(X25519PublicKey.from_public_bytes(one)) for one in (public, greeting(hello)[:32])]
    exchanges += [X25519PrivateKey.from_private_bytes(psk).exchange(X25519PublicKey.from_public_bytes(public))]
    secrets = [psk, room._start._chaining_key, *room._start.split()]
    for exchange in exchanges:  # all that was said, and whatever stands in for what was never said
        handshake = room.handshake(initiates=False)
        assert handshake.read(greeting(hello)) == b"", "the thief's secret is the true one"
        state = handshake._state
        state.mix_public(public)
        secrets += state.split()
        state.mix_key(exchange)
        secrets += state.split()
        with pytest.raises(InvalidTag):
            state.decrypt_and_hash(greeting(reply)[32:])
    assert not opened(recorded, [lambda key=key: noise.ReceivingKey(Curve25519(), key) for key in secrets])

    # What is missing is one of the connection's two private keys, which both ends have forgotten; with it:
    def with_ephemeral():
        handshake = room.handshake(initiates=True, private=ephemerals[0])
        handshake.write()
        assert handshake.read(greeting(reply)) == b""
        return handshake.keys()[1]

    assert b"what came" in opened(recorded, [with_ephemeral])


def test_no_private_key_outlives_the_handshake(lab, keyed):
    sim = lab()
    receiver = sim.receiver(HERE, keyed())
    sender = sim.sender(receiver.address, keyed("sender"))
    handshakes, made = [], Room.handshake
    for end in (sender, receiver):
        end._room.handshake = lambda initiates, room=end._room: (
            handshakes.append(made(room, initiates)) or handshakes[-1]
        )
    talk(sim, receiver, sender)
    assert len(handshakes) >= 2 and [one._private for one in handshakes] == [None] * len(handshakes)
    assert sender._attempt is None
    sender.close()
    sim.run(0.1)
    assert not sender._peers and not receiver._peers, "nor the session's keys the session"


# who has no secret


def test_strangers_are_refused_without_an_answer(lab, keyed):
    sim = lab()
    receiver = sim.receiver(HERE, keyed())
    for options, room in ((keyed("sender", "theirs"), "room"), (keyed("sender"), "roof"), (TransportOptions(), "room")):
        before = receiver.statistics.rejected
        stranger = sim.sender(receiver.address, options, room)
        stranger.send(Lane.LIVE, b"theirs")
        sim.run(1.0)
        assert receiver.statistics.rejected > before and not receiver._peers and not stranger.peers()
        stranger.close()
    assert not sim.said(Kind.REPLY)
    sender = sim.sender(receiver.address, keyed("sender"))
    recorded = talk(sim, receiver, sender)
    live = next(data for data in recorded if kind_of(data) is Kind.LIVE)
    for data in (live[:-1], live + b"x", b"", live[:9], bytes(1500), live[:1] + b"none" + live[5:]):
        assert not sim.deliver(receiver, data)
    assert not drain(receiver, 0.0) and receiver.peers() == 1


def test_a_flood_of_strangers_costs_no_key_exchange_and_no_memory(lab, keyed, ephemerals):
    sim = lab()
    receiver = sim.receiver(HERE, keyed())
    theirs = Room(bytes(32), PROLOGUE)
    hellos = [theirs.handshake(True).write() for _ in range(50)]
    ephemerals.clear()
    for _ in range(20):
        assert not sim.deliver(receiver, *[greet(Kind.HELLO, one[:4], one) for one in hellos])
    assert not receiver._peers and not receiver._greeted and not ephemerals
    assert receiver.statistics.rejected == 1000
    sender = sim.sender(receiver.address, keyed("sender"))
    assert sim.run(0.5, lambda: sender.peers()), "a member is served all the same"


def test_forged_answers_spoil_no_handshake(lab, keyed):
    sim = lab()
    receiver = sim.receiver(HERE, keyed())
    sender = sim.sender(receiver.address, keyed("sender"))
    sim.run(0.011)
    hello = sim.said(Kind.HELLO)[0]
    for forged in (bytes(48), b"\x01" * 48, greeting(hello)):
        sim.deliver(sender, greet(Kind.REPLY, hello[1:5], forged))
    assert sim.run(0.5, lambda: sender.peers() == 1) and sender.statistics.rejected == 3


# who plays recordings


def test_a_session_of_yesterday_shows_nothing(lab, keyed):
    sim = lab()
    receiver = sim.receiver(HERE, keyed())
    place = receiver.address
    sender = sim.sender(place, keyed("sender"))
    yesterday = talk(sim, receiver, sender)
    sender.close()
    sim.run(0.1)
    assert not sim.deliver(receiver, *yesterday) and receiver.peers() == 0, "still remembered"
    receiver.close()
    receiver = sim.receiver(place, keyed())
    answers = sim.deliver(receiver, *yesterday)
    assert [len(data) for data in answers] == [HANDSHAKE_BYTES], "an answer as long as the question"
    assert receiver.peers() == 0 and not drain(receiver, 0.0) and not receiver.send(Lane.CONTROL, b"secret habits")
    sender = sim.sender(place, keyed("sender"))
    assert sim.run(0.5, lambda: sender.peers() == receiver.peers() == 1), "nor does it stand in the way"
    sim.run(session.UNCONFIRMED_S)
    assert len(receiver._peers) == 1
    assert not sim.deliver(receiver, *yesterday) and receiver.statistics.replayed


def test_recorded_questions_to_a_sender_draw_nothing(lab, keyed):
    sim = lab()
    sender = sim.sender(HERE, keyed("sender", listen=True))
    place = sender.address
    receiver = sim.receiver(place, keyed(listen=False))
    sim.run(1.0)
    recorded = sim.said()
    sender.close(), receiver.close()
    sender = sim.sender(place, keyed("sender", listen=True))
    sender.send(Lane.IDENTITY, bytes(9000))
    before = len(sim.seen)
    for _ in range(200):
        sim.deliver(sender, *recorded)
        sim.run(0.01)
        assert sender.peers() == 0 and not sender.send(Lane.LIVE, b"nobody")
    answers = [data for _, _, _, data in sim.seen[before:]]
    assert answers and {kind_of(data) for data in answers} == {Kind.REPLY}
    assert {len(data) for data in answers} == {HANDSHAKE_BYTES}, "as long as the question"
    assert len(answers) <= 2.0 / session.REPLY_GAP_S + 1 and sender.receive() is None


def test_replays_and_mirrors_within_a_session_count_for_nothing(lab, keyed):
    sim = lab()
    receiver = sim.receiver(HERE, keyed())
    sender = sim.sender(receiver.address, keyed("sender"))
    recorded = talk(sim, receiver, sender)
    before = len(sim.seen)
    for end in (receiver, sender):
        sim.deliver(end, *recorded)
        assert not drain(end, 0.0) and end.statistics.replayed and end.statistics.rejected
    sim.run(0.02)
    assert len(sim.seen) == before, "nothing is answered, and nobody's address moves"
    sender.send(Lane.LIVE, b"on")
    sim.run(0.1)
    assert [one.data for one in drain(receiver, 0.0)] == [b"on"]


def test_answers_go_where_the_newest_datagram_came_from(lab, keyed):
    sim = lab()
    receiver = sim.receiver(HERE, keyed())
    sender = sim.sender(receiver.address, keyed("sender"))
    assert sim.run(0.5, lambda: sender.peers() == receiver.peers() == 1)
    sim.carries, before = (lambda data: False), len(sim.seen)
    for k in range(3):
        sender.send(Lane.LIVE, bytes([k]))
    first, second, third = [data for _, _, _, data in sim.seen[before:]]
    elsewhere = ("192.0.2.1", 7)
    sim.deliver(receiver, first)
    sim.deliver(receiver, third, source=elsewhere)
    sim.deliver(receiver, second)  # older, late: moves nothing
    assert [one.data for one in drain(receiver, 0.0)] == [b"\0", b"\2", b"\1"]
    assert receiver.send(Lane.CONTROL, b"here") and sim.seen[-1][2] == elsewhere
    sim.carries = lambda data: True
    sender.send(Lane.LIVE, b"next")
    sim.run(0.1)
    assert receiver.send(Lane.CONTROL, b"back") and sim.seen[-1][2] == sender._sockets.own[0].own


# who has the secret, or many recordings


def test_memory_is_bounded_and_members_are_served_in_a_flood_of_handshakes(lab, keyed, monkeypatch):
    monkeypatch.setattr(session, "MAX_GREETED", 50)
    sim = lab()
    receiver = sim.receiver(HERE, keyed())
    there = sim.sender(receiver.address, keyed("sender"))
    assert sim.run(1.0, there.peers)
    before = set(there._peers)
    room = Room(read_room_key(keyed().keys.room_key), PROLOGUE)
    for _ in range(100):
        hellos = [room.handshake(True).write() for _ in range(3)]
        sim.deliver(receiver, *[greet(Kind.HELLO, one[:4], one) for one in hellos])
        sim.run(0.01)
        assert len(receiver._peers) <= receiver.max_peers and len(receiver._greeted) <= 50
    assert receiver.statistics.capped
    assert set(there._peers) == before and there.peers() == 1, "who was there stays"
    sender = sim.sender(receiver.address, keyed("sender"))
    assert sim.run(session.UNCONFIRMED_S + 1.5, lambda: sender.peers() == receiver.peers() == 1)
    sim.run(session.UNCONFIRMED_S + 0.1)
    assert len(receiver._peers) == 2


@pytest.mark.parametrize("new", [True, False])
def test_answers_to_handshakes_are_few(lab, keyed, new):
    """New ones, and the same ones again and again."""
    sim = lab()
    sender = sim.sender(HERE, keyed("sender", listen=True))
    room = Room(read_room_key(keyed().keys.room_key), b"somacast udp 2 receiver room")
    hellos = [room.handshake(True).write() for _ in range(300 if new else 40)]
    answers = 0
    for k in range(50):
        some = hellos[6 * k : 6 * k + 6] if new else hellos
        answers += len(sim.deliver(sender, *[greet(Kind.HELLO, one[:4], one) for one in some]))
        sim.run(0.02)
    most = session.REPLIES_AT_ONCE + 1.05 * session.REPLIES_PER_S
    assert most - 5 <= answers <= most


def test_a_key_of_low_order_chooses_no_session(lab, keyed):
    """A member who sends zeros in place of a public key would know the session's keys beforehand."""
    sim = lab()
    receiver = sim.receiver(HERE, keyed())
    state = Room(read_room_key(keyed().keys.room_key), PROLOGUE).handshake(True)._state
    state.mix_public(bytes(32))
    assert not sim.deliver(receiver, greet(Kind.HELLO, bytes(4), bytes(32) + state.encrypt_and_hash(b"")))
    assert not receiver._peers and receiver.statistics.rejected == 1


def test_a_member_in_the_middle_reads_and_speaks(lab, keyed):
    """What the secret of the room does not protect from: those who have it. Stated in the docs, and shown here."""
    sim = lab()
    receiver = sim.receiver(HERE, keyed())
    handshake = Room(read_room_key(keyed().keys.room_key), PROLOGUE).handshake(True)
    hello = handshake.write()
    (reply,) = sim.deliver(receiver, greet(Kind.HELLO, hello[:4], hello))
    assert handshake.read(greeting(reply)) == b""
    sim.deliver(receiver, seal(handshake.keys()[0], Kind.LIVE, hello[:4], 0, b"I am the sender"))
    assert [one.data for one in drain(receiver, 0.0)] == [b"I am the sender"]


# who is of another time


def test_an_old_peer_gets_one_clear_line(lab, keyed):
    sim = lab()
    receiver = sim.receiver(HERE, keyed())
    assert not receiver.notice
    old = b"\x10" + bytes(8) + bytes(5) + bytes(120) + bytes(16)
    assert not sim.deliver(receiver, b"\x10", bytes(200), b"\x30" * 60) and not receiver.notice
    assert not sim.deliver(receiver, old, old)
    assert receiver.notice == "192.0.2.9 sends what a Somacast before wire version 2 sends; expected version 2 there"
    assert len(old) > FRAME_BYTES and receiver.statistics.rejected == 5
