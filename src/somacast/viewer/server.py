"""The receiver's web server: a page, a WebSocket that feeds it, a snapshot, and WebRTC for browsers far away.

| path | what | needs |
| --- | --- | --- |
| GET / and the files of static/ | the page | Host |
| WebSocket /live | the messages of `messages.py` | Host, Origin, token (second subprotocol) |
| GET /hello | version and what is on offer, as JSON | Host, token (Authorization: Bearer) |
| GET /snapshot.glb | the person in the current pose | Host, token |
| POST /webrtc | an SDP offer for its answer | Host, Origin, token |

It runs in a thread of its own with its own event loop, binds to loopback unless RemoteAccess is given, and off loopback
wants a certificate. Tokens stand only in the page's fragment and in headers. See guard.py for the checks.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from somacast.errors import SomacastError
from somacast.extras import installed, require
from somacast.viewer.clients import LinkClosedError, run_session
from somacast.viewer.feed import PersonFeed
from somacast.viewer.guard import (
    SUBPROTOCOL,
    TOKEN_SHAPE,
    Bucket,
    bearer,
    offered_token,
    token_matches,
)
from somacast.viewer.messages import MAX_PAGE_MESSAGE_BYTES, VERSION
from somacast.viewer.pages import Guard, file_answer, static_files

MAX_CLIENTS = 16
MAX_CONNECTIONS = 96  # of any kind
PART_BYTES = 32 << 10
SEND_BUFFER_BYTES = 128 << 10  # of the kernel: more would hold poses that are old when they leave
DEAD_PEER_S = 20
MAX_OFFER_BYTES = 64 << 10


@dataclass(frozen=True)
class RemoteAccess:
    """Leave to serve other machines. certificate and key: PEM files for TLS; without them `unencrypted` must be True,
    for a tunnel or a proxy that encrypts; names: host names under which browsers reach the server, besides addresses.
    """

    certificate: Path | None = None
    key: Path | None = None
    names: tuple[str, ...] = ()
    unencrypted: bool = False


class ViewerServer:
    """Serves `feed` from when it is made until `close`.

    host: address to bind, loopback unless `remote` is given; port: 0 takes a free one; token: 16 to 128 of A-Z a-z 0-9
    _ -, or a fresh one; allow_picture: whether pages may see the sender's picture. Raises SomacastError for what does
    not fit, an address that is taken, and packages that are missing.
    """

    def __init__(
        self,
        feed: PersonFeed,
        host: str = "127.0.0.1",
        port: int = 0,
        token: str | None = None,
        allow_picture: bool = False,
        remote: RemoteAccess | None = None,
    ) -> None:
        for package in ("starlette", "uvicorn", "websockets"):
            require(package, "the viewer")
        self.feed, self.allow_picture, self.remote = feed, allow_picture, remote
        self.token = secrets.token_urlsafe(24) if token is None else token
        if not TOKEN_SHAPE.fullmatch(self.token):
            raise SomacastError("token: expected 16 to 128 characters of A-Z a-z 0-9 _ -, got others")
        self._socket, self.loopback = _bound_socket(host, port, remote)
        self.host, self.port = self._socket.getsockname()[:2]
        self.names = _names(self.host, remote)
        self.scheme = "https" if remote and remote.certificate else "http"
        self.clients = 0
        self._snapshots, self._offers = Bucket(2.0, 5), Bucket(2.0, MAX_CLIENTS)
        self._snapshot_lock = asyncio.Lock()
        self._webrtc: Any = None
        try:
            self._server = self._uvicorn()
        except BaseException:
            self._socket.close()
            raise
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="somacast-viewer", daemon=True)
        self._thread.start()
        self._wait_until_up()

    @property
    def url(self) -> str:
        """What to open in a browser, token in the fragment."""
        address = ipaddress.ip_address(self.host)
        shown = self.names[0] if self.names else f"[{self.host}]" if address.version == 6 else self.host
        return f"{self.scheme}://{shown}:{self.port}/#token={self.token}"

    def close(self) -> None:
        """Tell the pages, close all sockets, end the thread. Again does nothing."""
        self._server.should_exit = True
        self._thread.join(timeout=5.0)
        if self._thread.is_alive():
            self._server.force_exit = True
            self._thread.join(timeout=5.0)
        self._socket.close()

    def __enter__(self) -> ViewerServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _uvicorn(self) -> Any:
        import uvicorn

        tls = {}
        if self.remote and self.remote.certificate:
            tls = {"ssl_certfile": str(self.remote.certificate), "ssl_keyfile": str(self.remote.key or "") or None}
        config = uvicorn.Config(
            self._application(), http="h11", ws="websockets-sansio", loop="asyncio", lifespan="off", log_config=None,
            access_log=False, server_header=False, proxy_headers=False, limit_concurrency=MAX_CONNECTIONS,
            ws_max_size=4 * MAX_PAGE_MESSAGE_BYTES, ws_max_queue=8, ws_ping_interval=5.0,
            ws_ping_timeout=float(DEAD_PEER_S), ws_per_message_deflate=False, timeout_keep_alive=10,
            timeout_graceful_shutdown=2, h11_max_incomplete_event_size=16 << 10, **tls,
        )  # fmt: skip
        try:
            config.load()
        except (OSError, ValueError) as fault:  # ssl errors are OSErrors
            raise SomacastError(f"viewer: the certificate or its key cannot be used ({fault})") from fault
        return uvicorn.Server(config)

    def _run(self) -> None:
        async def main() -> None:
            try:
                await self._server.serve(sockets=[self._socket])
            finally:
                if self._webrtc is not None:
                    await self._webrtc.close()

        try:
            asyncio.run(main())
        except BaseException as fault:
            self._failure = fault

    def _wait_until_up(self) -> None:
        until_s = time.monotonic() + 10.0
        while not self._server.started and self._thread.is_alive() and time.monotonic() < until_s:
            time.sleep(0.005)
        if not self._server.started:
            self.close()
            raise SomacastError(f"viewer: expected the server to start, got {self._failure or 'nothing in 10 s'}")

    def _application(self) -> Any:
        from starlette.applications import Starlette
        from starlette.routing import Route, WebSocketRoute

        files = static_files()

        async def static(request: Any) -> Any:
            return file_answer(request, files.get(request.path_params.get("name", "")))

        routes = [
            WebSocketRoute("/live", self._live),
            Route("/hello", self._hello, methods=["GET"]),
            Route("/snapshot.glb", self._snapshot, methods=["GET"]),
            Route("/webrtc", self._offer, methods=["POST"]),
            Route("/", static, methods=["GET"]),
            Route("/{name}", static, methods=["GET"]),
        ]
        behind_proxy = self.remote is not None and self.remote.unencrypted
        schemes = ("http", "https") if behind_proxy else (self.scheme,)
        return Guard(Starlette(routes=routes), self.loopback, self.names, schemes)

    def _authorised(self, request: Any) -> bool:
        return token_matches(bearer(request.headers.get("authorization")), self.token)

    async def _hello(self, request: Any) -> Any:
        """Lets a page tell a wrong token from a receiver that is away: browsers hide why a WebSocket failed."""
        from starlette.responses import JSONResponse, PlainTextResponse

        if not self._authorised(request):
            return PlainTextResponse("expected the token of this receiver", 401)
        return JSONResponse({"version": VERSION, "pictures": self.allow_picture, "webrtc": installed("aiortc")})

    async def _live(self, websocket: Any) -> None:
        """A page's WebSocket; a wrong token is refused before it is accepted."""
        if not token_matches(offered_token(websocket.scope["subprotocols"]), self.token):
            await websocket.close(1008)
            return
        await websocket.accept(SUBPROTOCOL)
        with self.place() as free:
            if not free:
                await websocket.close(1013, f"the receiver serves at most {MAX_CLIENTS} pages")
                return
            await run_session(self.feed, _SocketLink(websocket), self.allow_picture, self.clients)

    @contextlib.contextmanager
    def place(self):
        """One of MAX_CLIENTS places for a page; gives whether there was one. For the server's own thread."""
        free = self.clients < MAX_CLIENTS
        self.clients += free
        try:
            yield free
        finally:
            self.clients -= free

    async def _snapshot(self, request: Any) -> Any:
        from starlette.concurrency import run_in_threadpool
        from starlette.responses import PlainTextResponse, Response

        if not self._authorised(request):
            return PlainTextResponse("expected the token of this receiver", 401)
        if not self._snapshots.take(time.monotonic()):
            return PlainTextResponse("too many snapshots at once", 429)
        async with self._snapshot_lock:
            glb = await run_in_threadpool(self.feed.snapshot) if self.feed.snapshot else None
        if glb is None:
            return PlainTextResponse("no person has arrived yet", 404)
        name = time.strftime("somacast-%Y%m%d-%H%M%S.glb")
        return Response(glb, media_type="model/gltf-binary",
                        headers={"content-disposition": f'attachment; filename="{name}"'})  # fmt: skip

    async def _offer(self, request: Any) -> Any:
        from starlette.responses import JSONResponse, PlainTextResponse

        from somacast.viewer.webrtc import WebRtcPages

        if not self._authorised(request):
            return PlainTextResponse("expected the token of this receiver", 401)
        if not installed("aiortc"):
            return PlainTextResponse("this receiver has no WebRTC: pip install 'somacast[webrtc]'", 501)
        if not self._offers.take(time.monotonic()):
            return PlainTextResponse("too many offers at once", 429)
        body = b""
        async for piece in request.stream():
            body += piece
            if len(body) > MAX_OFFER_BYTES:
                return PlainTextResponse("the offer is too long", 413)
        if self._webrtc is None:
            self._webrtc = WebRtcPages(self)
        try:
            return JSONResponse({"type": "answer", "sdp": await self._webrtc.answer(body)})
        except SomacastError as fault:
            return PlainTextResponse(str(fault), 400)


class _SocketLink:
    """A WebSocket of Starlette as clients.Link."""

    part_bytes = PART_BYTES

    def __init__(self, websocket: Any) -> None:
        self.websocket = websocket

    async def receive(self) -> bytes:
        message = await self.websocket.receive()
        if message["type"] == "websocket.disconnect":
            raise LinkClosedError
        return message.get("bytes") or b""  # text decodes to nothing and is refused

    async def send(self, data: bytes) -> None:
        await self._try(lambda: self.websocket.send_bytes(data))

    async def close(self, code: int, reason: str) -> None:
        await self._try(lambda: self.websocket.close(code, reason))

    @staticmethod
    async def _try(action: Callable[[], Any]) -> None:
        from starlette.websockets import WebSocketDisconnect

        try:
            await action()
        except (WebSocketDisconnect, RuntimeError, OSError) as fault:
            raise LinkClosedError from fault


def _names(host: str, remote: RemoteAccess | None) -> tuple[str, ...]:
    """Host names to accept, that for the URL first; a server on all addresses is called by the machine's name."""
    names = remote.names if remote else ()
    everywhere = ipaddress.ip_address(host).is_unspecified
    return (*names, socket.gethostname()) if everywhere else names


def _bound_socket(host: str, port: int, remote: RemoteAccess | None) -> tuple[socket.socket, bool]:
    """A bound TCP socket and whether it is on loopback."""
    try:
        address = ipaddress.ip_address("127.0.0.1" if host == "localhost" else host.strip("[]"))
    except ValueError as fault:
        raise SomacastError(f"host: expected an IP address or localhost, got {host!r}") from fault
    if not 0 <= port <= 65535:
        raise SomacastError(f"port: expected 0 to 65535, got {port}")
    if not address.is_loopback:
        if remote is None:
            raise SomacastError(f"host: expected loopback, or leave to serve other machines, got {host}")
        if not remote.certificate and not remote.unencrypted:
            raise SomacastError(f"host: expected a certificate off loopback, or leave to do without, for {host}")
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
    out = socket.socket(family, socket.SOCK_STREAM)
    try:
        out.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        out.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
        if hasattr(socket, "TCP_USER_TIMEOUT"):  # accepted connections inherit it
            out.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, DEAD_PEER_S * 1000)
        out.bind((str(address), port))
    except OSError as fault:
        out.close()
        raise SomacastError(f"viewer: {host} port {port} cannot be used ({fault.strerror or fault})") from fault
    return out, address.is_loopback
