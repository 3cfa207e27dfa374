"""Transport over Zenoh, on loopback: lanes, late joiners, rejoining, keys, strangers, noise, bytes on the wire."""

from __future__ import annotations

import contextlib
import random
import socket
import statistics
import threading
import time

import pytest

from somacast.errors import SomacastError
from somacast.network.keys import Keys, load_keys, make_keys
from somacast.network.transport.base import Lane, Limits, TransportOptions
from somacast.network.transport.open import open_receiver, open_sender
from somacast.network.transport.places import Place
from somacast.network.transport.zenoh.config import ROOT, close_session, open_session, settings
from support.network.transport_cases import UDP_IP_BYTES, CountingWay, drain, fetch, wait_until

HERE = "zenoh:127.0.0.1:0"


def place(address: str) -> str:
    """The address without the name of the transport."""
    return address.removeprefix("zenoh:")


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("keys")
    return {"mine": make_keys(base / "mine"), "theirs": make_keys(base / "theirs")}


def options(folders, secured: bool, role: int, **more) -> TransportOptions:
    return TransportOptions(keys=load_keys(folders["mine"][role]) if secured else None, lease_s=0.5, **more)


def stream(sender, count: int, size: int = 200, pause_s: float = 0.01) -> int:
    taken = 0
    for i in range(count):
        taken += sender.send(Lane.LIVE, bytes([i % 256]) * size)
        if pause_s:
            time.sleep(pause_s)
    return taken


@pytest.mark.parametrize("secured", [False, True])
def test_all_lanes_and_late_joiners(folders, secured):
    with (
        open_receiver(HERE, "person", options(folders, secured, 1, name="anna")) as receiver,
        open_sender(receiver.address, "person", options(folders, secured, 0)) as sender,
    ):
        sender.send(Lane.IDENTITY, b"first")
        assert fetch(receiver, Lane.IDENTITY).data == b"first"
        assert wait_until(lambda: sender.send(Lane.LIVE, b"now")) and fetch(receiver, Lane.LIVE).data == b"now"
        start_s = time.monotonic()
        assert wait_until(lambda: receiver.send(Lane.CONTROL, b"fine"))
        report = fetch(sender, Lane.CONTROL)
        assert (report.data, report.peer) == (b"fine", "anna") and start_s <= report.time_s <= time.monotonic()
        assert sender.peers() == receiver.peers() == 1
        whole = bytes(range(256)) * 64
        assert sender.send(Lane.IDENTITY, whole) and fetch(receiver, Lane.IDENTITY).data == whole
        assert sender.send(Lane.LIVE, b"x" * 1400) and len(fetch(receiver, Lane.LIVE).data) == 1400
        assert not sender.send(Lane.LIVE, b"x" * 1401) and not sender.send(Lane.IDENTITY, b"x" * 16_385)
        assert stream(sender, 50) == 50 and len(drain(receiver)) >= 48
        assert stream(sender, 20, pause_s=0) == 20 and len(drain(receiver)) >= 18, "a burst is not thrown away"
        with pytest.raises(SomacastError, match="lane: expected LIVE, IDENTITY"):
            sender.send(Lane.CONTROL, b"")


def test_a_second_receiver_asks_for_the_identity_and_other_rooms_hear_nothing(folders):
    plain = options(folders, False, 0)
    with (
        open_receiver(HERE, "person", plain) as one,
        open_receiver(HERE, "person", plain) as two,
        open_receiver(HERE, "cellar", plain) as other,
        open_sender(f"{one.address},{two.address},{other.address}", "person", plain) as sender,
    ):
        sender.send(Lane.IDENTITY, b"me")
        assert fetch(one, Lane.IDENTITY).data == fetch(two, Lane.IDENTITY).data == b"me"
        stream(sender, 20)
        assert len(drain(one)) >= 18 and len(drain(two)) >= 18 and drain(other) == []


def test_a_sender_may_wait_and_receivers_go_to_it_one_after_the_other(folders):
    with open_sender(HERE, "person", TransportOptions(listen=True)) as sender, contextlib.ExitStack() as stay:
        sender.send(Lane.IDENTITY, b"me")
        for _ in range(3):
            receiver = stay.enter_context(open_receiver(sender.address, "person", TransportOptions(listen=False)))
            assert fetch(receiver, Lane.IDENTITY).data == b"me"
            assert drain(receiver) == [], "once"


def test_each_side_is_missed_and_found_again(folders):
    plain = options(folders, False, 0)
    receiver = open_receiver(HERE, "person", plain)
    address = receiver.address
    with open_sender(address, "person", plain) as sender:
        sender.send(Lane.IDENTITY, b"me")
        assert fetch(receiver, Lane.IDENTITY)
        receiver.close()
        receiver.close()
        assert wait_until(lambda: not sender.send(Lane.LIVE, b"x")) and sender.peers() == 0
        with open_receiver(address, "person", plain) as again:
            assert fetch(again, Lane.IDENTITY).data == b"me", "given anew after the rejoin"
            sender.close()
            assert wait_until(lambda: again.peers() == 0) and not sender.send(Lane.LIVE, b"x")
            with open_sender(address, "person", plain) as second:
                second.send(Lane.IDENTITY, b"you")
                assert fetch(again, Lane.IDENTITY).data == b"you"


def test_a_peer_that_falls_silent_is_missed(folders):
    """The way breaks without a word: only the lease tells."""
    plain = options(folders, False, 0)
    with (
        open_receiver(HERE, "person", plain) as receiver,
        CountingWay(place(receiver.address)) as way,
        open_sender(f"zenoh:{way.address}", "person", plain) as sender,
    ):
        assert wait_until(lambda: sender.send(Lane.LIVE, b"x"))
        way.broken = True
        assert wait_until(lambda: sender.peers() == 0 and receiver.peers() == 0, 3.0)
        assert wait_until(lambda: not sender.send(Lane.LIVE, b"x"))
        way.broken = False
        assert wait_until(lambda: sender.send(Lane.LIVE, b"x"), 5.0)


def test_off_loopback_nothing_opens_without_keys(folders):
    for address in ("zenoh:0.0.0.0:0", "zenoh:192.0.2.1:7447", "zenoh:somewhere.example.org:7447"):
        with pytest.raises(SomacastError, match="expected keys"):
            open_receiver(address, "person")
        with pytest.raises(SomacastError, match="expected keys"):
            open_sender(address, "person")
    open_receiver("zenoh:0.0.0.0:0", "person", TransportOptions(insecure=True)).close()
    open_receiver("zenoh:0.0.0.0:0", "person", options(folders, True, 1)).close()


def test_places_are_spelled_as_zenoh_takes_them():
    with open_receiver("zenoh:localhost:0", "person") as receiver, open_sender(receiver.address, "person") as sender:
        assert wait_until(lambda: sender.send(Lane.LIVE, b"x"))
    with pytest.raises(SomacastError, match=r"IPv6 in figures \(udp:\[::1\]:7447 takes it\)"):
        open_sender("zenoh:[::1]:7447", "person")
    assert str(Place.parse("[::1]:7447")) == "[::1]:7447"


def test_a_place_that_is_taken_is_told():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(SomacastError, match="cannot listen there .*in use"):
            open_receiver(f"zenoh:127.0.0.1:{taken.getsockname()[1]}", "person")


@pytest.mark.parametrize("shown", ["nothing", "another authority's"])
def test_listeners_accept_nobody_without_a_certificate_of_their_authority(folders, shown):
    """A hostile client: it accepts the listener's certificate, and its own is the only thing amiss."""
    mine, theirs = load_keys(folders["mine"][0]), load_keys(folders["theirs"][0])
    with (
        open_receiver(HERE, "person", options(folders, True, 1)) as receiver,
        open_sender(receiver.address, "person", options(folders, True, 0)) as sender,
    ):
        assert wait_until(lambda: sender.send(Lane.LIVE, b"x"))
        keys = Keys(mine.authority_crt, theirs.peer_crt, theirs.peer_key, "x", theirs.expires)
        values = settings("peer", [], [Place.parse(place(receiver.address))], TransportOptions(keys=keys))
        if shown == "nothing":
            values["transport/link/tls/enable_mtls"] = False
        session = open_session(values)
        heard = []
        ear = session.declare_subscriber(f"{ROOT}/**", heard.append)
        for _ in range(60):
            session.put(f"{ROOT}/person/live", b"forged")
            sender.send(Lane.LIVE, b"x")
            time.sleep(0.01)
        foreign = [one for one in heard if one.payload.to_bytes() != b"forged"]  # a session hears itself
        assert session.info.peers_zid() == [] and foreign == []
        arrivals = drain(receiver)
        assert len(arrivals) >= 57 and not any(b"forged" in one.data for one in arrivals)
        ear.undeclare()
        close_session(session)


def test_senders_give_nothing_to_a_listener_of_another_authority_or_without(folders):
    theirs = load_keys(folders["theirs"][1])
    for keys in (theirs, None):
        with (
            open_receiver(HERE, "person", TransportOptions(keys=keys)) as trap,
            open_sender(trap.address, "person", options(folders, True, 0)) as lured,
        ):
            lured.send(Lane.IDENTITY, b"secret")
            assert trap.receive(0.6) is None and lured.peers() == 0


def test_what_is_over_the_caps_is_dropped_on_all_lanes(folders):
    """A member that does not keep to the caps: straight through Zenoh, past our sender."""
    caps = Limits(live_bytes=100, identity_bytes=200, control_bytes=50, per_second=20.0, burst=10)
    with open_receiver(HERE, "person", TransportOptions(limits=caps)) as receiver:
        places = [Place.parse(place(receiver.address))]
        session = open_session(settings("peer", [], places, TransportOptions(limits=Limits(1400, 60_000, 60_000))))
        live = session.declare_publisher(f"{ROOT}/person/live")
        assert wait_until(lambda: live.matching_status.matching)
        for size in (101, 5000, 60_000):
            live.put(b"x" * size)
            session.put(f"{ROOT}/person/identity", b"x" * (size + 200))
            assert receiver.receive(0.05) is None
        session.put(f"{ROOT}/person/live/deeper", b"x")
        session.put(f"{ROOT}/person/identity", b"")
        assert fetch(receiver, Lane.IDENTITY).data == b"", "and what is within them still comes"
        for _ in range(60):
            live.put(b"x" * 100)
        assert 5 <= len(drain(receiver)) <= 15
        assert wait_until(lambda: receiver.statistics.capped >= 40)
        session.close()


def test_noise_on_the_port_and_any_bytes_on_any_lane_are_survived(folders):
    noise = random.Random(5)
    with open_receiver(HERE, "person") as receiver, open_sender(receiver.address, "person") as sender:
        assert wait_until(lambda: sender.send(Lane.LIVE, b"x") and receiver.send(Lane.CONTROL, b"x"))
        host, port = place(receiver.address).split(":")
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as raw:
            for _ in range(300):
                with contextlib.suppress(OSError):
                    raw.sendto(noise.randbytes(noise.choice((1, 20, 60, 1200, 1400))), (host, int(port)))
        for _ in range(100):
            sender.send(Lane.LIVE, noise.randbytes(noise.randrange(1401)))
            receiver.send(Lane.CONTROL, noise.randbytes(noise.randrange(513)))
            time.sleep(0.002)
        assert len(drain(receiver)) >= 90 and len(drain(sender)) >= 90


@pytest.mark.parametrize("secured", [False, True])
def test_bytes_on_the_wire_are_as_stated(folders, secured):
    with (
        open_receiver(HERE, "person", options(folders, secured, 1)) as receiver,
        CountingWay(place(receiver.address)) as way,
        open_sender(f"zenoh:{way.address}", "person", options(folders, secured, 0)) as sender,
    ):
        sender.send(Lane.IDENTITY, b"me")
        assert fetch(receiver, Lane.IDENTITY)
        start = len(way.seen)
        time.sleep(0.2)
        up, down = (sum(size for _, one, size in way.seen[:start] if one == way_) for way_ in (1, -1))
        assert up < 6500 and down < 4000, "a handshake fits a narrow link; path probes alone would be 5700 each way"
        start = len(way.seen)
        stream(sender, 60, 300, 0.01)
        sizes = [size - 300 for _, one, size in way.seen[start:] if one == 1 and size > 300 + UDP_IP_BYTES]
        assert statistics.median(sizes) == pytest.approx(sender.header_bytes, abs=4)


def test_threads_may_share_an_end(folders):
    with open_receiver(HERE, "person") as receiver, open_sender(receiver.address, "person") as sender:
        assert wait_until(lambda: sender.send(Lane.LIVE, b"x"))
        threads = [threading.Thread(target=stream, args=(sender, 30, 50, 0.005)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(drain(receiver)) >= 100
