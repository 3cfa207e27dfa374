"""Two Linux network namespaces with nothing between them but the models of `network.channels.packet`.

    process | "sender" namespace | TUN 10.77.0.1  ->  Link up    ->  TUN 10.77.0.2 | "receiver" namespace | process
                                                  <-  Link down  <-

Whole IP packets pass, so that any program and any protocol meets the link, without a change to it and without netem.
The namespaces have no names: they live as long as this object and the programs in them, so that the kernel clears
them away however their user ends. Programs that were started in them are killed with it.

    with NamespaceLink(up=slow, down=slow, seed=1) as link:
        server = link.run("receiver", [sys.executable, "server.py", link.address("receiver")])
"""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import numpy as np

from somacast.checks import check_count, shown
from somacast.errors import SomacastError
from somacast.network.channels.packet.link import MAX_DATAGRAM_BYTES, Link
from somacast.network.channels.packet.profile import LinkProfile
from somacast.network.channels.packet.statistics import DelayRecord, LinkStatistics
from somacast.network.emulation.realtime import RealTimeLinks

Side = Literal["sender", "receiver"]
ADDRESSES: dict[Side, str] = {"sender": "10.77.0.1", "receiver": "10.77.0.2"}
DEVICE = "soma0"
TUN_FILE = "/dev/net/tun"
READS_AT_ONCE = 64
END_LIMIT_S = 2.0  # how long programs may take to end before they are killed
_CLONE_NEWNET = 0x40000000
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
# Enters the namespace of descriptor argv[1], asks to be killed when the thread that started it ends, becomes argv[3:].
_LAUNCHER = """
import ctypes, os, signal, sys
libc = ctypes.CDLL(None, use_errno=True)
number = int(sys.argv[1])
if libc.setns(number, 0x40000000):
    sys.exit(f"cannot enter the namespace: {os.strerror(ctypes.get_errno())}")
os.close(number)
libc.prctl(1, signal.SIGKILL)
if os.getppid() != int(sys.argv[2]):
    sys.exit(1)
try:
    os.execvp(sys.argv[3], sys.argv[3:])
except OSError as fault:
    sys.exit(f"{sys.argv[3]}: {fault.strerror}")
"""

T = TypeVar("T")


def available() -> str | None:
    """Why namespaces cannot be made here, in one line, or None where they can. Tries it, in a few milliseconds."""
    if sys.platform != "linux":
        return f"network namespaces need Linux, this is {sys.platform}"
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "network namespaces need the command ip (package iproute2)"
    if not os.path.exists(TUN_FILE):
        return f"network namespaces need {TUN_FILE}"
    try:
        for number in _in_new_thread(_new_namespace):
            os.close(number)
    except OSError as fault:
        return f"network namespaces are not permitted here: {fault.strerror or fault}"
    return None


class NamespaceLink:
    """Two namespaces and their link, from `with` on. up: from "sender" to "receiver"; down: back.

    Sizes on the wire are those of the IP packets: a profile's header_bytes are not added, they are inside. Generators
    of the two ways are spawned from `seed`. mtu_bytes: 1280 to 65,535. Raises SomacastError where `available` gives a
    reason, and for values out of range.
    """

    def __init__(self, up: LinkProfile, down: LinkProfile, seed: int = 0, *, mtu_bytes: int = 1400) -> None:
        streams = np.random.default_rng(check_count("seed", seed)).spawn(2)
        self._up, self._down = (_link(p, s) for p, s in zip((up, down), streams, strict=True))
        self._mtu_bytes = check_count("mtu_bytes", mtu_bytes, 1280, MAX_DATAGRAM_BYTES)
        self._namespaces: dict[Side, int] = {}
        self._devices: dict[Side, int] = {}
        self._programs: list[subprocess.Popen[Any]] = []
        self._loop: RealTimeLinks | None = None
        # Programs ask to be killed when the thread that started them ends: this one ends with us, whoever calls `run`.
        self._starter = ThreadPoolExecutor(1, "somacast namespace programs")
        self._closed = False
        self.unsent = 0  # packets that a device did not take

    @property
    def up(self) -> LinkStatistics:
        """Counts of the way from sender to receiver, changing while it runs."""
        return self._up.statistics

    @property
    def down(self) -> LinkStatistics:
        """Counts of the way back, changing while it runs."""
        return self._down.statistics

    @property
    def lateness(self) -> DelayRecord:
        """How long after the time that the models said each packet was handed on."""
        return self._running().lateness

    def address(self, side: Side) -> str:
        """IPv4 address of a side; each reaches the other at its address, and itself at 127.0.0.1."""
        return ADDRESSES[_check_side(side)]

    def run(self, side: Side, argv: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start a program in the namespace of `side`; options as of subprocess.Popen (stdout, text, cwd, env, ...).

        It is ended with the link: asked first, killed after two seconds; killed at once if we are.
        """
        number = self._namespaces.get(_check_side(side))
        if number is None or self._loop is None:
            raise SomacastError("the namespaces are not there: expected a run inside `with`")
        if not argv or not all(isinstance(part, str) for part in argv):
            raise SomacastError(f"argv: expected a command as a list of texts, got {shown(argv)}")
        command = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(number), str(os.getpid()), *argv]
        program = self._starter.submit(subprocess.Popen, command, pass_fds=(number,), **options).result()
        self._programs = [p for p in self._programs if p.poll() is None] + [program]
        return program

    def __enter__(self) -> Self:
        reason = "the namespace link was closed: expected a new one" if self._closed else available()
        if reason is not None:
            raise SomacastError(reason)
        try:
            for side in ADDRESSES:
                self._namespaces[side], self._devices[side] = _in_new_thread(lambda side=side: self._make(side))
            outlets = (self._outlet("receiver"), self._outlet("sender"))
            self._loop = RealTimeLinks((self._up, self._down), outlets, "somacast namespace link")
            self._loop.watch(self._devices["sender"], self._reader("sender", self._up))
            self._loop.watch(self._devices["receiver"], self._reader("receiver", self._down))
            self._loop.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        failure = self._loop.failure if self._loop else None
        self.close()
        if kind is None and failure is not None:
            raise SomacastError(f"the namespace link stopped: {failure!r}") from failure

    def close(self) -> None:
        """End the programs, the link and the namespaces. May be called again."""
        self._closed = True
        for program in self._programs:
            if program.poll() is None:
                program.terminate()
        for program in self._programs:
            try:
                program.wait(END_LIMIT_S)
            except subprocess.TimeoutExpired:
                program.kill()
                program.wait()
        self._programs.clear()
        self._starter.shutdown()
        if self._loop is not None:
            self._loop.stop()
            self._loop = None
        for numbers in (self._devices, self._namespaces):
            while numbers:
                os.close(numbers.popitem()[1])

    def _running(self) -> RealTimeLinks:
        if self._loop is None:
            raise SomacastError("the namespaces are not there: expected a use inside `with`")
        return self._loop

    def _make(self, side: Side) -> tuple[int, int]:
        """Descriptors of a fresh namespace and of the TUN device in it; runs in a thread that ends inside it."""
        namespace, device = _new_namespace()
        try:
            own, other = ADDRESSES[side], ADDRESSES["receiver" if side == "sender" else "sender"]
            for line in (
                "link set lo up",
                f"link set {DEVICE} addrgenmode none",  # no IPv6 of its own, which would talk unasked
                f"addr add {own} peer {other} dev {DEVICE}",
                f"link set {DEVICE} mtu {self._mtu_bytes} up",
            ):
                done = subprocess.run(["ip", *line.split()], capture_output=True, text=True)
                if done.returncode:
                    raise SomacastError(f"ip {line}: {done.stderr.strip() or done.returncode}")
        except BaseException:
            os.close(device)
            os.close(namespace)
            raise
        return namespace, device

    def _reader(self, side: Side, link: Link) -> Callable[[], None]:
        device, loop = self._devices[side], self._running()

        def read() -> None:
            for _ in range(READS_AT_ONCE):
                try:
                    packet = os.read(device, MAX_DATAGRAM_BYTES)
                except BlockingIOError:
                    return
                if packet[:1] and packet[0] >> 4 == 4:  # IPv4; the rest is the kernel's own talk
                    loop.enter(link, packet, 0)

        return read

    def _outlet(self, side: Side) -> Callable[[bytes], None]:
        device = self._devices[side]

        def write(packet: bytes) -> None:
            try:
                os.write(device, packet)
            except OSError:
                self.unsent += 1

        return write


def _new_namespace() -> tuple[int, int]:
    """The calling thread moves to a fresh namespace: descriptors of the namespace and of a TUN device in it."""
    import fcntl  # not everywhere where this module is read

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    namespace = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        device = os.open(TUN_FILE, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), _IFF_TUN | _IFF_NO_PI))
        except BaseException:
            os.close(device)
            raise
    except BaseException:
        os.close(namespace)
        raise
    return namespace, device


def _in_new_thread(work: Callable[[], T]) -> T:
    """The result of `work` in a thread that ends with it, so that no other thread is left in its namespace."""
    results: list[T] = []
    faults: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as fault:
            faults.append(fault)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    if faults:
        raise faults[0]
    return results[0]


def _check_side(side: Side) -> Side:
    if side not in ADDRESSES:
        raise SomacastError(f"side: expected one of {', '.join(ADDRESSES)}, got {shown(side)}")
    return side


def _link(profile: LinkProfile, stream: np.random.Generator) -> Link:
    if not isinstance(profile, LinkProfile):
        raise SomacastError(f"up, down: expected a LinkProfile, got {shown(profile)}")
    return profile.build(stream)
