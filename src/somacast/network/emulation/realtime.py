"""Links on the real clock: one thread sleeps until a datagram comes in or the next one is due, and hands it on.

    file readable -> reader -> enter(link, payload) -> Link -> outlet(payload) at its time

The clock is time.monotonic() since the start. Nothing is handed on early; how late it is stands in `lateness`.
Selectors round their timeouts up to whole milliseconds, so that the thread sleeps in select() on the selector itself,
which takes microseconds.
"""

from __future__ import annotations

import select
import selectors
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

from somacast.network.channels.packet.link import Link
from somacast.network.channels.packet.statistics import DelayRecord

LONGEST_SLEEP_S = 1.0
SELECT_LIMIT = 1024  # select() takes no file descriptor from here on
STOP_LIMIT_S = 5.0


class RealTimeLinks:
    """Runs `links` in a thread of its own and gives what arrives to the outlet of the same place.

    Readers and outlets run in that thread; they must not block. `watch` and `unwatch` belong to it, or before `start`.
    """

    def __init__(self, links: Sequence[Link], outlets: Sequence[Callable[[bytes], None]], name: str) -> None:
        self.lateness = DelayRecord()  # how long after its time each datagram was handed on
        self.failure: BaseException | None = None  # what ended the thread before its time
        self._ways = list(zip(links, outlets, strict=True))
        self._selector = selectors.DefaultSelector()
        self._wake, self._woken = socket.socketpair()
        self._woken.setblocking(False)
        self._selector.register(self._woken, selectors.EVENT_READ, None)
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._start_s = time.monotonic()

    def now_s(self) -> float:
        """Seconds since this object was made: the clock of its links."""
        return time.monotonic() - self._start_s

    def watch(self, file: Any, reader: Callable[[], None]) -> None:
        """Call `reader` whenever `file` (socket or descriptor, not blocking) has something to read."""
        self._selector.register(file, selectors.EVENT_READ, reader)

    def unwatch(self, file: Any) -> None:
        """Forget `file`."""
        self._selector.unregister(file)

    def enter(self, link: Link, payload: bytes, header_bytes: int) -> None:
        """A datagram enters one of the links now; header_bytes as in `Link.send`."""
        link.send(self.now_s(), payload, header_bytes)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread and wait for it; what is on its way is forgotten. May be called again."""
        self._stopping = True
        if self._wake.fileno() >= 0:
            self._wake.send(b"\0")
        if self._thread.is_alive():
            self._thread.join(STOP_LIMIT_S)
        self._selector.close()
        self._wake.close()
        self._woken.close()

    def _run(self) -> None:
        try:
            while not self._stopping:
                for key in self._ready():
                    if key.data is not None:
                        key.data()
                self._hand_on()
        except BaseException as fault:
            if not self._stopping:
                self.failure = fault

    def _ready(self) -> list[selectors.SelectorKey]:
        """Sleep until a file is readable or a link has something to do; the readable ones."""
        due_s = min((link.next_s for link, _ in self._ways if link.next_s is not None), default=None)
        wait_s = LONGEST_SLEEP_S if due_s is None else min(max(due_s - self.now_s(), 0.0), LONGEST_SLEEP_S)
        number = getattr(self._selector, "fileno", lambda: SELECT_LIMIT)()
        if wait_s > 0 and number < SELECT_LIMIT:
            select.select([number], [], [], wait_s)
            wait_s = 0.0
        return [key for key, _ in self._selector.select(wait_s)]

    def _hand_on(self) -> None:
        for link, outlet in self._ways:
            for time_s, payload in link.receive(self.now_s()):
                outlet(payload)
                self.lateness.add(max(self.now_s() - time_s, 0.0))
