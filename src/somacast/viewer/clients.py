"""One page's session over any link: handshake, then the feed's messages out and the page's few back.

A link is a WebSocket (`server.py`) or a pair of WebRTC data channels (`webrtc.py`). A session holds one Subscription,
whose bounded slots are all that waits for a slow page; a page that takes nothing for SEND_TIMEOUT_S is dropped.
"""

from __future__ import annotations

import asyncio
import time
from typing import Protocol

from somacast.errors import BitstreamError
from somacast.viewer.feed import PersonFeed, Subscription
from somacast.viewer.guard import Bucket
from somacast.viewer.messages import PICTURES, VERSION, Hello, Rendered, Want, Welcome, decode_page

HELLO_TIMEOUT_S = 5.0
SEND_TIMEOUT_S = 10.0
PAGE_MESSAGES_PER_S, PAGE_BURST = 30.0, 60
CLOSE_PROTOCOL, CLOSE_RATE, CLOSE_SLOW, CLOSE_VERSION = 4000, 4001, 4002, 4003


class LinkClosedError(Exception):
    """The other end has gone."""


class Link(Protocol):
    """What a session needs of a connection; part_bytes: the longest message it takes."""

    part_bytes: int

    async def receive(self) -> bytes:
        """The next message; LinkClosedError at the end."""
        ...

    async def send(self, data: bytes) -> None:
        """Returns when there is room for more; LinkClosedError if there is no one."""
        ...

    async def close(self, code: int, reason: str) -> None:
        """Ends the link; reason: up to 123 bytes, shown to the user."""
        ...


class _EndError(Exception):
    """Why the session is over, to be told to the page."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code, self.reason = code, reason


async def run_session(feed: PersonFeed, link: Link, allow_picture: bool, clients: int) -> None:
    """Serve a page until it goes or breaks a rule. clients: how many are served, this one included."""
    try:
        hello = await _handshake(link, allow_picture, clients)
        await _exchange(feed, link, allow_picture, hello)
    except LinkClosedError:
        return
    except _EndError as end:
        try:
            async with asyncio.timeout(1.0):
                await link.close(end.code, end.reason)
        except (TimeoutError, LinkClosedError):
            return


async def _handshake(link: Link, allow_picture: bool, clients: int) -> Hello:
    try:
        async with asyncio.timeout(HELLO_TIMEOUT_S):
            hello = _decoded(await link.receive())
            await link.send(Welcome(VERSION, PICTURES * allow_picture, clients).encode())
    except TimeoutError:
        raise _EndError(CLOSE_PROTOCOL, "expected Hello, got silence") from None
    if not isinstance(hello, Hello):
        raise _EndError(CLOSE_PROTOCOL, "expected Hello first")
    if hello.version != VERSION:
        reason = f"the page speaks version {hello.version}, the receiver {VERSION}: reload the page"
        raise _EndError(CLOSE_VERSION, reason)
    return hello


def _decoded(data: bytes):
    try:
        return decode_page(data)
    except BitstreamError as fault:
        raise _EndError(CLOSE_PROTOCOL, str(fault)[:120]) from fault


async def _exchange(feed: PersonFeed, link: Link, allow_picture: bool, hello: Hello) -> None:
    """Both directions at once, until one of them ends."""
    loop, more = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:  # any thread
        if not more.is_set():
            try:
                loop.call_soon_threadsafe(more.set)
            except RuntimeError:  # the server's loop has just been closed
                return

    subscription = feed.subscribe(wake, link.part_bytes)
    subscription.pictures = allow_picture and bool(hello.flags & PICTURES)
    tasks = [
        asyncio.ensure_future(_outgoing(subscription, link, more)),
        asyncio.ensure_future(_incoming(feed, subscription, link, allow_picture, more)),
    ]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        subscription.close()
        for task in tasks:
            task.cancel()
        results = await asyncio.gather(*tasks, return_exceptions=True)
    ends = [result for result in results if isinstance(result, _EndError)]
    if ends:
        raise ends[0]
    for result in results:
        if isinstance(result, Exception) and not isinstance(result, LinkClosedError):
            raise result


async def _outgoing(subscription: Subscription, link: Link, more: asyncio.Event) -> None:
    while True:
        more.clear()  # before taking: what comes meanwhile wakes again
        messages = subscription.take()
        if not messages:
            await more.wait()
            continue
        for data in messages:
            try:
                async with asyncio.timeout(SEND_TIMEOUT_S):
                    await link.send(data)
            except TimeoutError:
                raise _EndError(CLOSE_SLOW, "nothing was taken for a while") from None


async def _incoming(
    feed: PersonFeed, subscription: Subscription, link: Link, allow_picture: bool, more: asyncio.Event
) -> None:
    rate = Bucket(PAGE_MESSAGES_PER_S, PAGE_BURST)
    while True:
        message = _decoded(await link.receive())
        if not rate.take(time.monotonic()):
            raise _EndError(CLOSE_RATE, f"expected at most {PAGE_MESSAGES_PER_S:g} messages a second, got more")
        if isinstance(message, Rendered):
            feed.rendered(message.frame, message.time_ms / 1000)
        elif isinstance(message, Want):
            subscription.pictures = allow_picture and bool(message.flags & PICTURES)
            more.set()
        else:
            raise _EndError(CLOSE_PROTOCOL, "expected Hello once")
