"""What both ends of the UDP transport share: a socket, a thread, and the sessions of the other side; rules in `udp`."""

from __future__ import annotations

import contextlib
import secrets
import selectors
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from somacast.errors import SomacastError
from somacast.network.keys import ROOM_KEY, read_room_key
from somacast.network.transport.base import TO_RECEIVERS, Ends, Lane, TransportOptions, check_word
from somacast.network.transport.udp.wire import (
    FRAME_BYTES,
    MAX_COUNTER,
    NOBODY,
    PART_BYTES,
    PART_HEAD_BYTES,
    Assembly,
    Kind,
    Sealer,
    Secret,
    Window,
    look,
    seal,
    unseal,
)
from somacast.network.transport.zenoh.config import Place, check_open

PROVE_S = 3.0
MAX_RETIRED = 4096
FIRST_WAIT_S = 0.25  # until something is repeated
BUFFER_BYTES = 1 << 20
_TICK_S, _READS_AT_ONCE = 0.02, 64
Address = tuple  # as the socket module has it


@dataclass
class Route:
    """How far the identity is on the way to one receiver: bits of its parts."""

    number: int = -1
    sent: int = 0
    acked: int = 0
    sent_s: float = 0.0
    due_s: float = 0.0
    repeats: int = 0


@dataclass
class Peer:
    """One session of the other side."""

    session: bytes
    opener: Sealer
    address: Address
    first_s: float
    heard_s: float
    proven: bool
    window: Window = field(default_factory=Window)
    came_bytes: int = 0
    went_bytes: int = 0
    asked_s: float = -1e9  # receivers: when it was last asked; senders: when it was last answered
    name: str = ""
    route: Route = field(default_factory=Route)
    assembly: Assembly = field(default_factory=Assembly)

    def believed(self, now_s: float) -> bool:
        """Whether what it says may be handed on, to a receiver."""
        return self.proven or now_s - self.first_s < PROVE_S

    @property
    def rank(self) -> tuple[bool, float]:
        return self.proven, self.first_s


class UdpEnd(Ends):
    """What both ends share: a socket, a thread, sessions of the other side."""

    takes: frozenset[Kind]
    max_peers: int

    def __init__(
        self, sends: frozenset[Lane], address: str, room: str, options: TransportOptions, listen: bool
    ) -> None:
        super().__init__(sends, options.limits)
        check_word("room", room)
        place = Place.parse(address)
        check_open([place], options.keys, options.insecure)
        self._secret = Secret(_room_key(options), room)
        self.options = options
        self._keep_s = min(1.0, options.lease_s / 3)
        self._lock = threading.RLock()
        self._closed = False
        self._session, self._counter = secrets.token_bytes(len(NOBODY)), 0
        self._peers: OrderedDict[bytes, Peer] = OrderedDict()  # who was heard last stands last
        self._retired: OrderedDict[bytes, None] = OrderedDict()
        self._sent_s = -1e9
        self._tick_s = 0.0
        self._socket, self._target = _open_socket(place, listen)
        own = Place(place.host, self._socket.getsockname()[1]) if listen else place
        self.address = f"udp:{own}"
        self.header_bytes = (48 if self._socket.family == socket.AF_INET6 else 28) + FRAME_BYTES
        limits = options.limits
        self._max_bytes = max(limits.live_bytes, limits.control_bytes, PART_BYTES + PART_HEAD_BYTES) + FRAME_BYTES + 1
        self._thread = threading.Thread(target=self._run, name="somacast-udp", daemon=True)

    # thread

    def _run(self) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(self._socket, selectors.EVENT_READ)
            while not self._closed:
                ready.select(_TICK_S)
                for _ in range(_READS_AT_ONCE):
                    try:
                        data, address = self._socket.recvfrom(self._max_bytes)
                    except BlockingIOError:
                        break
                    except OSError:  # some systems tell here that an earlier datagram found nobody
                        continue
                    with self._lock:
                        if not self._closed:
                            self._take(data, address, time.monotonic())
                with self._lock:
                    now = time.monotonic()
                    if now >= self._tick_s and not self._closed:
                        self._tick_s = now + _TICK_S
                        self._tick(now)

    def _take(self, data: bytes, address: Address, now_s: float) -> None:
        """One datagram of anybody. Nothing happens before it is known to be authentic and new."""
        seen = look(data)
        if seen is None or seen[0] not in self.takes or seen[1] in self._retired:
            self.statistics.rejected += 1
            return
        kind, session, counter = seen
        peer = self._peers.get(session)
        opener = peer.opener if peer and kind is not Kind.JOIN else self._opener(kind, session)
        body = unseal(opener, data)
        if body is None:
            self.statistics.rejected += 1
            return
        if kind is Kind.JOIN:
            self._join(session, address, now_s)
            return
        if peer is None:
            if not self._make_room(now_s):
                self.statistics.capped += 1
                return
            # What comes up is sealed to this session; without keys nothing is proven by a PROOF.
            proven = self.sends is TO_RECEIVERS or not self._secret.encrypts
            peer = Peer(session, opener, address, now_s, now_s, proven)
            self._peers[session] = peer
        newest = counter > peer.window.highest
        if not peer.window.take(counter):
            self.statistics.replayed += 1
            return
        if newest:
            peer.address = address
        new, peer.heard_s = not peer.came_bytes, now_s
        peer.came_bytes += len(data)
        self._peers.move_to_end(session)
        if kind is Kind.BYE:
            self._retire(session)
            return
        if new:
            self._met(peer, now_s)
        self._handle(kind, body, peer, now_s)

    def _opener(self, kind: Kind, session: bytes) -> Sealer:
        raise NotImplementedError

    def _join(self, session: bytes, address: Address, now_s: float) -> None:
        raise NotImplementedError

    def _met(self, peer: Peer, now_s: float) -> None:
        raise NotImplementedError

    def _handle(self, kind: Kind, body: bytes, peer: Peer, now_s: float) -> None:
        raise NotImplementedError

    def _tick(self, now_s: float) -> None:
        raise NotImplementedError

    def _evictable(self, peer: Peer, now_s: float) -> bool:
        raise NotImplementedError

    def _make_room(self, now_s: float) -> bool:
        """Whether one more session can be told apart; the longest silent may have to go."""
        if len(self._peers) < self.max_peers:
            return True
        # Those that were never proven first: else replays could drive out a true sender that is away for a while.
        order = sorted(self._peers.values(), key=lambda peer: peer.proven)
        oldest = next((peer for peer in order if self._evictable(peer, now_s)), None)
        if oldest is None:
            return False
        # What was never proven may be a true sender that others crowd out: it may come again.
        self._retire(oldest.session, keep=oldest.proven or not oldest.believed(now_s))
        return True

    def _retire(self, session: bytes, keep: bool = True) -> None:
        self._peers.pop(session, None)
        if keep:
            self._retired[session] = None
            if len(self._retired) > MAX_RETIRED:
                self._retired.popitem(last=False)

    def _live(self, now_s: float) -> list[Peer]:
        return [peer for peer in self._peers.values() if now_s - peer.heard_s < self.options.lease_s]

    # going out

    def _post(self, kind: Kind, body: bytes, sealer: Sealer, addresses: Iterable[Address]) -> bool:
        """Seal once, send to each; whether it left for any."""
        if self._counter > MAX_COUNTER:
            return False
        data, left = seal(sealer, kind, self._session, self._counter, body), False
        self._counter += 1
        for address in addresses:
            with contextlib.suppress(OSError):  # full buffer, no route: best effort
                self._socket.sendto(data, address)
                left = True
        self._sent_s = time.monotonic()
        return left

    def _leave(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """See Transport."""
        with self._lock:
            first, self._closed = not self._closed, True
            if first:
                self._leave()
        super().close()
        if first:
            if self._thread.is_alive():
                self._thread.join()
            self._socket.close()
            self._peers.clear()


def _room_key(options: TransportOptions) -> bytes | None:
    """The secret that the options name; None without keys."""
    if options.keys is None:
        return None
    if options.keys.room_key is None:
        raise SomacastError(
            f"{options.keys.peer_crt.parent}: has no {ROOM_KEY}, which udp needs; expected a folder of this version "
            f"(run somacast keys once more in the authority's folder, then copy its {ROOM_KEY} into every machine's)"
        )
    return read_room_key(options.keys.room_key)


def _open_socket(place: Place, listen: bool) -> tuple[socket.socket, Address | None]:
    """A socket, and where it goes if it does not listen; SomacastError if the place cannot be used."""
    try:
        family, _, _, _, address = socket.getaddrinfo(place.host, place.port, type=socket.SOCK_DGRAM)[0]
        made = socket.socket(family, socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as fault:
        reason = getattr(fault, "strerror", None) or str(fault)
        raise SomacastError(f"udp:{place}: expected a host that is known ({reason.lower()})") from fault
    try:
        made.setblocking(False)
        with contextlib.suppress(OSError):
            made.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        loopback = "::1" if family == socket.AF_INET6 else "127.0.0.1"
        anywhere = "::" if family == socket.AF_INET6 else "0.0.0.0"
        here = address if listen else (loopback if place.loopback else anywhere, 0)
        made.bind(here)
        if not listen and not place.port:
            raise SomacastError(f"udp:{place}: expected a port from 1 to 65535 to go to")
    except SomacastError:
        made.close()
        raise
    except OSError as fault:
        made.close()
        raise SomacastError(f"udp:{place}: cannot be opened ({(fault.strerror or str(fault)).lower()})") from fault
    return made, None if listen else address
