"""The receivers of a live sender, and what the links to them carry: rates, pacing, who has which frames."""

from __future__ import annotations

from collections.abc import Callable

from somacast.network.congestion.feedback import FeedbackReport
from somacast.network.congestion.rate_control import Controller

MAX_PEERS = 16  # whose feedback is kept apart; further receivers see what suits these
PEER_SILENCE_S = 3.0
RATE_SHARE, CREDIT_S = 0.95, 0.25  # how much of the rate is used; how long what was not used can be


class Peer:
    """A receiver: what its link carries, the frames it has (ticks of the last seconds), and the parts of the look."""

    def __init__(self, controller: Controller, time_s: float) -> None:
        self.controller, self.heard_s = controller, time_s
        self.has: set[int] = set()
        self.parts: set[int] = set()


class Peers:
    """All receivers that answer. make: their rate control; adapt False: none. Times do not go back."""

    def __init__(self, make: Callable[[], Controller], adapt: bool) -> None:
        self.adapt, self._make = adapt, make
        self._idle = make()  # paces while nobody has answered
        self._known: dict[str, Peer] = {}
        self._credit, self._earned_s = 0.0, 0.0

    def __len__(self) -> int:
        return len(self._known)

    def active(self, time_s: float) -> list[Peer]:
        """Those heard lately."""
        return [peer for peer in self._known.values() if time_s - peer.heard_s < PEER_SILENCE_S]

    def hear(self, time_s: float, report: FeedbackReport, name: str) -> tuple[Peer, bool] | None:
        """A report came: whose it is, and whether they are new or back after a silence (the link may then be another:
        what was known of it would hold it down). None if there are too many."""
        self._known = {n: p for n, p in self._known.items() if time_s - p.heard_s < PEER_SILENCE_S}
        known, new = self._known.get(name), name not in self._known
        if known is None:
            if len(self._known) >= MAX_PEERS:
                return None
            known = self._known[name] = Peer(self._make(), time_s)
        known.heard_s = time_s
        known.controller.reported(time_s, report)
        return known, new

    def sent(self, time_s: float, sequence: int, wire_bytes: int) -> None:
        """A datagram left."""
        for peer in self.active(time_s):
            peer.controller.sent(time_s, sequence, wire_bytes)
        self._idle.sent(time_s, sequence, wire_bytes)
        self._credit -= wire_bytes

    def rate_bps(self, time_s: float) -> float | None:
        """What may go on the wire now, None without rate control."""
        if not self.adapt:
            return None
        rates = (peer.controller.rate_bps(time_s) for peer in self.active(time_s))
        return min(rates, default=self._idle.rate_bps(time_s))

    def credit(self, time_s: float, rate_bps: float) -> float:
        """Bytes that may leave now: what the rate has given since, less all that has left."""
        earned = RATE_SHARE * rate_bps * (time_s - self._earned_s) / 8
        most = rate_bps * CREDIT_S / 8  # of debt too: what was sent when there was more room is not paid at a low rate
        self._credit = max(min(self._credit + earned, most), -most)
        self._earned_s = time_s
        return self._credit

    def wait_s(self, time_s: float, wire_bytes: int) -> float:
        """How long a datagram is to wait for the links, 0: now."""
        return max((peer.controller.wait_s(time_s, wire_bytes) for peer in self.active(time_s)), default=0.0)

    def network_state(self, time_s: float) -> int:
        """f of eq. 18 in 1/255, where it is highest."""
        return max((peer.controller.network_state(time_s) for peer in self.active(time_s)), default=0)

    @property
    def loss(self) -> float:
        """Share of datagrams lost, of whoever loses most."""
        return max((peer.controller.loss for peer in self._known.values()), default=0.0)

    def round_trip_s(self, time_s: float) -> float | None:
        """The longest."""
        trips = [peer.controller.round_trip_s for peer in self.active(time_s)]
        return max((trip for trip in trips if trip is not None), default=None)
