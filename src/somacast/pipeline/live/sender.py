"""The live sender without clock, sockets and networks: what moves and who it is in, datagrams out.

person(container) -> on the reliable lane, and again now and then on the live one
frame(time_s, values) -> batches -> packets within the budget of the link -> send
look(container), picture(jpeg) -> parts, in the room that these leave

Every datagram is useful alone: it stands for itself or refers to a frame that every receiver has said to have. Coarse
labels are protected most: while datagrams are lost, each repeats frames of the ones before coarsely.
"""

from __future__ import annotations

import math
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from somacast.bitstream.packets import (
    MAX_PACKET_BYTES,
    TICK_SPAN,
    TICKS_PER_S,
    Body,
    End,
    LivePacket,
    Look,
    Motion,
    Person,
    pack_packet,
)
from somacast.coding.motion_stream import even_frames
from somacast.errors import BitstreamError
from somacast.network.congestion.feedback import parse_report
from somacast.network.congestion.rate_control import Controller, RateController
from somacast.network.transport.base import Lane
from somacast.pipeline.live.parts import Behind, next_look_bytes, part_bytes
from somacast.pipeline.live.peers import Peers
from somacast.systems.spec import FrameCoder

PACKET_BYTES = 14  # of a motion packet beside its payload
MAX_PAYLOAD_BYTES = MAX_PACKET_BYTES - 18  # with reference and copies
REMEMBERED_S = 4  # which frames a receiver has
MAX_STRIDE = 6
MAX_BATCH_S = 1.0  # how long a narrow link may make frames wait
MAX_WAITING = 32  # frames
FREE_BPS = 80_000  # from here on labels at full quality take less than half of the link
MAX_PART_BYTES, PART_HEAD_BYTES = MAX_PACKET_BYTES - 16, 9  # of what goes in parts, and beside it
LOOK_SHARE = 0.1  # of the rate, for a look whatever the motion leaves
RECENT_S = 2.0  # that the status tells of
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
        self._newest_s = 0.0
        self._moved_s = -1e9
        self._send = send
        self._encoder = coder.encoder()
        self._sequence = 0
        self._batch: list[tuple[float, np.ndarray]] = []  # waiting: newer frames thin them out, none is sent late
        self._turn = 0  # counts frames, for the stride
        self._sent: OrderedDict[int, tuple[list[int], int | None]] = OrderedDict()  # sequence -> ticks, reference
        self._roots: OrderedDict[int, int] = OrderedDict()  # tick -> of the key that its frame goes back to
        self._batches: deque[list[int]] = deque(maxlen=4)  # ticks of the newest packets
        self._last_tick = -1
        self._key_s = -1e9
        self._peers = Peers(controller, self.config.adapt)
        self._person: tuple[int, int, bytes] | None = None  # number, tick, container
        self._repeats: list[float] = []
        self._behind = Behind()
        self._look_bytes = 0  # that the newest look might have had
        self._part_s = 0.0  # when the newest part of a look went out
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
            if self._peers.credit(time_s, rate) < HEADER_SHARE * header and waited < MAX_BATCH_S:
                return
            if self._peers.wait_s(time_s, 2 * header) > 0:
                return
        self._flush(time_s)

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
        self._post_parts(time_s)

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
        peers = self._peers.active(time_s)
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
            loss = self._peers.loss
            count = 0 if loss < 0.01 else 1 if loss < 0.12 else 2
        newest = list(self._batches)[-count:] if count else []
        return [tick for tick in (ticks[len(ticks) // 2] for ticks in newest) if first_tick - tick <= MAX_COPY_TICKS]

    # the link

    def rate_bps(self, time_s: float) -> float | None:
        """What may go on the wire now, None without rate control."""
        return self._peers.rate_bps(time_s)

    def _lowest(self, time_s: float) -> int:
        """The network state that eq. 18 asks for, whole as long as labels are what fills the link: the more often all
        of them would fit, the less anybody is helped by coarser ones."""
        rate = self.rate_bps(time_s)
        if rate is None:
            return self.config.lowest_state
        return max(self.config.lowest_state, round(self._peers.network_state(time_s) * min(1.0, FREE_BPS / rate)))

    def _budget(self, time_s: float) -> int | None:
        """Payload bytes that the batch may have."""
        rate = self.rate_bps(time_s)
        if rate is None:
            return None
        return max(int(self._peers.credit(time_s, rate)) - self.config.header_bytes - PACKET_BYTES, 8)

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
        body: Body,
        lane: Lane,
        ticks: list[int] | None = None,
        reference: int | None = None,
    ) -> None:
        data = pack_packet(LivePacket(self._sequence, self.epoch, body), self.digest)
        if lane is Lane.LIVE:
            wire = len(data) + self.config.header_bytes
            self._peers.sent(time_s, self._sequence, wire)
            self._motion_bytes = wire if isinstance(body, Motion) else self._motion_bytes
            self._sent[self._sequence] = ticks or [], reference
            while len(self._sent) > 1024:
                self._sent.popitem(last=False)
            self._sequence = (self._sequence + 1) % TICK_SPAN
            self._recent.append((time_s, wire, len(ticks or [])))
            while self._recent[0][0] < time_s - RECENT_S:
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
        found = self._peers.hear(time_s, report, peer)
        if found is None:
            return
        known, new = found
        if new:
            self._key_s = -1e9  # somebody new can decode only what stands for itself
            if self._person is not None:
                self._repeats = [time_s, *self._repeats]
            self._behind.again()
        for sequence in reversed(report.arrived):
            ticks, reference = self._sent.get(sequence, ((), None))
            if reference is None or reference in known.has:  # else it arrived and could not be decoded
                known.has.update(ticks)
            known.parts |= self._behind.arrived(sequence)
        known.has = {tick for tick in known.has if tick > self._last_tick - REMEMBERED_S * TICKS_PER_S}

    def look(self, time_s: float, container: bytes, room_bytes: int) -> None:
        """A better or finer look: a .soma container of who it is with their picture, made for what `look_room` said. It
        takes the place of the one before; SomacastError for one that is too large for any receiver."""
        time_s = self._now(time_s)
        size = part_bytes(len(container), self.rate_bps(time_s), MAX_PART_BYTES)
        self._behind.put_look(container, size or MAX_PART_BYTES)
        self._look_bytes = room_bytes
        self._part_s = time_s
        for peer in self._peers.active(time_s):
            peer.parts.clear()
        self._post_parts(time_s)

    def look_room(self, time_s: float) -> int:
        """Bytes that the next look should have, 0 while the one before is on its way."""
        time_s = self._now(time_s)
        if not self._behind.through(self._owners(time_s)):
            return 0
        rate = self.rate_bps(time_s)
        moving_bps = sum(size for _, size, frames in self._recent if frames) * 8 / RECENT_S
        left_bps = math.inf if rate is None else max(rate - moving_bps, LOOK_SHARE * rate)
        return next_look_bytes(self._look_bytes, left_bps)

    def _owners(self, time_s: float) -> list[set[int]]:
        """Parts of the look that each receiver has."""
        return [peer.parts for peer in self._peers.active(time_s)]

    def picture(self, time_s: float, jpeg: bytes) -> bool:
        """The sender's own picture, in parts behind the motion as the link has room; False if it is too large, or the
        one before is not through."""
        time_s = self._now(time_s)
        size = part_bytes(len(jpeg), self.rate_bps(time_s), MAX_PART_BYTES) if jpeg else None
        if size is None or not self._behind.put_picture(jpeg, size):
            return False
        self._post_parts(time_s)
        return True

    def _post_parts(self, time_s: float) -> None:
        """Parts of a look or picture, while there is room for them and for the next packet of motion."""
        while (part := self._behind.next(time_s, self._owners(time_s))) is not None:
            wire = len(part.data) + PART_HEAD_BYTES + self.config.header_bytes
            if not self._room(time_s, wire) and not (isinstance(part, Look) and self._has_waited(time_s, wire)):
                return
            self._behind.sent(time_s, part, self._sequence, self._peers.round_trip_s(time_s))
            self._part_s = time_s if isinstance(part, Look) else self._part_s
            self._post(time_s, part, Lane.LIVE)

    def _room(self, time_s: float, wire: int) -> bool:
        rate = self.rate_bps(time_s)
        if rate is None:
            return True
        free = self._peers.credit(time_s, rate) >= wire + self._motion_bytes
        return free and self._peers.wait_s(time_s, wire) <= 0

    def _has_waited(self, time_s: float, wire: int) -> bool:
        """Whether the motion has left so little for so long that a part goes right behind a packet of it."""
        rate = self.rate_bps(time_s) or 0.0
        return self._moved_s == time_s and 8 * wire <= LOOK_SHARE * rate * (time_s - self._part_s)

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
        recent = [r for r in self._recent if r[0] > time_s - RECENT_S]
        return {
            "fps": sum(r[2] for r in recent) / RECENT_S, "kbit_s": sum(r[1] for r in recent) * 8 / 1000 / RECENT_S,
            "rate_bps": self.rate_bps(time_s), "network_state": self.state, "stride": self.stride,
            "loss": self._peers.loss, "round_trip_s": self._peers.round_trip_s(time_s),
            "peers": len(self._peers.active(time_s)), **vars(self.counts),
            "look_bytes": self._behind.look_bytes,
        }  # fmt: skip
