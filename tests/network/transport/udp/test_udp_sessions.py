"""Two ends of the UDP transport: lanes, starts, restarts, caps; on sockets and on a simulated clock."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somacast.errors import SomacastError
from somacast.network.keys import load_keys, make_keys
from somacast.network.transport.base import Lane, Limits, TransportOptions
from somacast.network.transport.open import open_receiver, open_sender
from somacast.network.transport.udp.noise import REKEY_DATAGRAMS
from somacast.network.transport.udp.sockets import Way
from somacast.network.transport.udp.wire import FRAME_BYTES, Kind
from support.network.transport_cases import CountingWay, drain, fetch, wait_until
from support.network.udp_cases import HERE, crash


def ended(end):
    end.close()


# sockets


@pytest.mark.parametrize("with_keys", [False, True])
def test_all_lanes_and_what_they_cost(keyed, with_keys):
    receiving, sending = (keyed(role) if with_keys else TransportOptions() for role in ("receiver", "sender"))
    with open_receiver(HERE, "room", receiving) as receiver, CountingWay(receiver.address[4:]) as way:
        with open_sender("udp:" + way.address, "room", sending) as sender:
            assert sender.send(Lane.IDENTITY, b"who" * 300) and sender.send(Lane.LIVE, b"moves" * 40)
            assert fetch(receiver, Lane.IDENTITY).data == b"who" * 300
            assert fetch(receiver, Lane.LIVE).data == b"moves" * 40
            assert receiver.send(Lane.CONTROL, b"feedback")
            assert fetch(sender, Lane.CONTROL).data == b"feedback"
            assert sender.peers() == receiver.peers() == 1
            assert way.sizes(1).count(200 + sender.header_bytes) == 1 and sender.header_bytes == 28 + FRAME_BYTES == 54
            assert 8 + receiver.header_bytes in way.sizes(-1)
        assert wait_until(lambda: receiver.peers() == 0), "who leaves says so"
        counts = receiver.statistics
        assert (counts.received, counts.rejected) == (2, 0)


def test_a_sender_that_listens_serves_those_who_come(keyed):
    with contextlib.ExitStack() as stack:
        sender = stack.enter_context(open_sender(HERE, "room", keyed("sender", listen=True)))
        assert not sender.send(Lane.IDENTITY, bytes(5000)) and not sender.send(Lane.LIVE, b"nobody")
        receivers = [
            stack.enter_context(open_receiver(sender.address, "room", keyed(listen=False, name=f"r{k}")))
            for k in range(3)
        ]
        assert wait_until(lambda: sender.peers() == 3)
        for k, receiver in enumerate(receivers):
            assert fetch(receiver, Lane.IDENTITY).data == bytes(5000), "told before anybody was there"
            assert receiver.send(Lane.CONTROL, bytes([k]))
        assert wait_until(lambda: sender.statistics.received + len(sender.inbox._lanes[Lane.CONTROL]) == 3)
        assert sorted((one.peer, one.data) for one in drain(sender)) == [(f"r{k}", bytes([k])) for k in range(3)]
        sender.send(Lane.LIVE, b"to all")
        assert all(fetch(receiver, Lane.LIVE).data == b"to all" for receiver in receivers)
        receivers[0].close()
        assert wait_until(lambda: sender.peers() == 2)


def test_folders_without_the_secret_and_wrong_places_are_told(tmp_path, keyed):
    (folder,) = make_keys(tmp_path / "old", ["one"])
    (folder / "room.key").unlink()
    options = TransportOptions(keys=load_keys(folder))
    for opened in (open_sender, open_receiver):
        with pytest.raises(SomacastError, match=r"has no room.key, which udp needs") as fault:
            opened(HERE, "room", options)
        assert "\n" not in str(fault.value)
    with pytest.raises(SomacastError, match="expected a port from 1"):
        open_sender(HERE, "room")
    with pytest.raises(SomacastError, match="room: expected"):
        open_receiver(HERE, "a/b")
    with open_receiver(HERE, "room") as receiver, pytest.raises(SomacastError, match="cannot listen there .*in use"):
        open_receiver(receiver.address, "room")
    with open_receiver("udp:0.0.0.0:0", "room", TransportOptions(insecure=True)) as receiver:
        assert receiver.header_bytes == 54
    with open_receiver("udp:0.0.0.0:0", "room", keyed()):
        pass


# a simulated clock


def test_one_round_trip_before_data_and_little_when_idle(lab, keyed):
    sim = lab(delay_s=0.05)
    receiver = sim.receiver(HERE, keyed())
    sender = sim.sender(receiver.address, keyed("sender"))
    begun_s = sim.now_s
    sender.send(Lane.IDENTITY, b"who"), sender.send(Lane.LIVE, b"old"), sender.send(Lane.LIVE, b"moves")
    sim.run(1.0, lambda: sender.peers())
    assert sim.now_s - begun_s < 0.14, "HELLO, REPLY"
    sim.run(1.0, lambda: receiver.statistics.received + sum(map(len, receiver.inbox._lanes.values())) == 2)
    assert sim.now_s - begun_s < 0.2, "and the data behind them"
    assert [one.data for one in drain(receiver, 0.0)] == [b"who", b"moves"], "of LIVE the newest"
    sim.run(1.0)
    before = len(sim.seen)
    sim.run(10.0)
    assert len(sim.seen) - before <= 32, "each end says once in 0.67 s that it is there"
    assert {len(data) for data in sim.said()[before:]} == {FRAME_BYTES}


@pytest.mark.parametrize("listens", ["receiver", "sender"])
@pytest.mark.parametrize("ending", [crash, ended])
def test_either_end_starts_anew(lab, keyed, ending, listens):
    sim = lab()
    options = {"receiver": keyed(listen=listens == "receiver"), "sender": keyed("sender", listen=listens == "sender")}
    opened = {"receiver": sim.receiver, "sender": sim.sender}
    goes = "sender" if listens == "receiver" else "receiver"
    place = HERE
    ends = {}
    for role in (listens, goes):
        ends[role] = opened[role](place, options[role])
        place = ends[role].address

    def comes(data):
        found = []
        sim.run(4.0, lambda: found.extend(drain(ends["receiver"], 0.0)) or any(one.data == data for one in found))
        return [one.data for one in found]

    ends["sender"].send(Lane.IDENTITY, b"one")
    assert comes(b"one") == [b"one"]
    begun_s = sim.now_s
    ending(ends["receiver"])
    ends["receiver"] = opened["receiver"](place, options["receiver"])
    assert comes(b"one") == [b"one"], "without being sent again"
    assert sim.now_s - begun_s < (2.6 if ending is crash and listens == "receiver" else 0.5)
    begun_s = sim.now_s
    ending(ends["sender"])
    ends["sender"] = opened["sender"](place, options["sender"])
    ends["sender"].send(Lane.IDENTITY, b"two")
    assert comes(b"two") == [b"two"]
    assert sim.now_s - begun_s < (2.6 if ending is crash and listens == "sender" else 0.5)
    ends["sender"].send(Lane.LIVE, b"on")
    assert comes(b"on") == [b"on"]


def test_a_silent_side_is_gone_after_the_lease_and_found_again(lab, keyed):
    sim = lab()
    receiver = sim.receiver(HERE, keyed())
    sender = sim.sender(receiver.address, keyed("sender"))
    assert sim.run(1.0, lambda: sender.peers() == receiver.peers() == 1)
    sim.run(60.0)
    assert sender.peers() == receiver.peers() == 1 and len(sim.said(Kind.REPLY)) == 1, "kept up without messages"
    sim.carries = lambda data: False
    sim.run(1.2)
    assert sender.peers() == receiver.peers() == 1
    sim.run(1.0)
    assert sender.peers() == receiver.peers() == 0 and not receiver._peers and not sender._peers, "and the keys with it"
    sim.run(60.0)
    hellos = len(sim.said(Kind.HELLO))
    sim.run(10.0)
    assert len(sim.said(Kind.HELLO)) - hellos <= 11, "who finds nobody asks once a second"
    sim.carries = lambda data: True
    sender.send(Lane.IDENTITY, b"again")
    assert sim.run(1.5, lambda: sender.peers() == receiver.peers() == 1)
    assert [one.data for one in drain(receiver, 0.0)] == [b"again"] or sim.run(1.0, lambda: drain(receiver, 0.0))


def test_keys_are_renewed_in_a_long_session(lab, keyed):
    sim = lab(delay_s=0.0)
    receiver = sim.receiver(HERE, keyed(limits=Limits(per_second=1e6)))
    sender = sim.sender(receiver.address, keyed("sender"))
    assert sim.run(1.0, lambda: sender.peers())
    (peer,) = sender._peers.values()
    first = peer.sending._key
    peer.counter = REKEY_DATAGRAMS - 5
    for k in range(10):
        assert sender.send(Lane.LIVE, bytes([k]))
    sim.run(0.1)
    assert [one.data for one in drain(receiver, 0.0)] == [bytes([k]) for k in range(10)]
    (heard,) = receiver._peers.values()
    assert peer.sending._key == heard.receiving._key != first and peer.sending._age == heard.receiving._age == 1


def test_of_two_senders_the_newer_is_shown(lab, keyed):
    sim = lab()
    receiver = sim.receiver(HERE, keyed())
    ends = [sim.sender(receiver.address, keyed("sender"))]
    assert sim.run(1.0, lambda: ends[0].peers())
    ends.append(sim.sender(receiver.address, keyed("sender")))
    assert sim.run(1.0, lambda: ends[1].peers())
    for k in (0, 1, 0, 1):
        ends[k].send(Lane.LIVE, bytes([k]))
    sim.run(0.1)
    assert [one.data for one in drain(receiver, 0.0)] == [b"\1", b"\1"]
    ends[1].close()
    sim.run(0.1)
    ends[0].send(Lane.LIVE, b"left")
    sim.run(0.1)
    assert [one.data for one in drain(receiver, 0.0)] == [b"left"]


def test_caps_hold(lab, keyed):
    sim = lab()
    sender = sim.sender(HERE, keyed("sender", listen=True, limits=Limits(peers=2)))
    receivers = [sim.receiver(sender.address, keyed(listen=False)) for _ in range(3)]
    sim.run(1.0)
    assert sender.peers() == len(sender._peers) == 2 and sender.statistics.capped
    served = [receiver for receiver in receivers if receiver._peers]
    assert len(served) == 2
    crash(served[0])
    assert sim.run(4.0, lambda: all(one._peers for one in receivers if one is not served[0])), "the third has room"
    small = sim.receiver(HERE, keyed(limits=Limits(identity_bytes=100, live_bytes=50)))
    large = sim.sender(small.address, keyed("sender"))
    assert not large.send(Lane.LIVE, bytes(1401)) and not large.send(Lane.IDENTITY, bytes(16_385))
    large.send(Lane.IDENTITY, bytes(101))
    large.send(Lane.LIVE, bytes(51))
    assert sim.run(1.0, lambda: small.statistics.capped == 2) and small.receive() is None
    with pytest.raises(SomacastError, match="lane: expected"):
        large.send(Lane.CONTROL, b"")


@pytest.fixture(scope="module")
def pair():
    with open_sender(HERE, "room", TransportOptions(listen=True)) as sender, open_receiver(HERE, "room") as receiver:
        yield sender, receiver


@settings(max_examples=200, deadline=None)
@given(
    st.booleans(),
    st.one_of(
        st.binary(max_size=200),
        st.binary(min_size=29, max_size=80).map(lambda rest: b"\x21" + rest),
        st.binary(min_size=52, max_size=52).flatmap(lambda rest: st.sampled_from([b"\x24" + rest, b"\x25" + rest])),
    ),
    st.integers(0, 9),
    st.integers(0, 40),
    st.booleans(),
)
def test_any_bytes_raise_nothing(pair, at_sender, body, kind, counter, authentic):
    """Anything from anybody, and anything from a member of the room inside a session."""
    from somacast.network.transport.udp.wire import greet, greeting, seal

    end, way = pair[0] if at_sender else pair[1], Way(0, ("127.0.0.1", 9))
    with end._lock:
        end._replies = 50.0
        end._take(body, way, end._clock())
        if authentic and kind in list(Kind):
            sent, end._sockets.put = [], lambda data, way: sent.append(data) is None
            handshake = end._room.handshake(initiates=True)
            hello = handshake.write()
            end._take(greet(Kind.HELLO, hello[:4], hello), way, end._clock())
            if sent and handshake.read(greeting(sent[0])) == b"":
                key = handshake.keys()[0]
                end._take(seal(key, Kind(kind), hello[:4], counter, body), way, end._clock())
            del end._sockets.put
            end._peers.clear()
        end._tick(end._clock())
    end.receive()
