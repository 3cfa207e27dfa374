"""Transport over plain UDP, encrypted with a secret that all machines share: no handshake, the first datagram counts.

    sender goes, receiver listens      sends at once; the receiver answers where the newest datagram came from
    sender listens, receivers go       a receiver says JOIN until it has a PROOF, then ASK; several receivers

What is protected, with keys: content, against reading, change, replay, mirroring, other rooms. A datagram that is not
authentic is counted and answered by nothing. Each end draws a session at its start. Whoever sends *up* seals to the
session of the sender, so that what a sender hears is of now. *Down* anybody may have recorded a whole session of
yesterday: a receiver believes a session that it has not met for PROVE_S; after that only if it has shown (PROOF) that
it hears this receiver's session of now, and so a way back is needed. Proven sessions win over others, and of equals
the one that was met last. A sender's new start is taken at once when the old session has said BYE or was silent for
lease_s, else after one round trip; an attacker can show an old session for PROVE_S, and only while the true sender is
silent. Sessions that are over are remembered, the last MAX_RETIRED. Until a session is proven, no more than three times
what came from it is sent to it.

What is not: whoever has the secret can read, and can be the sender; there is no forward secrecy; lengths and times are
seen; who stands on the way can drop, delay, and draw answers to an address of his own until the next datagram comes.
"""

from __future__ import annotations

import re
import secrets
import time

from somacast.network.transport.base import SENDER, TO_RECEIVERS, TO_SENDER, Lane, TransportOptions
from somacast.network.transport.udp.session import FIRST_WAIT_S, Address, Peer, Route, UdpEnd
from somacast.network.transport.udp.wire import (
    DOWN,
    FRAME_BYTES,
    NOBODY,
    PART_BYTES,
    PART_HEAD_BYTES,
    UP,
    Kind,
    Sealer,
    read_ack,
    split,
)

MAX_WAIT_S = 2.0  # until an identity is repeated: twice after FIRST_WAIT_S, then doubling
SLOW_BPS = 50_000  # a link as slow as this may take that long to carry what is on its way
IN_FLIGHT = 2  # parts of an identity
JOINS_PER_S, JOINS_AT_ONCE = 50.0, 50  # answered, of receivers that are not known yet
MAX_SENDERS = 16  # sessions of senders that a receiver tells apart
TRUST_BYTES = 3  # times what came: sent to an unproven session (RFC 9000, 8.1)
_NAME = re.compile(rb"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class UdpSender(UdpEnd):
    """The sending end; goes to one receiver unless told to listen, then to at most `peers` that ask."""

    takes = frozenset((Kind.CONTROL, Kind.ACK, Kind.JOIN, Kind.ASK, Kind.BYE))

    def __init__(self, address: str, room: str, options: TransportOptions) -> None:
        super().__init__(TO_RECEIVERS, address, room, options, bool(options.listen))
        self.max_peers = options.limits.peers
        self._sealer = self._secret.sealer(DOWN, self._session)
        self._part_bytes = min(PART_BYTES, options.mtu_bytes - FRAME_BYTES - PART_HEAD_BYTES)
        self._number = -1
        self._parts: list[bytes] = []  # of the identity
        self._blind = Route()  # of the target, while nobody has answered
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

    def _routes(self, now_s: float) -> list[tuple[Route, Address]]:
        routes = [(peer.route, self._target or peer.address) for peer in self._live(now_s)]
        return routes or ([(self._blind, self._target)] if self._target else [])

    def _push(self, route: Route, address: Address, now_s: float) -> None:
        """What is due of the identity: parts not yet sent, at most IN_FLIGHT at once, and again what was not
        acknowledged."""
        if not self._parts:
            return
        if route.number != self._number:
            route.number, route.sent, route.acked = self._number, 0, 0
            route.due_s, route.repeats = now_s, 0
        count = len(self._parts)
        flying = [k for k in range(count) if route.sent >> k & 1 and not route.acked >> k & 1]
        going = [k for k in range(count) if not route.sent >> k & 1][: max(IN_FLIGHT - len(flying), 0)]
        if flying and now_s >= route.due_s:
            going = flying + going
            route.repeats += 1
        for k in going:
            self._post(Kind.IDENTITY, self._parts[k], self._sealer, [address])
            route.sent |= 1 << k
        if going:
            most = sum(len(self._parts[k]) for k in {*flying, *going})
            wait_s = min(FIRST_WAIT_S * 2 ** max(min(route.repeats, 8) - 1, 0), MAX_WAIT_S)
            route.sent_s, route.due_s = now_s, now_s + wait_s + 8 * most / SLOW_BPS

    def _tick(self, now_s: float) -> None:
        heard_s = next((peer.heard_s for peer in reversed(self._peers.values())), -1e9)
        if self._target and now_s - max(self._sent_s, heard_s) >= 1.5 * self._keep_s:
            self._post(Kind.PROOF, NOBODY, self._sealer, [self._target])  # so that a new receiver can answer
        for route, address in self._routes(now_s):
            self._push(route, address, now_s)

    def _opener(self, kind: Kind, session: bytes) -> Sealer:
        return self._secret.sealer(UP, session, NOBODY if kind is Kind.JOIN else self._session)

    def _evictable(self, peer: Peer, now_s: float) -> bool:
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

    def _met(self, peer: Peer, now_s: float) -> None:
        if self._target is not None and self._blind.number == self._number:  # it may have just been sent this way
            peer.route, self._blind = self._blind, Route()
            peer.route.repeats = 0
            peer.route.due_s = min(peer.route.due_s, peer.route.sent_s + 2 * FIRST_WAIT_S)

    def _handle(self, kind: Kind, body: bytes, peer: Peer, now_s: float) -> None:
        if kind is Kind.CONTROL:
            self.inbox.put(Lane.CONTROL, body, peer.name or peer.session.hex()[:8])
        elif kind is Kind.ACK:
            ack, route = read_ack(body), peer.route
            if ack is not None and route.number == self._number and ack[0] == self._number & 0xFFFF:
                there = ack[1] & (1 << len(self._parts)) - 1
                if there & ~route.acked:
                    route.acked, route.sent, route.repeats = route.acked | there, route.sent | there, 0
        elif kind is Kind.ASK and now_s - peer.asked_s >= 0.1:
            peer.asked_s = now_s
            name = _NAME.fullmatch(body, len(NOBODY))
            peer.name = name[0].decode() if name else ""
            self._post(Kind.PROOF, peer.session, self._sealer, [self._target or peer.address])
        self._push(peer.route, self._target or peer.address, now_s)

    def _leave(self) -> None:
        self._post(Kind.BYE, b"", self._sealer, self._places(time.monotonic()))


class UdpReceiver(UdpEnd):
    """A receiving end; listens unless told to go to a sender that listens."""

    takes = frozenset((Kind.LIVE, Kind.IDENTITY, Kind.PROOF, Kind.BYE))
    max_peers = MAX_SENDERS

    def __init__(self, address: str, room: str, options: TransportOptions) -> None:
        super().__init__(TO_SENDER, address, room, options, options.listen is None or options.listen)
        self._name = (options.name or "").encode()
        self._current: Peer | None = None
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

    def _sender(self, now_s: float) -> Peer | None:
        peer = self._current
        there = peer is not None and now_s - peer.heard_s < self.options.lease_s and peer.believed(now_s)
        return peer if there else None

    def _answer(self, peer: Peer, kind: Kind, body: bytes) -> bool:
        size = len(body) + FRAME_BYTES
        if not peer.proven and peer.went_bytes + size > TRUST_BYTES * peer.came_bytes:
            return False
        peer.went_bytes += size
        sealer = self._sealers.get(peer.session)
        if sealer is None:
            self._sealers = {session: one for session, one in self._sealers.items() if session in self._peers}
            sealer = self._sealers[peer.session] = self._secret.sealer(UP, self._session, peer.session)
        return self._post(kind, body, sealer, [self._target or peer.address])

    def _ask(self, peer: Peer, now_s: float) -> None:
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
            if not peer.proven:
                gap_s = FIRST_WAIT_S if peer.believed(now_s) else 1.0
            elif peer is current and peer.heard_s < peer.asked_s:  # not yet answered
                gap_s = FIRST_WAIT_S
            else:
                gap_s = 0.0 if peer is current and self._quiet(peer, now_s) else float("inf")
            if now_s - peer.asked_s >= gap_s:
                self._ask(peer, now_s)

    def _quiet(self, peer: Peer, now_s: float) -> bool:
        return now_s - min(peer.heard_s, self._sent_s) >= self._keep_s

    def _opener(self, kind: Kind, session: bytes) -> Sealer:
        return self._secret.sealer(DOWN, session)

    def _evictable(self, peer: Peer, now_s: float) -> bool:
        return peer is not self._current

    def _met(self, peer: Peer, now_s: float) -> None:
        self._ask(peer, now_s)

    def _handle(self, kind: Kind, body: bytes, peer: Peer, now_s: float) -> None:
        peer.proven |= kind is Kind.PROOF and body == self._session
        current = self._sender(now_s)
        if peer is not current and peer.believed(now_s) and (current is None or peer.rank > current.rank):
            self._current = current = peer
        if kind is Kind.PROOF:
            return
        if peer is not current:
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
        self._current = None
