"""The UDP transport: from two ends on one machine to thieves, replays, and a start on a narrow link."""

from __future__ import annotations

import contextlib
import socket
import threading
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from somacast.errors import SomacastError
from somacast.network.channels.packet.profile import LinkProfile
from somacast.network.emulation.emulator import UdpLinkEmulator
from somacast.network.keys import load_keys, make_keys
from somacast.network.transport.base import Lane, Limits, TransportOptions
from somacast.network.transport.open import open_receiver, open_sender
from somacast.network.transport.udp import session as udp_end
from somacast.network.transport.udp import transport as udp
from somacast.network.transport.udp.wire import (
    DOWN,
    FRAME_BYTES,
    MAX_PARTS,
    NOBODY,
    UP,
    WINDOW,
    Assembly,
    Kind,
    Secret,
    Window,
    look,
    read_ack,
    seal,
    split,
    unseal,
)
from support.transport_cases import CountingWay, drain, fetch, wait_until

HERE = "udp:127.0.0.1:0"


@pytest.fixture(scope="module")
def homes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    make_keys(folder / "home", ["sender", "receiver"])
    make_keys(folder / "theirs", ["sender", "receiver"])
    return folder


@pytest.fixture
def keyed(homes):
    def options(role="receiver", home="home", **changes):
        return TransportOptions(keys=load_keys(homes / home / role), **changes)

    return options


class Wire:
    """Stands between a sender that goes and a receiver that listens, and carries what it is told to."""

    def __init__(self, target=None):
        self.target = None if target is None else split_address(target)
        self.near, self.far = self.socket(), self.socket()
        self.client = None

    @staticmethod
    def socket():
        made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        made.bind(("127.0.0.1", 0))
        made.settimeout(0.3)
        return made

    @property
    def address(self):
        return f"udp:127.0.0.1:{self.near.getsockname()[1]}"

    def caught(self, kind=None, least=1):
        """Datagrams that the client has sent, until `least` of the kind have come."""
        found = []
        with contextlib.suppress(TimeoutError):
            while least:
                data, self.client = self.near.recvfrom(65_536)
                found.append(data)
                least -= kind is None or data[0] & 15 == kind
        return found

    def deliver(self, *datagrams, source=None):
        for data in datagrams:
            (source or self.far).sendto(data, self.target)

    def answers(self, source=None, quiet_s=0.03):
        source, found = source or self.far, []
        source.settimeout(quiet_s)
        with contextlib.suppress(TimeoutError):
            while True:
                found.append(source.recv(65_536))
        return found

    def carry(self, seconds=0.15):
        """Both ways for a while; returns what the client said."""
        said = []
        for one in (self.near, self.far):
            one.settimeout(0.01)
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            with contextlib.suppress(TimeoutError):
                data, self.client = self.near.recvfrom(65_536)
                self.far.sendto(data, self.target)
                said.append(data)
            with contextlib.suppress(TimeoutError):
                self.near.sendto(self.far.recv(65_536), self.client)
        for one in (self.near, self.far):
            one.settimeout(0.3)
        return said

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.near.close()
        self.far.close()


def split_address(address):
    _, host, port = address.split(":")
    return host, int(port)


def crash(end):
    """Ends without a word."""
    end._leave = lambda: None
    end.close()


# datagrams


def test_a_session_has_keys_of_its_own_in_each_room_and_direction():
    room_key, one, other = bytes(range(32)), b"a" * 8, b"b" * 8
    whose = [
        (room_key, "room", DOWN, one, NOBODY),
        (room_key, "room", UP, one, NOBODY),
        (room_key, "room", UP, one, other),
        (room_key, "room", DOWN, other, NOBODY),
        (room_key, "roof", DOWN, one, NOBODY),
        (bytes(32), "room", DOWN, one, NOBODY),
        (None, "room", DOWN, one, NOBODY),
    ]
    sealers = [Secret(key, room).sealer(way, mine, theirs) for key, room, way, mine, theirs in whose]
    for k, sealer in enumerate(sealers):
        data = seal(sealer, Kind.LIVE, whose[k][3], 7, b"words")
        assert len(data) == 5 + FRAME_BYTES and look(data) == (Kind.LIVE, whose[k][3], 7)
        assert (b"words" in data) == (whose[k][0] is None), "in the clear only without keys"
        assert [unseal(one, data) for one in sealers] == [b"words" if k == n else None for n in range(len(sealers))]
        for place in range(0, len(data), 3):
            changed = bytearray(data)
            changed[place] ^= 1
            assert look(bytes(changed)) is None or unseal(sealer, bytes(changed)) is None


@settings(max_examples=60, deadline=None)
@given(st.lists(st.one_of(st.integers(0, 40), st.integers(0, 3 * WINDOW), st.integers(0, 2**40 - 1)), max_size=60))
def test_a_counter_is_taken_once(counters):
    window, seen = Window(), set()
    for counter in counters:
        highest = max(seen, default=-1)
        assert window.take(counter) == (counter not in seen and counter > highest - WINDOW)
        seen.add(counter)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=5000), st.integers(0, 70_000), st.randoms(use_true_random=False))
def test_parts_in_any_order_make_one_message(data, number, random):
    assembly, parts = Assembly(), split(number, data, 300)
    random.shuffle(parts)
    answers = [assembly.take(part) for part in [*parts, *parts]]
    assert [message for _, message in answers if message is not None] == [data]
    assert read_ack(answers[-1][0]) == (number & 0xFFFF, (1 << len(parts)) - 1)
    assert assembly.take(split(number - 1, b"older")[0]) == (None, None)
    assert assembly.take(split(number + 1, b"newer")[0])[1] == b"newer"


@settings(max_examples=40, deadline=None)
@given(st.lists(st.binary(max_size=1300), max_size=10))
def test_parts_of_anything_stay_bounded(bodies):
    assembly = Assembly()
    for body in bodies:
        assembly.take(body)
    assert len(assembly.parts) <= MAX_PARTS
    assert split(0, bytes(1200 * MAX_PARTS + 1)) is None


# two ends


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
            assert way.sizes(1).count(200 + sender.header_bytes) == 1 and sender.header_bytes == 58
            assert 8 + receiver.header_bytes in way.sizes(-1)
            before, wait_s = len(way.seen), 0.4 if with_keys else 0.0
            time.sleep(wait_s)
            assert len(way.seen) - before <= 4, "an idle link is quiet"
        assert wait_until(lambda: receiver.peers() == 0, 0.5), "who leaves says so"
        counts = receiver.statistics
        assert (counts.received, counts.rejected, counts.replayed) == (2, 0, 0)


def test_a_sender_that_listens_serves_those_who_join(keyed):
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
        assert sorted((one.peer, one.data) for one in drain(sender)) == [(f"r{k}", bytes([k])) for k in range(3)]
        sender.send(Lane.LIVE, b"to all")
        assert all(fetch(receiver, Lane.LIVE).data == b"to all" for receiver in receivers)
        receivers[0].close()
        assert wait_until(lambda: sender.peers() == 2, 0.5)


def test_who_joins_a_sender_that_has_started_anew_or_not_yet(keyed):
    with open_sender(HERE, "room", keyed("sender", listen=True)) as sender:
        address = sender.address
    with open_receiver(address, "room", keyed(listen=False, lease_s=0.4)) as receiver:
        for turn in range(2):
            with open_sender(address, "room", keyed("sender", listen=True)) as sender:
                sender.send(Lane.IDENTITY, bytes([turn]))
                assert fetch(receiver, Lane.IDENTITY).data == bytes([turn])
                (crash if turn == 0 else lambda end: end.close())(sender)


@pytest.mark.parametrize("ending", [crash, lambda end: end.close()])
def test_either_end_starts_anew(keyed, ending):
    with contextlib.ExitStack() as stack:

        def started(opened, address, role):
            end = opened(address, "room", keyed(role, lease_s=0.8))
            stack.callback(end.close)
            return end

        receiver = started(open_receiver, HERE, "receiver")
        sender = started(open_sender, receiver.address, "sender")
        sender.send(Lane.IDENTITY, b"one")
        assert fetch(receiver, Lane.IDENTITY).data == b"one"
        ending(sender)
        sender = started(open_sender, receiver.address, "sender")
        sender.send(Lane.IDENTITY, b"two")
        assert fetch(receiver, Lane.IDENTITY, 1.5).data == b"two"
        ending(receiver)
        receiver = started(open_receiver, receiver.address, "receiver")
        assert fetch(receiver, Lane.IDENTITY, 2.5).data == b"two", "without being sent again"
        sender.send(Lane.LIVE, b"on")
        assert fetch(receiver, Lane.LIVE).data == b"on"


def test_a_silent_side_is_gone_after_the_lease(keyed):
    with (
        open_receiver(HERE, "room", keyed(lease_s=0.3)) as receiver,
        CountingWay(receiver.address[4:]) as way,
        open_sender("udp:" + way.address, "room", keyed("sender", lease_s=0.3)) as sender,
    ):
        assert wait_until(lambda: sender.peers() == receiver.peers() == 1)
        time.sleep(0.35)
        assert sender.peers() == receiver.peers() == 1, "kept up without messages"
        way.broken = True
        assert wait_until(lambda: sender.peers() == receiver.peers() == 0, 1.0)
        way.broken = False
        sender.send(Lane.IDENTITY, b"again")
        assert fetch(receiver, Lane.IDENTITY, 1.0).data == b"again"
        assert wait_until(lambda: sender.peers() == receiver.peers() == 1, 1.0)


# thieves


def test_strangers_are_refused_without_an_answer(keyed, homes):
    with open_receiver(HERE, "room", keyed()) as receiver, Wire(receiver.address) as wire:
        stranger = Wire.socket()
        for options, room in (
            (keyed("sender", "theirs"), "room"),
            (keyed("sender"), "roof"),
            (TransportOptions(), "room"),
        ):
            before = receiver.statistics.rejected
            with open_sender(wire.address, room, options) as sender:
                sender.send(Lane.LIVE, b"theirs")
                wire.deliver(*wire.caught(Kind.LIVE), source=stranger)
            assert wait_until(lambda before=before: receiver.statistics.rejected > before)
        with open_sender(wire.address, "room", keyed("sender")) as sender:
            sender.send(Lane.LIVE, b"true")
            (live,) = [data for data in wire.caught(Kind.LIVE) if data[0] & 15 == Kind.LIVE]
            wire.deliver(live[:-1], live + b"x", b"", live[:14], bytes(1500), source=stranger)
            assert not wire.answers(stranger) and receiver.receive() is None and not receiver.peers()
            wire.deliver(live)
            assert fetch(receiver, Lane.LIVE).data == b"true"
            (ask,) = [data for data in wire.answers() if data[0] & 15 == Kind.ASK][:1]
            wire.deliver(live, live, ask, source=stranger)  # again, and mirrored
            assert receiver.receive(0.1) is None and not wire.answers(stranger)
            assert receiver.statistics.replayed == 2
        stranger.close()


def test_answers_go_where_the_newest_datagram_came_from(keyed):
    with (
        open_receiver(HERE, "room", keyed()) as receiver,
        Wire(receiver.address) as wire,
        open_sender(wire.address, "room", keyed("sender")) as sender,
    ):
        elsewhere = Wire.socket()
        for k in range(4):
            sender.send(Lane.LIVE, bytes([k]))
        caught = [data for data in wire.caught(Kind.LIVE, 4) if data[0] & 15 == Kind.LIVE]
        wire.deliver(caught[0])
        wire.deliver(caught[2], source=elsewhere)
        wire.deliver(caught[1])  # older, late: moves nothing
        assert [one.data for one in drain(receiver)] == [b"\0", b"\2", b"\1"]
        wire.answers(), wire.answers(elsewhere)
        assert receiver.send(Lane.CONTROL, b"here")
        assert [data[0] & 15 for data in wire.answers(elsewhere)][:1] == [Kind.CONTROL]
        elsewhere.close()


def test_a_session_of_yesterday_is_shown_to_be_one(keyed, monkeypatch):
    monkeypatch.setattr(udp_end, "PROVE_S", 0.25)
    with open_receiver(HERE, "room", keyed()) as receiver, Wire(receiver.address) as wire:
        with open_sender(wire.address, "room", keyed("sender")) as sender:
            for k in range(60):
                sender.send(Lane.LIVE, bytes([k]))
            yesterday = [data for data in wire.caught(Kind.LIVE, 60) if data[0] & 15 == Kind.LIVE]
        wire.caught(Kind.BYE)
        thief = Wire.socket()
        wire.deliver(*yesterday[:5], source=thief)
        assert len(drain(receiver, 0.05)) == 5, "nobody can tell yet"
        sent = sum(map(len, wire.answers(thief, 0.3)))
        assert 0 < sent <= udp.TRUST_BYTES * sum(map(len, yesterday[:5]))
        wire.deliver(*yesterday[5:20], source=thief)
        assert not drain(receiver, 0.1) and not receiver.peers() and receiver.statistics.rejected == 15
        assert not receiver.send(Lane.CONTROL, b"secret habits")
        with open_sender(wire.address, "room", keyed("sender")) as sender:
            sender.send(Lane.IDENTITY, b"today")
            wire.carry()
            assert fetch(receiver, Lane.IDENTITY).data == b"today" and sender.peers() == 1
            wire.deliver(*yesterday[20:40], source=thief)
            assert not drain(receiver, 0.05)
        wire.carry(0.05)
        assert wait_until(lambda: not receiver.peers(), 0.5)
        wire.deliver(*yesterday[40:], source=thief)
        assert not drain(receiver, 0.05), "met before, never proven"
        thief.close()


def test_a_true_sender_displaces_a_session_of_yesterday_at_once(keyed):
    with open_receiver(HERE, "room", keyed()) as receiver, Wire(receiver.address) as wire:
        with open_sender(wire.address, "room", keyed("sender")) as sender:
            for _ in range(9):
                sender.send(Lane.LIVE, b"old")
            old = wire.caught(Kind.LIVE, 9)
        wire.caught(Kind.BYE)
        wire.deliver(*old[:3])
        assert drain(receiver, 0.05)
        with open_sender(wire.address, "room", keyed("sender")) as sender:
            sender.send(Lane.LIVE, b"new")
            wire.carry()
            assert [one.data for one in drain(receiver, 0.05)] == [b"new"]
            wire.deliver(*old[3:])
            assert not drain(receiver, 0.05), "the true one is proven"


def test_a_sender_hears_only_what_was_said_to_it_now(keyed):
    with open_sender(HERE, "room", keyed("sender", listen=True)) as sender:
        target = split_address(sender.address)
        with Wire() as wire, open_receiver(wire.address, "room", keyed(listen=False)):
            wire.target = target
            recorded = wire.carry(0.3)
            assert sender.peers() == 1
        join, asks = ([data for data in recorded if data[0] & 15 == kind] for kind in (Kind.JOIN, Kind.ASK))
    with open_sender(sender.address, "room", keyed("sender", listen=True)) as sender, Wire(sender.address) as wire:
        sender.send(Lane.IDENTITY, bytes(9000))
        assert asks
        wire.deliver(*asks)
        assert not wire.answers() and sender.peers() == 0
        wire.deliver(*join * 200)
        answers = wire.answers()
        assert 1 <= len(answers) <= udp.JOINS_AT_ONCE + 20 and {len(one) for one in answers} == {len(join[0])}
        assert sender.peers() == 0 and len(sender._peers) == 0


# caps


def test_caps_hold(keyed):
    limits = Limits(peers=2, forget_s=0.3)
    with contextlib.ExitStack() as stack:
        sender = stack.enter_context(open_sender(HERE, "room", keyed("sender", listen=True, limits=limits)))
        made = [open_receiver(sender.address, "room", keyed(listen=False, lease_s=0.3)) for _ in range(3)]
        for receiver in made:
            stack.callback(receiver.close)
        assert wait_until(lambda: sender.peers() == 2 and sender.statistics.capped)
        assert len(sender._peers) == 2
        served = [receiver for receiver in made if receiver._session in sender._peers]
        crash(served[0])
        assert wait_until(lambda: all(one.peers() for one in made if one is not served[0]), 3.0), "the third has room"
    small = Limits(identity_bytes=100, live_bytes=50)
    with (
        open_receiver(HERE, "room", TransportOptions(limits=small)) as receiver,
        open_sender(receiver.address, "room") as sender,
    ):
        assert not sender.send(Lane.LIVE, bytes(1401)) and not sender.send(Lane.IDENTITY, bytes(16_385))
        sender.send(Lane.IDENTITY, bytes(101))
        sender.send(Lane.LIVE, bytes(51))
        assert wait_until(lambda: receiver.statistics.capped == 2) and receiver.receive() is None
        with pytest.raises(SomacastError, match="lane: expected"):
            sender.send(Lane.CONTROL, b"")


def test_memory_of_sessions_is_bounded(keyed, monkeypatch):
    monkeypatch.setattr(udp_end, "MAX_RETIRED", 50)
    receiver, secret = open_receiver(HERE, "room", keyed()), None
    with receiver:
        secret = receiver._secret
        for k in range(200):
            session = k.to_bytes(8)
            data = seal(secret.sealer(DOWN, session), Kind.LIVE, session, 0, b"x")
            bye = seal(secret.sealer(DOWN, session), Kind.BYE, session, 1, b"")
            with receiver._lock:
                receiver._take(data, ("127.0.0.1", 9), time.monotonic())
                if k % 2:
                    receiver._take(bye, ("127.0.0.1", 9), time.monotonic())
            assert len(receiver._peers) <= udp.MAX_SENDERS and len(receiver._retired) <= 50
    assert receiver.peers() == 0 and not receiver.send(Lane.CONTROL, b"x")


def test_what_is_over_and_what_was_proven_to_others_counts_for_nothing(keyed, monkeypatch):
    monkeypatch.setattr(udp_end, "PROVE_S", 0.2)
    with open_receiver(HERE, "room", keyed(lease_s=0.5)) as receiver:
        secret, place, mine = receiver._secret, ("127.0.0.1", 9), receiver._session

        def say(session, counter, kind=Kind.LIVE, body=bytes(50)):
            with receiver._lock:
                data = seal(secret.sealer(DOWN, session), kind, session, counter, body)
                receiver._take(data, place, time.monotonic())
            return len(drain(receiver, 0.0))

        assert say(b"finished", 0) == 1 and say(b"finished", 1, Kind.BYE) == 0 and say(b"finished", 2) == 0
        assert wait_until(lambda: receiver._session != mine), "a session of its own for each sender it has lost"
        assert say(b"recorded", 0, Kind.PROOF, b"somebody") == 0 and say(b"recorded", 1) == 1
        answered = sum(receiver.send(Lane.CONTROL, bytes(100)) for _ in range(20))
        assert answered <= 3, "before the proof no more than three times what came"
        time.sleep(0.25)
        assert say(b"recorded", 2) == 0
        assert say(b"recorded", 3, Kind.PROOF, receiver._session) == 0 and say(b"recorded", 4) == 1


def test_replays_do_not_drive_out_a_sender_that_is_away(keyed):
    with open_receiver(HERE, "room", keyed(lease_s=0.2)) as receiver:
        secret, place = receiver._secret, ("127.0.0.1", 9)

        def say(session, counter, kind=Kind.LIVE, body=b"x"):
            with receiver._lock:
                data = seal(secret.sealer(DOWN, session), kind, session, counter, body)
                receiver._take(data, place, time.monotonic())

        say(b"the true", 0, Kind.PROOF, receiver._session)
        time.sleep(0.25)
        for k in range(40):
            say(k.to_bytes(8), 0)
        drain(receiver, 0.0)
        say(b"the true", 1, body=b"back")
        assert [one.data for one in drain(receiver, 0.0)] == [b"back"]


@pytest.fixture(scope="module")
def pair():
    with open_sender(HERE, "room", TransportOptions(listen=True)) as sender, open_receiver(HERE, "room") as receiver:
        yield sender, receiver


@settings(max_examples=200, deadline=None)
@given(
    st.booleans(),
    st.one_of(st.binary(max_size=200), st.binary(min_size=29, max_size=80).map(lambda rest: b"\x11" + rest)),
    st.integers(0, 9),
    st.sampled_from([NOBODY, b"a" * 8, b"b" * 8]),
    st.integers(0, 40),
    st.booleans(),
)
def test_any_bytes_raise_nothing(pair, at_sender, body, kind, session, counter, sealed):
    end = pair[0] if at_sender else pair[1]
    data = body
    if sealed and kind in list(Kind):
        way, other = (UP, NOBODY if kind == Kind.JOIN else end._session) if at_sender else (DOWN, NOBODY)
        data = seal(end._secret.sealer(way, session, other), Kind(kind), session, counter, body)
    with end._lock:
        end._take(data, ("127.0.0.1", 9), time.monotonic())
        end._tick(time.monotonic())
    end.receive()


# links


def test_identity_comes_once_over_a_lossy_link(keyed):
    lossy = LinkProfile(delay_s=0.01, loss=0.25, jitter_s=0.01, duplication=0.4)
    with (
        open_receiver(HERE, "room", keyed(lease_s=5.0)) as receiver,
        UdpLinkEmulator("127.0.0.1:0", receiver.address[4:], up=lossy, down=lossy, seed=3) as link,
        open_sender("udp:{}:{}".format(*link.address), "room", keyed("sender", lease_s=5.0)) as sender,
    ):
        data = np.random.default_rng(1).bytes(2000)
        sender.send(Lane.IDENTITY, data)
        found = fetch(receiver, Lane.IDENTITY, 6.0)
        assert found is not None and found.data == data
        assert wait_until(lambda: not unacknowledged(sender), 4.0)
        assert fetch(receiver, Lane.IDENTITY, 0.1) is None and receiver.statistics.replayed > 0


def unacknowledged(sender):
    with sender._lock:
        whole = (1 << len(sender._parts)) - 1
        return any(route.acked != whole for route, _ in sender._routes(time.monotonic()))


def start_s(keyed, seed, slow):
    """Seconds from the first datagram until identity and motion are there."""
    with (
        open_receiver(HERE, "room", keyed()) as receiver,
        UdpLinkEmulator("127.0.0.1:0", receiver.address[4:], up=slow, down=slow, seed=seed) as link,
        open_sender("udp:{}:{}".format(*link.address), "room", keyed("sender")) as sender,
    ):
        begin_s, sent, came = time.monotonic(), 0, {}
        sender.send(Lane.IDENTITY, bytes(600))
        while len(came) < 2 and time.monotonic() < begin_s + 4:
            if time.monotonic() >= begin_s + 0.1 * sent:
                sender.send(Lane.LIVE, bytes(120))
                sent += 1
            arrival = receiver.receive(0.01)
            if arrival is not None:
                came.setdefault(arrival.lane, arrival.time_s - begin_s)
        return max(came.values()) if len(came) == 2 else np.inf


def test_start_on_a_narrow_link_with_loss(keyed):
    slow, found = LinkProfile(capacity=50_000, delay_s=0.05, loss=0.1), []
    threads = [threading.Thread(target=lambda k=k: found.append(start_s(keyed, k, slow))) for k in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    middle, most = np.percentile(found, [50, 95])
    print(f"p50 {middle:.3f} s, p95 {most:.3f} s, max {max(found):.3f} s")
    assert len(found) == 20 and middle < 0.4 and most < 1.5


# opening


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
    with open_receiver(HERE, "room") as receiver, pytest.raises(SomacastError, match="cannot be opened"):
        open_receiver(receiver.address, "room")
    with open_receiver("udp:0.0.0.0:0", "room", TransportOptions(insecure=True)) as receiver:
        assert receiver.header_bytes == 58
    with open_receiver("udp:0.0.0.0:0", "room", keyed()):
        pass


def test_addresses_of_files_open_files(tmp_path):
    from somacast.bitstream.packets import End, LivePacket, pack_packet

    path, packet = str(tmp_path / "walk.soma"), pack_packet(LivePacket(0, 0, End()), b"abc")
    with open_sender(path, options=TransportOptions(file_head=b"\x9eS\x30\x01abc")) as sender:
        sender.send(Lane.LIVE, packet)
    with open_receiver(path) as receiver:
        assert receiver.receive().data == packet
