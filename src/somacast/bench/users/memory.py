"""Memory of `encode` over films of growing length, each in a process of its own.

    python -m somacast.bench.users.memory FILM.mp4 [still]

Short films go through the real networks. An hour of film does too slowly for a benchmark: there the networks look at
the first frame only, and everything else (decoding, cuts, coding, writing) sees all of it.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from somacast.bench.speed.memory import peak_bytes
from somacast.pipeline.sources import SourceOptions, captures_of
from somacast.pipeline.video.encode import encode_video
from somacast.pipeline.video.journal import video_file
from somacast.systems import registry
from somacast.types import Capture, Encoded

SIDE_PX, FPS = 160, 30.0
FULL_PX, FULL_FPS = (640, 360), 5.0  # of the hour
_STILL = "still"


class StillTracker:
    """Looks at the first frame by a real tracker, and gives what it found there ever after."""

    def __init__(self, tracker: Any):
        self.notes: list[str] = []
        self._tracker, self._seen, self._who = tracker, None, None

    def warm_up(self) -> None:
        self._tracker.warm_up()

    def look(self, capture: Capture, time_s: float) -> Any:
        self._seen = self._seen or self._tracker.look(capture, time_s)
        return self._seen

    def learn(self, seen: Any, time_s: float) -> Encoded:
        self._who = self._who or self._tracker.learn(seen, time_s)
        return self._who


def encode(film: Path, still: bool) -> int:
    """Encode a film beside itself; the most bytes that this process has held."""
    system = registry.get(registry.DEFAULT)
    source, captures = captures_of(str(film), SourceOptions(realtime=False))
    tracker = system.tracker("cpu", careful=True)
    with source, video_file(film.with_suffix(".soma"), system) as (journal, writer):
        encode_video(captures, writer, StillTracker(tracker) if still else tracker)
        journal.finish()
    return peak_bytes() or 0


def _film(path: Path, seconds: float, fps: float, size_px: tuple[int, int]) -> None:
    """Somebody who walks, as a film; pictures of one loop come again."""
    from somacast.capture.video import write_video
    from somacast.synthetic.walker import SyntheticWalker, WalkerConfig

    width, height = size_px
    walker = SyntheticWalker(WalkerConfig(size_px=height, fps=min(fps, 30)))
    loop = []
    for k in range(min(round(seconds * fps), 40)):
        picture = np.full((height, width, 3), 0.4, np.float32)
        picture[:, (width - height) // 2 : (width + height) // 2] = walker.frame(k / fps).image
        loop.append((255 * picture).astype(np.uint8))
    there_and_back = [*loop, *loop[-2:0:-1]]
    frames = (there_and_back[k % len(there_and_back)] for k in range(round(seconds * fps)))
    write_video(path, frames, fps)


def measure(seconds: Sequence[float] = (1.0, 4.0, 16.0), hour_s: float = 3600.0) -> dict[str, dict[str, float]]:
    """Peak memory in bytes by length of the film: with all networks on every frame, and of an hour without."""
    out = {}
    with tempfile.TemporaryDirectory() as folder:
        for length, still in [*((length, False) for length in seconds), (seconds[0], True), (hour_s, True)]:
            film = Path(folder) / "film.mp4"
            fps, size_px = (FULL_FPS, FULL_PX) if still else (FPS, (SIDE_PX, SIDE_PX))
            _film(film, length, fps, size_px)
            command = [sys.executable, "-m", "somacast.bench.users.memory", str(film), *([_STILL] if still else [])]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            name = f"{length:g} s, " + ("networks on the first frame" if still else "networks on all frames")
            out[name] = {"frames": round(length * fps), "peak_bytes": json.loads(done.stdout.splitlines()[-1])}
    return out


if __name__ == "__main__":
    if len(sys.argv) > 1:
        print(encode(Path(sys.argv[1]), _STILL in sys.argv[2:]))
    else:
        print(json.dumps(measure(), indent=1))
