"""Video in .soma files: frames -> one person and their motion -> file, and back to a person who moves.

captures -> Tracker -> VideoWriter -> bytes -> read_video -> values at times -> LiveBody -> animated GLB, BVH, previews
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from somacast.bitstream.packets import (
    TICK_SPAN,
    TICKS_PER_S,
    LivePacket,
    Motion,
    Person,
    Unwrapper,
    pack_packet,
    unpack_packet,
)
from somacast.bitstream.video import read_head, read_records, record, video_head
from somacast.coding.motion_stream import even_frames
from somacast.errors import BitstreamError, SomacastError
from somacast.pipeline.still.receiver import open_payload
from somacast.systems import registry
from somacast.systems.registry import System
from somacast.systems.spec import Tracker
from somacast.types import Capture, Encoded, Payload

BATCH_FRAMES = 30
KEY_S = 4.0  # a file can be cut and joined this often
GAP_S = 0.25  # a longer time without the person begins a new batch
MAX_FRAMES = 1 << 18  # of a file: two hours and a half at 30 frames a second
LEARN_S = 0.4  # between the frames from which is learnt who it is


class VideoWriter:
    """Values of what moves, frame by frame, to the bytes of a file. kbit_s: the most that motion may have on
    average over each packet, None: full quality."""

    def __init__(self, system: System, kbit_s: float | None = None):
        self.system, self.coder, self.kbit_s = system, system.live.coder(), kbit_s
        self._encoder = self.coder.encoder()
        self._records: list[bytes] = []
        self._times: list[float] = []
        self._values: list[np.ndarray] = []
        self._last_tick, self._key_tick = -1, -(1 << 30)
        self._sequence = 1  # 0 is who it is, which comes first in the file
        self._state = 0
        self.frames = 0

    def frame(self, time_s: float, values: np.ndarray) -> None:
        """One frame [M] at time_s >= 0, later than the one before."""
        if self._times and (time_s - self._times[-1] > GAP_S or len(self._times) == BATCH_FRAMES):
            self._flush()
        self._times.append(time_s)
        self._values.append(values)
        self.frames += 1

    def _flush(self) -> None:
        times, values = np.array(self._times), np.stack(self._values)
        self._times, self._values = [], []
        ticks, values = even_frames(times, values, self.coder.circular, self._last_tick)
        alone = ticks[0] - self._key_tick >= KEY_S * TICKS_PER_S or ticks[0] - self._last_tick > TICKS_PER_S
        if alone:
            self._key_tick = ticks[0]
        span = (times[-1] - times[0]) * len(times) / max(len(times) - 1, 1) or 1 / 30
        budget = None if self.kbit_s is None else max(int(self.kbit_s * 1000 * span / 8) - 16, 16)
        body = self._encoder.encode(ticks, values, budget_bytes=budget, reference=None if alone else self._last_tick)
        self._last_tick = ticks[-1]
        self._put(body)

    def _put(self, body: Motion | Person) -> None:
        self._records.append(record(pack_packet(LivePacket(self._sequence % TICK_SPAN, 0, body), self.coder.digest)))
        self._sequence += 1

    def data(self, container: bytes) -> bytes:
        """The whole file; container: a .soma file of a still that tells who it is. SomacastError without frames."""
        if self._times:
            self._flush()
        if not self._records:
            raise SomacastError("video: no frame with a person in it; expected one person, mostly visible")
        self._sequence = 0
        self._put(Person(0, 0, container))
        *moving, who = self._records
        return video_head(self.system.spec.name, self.coder.digest) + who + b"".join(moving)


@dataclass
class VideoReport:
    """What encoding a video found."""

    frames: int = 0
    lost: int = 0  # frames without a person
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


def encode_video(
    captures: Iterable[tuple[float, Capture]],
    system: System,
    tracker: Tracker,
    kbit_s: float | None = None,
    progress: Callable[[int, float], None] = lambda frames, seconds: None,
) -> tuple[bytes, VideoReport]:
    """Captures with their times to the bytes of a .soma video; tracker: of the system; progress: called with frames and
    seconds so far. SomacastError if no frame shows a person."""
    writer, report = VideoWriter(system, kbit_s), VideoReport()
    who: Encoded | None = None
    fault, learnt_s, start_s = None, -1e9, None
    for time_s, capture in captures:
        start_s = time_s if start_s is None else start_s
        report.seconds = time_s - start_s
        try:
            seen = tracker.look(capture, time_s)
        except SomacastError as nobody:
            report.lost, fault = report.lost + 1, nobody
            continue
        writer.frame(time_s - start_s, seen.moving)
        report.frames += 1
        if time_s - learnt_s >= LEARN_S:
            who, learnt_s = tracker.learn(seen, time_s), time_s
        progress(report.frames, report.seconds)
    if who is None:
        raise SomacastError(str(fault) if fault else "video: no frame in it")
    if report.lost:
        report.notes.append(f"{report.lost} of {report.lost + report.frames} frames show no person; they are left out")
    return writer.data(system.pack(who.layers)), report


@dataclass
class Video:
    """What a .soma video holds. times_s [T]; values [T, M] of what moves; who: as it was sent; circular [M] bool:
    columns that are angles."""

    times_s: np.ndarray
    values: np.ndarray
    who: Payload
    circular: np.ndarray
    notes: list[str]
    packets: int = 0

    def values_at(self, times_s: np.ndarray) -> np.ndarray:
        """Values [N, M] at any times, blended between frames; the first and last frame hold beyond them."""
        values = self.values.copy()
        values[:, self.circular] = np.unwrap(values[:, self.circular], axis=0)
        return np.stack([np.interp(times_s, self.times_s, column) for column in values.T], 1)


def still_video(payload: Payload, notes: list[str]) -> Video:
    """A still as a video of one frame."""
    coder = registry.get(payload.system).live.coder()
    return Video(np.zeros(1), coder.values(payload)[None], payload, coder.circular, notes)


def read_video(data: bytes) -> Video:
    """The motion and the person of a .soma video. A cut file gives what is whole, with a note. BitstreamError for what
    is damaged, made for other weights, or without a person or a frame; SomacastError for a system that is not
    installed or has no live half."""
    name, digest = read_head(data)
    coder = registry.get(name).live.coder()
    if digest != coder.digest:
        raise BitstreamError(
            f"expected a video of system {name} for motion weights {coder.digest.hex()}, got one for {digest.hex()}: "
            "sender and receiver need the same version of the package"
        )
    notes: list[str] = []
    decoder, tick, who = coder.decoder(), Unwrapper(TICK_SPAN // 2), None
    found: dict[int, np.ndarray] = {}
    packets, used = 0, len(video_head(name, digest))
    for packet in read_records(data):
        used += len(packet) + 2
        packets += 1
        body = unpack_packet(packet, digest).body
        if isinstance(body, Person):
            who, more = open_payload(body.container)
            notes += [note for note in more if note not in notes][:8]
        elif isinstance(body, Motion):
            start = tick(body.tick)
            received = decoder.decode(body, body.tick if start is None else start)
            found |= {one.tick: one.values for one in received if one.own}
            if len(found) > MAX_FRAMES:
                raise BitstreamError(f".soma video: expected at most {MAX_FRAMES} frames, got more")
    if used < len(data):
        notes.append(
            f"The file is cut ({used} of {len(data)} bytes are whole packets): the end of the motion is missing."
        )
    if who is None or not found:
        raise BitstreamError("damaged .soma video: expected a person and frames of motion, got none")
    times = np.array(sorted(found))
    values = np.stack([found[t] for t in times])
    return Video((times - times[0]) / TICKS_PER_S, values, who, coder.circular, notes, packets)
