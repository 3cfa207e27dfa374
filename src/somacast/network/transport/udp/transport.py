"""Transport over plain UDP: one round trip of a Noise handshake, then each message in a datagram of its own.

    sender goes, receiver listens      the sender initiates; the receiver answers where the newest datagram came from
    sender listens, receivers go       each receiver initiates and has a session, and so datagrams, of its own

What is protected and against whom stands in docs/network_transport.md, the handshake in `noise`, sessions in `session`.
"""

from __future__ import annotations

import re

from somacast.network.transport.base import SENDER, TO_RECEIVERS, TO_SENDER, Lane, TransportOptions
from somacast.network.transport.udp.session import FIRST_WAIT_S, Peer, UdpEnd
from somacast.network.transport.udp.wire import FRAME_BYTES, PART_BYTES, PART_HEAD_BYTES, Kind, read_ack, split

MAX_WAIT_S = 2.0  # until an identity is repeated: twice after FIRST_WAIT_S, then doubling
SLOW_BPS = 50_000  # a link as slow as this may take that long to carry what is on its way
IN_FLIGHT = 2  # parts of an identity
MAX_SENDERS = 16  # sessions of senders that a receiver tells apart
_NAME = re.compile(rb"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")


class UdpSender(UdpEnd):
    """The sending end; goes to one receiver unless told to listen, then to at most `peers` that ask."""

    takes = frozenset((Kind.CONTROL, Kind.ACK, Kind.PING, Kind.BYE))

    def __init__(self, address: str, room: str, options: TransportOptions) -> None:
        super().__init__(TO_RECEIVERS, address, room, options, bool(options.listen))
        self.max_peers = options.limits.peers
        self._part_bytes = min(PART_BYTES, options.mtu_bytes - FRAME_BYTES - PART_HEAD_BYTES)
        self._number = -1
        self._parts: list[bytes] = []  # of the identity
        self._newest: bytes | None = None  # of LIVE, while there is no session yet
        self._thread.start()

    def send(self, lane: Lane, data: bytes) -> bool:
        """See Transport. Goes out at once, or with the first session of a sender that goes to its receiver; a newer
        message takes the place of one that still waits."""
        if not self._fits(lane, data):
            return False
        with self._lock:
            if self._closed:
                return self._refuse()
            now = self._clock()
            peers = self._live(now)
            if lane is Lane.IDENTITY:
                parts = split(self._number + 1, data, self._part_bytes)
                if parts is None:
                    return self._refuse()
                self._number, self._parts = self._number + 1, parts
                for peer in peers:
                    self._push(peer, now)
                left = bool(peers) or self._goes
            elif peers:
                left = any([self._post(Kind.LIVE, bytes(data), peer) for peer in peers])
            else:
                self._newest = bytes(data) if self._goes else None
                left = self._newest is not None
        return self._count(data) if left else self._refuse()

    def peers(self) -> int:
        """See Transport: receivers heard within lease_s."""
        with self._lock:
            return len(self._live(self._clock()))

    def _push(self, peer: Peer, now_s: float) -> None:
        """What is due of the identity: parts not yet sent, at most IN_FLIGHT at once, and again what was not
        acknowledged."""
        if not self._parts:
            return
        route = peer.route
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
            self._post(Kind.IDENTITY, self._parts[k], peer)
            route.sent |= 1 << k
        if going:
            most = sum(len(self._parts[k]) for k in {*flying, *going})
            wait_s = min(FIRST_WAIT_S * 2 ** max(min(route.repeats, 8) - 1, 0), MAX_WAIT_S)
            route.due_s = now_s + wait_s + 8 * most / SLOW_BPS

    def _tick(self, now_s: float) -> None:
        super()._tick(now_s)
        for peer in self._live(now_s):
            self._push(peer, now_s)

    def _met(self, peer: Peer, now_s: float) -> None:
        self._push(peer, now_s)
        if self._newest is not None:
            self._post(Kind.LIVE, self._newest, peer)
            self._newest = None

    def _handle(self, kind: Kind, body: bytes, peer: Peer, now_s: float) -> None:
        if kind is Kind.CONTROL:
            self.inbox.put(Lane.CONTROL, body, peer.name or peer.session.hex())
        elif kind is Kind.ACK:
            ack, route = read_ack(body), peer.route
            if ack is not None and route.number == self._number and ack[0] == self._number & 0xFFFF:
                there = ack[1] & (1 << len(self._parts)) - 1
                if there & ~route.acked:
                    route.acked, route.sent, route.repeats = route.acked | there, route.sent | there, 0
        elif _NAME.fullmatch(body):
            peer.name = body.decode()
        self._push(peer, now_s)


class UdpReceiver(UdpEnd):
    """A receiving end; listens unless told to go to a sender that listens."""

    takes = frozenset((Kind.LIVE, Kind.IDENTITY, Kind.PING, Kind.BYE))
    max_peers = MAX_SENDERS

    def __init__(self, address: str, room: str, options: TransportOptions) -> None:
        super().__init__(TO_SENDER, address, room, options, options.listen is None or options.listen)
        self._name = (options.name or "").encode()
        self._current: Peer | None = None
        self._thread.start()

    def send(self, lane: Lane, data: bytes) -> bool:
        """See Transport."""
        if not self._fits(lane, data):
            return False
        with self._lock:
            peer = self._sender(self._clock())
            left = peer is not None and not self._closed and self._post(Kind.CONTROL, bytes(data), peer)
        return self._count(data) if left else self._refuse()

    def peers(self) -> int:
        """See Transport: 1 while a sender is heard."""
        with self._lock:
            return int(self._sender(self._clock()) is not None)

    def _sender(self, now_s: float) -> Peer | None:
        peer = self._current
        return peer if peer is not None and now_s - peer.heard_s < self.options.lease_s else None

    def _own_name(self) -> bytes:
        return self._name

    def _handle(self, kind: Kind, body: bytes, peer: Peer, now_s: float) -> None:
        current = self._sender(now_s)
        if current is None or peer.confirmed_s > current.confirmed_s:  # of several senders the newest
            self._current = current = peer
        if kind is Kind.PING:
            return
        if peer is not current:
            self.statistics.rejected += 1
        elif kind is Kind.LIVE:
            self.inbox.put(Lane.LIVE, body, SENDER)
        else:
            ack, message = peer.assembly.take(body)
            if ack is not None:
                self._post(Kind.ACK, ack, peer)
            if message is not None:
                self.inbox.put(Lane.IDENTITY, message, SENDER)

    def _drop(self, peer: Peer) -> None:
        super()._drop(peer)
        if self._current is peer:
            self._current = None

    def _leave(self) -> None:
        super()._leave()
        self._current = None
