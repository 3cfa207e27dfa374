"""When the pictures of a film are shown that lies over its source frame by frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from somacast.pipeline.video.files import HOLD_S, Stretch, Video

USUAL_FPS = 30.0
MIN_FPS, MAX_FPS = 1.0, 240.0
_OFF_S, _OFF_SHARE = 0.0025, 0.25  # frames this near to an even grid, and to its step, lie on it
_OFF_FRAMES = 0.1  # over the whole film, by which a usual rate may differ from the one that is found
_SHARE_OF_FILLING = 2  # more pictures than this a frame, between frames, are not worth an even grid
_FREE_PICTURES = 3600


@dataclass(frozen=True)
class Shot:
    """A picture of somebody as they are at time_s in a stretch, or of nobody (None)."""

    time_s: float
    stretch: Stretch | None


def mean_fps(video: Video) -> float:
    """Frames a second of the source while somebody is to be seen, pauses left out; USUAL_FPS of a single frame."""
    steps = _steps(video)
    return float(np.clip(len(steps) / steps.sum(), MIN_FPS, MAX_FPS)) if len(steps) else USUAL_FPS


def _steps(video: Video) -> np.ndarray:
    """Seconds from frame to frame inside stretches and without pauses."""
    parts = [np.diff(video.times_s[one.first : one.stop]) for one in video.stretches]
    steps = np.concatenate([*parts, np.zeros(0)])
    return steps[steps <= HOLD_S]


def even_fps(video: Video) -> float | None:
    """The rate of a source whose frames lie on an even grid from 0 on, None if they do not, or if it would be mostly
    pictures in which nothing moves."""
    steps = _steps(video)
    if not len(steps):
        return USUAL_FPS
    step_s = float(np.median(steps))
    for _ in range(3):  # the longer the film, the finer the step is told by its end
        places = np.rint(video.times_s / step_s)
        step_s = float(video.times_s @ places / max(places @ places, 1))
    off_s = np.abs(video.times_s - np.rint(video.times_s / step_s) * step_s).max()
    pictures = video.end_s / step_s
    if off_s > min(_OFF_S, _OFF_SHARE * step_s) or not MIN_FPS <= round(1 / step_s, 3) <= MAX_FPS:
        return None
    if pictures > _SHARE_OF_FILLING * len(video.times_s) + _FREE_PICTURES:
        return None
    fps = 1 / step_s
    for usual in (round(fps), round(fps * 1.001) / 1.001):  # 29.97 is 30 / 1.001
        if abs(usual - fps) * video.end_s < _OFF_FRAMES:
            return float(usual)
    return min(fps, MAX_FPS)


def even_times(video: Video, fps: float) -> np.ndarray:
    """Times [N] from 0 to the end of the film, its last frame included."""
    return np.arange(max(round(video.end_s * fps), round(video.times_s[-1] * fps) + 1)) / fps


def shots(video: Video, fps: float | None) -> list[Shot]:
    """Pictures of the whole film: at even times, or, fps None, at the times of its frames and where somebody leaves."""
    if fps is not None:
        even_s = even_times(video, fps)
        nearest = np.searchsorted(video.times_s, even_s - 0.25 / fps).clip(max=len(video.times_s) - 1)
        near = np.abs(video.times_s[nearest] - even_s) <= 0.25 / fps  # else the grid's own time, between frames
        times_s = np.where(near, video.times_s[nearest], even_s).tolist()
        return [Shot(time_s, video.stretch_at(time_s)) for time_s in times_s]
    out = [Shot(0.0, None)]
    for one in video.stretches:
        out += [Shot(float(time_s), one) for time_s in video.times_s[one.first : one.stop]]
        out.append(Shot(one.end_s, None))
    times = {shot.time_s: shot for shot in out}  # who comes takes the place of who leaves
    return [times[time_s] for time_s in sorted(times) if time_s < video.end_s]
