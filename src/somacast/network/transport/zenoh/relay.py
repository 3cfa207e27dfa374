"""A relay: a Zenoh router that also keeps the last identity of each room, so that late ones need not ask the sender.

    sender --> relay --> relay --> receivers        a receiver that joins asks the nearest relay

A sender on a narrow link sends everything once, to one relay, however many look on. Relays connect to each other as
told; they pass nothing on that is over a cap, and keep at most MAX_ROOMS identities.
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Self

from somacast.extras import require
from somacast.network.transport.base import SENDER, Limits, TransportOptions
from somacast.network.transport.places import Place, check_open
from somacast.network.transport.zenoh.config import ROOT, close_session, open_session, settings

if TYPE_CHECKING:
    import zenoh

MAX_ROOMS = 64
RELAY_LIMITS = Limits(peers=1000)
_ASK_S = 5.0


class Relay:
    """Runs from construction to `close`. Raises SomacastError where a place cannot be listened at, and for places off
    this machine without keys.

    listen, connect: where to wait for senders, receivers and relays, and which relays to go to.
    """

    def __init__(
        self, listen: Sequence[Place], connect: Sequence[Place] = (), options: TransportOptions | None = None
    ) -> None:
        require("zenoh", "a relay")
        self.options = options or TransportOptions(limits=RELAY_LIMITS)
        check_open([*listen, *connect], self.options.keys, self.options.insecure)
        self.places = [place.with_port() for place in listen]
        for place in connect:
            place.resolve()
        self._lock = threading.Lock()
        self._rooms: OrderedDict[str, bytes] = OrderedDict()  # identity by key, the one that changed last at the end
        self._asking: dict[str, object] = {}  # what is held while a sender is there
        session = open_session(settings("router", self.places, list(connect), self.options))
        self._session: zenoh.Session | None = session
        self._kept = [  # Zenoh undeclares what nobody holds
            session.declare_subscriber(f"{ROOT}/*/identity", self._keep),
            session.declare_queryable(f"{ROOT}/*/relay/{session.zid()}", self._answer, complete=True),
            session.liveliness().declare_subscriber(f"{ROOT}/*/{SENDER}", self._sender_seen, history=True),
        ]

    @property
    def address(self) -> str:
        """Where others find this relay."""
        return "zenoh:" + ",".join(map(str, self.places))

    def counts(self) -> tuple[int, int, int]:
        """Senders and receivers connected here, relays connected here, rooms whose identity is kept."""
        import zenoh

        session = self._session
        if session is None:
            return 0, 0, 0
        kinds = [one.whatami for one in session.info.transports()]
        relays = kinds.count(zenoh.WhatAmI.ROUTER)
        return len(kinds) - relays, relays, len(self._rooms)

    def close(self) -> None:
        """Leave; may be called again."""
        session, self._session = self._session, None
        if session is not None:
            close_session(session)
            self._kept.clear()
            self._asking = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _remember(self, key: str, data: bytes) -> bool:
        """Keep an identity; whether it is new."""
        if not data or len(data) > self.options.limits.identity_bytes:
            return False
        with self._lock:
            if self._rooms.get(key) == data:
                return False
            self._rooms[key] = data
            self._rooms.move_to_end(key)
            if len(self._rooms) > MAX_ROOMS:
                self._rooms.popitem(last=False)
            return True

    def _keep(self, sample: zenoh.Sample) -> None:
        self._remember(str(sample.key_expr), sample.payload.to_bytes())

    def _answer(self, query: zenoh.Query) -> None:
        with query:
            room = str(query.key_expr).rpartition("/relay/")[0]
            with self._lock:
                data = self._rooms.get(f"{room}/identity")
            if data is not None:
                query.reply(query.key_expr, data)

    def _sender_seen(self, sample: zenoh.Sample) -> None:
        """A sender has come or gone. The identity of one that left is forgotten; a new one is asked for its own, from
        another thread, since this one is Zenoh's."""
        import zenoh

        key = str(sample.key_expr).rpartition("/")[0] + "/identity"
        if sample.kind == zenoh.SampleKind.DELETE:
            with self._lock:
                self._rooms.pop(key, None)
                self._asking.pop(key, None)
        else:
            timer = threading.Timer(0.0, self._ask, (key,))
            timer.daemon = True
            timer.start()

    def _ask(self, key: str) -> None:
        """Ask for an identity as soon as somebody who has it can be reached, unless it has come by itself."""
        session = self._session
        with self._lock:
            if session is None or key in self._rooms or key in self._asking or len(self._asking) >= MAX_ROOMS:
                return
            self._asking[key] = None
        with contextlib.suppress(Exception):  # ZError where the session has just closed
            querier = session.declare_querier(key, timeout=_ASK_S)

            def ready(status: zenoh.MatchingStatus) -> None:
                if status.matching and key not in self._rooms:
                    querier.get(lambda reply: self._source(key, reply))

            self._asking[key] = (querier, querier.declare_matching_listener(ready))

    def _source(self, key: str, reply: zenoh.Reply) -> None:
        """The identity of a sender that was there before this relay, for those who are here already."""
        import zenoh

        session = self._session
        if reply.ok is not None and session is not None:
            data = reply.ok.payload.to_bytes()
            if self._remember(key, data):
                session.put(key, data, congestion_control=zenoh.CongestionControl.DROP)
