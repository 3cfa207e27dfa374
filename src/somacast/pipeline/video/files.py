"""Video in .soma files: frames -> one person and their motion -> file, and back to a person who moves.

frames -> Tracker -> VideoWriter -> bytes -> read_video -> rig and poses at times -> animated GLB, BVH, previews
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

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
from somacast.coding.motion_stream import MotionDecoder, MotionEncoder, even_frames
from somacast.errors import BitstreamError, SomacastError
from somacast.geometry.rig import Rig
from somacast.systems import registry
from somacast.systems.aflsc.live.motion import load_motion, motion_digest
from somacast.types import Frame, Semantics

SYSTEM = "aflsc"
BATCH_FRAMES = 30
KEY_S = 4.0  # a file can be cut and joined this often
GAP_S = 0.25  # a longer time without the person begins a new batch
MAX_FRAMES = 1 << 18  # of a file: two hours and a half at 30 frames a second
LEARN_S = 0.4  # between the frames from which is learnt who it is


class VideoWriter:
    """Values of the labels that move, frame by frame, to the bytes of a file. kbit_s: the most that motion may have on
    average over each packet, None: full quality."""

    def __init__(self, kbit_s: float | None = None):
        self.motion, self.digest, self.kbit_s = load_motion(), motion_digest(), kbit_s
        self._encoder = MotionEncoder(self.motion.model)
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
        ticks, values = even_frames(times, values, self.motion.model.circular, self._last_tick)
        alone = ticks[0] - self._key_tick >= KEY_S * TICKS_PER_S or ticks[0] - self._last_tick > TICKS_PER_S
        if alone:
            self._key_tick = ticks[0]
        span = (times[-1] - times[0]) * len(times) / max(len(times) - 1, 1) or 1 / 30
        budget = None if self.kbit_s is None else max(int(self.kbit_s * 1000 * span / 8) - 16, 16)
        body = self._encoder.encode(
            ticks, self.motion.indices(values), budget_bytes=budget, reference=None if alone else self._last_tick
        )
        self._last_tick = ticks[-1]
        self._put(body)

    def _put(self, body: Motion | Person) -> None:
        self._records.append(record(pack_packet(LivePacket(self._sequence % TICK_SPAN, 0, body), self.digest)))
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
        return video_head(SYSTEM, self.digest) + who + b"".join(moving)


@dataclass
class VideoReport:
    """What encoding a video found."""

    frames: int = 0
    lost: int = 0  # frames without a person
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


def encode_video(
    frames: Iterable[tuple[float, Frame]],
    tracker: Any,
    kbit_s: float | None = None,
    tell: Callable[[int, float], None] = lambda frames, seconds: None,
) -> tuple[bytes, VideoReport]:
    """Frames with their times to the bytes of a .soma video; tracker: an `aflsc.live.Tracker`; tell: called with frames
    and seconds so far. SomacastError if no frame shows a person."""
    writer, report = VideoWriter(kbit_s), VideoReport()
    semantics: Semantics | None = None
    fault, learnt_s, start_s = None, -1e9, None
    for time_s, frame in frames:
        start_s = time_s if start_s is None else start_s
        report.seconds = time_s - start_s
        try:
            seen = tracker.look(frame, time_s)
        except SomacastError as nobody:
            report.lost, fault = report.lost + 1, nobody
            continue
        writer.frame(time_s - start_s, seen.moving)
        report.frames += 1
        if time_s - learnt_s >= LEARN_S:
            semantics, learnt_s = tracker.learn(seen, time_s), time_s
        tell(report.frames, report.seconds)
    if semantics is None:
        raise SomacastError(str(fault) if fault else "video: no frame in it")
    if report.lost:
        report.notes.append(f"{report.lost} of {report.lost + report.frames} frames show no person; they are left out")
    return writer.data(registry.get(SYSTEM).pack(semantics)), report


@dataclass
class Video:
    """What a .soma video holds. times_s [T]; values [T, M] of the labels that move; who: symbols of all labels."""

    times_s: np.ndarray
    values: np.ndarray
    who: Semantics
    notes: list[str]
    packets: int

    def values_at(self, times_s: np.ndarray) -> np.ndarray:
        """Values [N, M] at any times, blended between frames; the first and last frame hold beyond them."""
        circular = load_motion().model.circular
        values = self.values.copy()
        values[:, circular] = np.unwrap(values[:, circular], axis=0)
        return np.stack([np.interp(times_s, self.times_s, column) for column in values.T], 1)


def read_video(data: bytes) -> Video:
    """The motion and the person of a .soma video. A cut file gives what is whole, with a note. BitstreamError for what
    is damaged, made for other weights, or without a person or a frame."""
    system, digest = read_head(data)
    if system != SYSTEM or digest != motion_digest():
        raise BitstreamError(
            f"expected a video of system {SYSTEM} for motion weights {motion_digest().hex()}, got one of {system} for "
            f"{digest.hex()}: sender and receiver need the same version of the package"
        )
    motion, notes = load_motion(), []
    decoder, tick, who = MotionDecoder(motion.model), Unwrapper(TICK_SPAN // 2), None
    found: dict[int, np.ndarray] = {}
    packets, used = 0, len(video_head(system, digest))
    for packet in read_records(data):
        used += len(packet) + 2
        packets += 1
        body = unpack_packet(packet, digest).body
        if isinstance(body, Person):
            who, more = registry.get(SYSTEM).unpack(body.container)
            notes += [note for note in more if note not in notes][:8]
        elif isinstance(body, Motion):
            start = tick(body.tick)
            for received in decoder.decode(body, body.tick if start is None else start):
                if received.own:
                    found[received.tick] = motion.values(received.pose)
            if len(found) > MAX_FRAMES:
                raise BitstreamError(f".soma video: expected at most {MAX_FRAMES} frames, got more")
    if used < len(data):
        notes.append(
            f"The file is cut ({used} of {len(data)} bytes are whole packets): the end of the motion is missing."
        )
    if who is None or not found:
        raise BitstreamError("damaged .soma video: expected a person and frames of motion, got none")
    times = np.array(sorted(found))
    return Video((times - times[0]) / TICKS_PER_S, np.stack([found[t] for t in times]), who, notes, packets)


@dataclass
class MovingPerson:
    """Rig in T-pose, what hangs on it, and label values to poses."""

    rig: Rig
    state: Any

    def pose(self, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Values [M] of the labels that move to world rotations [21, 3, 3] and the place of the pelvis [3] in metres,
        x right, y up, z to the camera, the camera at the origin."""
        motion = load_motion()
        full = np.array([label.mean for label in motion.space.vocabulary.labels])
        full[motion.columns] = values
        state = motion.space.state(full)
        x, y, log_depth = (float(v) for v in state.pelvis)
        depth = float(np.exp(np.clip(log_depth, -3, 5)))
        return state.rotations.astype(np.float64), np.array([x * depth, -y * depth, -depth])


def moving_person(decoder: Any, semantics: Semantics | None) -> MovingPerson:
    """Who it is (None: nobody has told yet) as a rig that poses can drive."""
    from somacast.systems.aflsc.live.tracker import live_rig

    return MovingPerson(*live_rig(decoder, semantics))
