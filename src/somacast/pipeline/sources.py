"""Where frames come from, under one interface: webcam, video, picture or a synthetic person.

    open_source("webcam:1" | "walk.mp4" | "me.jpg" | "synthetic:walking") -> Source
    source.due_s -> when to ask; source.next_frame(now_s) -> SourceFrame, or None at the end
    play(source) does both on the real clock

Live sources never queue: a frame that was not asked for in time is dropped. Only a webcam waits inside `next_frame`;
all others take the time from the caller, so that a simulated clock drives them too.
"""

from __future__ import annotations

import math
import os
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from somacast.capture.film import MAX_SIDE_PX, Film, Picture
from somacast.capture.kinds import FILMS, PICTURES, Kind, holds_film, kind_of
from somacast.capture.latest import LatestReader
from somacast.capture.pictures import read_image
from somacast.capture.video import open_video, open_webcam
from somacast.checks import shown
from somacast.errors import SomacastError
from somacast.types import Capture, Frame

if TYPE_CHECKING:
    from somacast.synthetic.walker import Truth, WalkerConfig

_WEBCAM, _SYNTHETIC = "webcam", "synthetic"
_ANY_TIME = -math.inf


@dataclass(frozen=True)
class SourceFrame:
    """time_s: of the source, 0 at its first frame; captured_s: of the caller's clock, when the picture was there;
    truth: of a synthetic person."""

    time_s: float
    captured_s: float
    frame: Frame
    truth: Truth | None = None


@dataclass(frozen=True)
class SourceOptions:
    """fps: of pictures, synthetic people, and as a wish of webcams; realtime: files play in real time and drop what
    comes late (False: every frame, as fast as asked); seconds: end after that (None: the source's own end);
    max_side_px: larger frames are reduced; size_px: of synthetic pictures; walker: all else about synthetic people."""

    fps: float = 30.0
    realtime: bool = True
    seconds: float | None = None
    max_side_px: int = MAX_SIDE_PX
    size_px: int = 384
    walker: WalkerConfig | None = None

    def __post_init__(self):
        if not 1 <= self.fps <= 240:
            raise SomacastError(f"fps: expected 1 to 240, got {self.fps}")
        if self.seconds is not None and not self.seconds > 0:
            raise SomacastError(f"seconds: expected above 0, got {self.seconds}")


class Source(ABC):
    """Frames of one camera, real or made. `live`: it goes on by itself and drops what nobody asked for; `dropped`: how
    many so far; `notes`: what the user should be told. Not for several threads."""

    live = True

    def __init__(self, name: str, seconds: float | None = None):
        self.name, self.seconds = name, math.inf if seconds is None else seconds
        self.dropped = 0
        self.notes: list[str] = []

    @property
    def due_s(self) -> float:
        """Time of the caller's clock from which `next_frame` gives a frame that is due; -inf: at any time."""
        return _ANY_TIME

    @abstractmethod
    def next_frame(self, now_s: float) -> SourceFrame | None:
        """The next frame, or the newest that is due at `now_s` where late ones are dropped; None at the end.

        A call before `due_s` gives the frame ahead of its time. Raises SomacastError where the source fails.
        """

    def close(self) -> None:  # noqa: B027, many sources hold nothing
        """Give files, threads and devices back; may be called again."""

    def __enter__(self) -> Source:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Paced(Source):
    """Frames on an even grid of times that starts with the first call."""

    def __init__(self, name: str, fps: float, realtime: bool, seconds: float | None):
        super().__init__(name, seconds)
        self.live, self.fps = realtime, fps
        self._start_s: float | None = None
        self._next = 0

    @property
    def due_s(self) -> float:
        return self._start_s + self._next / self.fps if self.live and self._start_s is not None else _ANY_TIME

    def next_frame(self, now_s: float) -> SourceFrame | None:
        if self._start_s is None:
            self._start_s = now_s
        number = self._next
        if self.live:  # a hair early still counts as this frame's time
            number = max(number, math.floor((now_s - self._start_s) * self.fps + 1e-6))
        self.dropped += number - self._next
        time_s = number / self.fps
        if time_s >= self.seconds:
            return None
        self._next = number + 1
        frame, truth = self._make(time_s)
        return SourceFrame(time_s, self._start_s + time_s if self.live else now_s, frame, truth)

    @abstractmethod
    def _make(self, time_s: float) -> tuple[Frame, Truth | None]: ...


class StillSource(_Paced):
    """One picture, again and again."""

    def __init__(self, path: Path, options: SourceOptions):
        super().__init__(str(path), options.fps, options.realtime, options.seconds)
        self._frame = _reduced(read_image(path), options.max_side_px)
        self.notes += self._frame.notes

    def _make(self, time_s: float) -> tuple[Frame, Truth | None]:
        return self._frame, None


class SyntheticSource(_Paced):
    """A synthetic person, with the truth. `walker` draws them."""

    def __init__(self, action: str, options: SourceOptions):
        super().__init__(f"synthetic:{action}", options.fps, options.realtime, options.seconds)
        from somacast.synthetic.walker import SyntheticWalker, WalkerConfig

        config = options.walker or WalkerConfig()
        self.walker = SyntheticWalker(replace(config, action=action, size_px=options.size_px, fps=options.fps))

    def _make(self, time_s: float) -> tuple[Frame, Truth | None]:
        return self.walker.frame(time_s), self.walker.truth(time_s)


class VideoFileSource(Source):
    """A video file, in real time or as fast as it is asked."""

    def __init__(self, path: Path, options: SourceOptions):
        super().__init__(str(path), options.seconds)
        self.live = options.realtime
        self._video: Film = open_video(path, options.max_side_px)
        self.notes = self._video.notes
        self.fps = self._video.fps
        self._pictures = iter(self._video)
        try:
            self._ahead: Picture | None = next(self._pictures)
        except SomacastError:
            self._video.close()
            raise
        self._start_s: float | None = None

    @property
    def due_s(self) -> float:
        if not self.live or self._start_s is None or self._ahead is None:
            return _ANY_TIME
        return self._start_s + self._ahead.time_s

    def next_frame(self, now_s: float) -> SourceFrame | None:
        if self._start_s is None:
            self._start_s = now_s
        picture, self._ahead = self._ahead, next(self._pictures, None)
        while self.live and self._ahead is not None and self._start_s + self._ahead.time_s <= now_s + 1e-6:
            picture, self._ahead = self._ahead, next(self._pictures, None)
            self.dropped += 1
        if picture is None or picture.time_s >= self.seconds:
            self.close()
            return None
        captured_s = self._start_s + picture.time_s if self.live else now_s
        return SourceFrame(picture.time_s, captured_s, Frame(picture.floats()))

    def close(self) -> None:
        self._ahead, self._pictures = None, iter(())
        self._video.close()


class WebcamSource(Source):
    """A camera. `next_frame` waits for a frame that is newer than the last one; `captured_s` and `due_s` are of
    time.monotonic, whatever clock the caller has."""

    def __init__(self, device: str, options: SourceOptions, opener: Callable[..., object] | None = None):
        super().__init__(f"webcam:{device}", options.seconds)
        video = open_webcam(device, fps=options.fps, max_side_px=options.max_side_px, opener=opener)
        self.notes = video.notes
        self._reader = LatestReader(video, video.close, name=self.name)
        self._first_s: float | None = None

    def next_frame(self, now_s: float) -> SourceFrame | None:
        taken = self._reader.take()
        self.dropped = self._reader.dropped
        if taken is None:
            return None
        self._first_s = taken.came_s if self._first_s is None else self._first_s
        time_s = taken.came_s - self._first_s
        if time_s >= self.seconds:
            self.close()
            return None
        return SourceFrame(time_s, taken.came_s, Frame(taken.item.floats()))

    def close(self) -> None:
        self._reader.close()


def _reduced(frame: Frame, max_side_px: int) -> Frame:
    """A frame whose longer side has at most max_side_px, by averaging blocks."""
    height, width = frame.image.shape[:2]
    factor = math.ceil(max(height, width) / max_side_px)
    if factor == 1:
        return frame

    def shrink(image: np.ndarray) -> np.ndarray:
        cut = image[: height // factor * factor, : width // factor * factor]
        blocks = cut.reshape(height // factor, factor, width // factor, factor, *image.shape[2:])
        return np.ascontiguousarray(blocks.mean((1, 3), dtype=np.float32))

    mask = None if frame.mask is None else shrink(frame.mask)
    return Frame(shrink(frame.image), mask, notes=frame.notes)


def _actions() -> tuple[str, ...]:
    """What synthetic people can do."""

    from somacast.synthetic.motion.builtin import BUILTIN_ACTIONS

    return tuple(BUILTIN_ACTIONS)


def open_source(spec: str, options: SourceOptions | None = None) -> Source:
    """The source that `spec` names: webcam, webcam:DEVICE, synthetic:ACTION, or the path of a video or picture.

    Raises SomacastError, one line, for anything else and for what cannot be opened.
    """
    options = options or SourceOptions()
    if _is_webcam(spec):
        return WebcamSource(spec.partition(":")[2] or "0", options)
    if spec.partition(":")[0] == _SYNTHETIC:
        action = spec.partition(":")[2]
        if action not in _actions():
            raise SomacastError(f"source {shown(spec)}: expected synthetic:{{{','.join(_actions())}}}")
        return SyntheticSource(action, options)
    path = Path(spec)
    if not spec or not os.path.exists(spec):  # False too for names that no file can have
        forms = f"webcam, webcam:1, a video, a picture, or synthetic:{{{','.join(_actions())}}}"
        raise SomacastError(f"source {shown(spec)}: no such file; expected {forms}")
    if is_picture(path):
        return StillSource(path, options)
    try:
        return VideoFileSource(path, options)
    except SomacastError as fault:
        if kind_of(path) is not Kind.UNKNOWN or not path.is_file() or not path.stat().st_size:
            raise
        try:  # a picture without a mark of its own
            return StillSource(path, options)
        except SomacastError:
            raise SomacastError(
                f"{path}: is not a picture and is not a video that can be read; expected {PICTURES}, or {FILMS}"
            ) from fault


def play(
    source: Source,
    stop: threading.Event | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[SourceFrame]:
    """All frames of a source on the real clock, each when it is due; ends early once `stop` is set; closes it."""
    stop = stop or threading.Event()
    with source:
        while not stop.is_set():
            wait_s = source.due_s - clock()
            if wait_s > 0 and stop.wait(wait_s):
                return
            found = source.next_frame(clock())
            if found is None:
                return
            yield found


def _is_webcam(spec: str) -> bool:
    """webcam or webcam:DEVICE, and no file whose name begins so."""
    kind, colon, device = spec.partition(":")
    return kind == _WEBCAM and bool(device or not colon)


def names_a_video(spec: str) -> bool:
    """Whether `spec` names something that moves: a synthetic person, a webcam, or a file that holds a film."""
    return _is_webcam(spec) or spec.startswith(f"{_SYNTHETIC}:") or is_video(Path(spec))


def is_picture(path: Path) -> bool:
    """Whether a file holds a picture, told by its content."""
    return kind_of(path) in (Kind.PICTURE, Kind.HEIC)


def is_video(path: Path) -> bool:
    """Whether a file holds a film or a picture that moves, told by its content."""
    return holds_film(path)


def captures_of(
    spec: str, options: SourceOptions, height_m: float | None = None
) -> tuple[Source, Iterator[tuple[float, Capture]]]:
    """A source, and all its frames with their times as fast as they are asked for; close the source behind them."""
    source = open_source(spec, options)

    def captures() -> Iterator[tuple[float, Capture]]:
        while (taken := source.next_frame(time.monotonic())) is not None:
            yield taken.time_s, Capture([taken.frame], height_m)

    return source, captures()
