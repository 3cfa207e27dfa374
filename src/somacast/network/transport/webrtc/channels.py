"""Transport over WebRTC data channels, for ways that only let those through: one sender, one receiver.

    sender   POST offer  -->  receiver's http(s)://HOST:PORT/ROOM     signalling, once for each connection
    live, control             unordered, never sent again (RFC 8831)
    identity                  reliable, in order

The receiver listens. No STUN or TURN server is asked, and addresses in an offer are not used: the sender finds the
receiver at the addresses of the answer. DTLS encrypts the channels, and the fingerprints in offer and answer say who is
there; so off loopback those must come by https with keys on both sides.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import secrets
import socket
import ssl
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlsplit

from somacast.checks import shown
from somacast.errors import SomacastError
from somacast.extras import require
from somacast.network.keys import Keys
from somacast.network.transport.base import SENDER, TO_RECEIVERS, TO_SENDER, Ends, Lane, TransportOptions, check_word
from somacast.network.transport.places import Place, check_open
from somacast.network.transport.webrtc.signalling import MAX_SDP_BYTES, cleaned_offer, only_at, serve_offers

# Computed: IPv4 20, UDP 8, DTLS 1.2 with AES-GCM 37, SCTP 12, its DATA chunk 16, and up to 3 of padding.
HEADER_BYTES = 95
RETRY_S, CONNECT_S, CLOSE_S = 0.5, 10.0, 3.0
LIVE_BUFFER_BYTES = 4096  # what may wait in a channel; beyond, what is new goes nowhere
IDENTITY_BUFFER_BYTES = 65_536
_REFUSED = {404: "expected a receiver of room {room}, got one of another", 409: "the room has a sender already"}
_LABELS = {Lane.LIVE: "live", Lane.IDENTITY: "identity", Lane.CONTROL: "control"}


def parse_url(text: str, keys: Keys | None, insecure: bool) -> tuple[Place, bool]:
    """Place of `http://HOST:PORT` or `https://HOST:PORT`, and whether it is https; SomacastError for anything else."""
    parts = urlsplit(text)
    if parts.scheme not in ("http", "https") or parts.path not in ("", "/") or parts.query or parts.username:
        raise SomacastError(f"address: expected webrtc:http://HOST:PORT or https, got {shown(text)}")
    place, secure = Place.parse(parts.netloc), parts.scheme == "https"
    if secure and keys is None:
        raise SomacastError(f"webrtc:{text}: https needs keys (somacast keys makes them, --keys DIR names them)")
    check_open([place], keys if secure else None, insecure)
    return place, secure


class _WebRtcEnd(Ends):
    """What both ends share: an event loop in a thread of its own, one connection at a time, its channels."""

    header_bytes = HEADER_BYTES

    def __init__(self, sends: frozenset[Lane], room: str, options: TransportOptions) -> None:
        require("aiortc", "a WebRTC transport")
        super().__init__(sends, options.limits)
        self.room, self.options = check_word("room", room), options
        self._peer = SENDER
        self._channels: dict[Lane, Any] = {}
        self._connection: Any = None
        self._heard_s = 0.0
        self._closed = False
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="somacast-webrtc", daemon=True)
        self._thread.start()

    def _call(self, work: Coroutine[Any, Any, Any], timeout_s: float) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout_s)

    def _new_connection(self) -> Any:
        from aiortc import RTCConfiguration, RTCPeerConnection

        connection = RTCPeerConnection(RTCConfiguration(iceServers=[]))
        self._connection, self._channels = connection, {}
        self._heard_s = time.monotonic()
        return connection

    def _adopt(self, channel: Any) -> None:
        """Take a channel of the connection into use; unknown ones are left alone."""
        lane = {label: lane for lane, label in _LABELS.items()}.get(channel.label)
        if lane is None or lane in self._channels:
            return
        self._channels[lane] = channel

        @channel.on("message")
        def message(data: Any) -> None:
            self._heard_s = time.monotonic()
            if data:  # an empty one only says that somebody is there
                self.inbox.put(lane, data if isinstance(data, bytes) else b"", self._peer)

    async def _keep(self, connection: Any) -> None:
        """Say now and then that this end is there; returns when the other has not been heard for lease_s, or leaves."""
        lease_s = self.options.lease_s
        while not self._closed and connection.connectionState not in ("failed", "closed"):
            if time.monotonic() - self._heard_s > lease_s:
                return
            channel = self._channels.get(Lane.CONTROL)
            if channel is not None and channel.readyState == "open":
                with contextlib.suppress(Exception):
                    channel.send(b"")
            await asyncio.sleep(lease_s / 4)

    def _open(self, lane: Lane) -> Any:
        channel = self._channels.get(lane)
        return channel if channel is not None and channel.readyState == "open" else None

    def send(self, lane: Lane, data: bytes) -> bool:
        """See Transport."""
        if not data or not self._fits(lane, data):
            return False
        channel, most = self._open(lane), IDENTITY_BUFFER_BYTES if lane is Lane.IDENTITY else LIVE_BUFFER_BYTES
        if self._closed or channel is None or channel.bufferedAmount > most:
            return self._refuse()
        self._loop.call_soon_threadsafe(self._pass_on, channel, bytes(data))
        return self._count(data)

    def _pass_on(self, channel: Any, data: bytes) -> None:
        with contextlib.suppress(Exception):  # it has closed since
            channel.send(data)

    def peers(self) -> int:
        """See Transport."""
        return int(self._open(Lane.CONTROL) is not None)

    async def _leave(self) -> None:
        if self._connection is not None:
            await self._connection.close()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks or [asyncio.create_task(asyncio.sleep(0))], timeout=CLOSE_S / 2)

    def close(self) -> None:
        """See Transport."""
        if self._closed:
            return
        self._closed = True
        with contextlib.suppress(Exception):
            self._call(self._leave(), CLOSE_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(CLOSE_S)
        if not self._thread.is_alive():
            self._loop.close()
        super().close()


class WebRtcSender(_WebRtcEnd):
    """The sending end: offers, again and again until somebody answers, and anew when the other side has gone."""

    def __init__(self, url: str, room: str, options: TransportOptions) -> None:
        if options.listen:
            raise SomacastError("webrtc: expected the receiver to listen, got a sender that is told to")
        self._place, secure = parse_url(url, options.keys, options.insecure)
        self._place.resolve()
        super().__init__(TO_RECEIVERS, room, options)
        self.address, self._identity = f"webrtc:{url}", None
        self._context = _context(options.keys, False) if secure else None
        self._peer = secrets.token_hex(3)
        self._loop.call_soon_threadsafe(lambda: self._loop.create_task(self._stay()))

    def send(self, lane: Lane, data: bytes) -> bool:
        """See Transport."""
        if lane is Lane.IDENTITY and len(data) <= self.limits.identity_bytes:
            self._identity = bytes(data)
        return super().send(lane, data)

    async def _stay(self) -> None:
        while not self._closed:
            try:
                await self._connect()
            except SomacastError as fault:
                self._notice = str(fault)
            except Exception:  # nobody there yet, or no longer: again
                self._notice = f"nobody answers at {self.address}; expected a receiver of room {self.room} there"
            if self._connection is not None:
                await self._connection.close()
            await asyncio.sleep(RETRY_S)

    async def _connect(self) -> None:
        from aiortc import RTCSessionDescription

        connection = self._new_connection()
        for lane, label in _LABELS.items():
            quick = {} if lane is Lane.IDENTITY else {"ordered": False, "maxRetransmits": 0}
            channel = connection.createDataChannel(label, **quick)
            self._adopt(channel)
            if lane is Lane.IDENTITY:
                channel.on("open", lambda channel=channel: self._identity and self._pass_on(channel, self._identity))
        only_at(connection, self._place)
        await connection.setLocalDescription(await connection.createOffer())
        answer = await asyncio.to_thread(self._post, connection.localDescription.sdp)
        await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        self._heard_s, self._notice = time.monotonic() + CONNECT_S / 2, ""  # time to connect
        await self._keep(connection)

    def _host(self) -> str:
        """The address of a local name at which somebody listens; any other name as it is, for its certificate."""
        if self._place.local_name:
            for _, (host, port) in self._place.resolve():
                with contextlib.suppress(OSError), socket.create_connection((host, port), CONNECT_S):
                    return host
        return self._place.host

    def _post(self, sdp: str) -> str:
        kind: Callable[..., http.client.HTTPConnection] = http.client.HTTPConnection
        extra: dict[str, Any] = {"timeout": CONNECT_S}
        if self._context is not None:
            kind, extra = http.client.HTTPSConnection, extra | {"context": self._context}
        web = kind(self._host(), self._place.port, **extra)
        try:
            body = json.dumps({"type": "offer", "sdp": sdp})
            web.request("POST", f"/{self.room}", body, {"Content-Type": "application/json"})
            response = web.getresponse()
            text = response.read(MAX_SDP_BYTES)
            if response.status != 200:
                why = _REFUSED.get(response.status, "refused the offer")
                raise SomacastError(f"{self.address}: {why.format(room=self.room)} ({response.status})")
            return str(json.loads(text)["sdp"])
        finally:
            web.close()


class WebRtcReceiver(_WebRtcEnd):
    """The receiving end: answers offers at its address. `answer` may be mounted in another server as well."""

    def __init__(self, url: str, room: str, options: TransportOptions) -> None:
        if options.listen is False:
            raise SomacastError("webrtc: expected the receiver to listen, got one that is told not to")
        place, secure = parse_url(url, options.keys, options.insecure)
        self._servers: list[asyncio.Server] = []
        super().__init__(TO_SENDER, room, options)
        self._busy = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        context = _context(options.keys, True) if secure else None
        try:
            self._servers, port = self._call(serve_offers(place, self.room, self.answer, context), CONNECT_S)
        except SomacastError:
            self.close()
            raise
        self._place = Place(place.host, port)
        self.address = f"webrtc:{'https' if secure else 'http'}://{self._place}"

    async def answer(self, body: bytes) -> str:
        """SDP answer to a JSON offer; the sender of the last one stays. SomacastError for a bad offer. Belongs to the
        event loop of this transport."""
        from aiortc import RTCSessionDescription

        sdp = cleaned_offer(body)
        async with self._busy:
            if self._connection is not None:
                if self._open(Lane.CONTROL) and time.monotonic() - self._heard_s < self.options.lease_s:
                    raise SomacastError("room: expected one sender, got a second")
                await self._connection.close()
            connection = self._new_connection()
            connection.on("datachannel", self._adopt)
            try:
                await connection.setRemoteDescription(RTCSessionDescription(sdp, "offer"))
                only_at(connection, self._place)
                await connection.setLocalDescription(await connection.createAnswer())
            except Exception as fault:
                await connection.close()
                raise SomacastError("offer: expected SDP that can be answered, got something else") from fault
            self._heard_s = time.monotonic() + CONNECT_S / 2
            self._task = asyncio.create_task(self._attend(connection))
            return connection.localDescription.sdp

    async def _attend(self, connection: Any) -> None:
        await self._keep(connection)
        await connection.close()

    async def _leave(self) -> None:
        for server in self._servers:
            server.close()
        await super()._leave()


def _context(keys: Keys | None, server: bool) -> ssl.SSLContext:
    """TLS 1.3 in which both sides show certificates of one authority."""
    assert keys is not None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER if server else ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_verify_locations(keys.authority_crt)
    context.load_cert_chain(keys.peer_crt, keys.peer_key)
    context.verify_mode = ssl.CERT_REQUIRED
    return context
