"""The live receiver without clock, sockets and networks: datagrams in, what to show out.

take(lane, data, time_s) -> motion into the playout, who it is, looks; pose(time_s); report(time_s) for the sender
"""

from __future__ import annotations

from collections import OrderedDict, deque
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from somacast.bitstream.packets import (
    MAX_LOOK_BYTES,
    MAX_PACKET_BYTES,
    MAX_PARTS,
    TICKS_PER_S,
    Body,
    LivePacket,
    Look,
    Motion,
    Person,
    Picture,
    Unwrapper,
    unpack_packet,
)
from somacast.errors import BitstreamError, SomacastError
from somacast.network.congestion.feedback import FeedbackRecorder
from somacast.network.transport.base import Lane
from somacast.pipeline.live.parts import Assembly
from somacast.pipeline.live.playout import Playout, PlayoutConfig
from somacast.pipeline.still.receiver import open_payload
from somacast.systems.spec import FrameCoder, FrameDecoder
from somacast.types import Payload

REPLAY_WINDOW = 2048  # sequence numbers that are remembered; what is older is not let in
SILENCE_S = 0.5  # of a sender before another start of it (epoch) or other numbers are believed
ENDED_SILENCE_S = 0.2  # the same, of one that has said goodbye: motion after that takes it back
REBORN_S, REBORN_PACKETS = 1.0, 4  # old numbers and nothing else: another start that drew the same epoch
SAME_NUMBER = 4  # different packets of one sequence number are let in
STARTS = 4  # of a sender that are remembered, so that packets of those before are replays
MAX_PICTURE_BYTES = MAX_PARTS * MAX_PACKET_BYTES
RATE_WINDOW_S = 2.0


@dataclass
class Counts:
    """What came and what became of it."""

    received: int = 0
    received_bytes: int = 0
    damaged: int = 0
    replayed: int = 0
    stale: int = 0  # of an earlier start of the sender
    undecodable: int = 0  # refers to a frame that never came
    frames: int = 0
    repaired: int = 0  # frames known only by a coarse copy
    restarts: int = 0


@dataclass(frozen=True)
class Shown:
    """What is to be seen at a moment: values [M] of the labels that move, the sender's time, seconds since the newest
    frame was due (above 0: nothing new has come in time)."""

    values: np.ndarray
    sender_s: float
    overdue_s: float


@dataclass
class _Stream:
    """One start of a sender."""

    epoch: int
    decoder: FrameDecoder
    looks: Assembly = field(default_factory=lambda: Assembly(MAX_LOOK_BYTES))
    sequence: Unwrapper = field(default_factory=Unwrapper)
    tick: Unwrapper = field(default_factory=Unwrapper)
    seen: dict[int, tuple[int, ...]] = field(default_factory=dict)  # by number: hashes of what came under it
    heard_s: float = 0.0  # newest motion that has its place in time
    old: int = 0  # packets since then that were replays, or had none

    def time(self, wrapped: int) -> int | None:
        """A tick of the packet that has just been let in; only the newest one can set the sender's clock."""
        return self.tick(wrapped, self.sequence.last == self.sequence.newest)

    def fresh(self, wrapped: int, data: bytes, time_s: float) -> bool:
        """Whether a packet with this sequence number is none that has come. Numbers far off are a new beginning only
        while nothing else comes; a number can be forged before its time, and does not keep the right one out."""
        number = self.sequence(wrapped, time_s - self.heard_s >= SILENCE_S)
        newest, mark = self.sequence.newest or 0, hash(data)
        known = () if number is None else self.seen.get(number, ())
        if number is None or number <= newest - REPLAY_WINDOW or mark in known or len(known) == SAME_NUMBER:
            self.old += 1
            return False
        self.seen[number] = (*known, mark)
        if len(self.seen) > 2 * REPLAY_WINDOW:
            self.seen = {n: marks for n, marks in self.seen.items() if newest - REPLAY_WINDOW < n <= newest}
        return True


class LiveReceiver:
    """One sender's stream. Whatever bytes come, `take` raises nothing and memory stays bounded."""

    def __init__(self, coder: FrameCoder, playout: PlayoutConfig | None = None):
        self.coder, self.digest = coder, coder.digest
        self.playout = Playout(coder.circular, playout)
        self.recorder = FeedbackRecorder()
        self.counts = Counts()
        self.notes: deque[str] = deque(maxlen=8)
        self.person: Payload | None = None
        self.person_number = -1
        self.look: Payload | None = None  # who it is with their picture: the newest
        self.look_bytes, self.look_s = 0, 0.0  # size of its container, and when it was whole
        self._look_epoch = -1
        self.picture: bytes | None = None
        self.ended = False
        self.network_state = 0
        self._stream: _Stream | None = None
        self._starts: OrderedDict[int, _Stream] = OrderedDict()  # by epoch, the newest last
        self._container = b""
        self._missing = coder.missing(None)
        self._pictures = Assembly(MAX_PICTURE_BYTES)
        self._recent: deque[tuple[float, int, int, int | None]] = deque()  # time, bytes, frames, number

    @property
    def epoch(self) -> int | None:
        """Of the sender's start that is alive, None before the first packet."""
        return None if self._stream is None else self._stream.epoch

    def take(
        self,
        lane: Lane,
        data: bytes,
        time_s: float,
        wire_bytes: int | None = None,
        times_s: tuple[float, ...] | None = None,
    ) -> None:
        """One datagram that came at time_s; wire_bytes: with the headers of lower layers; times_s: of the frames in a
        packet that comes from a file: its ticks tell none, and it may be longer than a datagram."""
        self.counts.received += 1
        self.counts.received_bytes += len(data)
        try:
            packet = unpack_packet(data, self.digest)
            if not isinstance(packet.body, Person) and (
                lane is not Lane.LIVE or (len(data) > MAX_PACKET_BYTES and times_s is None)
            ):
                raise BitstreamError("live packet: too long, or on a lane that is not its own")
            stream = self._admit(packet, data, lane, time_s)
            if stream is None:
                return
            if lane is Lane.LIVE:
                self.recorder.arrived(packet.sequence, time_s, wire_bytes or len(data))
            frames = self._use(stream, packet.body, time_s, times_s)
            number = stream.sequence.last if lane is Lane.LIVE else None
            self._recent.append((time_s, wire_bytes or len(data), frames, number))
            while self._recent[0][0] < time_s - RATE_WINDOW_S:
                self._recent.popleft()
        except SomacastError as fault:
            self.counts.damaged += 1
            self._note(str(fault))

    def _note(self, text: str) -> None:
        if text not in self.notes:
            self.notes.append(text)

    def _admit(self, packet: LivePacket, data: bytes, lane: Lane, time_s: float) -> _Stream | None:
        """The stream a packet belongs to, None if it is to be ignored: a replay, or of another start of the sender
        while this one is alive. Nothing that is ignored keeps a stream alive."""
        stream = self._stream
        if stream is None or stream.epoch != packet.epoch:
            silence_s = ENDED_SILENCE_S if self.ended else SILENCE_S
            if stream is not None and time_s - stream.heard_s < silence_s:
                self.counts.stale += 1
                return None
            stream = self._starts.get(packet.epoch) or self._start(packet.epoch)
        if lane is Lane.LIVE:
            fresh = stream.fresh(packet.sequence, data, time_s)
            if stream.old >= REBORN_PACKETS and time_s - stream.heard_s >= REBORN_S:
                stream = self._start(packet.epoch)
                stream.fresh(packet.sequence, data, time_s)
            elif not fresh:
                self.counts.replayed += 1
                return None
        if stream is not self._stream:
            self._turn_to(stream, time_s)
        return stream

    def _start(self, epoch: int) -> _Stream:
        return _Stream(epoch, self.coder.decoder())

    def _turn_to(self, stream: _Stream, time_s: float) -> None:
        """Another start of the sender is the one that is alive."""
        if self._stream is not None:
            self.counts.restarts += 1
            self.recorder = FeedbackRecorder()
            self.playout.reset()
        self._stream = self._starts[stream.epoch] = stream
        stream.heard_s = max(stream.heard_s, time_s)
        self._starts.move_to_end(stream.epoch)
        while len(self._starts) > STARTS:
            self._starts.popitem(last=False)
        self.ended, self.person_number = False, -1

    def _use(self, stream: _Stream, body: Body, time_s: float, times_s: tuple[float, ...] | None) -> int:
        """Act on a packet; how many frames it brought."""
        if isinstance(body, Motion):
            return self._move(stream, body, time_s, times_s)
        if isinstance(body, Person):
            self._meet(stream, body)
        elif isinstance(body, Look):
            self._see(stream, body, time_s)
        elif isinstance(body, Picture):
            self.picture = self._pictures.take(body.picture, body.part, body.parts, body.data) or self.picture
        else:
            self.ended = True
        return 0

    def _move(self, stream: _Stream, body: Motion, time_s: float, times_s: tuple[float, ...] | None) -> int:
        before, tick = stream.decoder.unreferenced, stream.time(body.tick)
        if tick is None:
            stream.old += 1
            return 0
        frames = stream.decoder.decode(body, tick)
        self.ended, stream.old, stream.heard_s = False, 0, max(stream.heard_s, time_s)
        self.counts.undecodable += stream.decoder.unreferenced - before
        self.network_state = body.state
        if times_s is None:
            times = [one.tick / TICKS_PER_S for one in frames]
        else:
            frames = [one for one in frames if one.own][: len(times_s)]
            times = list(times_s[: len(frames)])
        new = [not self.playout.has(t) for t in times]
        self.counts.repaired += sum(unknown and not one.own for unknown, one in zip(new, frames, strict=True))
        self.playout.add(time_s, times, [one.values for one in frames], [one.own for one in frames])
        own = sum(one.own for one in frames)
        self.counts.frames += own
        return own

    def _meet(self, stream: _Stream, body: Person) -> None:
        if self._look_epoch != stream.epoch:  # somebody else's, maybe: they may not want to be seen
            self.look = None
        if body.person == self.person_number and body.container == self._container:
            return
        self.person, self._missing = self._opened(body.container)
        self.person_number, self._container = body.person, body.container

    def _see(self, stream: _Stream, body: Look, time_s: float) -> None:
        container = stream.looks.take(body.look, body.part, body.parts, body.data)
        if container is None:
            return
        try:
            look, _ = self._opened(container)
        except SomacastError as fault:
            raise BitstreamError(f"a look was dropped: {fault}") from None
        if look.announced:
            raise BitstreamError(f"a look was dropped: {len(look.layers)} of its {look.announced} layers are whole")
        if look == self.look:  # told again
            return
        self.look, self._look_epoch, self.look_bytes, self.look_s = look, stream.epoch, len(container), time_s

    def _opened(self, container: bytes) -> tuple[Payload, dict[str, int]]:
        """Who it is, and what lacks of it; BitstreamError for what cannot be decoded, before anybody builds it."""
        payload, _ = open_payload(container)
        if payload.system != self.coder.system:
            raise BitstreamError(f"person packet: expected one of system {self.coder.system}, got {payload.system}")
        return payload, self.coder.missing(payload)

    def pose(self, time_s: float) -> Shown | None:
        """What to show at time_s; None before the first frame."""
        found = self.playout.show(time_s)
        return None if found is None else Shown(*found)

    def report(self, time_s: float) -> bytes:
        """The feedback for the sender."""
        return self.recorder.report(time_s)

    def missing(self) -> dict[str, int]:
        """What of who it is has not come, by group: the receiver guesses it."""
        return dict(self._missing)

    def status(self, time_s: float) -> dict[str, Any]:
        """fps, kbit_s, bytes_per_frame, network_state, loss of the last two seconds, counts, missing groups, notes."""
        recent = [r for r in self._recent if r[0] > time_s - RATE_WINDOW_S]
        span = RATE_WINDOW_S
        size, frames = sum(r[1] for r in recent), sum(r[2] for r in recent)
        numbers = {r[3] for r in recent if r[3] is not None}
        return {
            "fps": frames / span,
            "kbit_s": 8 * size / span / 1000,
            "bytes_per_frame": sum(r[1] for r in recent if r[2]) / frames if frames else None,
            "network_state": self.network_state,
            "loss": 1 - len(numbers) / (max(numbers) - min(numbers) + 1) if numbers else 0.0,
            "missing": self.missing(),
            "look_bytes": self.look_bytes if self.look else 0,
            "look_age_s": time_s - self.look_s if self.look else None,
            "alive": self._stream is not None and time_s - self._stream.heard_s < 2.0,
            "notes": list(self.notes),
            **vars(self.counts),
        }
