"""Wrong arguments of the emulator and its verb, addresses, and the verb in a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Callable

import pytest

from somacast.cli.live import emulate
from somacast.cli.main import main
from somacast.errors import SomacastError
from somacast.network.channels.packet.profile import LinkProfile
from somacast.network.channels.packet.trace import BandwidthTrace
from somacast.network.emulation.emulator import UdpLinkEmulator, parse_address
from support.network.emulator_cases import IDEAL, name_of, udp


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
def test_wrong_options_give_one_clear_line(options: str, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["emulate", *options.split()]) == 2
    shown = capsys.readouterr().err
    assert message in shown and shown.count("\n") == 1


@pytest.mark.parametrize("ending", ["ctrl-c", "sigterm", "seconds"])
def test_the_verb_forwards_and_ends_cleanly(ending: str) -> None:
    with udp() as target, udp() as client:
        options = ["--listen", "127.0.0.1:0", "--to", name_of(target), "--rtt-ms", "20"]
        options += ["--seconds", "0.6" if ending == "seconds" else "30"]
        with subprocess.Popen(
            [sys.executable, "-m", "somacast.cli.main", "emulate", *options],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as program:
            assert program.stderr is not None
            first = program.stderr.readline()
            port = int(re.match(r"listening on 127\.0\.0\.1:(\d+), forwarding to", first)[1])  # type: ignore[index]
            client.sendto(b"hello", ("127.0.0.1", port))
            payload, back = target.recvfrom(99)
            target.sendto(payload, back)
            assert client.recv(99) == b"hello"
            if ending != "seconds":
                program.send_signal(signal.SIGINT if ending == "ctrl-c" else signal.SIGTERM)
            out, said = program.communicate(timeout=25)
        assert program.returncode == (143 if ending == "sigterm" else 0) and out == ""
        assert "up: 1 sent, 1 delivered, 0 lost" in said and "down: 1 sent, 1 delivered" in said
        assert re.search(r"delay 1\d\.\d ms", said) and "handed on" in said
