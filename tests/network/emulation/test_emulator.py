"""The link emulator: real sockets on 127.0.0.1 against what the models say.

Times on a busy machine have no upper bound: clocks are checked from below, and from above what the models decided.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from somacast.errors import SomacastError
from somacast.network.channels.packet.link import Link
from somacast.network.channels.packet.profile import LinkProfile
from somacast.network.channels.packet.trace import BandwidthTrace
from somacast.network.emulation.emulator import UdpLinkEmulator
from somacast.network.emulation.realtime import RealTimeLinks
from support.network.emulator_cases import IDEAL, name_of, udp

HEADER = IDEAL.header_bytes


@contextmanager
def setting(up: LinkProfile = IDEAL, down: LinkProfile = IDEAL, seed: int = 0, **options) -> Iterator[tuple]:
    """An emulator, a client that is connected to it, and its target."""
    with (
        udp() as target,
        udp() as client,
        UdpLinkEmulator("127.0.0.1:0", name_of(target), up, down, seed, **options) as emulator,
    ):
        client.connect(emulator.address)
        yield emulator, client, target


def collect(end: socket.socket, count: int) -> list[tuple[float, bytes]]:
    """Arrivals with their times, until there are `count` or nothing comes for half a second."""
    end.settimeout(0.5)
    arrived = []
    while len(arrived) < count:
        try:
            payload = end.recv(65_535)
        except TimeoutError:
            break
        arrived.append((time.monotonic(), payload))
    return arrived


def wait_for(condition: Callable[[], object], limit_s: float = 3.0) -> None:
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, "waited too long"
        time.sleep(0.005)


# carrying ------------------------------------------------------------------------------------------------------------


def test_an_ideal_link_changes_nothing_either_way() -> None:
    rng = np.random.default_rng(1)
    payloads = [b"", b"\0" * 3, *(rng.bytes(int(n)) for n in rng.integers(1, 1500, 60)), rng.bytes(60_000)]
    with setting() as (emulator, client, target):
        for payload in payloads:
            client.send(payload)
            got, back = target.recvfrom(65_535)
            assert got == payload
            target.sendto(payload[::-1], back)
            assert client.recv(65_535) == payload[::-1]
        wait_for(lambda: emulator.down.delivered == len(payloads))
        size = sum(map(len, payloads)) + HEADER * len(payloads)
        for counts in (emulator.up, emulator.down):
            assert (counts.sent, counts.sent_bytes, counts.delivered_bytes) == (len(payloads), size, size)
            assert counts.lost == counts.dropped == counts.duplicated == counts.reordered == 0
        assert emulator.lateness.count >= 2 * len(payloads) - 1


def test_each_client_gets_its_own_answers() -> None:
    with setting() as (emulator, client, target), udp() as second:
        second.connect(emulator.address)
        for end, name in ((client, b"one"), (second, b"two")):
            end.send(name)
        backs = dict(target.recvfrom(99) for _ in range(2))
        assert len({port for _, port in backs.values()}) == 2  # the target tells them apart
        for name in (b"two", b"one"):
            target.sendto(name + b"!", backs[name])
        assert client.recv(99) == b"one!" and second.recv(99) == b"two!"
        assert emulator.counts.clients == 2


def test_answers_of_strangers_are_not_forwarded() -> None:
    with setting() as (emulator, client, target), udp() as stranger:
        client.send(b"hello")
        _, back = target.recvfrom(99)
        stranger.sendto(b"forged", back)
        target.sendto(b"true", back)
        assert client.recv(99) == b"true"
        assert emulator.down.sent == 1


def test_delay_is_kept_and_never_undercut() -> None:
    with setting(LinkProfile(delay_s=0.02), LinkProfile(delay_s=0.03)) as (emulator, client, target):
        trips = []
        for _ in range(12):
            start_s = time.monotonic()
            client.send(b"ping")
            payload, back = target.recvfrom(99)
            middle_s = time.monotonic()
            target.sendto(payload, back)
            client.recv(99)
            trips.append((middle_s - start_s, time.monotonic() - middle_s))
        up, down = np.array(trips).T
        assert up.min() >= 0.02 and down.min() >= 0.03
        delays = emulator.up.delays, emulator.down.delays
        assert [one.max_s for one in delays] == pytest.approx([0.02, 0.03])


@pytest.mark.parametrize(("rate_bps", "wire_bytes", "count"), [(20_000, 50, 25), (1_000_000, 1250, 60)])
def test_rate_is_kept_on_the_wire(rate_bps: int, wire_bytes: int, count: int) -> None:
    with setting(LinkProfile(capacity=rate_bps, queue_bytes=1 << 20)) as (emulator, client, target):
        start_s = time.monotonic()
        for _ in range(count):
            client.send(bytes(wire_bytes - HEADER))
        arrived = collect(target, count)
        due_s = np.arange(1, count + 1) * 8 * wire_bytes / rate_bps
        assert np.all(np.array([time_s for time_s, _ in arrived]) - start_s >= due_s)
        assert emulator.up.delays.max_s <= due_s[-1] + 1e-9


def test_capacity_follows_its_trace_on_the_real_clock() -> None:
    trace = BandwidthTrace([0.0, 0.3], [40_000, 400_000])
    start_s = time.monotonic()
    with setting(LinkProfile(capacity=trace, queue_bytes=1 << 20)) as (emulator, client, target):
        for _ in range(60):
            client.send(bytes(250 - HEADER))
        times = np.array([time_s for time_s, _ in collect(target, 60)]) - start_s
        due_s = np.concatenate([np.arange(1, 7) * 0.05, 0.3 + np.arange(1, 55) * 0.005])
        assert np.all(times >= due_s - 1e-9)
        assert emulator.up.delays.max_s <= due_s[-1] + 1e-9


def test_losses_are_those_of_the_model_with_the_same_seed() -> None:
    profile = LinkProfile(loss=0.3, mean_burst=2.0)
    payloads = [number.to_bytes(2) for number in range(200)]

    def through(seed: int) -> list[bytes]:
        with setting(profile, profile, seed) as (emulator, client, target):
            for payload in payloads:
                client.send(payload)
            wait_for(lambda: emulator.up.sent == len(payloads))
            wait_for(lambda: emulator.up.delivered + emulator.up.lost == len(payloads))
            return [payload for _, payload in collect(target, emulator.up.delivered)]

    model = profile.build(np.random.default_rng(7).spawn(2)[0])
    want = [payload for _, payload in model.carry((0.0, payload) for payload in payloads)]
    assert through(7) == want and 90 < len(want) < 180
    assert through(8) != want


def test_full_queues_drop_and_copies_are_made() -> None:
    with setting(LinkProfile(capacity=100_000, queue_bytes=500)) as (emulator, client, target):
        for _ in range(20):
            client.send(bytes(250 - HEADER))  # one on the wire, two wait
        wait_for(lambda: emulator.up.sent == 20)
        assert len(collect(target, 20)) == emulator.up.delivered == 3
        assert emulator.up.dropped == 17
    with setting(LinkProfile(duplication=1.0)) as (emulator, client, target):
        client.send(b"twice")
        assert [payload for _, payload in collect(target, 2)] == [b"twice", b"twice"]


# hostile and broken surroundings -------------------------------------------------------------------------------------


def test_clients_are_bounded_and_silent_ones_make_room() -> None:
    with setting(max_clients=2, client_idle_s=0.2) as (emulator, client, target), udp() as second, udp() as third:
        for end in (second, third):
            end.connect(emulator.address)
        client.send(b"1")
        second.send(b"2")
        assert {target.recv(9), target.recv(9)} == {b"1", b"2"}
        third.send(b"3")
        wait_for(lambda: emulator.counts.refused == 1)
        time.sleep(0.25)
        second.send(b"4")  # still there
        assert target.recv(9) == b"4"
        third.send(b"5")  # takes the place of the first
        payload, back = target.recvfrom(9)
        assert payload == b"5" and emulator.counts.clients == 2
        target.sendto(b"6", back)
        assert third.recv(9) == b"6"


def test_answers_to_a_forgotten_client_go_nowhere() -> None:
    options = {"max_clients": 1, "client_idle_s": 0.0}
    with setting(LinkProfile(), LinkProfile(delay_s=0.2), **options) as (emulator, client, target), udp() as second:
        second.connect(emulator.address)
        client.send(b"1")
        target.sendto(b"late", target.recvfrom(9)[1])
        wait_for(lambda: emulator.down.sent == 1)
        second.send(b"2")
        assert target.recv(9) == b"2"
        wait_for(lambda: emulator.counts.orphaned == 1)


def test_memory_on_the_way_is_bounded() -> None:
    with setting(LinkProfile(delay_s=5.0), max_in_flight_bytes=20_000) as (emulator, client, _):
        for _ in range(50):
            client.send(bytes(1000))
        wait_for(lambda: emulator.up.sent == 50)
        assert emulator.up.dropped == 50 - 20_000 // 1258


def test_a_target_that_comes_late_is_found() -> None:
    with udp() as place, udp() as client:
        port = place.getsockname()[1]
        place.close()
        with UdpLinkEmulator("127.0.0.1:0", f"127.0.0.1:{port}", IDEAL, IDEAL) as emulator:
            client.connect(emulator.address)
            for _ in range(3):  # nobody there: the system says so to the emulator's socket
                client.send(b"anyone?")
                time.sleep(0.02)
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as target:
                target.bind(("127.0.0.1", port))
                target.settimeout(2)
                client.send(b"now")
                assert target.recv(99) == b"now"


def test_oversized_datagrams_are_counted_and_skipped() -> None:
    with setting(LinkProfile(header_bytes=60)) as (emulator, client, target):
        client.send(bytes(65_500))
        client.send(b"small")
        assert target.recv(99) == b"small"
        assert emulator.counts.oversized == 1 and emulator.up.sent == 1


def test_an_emulator_that_is_its_own_target_does_not_go_round() -> None:
    with udp() as place:
        port = place.getsockname()[1]
    with pytest.raises(SomacastError, match="target: expected another address"):
        UdpLinkEmulator(f"127.0.0.1:{port}", f"127.0.0.1:{port}", IDEAL, IDEAL)
    with UdpLinkEmulator(f"0.0.0.0:{port}", f"127.0.0.1:{port}", IDEAL, IDEAL) as emulator, udp() as client:
        client.sendto(b"round", ("127.0.0.1", port))
        wait_for(lambda: emulator.counts.refused == 1)
        time.sleep(0.05)
        assert emulator.up.sent == 1 and emulator.counts.clients == 1


def test_nothing_stays_open() -> None:
    before = (threading.active_count(), len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0)
    with setting() as (emulator, client, target):
        client.send(b"hello")
        target.recv(99)
    emulator.close()
    after = (threading.active_count(), len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else 0)
    assert after == before
    with pytest.raises(SomacastError, match="was closed"):
        emulator.__enter__()


def test_a_breakdown_of_the_thread_is_told() -> None:
    message = "the link emulator stopped: .*division by zero"
    with pytest.raises(SomacastError, match=message), setting() as (emulator, client, _):
        emulator._up.send = lambda *_: 1 / 0  # type: ignore[method-assign]
        client.send(b"hello")
        wait_for(lambda: emulator._loop.failure is not None)
        with pytest.raises(SomacastError, match=message):
            emulator.check()


def test_many_files_do_not_stop_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where select() cannot take the selector's number, the selector itself waits, in whole milliseconds."""
    monkeypatch.setattr("somacast.network.emulation.realtime.SELECT_LIMIT", 0)
    link, arrived = Link(LinkProfile(delay_s=0.01).build(np.random.default_rng(0)).stages), []
    loop = RealTimeLinks([link], [arrived.append], "test")
    link.send(0.0, b"x")
    loop.start()
    wait_for(lambda: arrived)
    loop.stop()
    assert arrived == [b"x"]
