"""The sockets of one end of the UDP transport, one for each family of addresses, and the ways to the other side."""

from __future__ import annotations

import contextlib
import socket
from typing import NamedTuple

from somacast.errors import SomacastError
from somacast.network.transport.places import Place

BUFFER_BYTES = 1 << 20
Address = tuple  # as the socket module has it


class Way(NamedTuple):
    """From one of our sockets, by its number, to an address."""

    number: int
    address: Address


class Sockets:
    """Bound to all addresses of a place, or ready to go to any of them: a name may have several, and only the other
    side knows at which it listens. own: the sockets; targets: ways to go, none for who listens; place: with the port.

    SomacastError, one line, for a place that cannot be used.
    """

    def __init__(self, place: Place, listen: bool) -> None:
        self.targets: tuple[Way, ...] = ()
        if listen:
            self.own = place.bind()
            place = Place(place.host, self.own[0].getsockname()[1])
        else:
            self.own, self.targets = _outward(place)
        self.place = place
        self.header_bytes = 48 if any(one.family == socket.AF_INET6 for one in self.own) else 28
        for one in self.own:
            one.setblocking(False)
            with contextlib.suppress(OSError):
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)

    def put(self, data: bytes, way: Way) -> bool:
        """Send; whether it left."""
        try:
            self.own[way.number].sendto(data, way.address)
        except OSError:  # full buffer, no route: best effort
            return False
        return True

    def target_like(self, way: Way) -> Way:
        """The target from which something has come; the first one for what came from elsewhere, as through NAT."""
        return next((one for one in self.targets if one[1][:2] == way.address[:2]), self.targets[0])

    def close(self) -> None:
        for one in self.own:
            one.close()

    def __str__(self) -> str:
        """Where it goes, with the addresses of a name."""
        hosts = [way.address[0] for way in self.targets]
        return f"{self.place}" + ("" if hosts in ([], [self.place.host]) else f" ({', '.join(hosts)})")


def _outward(place: Place) -> tuple[list[socket.socket], tuple[Way, ...]]:
    """A socket for each family of the place's addresses that this machine has, and the ways there."""
    if not place.port:
        raise SomacastError(f"{place}: expected a port from 1 to 65535 to go to")
    made: dict[int, socket.socket] = {}
    ways, reason = [], "no address"
    for family, address in place.resolve():
        if family not in made:
            loopback, anywhere = ("::1", "::") if family == socket.AF_INET6 else ("127.0.0.1", "0.0.0.0")
            try:
                made[family] = socket.socket(family, socket.SOCK_DGRAM)
                made[family].bind((loopback if place.loopback else anywhere, 0))
            except OSError as fault:
                reason = (fault.strerror or str(fault)).lower()
                if family in made:
                    made.pop(family).close()
                continue
        ways.append(Way(list(made).index(family), address))
    if not ways:
        raise SomacastError(f"{place}: cannot be gone to ({reason})")
    return list(made.values()), tuple(ways)
