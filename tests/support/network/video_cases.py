"""Made-up films: values that move at any times, as .soma videos."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from somacast.errors import SomacastError
from somacast.pipeline.still.receiver import open_payload
from somacast.pipeline.video.files import VideoWriter
from somacast.types import Capture, Encoded
from support.network.live_cases import SYSTEM, coder, container
from support.network.motion_cases import moving

GOLDEN = Path(__file__).parents[2] / "bitstream" / "golden"


def written(film: Callable[[VideoWriter], None], end_s: float | None = None, kbit_s: float | None = None) -> bytes:
    """The bytes of what a function tells a writer."""
    parts: list[bytes] = []
    writer = VideoWriter(parts.append, SYSTEM, kbit_s)
    film(writer)
    writer.end(1e-3 if end_s is None else end_s)
    return b"".join(parts)


def film_at(times_s: np.ndarray, **options) -> bytes:
    """Somebody who walks, seen at these times."""
    values = moving()

    def film(writer: VideoWriter) -> None:
        writer.who(container())
        for time_s in times_s:
            writer.frame(float(time_s), values[round(float(time_s) * 30) % len(values)])

    return written(film, float(times_s[-1]) + 1e-3, **options)


def video(
    seconds: float = 3.0, fps: float = 30.0, kbit_s: float | None = None, who: bool = True, wild: bool = False
) -> bytes:
    """Somebody who walks; wild: who moves as no body does, which takes many bytes."""
    values, rng = moving(), np.random.default_rng(0)

    def film(writer: VideoWriter) -> None:
        if who:
            writer.who(container())
        for k in range(round(seconds * fps)):
            row = values[round(k * 30 / fps) % len(values)]
            writer.frame(k / fps, row + wild * rng.normal(size=len(row)) * coder().scale)

    return written(film, seconds, kbit_s)


class Watcher:
    """A tracker that sees somebody where a picture is bright."""

    notes = ()

    def look(self, capture: Capture, time_s: float):
        if capture.frame.image.mean() < 0.2:
            raise SomacastError("no person")
        return SimpleNamespace(moving=moving()[round(time_s * 30) % 120])

    def learn(self, seen, time_s: float) -> Encoded:
        return Encoded(open_payload(container())[0].layers)
