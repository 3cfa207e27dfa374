"""Transport inside one process: rooms by name, over `Link` models if wanted, on a real or a simulated clock.

    clock = SimulatedClock()
    network = MemoryNetwork(down=lambda: profile.build(rng), clock=clock)
    sender, receiver = network.sender(), network.receiver()

Each receiver has links of its own. IDENTITY goes past them: it is reliable elsewhere as well, by repetition that is not
modelled here. `memory:NAME` as an address means perfect links, shared by all in this process who say NAME.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from somacast.checks import check_number
from somacast.errors import SomacastError
from somacast.network.channels.packet.link import Link
from somacast.network.transport.base import (
    SENDER,
    TO_RECEIVERS,
    TO_SENDER,
    Arrival,
    Clock,
    Ends,
    Lane,
    Limits,
    check_word,
)

MAX_RECEIVERS = 1024
_SLICE_S = 0.002  # how often who waits looks at the links
_rooms: dict[tuple[str, str], MemoryNetwork] = {}
_rooms_lock = threading.Lock()


class SimulatedClock:
    """A clock that its owner moves: `clock()` gives seconds from 0, `advance` adds some."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        return self.now_s

    def advance(self, seconds: float) -> float:
        """Move by `seconds` >= 0; returns the new time."""
        self.now_s += check_number("seconds", seconds)
        return self.now_s


class MemoryNetwork:
    """One room: a sender and its receivers.

    down, up: make the link from the sender to one receiver, and back; None is a perfect link without delay. clock:
    seconds, never back; time.monotonic if not given. The links' time 0 is the time at which the network is made.
    """

    def __init__(
        self,
        down: Callable[[], Link] | None = None,
        up: Callable[[], Link] | None = None,
        clock: Clock = time.monotonic,
        limits: Limits | None = None,
    ) -> None:
        self._down, self._up, self.clock, self.limits = down, up, clock, limits or Limits()
        self.start_s = clock()
        self.lock = threading.RLock()
        self.source: MemorySender | None = None
        self.receivers: dict[str, MemoryReceiver] = {}
        self.identity: bytes | None = None
        self._made = 0

    def sender(self) -> MemorySender:
        """The sending end; SomacastError if there is one."""
        with self.lock:
            if self.source is not None:
                raise SomacastError("room: expected one sender, got a second")
            self.source = MemorySender(self)
            return self.source

    def receiver(self, name: str | None = None) -> MemoryReceiver:
        """One more receiving end, which is given the last identity; SomacastError for a name that is taken."""
        with self.lock:
            name = check_word("name", name or f"receiver{self._made}")
            if name in self.receivers or len(self.receivers) >= MAX_RECEIVERS:
                raise SomacastError(f"room: expected a new name and at most {MAX_RECEIVERS} receivers, got {name}")
            self._made += 1
            receiver = MemoryReceiver(self, name, self._down and self._down(), self._up and self._up())
            self.receivers[name] = receiver
            if self.identity is not None:
                receiver.inbox.put(Lane.IDENTITY, self.identity, SENDER)
            return receiver

    def link_time_s(self) -> float:
        """Now on the clock of the links."""
        return max(self.clock() - self.start_s, 0.0)

    def poll(self) -> None:
        """Let everything arrive that is due."""
        with self.lock:
            now = self.link_time_s()
            for receiver in self.receivers.values():
                if receiver.down is not None:
                    for time_s, data in receiver.down.receive(now):
                        receiver.inbox.put(Lane.LIVE, data, SENDER, self.start_s + time_s)
                if receiver.up is not None:
                    for time_s, data in receiver.up.receive(now):
                        if self.source is not None:
                            self.source.inbox.put(Lane.CONTROL, data, receiver.name, self.start_s + time_s)


class _MemoryEnd(Ends):
    header_bytes = 0
    address = "memory:"

    def __init__(self, network: MemoryNetwork, sends: frozenset[Lane]) -> None:
        super().__init__(sends, network.limits, network.clock)
        self.network = network
        self.closed = False

    def receive(self, timeout_s: float = 0.0) -> Arrival | None:
        """See Transport. On a clock that is not the real one nothing is waited for."""
        end_s = time.monotonic() + timeout_s
        while True:
            self.network.poll()
            arrival = super().receive()
            left_s = end_s - time.monotonic()
            if arrival is not None or left_s <= 0 or self.closed or self.network.clock is not time.monotonic:
                return arrival
            self.inbox.wait(min(left_s, _SLICE_S))


class MemorySender(_MemoryEnd):
    """The sending end of a MemoryNetwork."""

    def __init__(self, network: MemoryNetwork) -> None:
        super().__init__(network, TO_RECEIVERS)

    def send(self, lane: Lane, data: bytes) -> bool:
        """See Transport."""
        network = self.network
        with network.lock:
            if not self._fits(lane, data):
                return False
            if self.closed:
                return self._refuse()
            data = bytes(data)
            if lane is Lane.IDENTITY:
                network.identity = data
            for receiver in network.receivers.values():
                if receiver.down is None or lane is Lane.IDENTITY:
                    receiver.inbox.put(lane, data, SENDER)
                else:
                    receiver.down.send(network.link_time_s(), data)
            return self._count(data) if network.receivers else self._refuse()

    def peers(self) -> int:
        """See Transport."""
        return len(self.network.receivers)

    def close(self) -> None:
        """See Transport."""
        with self.network.lock:
            if self.network.source is self:
                self.network.source = self.network.identity = None
            self.closed = True
        super().close()


class MemoryReceiver(_MemoryEnd):
    """A receiving end of a MemoryNetwork. down, up: links to it and from it; their statistics tell what was lost."""

    def __init__(self, network: MemoryNetwork, name: str, down: Link | None, up: Link | None) -> None:
        super().__init__(network, TO_SENDER)
        self.name, self.down, self.up = name, down, up
        self.header_bytes = down.header_bytes if down else 0

    def send(self, lane: Lane, data: bytes) -> bool:
        """See Transport."""
        network = self.network
        with network.lock:
            if not self._fits(lane, data):
                return False
            if self.closed or network.source is None:
                return self._refuse()
            if self.up is None:
                network.source.inbox.put(lane, data, self.name)
            else:
                self.up.send(network.link_time_s(), data)
            return self._count(data)

    def peers(self) -> int:
        """See Transport."""
        return int(self.network.source is not None)

    def close(self) -> None:
        """See Transport."""
        with self.network.lock:
            if self.network.receivers.get(self.name) is self:
                del self.network.receivers[self.name]
            self.closed = True
        super().close()


def room(name: str, person: str, limits: Limits) -> MemoryNetwork:
    """The network of an address and a room in this process; one that nobody is in any more is made anew."""
    with _rooms_lock:
        for key in [key for key, one in _rooms.items() if one.source is None and not one.receivers]:
            del _rooms[key]
        key = (check_word("memory", name), check_word("room", person))
        if key not in _rooms:
            _rooms[key] = MemoryNetwork(limits=limits)
        return _rooms[key]
