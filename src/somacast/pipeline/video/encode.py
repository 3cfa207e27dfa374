"""Frames of a camera or film -> one person or several after each other, and their motion -> a VideoWriter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from somacast.errors import SomacastError
from somacast.pipeline.video.cuts import (
    OTHER_DELTA_E,
    OTHER_SCENE,
    Clothes,
    Cuts,
    clothes_of,
    difference,
    looking_ahead,
)
from somacast.pipeline.video.files import VideoWriter
from somacast.systems.spec import PicturingTracker, Tracker, TurningTracker
from somacast.types import Capture

LEARN_S = 0.4  # between the frames from which is learnt who it is
LOOK_S = 0.2  # between the frames that are looked at for the one that shows it best
AGAIN_S, RAREST_S = 2.0, 300.0  # from when on, and at least how often, is told better who it is
_NAMED = 5  # cuts in a note
ABSENT_S = 0.5  # nobody is seen for so long: nobody is there


@dataclass
class VideoReport:
    """What encoding a video found."""

    frames: int = 0
    lost: int = 0  # frames without a person
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


class _Best:
    """The frame that shows best who somebody is, for their picture."""

    def __init__(self, tracker: Tracker, look_bytes: int | None):
        self.tracker = tracker if isinstance(tracker, PicturingTracker) and look_bytes is not None else None
        self.look_bytes = look_bytes or 0
        self._observation: Any = None
        self._worth, self._looked_s = 0.0, -1e9

    def look(self, observation: Any, time_s: float) -> None:
        """Keep a frame, if it is better than those before."""
        if self.tracker is None or time_s - self._looked_s < LOOK_S:
            return
        self._looked_s = time_s
        worth = self.tracker.worth(observation)
        if worth > self._worth:
            self._observation, self._worth = observation, worth

    def layers(self) -> list[bytes] | None:
        """Layers of a still of it, with its picture; None if none has come since the last time, or no picture fits."""
        if self.tracker is None or self._observation is None:
            return None
        make, self._observation = self.tracker.still(self._observation), None
        encoded = make(self.look_bytes)
        return None if encoded is None else encoded.layers


class _Person:
    """Somebody in a film: who follows them, and what is known of who they are. look_bytes: that a file of who they are
    may have with their picture in it, None: no picture."""

    def __init__(self, number: int, tracker: Tracker, look_bytes: int | None):
        self.number, self.tracker = number, tracker
        self.clothes: Clothes = {}
        self.best = _Best(tracker, look_bytes)
        self.pictured = False
        self._learnt_s, self._written_s, self._gap_s = -1e9, -1e9, AGAIN_S
        self._container: bytes | None = None

    def learn(self, observation: Any, time_s: float, writer: VideoWriter) -> None:
        """Take a frame into account, now and then, and write who it is, ever more seldom."""
        if time_s - self._learnt_s >= LEARN_S:
            layers = self.tracker.learn(observation, time_s).layers
            self._container, self._learnt_s = writer.system.pack(layers), time_s
        self.best.look(observation, time_s)
        if time_s - self._written_s >= self._gap_s:
            self.write(writer)
            self._written_s, self._gap_s = time_s, min(2 * self._gap_s, RAREST_S)

    def write(self, writer: VideoWriter) -> None:
        """Write who it is, if more is known than was written, and no picture, which what is written last would hide."""
        if self._container and not self.pictured:
            writer.who(self._container)
        self._container = None

    def leave(self, writer: VideoWriter) -> None:
        """They are no longer to be seen: write who it is, with their picture."""
        layers = self.best.layers()
        if layers is not None:
            writer.who(writer.system.pack(layers))
            self.pictured = True
        self.write(writer)


class _Take:
    """What happens while the frames go by: who moves, and since when nobody is to be seen."""

    def __init__(self, writer: VideoWriter, tracker: Tracker, look_bytes: int | None):
        self.writer, self.look_bytes = writer, look_bytes
        self.people = [_Person(0, tracker, look_bytes)]
        self.person = self.people[0]
        self.newest_s, self.step_s = 0.0, 1 / 30
        self.lost_s: float | None = None
        self.absent_s = 0.0
        self.cuts_s: list[float] = []
        self._cuts = Cuts()
        self._last: np.ndarray | None = None  # the newest picture with somebody in it

    def tick(self, time_s: float) -> None:
        """A frame of this time comes."""
        step_s = time_s - self.newest_s
        if 0 < step_s < 1:
            self.step_s += 0.1 * (step_s - self.step_s) if self.newest_s else step_s - self.step_s
        self.newest_s = time_s

    def look_for_cut(self, time_s: float, image: np.ndarray, later: np.ndarray) -> None:
        """Turn to another person, or to the same one elsewhere, where the film cuts."""
        change = self._cuts.change(image, later)
        if not change or self._last is None or not isinstance(self.person.tracker, TurningTracker):
            return
        self.person.clothes = clothes_of(self._last) or self.person.clothes
        other = self._who(clothes_of(image), clothes_of(later))
        if other is not self.person:
            self.person.leave(self.writer)
            self.writer.turn(other.number)
            self.person = other
            self.cuts_s.append(time_s)
        elif change < OTHER_SCENE:
            return
        if isinstance(other.tracker, TurningTracker):
            other.tracker.cut()

    def _who(self, *looks: Clothes) -> _Person:
        """Whose clothes these are: those of who is there, of somebody who was, or of somebody new."""
        assert isinstance(self.person.tracker, TurningTracker)

        def unlike(person: _Person) -> float:
            return min(difference(person.clothes, look) for look in looks)

        if unlike(self.person) <= OTHER_DELTA_E:
            return self.person
        known = min(self.people, key=unlike)
        if unlike(known) > OTHER_DELTA_E:
            known = _Person(len(self.people), self.person.tracker.fresh(), self.look_bytes)
            known.clothes = looks[-1]
            self.people.append(known)
        return known

    def seen(self, time_s: float, image: np.ndarray, observation: Any) -> None:
        """Somebody is to be seen."""
        self._back(time_s)
        self._last = image
        self.person.learn(observation, time_s, self.writer)
        self.writer.frame(time_s, observation.moving)

    def nobody(self, time_s: float) -> None:
        """Nobody is."""
        self.lost_s = time_s if self.lost_s is None else self.lost_s

    def _back(self, time_s: float) -> None:
        if self.lost_s is not None and time_s - self.lost_s >= ABSENT_S:
            self.writer.absent(self.lost_s, time_s)
            self.absent_s += time_s - self.lost_s
        self.lost_s = None

    def end(self) -> None:
        """The film is over."""
        end_s = self.newest_s + self.step_s
        self.person.leave(self.writer)
        self._back(end_s)
        self.writer.end(end_s)


def _until_fault(captures: Iterable[tuple[float, Capture]], report: VideoReport) -> Iterator[tuple[float, Capture]]:
    """Captures until there are no more, or none can be had: what was seen before is kept."""
    count = 0
    try:
        for pair in captures:
            count += 1
            yield pair
    except SomacastError as fault:
        if not count:
            raise
        report.notes.append(f"the source ended early: {fault}")


def encode_video(
    captures: Iterable[tuple[float, Capture]],
    writer: VideoWriter,
    tracker: Tracker,
    progress: Callable[[int, float], None] = lambda frames, seconds: None,
    look_bytes: int | None = None,
) -> VideoReport:
    """Captures with their times into a writer, one at a time; tracker: of the writer's system; where the
    film cuts to somebody else another one is made, if it can be (`TurningTracker`); progress: called with
    frames and seconds so far; look_bytes: that who each of them is may have with the picture of the frame that shows it
    best, None: no picture. Times count from the first capture. SomacastError if no frame shows a person, and for a
    picture where the tracker makes none."""
    if look_bytes is not None and not isinstance(tracker, PicturingTracker):
        raise SomacastError(f"system {writer.system.name}: its videos hold no picture; expected no --budget-bytes")
    take, report = _Take(writer, tracker, look_bytes), VideoReport()
    fault: SomacastError | None = None
    start_s: float | None = None
    for (time_s, capture), (_, later) in looking_ahead(_until_fault(captures, report)):
        start_s = time_s if start_s is None else start_s
        now_s = time_s - start_s
        take.tick(now_s)
        report.seconds = now_s
        take.look_for_cut(now_s, capture.frame.image, later.frame.image)
        try:
            observation = take.person.tracker.look(capture, time_s)
        except SomacastError as nobody:
            report.lost, fault = report.lost + 1, nobody
            take.nobody(now_s)
            continue
        take.seen(now_s, capture.frame.image, observation)
        report.frames += 1
        progress(report.frames, report.seconds)
    if not report.frames:
        raise SomacastError(str(fault) if fault else "video: no frame in it")
    take.end()
    if take.cuts_s:
        when = ", ".join(f"{time_s:.1f}" for time_s in take.cuts_s[:_NAMED])
        more = ", ..." if len(take.cuts_s) > _NAMED else ""
        report.notes.append(f"the film cuts to somebody else at {when}{more} s: it holds {len(take.people)} people")
    plain = sum(not person.pictured for person in take.people)
    if look_bytes is not None and plain:
        who = "the person" if len(take.people) == 1 else f"{plain} of {len(take.people)} people"
        report.notes.append(f"{look_bytes} bytes hold no picture of {who}, or no frame shows one well enough")
    if report.lost:
        meanwhile = f"for {take.absent_s:.1f} s nobody is there" if take.absent_s else "the motion goes on over them"
        report.notes.append(f"{report.lost} of {report.lost + report.frames} frames show no person: {meanwhile}")
    return report
