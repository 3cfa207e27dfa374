"""What every transport offers: three lanes between one sender and its receivers, with caps on all that arrives.

    sender   --LIVE-->      receivers    best effort, the newest wins
    sender   --IDENTITY-->  receivers    reliable; who joins late is given the last message as well
    sender   <--CONTROL--   receivers    best effort: feedback, pings

What exceeds a cap is dropped and counted, never raised: whoever is at the other end must not be able to stop this one.
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from enum import IntEnum
from types import TracebackType
from typing import Protocol, Self

from somacast.checks import check_count, check_number, shown
from somacast.errors import SomacastError
from somacast.network.keys import Keys

SENDER = "sender"  # how a receiver calls the other side
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
Clock = Callable[[], float]


class Lane(IntEnum):
    """Which of the three ways a message goes."""

    LIVE = 0
    IDENTITY = 1
    CONTROL = 2


NOBODY_S = 3.0  # without an answer, until that is told
TO_RECEIVERS = frozenset((Lane.LIVE, Lane.IDENTITY))
TO_SENDER = frozenset((Lane.CONTROL,))


@dataclass(frozen=True)
class Arrival:
    """One message: its lane, its bytes, time.monotonic() (or the clock of the transport) when it came, and a short name
    of the other side. times_s: of the frames in a packet of a file, exactly; of what came over a network the packet
    itself tells them."""

    lane: Lane
    data: bytes
    time_s: float
    peer: str
    times_s: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Limits:
    """Caps on what comes from the other side, and on what waits to be fetched.

    Bytes are payloads. A peer may send `per_second` messages a second on each lane, `burst` of them at once; `peers`:
    how many peers are told apart at a time, more are refused until one has been silent for forget_s. queued_bytes and
    queued: most that waits on one lane; the oldest make room.
    """

    live_bytes: int = 1400
    identity_bytes: int = 16_384
    control_bytes: int = 512
    per_second: float = 400.0
    burst: int = 100
    peers: int = 256
    forget_s: float = 10.0
    queued: int = 256
    queued_bytes: int = 1 << 20

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(one.default, float):
                check_number(one.name, value, above=True)
            else:
                check_count(one.name, value, 1)

    def max_bytes(self, lane: Lane) -> int:
        """The largest payload that a lane takes."""
        return (self.live_bytes, self.identity_bytes, self.control_bytes)[lane]


@dataclass
class TransportStatistics:
    """Counts since opening. sent, received: messages handed on and fetched; refused: sends that returned False;
    capped: arrivals dropped by a cap; displaced: arrivals that newer ones pushed out before they were fetched.
    rejected: datagrams that are not for this end: damaged, of another key, room, direction or session; replayed: ones
    that came again. Both are counted by `udp` alone.
    """

    sent: int = 0
    sent_bytes: int = 0
    received: int = 0
    received_bytes: int = 0
    refused: int = 0
    capped: int = 0
    displaced: int = 0
    rejected: int = 0
    replayed: int = 0


@dataclass(frozen=True)
class TransportOptions:
    """How a transport is opened.

    keys: certificates and the secret of the room, needed off loopback. insecure: whether to go without them there, in
    the clear. listen: whether to wait at the address (True) or to go there (False); None: receivers wait, senders go.
    name: by which a receiver is known to the sender; made up if not given. lease_s: after how long a silent peer counts
    as gone. mtu_bytes: UDP payload that the way carries, 1200 to 1452; from less than 1433 Zenoh's QUIC tries upwards,
    with 5.7 kB of probes each way at every start.
    """

    keys: Keys | None = None
    insecure: bool = False
    listen: bool | None = None
    name: str | None = None
    lease_s: float = 2.0
    mtu_bytes: int = 1440
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        check_number("lease_s", self.lease_s, 0.2, 60.0)
        check_count("mtu_bytes", self.mtu_bytes, 1200, 1452)
        if self.name is not None:
            check_word("name", self.name)


class Transport(Protocol):
    """One end of a way between a sender and its receivers. Any thread may call any method.

    header_bytes: what lower layers add to one LIVE message of usual size on the wire. address: where the other side
    finds this one, or where this one has gone.
    """

    header_bytes: int
    address: str
    statistics: TransportStatistics

    @property
    def notice(self) -> str:
        """One line about the other side that a user should see now, or "": nobody answers, somebody is turned away."""
        ...

    def send(self, lane: Lane, data: bytes) -> bool:
        """Hand over one message without waiting; False if it went nowhere: nobody is there, too large, a full queue.

        Raises SomacastError for a lane of the other direction.
        """
        ...

    def receive(self, timeout_s: float = 0.0) -> Arrival | None:
        """The oldest message that waits, or None after `timeout_s` seconds without one."""
        ...

    def peers(self) -> int:
        """How many are known to be at the other side."""
        ...

    def close(self) -> None:
        """Leave; may be called again."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def check_word(name: str, value: str) -> str:
    """`value` if it can stand in an address: letters, digits, dots, dashes; at most 64."""
    if not isinstance(value, str) or not _WORD.fullmatch(value):
        raise SomacastError(f"{name}: expected letters, digits, dots and dashes, at most 64, got {shown(value)}")
    return value


def check_lane(lane: Lane, mine: frozenset[Lane]) -> Lane:
    """`lane` if this end sends on it."""
    if lane not in mine:
        names = ", ".join(one.name for one in sorted(mine))
        raise SomacastError(f"lane: expected {names} at this end, got {shown(lane)}")
    return Lane(lane)


class Ends:
    """What the ends of all transports share: the inbox, the counts, and `with`."""

    sends: frozenset[Lane]
    _notice: str = ""

    def __init__(self, sends: frozenset[Lane], limits: Limits, clock: Clock = time.monotonic) -> None:
        self.sends, self.limits = sends, limits
        self.statistics = TransportStatistics()
        self.inbox = Inbox(limits, frozenset(Lane) - sends, self.statistics, clock)

    @property
    def notice(self) -> str:
        """See Transport."""
        return self._notice

    def _fits(self, lane: Lane, data: bytes) -> bool:
        """Whether a message may go out; counts it as refused if not."""
        fits = len(data) <= self.limits.max_bytes(check_lane(lane, self.sends))
        return fits or self._refuse()

    def _refuse(self) -> bool:
        self.statistics.refused += 1
        return False

    def _count(self, data: bytes) -> bool:
        self.statistics.sent += 1
        self.statistics.sent_bytes += len(data)
        return True

    def receive(self, timeout_s: float = 0.0) -> Arrival | None:
        """See Transport."""
        return self.inbox.get(timeout_s)

    def close(self) -> None:
        """See Transport."""
        self.inbox.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class _Bucket:
    """Tokens that come back with time: `burst` at most, `per_second` a second."""

    __slots__ = ("seen_s", "tokens")

    def __init__(self, burst: float, time_s: float) -> None:
        self.tokens, self.seen_s = burst, time_s

    def take(self, time_s: float, limits: Limits) -> bool:
        gained = max(time_s - self.seen_s, 0.0) * limits.per_second
        self.tokens, self.seen_s = min(self.tokens + gained, float(limits.burst)), time_s
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


class Inbox:
    """Arrivals that wait to be fetched, within caps; filled from any thread, and nothing that arrives makes it raise.

    accepts: the lanes on which this end receives.
    """

    def __init__(
        self, limits: Limits, accepts: frozenset[Lane], statistics: TransportStatistics, clock: Clock = time.monotonic
    ) -> None:
        self._limits, self._accepts, self._counts, self._clock = limits, accepts, statistics, clock
        self._ready = threading.Condition()
        self._lanes: dict[Lane, deque[tuple[int, Arrival]]] = {lane: deque() for lane in sorted(accepts)}
        self._held = dict.fromkeys(accepts, 0)
        self._buckets: OrderedDict[tuple[str, Lane], _Bucket] = OrderedDict()
        self._number = 0
        self._closed = False

    def put(self, lane: Lane, data: bytes, peer: str, time_s: float | None = None) -> bool:
        """Take one arrival of now, or of `time_s`; False if a cap drops it. What is over the cap of its lane is not
        copied."""
        limits, now = self._limits, self._clock() if time_s is None else time_s
        with self._ready:
            if self._closed:
                return False
            if lane not in self._accepts or len(data) > limits.max_bytes(lane) or not self._may(peer, lane, now):
                self._counts.capped += 1
                return False
            waiting = self._lanes[lane]
            while waiting and (len(waiting) >= limits.queued or self._held[lane] + len(data) > limits.queued_bytes):
                self._held[lane] -= len(waiting.popleft()[1].data)
                self._counts.displaced += 1
            waiting.append((self._number, Arrival(lane, bytes(data), now, peer)))
            self._held[lane] += len(data)
            self._number += 1
            self._ready.notify()
        return True

    def get(self, timeout_s: float = 0.0) -> Arrival | None:
        """The oldest arrival of all lanes; waits for one for at most `timeout_s` seconds of real time."""
        with self._ready:
            self.wait(timeout_s)
            waiting = min(
                (queue for queue in self._lanes.values() if queue), key=lambda queue: queue[0][0], default=None
            )
            if waiting is None:
                return None
            arrival = waiting.popleft()[1]
            self._held[arrival.lane] -= len(arrival.data)
            self._counts.received += 1
            self._counts.received_bytes += len(arrival.data)
            return arrival

    def wait(self, timeout_s: float) -> None:
        """Wait for an arrival, or for the end, at most `timeout_s` seconds."""
        with self._ready:
            if timeout_s > 0:
                self._ready.wait_for(lambda: self._closed or any(self._lanes.values()), timeout_s)

    def close(self) -> None:
        """Take nothing more and wake who waits; what has arrived can still be fetched."""
        with self._ready:
            self._closed = True
            self._ready.notify_all()

    def peers(self) -> int:
        """Peers heard within forget_s."""
        with self._ready:
            recent = self._clock() - self._limits.forget_s
            return len({peer for (peer, _), bucket in self._buckets.items() if bucket.seen_s >= recent})

    def _may(self, peer: str, lane: Lane, now_s: float) -> bool:
        """Whether the rate of a peer allows one more; the longest silent peer makes room for a new one."""
        bucket = self._buckets.get((peer, lane))
        if bucket is None:
            if len(self._buckets) >= self._limits.peers:
                oldest = next(iter(self._buckets.values()))
                if oldest.seen_s > now_s - self._limits.forget_s:
                    return False
                self._buckets.popitem(last=False)
            bucket = self._buckets[peer, lane] = _Bucket(float(self._limits.burst), now_s)
        self._buckets.move_to_end((peer, lane))
        return bucket.take(now_s, self._limits)
