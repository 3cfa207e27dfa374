"""Transport over Zenoh: from two processes on one machine to many receivers behind relays, with the same code.

    somacast/ROOM/live            put, best effort, dropped rather than queued      sender   -> receivers
    somacast/ROOM/identity        put, reliable; asked for by who joins             sender   -> receivers
    somacast/ROOM/relay/ID        answers with the identity, for who is at relay ID relay    -> receivers
    somacast/ROOM/sender          a token: the sender is there                      sender   -> relays
    somacast/ROOM/control/NAME    put, best effort                                  receiver -> sender

The identity crosses each link once, at join, rejoin and change: a sender gives it to whoever listens when the first one
does, a receiver behind a relay asks that relay, and one that was not the first asks the sender. One sender a room.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from somacast.errors import SomacastError
from somacast.extras import require
from somacast.network.transport.base import (
    NOBODY_S,
    SENDER,
    TO_RECEIVERS,
    TO_SENDER,
    Ends,
    Lane,
    TransportOptions,
    check_word,
)
from somacast.network.transport.places import Place, check_open
from somacast.network.transport.zenoh.config import (
    MAX_ENDPOINTS,
    ROOT,
    close_session,
    open_session,
    settings,
)

if TYPE_CHECKING:
    import zenoh

# Measured on the wire by tests/test_transport_zenoh.py, IPv4 and UDP included: QUIC, and Zenoh's frame and key.
HEADER_BYTES_TLS, HEADER_BYTES_PLAIN = 70, 54
_ASK_S = 5.0  # how long an answer with the identity may take on a slow link
# How long a receiver waits before it asks the sender: for the sender to give by itself, for the relay to answer.
_PATIENCE_S, _PATIENCE_AT_RELAY_S = 0.4, 2.0
MAX_NAME = 64


def parse_places(text: str) -> list[Place]:
    """`HOST:PORT` or `zenoh:HOST:PORT`, or several with commas between them; SomacastError for anything else."""
    parts = [part.removeprefix("zenoh:") for part in text.split(",")]
    if len(parts) > MAX_ENDPOINTS:
        raise SomacastError(f"address: expected at most {MAX_ENDPOINTS} places, got {len(parts)}")
    return [Place.parse(part) for part in parts]


class _ZenohEnd(Ends, ABC):
    """What both ends share: the session, and publishers that know whether somebody listens."""

    def __init__(self, sends: frozenset[Lane], address: str, room: str, options: TransportOptions, listen: bool):
        require("zenoh", "the default transport")
        super().__init__(sends, options.limits)
        check_word("room", room)
        places = parse_places(address)
        check_open(places, options.keys, options.insecure)
        if listen:
            places = [place.with_port() for place in places]
        else:
            for place in places:
                place.resolve()  # Zenoh would try for ever, without a word
        self._goes, self._met_s = not listen, time.monotonic()
        self.address = "zenoh:" + ",".join(map(str, places))
        self.header_bytes = HEADER_BYTES_TLS if options.keys else HEADER_BYTES_PLAIN
        self.room, self.options = room, options
        self._lock = threading.Lock()
        self._closed = False
        self._session: zenoh.Session | None = None
        self._publishers: dict[Lane, zenoh.Publisher] = {}
        self._kept: list[object] = []  # what Zenoh undeclares when nobody holds it
        self._listening: dict[Lane, bool] = dict.fromkeys(sends, False)
        # A receiver that goes to a relay is Zenoh's client: relays pass nothing between two peers. Opening a client
        # waits for the other side, so it happens in the background. Not in short tries: whoever listens attends to one
        # handshake at a time, and one that was given up keeps it busy.
        mode = "client" if not listen and sends is TO_SENDER else "peer"
        here, there = (places, []) if listen else ([], places)
        self._values = settings(mode, here, there, options)
        if mode == "client":
            threading.Thread(target=self._open_later, name="somacast-join", daemon=True).start()
        else:
            self._start(open_session(self._values))

    def _open_later(self) -> None:
        while not self._closed:
            try:
                session = open_session(self._values)
            except SomacastError:  # it has tried for a minute, or failed at once
                time.sleep(0.5)
                continue
            try:
                self._start(session)
                return
            except Exception:  # ZError where somebody closed it meanwhile
                session.close()

    def _start(self, session: zenoh.Session) -> None:
        with self._lock:
            if self._closed:
                session.close()
                return
            self._session = session
        self._declare(session)

    @abstractmethod
    def _declare(self, session: zenoh.Session) -> None:
        """Publish and subscribe what this end sends and takes."""

    def _key(self, name: str) -> str:
        return f"{ROOT}/{self.room}/{name}"

    def _publish(self, session: zenoh.Session, lane: Lane, name: str) -> None:
        """Declare a publisher for a lane. Best effort is dropped where a queue is full, and is never batched."""
        import zenoh

        reliable = lane is Lane.IDENTITY
        publisher = session.declare_publisher(
            self._key(name),
            reliability=zenoh.Reliability.RELIABLE if reliable else zenoh.Reliability.BEST_EFFORT,
            congestion_control=zenoh.CongestionControl.DROP,
            priority=zenoh.Priority.DATA if reliable else zenoh.Priority.REAL_TIME,
            express=not reliable,
        )

        def heard(status: zenoh.MatchingStatus) -> None:
            self._listening[lane] = status.matching
            if status.matching:
                self._somebody(lane)

        self._publishers[lane] = publisher
        self._kept.append(publisher.declare_matching_listener(heard))
        status: Any = publisher.matching_status  # the listener tells of changes only
        if status.matching:
            self._listening[lane] = True

    def _somebody(self, lane: Lane) -> None:
        """Called when the first listener of a lane comes, from a thread of Zenoh."""

    def send(self, lane: Lane, data: bytes) -> bool:
        """See Transport."""
        if not self._fits(lane, data):
            return False
        publisher = self._publishers.get(lane)
        if publisher is None or self._closed or not self._listening[lane]:
            return self._refuse()
        try:
            publisher.put(data)
        except Exception:  # ZError where the session has just closed; a send never raises
            return self._refuse()
        return self._count(data)

    def peers(self) -> int:
        """See Transport. A relay counts as one, whoever is behind it."""
        session = self._session
        if session is None or self._closed:
            return 0
        try:
            return len(session.info.peers_zid()) + len(session.info.routers_zid())
        except Exception:  # as above
            return 0

    @property
    def notice(self) -> str:
        """See Transport."""
        here, now = self.peers(), time.monotonic()
        if any(self._listening.values()):
            self._met_s = now
        if not self._goes or now - self._met_s < NOBODY_S:
            return ""
        whom = "receiver" if self.sends is TO_RECEIVERS else "sender"
        if here:
            return f"no {whom} of room {self.room} at {self.address} yet"
        return f"nobody answers at {self.address}; expected a {whom} of room {self.room} there, or a relay"

    def close(self) -> None:
        """See Transport."""
        with self._lock:
            first, self._closed = not self._closed, True
            session = self._session
        if first and session is not None:
            close_session(session)
            self._drop()
        super().close()

    def _drop(self) -> None:
        """Let go of all that is Zenoh's: its sockets stay bound while somebody holds a part of the session."""
        self._session = None
        self._publishers.clear()
        self._kept.clear()


class ZenohSender(_ZenohEnd):
    """The sending end; goes to its receivers or relays unless told to listen."""

    def __init__(self, address: str, room: str, options: TransportOptions) -> None:
        self._identity: bytes | None = None
        super().__init__(TO_RECEIVERS, address, room, options, bool(options.listen))

    def _declare(self, session: zenoh.Session) -> None:
        self._publish(session, Lane.LIVE, "live")
        self._publish(session, Lane.IDENTITY, "identity")
        self._kept += [
            session.declare_subscriber(self._key("control/*"), self._control),
            session.declare_queryable(self._key("identity"), self._answer),
            session.liveliness().declare_token(self._key(SENDER)),
        ]

    def send(self, lane: Lane, data: bytes) -> bool:
        """See Transport."""
        if lane is Lane.IDENTITY and len(data) <= self.limits.identity_bytes:
            self._identity = bytes(data)  # also when nobody is there yet
        return super().send(lane, data)

    def _somebody(self, lane: Lane) -> None:
        if lane is Lane.IDENTITY and self._identity is not None:
            self.send(lane, self._identity)

    def _control(self, sample: zenoh.Sample) -> None:
        name = str(sample.key_expr).rpartition("/")[2]
        if len(name) <= MAX_NAME and len(sample.payload) <= self.limits.control_bytes:
            self.inbox.put(Lane.CONTROL, sample.payload.to_bytes(), name)
        else:
            self.statistics.capped += 1

    def _answer(self, query: zenoh.Query) -> None:
        identity = self._identity
        with query:
            if identity is not None:
                query.reply(query.key_expr, identity)


class ZenohReceiver(_ZenohEnd):
    """A receiving end; listens unless told to go to a relay or to a sender that listens."""

    def __init__(self, address: str, room: str, options: TransportOptions) -> None:
        self.name = options.name or secrets.token_hex(3)
        self._querier: zenoh.Querier | None = None
        self._given = False  # whether an identity has come since somebody could answer
        self._at_relay: tuple[object, object] | None = None
        super().__init__(TO_SENDER, address, room, options, options.listen is None or options.listen)

    def _drop(self) -> None:
        super()._drop()
        self._querier = self._at_relay = None

    def _declare(self, session: zenoh.Session) -> None:
        self._kept += [
            session.declare_subscriber(self._key("live"), lambda sample: self._take(Lane.LIVE, sample)),
            session.declare_subscriber(self._key("identity"), lambda sample: self._take(Lane.IDENTITY, sample)),
        ]
        self._publish(session, Lane.CONTROL, f"control/{self.name}")
        self._querier = session.declare_querier(self._key("identity"), timeout=_ASK_S)
        self._kept += [
            self._querier.declare_matching_listener(self._seen),
            session.info.declare_transport_events_listener(self._joined, history=True),
        ]

    def _joined(self, event: zenoh.TransportEvent) -> None:
        """A neighbour has come or gone; a relay is asked, from another thread, since this one is Zenoh's."""
        import zenoh

        if event.kind == zenoh.SampleKind.PUT and event.transport.whatami == zenoh.WhatAmI.ROUTER:
            self._given = False
            self._later(0.0, self._ask_relay, str(event.transport.zid))

    def _ask_relay(self, relay: str) -> None:
        session = self._session
        if session is None or self._closed:
            return
        with contextlib.suppress(Exception):  # ZError where the session has just closed
            querier = session.declare_querier(self._key(f"relay/{relay}"), timeout=_ASK_S)

            def ready(status: zenoh.MatchingStatus) -> None:
                if status.matching:
                    self._ask(querier)

            self._at_relay = (querier, querier.declare_matching_listener(ready))

    def _seen(self, status: zenoh.MatchingStatus) -> None:
        """A sender has come or gone."""
        session = self._session
        if session is None or self._closed:
            return
        if status.matching:
            wait_s = _PATIENCE_AT_RELAY_S if session.info.routers_zid() else _PATIENCE_S
            self._later(wait_s, self._ask, self._querier)
        else:
            self._given = False

    def _later(self, wait_s: float, what: Callable[..., None], *arguments: object) -> None:
        timer = threading.Timer(wait_s, what, arguments)
        timer.daemon = True
        timer.start()

    def _ask(self, querier: zenoh.Querier) -> None:
        if self._given or self._closed:
            return
        with contextlib.suppress(Exception):  # ZError where the session has just closed
            querier.get(self._reply)

    def _reply(self, reply: zenoh.Reply) -> None:
        if reply.ok is not None and not self._given:  # what was put meanwhile is not older
            self._take(Lane.IDENTITY, reply.ok)

    def _take(self, lane: Lane, sample: zenoh.Sample) -> None:
        if len(sample.payload) > self.limits.max_bytes(lane):
            self.statistics.capped += 1
            return
        self._given |= lane is Lane.IDENTITY
        self.inbox.put(lane, sample.payload.to_bytes(), SENDER)
