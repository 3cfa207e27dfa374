"""The page's own files, and the shell around all answers: who may ask, and what browsers may do with an answer."""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from importlib import resources
from typing import Any

from somacast.viewer.guard import answer_headers, host_allowed, own_origin

STATIC = {
    "": ("index.html", "text/html; charset=utf-8"),
    "viewer.js": ("viewer.js", "text/javascript; charset=utf-8"),
    "playout.js": ("playout.js", "text/javascript; charset=utf-8"),
    "stage.js": ("stage.js", "text/javascript; charset=utf-8"),
    "floor.js": ("floor.js", "text/javascript; charset=utf-8"),
    "cpuskin.js": ("cpuskin.js", "text/javascript; charset=utf-8"),
    "link.js": ("link.js", "text/javascript; charset=utf-8"),
    "three.bundle.js": ("three.bundle.js", "text/javascript; charset=utf-8"),
    "style.css": ("style.css", "text/css; charset=utf-8"),
    "icon.svg": ("icon.svg", "image/svg+xml"),
}


class Guard:
    """An ASGI application around another: checks Host and Origin before that sees a request, and sets the headers of
    every answer. loopback and names: see `host_allowed`; schemes: those under which browsers may know the server."""

    def __init__(self, application: Any, loopback: bool, names: tuple[str, ...], schemes: tuple[str, ...]) -> None:
        self.application, self.loopback, self.names, self.schemes = application, loopback, names, schemes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        fault = self._fault(scope, headers)
        if scope["type"] == "websocket":
            if fault:
                await receive()
                await send({"type": "websocket.close", "code": 1008, "reason": fault[1]})
            else:
                await self.application(scope, receive, send)
            return

        extra = [(k.encode(), v.encode()) for k, v in answer_headers(None if fault else headers.get("host")).items()]

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                have = {name for name, _ in message["headers"]}
                more = extra if b"cache-control" in have else [*extra, (b"cache-control", b"no-store")]
                message = message | {"headers": [*message["headers"], *more]}
            await send(message)

        if fault:
            from starlette.responses import PlainTextResponse

            await PlainTextResponse(fault[1], fault[0])(scope, receive, send_with_headers)
        else:
            await self.application(scope, receive, send_with_headers)

    def _fault(self, scope: Any, headers: dict[str, str]) -> tuple[int, str] | None:
        host, origin = headers.get("host"), headers.get("origin")
        hosts = sum(name == b"host" for name, _ in scope["headers"])
        if hosts != 1 or not host_allowed(host, self.loopback, self.names):
            return 421, "this server is not reached under that name"
        needed = scope["type"] == "websocket" or scope.get("method") not in ("GET", "HEAD")
        if (needed or origin is not None) and not any(own_origin(origin, host, scheme) for scheme in self.schemes):
            return 403, "expected a page of this server, got another origin"
        return None


@dataclass(frozen=True)
class File:
    """A file of the page, plain and packed by gzip; tag: its ETag."""

    data: bytes
    packed: bytes
    media_type: str
    tag: str


def static_files() -> dict[str, File]:
    """The page's files by path, plain and packed; read once."""
    folder = resources.files("somacast.viewer") / "static"
    out = {}
    for path, (name, media_type) in STATIC.items():
        data = (folder / name).read_bytes()
        out[path] = File(
            data, gzip.compress(data, 6, mtime=0), media_type, f'"{hashlib.sha256(data).hexdigest()[:16]}"'
        )
    return out


def file_answer(request: Any, file: File | None) -> Any:
    """The answer to a request for one of them; 404 for None."""
    from starlette.responses import PlainTextResponse, Response

    if file is None:
        return PlainTextResponse("there is nothing here", 404)
    headers = {"cache-control": "no-cache", "etag": file.tag, "vary": "accept-encoding"}
    if request.headers.get("if-none-match") == file.tag:
        return Response(status_code=304, headers=headers)
    packed = "gzip" in request.headers.get("accept-encoding", "")
    headers |= {"content-encoding": "gzip"} if packed else {}
    return Response(file.packed if packed else file.data, media_type=file.media_type, headers=headers)
