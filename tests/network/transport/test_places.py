"""Where ends are: names with several addresses, both families of IP, what is mistyped, and lines that say why."""

from __future__ import annotations

import socket

import pytest

from somacast.errors import SomacastError
from somacast.network.transport.base import Lane, TransportOptions
from somacast.network.transport.open import open_receiver, open_sender
from somacast.network.transport.places import Place
from somacast.network.transport.udp import session
from support.network.transport_cases import fetch, wait_until

SIX = len(Place("localhost", 0).figures()) == 2
SAFE = TransportOptions(insecure=True)


def test_this_machine_speaks_both_families_or_says_so():
    if not SIX:
        pytest.skip("NO IPv6 ON THIS MACHINE: ITS TESTS SAY NOTHING HERE")


# what is typed


@pytest.mark.parametrize(
    ("text", "like"),
    [
        ("127.0.0.1", r"127.0.0.1:7447 \(a port behind it\)"),
        ("localhost", r"localhost:7447 \(a port behind it\)"),
        ("udp:studio", r"studio:7447 \(a port behind it\)"),
        ("udp:[::1]", r"\[::1\]:7447 \(a port behind it\)"),
        ("zenoh:127.0.0.1", r"127.0.0.1:7447 \(a port behind it\)"),
        ("::1", r"\[::1\]:7447 \(IPv6 in brackets\)"),
        ("::1:7447", r"IPv6 in brackets"),
        ("udp:fd00::2:7447", r"IPv6 in brackets"),
        ("udp:fe80::1%eth0", r"IPv6 in brackets"),
        ("udp:fe80::1%eth0:17447", r"IPv6 in brackets"),
        ("2001:db8::1:39539", r"IPv6 in brackets"),
        ("127.0.0.1:", "HOST:PORT"),
        ("127.0.0.1:65536", "HOST:PORT"),
        ("127.0.0.1:-1", "HOST:PORT"),
        ("127.0.0.1:٣", "HOST:PORT"),
        ("127.0.0.1:7447 ", "HOST:PORT"),
        ("udp://127.0.0.1:7447", "HOST:PORT"),
        ("127.0.0.1:7447,127.0.0.1:7448", "zenoh:127.0.0.1:7447,127.0.0.1:7448 for several"),
        ("person.mp4", "FILE.soma"),
        ("https://example.org", "FILE.soma"),
    ],
)
def test_what_is_mistyped_is_shown_as_it_should_be(text, like):
    for opened in (open_sender, open_receiver):
        with pytest.raises(SomacastError, match=f"expected .*{like}") as fault:
            opened(text, "person", SAFE)
        assert "\n" not in str(fault.value) and len(str(fault.value)) < 250


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("127.0.0.1:1", "127.0.0.1"),
        ("[::1]:1", "::1"),
        ("[fe80::1%eth0]:1", "fe80::1%eth0"),
        ("my_box:1", "my_box"),
        ("müller.local:1", "müller.local"),
        ("xn--mller-kva.local:1", "xn--mller-kva.local"),
    ],
)
def test_every_kind_of_host_is_read_and_written_alike(text, host):
    assert Place.parse(text).host == host and str(Place.parse(text)) == text


@pytest.mark.parametrize("kind", ["", "udp:", "zenoh:", "webrtc:http://"])
@pytest.mark.parametrize("name", ["no-such-host.invalid", "x" * 64 + ".invalid", "müller..invalid"])
def test_a_name_that_nobody_knows_is_told_at_once(monkeypatch, kind, name):
    def nobody(host, *_, **__):
        if "x" * 64 in host or ".." in host:
            raise UnicodeError("label empty or too long")
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", nobody)
    pytest.importorskip("aiortc" if kind.startswith("webrtc") else "zenoh")
    with pytest.raises(SomacastError, match="expected a host that is known") as fault:
        open_sender(f"{kind}{name}:7447", "person", SAFE)
    assert "\n" not in str(fault.value)


@pytest.mark.parametrize(
    "room", ["Wohnzimmer Süd", "a/b", "*", "$ROOM", "", "living room", "ä", "🙂", "x" * 65, "../x", "-r"]
)
@pytest.mark.parametrize("address", ["memory:hall", "udp:127.0.0.1:0", "zenoh:127.0.0.1:0", "kept.soma"])
def test_odd_rooms_are_refused_alike_by_every_transport(room, address, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for opened in (open_sender, open_receiver):
        with pytest.raises(SomacastError, match="room: expected letters") as fault:
            opened(address, room)
        assert "\n" not in str(fault.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("room", ["person", "Room-1", "a.b_c", "7", "x" * 64])
def test_plain_rooms_are_taken(room):
    open_receiver("udp:127.0.0.1:0", room).close()


# who finds whom

PAIRS = [
    ("127.0.0.1", "127.0.0.1"),
    ("127.0.0.1", "localhost"),
    ("localhost", "127.0.0.1"),
    ("localhost", "localhost"),
    ("localhost", "LOCALHOST"),
    ("::1", "::1"),
    ("::1", "localhost"),
    ("localhost", "::1"),
    ("::", "::1"),
    ("::", "127.0.0.1"),
    ("::", "localhost"),
    ("0.0.0.0", "localhost"),
]


@pytest.mark.parametrize("goes", ["sender", "receiver"])
@pytest.mark.parametrize(("here", "there"), PAIRS)
@pytest.mark.parametrize("kind", ["", "udp:"])
def test_both_ends_find_each_other_whatever_the_machine_is_called(kind, here, there, goes):
    if not SIX and ":" in here + there:
        pytest.skip("NO IPv6 ON THIS MACHINE")
    first, second = (open_receiver, open_sender) if goes == "sender" else (open_sender, open_receiver)
    with first(f"{kind}{Place(here, 0)}", "person", TransportOptions(insecure=True, listen=True)) as waits:
        port = int(waits.address.rpartition(":")[2])
        options = TransportOptions(insecure=True, listen=False)
        with second(f"{kind}{Place(there, port)}", "person", options) as comes:
            assert wait_until(lambda: waits.peers() == comes.peers() == 1)
            sender, receiver = (comes, waits) if goes == "sender" else (waits, comes)
            assert sender.send(Lane.LIVE, b"now") and receiver.send(Lane.CONTROL, b"fine")
            assert fetch(receiver, Lane.LIVE).data == b"now" and fetch(sender, Lane.CONTROL).data == b"fine"


@pytest.mark.parametrize("first", [(), ("192.0.2.1",), ("2001:db8::1", "192.0.2.1")])
@pytest.mark.parametrize("listens_at", ["127.0.0.1", "::1"])
def test_all_addresses_of_a_name_are_tried(monkeypatch, first, listens_at):
    if not SIX:
        pytest.skip("NO IPv6 ON THIS MACHINE")
    found = *first, listens_at
    with open_receiver(f"udp:{Place(listens_at, 0)}", "person", SAFE) as receiver:

        def lookup(host, port, **_):
            family = {True: socket.AF_INET6, False: socket.AF_INET}
            return [(family[":" in one], socket.SOCK_DGRAM, 17, "", (one, port)) for one in found]

        monkeypatch.setattr(socket, "getaddrinfo", lookup)
        port = receiver.address.rpartition(":")[2]
        with open_sender(f"udp:studio.example.org:{port}", "person", SAFE) as sender:
            assert wait_until(lambda: sender.peers() == receiver.peers() == 1)
            assert sender.send(Lane.LIVE, b"now") and fetch(receiver, Lane.LIVE).data == b"now"


def test_a_machine_without_ipv6_still_listens_at_localhost(monkeypatch):
    real = socket.socket.bind

    def bind(made, address):
        if ":" in address[0]:
            raise OSError(99, "Cannot assign requested address")
        real(made, address)

    monkeypatch.setattr(socket, "socket", type("Four", (socket.socket,), {"bind": bind}))
    with open_receiver("udp:localhost:0", "person") as receiver, open_sender(receiver.address, "person") as sender:
        assert len(receiver._sockets.own) == 1
        assert wait_until(lambda: sender.peers() == 1)


@pytest.mark.parametrize("taken_at", ["127.0.0.1", "::1"])
@pytest.mark.parametrize("kind", ["", "udp:", "zenoh:", "webrtc:http://"])
@pytest.mark.parametrize("name", ["itself", "localhost"])
def test_a_port_in_use_is_one_clear_line(kind, taken_at, name):
    if not SIX and ":" in taken_at:
        pytest.skip("NO IPv6 ON THIS MACHINE")
    if kind.startswith("webrtc"):
        pytest.importorskip("aiortc")
    family = socket.AF_INET6 if ":" in taken_at else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM if kind.startswith("webrtc") else socket.SOCK_DGRAM) as taken:
        taken.bind((taken_at, 0))
        if kind.startswith("webrtc"):
            taken.listen()
        place = Place(taken_at if name == "itself" else name, taken.getsockname()[1])
        with pytest.raises(SomacastError, match="cannot listen there .*in use: is another program") as fault:
            open_receiver(f"{kind}{place}", "person")
        assert str(place.port) in str(fault.value) and "\n" not in str(fault.value)


def test_webrtc_finds_itself_at_both_families():
    pytest.importorskip("aiortc")
    for here, there in (("localhost", "127.0.0.1"), ("localhost", "::1"), ("::1", "localhost"), ("::1", "::1")):
        if not SIX and ":" in here + there:
            continue
        with open_receiver(f"webrtc:http://{Place(here, 0)}", "person") as receiver:
            port = int(receiver.address.rpartition(":")[2])
            with open_sender(f"webrtc:http://{Place(there, port)}", "person") as sender:
                assert wait_until(lambda: sender.peers() == receiver.peers() == 1, 10.0), (here, there)
                assert not sender.notice


# why nobody is found


def test_who_finds_nobody_says_where_and_takes_it_back(lab):
    sim = lab()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    sender = sim.sender(f"udp:127.0.0.1:{port}", TransportOptions())
    sim.run(2.9)
    assert not sender.notice
    sim.run(0.2)
    assert sender.notice == f"nobody answers at udp:127.0.0.1:{port}; expected a receiver of room room there"
    sim.run(20.0)
    assert sender.notice.startswith("nobody answers"), "still"
    receiver = sim.receiver(f"udp:127.0.0.1:{port}", TransportOptions())
    assert sim.run(2.0, lambda: sender.peers() == 1 and not sender.notice), "started after the sender"
    receiver._leave = lambda: None
    receiver.close()
    sim.run(10.0)
    assert sender.notice.startswith("nobody answers"), "and when it has gone"


def test_a_name_is_told_with_its_addresses(lab):
    sim = lab()
    sender = sim.sender("udp:localhost:9", TransportOptions())
    receiver = sim.receiver("udp:localhost:9", TransportOptions(listen=False))
    sim.run(4.0)
    assert sender.notice == "nobody answers at udp:localhost:9 (127.0.0.1, ::1); expected a receiver of room room there"
    assert "expected a sender of room room" in receiver.notice


@pytest.mark.parametrize("odd", ["room", "keys", "none"])
def test_who_is_of_another_room_or_key_is_told_at_both_ends(lab, keyed, odd):
    sim = lab()
    receiver = sim.receiver("udp:127.0.0.1:0", keyed())
    options = {"room": keyed("sender"), "keys": keyed("sender", "theirs"), "none": TransportOptions()}[odd]
    sender = sim.sender(receiver.address, options, "cellar" if odd == "room" else "room")
    sim.run(4.0)
    assert receiver.notice == "127.0.0.1 is turned away: its room is not room, or its keys are others"
    assert sender.notice.startswith("nobody answers at udp:127.0.0.1:")
    sender.close()
    sim.run(session.NOTICE_S + 0.1)
    assert not receiver.notice, "and forgotten when it has gone"


def test_who_speaks_another_transport_is_told(lab):
    sim = lab()
    receiver = sim.receiver("udp:127.0.0.1:0", TransportOptions())
    sim.deliver(receiver, b"\xc3" + bytes(1199))
    assert receiver.notice.startswith("192.0.2.9 speaks QUIC, as zenoh:HOST:PORT does")


def test_zenoh_and_webrtc_say_so_too(monkeypatch):
    pytest.importorskip("zenoh")
    from somacast.network.transport.zenoh import ends

    monkeypatch.setattr(ends, "NOBODY_S", 0.1)
    with open_sender("zenoh:127.0.0.1:9", "person") as sender:
        assert wait_until(lambda: sender.notice.startswith("nobody answers at zenoh:127.0.0.1:9;"))
    with (
        open_receiver("zenoh:127.0.0.1:0", "cellar") as receiver,
        open_sender(receiver.address, "person") as sender,
    ):
        assert wait_until(lambda: sender.notice.startswith("no receiver of room person at zenoh:127.0.0.1:"))
    pytest.importorskip("aiortc")
    with open_sender("webrtc:http://127.0.0.1:9", "person") as sender:
        assert wait_until(lambda: sender.notice.startswith("nobody answers at webrtc:http://127.0.0.1:9;"))
    with (
        open_receiver("webrtc:http://127.0.0.1:0", "cellar") as receiver,
        open_sender(receiver.address, "person") as sender,
    ):
        assert wait_until(lambda: "expected a receiver of room person, got one of another (404)" in sender.notice)
