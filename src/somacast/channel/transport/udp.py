"""Transport over plain UDP, encrypted with a secret that all machines share: no handshake, the first datagram counts.

    sender goes, receiver listens      sends at once; the receiver answers where the newest datagram came from
    sender listens, receivers go       a receiver says JOIN until it has a PROOF, then ASK; several receivers

What is protected, with keys: content, against change, replay, mirroring, other rooms. A datagram that is not
authentic is counted and answered by nothing. Each end draws a session at its start. Whoever sends *up* seals to the
session of the sender, so that what a sender hears is of now. *Down* anybody may have recorded a whole session of
yesterday: a receiver believes a session it has not met for PROVE_S; after that only if it has shown (PROOF) that it hears
this receiver's session of now. Proven sessions win over others, and of equals the one that was met last. So a new start
of the sender is taken at once when the old one has said BYE or was silent for lease_s, else after one round trip;
and an attacker can show an old session for PROVE_S, and only while the true sender is silent. Sessions that are over are remembered
(the last MAX_RETIRED). Until a session is proven, it is sent no more than three times what came from it.

What is not: whoever has the secret can read, and can be the sender; there is no forward secrecy; lengths and times are seen; who
stands on the way can drop, delay, and draw answers to an address of his own until the next datagram comes.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import selectors
import socket
import threading
import time
from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass, field

from somacast.channel.keys import ROOM_KEY, read_room_key
from somacast.channel.transport.base import (
    SENDER,
    TO_RECEIVERS,
    TO_SENDER,
    Ends,
    Lane,
    TransportOptions,
    check_word,
)
from somacast.channel.transport.udp_wire import (
    DOWN,
    FRAME_BYTES,
    MAX_COUNTER,
    NOBODY,
    PART_BYTES,
    PART_HEAD_BYTES,
    UP,
    Assembly,
    Kind,
    Sealer,
    Secret,
    Window,
    look,
    read_ack,
    seal,
    split,
    unseal,
)
from somacast.channel.transport.zenoh_config import Place, check_open
from somacast.types import SomacastError

PROVE_S = 3.0
MAX_RETIRED = 4096
MAX_SENDERS = 16  # sessions of senders that a receiver tells apart
FIRST_WAIT_S, MOST_WAIT_S = 0.25, 2.0  # until an identity is repeated; doubles
SLOW_BPS = 50_000  # a link as slow as this may take that long to carry what is on its way
IN_FLIGHT = 2  # parts of an identity
JOINS_PER_S, JOINS_AT_ONCE = 50.0, 50  # answered, of receivers that are not known yet
TRUST_BYTES = 3  # times what came: sent to an unproven session (RFC 9000, 8.1)
BUFFER_BYTES = 1 << 20
_TICK_S, _READS_AT_ONCE = 0.02, 64
_NAME = re.compile(rb"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
Address = tuple  # as the socket module has it


@dataclass
class _Route:
    """How far the identity is on the way to one receiver: bits of its parts."""

    number: int = -1
    sent: int = 0
    acked: int = 0
    sent_s: float = 0.0
    due_s: float = 0.0
    wait_s: float = FIRST_WAIT_S


@dataclass
class _Peer:
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
    route: _Route = field(default_factory=_Route)
    assembly: Assembly = field(default_factory=Assembly)

    def believed(self, now_s: float) -> bool:
        return self.proven or now_s - self.first_s < PROVE_S

    def rank(self, now_s: float) -> tuple[bool, bool, float]:
        return self.proven, self.believed(now_s), self.first_s


class _UdpEnd(Ends):
    """What both ends share: a socket, a thread, sessions of the other side."""

    takes: frozenset[Kind]
    most_peers: int

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
        self._peers: OrderedDict[bytes, _Peer] = OrderedDict()  # who was heard last stands last
        self._retired: OrderedDict[bytes, None] = OrderedDict()
        self._sent_s = -1e9
        self._tick_s = 0.0
        self._socket, self._target = _open_socket(place, listen)
        own = Place(place.host, self._socket.getsockname()[1]) if listen else place
        self.address = f"udp:{own}"
        self.header_bytes = (48 if self._socket.family == socket.AF_INET6 else 28) + FRAME_BYTES
        limits = options.limits
        self._most_bytes = max(limits.live_bytes, limits.control_bytes, PART_BYTES + PART_HEAD_BYTES) + FRAME_BYTES + 1
        self._thread = threading.Thread(target=self._run, name="somacast-udp", daemon=True)

    # thread

    def _run(self) -> None:
        with selectors.DefaultSelector() as ready:
            ready.register(self._socket, selectors.EVENT_READ)
            while not self._closed:
                ready.select(_TICK_S)
                for _ in range(_READS_AT_ONCE):
                    try:
                        data, address = self._socket.recvfrom(self._most_bytes)
                    except BlockingIOError:
                        break
                    except OSError:  # some systems tell here that an earlier datagram found nobody
                        continue
                    with self._lock:
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
            peer = _Peer(session, opener, address, now_s, now_s, not self._secret.secret)
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

    def _met(self, peer: _Peer, now_s: float) -> None:
        raise NotImplementedError

    def _handle(self, kind: Kind, body: bytes, peer: _Peer, now_s: float) -> None:
        raise NotImplementedError

    def _tick(self, now_s: float) -> None:
        raise NotImplementedError

    def _evictable(self, peer: _Peer, now_s: float) -> bool:
        raise NotImplementedError

    def _make_room(self, now_s: float) -> bool:
        """Whether one more session can be told apart; the longest silent may have to go."""
        if len(self._peers) < self.most_peers:
            return True
        oldest = next((peer for peer in self._peers.values() if self._evictable(peer, now_s)), None)
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

    def _live(self, now_s: float) -> list[_Peer]:
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


class UdpSender(_UdpEnd):
    """The sending end; goes to one receiver unless told to listen, then to at most `peers` that ask."""

    takes = frozenset((Kind.CONTROL, Kind.ACK, Kind.JOIN, Kind.ASK, Kind.BYE))

    def __init__(self, address: str, room: str, options: TransportOptions) -> None:
        super().__init__(TO_RECEIVERS, address, room, options, bool(options.listen))
        self.most_peers = options.limits.peers
        self._sealer = self._secret.sealer(DOWN, self._session)
        self._part_bytes = min(PART_BYTES, options.mtu_bytes - FRAME_BYTES - PART_HEAD_BYTES)
        self._number, self._parts = -1, [b""][:0]
        self._blind = _Route()  # of the target, while nobody has answered
        self._joins, self._joins_s = float(JOINS_AT_ONCE), 0.0
        self._thread.start()

    def send(self, lane: Lane, data: bytes) -> bool:
        """See Transport. Goes out at once; a newer identity takes the place of one that is still on its way."""
        if not self._fits(lane, data):
            return False
        with self._lock:
            now = time.monotonic()
            if self._closed:
                return self._refuse()
            if lane is Lane.IDENTITY:
                parts = split(self._number + 1, data, self._part_bytes)
                if parts is None:
                    return self._refuse()
                self._number, self._parts = self._number + 1, parts
                routes = self._routes(now)
                for route, address in routes:
                    self._push(route, address, now)
                left = bool(routes)
            else:
                left = self._post(Kind.LIVE, bytes(data), self._sealer, self._places(now))
        return self._count(data) if left else self._refuse()

    def peers(self) -> int:
        """See Transport: receivers heard within lease_s."""
        with self._lock:
            return len(self._live(time.monotonic()))

    def _places(self, now_s: float) -> set[Address]:
        return {self._target} if self._target else {peer.address for peer in self._live(now_s)}

    def _routes(self, now_s: float) -> list[tuple[_Route, Address]]:
        routes = [(peer.route, self._target or peer.address) for peer in self._live(now_s)]
        return routes or ([(self._blind, self._target)] if self._target else [])

    def _push(self, route: _Route, address: Address, now_s: float) -> None:
        """What is due of the identity: parts not yet sent, at most IN_FLIGHT at once, and again what was not
        acknowledged."""
        if not self._parts:
            return
        if route.number != self._number:
            route.number, route.sent, route.acked = self._number, 0, 0
            route.due_s, route.wait_s = now_s, FIRST_WAIT_S
        count = len(self._parts)
        flying = [k for k in range(count) if route.sent >> k & 1 and not route.acked >> k & 1]
        going = [k for k in range(count) if not route.sent >> k & 1][: max(IN_FLIGHT - len(flying), 0)]
        if flying and now_s >= route.due_s:
            going = flying + going
            route.wait_s = min(2 * route.wait_s, MOST_WAIT_S)
        for k in going:
            self._post(Kind.IDENTITY, self._parts[k], self._sealer, [address])
            route.sent |= 1 << k
        if going:
            most = sum(len(self._parts[k]) for k in {*flying, *going})
            route.sent_s, route.due_s = now_s, now_s + route.wait_s + 8 * most / SLOW_BPS

    def _tick(self, now_s: float) -> None:
        if self._target and now_s - self._sent_s >= self._keep_s:
            self._post(Kind.PROOF, NOBODY, self._sealer, [self._target])  # so that a receiver can answer
        for route, address in self._routes(now_s):
            self._push(route, address, now_s)

    def _opener(self, kind: Kind, session: bytes) -> Sealer:
        return self._secret.sealer(UP, session, NOBODY if kind is Kind.JOIN else self._session)

    def _evictable(self, peer: _Peer, now_s: float) -> bool:
        return now_s - peer.heard_s > self.limits.forget_s

    def _join(self, session: bytes, address: Address, now_s: float) -> None:
        """An answer as long as the question, and nothing is remembered: this may be a replay."""
        earned = (now_s - self._joins_s) * JOINS_PER_S
        self._joins, self._joins_s = min(self._joins + earned, float(JOINS_AT_ONCE)), now_s
        if self._joins < 1 or self._target is not None:
            self.statistics.capped += 1
            return
        self._joins -= 1
        self._post(Kind.PROOF, session, self._sealer, [address])

    def _met(self, peer: _Peer, now_s: float) -> None:
        if self._target is not None and self._blind.number == self._number:  # it may have just been sent this way
            peer.route, self._blind = self._blind, _Route()
            peer.route.wait_s = FIRST_WAIT_S
            peer.route.due_s = min(peer.route.due_s, peer.route.sent_s + 2 * FIRST_WAIT_S)

    def _handle(self, kind: Kind, body: bytes, peer: _Peer, now_s: float) -> None:
        if kind is Kind.CONTROL:
            self.inbox.put(Lane.CONTROL, body, peer.name or peer.session.hex()[:8])
        elif kind is Kind.ACK:
            ack, route = read_ack(body), peer.route
            if ack is None or route.number != self._number or ack[0] != self._number & 0xFFFF:
                pass
            elif route.acked | ack[1] != route.acked:
                route.acked |= ack[1] & (1 << len(self._parts)) - 1
                route.sent |= route.acked
                route.wait_s = FIRST_WAIT_S
        elif kind is Kind.ASK and now_s - peer.asked_s >= 0.1:
            peer.asked_s = now_s
            name = _NAME.fullmatch(body, len(NOBODY))
            peer.name = name[0].decode() if name else ""
            self._post(Kind.PROOF, peer.session, self._sealer, [self._target or peer.address])
        self._push(peer.route, self._target or peer.address, now_s)

    def _leave(self) -> None:
        self._post(Kind.BYE, b"", self._sealer, self._places(time.monotonic()))


class UdpReceiver(_UdpEnd):
    """A receiving end; listens unless told to go to a sender that listens."""

    takes = frozenset((Kind.LIVE, Kind.IDENTITY, Kind.PROOF, Kind.BYE))
    most_peers = MAX_SENDERS

    def __init__(self, address: str, room: str, options: TransportOptions) -> None:
        super().__init__(TO_SENDER, address, room, options, options.listen is None or options.listen)
        self._name = (options.name or "").encode()
        self._current: _Peer | None = None
        self._sealers: dict[bytes, Sealer] = {}
        self._joined_s, self._join_gap_s = -1e9, FIRST_WAIT_S
        self._thread.start()

    def send(self, lane: Lane, data: bytes) -> bool:
        """See Transport."""
        if not self._fits(lane, data):
            return False
        with self._lock:
            peer = self._sender(time.monotonic())
            left = peer is not None and not self._closed and self._answer(peer, Kind.CONTROL, bytes(data))
        return self._count(data) if left else self._refuse()

    def peers(self) -> int:
        """See Transport: 1 while a sender is heard and believed."""
        with self._lock:
            return int(self._sender(time.monotonic()) is not None)

    def _sender(self, now_s: float) -> _Peer | None:
        peer = self._current
        there = peer is not None and now_s - peer.heard_s < self.options.lease_s and peer.believed(now_s)
        return peer if there else None

    def _answer(self, peer: _Peer, kind: Kind, body: bytes) -> bool:
        size = len(body) + FRAME_BYTES
        if not peer.proven and peer.went_bytes + size > TRUST_BYTES * peer.came_bytes:
            return False
        peer.went_bytes += size
        sealer = self._sealers.get(peer.session)
        if sealer is None:
            self._sealers = {session: one for session, one in self._sealers.items() if session in self._peers}
            sealer = self._sealers[peer.session] = self._secret.sealer(UP, self._session, peer.session)
        return self._post(kind, body, sealer, [self._target or peer.address])

    def _ask(self, peer: _Peer, now_s: float) -> None:
        if self._answer(peer, Kind.ASK, NOBODY + self._name):
            peer.asked_s = now_s

    def _tick(self, now_s: float) -> None:
        current = self._sender(now_s)
        if self._current is not None and current is None:  # lost: a sender may have forgotten this session
            self._current, self._sealers = None, {}
            self._session, self._counter = secrets.token_bytes(len(NOBODY)), 0
            self._joined_s, self._join_gap_s = -1e9, FIRST_WAIT_S
        if self._target and current is None and now_s - self._joined_s >= self._join_gap_s:
            self._joined_s, self._join_gap_s = now_s, min(2 * self._join_gap_s, 1.0)
            self._post(Kind.JOIN, NOBODY, self._secret.sealer(UP, self._session), [self._target])
        for peer in self._live(now_s):
            silent = now_s - max(peer.heard_s, self._sent_s if peer is current else now_s) >= self._keep_s
            if not peer.proven:
                gap_s = FIRST_WAIT_S if peer.believed(now_s) else 1.0
            elif peer is current and peer.heard_s < peer.asked_s:
                gap_s = FIRST_WAIT_S
            elif peer is current and (silent or now_s - min(peer.heard_s, self._sent_s) >= self._keep_s):
                gap_s = 0.0
            else:
                continue
            if now_s - peer.asked_s >= gap_s:
                self._ask(peer, now_s)

    def _opener(self, kind: Kind, session: bytes) -> Sealer:
        return self._secret.sealer(DOWN, session)

    def _evictable(self, peer: _Peer, now_s: float) -> bool:
        return peer is not self._current

    def _met(self, peer: _Peer, now_s: float) -> None:
        self._ask(peer, now_s)

    def _handle(self, kind: Kind, body: bytes, peer: _Peer, now_s: float) -> None:
        peer.proven |= kind is Kind.PROOF and body == self._session
        current = self._sender(now_s)
        if peer is not current and (current is None or peer.rank(now_s) > current.rank(now_s)):
            self._current = current = peer
        if kind is Kind.PROOF:
            return
        if peer is not current or not peer.believed(now_s):
            self.statistics.rejected += 1
        elif kind is Kind.LIVE:
            self.inbox.put(Lane.LIVE, body, SENDER)
        else:
            ack, message = peer.assembly.take(body)
            if ack is not None:
                self._answer(peer, Kind.ACK, ack)
            if message is not None:
                self.inbox.put(Lane.IDENTITY, message, SENDER)

    def _retire(self, session: bytes, keep: bool = True) -> None:
        super()._retire(session, keep)
        if self._current is not None and self._current.session == session:
            self._current.heard_s = -1e9  # gone

    def _leave(self) -> None:
        peer = self._sender(time.monotonic())
        if peer is not None:
            self._answer(peer, Kind.BYE, b"")


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
