"""How two ends of a WebRTC connection find each other: one HTTP POST with an offer, answered with an answer."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

from somacast.errors import SomacastError
from somacast.network.transport.places import Place

MAX_SDP_BYTES = 65_536
MAX_SDP_LINES = 200
MAX_HEADER_BYTES = 8192
REQUEST_S = 5.0
MAX_REQUESTS = 8  # at once

Answer = Callable[[bytes], Awaitable[str]]


def cleaned_offer(body: bytes) -> str:
    """The SDP of a JSON offer: one section, of data channels, without addresses, so that an offer cannot make this end
    send elsewhere. SomacastError for anything else."""
    try:
        offer = json.loads(body)
        sdp = offer["sdp"] if offer["type"] == "offer" else None
    except (ValueError, TypeError, KeyError, RecursionError) as fault:
        raise SomacastError("offer: expected JSON with an SDP offer, got something else") from fault
    if not isinstance(sdp, str):
        raise SomacastError("offer: expected JSON with an SDP offer, got something else")
    lines = [line for line in sdp.splitlines() if not line.startswith(("a=candidate:", "a=end-of-candidates"))]
    sections = [line for line in lines if line.startswith("m=")]
    if len(lines) > MAX_SDP_LINES or len(sections) != 1 or not sections[0].startswith("m=application "):
        raise SomacastError("offer: expected one section of data channels, got something else")
    return "\r\n".join(lines) + "\r\n"


def only_at(connection: Any, place: Place) -> None:
    """Keep a connection whose signalling is on the loopback device there: aioice leaves that device out by itself."""
    if not place.loopback:
        return
    here = [one.host for one in place.figures()]
    with contextlib.suppress(AttributeError):  # another aioice: it takes all devices but this one
        ice = connection.sctp.transport.transport.iceGatherer._connection
        gather = ice.get_component_candidates

        async def at_loopback(component: int, addresses: list[str], timeout: int = 5) -> Any:
            return await gather(component, here, timeout)

        ice.get_component_candidates = at_loopback


async def serve_offers(
    place: Place, room: str, answer: Answer, context: ssl.SSLContext | None
) -> tuple[list[asyncio.Server], int]:
    """Listen for POST /room at all addresses of a place; returns the servers and their port. SomacastError if the place
    is not to be had."""
    places = asyncio.Semaphore(MAX_REQUESTS)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            if places.locked():
                return
            async with places:
                status, body = await asyncio.wait_for(_respond(reader, room, answer), REQUEST_S * 2)
            head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            writer.write(head.encode() + b"Connection: close\r\n\r\n" + body)
            await asyncio.wait_for(writer.drain(), REQUEST_S)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ssl.SSLError):
            pass  # whoever it was does not get an answer
        finally:
            writer.close()

    bound = place.bind(socket.SOCK_STREAM)
    port = bound[0].getsockname()[1]
    return [await asyncio.start_server(serve, sock=one, ssl=context, limit=MAX_HEADER_BYTES) for one in bound], port


async def _respond(reader: asyncio.StreamReader, room: str, answer: Answer) -> tuple[str, bytes]:
    """Status line and body for one request."""
    head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), REQUEST_S)).decode("latin-1").split("\r\n")
    fields = dict(line.lower().split(":", 1) for line in head[1:] if ":" in line)
    if head[0] != f"POST /{room} HTTP/1.1":
        return "404 Not Found", b"{}"
    size = fields.get("content-length", "").strip()
    # A page of another site can make a browser post, but not with this type without being allowed to first.
    if (
        not size.isdecimal()
        or len(size) > 6
        or not 0 < int(size) <= MAX_SDP_BYTES
        or "application/json" not in fields.get("content-type", "")
    ):
        return "400 Bad Request", b"{}"
    body = await asyncio.wait_for(reader.readexactly(int(size)), REQUEST_S)
    try:
        sdp = await answer(body)
    except SomacastError:
        return "409 Conflict", b"{}"
    return "200 OK", json.dumps({"type": "answer", "sdp": sdp}).encode()
