"""A link emulator in user space: real UDP sockets on both sides, `network.channels.packet` models between them.

    client  ->  listen address  ->  Link up    ->  own socket of each client  ->  target
    client  <-  listen address  <-  Link down  <-  own socket of each client  <-  target

All clients share the two links, as people behind one modem do. The target sees each client as another port of this
machine. Datagrams are charged with the profile's header_bytes (UDP on IPv4: 28, on IPv6: 48), whatever runs inside.

    slow = LinkProfile(capacity=50_000, delay_s=0.05, loss=0.1)
    with UdpLinkEmulator("127.0.0.1:0", "127.0.0.1:7447", up=slow, down=slow, seed=1) as emulator:
        connect_to(emulator.address)
"""

from __future__ import annotations

import contextlib
import re
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Self

import numpy as np

from somacast.checks import check_count, check_number, shown
from somacast.errors import SomacastError
from somacast.network.channels.packet.link import MAX_DATAGRAM_BYTES, Link
from somacast.network.channels.packet.profile import LinkProfile
from somacast.network.channels.packet.statistics import DelayRecord, LinkStatistics
from somacast.network.emulation.realtime import RealTimeLinks

READS_AT_ONCE = 64  # datagrams of one socket before the others and the clock get their turn
MAX_CLIENTS = 4096
BUFFER_BYTES = 1 << 20  # of the sockets: a burst waits there, not in the links, while the thread is busy
_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f:.%\w]+)\]|([^\[\]:\s]+)):([0-9]{1,5})")
_TAG_BYTES = 2  # stands in front of every datagram inside the links and says whose it is; counted as header


@dataclass
class EmulatorCounts:
    """What the links never saw or could not hand on; `clients`: how many are known now."""

    clients: int = 0
    refused: int = 0  # datagrams of clients beyond the most
    oversized: int = 0  # payload and header beyond 65,535 bytes
    unsent: int = 0  # the system did not take them: full buffer, no route
    orphaned: int = 0  # arrived after their client was forgotten


@dataclass
class _Client:
    tag: int
    address: tuple
    upstream: socket.socket
    last_s: float


class UdpLinkEmulator:
    """Forwards UDP datagrams of clients to a target and back, each way through its own `Link`, from `with` on.

    listen, target: "HOST:PORT" ("[::1]:7447" for IPv6; port 0 to listen on any free one). Generators of the two ways
    are spawned from `seed`. A client that has been silent for client_idle_s makes room for a new one when max_clients
    are known. max_in_flight_bytes: memory of each way. Raises SomacastError for values out of range, for addresses that
    cannot be used, and at the end of `with` if forwarding broke down.
    """

    def __init__(
        self,
        listen: str,
        target: str,
        up: LinkProfile,
        down: LinkProfile,
        seed: int = 0,
        *,
        max_clients: int = 64,
        client_idle_s: float = 30.0,
        max_in_flight_bytes: int = 16 << 20,
    ) -> None:
        self.max_clients = check_count("max_clients", max_clients, 1, MAX_CLIENTS)
        self.client_idle_s = check_number("client_idle_s", client_idle_s)
        streams = np.random.default_rng(check_count("seed", seed)).spawn(2)
        self._up, self._down = (_link(p, s, max_in_flight_bytes) for p, s in zip((up, down), streams, strict=True))
        self.counts = EmulatorCounts()
        family, listen_at = _resolve("listen", listen, 0)
        self._family, self._target = _resolve("target", target, 1)
        self._by_tag: dict[int, _Client] = {}
        self._by_address: dict[tuple, _Client] = {}
        self._next_tag = 0
        self._listener = _udp_socket(family)
        try:
            self._listener.bind(listen_at)
        except OSError as fault:
            self._listener.close()
            raise SomacastError(f"cannot listen on {listen}: {(fault.strerror or str(fault)).lower()}") from None
        if self._listener.getsockname()[:2] == self._target[:2]:
            self._listener.close()
            raise SomacastError(f"target: expected another address than the one listened on, got {target}")
        self._loop = RealTimeLinks((self._up, self._down), (self._to_target, self._to_client), "somacast link emulator")
        self._loop.watch(self._listener, self._from_clients)
        self._closed = False

    @property
    def address(self) -> tuple[str, int]:
        """Host and port that clients send to."""
        host, port = self._listener.getsockname()[:2]
        return host, port

    @property
    def up(self) -> LinkStatistics:
        """Counts of the way from the clients to the target, changing while it runs."""
        return self._up.statistics

    @property
    def down(self) -> LinkStatistics:
        """Counts of the way back, changing while it runs."""
        return self._down.statistics

    @property
    def lateness(self) -> DelayRecord:
        """How long after the time that the models said each datagram was handed to the system."""
        return self._loop.lateness

    def check(self) -> None:
        """Raise SomacastError if forwarding has broken down."""
        if self._loop.failure is not None:
            raise SomacastError(f"the link emulator stopped: {self._loop.failure!r}") from self._loop.failure

    def __enter__(self) -> Self:
        if self._closed:
            raise SomacastError("the link emulator was closed: expected a new one")
        self._loop.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
        if kind is None:
            self.check()

    def close(self) -> None:
        """Stop forwarding and close all sockets; what is on its way is forgotten. May be called again."""
        self._closed = True
        self._loop.stop()
        for client in self._by_tag.values():
            client.upstream.close()
        self._listener.close()

    # All below runs in the thread of the loop.

    def _from_clients(self) -> None:
        for _ in range(READS_AT_ONCE):
            try:
                payload, address = self._listener.recvfrom(MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError:  # some systems tell here that an earlier answer found nobody
                continue
            client = self._by_address.get(address) or self._admit(address)
            if client is None:
                self.counts.refused += 1
            else:
                self._enter(self._up, client, payload)

    def _from_target(self, client: _Client) -> None:
        for _ in range(READS_AT_ONCE):
            try:
                payload = client.upstream.recv(MAX_DATAGRAM_BYTES)
            except BlockingIOError:
                return
            except OSError:  # nobody listens at the target, for now
                continue
            self._enter(self._down, client, payload)

    def _enter(self, link: Link, client: _Client, payload: bytes) -> None:
        client.last_s = self._loop.now_s()
        if len(payload) + link.header_bytes > MAX_DATAGRAM_BYTES:
            self.counts.oversized += 1
            return
        self._loop.enter(link, client.tag.to_bytes(_TAG_BYTES) + payload, link.header_bytes - _TAG_BYTES)

    def _to_target(self, tagged: bytes) -> None:
        client = self._by_tag.get(int.from_bytes(tagged[:_TAG_BYTES]))
        if client is None:
            self.counts.orphaned += 1
            return
        try:
            client.upstream.send(tagged[_TAG_BYTES:])
        except OSError:
            self.counts.unsent += 1

    def _to_client(self, tagged: bytes) -> None:
        client = self._by_tag.get(int.from_bytes(tagged[:_TAG_BYTES]))
        if client is None:
            self.counts.orphaned += 1
            return
        try:
            self._listener.sendto(tagged[_TAG_BYTES:], client.address)
        except OSError:
            self.counts.unsent += 1

    def _admit(self, address: tuple) -> _Client | None:
        """A new client with a socket of its own, in place of the most silent one if need be; None without room."""
        now_s = self._loop.now_s()
        if any(address == client.upstream.getsockname() for client in self._by_tag.values()):
            return None  # we are our own target: it would go round for ever
        if len(self._by_tag) >= self.max_clients:
            oldest = min(self._by_tag.values(), key=lambda client: client.last_s)
            if now_s - oldest.last_s < self.client_idle_s:
                return None
            self._forget(oldest)
        try:
            upstream = _udp_socket(self._family)
        except OSError:  # no more files
            return None
        try:
            upstream.connect(self._target)
        except OSError:
            upstream.close()
            return None
        while self._next_tag in self._by_tag:
            self._next_tag = (self._next_tag + 1) % (1 << 8 * _TAG_BYTES)
        client = _Client(self._next_tag, address, upstream, now_s)
        self._next_tag = (self._next_tag + 1) % (1 << 8 * _TAG_BYTES)  # an old tag comes back late, not at once
        self._by_tag[client.tag] = self._by_address[address] = client
        self._loop.watch(upstream, lambda: self._from_target(client))
        self.counts.clients = len(self._by_tag)
        return client

    def _forget(self, client: _Client) -> None:
        self._loop.unwatch(client.upstream)
        client.upstream.close()
        del self._by_tag[client.tag], self._by_address[client.address]
        self.counts.clients = len(self._by_tag)


def parse_address(name: str, text: str, lowest_port: int = 0) -> tuple[str, int]:
    """ "HOST:PORT" or "[IPV6]:PORT" to host and port. Raises SomacastError naming `name` on anything else."""
    match = _ADDRESS.fullmatch(text) if isinstance(text, str) else None
    if match is None or not lowest_port <= int(match[3]) <= 65_535:
        raise SomacastError(f"{name}: expected HOST:PORT with a port from {lowest_port} to 65535, got {shown(text)}")
    return match[1] or match[2], int(match[3])


def _resolve(name: str, text: str, lowest_port: int) -> tuple[socket.AddressFamily, tuple]:
    """Family and socket address of "HOST:PORT"."""
    host, port = parse_address(name, text, lowest_port)
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM)[0]
    except (OSError, UnicodeError) as fault:
        reason = getattr(fault, "strerror", None) or str(fault)
        raise SomacastError(f"{name}: expected a host that is known, got {shown(host)} ({reason.lower()})") from None
    return family, address


def _udp_socket(family: int) -> socket.socket:
    made = socket.socket(family, socket.SOCK_DGRAM)
    made.setblocking(False)
    with contextlib.suppress(OSError):
        made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
    return made


def _link(profile: LinkProfile, stream: np.random.Generator, max_in_flight_bytes: int) -> Link:
    """A link of the profile, with room for the tag in its headers."""
    if not isinstance(profile, LinkProfile):
        raise SomacastError(f"up, down: expected a LinkProfile, got {shown(profile)}")
    check_count("header_bytes", profile.header_bytes, _TAG_BYTES)
    link = profile.build(stream)
    link.max_in_flight_bytes = check_count("max_in_flight_bytes", max_in_flight_bytes, 1)
    return link
