"""Files that troubled users: is each taken for what it is, and read as it is meant?"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from somacast.capture.masks import INVERTED
from somacast.capture.pictures import read_image
from somacast.capture.video import open_video
from somacast.errors import SomacastError
from somacast.pipeline.sources import SourceOptions, StillSource, names_a_video, open_source

FILMS = {  # frames and seconds from the first to the last
    "base.mp4": (24, 0.767), "clip.mts": (24, 0.767), "clip.3gp": (24, 0.767), "hlg_phone.mov": (24, 0.767),
    "rate25_pal.mp4": (1000, 39.96), "rate16.mp4": (320, 19.9375), "rate240_slomo.mp4": (720, 2.996),
    "gap300s.mp4": (90, 301.467), "enters_after_3s.mp4": (210, 6.967), "cut_two_people.mp4": (120, 3.967),
    "upper_body.mp4": (60, 1.967), "jumping_5fps.mp4": (50, 9.8),
}  # fmt: skip
STILLS = ("person.jpg", "photo.jfif", "webcam_me.jpg", "screenshot_rounded.png")
TOLERANCE_S = 0.02
REDS = (200, 80)  # of pure red: at least so much red, at most so much of the others


def _film(path: Path, frames: int, last_s: float) -> bool:
    times = [picture.time_s for picture in open_video(path)]
    return names_a_video(str(path)) and len(times) == frames and abs(times[-1] - last_s) < TOLERANCE_S


def _still(path: Path) -> bool:
    with open_source(str(path), SourceOptions(realtime=False)) as source:
        alike = isinstance(source, StillSource)
    return alike and not names_a_video(str(path)) and read_image(path).mask is None


def _red(path: Path) -> bool:
    """Whether the pure red in the corner reads as red."""
    corner = next(iter(open_video(path))).image[4:12, 4:12].reshape(-1, 3).mean(0)
    return bool(corner[0] >= REDS[0] and max(corner[1:]) <= REDS[1])


def _mask(folder: Path) -> bool:
    """Whether a mask whose alpha holds it is that, and the photograph itself none."""
    frame = read_image(folder / "person.jpg", folder / "mask_white_on_transparent.png")
    held = frame.mask is not None and 0.05 < float(np.mean(frame.mask)) < 0.6 and INVERTED not in frame.notes
    try:
        read_image(folder / "person.jpg", folder / "person.jpg")
    except SomacastError:
        return held
    return False


def measure(folder: Path) -> dict[str, Any]:
    """Every file of a folder of users' troubles by name: whether the expected outcome is reached, or the error; and
    how many of how many are."""
    cases: dict[str, Callable[[], bool]] = {
        **{name: lambda n=name, e=expected: _film(folder / n, *e) for name, expected in FILMS.items()},
        **{name: lambda n=name: _still(folder / n) for name in STILLS},
        "hlg_phone.mov, its red": lambda: _red(folder / "hlg_phone.mov"),
        "mask_white_on_transparent.png": lambda: _mask(folder),
    }
    out: dict[str, Any] = {}
    for name, holds in cases.items():
        try:
            out[name] = holds()
        except SomacastError as fault:
            out[name] = str(fault)
    return {"reached": sum(value is True for value in out.values()), "cases": len(out), "by_file": out}
