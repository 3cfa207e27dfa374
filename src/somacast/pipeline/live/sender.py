"""The live sender without clock, sockets and networks: what moves and who it is in, datagrams out.

person(container) -> on the reliable lane, and again now and then on the live one
frame(time_s, values) -> batches -> packets within the budget of the link -> send

Every datagram is useful alone: it stands for itself or refers to a frame that every receiver has said to have. Coarse
labels are protected most: while datagrams are lost, each repeats frames of the ones before coarsely.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from somacast.bitstream.packets import (
    MAX_PACKET_BYTES,
    TICK_SPAN,
    TICKS_PER_S,
    End,
    LivePacket,
    Motion,
    Person,
    Picture,
    pack_packet,
)
from somacast.coding.motion_stream import even_frames
from somacast.errors import BitstreamError
from somacast.network.congestion.feedback import parse_report
from somacast.network.congestion.rate_control import Controller, RateController
from somacast.network.transport.base import Lane
from somacast.systems.spec import FrameCoder

PACKET_BYTES = 14  # of a motion packet beside its payload
MAX_PAYLOAD_BYTES = MAX_PACKET_BYTES - 18  # with reference and copies
MAX_PEERS = 16  # whose feedback is kept apart; further receivers see what suits these
PEER_SILENCE_S = 3.0
REMEMBERED_S = 4  # which frames a receiver has
MAX_STRIDE = 6
MAX_BATCH_S = 1.0  # how long a narrow link may make frames wait
MAX_WAITING = 32  # frames
FREE_BPS = 80_000  # from here on labels at full quality take less than half of the link
RATE_SHARE, CREDIT_S = 0.95, 0.25  # how much of the rate is used; how long what was not used can be
PART_S, MIN_PART_BYTES, MAX_PARTS = 0.02, 200, 64  # of a picture: time on the link that one takes; size; number
MAX_COPY_TICKS = 255  # from a copy to the packet that carries it
HEADER_SHARE = 1.8  # a packet is worth its headers when the link has room for this many of them


@dataclass(frozen=True)
class LiveConfig:
    """batch_s: how long frames may wait for company (0: every frame goes at once); key_s: the longest time without a
    packet that stands for itself; repeat_s: between repetitions of who it is on the live lane; adapt False: no rate
    control, everything at full quality; header_bytes: what lower layers add to a datagram; lowest_state: network state
    that is never gone below, 0 is full quality; stride: send every how many frames at least; copies: of earlier frames
    in each packet, None: as many as the losses ask for."""

    batch_s: float = 0.0
    key_s: float = 1.0
    repeat_s: float = 2.0
    adapt: bool = True
    header_bytes: int = 28
    lowest_state: int = 0
    stride: int = 1
    copies: int | None = None


@dataclass
class SenderCounts:
    """What went out."""

    frames: int = 0
    packets: int = 0
    payload_bytes: int = 0
    skipped: int = 0  # frames that found the link busy and gave way to newer ones
    keys: int = 0
    persons: int = 0


class _Peer:
    """A receiver: which frames it has, and what its link carries."""

    def __init__(self, controller: Controller, time_s: float) -> None:
        self.controller, self.heard_s = controller, time_s
        self.has: set[int] = set()  # ticks of the last seconds


class LiveSender:
    """send: called with lane and datagram; must not block. epoch 0 .. 255: drawn anew for each sender that starts."""

    def __init__(
        self,
        coder: FrameCoder,
        send: Callable[[Lane, bytes], Any],
        config: LiveConfig | None = None,
        epoch: int = 0,
        controller: Callable[[], Controller] = RateController,
    ):
        self.coder, self.digest, self.config, self.epoch = coder, coder.digest, config or LiveConfig(), epoch
        self.counts = SenderCounts()
        self.state, self.stride = self.config.lowest_state, max(self.config.stride, 1)
        self._credit, self._earned_s = 0.0, 0.0
        self._newest_s = 0.0
        self._moved_s = -1e9
        self._send, self._make = send, controller
        self._encoder = coder.encoder()
        self._sequence = 0
        self._batch: list[tuple[float, np.ndarray]] = []  # waiting: newer frames thin them out, none is sent late
        self._turn = 0  # counts frames, for the stride
        self._sent: OrderedDict[int, tuple[list[int], int | None]] = OrderedDict()  # sequence -> ticks, reference
        self._roots: OrderedDict[int, int] = OrderedDict()  # tick -> of the key that its frame goes back to
        self._batches: deque[list[int]] = deque(maxlen=4)  # ticks of the newest packets
        self._last_tick = -1
        self._key_s = -1e9
        self._peers: dict[str, _Peer] = {}
        self._idle = controller()  # paces while nobody has answered
        self._person: tuple[int, int, bytes] | None = None  # number, tick, container
        self._repeats: list[float] = []
        self._picture_number = 0
        self._parts: deque[Picture] = deque()  # of a picture, that wait
        self._motion_bytes = 0  # on the wire, of the newest packet of motion
        self._recent: deque[tuple[float, int, int]] = deque()

    # who it is

    def person(self, time_s: float, container: bytes) -> None:
        """A new or better .soma container of who it is."""
        time_s = self._now(time_s)
        number = 0 if self._person is None else (self._person[0] + 1) % 256
        self._person = (number, round(time_s * TICKS_PER_S) % TICK_SPAN, container)
        self._tell_person(time_s, Lane.IDENTITY)
        self._repeats = [time_s, time_s + 0.25, time_s + 0.75]

    def _tell_person(self, time_s: float, lane: Lane) -> None:
        assert self._person is not None
        number, tick, container = self._person
        self.counts.persons += 1
        self._post(time_s, Person(number, tick, container), lane)

    def _repeat_person(self, time_s: float) -> None:
        """Who it is, told again when it is due. Right behind a packet of motion if there are any: two datagrams that
        leave together show rate control what the link carries."""
        if self._person is not None and self._repeats and time_s >= min(self._repeats):
            self._repeats = [t for t in self._repeats if t > time_s] or [time_s + self.config.repeat_s]
            self._tell_person(time_s, Lane.LIVE)

    # what moves

    def frame(self, time_s: float, values: np.ndarray, now_s: float | None = None) -> None:
        """Values [M] of a frame that was taken at time_s, later than the one before; now_s: the time now, if the frame
        took some to be understood."""
        self._turn += 1
        if (self._turn - 1) % self.stride:
            return
        self._batch.append((time_s, values))
        if len(self._batch) > MAX_WAITING:  # the link gives no room: fewer frames, not older ones
            self.counts.skipped += len(self._batch) // 2
            self._batch = self._batch[1::2]
        self._flush_if_due(self._now(time_s if now_s is None else now_s))

    def _now(self, time_s: float) -> float:
        """The time now; threads may hand it over in the wrong order, rate control must not see it go back."""
        self._newest_s = max(self._newest_s, time_s)
        return self._newest_s

    def _flush_if_due(self, time_s: float) -> None:
        """Send the batch when its time has come and the link has room for more than headers."""
        if not self._batch:
            return
        first, last = self._batch[0][0], self._batch[-1][0]
        between = (last - first) / (len(self._batch) - 1) if len(self._batch) > 1 else 0.0
        waited = last - first
        if waited + max(between, 1e-3) < self.config.batch_s and time_s - last < self.config.batch_s:
            return
        rate = self.rate_bps(time_s)
        if rate is not None:
            header = self.config.header_bytes + PACKET_BYTES
            if self._earn(time_s, rate) < HEADER_SHARE * header and waited < MAX_BATCH_S:
                return
            if max((p.controller.wait_s(time_s, 2 * header) for p in self._active(time_s)), default=0.0) > 0:
                return
        self._flush(time_s)

    def _earn(self, time_s: float, rate_bps: float) -> float:
        """Bytes that may leave now: what the rate has given since, less all that has left."""
        earned = RATE_SHARE * rate_bps * (time_s - self._earned_s) / 8
        most = rate_bps * CREDIT_S / 8  # of debt too: what was sent when there was more room is not paid at a low rate
        self._credit = max(min(self._credit + earned, most), -most)
        self._earned_s = time_s
        return self._credit

    def _flush(self, time_s: float) -> None:
        batch, self._batch = self._batch, []
        ticks, frames = self._even(batch)
        reference = self._reference(time_s)
        if reference is None:
            self.counts.keys += 1
            self._key_s = time_s
        budget, lowest = self._budget(time_s), self._lowest(time_s)
        motion = self._encoder.encode(
            ticks, frames, person=self._person[0] if self._person else 0, lowest_state=lowest,
            budget_bytes=min(budget or MAX_PAYLOAD_BYTES, MAX_PAYLOAD_BYTES), reference=reference,
            copies=self._copies(ticks[0]),
        )  # fmt: skip
        self.state = motion.state
        self._fit_stride(motion, budget, lowest)
        self._batches.append(ticks)
        self.counts.frames += len(ticks)
        used = None if motion.reference is None else reference
        self._root(ticks, used)
        self._post(time_s, motion, Lane.LIVE, ticks, used)
        self._moved_s = time_s
        self._repeat_person(time_s)

    def _root(self, ticks: list[int], reference: int | None) -> None:
        root = ticks[0] if reference is None else self._roots.get(reference, -1)
        self._roots.update(dict.fromkeys(ticks, root))
        while len(self._roots) > 1024:
            self._roots.popitem(last=False)

    def _even(self, batch: list[tuple[float, np.ndarray]]) -> tuple[list[int], np.ndarray]:
        """Ticks and values of a batch at even times; a camera that stumbles is evened out."""
        times, values = np.array([t for t, _ in batch]), np.stack([v for _, v in batch])
        ticks, values = even_frames(times, values, self.coder.circular, self._last_tick)
        self._last_tick = ticks[-1]
        return ticks, values

    def _reference(self, time_s: float) -> int | None:
        """The newest frame that every receiver has, if there is one and no key is due."""
        peers = self._active(time_s)
        if not peers or time_s - self._key_s >= self.config.key_s:
            return None
        common = peers[0].has.intersection(*(peer.has for peer in peers[1:]))
        fresh = [tick for tick in common if tick > self._last_tick - TICKS_PER_S]
        # what goes back to a newer key first: should a receiver lack what it seems to have, a key puts all right
        return max(fresh, key=lambda tick: (self._roots.get(tick, -1), tick), default=None)

    def _copies(self, first_tick: int) -> list[int]:
        """Frames of the newest packets to be repeated; none from before a pause, which a packet cannot name."""
        count = self.config.copies
        if count is None:
            loss = max((peer.controller.loss for peer in self._peers.values()), default=0.0)
            count = 0 if loss < 0.01 else 1 if loss < 0.12 else 2
        newest = list(self._batches)[-count:] if count else []
        return [tick for tick in (ticks[len(ticks) // 2] for ticks in newest) if first_tick - tick <= MAX_COPY_TICKS]

    # the link

    def _active(self, time_s: float) -> list[_Peer]:
        return [peer for peer in self._peers.values() if time_s - peer.heard_s < PEER_SILENCE_S]

    def rate_bps(self, time_s: float) -> float | None:
        """What may go on the wire now, None without rate control."""
        if not self.config.adapt:
            return None
        peers = self._active(time_s)
        return min((p.controller.rate_bps(time_s) for p in peers), default=self._idle.rate_bps(time_s))

    def _lowest(self, time_s: float) -> int:
        """The network state that eq. 18 asks for, as long as labels are what fills the link: where all of them fit many
        times over, nobody is helped by coarser ones."""
        rate = self.rate_bps(time_s)
        if rate is None or rate > FREE_BPS:
            return self.config.lowest_state
        return max([self.config.lowest_state, *(p.controller.network_state(time_s) for p in self._active(time_s))])

    def _budget(self, time_s: float) -> int | None:
        """Payload bytes that the batch may have."""
        rate = self.rate_bps(time_s)
        if rate is None:
            return None
        return max(int(self._earn(time_s, rate)) - self.config.header_bytes - PACKET_BYTES, 8)

    def _fit_stride(self, motion: Motion, budget: int | None, lowest: int) -> None:
        """Fewer frames before coarser ones: blending between frames is smoother than bins are."""
        if budget is None:
            return
        if motion.state > lowest + 64 and self.stride < MAX_STRIDE:
            self.stride += 1
        elif len(motion.payload) < 0.6 * budget and motion.state <= lowest + 32 and self.stride > self.config.stride:
            self.stride -= 1

    def _post(
        self,
        time_s: float,
        body: Motion | Person | Picture | End,
        lane: Lane,
        ticks: list[int] | None = None,
        reference: int | None = None,
    ) -> None:
        data = pack_packet(LivePacket(self._sequence, self.epoch, body), self.digest)
        if lane is Lane.LIVE:
            wire = len(data) + self.config.header_bytes
            for peer in [*self._active(time_s)]:
                peer.controller.sent(time_s, self._sequence, wire)
            self._idle.sent(time_s, self._sequence, wire)
            self._credit -= wire
            self._motion_bytes = wire if isinstance(body, Motion) else self._motion_bytes
            self._sent[self._sequence] = ticks or [], reference
            while len(self._sent) > 1024:
                self._sent.popitem(last=False)
            self._sequence = (self._sequence + 1) % TICK_SPAN
            self._recent.append((time_s, wire, len(ticks or [])))
            while self._recent[0][0] < time_s - 2:
                self._recent.popleft()
        self.counts.packets += 1
        self.counts.payload_bytes += len(data)
        self._send(lane, data)

    def control(self, time_s: float, data: bytes, peer: str = "") -> None:
        """Feedback of a receiver; anything else is left alone."""
        time_s = self._now(time_s)
        try:
            report = parse_report(data)
        except BitstreamError:
            return
        self._peers = {n: p for n, p in self._peers.items() if time_s - p.heard_s < PEER_SILENCE_S}
        known = self._peers.get(peer)
        if known is None:  # or back after a silence: the link may be another, what was known of it holds it down
            if len(self._peers) >= MAX_PEERS:
                return
            known = self._peers[peer] = _Peer(self._make(), time_s)
            self._key_s = -1e9  # somebody new can decode only what stands for itself
            if self._person is not None:
                self._repeats = [time_s, *self._repeats]
        known.heard_s = time_s
        known.controller.reported(time_s, report)
        for sequence in reversed(report.arrived):
            ticks, reference = self._sent.get(sequence, ((), None))
            if reference is None or reference in known.has:  # else it arrived and could not be decoded
                known.has.update(ticks)
        known.has = {tick for tick in known.has if tick > self._last_tick - REMEMBERED_S * TICKS_PER_S}

    def picture(self, time_s: float, jpeg: bytes) -> bool:
        """The sender's own picture, in parts behind the motion as the link has room; False if it is too large, or the
        one before is not through."""
        time_s = self._now(time_s)
        rate, most = self.rate_bps(time_s), MAX_PACKET_BYTES - 16
        size = most if rate is None else int(np.clip(rate * PART_S / 8, MIN_PART_BYTES, most))
        size = max(size, -(-len(jpeg) // MAX_PARTS))
        if not jpeg or size > most or self._parts:
            return False
        self._picture_number = (self._picture_number + 1) % 256
        parts = [jpeg[k : k + size] for k in range(0, len(jpeg), size)]
        self._parts.extend(Picture(self._picture_number, k, len(parts), part) for k, part in enumerate(parts))
        self._post_parts(time_s)
        return True

    def _post_parts(self, time_s: float) -> None:
        """Parts of the picture, while there is room for them and for the next packet of motion."""
        rate = self.rate_bps(time_s)
        while self._parts:
            wire = len(self._parts[0].data) + 16 + self.config.header_bytes
            if rate is not None:
                waits = [p.controller.wait_s(time_s, wire) for p in self._active(time_s)]
                if self._earn(time_s, rate) < wire + self._motion_bytes or max(waits, default=0.0) > 0:
                    return
            self._post(time_s, self._parts.popleft(), Lane.LIVE)

    def poll(self, time_s: float) -> None:
        """What is due by time alone: frames that wait for room, and, while nothing moves, who it is told again."""
        time_s = self._now(time_s)
        self._flush_if_due(time_s)
        self._post_parts(time_s)
        if time_s - self._moved_s > self.config.repeat_s / 2:
            self._repeat_person(time_s)

    def end(self, time_s: float) -> None:
        """What waits goes out, then goodbye, three times."""
        if self._batch:
            self._flush(self._now(time_s))
        for _ in range(3):
            self._post(self._now(time_s), End(), Lane.LIVE)

    def status(self, time_s: float) -> dict[str, Any]:
        """fps, kbit_s on the wire, rate_bps, network_state, stride, loss, round_trip_s, peers and counts."""
        time_s = self._now(time_s)
        peers = self._active(time_s)
        recent = [r for r in self._recent if r[0] > time_s - 2]
        trips = [p.controller.round_trip_s for p in peers if p.controller.round_trip_s is not None]
        return {
            "fps": sum(r[2] for r in recent) / 2, "kbit_s": sum(r[1] for r in recent) * 8 / 2000,
            "rate_bps": self.rate_bps(time_s), "network_state": self.state, "stride": self.stride,
            "loss": max((p.controller.loss for p in peers), default=0.0),
            "round_trip_s": max(trips, default=None), "peers": len(peers), **vars(self.counts),
        }  # fmt: skip
