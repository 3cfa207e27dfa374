"""A page that a test plays, for the viewer's feed and server."""

from __future__ import annotations

import contextlib
import time

import numpy as np
import pytest

from somacast.viewer.feed import PersonFeed
from somacast.viewer.messages import (
    Hello,
    Part,
    Welcome,
    decode_server,
)
from somacast.viewer.server import ViewerServer

connect = pytest.importorskip("websockets.sync.client").connect
ConnectionClosed = pytest.importorskip("websockets.exceptions").ConnectionClosed

TOKEN = "test-token-0123456789"
GLB = b"glTF" + bytes(range(256)) * 400
JPEG = b"\xff\xd8" + bytes(500)
STILL = np.tile([0.0, 0.0, 0.0, 1.0], (21, 1))


def pose(feed: PersonFeed, frame: int) -> None:
    feed.set_pose(frame / 30, STILL, np.array([0.0, 1.0, 0.0]), frame)


def opened(server: ViewerServer, token: str = TOKEN, name: str = "127.0.0.1", **changes):
    """A WebSocket as a page of the server opens it, which is known under `name`."""
    base = f"{name}:{server.port}"
    options = {"subprotocols": ["somacast", f"token.{token}"], "origin": f"http://{base}", "proxy": None}
    options |= {"address": (server.host, server.port), "open_timeout": 5, "close_timeout": 1, "max_size": 1 << 24}
    options |= changes
    return connect(f"ws://{base}/live", **options)


@contextlib.contextmanager
def watching(server: ViewerServer, flags: int = 0):
    with opened(server) as page:
        page.send(Hello(flags=flags).encode())
        assert isinstance(decode_server(page.recv(timeout=5)), Welcome)
        yield page


def read_until(page, wanted, seconds: float = 5.0):
    """The first message for which `wanted` is true; parts are joined."""
    parts: dict[int, bytearray] = {}
    end = time.monotonic() + seconds
    while True:
        message = decode_server(page.recv(timeout=max(end - time.monotonic(), 0.01)))
        if isinstance(message, Part):
            joined = parts.setdefault(message.transfer, bytearray())
            assert message.offset == len(joined)
            joined += message.data
            if len(joined) < message.total:
                continue
            message = decode_server(bytes(joined))
        if wanted(message):
            return message


def wait_until(condition, seconds: float = 5.0):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def closing(page) -> tuple[int, str]:
    """How the server ends it."""
    with pytest.raises(ConnectionClosed) as end:
        while True:
            page.recv(timeout=5)
    assert end.value.rcvd
    return end.value.rcvd.code, end.value.rcvd.reason
