"""What both ends of the UDP transport share: a socket, a thread, handshakes, and the sessions of the other side.

Whoever goes to the other end initiates: it says HELLO until a REPLY comes, often at first and once a second later on,
and again when the other side has been silent for most of lease_s. Whoever listens answers the HELLO of a member of the
room, and holds the session for nothing until the first datagram inside it has come: only that proves that somebody of
now is there and no recording. HELLOs that were answered are remembered, the last MAX_GREETED, and make no second
session; answers are as long as what they answer, REPLIES_PER_S at most.
"""

from __future__ import annotations

import selectors
import threading
import time
from abc import ABC, abstractmethod
from collections import OrderedDict
from dataclasses import dataclass, field

from somacast.errors import SomacastError
from somacast.network.keys import ROOM_KEY, read_room_key
from somacast.network.transport.base import NOBODY_S, TO_RECEIVERS, Ends, Lane, TransportOptions, check_word
from somacast.network.transport.places import Place, check_open
from somacast.network.transport.udp.noise import KEY_BYTES, Handshake, ReceivingKey, Room, SendingKey
from somacast.network.transport.udp.sockets import Sockets, Way
from somacast.network.transport.udp.wire import (
    FRAME_BYTES,
    MAX_COUNTER,
    PART_BYTES,
    PART_HEAD_BYTES,
    SESSION_BYTES,
    Assembly,
    Kind,
    Window,
    greet,
    greeting,
    look,
    seal,
    stranger,
    unseal,
)

FIRST_WAIT_S = 0.25  # until something is repeated
HELLO_GAP_S, MAX_HELLO_GAP_S, EARLY_HELLOS = 0.1, 1.0, 10  # between HELLOs: the first ones, then doubling
ATTEMPT_S = 5.0  # until a HELLO is made anew
SUSPECT = 0.75  # of lease_s in silence, until a new session is asked for
UNCONFIRMED_S, MIN_UNCONFIRMED_S = 5.0, 1.0  # a session that nobody has used is forgotten; may make room for others
REPLY_GAP_S = 0.05  # between answers to the same HELLO
REPLIES_PER_S, REPLIES_AT_ONCE = 50.0, 50
MAX_GREETED = 4096
NOTICE_S = 5.0  # how long a word about the other side stands
_TICK_S, _READS_AT_ONCE = 0.02, 64


@dataclass
class Route:
    """How far the identity is on the way to one receiver: bits of its parts."""

    number: int = -1
    sent: int = 0
    acked: int = 0
    due_s: float = 0.0
    repeats: int = 0


@dataclass
class Peer:
    """One session with the other side; confirmed: whether it was certainly made by somebody of now."""

    session: bytes
    sending: SendingKey
    receiving: ReceivingKey
    way: Way
    heard_s: float
    confirmed: bool
    confirmed_s: float = 0.0
    sent_s: float = -1e9
    counter: int = 0
    window: Window = field(default_factory=Window)
    hello: bytes = b""  # what began it, and the answer: kept by who answers until it is confirmed
    reply: bytes = b""
    replied_s: float = -1e9
    name: str = ""
    route: Route = field(default_factory=Route)
    assembly: Assembly = field(default_factory=Assembly)


@dataclass
class Attempt:
    """A handshake that was begun and not yet answered."""

    handshake: Handshake
    hello: bytes
    begun_s: float


class UdpEnd(Ends, ABC):
    """What both ends share."""

    takes: frozenset[Kind]
    max_peers: int

    def __init__(
        self, sends: frozenset[Lane], address: str, room: str, options: TransportOptions, listen: bool
    ) -> None:
        super().__init__(sends, options.limits)
        self.room = check_word("room", room)
        place = Place.parse(address)
        check_open([place], options.keys, options.insecure)
        initiator = b"sender" if (sends == TO_RECEIVERS) is not listen else b"receiver"
        self._room = Room(_room_key(options), b"somacast udp 2 " + initiator + b" " + room.encode())
        self.options = options
        self._clock = time.monotonic
        self._keep_s = min(1.0, options.lease_s / 3)
        self._lock = threading.RLock()
        self._closed = False
        self._peers: OrderedDict[bytes, Peer] = OrderedDict()
        self._greeted: OrderedDict[bytes, None] = OrderedDict()
        self._attempt: Attempt | None = None
        self._hellos, self._hello_s = 0, -1e9
        self._replies, self._replies_s = float(REPLIES_AT_ONCE), 0.0
        self._sockets = Sockets(place, listen)
        self._goes = not listen
        self._noticed_s, self._met_s = 0.0, None
        self.address = f"udp:{self._sockets.place}"
        self.header_bytes = self._sockets.header_bytes + FRAME_BYTES
        limits = options.limits
        self._max_bytes = max(limits.live_bytes, limits.control_bytes, PART_BYTES + PART_HEAD_BYTES) + FRAME_BYTES + 1
        self._thread = threading.Thread(target=self._run, name="somacast-udp", daemon=True)

    # thread

    def _run(self) -> None:
        tick_s = 0.0
        with selectors.DefaultSelector() as ready:
            for number, one in enumerate(self._sockets.own):
                ready.register(one, selectors.EVENT_READ, number)
            while not self._closed:
                with self._lock:
                    now = self._clock()
                    if now >= tick_s and not self._closed:
                        tick_s = now + _TICK_S
                        self._tick(now)
                for key, _ in ready.select(_TICK_S):
                    self._read(key.data)

    def _read(self, number: int) -> None:
        for _ in range(_READS_AT_ONCE):
            try:
                data, address = self._sockets.own[number].recvfrom(self._max_bytes)
            except BlockingIOError:
                return
            except OSError:  # some systems tell here that an earlier datagram found nobody
                continue
            with self._lock:
                if not self._closed:
                    self._take(data, Way(number, address), self._clock())

    def _take(self, data: bytes, way: Way, now_s: float) -> None:
        """One datagram of anybody. Nothing happens before it is known to be authentic and new."""
        seen = look(data)
        if seen is None:
            if what := stranger(data):
                self._tell(f"{way.address[0]} {what}", now_s)
            self.statistics.rejected += 1
            return
        kind, session = seen
        if kind is Kind.HELLO:
            self._hello(session, greeting(data), way, now_s)
        elif kind is Kind.REPLY:
            self._reply(session, greeting(data), way, now_s)
        else:
            self._message(kind, session, data, way, now_s)

    def _message(self, kind: Kind, session: bytes, data: bytes, way: Way, now_s: float) -> None:
        peer = self._peers.get(session)
        found = unseal(peer.receiving, data) if peer is not None and kind in self.takes else None
        if peer is None or found is None:
            self.statistics.rejected += 1
            return
        counter, body = found
        newest = counter > peer.window.highest
        if not peer.window.take(counter):
            self.statistics.replayed += 1
            return
        if newest and not self._goes:
            peer.way = way
        peer.heard_s = now_s
        if kind is Kind.BYE:
            self._drop(peer)
            return
        if not peer.confirmed:
            self._confirm(peer, now_s)
        self._handle(kind, body, peer, now_s)

    # handshake

    def _hello(self, session: bytes, message: bytes, way: Way, now_s: float) -> None:
        """Somebody asks for a session, or a recording does."""
        public, peer = message[:KEY_BYTES], self._peers.get(session)
        if self._goes or session != public[:SESSION_BYTES]:
            self.statistics.rejected += 1
        elif peer is not None and peer.hello == message:  # the answer was lost, or this came twice
            if not peer.confirmed and now_s - peer.replied_s >= REPLY_GAP_S and self._may_reply(now_s):
                peer.replied_s = now_s
                self._sockets.put(peer.reply, way)
            else:
                self.statistics.replayed += 1
        elif public in self._greeted:
            self.statistics.replayed += 1
        else:
            handshake = self._room.handshake(initiates=False)
            if peer is not None or handshake.read(message) is None:
                self.statistics.rejected += 1
                self._tell(
                    f"{way.address[0]} is turned away: its room is not {self.room}, or its keys are others", now_s
                )
            elif not self._make_room(now_s) or not self._may_reply(now_s):
                self.statistics.capped += 1
            else:
                self._greet(handshake, session, message, way, now_s)

    def _greet(self, handshake: Handshake, session: bytes, message: bytes, way: Way, now_s: float) -> None:
        try:
            reply = greet(Kind.REPLY, session, handshake.write())
        except ValueError:  # a public key of low order
            self.statistics.rejected += 1
            return
        self._greeted[message[:KEY_BYTES]] = None
        if len(self._greeted) > MAX_GREETED:
            self._greeted.popitem(last=False)
        peer = Peer(session, *handshake.keys(), way, now_s, confirmed=False)
        peer.hello, peer.reply, peer.replied_s = message, reply, now_s
        self._peers[session] = peer
        self._sockets.put(reply, way)

    def _may_reply(self, now_s: float) -> bool:
        earned = (now_s - self._replies_s) * REPLIES_PER_S
        self._replies, self._replies_s = min(self._replies + earned, float(REPLIES_AT_ONCE)), now_s
        if self._replies < 1:
            return False
        self._replies -= 1
        return True

    def _make_room(self, now_s: float) -> bool:
        """Whether one more session can be told apart; one that nobody has used may have to go."""
        if len(self._peers) < self.max_peers:
            return True
        for peer in self._peers.values():
            if not peer.confirmed and now_s - peer.heard_s >= MIN_UNCONFIRMED_S:
                self._drop(peer)
                return True
        return False

    def _ask(self, now_s: float) -> None:
        """Say HELLO if there is no session, or none that is heard."""
        if any(now_s - peer.heard_s < SUSPECT * self.options.lease_s for peer in self._peers.values()):
            self._attempt = None
            return
        attempt = self._attempt
        if attempt is None or now_s - attempt.begun_s >= ATTEMPT_S:
            handshake = self._room.handshake(initiates=True)
            attempt = self._attempt = Attempt(handshake, handshake.write(), now_s)
        late = max(self._hellos - EARLY_HELLOS, 0)
        if now_s - self._hello_s >= min(HELLO_GAP_S * 2 ** min(late, 8), MAX_HELLO_GAP_S):
            self._hellos, self._hello_s = self._hellos + 1, now_s
            hello = greet(Kind.HELLO, attempt.hello[:SESSION_BYTES], attempt.hello)
            for way in self._sockets.targets:  # the first one that answers is taken
                self._sockets.put(hello, way)

    def _reply(self, session: bytes, message: bytes, way: Way, now_s: float) -> None:
        """An answer to HELLO: the session is there."""
        attempt = self._attempt
        if attempt is None or session != attempt.hello[:SESSION_BYTES]:
            known = session in self._peers  # a second answer to a HELLO that was said twice
            self.statistics.replayed += known
            self.statistics.rejected += not known
            return
        if attempt.handshake.read(message) is None or not self._goes:
            self.statistics.rejected += 1
            return
        for silent in list(self._peers.values()):
            self._drop(silent)
        target = self._sockets.target_like(way)
        peer = Peer(session, *attempt.handshake.keys(), target, now_s, confirmed=False)
        self._peers[session], self._attempt, self._hellos = peer, None, 0
        self._confirm(peer, now_s)

    # sessions

    def _confirm(self, peer: Peer, now_s: float) -> None:
        peer.confirmed, peer.confirmed_s, peer.reply = True, now_s, b""
        self._notice = ""
        self._met(peer, now_s)
        if not peer.counter:  # the other side waits for a word: only that tells this from a recording
            self._post(Kind.PING, self._own_name(), peer)

    def _own_name(self) -> bytes:
        return b""

    def _met(self, peer: Peer, now_s: float) -> None:
        """A session is confirmed."""

    @abstractmethod
    def _handle(self, kind: Kind, body: bytes, peer: Peer, now_s: float) -> None:
        """An authentic, new message of a confirmed session."""

    def _tick(self, now_s: float) -> None:
        for peer in list(self._peers.values()):
            silent_s = now_s - peer.heard_s
            if silent_s >= (self.options.lease_s if peer.confirmed else UNCONFIRMED_S):
                self._drop(peer)
            elif peer.confirmed:
                unheard = self._goes and peer.window.highest < 0  # the first words may have been lost
                if now_s - peer.sent_s >= (min(FIRST_WAIT_S, self._keep_s) if unheard else self._keep_s):
                    self._post(Kind.PING, self._own_name(), peer)
        self._watch(now_s)
        if self._goes:
            self._ask(now_s)

    def _drop(self, peer: Peer) -> None:
        """Forget a session and its keys."""
        self._peers.pop(peer.session, None)

    def _live(self, now_s: float) -> list[Peer]:
        lease_s = self.options.lease_s
        return [peer for peer in self._peers.values() if peer.confirmed and now_s - peer.heard_s < lease_s]

    # what the user is told

    def _tell(self, text: str, now_s: float) -> None:
        if not self._notice:
            self._notice, self._noticed_s = text, now_s

    def _watch(self, now_s: float) -> None:
        """Tell that nobody answers, and take back what is no longer so."""
        if self._met_s is None or self._live(now_s):
            self._met_s = now_s
        if self._notice and now_s - self._noticed_s >= NOTICE_S:
            self._notice = ""
        if self._goes and now_s - self._met_s >= NOBODY_S:
            whom = "receiver" if self.sends == TO_RECEIVERS else "sender"
            self._tell(f"nobody answers at udp:{self._sockets}; expected a {whom} of room {self.room} there", now_s)

    # going out

    def _post(self, kind: Kind, body: bytes, peer: Peer) -> bool:
        """Seal and send; whether it left."""
        if peer.counter > MAX_COUNTER:
            return False
        data = seal(peer.sending, kind, peer.session, peer.counter, body)
        peer.counter += 1
        peer.sent_s = self._clock()
        return self._sockets.put(data, peer.way)

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
            self._sockets.close()
            self._peers.clear()
            self._attempt = None

    def _leave(self) -> None:
        for peer in self._live(self._clock()):
            self._post(Kind.BYE, b"", peer)


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
