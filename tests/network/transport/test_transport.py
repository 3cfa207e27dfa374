"""Transports: addresses, caps of the inbox, rooms in memory over link models."""

from __future__ import annotations

import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somacast.bitstream.packets import Person, unpack_packet
from somacast.bitstream.video import RecordWriter, Who, video_head
from somacast.errors import SomacastError
from somacast.network.channels.packet.profile import LinkProfile
from somacast.network.transport.base import Inbox, Lane, Limits, TransportOptions, TransportStatistics
from somacast.network.transport.memory import MemoryNetwork, SimulatedClock
from somacast.network.transport.open import open_receiver, open_sender
from support.network.transport_cases import drain, fetch


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", "expected memory:NAME, HOST:PORT"),
        ("nonsense", "expected memory:NAME, HOST:PORT"),
        ("tcp://127.0.0.1:1", "expected memory:NAME, HOST:PORT"),
        ("127.0.0.1", "expected HOST:PORT, such as 127.0.0.1:7447"),
        ("127.0.0.1:99999", "expected HOST:PORT"),
        ("zenoh:127.0.0.1:x", "expected HOST:PORT"),
        ("host;rm:1", "expected HOST:PORT"),
        ("127.0.0.1:1#iface=eth0", "expected HOST:PORT"),
        ("memory:", "expected letters"),
        ("memory:a/b", "expected letters"),
        ("file:x", "expected memory:NAME, HOST:PORT"),
        ("nowhere/film.soma", "nowhere"),
        ("udp:", "expected HOST:PORT"),
        ("udp:127.0.0.1:1,127.0.0.1:2", "expected HOST:PORT"),
        ("udp:192.0.2.1:7447", "expected keys"),
        ("webrtc:127.0.0.1:1", "expected webrtc:http"),
        ("webrtc:http://user@127.0.0.1:1", "expected webrtc:http"),
        ("webrtc:https://127.0.0.1:1", "https needs keys"),
        ("webrtc:http://192.0.2.1:80", "expected keys"),
        ("192.0.2.1:7447", "expected keys"),
        ("0.0.0.0:7447", "expected keys"),
        ("[::]:7447", "expected keys"),
        ("example.org:7447", "expected keys"),
    ],
)
def test_wrong_addresses_are_told_in_one_line(address, message):
    for opened in (open_sender, open_receiver):
        with pytest.raises(SomacastError, match=message) as fault:
            opened(address, "person")
        assert "\n" not in str(fault.value)


@pytest.mark.parametrize("room", ["", "a/b", "*", "a b", "x" * 65])
def test_rooms_are_words(room):
    for address in ("memory:here", "127.0.0.1:0"):
        with pytest.raises(SomacastError, match="room: expected letters"):
            open_receiver(address, room)


def inbox(limits: Limits, clock: SimulatedClock) -> tuple[Inbox, TransportStatistics]:
    counts = TransportStatistics()
    return Inbox(limits, frozenset(Lane), counts, clock), counts


def test_rate_of_a_peer_is_capped_and_comes_back_with_time():
    clock = SimulatedClock()
    box, counts = inbox(Limits(per_second=10.0, burst=3), clock)
    assert [box.put(Lane.CONTROL, b"x", "a") for _ in range(5)] == [True] * 3 + [False] * 2
    assert box.put(Lane.CONTROL, b"x", "b"), "another peer has a budget of its own"
    clock.advance(0.2)
    assert [box.put(Lane.CONTROL, b"x", "a") for _ in range(3)] == [True, True, False]
    assert counts.capped == 3


def test_number_of_peers_is_capped_and_silent_ones_make_room():
    clock = SimulatedClock()
    box, counts = inbox(Limits(peers=2, forget_s=5.0), clock)
    assert [box.put(Lane.CONTROL, b"x", name) for name in "abc"] == [True, True, False]
    assert box.peers() == 2
    clock.advance(6.0)
    assert box.put(Lane.CONTROL, b"x", "c") and box.put(Lane.CONTROL, b"x", "d")
    assert counts.capped == 1 and len(box._buckets) == 2


def test_sizes_and_queues_are_capped_and_the_newest_win():
    box, counts = inbox(Limits(live_bytes=10, queued=4, queued_bytes=25), SimulatedClock())
    assert not box.put(Lane.LIVE, b"x" * 11, "a")
    assert all(box.put(Lane.LIVE, bytes([i]), "a") for i in range(6))
    assert counts.displaced == 2
    assert [box.get().data[0] for _ in range(4)] == [2, 3, 4, 5] and box.get() is None
    for i in range(3):
        box.put(Lane.LIVE, bytes([i]) * 10, "a")
    assert [box.get().data[0] for _ in range(2)] == [1, 2], "bytes are capped as well"
    assert not box.get() and counts.capped == 1


@given(
    st.lists(
        st.tuples(st.sampled_from(list(Lane)), st.binary(max_size=40), st.sampled_from("abcd"), st.floats(0, 0.1)),
        max_size=60,
    )
)
@settings(max_examples=60, deadline=None)
def test_an_inbox_holds_its_caps_whatever_comes(arrivals):
    clock = SimulatedClock()
    limits = Limits(16, 24, 8, per_second=50.0, burst=4, peers=3, queued=5, queued_bytes=40)
    box, counts = inbox(limits, clock)
    accepted = sum(box.put(lane, data, peer) for lane, data, peer, wait in arrivals if clock.advance(wait) >= 0)
    assert all(len(queue) <= 5 and sum(len(a.data) for _, a in queue) <= 40 for queue in box._lanes.values())
    assert accepted + counts.capped == len(arrivals) and len(box._buckets) <= 3
    times = []
    while (arrival := box.get()) is not None:
        times.append(arrival.time_s)
    assert times == sorted(times) and len(times) + counts.displaced == accepted


def test_limits_and_options_are_checked():
    for wrong in ({"live_bytes": 0}, {"per_second": 0.0}, {"peers": -1}, {"burst": 2.5}):
        with pytest.raises(SomacastError, match=next(iter(wrong))):
            Limits(**wrong)
    for wrong in ({"lease_s": 0.0}, {"name": "a/b"}, {"mtu_bytes": 9000}):
        with pytest.raises(SomacastError, match=next(iter(wrong))):
            TransportOptions(**wrong)


def test_memory_rooms_carry_all_lanes_and_late_joiners_get_the_identity():
    with open_sender("memory:hall", "person") as sender:
        assert not sender.send(Lane.LIVE, b"nobody") and not sender.send(Lane.IDENTITY, b"who")
        with open_receiver("memory:hall", "person", TransportOptions(name="anna")) as receiver:
            assert fetch(receiver, Lane.IDENTITY).data == b"who"
            assert sender.send(Lane.LIVE, b"now") and receiver.send(Lane.CONTROL, b"fine")
            arrival, report = receiver.receive(), sender.receive()
            assert (arrival.lane, arrival.data, arrival.peer) == (Lane.LIVE, b"now", "sender")
            assert (report.lane, report.data, report.peer) == (Lane.CONTROL, b"fine", "anna")
            assert sender.peers() == receiver.peers() == 1
            with pytest.raises(SomacastError, match="lane: expected CONTROL at this end, got .*LIVE"):
                receiver.send(Lane.LIVE, b"")
            with pytest.raises(SomacastError, match="expected one sender"):
                open_sender("memory:hall", "person")
            open_receiver("memory:hall", "other").close()
        receiver.close()
        assert sender.peers() == 0 and not receiver.send(Lane.CONTROL, b"gone")
    with open_receiver("memory:hall", "person") as again:
        assert again.peers() == 0 and again.receive() is None, "the room of before is gone"


def test_links_of_memory_rooms_lose_and_delay_by_script():
    clock, rng = SimulatedClock(), np.random.default_rng(3)
    profile = LinkProfile(capacity=80_000, delay_s=0.1, loss=0.2)
    network = MemoryNetwork(lambda: profile.build(rng), lambda: LinkProfile(delay_s=0.05).build(rng), clock)
    sender, receiver = network.sender(), network.receiver()
    assert receiver.header_bytes == 28
    sender.send(Lane.IDENTITY, b"me")
    assert receiver.receive().data == b"me", "what is reliable does not pass the link"
    sent_s = []
    for i in range(200):
        sent_s.append(clock())
        sender.send(Lane.LIVE, bytes([i]) * 72)
        clock.advance(0.05)
    clock.advance(1.0)
    assert receiver.receive(5.0) is not None, "nothing waits for a simulated clock"
    arrivals = drain(receiver, 0.0)
    assert 130 < len(arrivals) < 180 and network.receivers["receiver0"].down.statistics.lost == 199 - len(arrivals)
    for arrival in arrivals:
        assert arrival.time_s - sent_s[arrival.data[0]] == pytest.approx(0.1 + 100 * 8 / 80_000)
    receiver.send(Lane.CONTROL, b"late")
    assert sender.receive() is None
    clock.advance(0.05)
    assert sender.receive().data == b"late"


def test_receive_waits_on_the_real_clock_and_close_wakes_it():
    network = MemoryNetwork(lambda: LinkProfile(delay_s=0.05).build(np.random.default_rng(0)))
    sender, receiver = network.sender(), network.receiver()
    start_s = time.monotonic()
    sender.send(Lane.LIVE, b"x")
    assert receiver.receive(20.0).data == b"x" and time.monotonic() - start_s > 0.045
    threading.Timer(0.05, receiver.close).start()
    assert receiver.receive(3600.0) is None  # the end of the test's patience, if close did not wake it
    sender.close()
    sender.close()
    assert not sender.send(Lane.LIVE, b"x")


def test_addresses_of_files_open_files(tmp_path):
    path = tmp_path / "walk.soma"
    path.write_bytes(video_head("aflsc", b"abc") + RecordWriter(b"abc").record(Who(0, b"somebody")))
    with open_receiver(str(path)) as receiver:
        assert unpack_packet(receiver.receive().data, b"abc").body == Person(0, 0, b"somebody")
    with pytest.raises(SomacastError, match="no way to a receiver"):
        open_sender(str(path))
