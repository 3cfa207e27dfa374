"""Where the ends of a transport are: HOST:PORT, what it resolves to, and whether it may be used without keys."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from somacast.checks import shown
from somacast.errors import SomacastError
from somacast.network.keys import Keys

DEFAULT_PORT = 7447
IN_USE = "address already in use: is another program, or another receiver, there?"
MAX_ADDRESSES = 4  # of one name that are tried
_LOOPBACK = (socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")
_ABSENT = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL)  # a family that this machine does not have, or not there
_TRIES = 8  # for a port that is free in both families
_PLACE = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+(?:%[\w.-]+)?)\]|(?P<host>[\w.-]+)):(?P<port>[0-9]{1,5})")
_NO_PORT = re.compile(r"\[[^\[\]]*\]|[\w.-]+")
Found = tuple[int, tuple]  # family and address, as the socket module has them


@dataclass(frozen=True)
class Place:
    """HOST:PORT, port 0 to 65535 (0: any free one)."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str, what: str = "address", port: int = DEFAULT_PORT) -> Place:
        """`HOST:PORT` or `[IPV6]:PORT`; SomacastError for anything else, with `port` in the example."""
        match = _PLACE.fullmatch(text)
        if match and int(match["port"]) <= 65_535:
            return cls(match["six"] or match["host"], int(match["port"]))
        like = f"127.0.0.1:{port}"
        bare = text.count(":") > 1 and any(is_address(part) for part in (text, text.rpartition(":")[0]))
        if bare:
            like = f"[::1]:{port} (IPv6 in brackets)"
        elif _NO_PORT.fullmatch(text):
            like = f"{text}:{port} (a port behind it)"
        raise SomacastError(f"{what}: expected HOST:PORT, such as {like}, got {shown(text)}")

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def local_name(self) -> bool:
        """Whether it is a name of this machine by definition (RFC 6761)."""
        return self.host.lower().rstrip(".").split(".")[-1] == "localhost"

    @property
    def loopback(self) -> bool:
        """Whether packets for this host cannot leave the machine; a name is not looked up."""
        return self.local_name or (is_address(self.host) and ip_address(self.host).is_loopback)

    def resolve(self) -> list[Found]:
        """Its addresses, MAX_ADDRESSES at most; localhost is 127.0.0.1 and ::1 whatever the system's files say.

        SomacastError if nobody knows the name.
        """
        if self.local_name:
            return [(family, (host, self.port)) for family, host in _LOOPBACK]
        try:
            found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_DGRAM)
        except (OSError, UnicodeError) as fault:
            reason = getattr(fault, "strerror", None) or str(fault)
            raise SomacastError(f"{self}: expected a host that is known ({reason.lower()})") from fault
        return list(dict.fromkeys((int(one[0]), one[4]) for one in found))[:MAX_ADDRESSES]

    def bind(self, kind: int = socket.SOCK_DGRAM) -> list[socket.socket]:
        """Sockets bound to all its addresses under one port; [::] takes IPv4 as well where the system can.

        Addresses of a name that this machine lacks are passed over. SomacastError if none can be had, or one is taken.
        """
        found = self.resolve()
        for tries_left in reversed(range(_TRIES)):
            made: list[socket.socket] = []
            absent: OSError | None = None
            try:
                for family, address in found:
                    port = made[0].getsockname()[1] if made else address[1]
                    try:
                        made.append(_bound(family, kind, (address[0], port, *address[2:])))
                    except OSError as fault:
                        if fault.errno not in _ABSENT:
                            raise
                        absent = fault
                if made:
                    return made
                raise absent or OSError(errno.EADDRNOTAVAIL, "no address")
            except OSError as fault:
                for one in made:
                    one.close()
                if made and not self.port and tries_left:
                    continue  # the port that the first one was given is taken in the other family
                raise SomacastError(f"{self}: cannot listen there ({reason_of(fault)})") from fault
        raise AssertionError("the last try returns or raises")

    def figures(self) -> list[Place]:
        """Places with addresses in figures for a local name, those of families that this machine has; else itself."""
        if not self.local_name:
            return [self]
        here = []
        for family, host in _LOOPBACK:
            with contextlib.suppress(OSError):
                _bound(family, socket.SOCK_DGRAM, (host, 0)).close()
                here.append(Place(host, self.port))
        return here

    def with_port(self) -> Place:
        """The same place with a port that is free now, if it has none. SomacastError if the host is not ours."""
        if self.port:
            return self
        probes = self.bind()
        port = probes[0].getsockname()[1]
        for one in probes:
            one.close()
        return Place(self.host, port)


def check_open(places: Iterable[Place], keys: Keys | None, insecure: bool) -> None:
    """SomacastError if without keys something would leave this machine."""
    for place in places:
        if keys is None and not insecure and not place.loopback:
            raise SomacastError(
                f"{place}: is not on this machine, and everyone on the way could listen; expected keys "
                "(somacast keys makes them, --keys DIR names them), or --insecure"
            )


def _bound(family: int, kind: int, address: tuple) -> socket.socket:
    made = socket.socket(family, kind)
    try:
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, int(address[0] != "::"))
        if kind == socket.SOCK_STREAM and os.name == "posix":
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections of before do not hold the port
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made


def reason_of(fault: OSError) -> str:
    """Why a place cannot be had, in words."""
    return IN_USE if fault.errno == errno.EADDRINUSE else (fault.strerror or str(fault)).lower()


def is_address(host: str) -> bool:
    """Whether it is an address in figures."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True
