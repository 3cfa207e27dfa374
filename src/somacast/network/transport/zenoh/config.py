"""How Somacast configures Zenoh: endpoints, certificates, caps. One place, for ends and relays.

    with keys       quic/HOST:PORT?mixed_rel=1        TLS 1.3, both sides show certificates
    without         udp/HOST:PORT?rel=1;mixed_rel=1   the same QUIC without encryption or certificates

`mixed_rel=1` gives a link two halves in one connection: a stream for what is reliable, subscriptions among it, and
QUIC datagrams (RFC 9221) for what is best effort, which neither wait for each other nor are sent again. Without keys
Somacast stays on the loopback device unless told otherwise: QUIC cannot skip certificates, and a certificate made
up at start would tell the other side nothing.
"""

from __future__ import annotations

import json
import re
import socket
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Literal

from somacast.checks import shown
from somacast.errors import SomacastError
from somacast.network.keys import Keys
from somacast.network.transport.base import Limits, TransportOptions

if TYPE_CHECKING:
    import zenoh

Mode = Literal["peer", "client", "router"]
ROOT = "somacast"
DEFAULT_PORT = 7447
MAX_ENDPOINTS = 16
CLOSE_S = 1.0
PORT_S = 0.6  # a port is free again a moment after whoever had it has left
MAX_MESSAGE_BYTES = 65_536  # of Zenoh's own messages; a batch may hold several of ours
_PLACE = re.compile(r"(?:\[(?P<six>[0-9A-Fa-f:.]+)\]|(?P<host>[A-Za-z0-9.-]+)):(?P<port>\d{1,5})")


@dataclass(frozen=True)
class Place:
    """HOST:PORT, port 0 to 65535 (0: any free one)."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Place:
        """`HOST:PORT` or `[IPV6]:PORT`; SomacastError for anything else."""
        match = _PLACE.fullmatch(text)
        if not match or int(match["port"]) > 65_535:
            raise SomacastError(f"address: expected HOST:PORT, such as 127.0.0.1:{DEFAULT_PORT}, got {shown(text)}")
        host = match["six"] or match["host"]
        return cls("127.0.0.1" if host == "localhost" else host, int(match["port"]))  # localhost may be ::1 elsewhere

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def loopback(self) -> bool:
        """Whether packets for this host cannot leave the machine; a name is not looked up."""
        try:
            return ip_address(self.host).is_loopback
        except ValueError:
            return False

    def with_port(self) -> Place:
        """The same place with a port that is free now, if it has none. SomacastError if the host is not ours."""
        if self.port:
            return self
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            with socket.socket(family, socket.SOCK_DGRAM) as probe:
                probe.bind((self.host, 0))
                return Place(self.host, probe.getsockname()[1])
        except OSError as fault:
            raise SomacastError(f"{self}: cannot listen there ({(fault.strerror or str(fault)).lower()})") from fault


def check_open(places: Iterable[Place], keys: Keys | None, insecure: bool) -> None:
    """SomacastError if without keys something would leave this machine."""
    for place in places:
        if keys is None and not insecure and not place.loopback:
            raise SomacastError(
                f"{place}: is not on this machine, and everyone on the way could listen; expected keys "
                "(somacast keys makes them, --keys DIR names them), or --insecure"
            )


def endpoint(place: Place, options: TransportOptions, *, connect: bool = False) -> str:
    """The place as Zenoh spells it. Who connects on the loopback device also stays on it with its own socket.

    SomacastError for connecting to an IPv6 address in figures, which QUIC in Zenoh 1.10 takes for a wrong name.
    """
    if connect and ":" in place.host:
        raise SomacastError(f"{place}: expected a host name or an IPv4 address to connect to, got IPv6 in figures")
    spelled = f"quic/{place}?mixed_rel=1" if options.keys else f"udp/{place}?rel=1;mixed_rel=1"
    spelled += f"#initial_mtu={options.mtu_bytes}"
    return f"{spelled};bind=127.0.0.1:0" if connect and place.loopback else spelled


def settings(
    mode: Mode, listen: Sequence[Place], connect: Sequence[Place], options: TransportOptions
) -> dict[str, object]:
    """Zenoh's settings by their path."""
    keys, limits = options.keys, options.limits
    values: dict[str, object] = {
        "mode": mode,
        "listen/endpoints": [endpoint(place, options) for place in listen],
        "connect/endpoints": [endpoint(place, options, connect=True) for place in connect],
        "connect/timeout_ms": 60_000 if mode == "client" else -1,  # others keep trying in the background
        "connect/exit_on_failure": mode == "client",
        "connect/retry": {"period_init_ms": 100, "period_max_ms": 1000, "period_increase_factor": 1.5},
        "listen/exit_on_failure": True,
        "listen/timeout_ms": 0,
        "scouting/delay": 1,  # nobody is scouted for, so nothing is worth waiting for
        "scouting/multicast/enabled": False,
        "scouting/gossip/enabled": False,
        "timestamping/enabled": False,
        "adminspace/enabled": False,
        "transport/shared_memory/enabled": False,
        "transport/link/protocols": ["quic"] if keys else ["udp"],
        "transport/link/tx/lease": round(options.lease_s * 1000),
        # Several datagrams of one frame follow each other closely: a millisecond for Zenoh's thread to take them.
        "transport/link/tx/queue/congestion_control/drop/wait_before_drop": 1000,
        "transport/link/tx/queue/size/real_time": 16,
        "transport/link/rx/max_message_size": MAX_MESSAGE_BYTES,
        "transport/unicast/open_timeout": 5000,
        "transport/unicast/accept_timeout": 5000,
        "transport/unicast/accept_pending": 32,
        "transport/unicast/max_sessions": limits.peers,
        "low_pass_filter": _size_caps(limits),
    }
    return values | (_tls(keys) if keys else {})


def _size_caps(limits: Limits) -> list[dict[str, object]]:
    """What is too large is dropped where it comes in, also by a relay, before it is queued for anyone."""
    caps = {"live": limits.live_bytes, "identity": limits.identity_bytes, "control/*": limits.control_bytes}
    return [
        {
            "id": f"cap{number}",
            "flows": ["ingress"],
            "messages": ["put", "delete", "query", "reply"],
            "key_exprs": [f"{ROOT}/*/{name}"],
            "size_limit": size,
        }
        for number, (name, size) in enumerate(caps.items())
    ]


def _tls(keys: Keys) -> dict[str, object]:
    tls = "transport/link/tls"
    return {
        f"{tls}/root_ca_certificate": str(keys.authority_crt.absolute()),
        f"{tls}/listen_certificate": str(keys.peer_crt.absolute()),
        f"{tls}/listen_private_key": str(keys.peer_key.absolute()),
        f"{tls}/connect_certificate": str(keys.peer_crt.absolute()),
        f"{tls}/connect_private_key": str(keys.peer_key.absolute()),
        f"{tls}/enable_mtls": True,
        f"{tls}/verify_name_on_connect": True,  # never off: Zenoh trusts public authorities beside ours
        f"{tls}/close_link_on_expiration": True,
    }


def open_session(values: Mapping[str, object]) -> zenoh.Session:
    """A Zenoh session; SomacastError with one line if it cannot be opened."""
    import zenoh

    config = zenoh.Config()
    for path, value in values.items():
        config.insert_json5(path, json.dumps(value))
    end_s = time.monotonic() + PORT_S
    while True:
        try:
            return zenoh.open(config)
        except zenoh.ZError as fault:
            if "in use" in str(fault) and time.monotonic() < end_s:
                time.sleep(0.05)
                continue
            reason = re.split(r" at [/A-Za-z]", " ".join(str(fault).split()))[0]  # where in its sources: no use here
            where = values["listen/endpoints"] or values["connect/endpoints"]
            raise SomacastError(f"{shown(where)}: cannot be opened ({reason[:160]})") from fault


def close_session(session: zenoh.Session) -> None:
    """Close without waiting longer than a second: Zenoh waits for connections that are just being tried."""
    closing = threading.Thread(target=session.close, name="somacast-leave", daemon=True)
    closing.start()
    closing.join(CLOSE_S)
