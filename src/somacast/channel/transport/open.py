"""Addresses: `memory:NAME`, `zenoh:HOST:PORT` or plain `HOST:PORT`, `webrtc:http://HOST:PORT`."""

from __future__ import annotations

from somacast.channel.checks import shown
from somacast.channel.transport.base import Transport, TransportOptions
from somacast.types import SomacastError

EXPECTED = "expected memory:NAME, HOST:PORT, zenoh:HOST:PORT or webrtc:http://HOST:PORT"
DEFAULT_ROOM = "person"


def open_sender(address: str, room: str = DEFAULT_ROOM, options: TransportOptions | None = None) -> Transport:
    """The sending end at an address. Nobody need be there yet.

    Raises SomacastError, in one line, for an address that is none, that cannot be used, or that leaves this machine
    without keys.
    """
    kind, rest = _split(address)
    options = options or TransportOptions()
    if kind == "memory":
        from somacast.channel.transport import memory

        return memory.room(rest, room, options.limits).sender()
    if kind == "webrtc":
        from somacast.channel.transport.webrtc import WebRtcSender

        return WebRtcSender(rest, room, options)
    from somacast.channel.transport.zenoh_ends import ZenohSender

    return ZenohSender(rest, room, options)


def open_receiver(address: str, room: str = DEFAULT_ROOM, options: TransportOptions | None = None) -> Transport:
    """A receiving end at an address; otherwise as open_sender."""
    kind, rest = _split(address)
    options = options or TransportOptions()
    if kind == "memory":
        from somacast.channel.transport import memory

        return memory.room(rest, room, options.limits).receiver(options.name)
    if kind == "webrtc":
        from somacast.channel.transport.webrtc import WebRtcReceiver

        return WebRtcReceiver(rest, room, options)
    from somacast.channel.transport.zenoh_ends import ZenohReceiver

    return ZenohReceiver(rest, room, options)


def _split(address: str) -> tuple[str, str]:
    """Kind and rest of an address."""
    if not isinstance(address, str):
        raise SomacastError(f"address: {EXPECTED}, got {shown(address)}")
    kind, colon, rest = address.partition(":")
    if kind == "file" or address.endswith(".soma"):
        raise SomacastError(f"{shown(address)}: is a file, which is written and read without a transport; {EXPECTED}")
    if colon and kind in ("memory", "zenoh", "webrtc"):
        return kind, rest
    if "/" in address or not colon:
        raise SomacastError(f"address: {EXPECTED}, got {shown(address)}")
    return "zenoh", address
