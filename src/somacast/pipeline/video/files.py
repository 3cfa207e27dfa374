"""Video in .soma files: values of what moves -> records, as they come, and records -> the values at any time.

captures -> Tracker -> VideoWriter -> records -> read_video -> Video -> LiveBody -> animated GLB, BVH, film
"""

from __future__ import annotations

from array import array
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from somacast.bitstream.packets import TICKS_PER_S
from somacast.bitstream.video import (
    US_PER_S,
    Absent,
    End,
    Frames,
    Record,
    RecordReader,
    RecordWriter,
    Turn,
    Who,
    video_head,
)
from somacast.errors import BitstreamError, SomacastError
from somacast.pipeline.still.receiver import open_payload
from somacast.systems import registry
from somacast.systems.registry import System
from somacast.systems.spec import FrameCoder
from somacast.types import Payload

BATCH_FRAMES, BATCH_S = 60, 1.0  # of one record: whoever is killed loses no more
KEY_S = 4.0  # a file can be cut and joined, and is entered, this often
GAP_S = 0.25  # a longer time without a frame begins a new record
HOLD_S = 1.0  # frames farther apart are not blended: the earlier one stands, as in a film
_KEPT = 4  # groups of decoded frames


class VideoWriter:
    """Values of what moves, frame by frame, into a file. write: takes the bytes of each record as soon as it is whole,
    the head first; kbit_s: the most that motion may have on average over each record, None: full quality.

    Times are seconds since the start of the film and rise. Memory is that of one record.
    """

    def __init__(self, write: Callable[[bytes], object], system: System, kbit_s: float | None = None):
        self.system, self.coder, self.kbit_s = system, system.live.coder(), kbit_s
        self.frames, self.people = 0, 0
        self._encoder, self._records = self.coder.encoder(), RecordWriter(self.coder.digest)
        self._write = write
        self._times_us: list[int] = []
        self._values: list[np.ndarray] = []
        self._newest_us, self._written_us, self._key_us = -1, 0, -(1 << 60)
        self._last_tick = -1
        self._number = 0
        write(video_head(system.spec.name, self.coder.digest))

    def frame(self, time_s: float, values: np.ndarray) -> None:
        """One frame [M] at time_s >= 0, later than the one before."""
        time_us = max(round(time_s * US_PER_S), self._newest_us + 1, 0)
        if self._times_us:
            begun, last = self._times_us[0], self._times_us[-1]
            full = len(self._times_us) == BATCH_FRAMES or time_us - begun > BATCH_S * US_PER_S
            if full or time_us - last > GAP_S * US_PER_S:
                self.flush()
        self._times_us.append(time_us)
        self._values.append(values)
        self._newest_us = time_us
        self.frames += 1

    def who(self, container: bytes) -> None:
        """Who it is that moves now: a whole .soma file of a still, better than any before."""
        self.people += 1
        self._put(Who(self._number, container))

    def turn(self, number: int) -> None:
        """The frames that follow are of another person."""
        if number != self._number:
            self.flush()
            self._number, self._key_us = number, -(1 << 60)
            self._put(Turn(number))

    def absent(self, start_s: float, end_s: float) -> None:
        """Nobody was to be seen from start_s, behind the last frame, to end_s."""
        self.flush()
        start_us = max(round(start_s * US_PER_S), self._newest_us, 0)
        end_us = max(round(end_s * US_PER_S), start_us)
        self._newest_us = max(self._newest_us, end_us - 1)
        self._put(Absent(start_us, end_us))

    def end(self, time_s: float) -> None:
        """The film is over at time_s. SomacastError if it has no frame."""
        self.flush()
        if not self.frames:
            raise SomacastError("video: no frame with a person in it; expected one person, mostly visible")
        self._put(End(max(round(time_s * US_PER_S), self._newest_us + 1)))

    def flush(self) -> None:
        """Write what waits."""
        if not self._times_us:
            return
        times, values = self._times_us, np.stack(self._values)
        self._times_us, self._values = [], []
        count, span_us, last_tick = len(times), times[-1] - times[0], self._last_tick
        step = int(np.clip(round(span_us * TICKS_PER_S / US_PER_S / max(count - 1, 1)), 1, 255)) if count > 1 else 4
        pause_us = times[0] - self._written_us if self.frames > count else 1 << 60
        alone = times[0] - self._key_us >= KEY_S * US_PER_S or pause_us > HOLD_S * US_PER_S
        if alone:
            self._key_us = times[0]
        gap = step if alone else int(np.clip(round(pause_us * TICKS_PER_S / US_PER_S), 1, 255))
        ticks = [last_tick + gap + k * step for k in range(count)]
        span_s = span_us / US_PER_S * count / max(count - 1, 1) or 1 / 30
        budget = None if self.kbit_s is None else max(int(self.kbit_s * 1000 * span_s / 8) - 16, 16)
        motion = self._encoder.encode(ticks, values, budget_bytes=budget, reference=None if alone else last_tick)
        if motion.reference is None and not alone:  # a coder without references: ticks as a reader counts them
            ticks = [last_tick + motion.step + k * motion.step for k in range(count)]
        self._last_tick, self._written_us = ticks[-1], times[-1]
        self._put(Frames(tuple(times), motion, ticks[0]))

    def _put(self, record: Record) -> None:
        self._write(self._records.record(record))


@dataclass(frozen=True)
class Stretch:
    """Frames first .. stop - 1 of one person, who is to be seen without a break until end_s."""

    person: int
    first: int
    stop: int
    end_s: float


@dataclass
class Video:
    """What a .soma video holds.

    times_s [T]: of its frames since the first frame of the film, which may have shown nobody; end_s: when the film is
    over; stretches: who is to be seen when, in order (outside of them: nobody); people: by number, who it is, None
    where that was never told; circular [M] bool: columns of the values that are angles.
    """

    system: str
    times_s: np.ndarray
    end_s: float
    stretches: list[Stretch]
    people: dict[int, Payload | None]
    circular: np.ndarray
    notes: list[str]
    records: list[Frames] = field(default_factory=list, repr=False)
    starts: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64), repr=False)  # frame of each record, and T
    coder: FrameCoder | None = field(default=None, repr=False)
    _groups: OrderedDict[int, np.ndarray] = field(default_factory=OrderedDict, repr=False)

    def row(self, number: int) -> np.ndarray:
        """Values [M] of a frame. BitstreamError for a payload that no encoder makes."""
        record = int(np.searchsorted(self.starts, number, "right")) - 1
        while record and self.records[record].motion.reference is not None:
            record -= 1
        if record not in self._groups:
            self._groups[record] = self._decoded(record)
            while len(self._groups) > _KEPT:
                self._groups.popitem(last=False)
        return self._groups[record][number - int(self.starts[record])]

    def _decoded(self, first: int) -> np.ndarray:
        """Values [N, M] of a record that stands for itself and of those that go back to it."""
        assert self.coder is not None
        decoder, rows = self.coder.decoder(), []
        for place in range(first, len(self.records)):
            record = self.records[place]
            if place > first and record.motion.reference is None:
                break
            frames = [one.values for one in decoder.decode(record.motion, record.tick) if one.own]
            if len(frames) != record.motion.count:
                raise BitstreamError("damaged .soma video: frames refer to some that are not there")
            rows += frames
        return np.stack(rows)

    @property
    def values(self) -> np.ndarray:
        """All values [T, M]."""
        return np.stack([self.row(number) for number in range(len(self.times_s))])

    def stretch_at(self, time_s: float) -> Stretch | None:
        """Who is to be seen at a time, None: nobody."""
        for one in self.stretches:
            if self.times_s[one.first] <= time_s < one.end_s:
                return one
        return None

    def at(self, time_s: float, stretch: Stretch) -> np.ndarray:
        """Values [M] at any time, blended between frames of a stretch that lie near; its ends hold beyond them."""
        after = stretch.first + int(np.searchsorted(self.times_s[stretch.first : stretch.stop], time_s, "right"))
        if after == stretch.first or after == stretch.stop:
            return self.row(min(after, stretch.stop - 1))
        before_s, after_s = self.times_s[after - 1], self.times_s[after]
        here = self.row(after - 1)
        share = (time_s - before_s) / (after_s - before_s)
        if after_s - before_s > HOLD_S or share == 0:
            return here
        step = self.row(after) - here
        turned = (step + np.pi) % (2 * np.pi) - np.pi
        return here + share * np.where(self.circular, turned, step)


def still_video(payload: Payload, notes: list[str]) -> Video:
    """A still as a video of one frame."""
    coder = registry.get(payload.system).live.coder()
    video = Video(payload.system, np.zeros(1), 1 / 30, [Stretch(0, 0, 1, 1 / 30)], {0: payload}, coder.circular, notes)
    video.records, video.starts = [], np.array([0, 1])
    video._groups[0] = coder.values(payload)[None]
    return video


class _Timeline:
    """Records in order to stretches and times."""

    def __init__(self) -> None:
        self.times_us, self.stretches = array("q"), []
        self.number, self.first, self.end_us, self.ended = 0, 0, 0, False

    def frames(self, times_us: tuple[int, ...]) -> None:
        self.times_us.extend(times_us)
        self.end_us = times_us[-1]

    def close(self, until_us: int) -> None:
        """The stretch, if one is open, ends."""
        if len(self.times_us) > self.first:
            self.stretches.append(Stretch(self.number, self.first, len(self.times_us), until_us / US_PER_S))
            self.first = len(self.times_us)
        self.end_us = max(self.end_us, until_us)

    def step_us(self) -> int:
        """Usual time from frame to frame."""
        recent = np.diff(np.frombuffer(self.times_us, np.int64)[-64:])
        return int(np.median(recent)) if len(recent) else US_PER_S // 30


def read_video(data: bytes, coder: FrameCoder | None = None) -> Video:
    """The motion and the people of a .soma video; data: the file, or anything that is sliced like bytes. A cut file
    gives what is whole, with a note. coder: in place of that of the system.

    BitstreamError for what is damaged, made for other weights, or without a frame; SomacastError for a system that is
    not installed or has no live half.
    """
    reader, notes = RecordReader(data), []
    coder = coder or registry.get(reader.system).live.coder()
    if reader.digest != coder.digest:
        raise BitstreamError(
            f"expected a video of system {reader.system} for motion weights {coder.digest.hex()}, got one for "
            f"{reader.digest.hex()}: sender and receiver need the same version of the package"
        )
    line, people, records, starts = _Timeline(), {}, [], array("q")
    number, turned = 0, False
    for record in reader:
        if isinstance(record, Frames):
            if turned:
                line.close(record.times_us[0])
                line.number, turned = number, False
            starts.append(len(line.times_us))
            records.append(record)
            line.frames(record.times_us)
        elif isinstance(record, Who):
            people[record.number] = record.container
        elif isinstance(record, Absent):
            line.close(record.start_us)
            line.end_us = record.end_us
        elif isinstance(record, Turn):
            number, turned = record.number, True
        elif isinstance(record, End):
            line.close(record.time_us)
            line.ended = True
    if not records:
        raise BitstreamError("damaged .soma video: expected a person and frames of motion, got none")
    if not line.ended:
        line.close(line.times_us[-1] + line.step_us() if line.first < len(line.times_us) else line.end_us)
    if records[0].motion.reference is not None:
        raise BitstreamError("damaged .soma video: its first frame refers to one before it")
    if reader.cut:
        notes.append(
            f"The file is cut ({reader.used} of {len(data)} bytes are whole records): the end of the motion is missing."
        )
    elif not line.ended and reader.version > 3:
        notes.append("The file was not ended: whoever wrote it stopped before its time, and what was written is here.")
    known: dict[int, Payload | None] = {}
    for person in dict.fromkeys(one.person for one in line.stretches):
        known[person], more = open_payload(people[person]) if person in people else (None, [])
        if person not in people:
            more = ["The file does not tell who moves: somebody average stands in."]
        notes += [note for note in more if note not in notes]
    starts.append(len(line.times_us))
    times_s = np.frombuffer(line.times_us, np.int64) / US_PER_S
    return Video(
        reader.system, times_s, line.end_us / US_PER_S, line.stretches, known, coder.circular, notes, records,
        np.frombuffer(starts, np.int64), coder,
    )  # fmt: skip
