"""What the tests of transports share: free ports, waiting with an end, and a UDP way that counts."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable

from somacast.network.transport.base import Arrival, Lane, Transport

UDP_IP_BYTES = 28


def wait_until(true: Callable[[], object], timeout_s: float = 5.0) -> bool:
    """Whether something becomes true in time."""
    end_s = time.monotonic() + timeout_s
    while not true():
        if time.monotonic() > end_s:
            return False
        time.sleep(0.005)
    return True


def fetch(end: Transport, lane: Lane, timeout_s: float = 5.0) -> Arrival | None:
    """The next arrival on one lane, others thrown away."""
    end_s = time.monotonic() + timeout_s
    while (left_s := end_s - time.monotonic()) > 0:
        arrival = end.receive(left_s)
        if arrival is not None and arrival.lane is lane:
            return arrival
    return None


def drain(end: Transport, quiet_s: float = 0.15) -> list[Arrival]:
    """All arrivals until none comes for a while."""
    found = []
    while (arrival := end.receive(quiet_s)) is not None:
        found.append(arrival)
    return found


class CountingWay:
    """UDP from one client to a target and back, on loopback; remembers time, direction (+1 to the target) and size of
    every datagram."""

    def __init__(self, target: str) -> None:
        host, port = target.rsplit(":", 1)
        self._target = (host, int(port))
        self._near = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._near.bind(("127.0.0.1", 0))
        self._far = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._far.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._near.getsockname()[1]}"
        self.seen: list[tuple[float, int, int]] = []
        self._client: tuple[str, int] | None = None
        self._open = True
        self.broken = False  # whether all is thrown away
        self._threads = [
            threading.Thread(target=self._carry, args=(self._near, 1), daemon=True),
            threading.Thread(target=self._carry, args=(self._far, -1), daemon=True),
        ]

    def _carry(self, source: socket.socket, direction: int) -> None:
        source.settimeout(0.1)
        while self._open:
            with contextlib.suppress(OSError):
                data, sender = source.recvfrom(65_536)
                if self.broken:
                    continue
                self.seen.append((time.monotonic(), direction, len(data) + UDP_IP_BYTES))
                if direction == 1:
                    self._client = sender
                    self._far.sendto(data, self._target)
                elif self._client:
                    self._near.sendto(data, self._client)

    def sizes(self, direction: int) -> list[int]:
        """Sizes with UDP and IPv4 headers of what has gone one way."""
        return [size for _, way, size in self.seen if way == direction]

    def __enter__(self) -> CountingWay:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._open = False
        for thread in self._threads:
            thread.join()
        self._near.close()
        self._far.close()
