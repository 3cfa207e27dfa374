"""How Somacast configures Zenoh: endpoints, certificates, caps. One place, for ends and relays.

    with keys       quic/HOST:PORT?mixed_rel=1        TLS 1.3, both sides show certificates
    without         udp/HOST:PORT?rel=1;mixed_rel=1   the same QUIC without encryption or certificates

`mixed_rel=1` gives a link two halves in one connection: a stream for what is reliable, subscriptions among it, and
QUIC datagrams (RFC 9221) for what is best effort, which neither wait for each other nor are sent again. Without keys
Somacast stays on the loopback device unless told otherwise: QUIC cannot skip certificates, and a certificate made
up at start would tell the other side nothing.
"""

from __future__ import annotations

import atexit
import functools
import json
import re
import threading
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from somacast.checks import shown
from somacast.errors import SomacastError
from somacast.network.keys import Keys
from somacast.network.transport.base import Limits, TransportOptions
from somacast.network.transport.places import IN_USE, Place

if TYPE_CHECKING:
    import zenoh

Mode = Literal["peer", "client", "router"]
ROOT = "somacast"
MAX_ENDPOINTS = 16
CLOSE_S, LEAVE_S, SETTLE_S = 1.0, 2.0, 0.3
PORT_S = 0.6  # a port is free again a moment after whoever had it has left
MAX_MESSAGE_BYTES = 65_536  # of Zenoh's own messages; a batch may hold several of ours

_closing: list[threading.Thread] = []  # sessions that are being closed


def endpoint(place: Place, options: TransportOptions, *, connect: bool = False) -> str:
    """The place as Zenoh spells it. Who connects on the loopback device also stays on it with its own socket.

    SomacastError for connecting to an IPv6 address in figures, which QUIC in Zenoh 1.10 takes for a wrong name.
    """
    if connect and ":" in place.host:
        raise SomacastError(
            f"zenoh:{place}: expected a host name or IPv4 to go to, got IPv6 in figures (udp:{place} takes it)"
        )
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
        "listen/endpoints": [endpoint(one, options) for place in listen for one in place.figures()],
        "connect/endpoints": [endpoint(place.figures()[0], options, connect=True) for place in connect],
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
    settings = {
        "root_ca_certificate": str(keys.authority_crt.absolute()),
        "listen_certificate": str(keys.peer_crt.absolute()),
        "listen_private_key": str(keys.peer_key.absolute()),
        "connect_certificate": str(keys.peer_crt.absolute()),
        "connect_private_key": str(keys.peer_key.absolute()),
        "enable_mtls": True,
        "verify_name_on_connect": True,  # never off: Zenoh trusts public authorities beside ours
        "close_link_on_expiration": True,
    }
    return {f"transport/link/tls/{name}": value for name, value in settings.items()}


def open_session(values: Mapping[str, object]) -> zenoh.Session:
    """A Zenoh session; SomacastError with one line if it cannot be opened."""
    import zenoh

    _leave_calmly()
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
            if "in use" in str(fault):
                raise SomacastError(f"{shown(values['listen/endpoints'])}: cannot listen there ({IN_USE})") from fault
            reason = re.split(r" at [/A-Za-z]", " ".join(str(fault).split()))[0]  # where in its sources: no use here
            where = values["listen/endpoints"] or values["connect/endpoints"]
            raise SomacastError(f"{shown(where)}: cannot be opened ({reason[:160]})") from fault


def close_session(session: zenoh.Session) -> None:
    """Close without waiting longer than a second: Zenoh waits for connections that are just being tried."""
    closing = threading.Thread(target=session.close, name="somacast-leave", daemon=True)
    closing.start()
    closing.join(CLOSE_S)
    _closing[:] = [thread for thread in (*_closing, closing) if thread.is_alive()]


@functools.cache
def _leave_calmly() -> None:
    """A process that ends waits a little for Zenoh: one of its threads that hands something back while Python is taken
    down aborts the process."""

    def wait() -> None:
        end_s = time.monotonic() + LEAVE_S
        for thread in _closing:
            thread.join(max(end_s - time.monotonic(), 0.0))
        time.sleep(SETTLE_S)

    atexit.register(wait)
