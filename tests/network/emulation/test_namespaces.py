"""Network namespaces joined by the link models: programs that know nothing of it meet delay, loss and isolation."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable

import numpy as np
import pytest

from somacast.errors import SomacastError
from somacast.network.channels.packet.profile import LinkProfile
from somacast.network.emulation import namespaces
from somacast.network.emulation.namespaces import NamespaceLink, available

WHY_NOT = available()
if WHY_NOT:
    warnings.warn(f"tests of network namespaces do not run: {WHY_NOT}", stacklevel=1)
needs_namespaces = pytest.mark.skipif(WHY_NOT is not None, reason=str(WHY_NOT))
IDEAL = LinkProfile()
PORT = 7447

RECEIVER = """
import json, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind((sys.argv[1], 7447))
s.settimeout(5)
print("ready", flush=True)
seen = []
while True:
    data, back = s.recvfrom(2000)
    if data == b"end":
        break
    number, sent = data.split()
    seen.append((int(number), time.monotonic() - float(sent), back[0]))
    s.sendto(data, back)
print(json.dumps(seen))
"""
SENDER = """
import json, socket, sys, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
for number in range(200):
    s.sendto(b"%d %.6f" % (number, time.monotonic()), (sys.argv[1], 7447))
    time.sleep(0.001)
s.settimeout(0.3)
trips = []
try:
    while True:
        trips.append(time.monotonic() - float(s.recv(2000).split()[1]))
except TimeoutError:
    pass
print(json.dumps(len(trips)))
for _ in range(60):
    s.sendto(b"end", (sys.argv[1], 7447))
"""


def python(code: str, *arguments: str) -> list[str]:
    return [sys.executable, "-I", "-S", "-c", code, *arguments]


def wait_for(condition: Callable[[], object], limit_s: float = 5.0) -> None:
    end_s = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end_s, "waited too long"
        time.sleep(0.01)


def alive(pid: int) -> bool:
    """Whether a process runs; one that waits to be collected by its parent does not."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


@needs_namespaces
def test_udp_meets_the_delay_and_the_loss_of_the_models() -> None:
    up, down = LinkProfile(delay_s=0.03, loss=0.25), LinkProfile(delay_s=0.01)
    with NamespaceLink(up, down, seed=3) as link:
        there = link.address("receiver")
        receiver = link.run("receiver", python(RECEIVER, there), stdout=subprocess.PIPE, text=True)
        assert receiver.stdout is not None and receiver.stdout.readline() == "ready\n"
        sender = link.run("sender", python(SENDER, there), stdout=subprocess.PIPE, text=True)
        answers = int(sender.communicate(timeout=10)[0])
        seen = json.loads(receiver.communicate(timeout=10)[0])
        assert {back for _, _, back in seen} == {link.address("sender")}
        delays = np.array([delay_s for _, delay_s, _ in seen])
        assert delays.min() >= 0.03
        assert 0.12 < 1 - len(seen) / 200 < 0.38  # four standard deviations
        assert answers == len(seen)  # nothing is lost on the way back
        assert link.up.sent >= 200 and [link.up.delays.min_s, link.up.delays.max_s] == pytest.approx([0.03, 0.03])
        assert link.down.lost == link.down.dropped == 0 and link.unsent == 0
        assert link.lateness.count >= len(seen)


@needs_namespaces
def test_packets_are_charged_once_and_tcp_passes() -> None:
    """40 kB over TCP at 400 kbit/s: over 0.8 s, as headers have their share."""
    code = (
        "import socket, sys, time; s = socket.create_server((sys.argv[1], 7447)); print('ready', flush=True)\n"
        "c, _ = s.accept(); start = time.monotonic(); n = 0\n"
        "while data := c.recv(65536): n += len(data)\n"
        "print(n, time.monotonic() - start)"
    )
    send = "import socket, sys; s = socket.create_connection((sys.argv[1], 7447)); s.sendall(bytes(40_000)); s.close()"
    narrow = LinkProfile(capacity=400_000, queue_bytes=64_000, delay_s=0.005)
    with NamespaceLink(narrow, narrow) as link:
        there = link.address("receiver")
        server = link.run("receiver", python(code, there), stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None and server.stdout.readline() == "ready\n"
        link.run("sender", python(send, there))
        count, seconds = server.communicate(timeout=10)[0].split()
        assert int(count) == 40_000 and float(seconds) > 0.8
        assert 40_000 * 1.02 < link.up.delivered_bytes < 40_000 * 1.1


@needs_namespaces
def test_nothing_else_is_within_reach() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, NamespaceLink(IDEAL, IDEAL) as link:
        code = "import socket, sys\ntry: socket.create_connection(('127.0.0.1', int(sys.argv[1])), 1)\n"
        code += "except ConnectionRefusedError: sys.exit(7)"
        assert link.run("sender", python(code, str(server.getsockname()[1]))).wait(5) == 7
        assert link.up.sent == link.down.sent == 0  # and the kernel does not talk unasked


@needs_namespaces
def test_two_links_live_side_by_side_and_nothing_stays() -> None:
    own = os.readlink("/proc/self/ns/net")
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    code = "import os; print(os.readlink('/proc/self/ns/net'))"
    with NamespaceLink(IDEAL, IDEAL) as first, NamespaceLink(IDEAL, IDEAL) as second:
        names = {own}
        for link in (first, second):
            for side in ("sender", "receiver"):
                program = link.run(side, python(code), stdout=subprocess.PIPE, text=True)
                names.add(program.communicate(timeout=5)[0].strip())
        assert len(names) == 5
        left = first.run("sender", ["sleep", "60"])
    assert left.returncode == -signal.SIGTERM
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before
    assert os.readlink("/proc/self/ns/net") == own
    with pytest.raises(SomacastError, match="was closed"):
        first.__enter__()
    first.close()


@needs_namespaces
def test_programs_that_do_not_listen_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(namespaces, "END_LIMIT_S", 0.1)
    code = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"
    )
    with NamespaceLink(IDEAL, IDEAL) as link:
        deaf = link.run("sender", python(code), stdout=subprocess.PIPE, text=True)
        assert deaf.stdout is not None and deaf.stdout.readline() == "ready\n"
    assert deaf.returncode == -signal.SIGKILL


@needs_namespaces
def test_nothing_stays_after_a_crash_of_the_user() -> None:
    code = (
        "import threading, time\n"
        "from somacast.network.emulation.namespaces import LinkProfile, NamespaceLink\n"
        "with NamespaceLink(LinkProfile(), LinkProfile()) as link:\n"
        "    programs = []\n"
        "    start = lambda: (programs.append(link.run('sender', ['sleep', '60'])), time.sleep(0.3))\n"
        "    thread = threading.Thread(target=start)\n"  # programs outlive the thread that asked for them
        "    thread.start(); thread.join(); time.sleep(0.2)\n"
        "    assert programs[0].poll() is None\n"
        "    print(programs[0].pid, flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None
        pid = int(user.stdout.readline())
        assert alive(pid)
        namespace = os.readlink(f"/proc/{pid}/ns/net")
        user.kill()
    wait_for(lambda: not alive(pid))

    def namespaces_in_use() -> set[str]:
        found = set()
        for number in filter(str.isdigit, os.listdir("/proc")):
            try:
                found.add(os.readlink(f"/proc/{number}/ns/net"))
            except OSError:
                continue
        return found

    assert namespace not in namespaces_in_use()


def test_the_reason_why_not_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = {
        "need Linux": ("sys.platform", "plan9"),
        "need root": ("os.geteuid", lambda: 1000),
        "need the command ip": ("shutil.which", lambda _: None),
        "need /dev/net/none": ("TUN_FILE", "/dev/net/none"),
        "not permitted here: no": ("_new_namespace", lambda: (_ for _ in ()).throw(OSError(1, "no"))),
    }
    monkeypatch.setattr(namespaces.sys, "platform", "linux")
    monkeypatch.setattr(namespaces.os, "geteuid", lambda: 0, raising=False)
    monkeypatch.setattr(namespaces.shutil, "which", lambda _: "ip")
    monkeypatch.setattr(namespaces, "TUN_FILE", "/dev/null")
    for reason, (name, value) in cases.items():
        with monkeypatch.context() as patch:
            patch.setattr(f"somacast.network.emulation.namespaces.{name}", value)
            received = available()
            assert received is not None and reason in received and "\n" not in received
            with pytest.raises(SomacastError, match=reason):
                NamespaceLink(IDEAL, IDEAL).__enter__()


WRONG: dict[str, Callable[[NamespaceLink], object]] = {
    "side: expected one of sender, receiver, got 'left'": lambda link: link.run("left", ["true"]),  # type: ignore[arg-type]
    "side: .* got 5": lambda link: link.address(5),  # type: ignore[arg-type]
    "the namespaces are not there": lambda link: link.run("sender", ["true"]),
    "a use inside `with`": lambda link: link.lateness,
    "mtu_bytes: expected a whole number from 1280 to 65535, got 99": lambda _: NamespaceLink(
        IDEAL, IDEAL, mtu_bytes=99
    ),
    "seed: .* got -1": lambda _: NamespaceLink(IDEAL, IDEAL, -1),
    "up, down: expected a LinkProfile, got 5": lambda _: NamespaceLink(5, IDEAL),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("message", WRONG)
def test_wrong_arguments_give_one_clear_line(message: str) -> None:
    with pytest.raises(SomacastError, match=message):
        WRONG[message](NamespaceLink(IDEAL, IDEAL))


@needs_namespaces
def test_wrong_commands_are_told() -> None:
    with NamespaceLink(IDEAL, IDEAL) as link:
        with pytest.raises(SomacastError, match="argv: expected a command as a list of texts, got \\[\\]"):
            link.run("sender", [])
        program = link.run("sender", ["no-such-command"], stderr=subprocess.PIPE, text=True)
        assert program.communicate(timeout=5)[1] == "no-such-command: No such file or directory\n"
        assert program.returncode == 1
