"""The link emulator: real sockets on 127.0.0.1 against what the models say, and the verb in front of it.

Times on a busy machine have no upper bound, so that delays are checked from below exactly and from above by medians.
"""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import pytest

from somacast.cli.live import emulate
from somacast.errors import SomacastError
from somacast.network.channels.packet.link import Link
from somacast.network.channels.packet.profile import LinkProfile
from somacast.network.channels.packet.trace import BandwidthTrace
from somacast.network.emulation.emulator import UdpLinkEmulator, parse_address
from somacast.network.emulation.realtime import RealTimeLinks

IDEAL = LinkProfile()
HEADER = IDEAL.header_bytes


def udp(timeout_s: float = 2.0) -> socket.socket:
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
    made.bind(("127.0.0.1", 0))
    made.settimeout(timeout_s)
    return made


def name_of(end: socket.socket) -> str:
    return f"127.0.0.1:{end.getsockname()[1]}"


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
        assert emulator.lateness.quantile_s(0.5) < 0.005


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
    with setting(LinkProfile(delay_s=0.02), LinkProfile(delay_s=0.03)) as (_, client, target):
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
        assert np.median(up) < 0.03 and np.median(down) < 0.04


@pytest.mark.parametrize(("rate_bps", "wire_bytes", "count"), [(20_000, 50, 25), (1_000_000, 1250, 60)])
def test_rate_is_kept_on_the_wire(rate_bps: int, wire_bytes: int, count: int) -> None:
    with setting(LinkProfile(capacity=rate_bps, queue_bytes=1 << 20)) as (_, client, target):
        for _ in range(count):
            client.send(bytes(wire_bytes - HEADER))
        arrived = collect(target, count)
        assert len(arrived) == count
        want_s = (count - 1) * 8 * wire_bytes / rate_bps
        assert arrived[-1][0] - arrived[0][0] == pytest.approx(want_s, rel=0.05)


def test_capacity_follows_its_trace_on_the_real_clock() -> None:
    trace = BandwidthTrace([0.0, 0.3], [40_000, 400_000])
    with setting(LinkProfile(capacity=trace, queue_bytes=1 << 20)) as (_, client, target):
        start_s = time.monotonic()
        for _ in range(60):
            client.send(bytes(250 - HEADER))
        times = np.array([time_s for time_s, _ in collect(target, 60)]) - start_s
        assert len(times) == 60
        assert 4 <= np.sum(times < 0.29) <= 6  # one in 50 ms
        late = times[times > 0.31]
        assert (late[-1] - late[0]) / (len(late) - 1) == pytest.approx(0.005, rel=0.1)


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
    assert arrived == [b"x"] and loop.lateness.max_s < 1


def in_use() -> None:
    with udp() as taken:
        UdpLinkEmulator(name_of(taken), "127.0.0.1:9", IDEAL, IDEAL)


def emulator_of(**changes) -> UdpLinkEmulator:
    values = {"listen": "127.0.0.1:0", "target": "127.0.0.1:9", "up": IDEAL, "down": IDEAL} | changes
    return UdpLinkEmulator(**values)


WRONG: dict[str, Callable[[], object]] = {
    "cannot listen on 127.0.0.1:\\d+: address already in use": in_use,
    "listen: expected HOST:PORT with a port from 0 to 65535, got '127.0.0.1'": lambda: emulator_of(listen="127.0.0.1"),
    "listen: .* got '::1:5'": lambda: emulator_of(listen="::1:5"),
    "listen: .* got 5": lambda: emulator_of(listen=5),
    "target: expected HOST:PORT with a port from 1 .* got '127.0.0.1:0'": lambda: emulator_of(target="127.0.0.1:0"),
    "target: .* got 'a:99999'": lambda: emulator_of(target="a:99999"),
    "target: .* got 'a:1\\\\n'": lambda: emulator_of(target="a:1\n"),
    "target: expected a host that is known, got '\\.\\.'": lambda: emulator_of(target="..:5"),
    "up, down: expected a LinkProfile, got 5": lambda: emulator_of(up=5),
    "header_bytes: expected a whole number from 2, got 0": lambda: emulator_of(down=LinkProfile(header_bytes=0)),
    "loss: expected a finite number from 0 to 1, got 2": lambda: emulator_of(down=LinkProfile(loss=2)),
    "seed: expected a whole number from 0, got -1": lambda: emulator_of(seed=-1),
    "max_clients: .* got 0": lambda: emulator_of(max_clients=0),
    "client_idle_s: .* got -1": lambda: emulator_of(client_idle_s=-1),
    "max_in_flight_bytes: .* got 0": lambda: emulator_of(max_in_flight_bytes=0),
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_arguments_give_one_clear_line(message: str) -> None:
    with pytest.raises(SomacastError, match=message) as caught:
        WRONG[message]()
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 160


def test_addresses_are_read() -> None:
    assert parse_address("x", "localhost:7") == ("localhost", 7)
    assert parse_address("x", "[::1]:7500") == ("::1", 7500)


# the verb ------------------------------------------------------------------------------------------------------------


def test_options_become_a_profile() -> None:
    options = emulate.Arguments(to="a:1", rate_kbps=50, rtt_ms=100, loss=0.1, mean_burst=3, jitter_ms=5, duplicate=0.02)
    profile = emulate.profile_of(options, ipv6=False)
    assert isinstance(profile.capacity, BandwidthTrace) and profile.capacity.rates_bps == [50_000]
    assert (profile.delay_s, profile.loss, profile.mean_burst, profile.duplication) == (0.05, 0.1, 3, 0.02)
    assert (profile.jitter_s, profile.queue_bytes, profile.header_bytes) == (0.005, 3125, 28)
    stepped = emulate.profile_of(emulate.Arguments(to="a:1", steps="0:1000,20:10,40:1000"), ipv6=True)
    assert isinstance(stepped.capacity, BandwidthTrace) and stepped.header_bytes == 48
    assert (stepped.capacity.times_s, stepped.capacity.rates_bps) == ([0, 20, 40], [1e6, 1e4, 1e6])
    assert stepped.queue_bytes == 62_500
    assert emulate.profile_of(emulate.Arguments(to="a:1"), False).capacity is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("", "missing: --to"),
        ("--to 127.0.0.1", "--to: expected HOST:PORT with a port from 1 to 65535, got '127.0.0.1'"),
        ("--to a:1 --listen 7500", "--listen: expected HOST:PORT"),
        ("--to a:1 --loss 1.5", "--loss: expected a finite number from 0 to 1, got 1.5"),
        ("--to a:1 --duplicate -1", "--duplicate: expected a finite number from 0 to 1, got -1"),
        ("--to a:1 --rtt-ms nan", "--rtt-ms: expected a finite number from 0 to 60000, got nan"),
        ("--to a:1 --rate-kbps 0", "--rate-kbps 0.0: expected a number above 0"),
        ("--to a:1 --rate-kbps inf", "--rate-kbps: expected a finite number above 0, got inf"),
        ("--to a:1 --rate-kbps 5 --steps 0:5", "--rate-kbps, --steps: expected one of them"),
        ("--to a:1 --steps 0:5,3", "--steps: expected SECONDS:KBPS,SECONDS:KBPS,..., got '0:5,3'"),
        ("--to a:1 --steps 3:5", "--steps: times_s: expected ascending times from 0"),
        ("--to a:1 --steps 0:5,1:0", "--steps: rates_bps: expected capacity at the end"),
        ("--to a:1 --loss 0.9 --mean-burst 2", "mean_burst: expected at least 9"),
        ("--to a:1 --queue-bytes -1", "--queue-bytes: expected a whole number from 0, got -1"),
        ("--to a:1 --seed -1", "--seed: expected a whole number from 0, got -1"),
        ("--to a:1 --seconds 0", "--seconds 0.0: expected a number above 0"),
    ],
)
def test_wrong_options_give_one_clear_line(options: str, message: str) -> None:
    with pytest.raises(SomacastError, match=re.escape(message)) as caught:
        emulate.run(options.split())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("ending", ["ctrl-c", "seconds"])
def test_the_verb_forwards_and_ends_cleanly(ending: str) -> None:
    with udp() as target, udp() as client:
        code = "import sys; from somacast.cli.live.emulate import run; sys.exit(run(sys.argv[1:]))"
        options = ["--listen", "127.0.0.1:0", "--to", name_of(target), "--rtt-ms", "20"]
        options += ["--seconds", "0.6" if ending == "seconds" else "30"]
        with subprocess.Popen(
            [sys.executable, "-c", code, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as program:
            assert program.stdout is not None
            first = program.stdout.readline()
            port = int(re.match(r"listening on 127\.0\.0\.1:(\d+), forwarding to", first)[1])  # type: ignore[index]
            client.sendto(b"hello", ("127.0.0.1", port))
            payload, back = target.recvfrom(99)
            target.sendto(payload, back)
            assert client.recv(99) == b"hello"
            if ending == "ctrl-c":
                program.send_signal(signal.SIGINT)
            out, errors = program.communicate(timeout=10)
        assert program.returncode == 0 and errors == ""
        assert "up: 1 sent, 1 delivered, 0 lost" in out and "down: 1 sent, 1 delivered" in out
        assert re.search(r"delay 1\d\.\d ms", out) and "handed on" in out
