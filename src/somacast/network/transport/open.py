"""Addresses: `memory:NAME`, `udp:HOST:PORT` or plain `HOST:PORT`, `zenoh:HOST:PORT`, `webrtc:http://HOST:PORT`, and
for receivers files whose names end in `.soma`."""

from __future__ import annotations

from pathlib import Path

from somacast.checks import shown
from somacast.errors import SomacastError
from somacast.network.transport.base import Transport, TransportOptions, check_word
from somacast.network.transport.places import Place, check_open, is_address

EXPECTED = "expected memory:NAME, HOST:PORT, udp:HOST:PORT, zenoh:HOST:PORT, webrtc:http://HOST:PORT or FILE.soma"
DEFAULT_ROOM = "person"


def open_sender(address: str, room: str = DEFAULT_ROOM, options: TransportOptions | None = None) -> Transport:
    """The sending end at an address. Nobody need be there yet.

    Raises SomacastError, in one line, for an address that is none, that cannot be used, or that leaves this machine
    without keys.
    """
    kind, rest = split_address(address)
    options = options or TransportOptions()
    check_word("room", room)
    if kind == "memory":
        from somacast.network.transport import memory

        return memory.room(rest, room, options.limits).sender()
    if kind == "file":
        raise SomacastError(f"{address}: is a file, and no way to a receiver; `send --to` and `encode` write it")
    if kind == "udp":
        from somacast.network.transport.udp.transport import UdpSender

        return UdpSender(rest, room, options)
    if kind == "webrtc":
        from somacast.network.transport.webrtc.channels import WebRtcSender

        return WebRtcSender(rest, room, options)
    from somacast.network.transport.zenoh.ends import ZenohSender

    return ZenohSender(rest, room, options)


def open_receiver(address: str, room: str = DEFAULT_ROOM, options: TransportOptions | None = None) -> Transport:
    """A receiving end at an address; otherwise as open_sender."""
    kind, rest = split_address(address)
    options = options or TransportOptions()
    check_word("room", room)
    if kind == "memory":
        from somacast.network.transport import memory

        return memory.room(rest, room, options.limits).receiver(options.name)
    if kind == "file":
        from somacast.network.transport.file import FileReceiver

        return FileReceiver(Path(rest), options.limits)
    if kind == "udp":
        from somacast.network.transport.udp.transport import UdpReceiver

        return UdpReceiver(rest, room, options)
    if kind == "webrtc":
        from somacast.network.transport.webrtc.channels import WebRtcReceiver

        return WebRtcReceiver(rest, room, options)
    from somacast.network.transport.zenoh.ends import ZenohReceiver

    return ZenohReceiver(rest, room, options)


def check_address(address: str, room: str, options: TransportOptions) -> None:
    """What `open_sender` and `open_receiver` would refuse about an address, before anything is opened or looked up."""
    kind, rest = split_address(address)
    check_word("room", room)
    if kind == "webrtc":
        from somacast.network.transport.webrtc.channels import parse_url

        parse_url(rest, options.keys, options.insecure)
    elif kind in ("udp", "zenoh"):
        parts = rest.split(",") if kind == "zenoh" else [rest]
        check_open([Place.parse(part.removeprefix("zenoh:")) for part in parts], options.keys, options.insecure)


def split_address(address: str) -> tuple[str, str]:
    """Kind (memory, file, udp, zenoh, webrtc) and rest of an address."""
    if not isinstance(address, str):
        raise SomacastError(f"address: {EXPECTED}, got {shown(address)}")
    kind, colon, rest = address.partition(":")
    if address.lower().endswith(".soma"):
        return "file", address
    if colon and kind in ("memory", "zenoh", "udp", "webrtc"):
        return kind, rest
    if "," in address:
        raise SomacastError(f"address: expected zenoh:{address[:80]} for several places, got {shown(address)}")
    if "/" in address or kind == "file" or not (colon or is_address(address) or address == "localhost"):
        raise SomacastError(f"address: {EXPECTED}, got {shown(address)}")
    return "udp", address
