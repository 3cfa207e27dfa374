"""Frames of a camera or film -> one person or several after each other, and their motion -> a VideoWriter."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from somacast.errors import SomacastError
from somacast.pipeline.video.files import VideoWriter
from somacast.systems.spec import Tracker
from somacast.types import Capture

LEARN_S = 0.4  # between the frames from which is learnt who it is
AGAIN_S, RAREST_S = 2.0, 300.0  # from when on, and at least how often, is told better who it is
ABSENT_S = 0.5  # nobody is seen for so long: nobody is there


@dataclass
class VideoReport:
    """What encoding a video found."""

    frames: int = 0
    lost: int = 0  # frames without a person
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)


class _Take:
    """What is told while the frames go by: who it is, seldom and ever better, and since when nobody is to be seen."""

    def __init__(self, writer: VideoWriter, tracker: Tracker):
        self.writer, self.tracker = writer, tracker
        self.newest_s, self.step_s = 0.0, 1 / 30
        self.lost_s: float | None = None
        self.absent_s = 0.0
        self._learnt_s, self._written_s, self._gap_s = -1e9, -1e9, AGAIN_S
        self._container: bytes | None = None

    def tick(self, time_s: float) -> None:
        """A frame of this time comes."""
        step_s = time_s - self.newest_s
        if 0 < step_s < 1:
            self.step_s += 0.1 * (step_s - self.step_s) if self.newest_s else step_s - self.step_s
        self.newest_s = time_s

    def seen(self, time_s: float, observation) -> None:
        self._back(time_s)
        if time_s - self._learnt_s >= LEARN_S:
            layers = self.tracker.learn(observation, time_s).layers
            self._container, self._learnt_s = self.writer.system.pack(layers), time_s
        if self._container and time_s - self._written_s >= self._gap_s:
            self._tell()
            self._written_s, self._gap_s = time_s, min(2 * self._gap_s, RAREST_S)
        self.writer.frame(time_s, observation.moving)

    def nobody(self, time_s: float) -> None:
        self.lost_s = time_s if self.lost_s is None else self.lost_s

    def _back(self, time_s: float) -> None:
        if self.lost_s is not None and time_s - self.lost_s >= ABSENT_S:
            self.writer.absent(self.lost_s, time_s)
            self.absent_s += time_s - self.lost_s
        self.lost_s = None

    def _tell(self) -> None:
        if self._container:
            self.writer.who(self._container)
            self._container = None

    def end(self) -> None:
        end_s = self.newest_s + self.step_s
        self._tell()
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
) -> VideoReport:
    """Captures with their times into a writer, one at a time; tracker: of the writer's system; progress: called with
    frames and seconds so far. Times count from the first capture. SomacastError if no frame shows a person."""
    take, report = _Take(writer, tracker), VideoReport()
    fault: SomacastError | None = None
    start_s: float | None = None
    for time_s, capture in _until_fault(captures, report):
        start_s = time_s if start_s is None else start_s
        now_s = time_s - start_s
        take.tick(now_s)
        report.seconds = now_s
        try:
            observation = tracker.look(capture, time_s)
        except SomacastError as nobody:
            report.lost, fault = report.lost + 1, nobody
            take.nobody(now_s)
            continue
        take.seen(now_s, observation)
        report.frames += 1
        progress(report.frames, report.seconds)
    if not report.frames:
        raise SomacastError(str(fault) if fault else "video: no frame in it")
    take.end()
    if report.lost:
        meanwhile = f"for {take.absent_s:.1f} s nobody is there" if take.absent_s else "the motion goes on over them"
        report.notes.append(f"{report.lost} of {report.lost + report.frames} frames show no person: {meanwhile}")
    return report
