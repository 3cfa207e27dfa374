"""Transport over Zenoh: from two processes on one machine to many receivers behind relays, with the same code.

    somacast/ROOM/live            put, best effort, dropped rather than queued      sender   -> receivers
    somacast/ROOM/identity        put, reliable; asked for by who joins             sender   -> receivers
    somacast/ROOM/source          the same for relays, which then answer for all    sender   -> relays
    somacast/ROOM/control/NAME    put, best effort                                  receiver -> sender

A receiver asks for the identity when whoever can answer comes into sight, so that it crosses each link once, at join,
rejoin and change. One sender a room.
"""

from __future__ import annotations

import secrets
import threading
from typing import TYPE_CHECKING

from somacast.channel.transport.base import (
    SENDER,
    TO_RECEIVERS,
    TO_SENDER,
    Ends,
    Lane,
    TransportOptions,
    check_word,
)
from somacast.channel.transport.zenoh_config import (
    MAX_ENDPOINTS,
    ROOT,
    Place,
    check_open,
    open_session,
    settings,
)
from somacast.extras import require
from somacast.types import SomacastError

if TYPE_CHECKING:
    import zenoh

# Measured on the wire by tests/test_transport_zenoh.py, IPv4 and UDP included: QUIC, and Zenoh's frame and key.
HEADER_BYTES_TLS, HEADER_BYTES_PLAIN = 0, 0
_ASK_S = 5.0  # how long an answer with the identity may take on a slow link
MAX_NAME = 64


def parse_places(text: str) -> list[Place]:
    """`HOST:PORT`, or several with commas between them; SomacastError for anything else."""
    parts = text.split(",")
    if len(parts) > MAX_ENDPOINTS:
        raise SomacastError(f"address: expected at most {MAX_ENDPOINTS} places, got {len(parts)}")
    return [Place.parse(part) for part in parts]


class _ZenohEnd(Ends):
    """What both ends share: the session, and publishers that know whether somebody listens."""

    def __init__(self, sends: frozenset[Lane], address: str, room: str, options: TransportOptions, listen: bool):
        require("zenoh", "the default transport")
        super().__init__(sends, options.limits)
        check_word("room", room)
        places = parse_places(address)
        check_open(places, options.keys, options.insecure)
        places = [place.with_port() for place in places] if listen else places
        self.address = ",".join(map(str, places))
        self.header_bytes = HEADER_BYTES_TLS if options.keys else HEADER_BYTES_PLAIN
        self.room, self.options = room, options
        self._lock = threading.Lock()
        self._closed = False
        self._session: zenoh.Session | None = None
        self._publishers: dict[Lane, zenoh.Publisher] = {}
        self._listening: dict[Lane, bool] = dict.fromkeys(sends, False)
        # A receiver that goes to a relay is Zenoh's client: relays pass nothing between two peers. Opening a client
        # waits for the other side, so it happens in the background, over and over.
        mode = "client" if not listen and sends is TO_SENDER else "peer"
        here, there = (places, []) if listen else ([], places)
        self._values = settings(mode, here, there, options.keys, options.lease_s, options.limits)
        if mode == "client":
            threading.Thread(target=self._open_later, name="somacast-join", daemon=True).start()
        else:
            self._start(open_session(self._values))

    def _open_later(self) -> None:
        while not self._closed:
            try:
                session = open_session(self._values)
            except SomacastError:
                continue  # it has waited for a second
            self._start(session)
            return

    def _start(self, session: zenoh.Session) -> None:
        with self._lock:
            if self._closed:
                session.close()
                return
            self._session = session
        self._declare(session)

    def _declare(self, session: zenoh.Session) -> None:
        raise NotImplementedError

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

        publisher.declare_matching_listener(heard)
        self._listening[lane] = publisher.matching_status.matching
        self._publishers[lane] = publisher

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

    def close(self) -> None:
        """See Transport."""
        with self._lock:
            first, self._closed = not self._closed, True
            session = self._session
        if first and session is not None:
            session.close()
        super().close()


class ZenohSender(_ZenohEnd):
    """The sending end; goes to its receivers or relays unless told to listen."""

    def __init__(self, address: str, room: str, options: TransportOptions) -> None:
        self._identity: bytes | None = None
        super().__init__(TO_RECEIVERS, address, room, options, bool(options.listen))

    def _declare(self, session: zenoh.Session) -> None:
        self._publish(session, Lane.LIVE, "live")
        self._publish(session, Lane.IDENTITY, "identity")
        session.declare_subscriber(self._key("control/*"), self._control)
        session.declare_queryable(self._key("identity"), self._answer)
        session.declare_queryable(self._key("source"), self._answer)
        session.liveliness().declare_token(self._key(SENDER))

    def send(self, lane: Lane, data: bytes) -> bool:
        """See Transport."""
        if lane is Lane.IDENTITY and len(data) <= self.limits.identity_bytes:
            self._identity = bytes(data)  # also when nobody is there yet
        return super().send(lane, data)

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
        super().__init__(TO_SENDER, address, room, options, options.listen is None or options.listen)

    def _declare(self, session: zenoh.Session) -> None:
        import zenoh

        session.declare_subscriber(self._key("live"), lambda sample: self._take(Lane.LIVE, sample))
        session.declare_subscriber(self._key("identity"), lambda sample: self._take(Lane.IDENTITY, sample))
        self._publish(session, Lane.CONTROL, f"control/{self.name}")
        self._querier = session.declare_querier(
            self._key("identity"), target=zenoh.QueryTarget.BEST_MATCHING, timeout=_ASK_S
        )
        self._querier.declare_matching_listener(self._ask)

    def _ask(self, status: zenoh.MatchingStatus) -> None:
        if status.matching and self._querier is not None and not self._closed:
            self._querier.get(self._reply)

    def _reply(self, reply: zenoh.Reply) -> None:
        if reply.ok is not None:
            self._take(Lane.IDENTITY, reply.ok)

    def _take(self, lane: Lane, sample: zenoh.Sample) -> None:
        if len(sample.payload) > self.limits.most_bytes(lane):
            self.statistics.capped += 1
        else:
            self.inbox.put(lane, sample.payload.to_bytes(), SENDER)
