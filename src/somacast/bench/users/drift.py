"""Whether time is kept: films of any rate and length through a .soma video and back, frame by frame against the source.

What moves is a clock here: the one value of a frame is the time at which it was taken, coded without loss. So every
picture of a decoded film tells by itself which moment it shows.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np

from somacast.bitstream.packets import TICK_SPAN, Motion
from somacast.pipeline.video.clock import even_fps, even_times, mean_fps, shots
from somacast.pipeline.video.files import VideoWriter, read_video
from somacast.systems import registry
from somacast.systems.spec import ReceivedFrame

RATES_FPS = (12.5, 16.0, 24.0, 25.0, 26.0, 30 / 1.001, 30.0, 50.0, 60 / 1.001, 60.0, 120.0, 240.0)
PHONE = "phone"
_CONTAINER_S = 1e-3  # unit of times in Matroska and WebM, the coarsest


class ClockCoder:
    """A frame coder of one value, a time, that sends it as it is; every packet stands for itself."""

    system, digest, circular, scale, unreferenced = registry.DEFAULT, b"clk", np.zeros(1, bool), np.ones(1), 0

    def encoder(self) -> Any:
        return SimpleNamespace(encode=self._encode)

    def decoder(self) -> Any:
        return SimpleNamespace(unreferenced=0, decode=self._decode)

    def _encode(self, ticks: Sequence[int], values: np.ndarray, **_: Any) -> Motion:
        step = ticks[1] - ticks[0] if len(ticks) > 1 else 4
        return Motion(0, ticks[0] % TICK_SPAN, step, len(ticks), 0, 0, 0, np.asarray(values, "<f8").tobytes())

    def _decode(self, motion: Motion, tick: int) -> list[ReceivedFrame]:
        rows = np.frombuffer(motion.payload, "<f8")[:, None]
        return [ReceivedFrame(tick + k * motion.step, row, True) for k, row in enumerate(rows)]


def clock_film(times_s: np.ndarray, end_s: float) -> bytes:
    """The bytes of a film whose frames, at these times, show a clock."""
    coder, parts = ClockCoder(), []
    system: Any = SimpleNamespace(
        spec=SimpleNamespace(name=registry.DEFAULT), live=SimpleNamespace(coder=lambda: coder)
    )
    writer = VideoWriter(parts.append, system)
    for time_s in times_s:
        writer.frame(float(time_s), np.array([time_s]))
    writer.end(end_s)
    return b"".join(parts)


def source_times(rate: float | str, seconds: float, seed: int = 0) -> np.ndarray:
    """Times [T] as a container gives them: of a camera of even rate, or of a phone's, which wavers between 20 and 30
    frames a second and loses some."""
    if rate == PHONE:
        rng = np.random.default_rng(seed)
        steps = rng.uniform(1 / 31, 1 / 29, round(31 * seconds)) * np.where(
            rng.random(round(31 * seconds)) < 0.05, 2, 1
        )
        times_s = np.cumsum(steps * (1 + 0.2 * np.sin(np.arange(len(steps)) / 200))) - steps[0]
        times_s = times_s[(times_s >= 0) & (times_s < seconds)]
        times_s -= times_s[0]
    else:
        times_s = np.arange(round(float(rate) * seconds)) / float(rate)
    return np.round(times_s / _CONTAINER_S) * _CONTAINER_S


def follow(times_s: np.ndarray, end_s: float) -> dict[str, float]:
    """Frames of a source through a file and into a film, a keyed motion and an even one, each against the source."""
    coder: Any = ClockCoder()
    video = read_video(clock_film(times_s, end_s), coder)
    fps, mean = even_fps(video), mean_fps(video)
    plan = shots(video, fps)
    shown = np.array([video.at(shot.time_s, shot.stretch)[0] for shot in plan if shot.stretch is not None])
    laid_s = np.arange(len(plan)) / fps if fps else np.array([shot.time_s for shot in plan])
    count = min(len(shown), len(times_s))
    even_s = even_times(video, mean)
    even_s = even_s[:: max(len(even_s) // 5000, 1)]
    held = np.array([video.at(float(time_s), video.stretches[0])[0] for time_s in even_s])
    return {
        "film_drift_frames": float(np.abs(shown[:count] - times_s[:count]).max() * mean),
        "film_late_frames": float(np.abs(laid_s[:count] - times_s[:count]).max() * mean),
        "film_length_off_frames": abs(len(plan) - len(times_s)),
        "film_stand_still_share": float((np.diff(shown) <= 0).mean()),
        "keys_drift_frames": float(np.abs(video.times_s - times_s).max() * mean),
        "even_drift_frames": float(np.abs(held - even_s.clip(max=times_s[-1])).max() * mean),
        "length_off_frames": abs(video.end_s - end_s) * mean,
        "bytes_per_record_for_times": _time_bytes(video.records),
    }  # fmt: skip


def _time_bytes(records: Sequence[Any]) -> float:
    """Mean bytes that tell when the frames of a record were taken."""
    from somacast.bitstream.video import RecordWriter

    writer, spent = RecordWriter(ClockCoder.digest), 0
    for record in records:
        spent += len(writer.record(record)) - len(record.motion.payload) - 9  # length, kind, four numbers, check
    return spent / len(records)


def measure(minutes: float = 60.0, rates: Sequence[float | str] = (*RATES_FPS, PHONE)) -> dict[str, dict[str, float]]:
    """By rate: how far pictures, keys and even poses of the decoded film lie from the source's, in frames, at most;
    share of pictures that stand still while the source moves; bytes that times take."""
    out = {}
    for rate in rates:
        times_s = source_times(rate, 60 * minutes)
        step_s = float(np.median(np.diff(times_s)))
        name = rate if isinstance(rate, str) else f"{rate:.2f}"
        out[name] = follow(times_s, float(times_s[-1]) + step_s)
    return out


if __name__ == "__main__":
    import json
    import sys

    print(json.dumps(measure(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0), indent=1))
