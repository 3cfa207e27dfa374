"""What every reader of moving pictures gives: pictures with times, bounded in size."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from somacast.errors import SomacastError

MAX_SIDE_PX = 1280  # of what is handed on, unless told otherwise
MIN_SIDE_PX = 64
MAX_DECODED_PIXELS = 40_000_000  # held at once by a decoder: 8k has 33 million


class Picture(NamedTuple):
    """time_s: since the source's first frame, as the source says, rising; image [H, W, 3] uint8 sRGB."""

    time_s: float
    image: np.ndarray

    def floats(self) -> np.ndarray:
        """The image as `Frame` wants it: [H, W, 3] float32 in [0, 1]."""
        return self.image.astype(np.float32) / 255


class Film(ABC):
    """Iterates over the pictures of something that moves; also a context manager that closes it. Not for several
    threads.

    fps: mean frames per second as the container says, or None; notes: what the user should be told, complete at the
    end. Iterating raises SomacastError if no frame can be read.
    """

    fps: float | None = None

    def __init__(self, name: str, max_side_px: int = MAX_SIDE_PX):
        self.name, self.max_side_px = name, max_side_px
        self.notes: list[str] = []

    @abstractmethod
    def __iter__(self) -> Iterator[Picture]: ...

    @abstractmethod
    def close(self) -> None:
        """Give the file or device back; may be called again."""

    def __enter__(self) -> Film:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def check_side(max_side_px: int) -> None:
    """SomacastError for a longest side that leaves too little to see."""
    if max_side_px < MIN_SIDE_PX:
        raise SomacastError(f"longest side: expected at least {MIN_SIDE_PX} pixels, got {max_side_px}")


def check_frame_size(name: str, width: int, height: int) -> None:
    """SomacastError for frames that are too large to decode."""
    if width * height > MAX_DECODED_PIXELS:
        raise SomacastError(
            f"{name}: frames of {width} x {height} pixels are too large; expected at most "
            f"{MAX_DECODED_PIXELS // 1_000_000} MP"
        )


def fitted_size(name: str, width: float, height: float, max_side_px: int) -> tuple[int, int]:
    """Width and height in whole pixels, reduced to at most max_side_px; SomacastError if too little is left."""
    shrink = min(1.0, max_side_px / max(width, height))
    size = max(1, round(width * shrink)), max(1, round(height * shrink))
    if min(size) < MIN_SIDE_PX:
        raise SomacastError(
            f"{name}: {size[0]} x {size[1]} pixels are too few; expected at least {MIN_SIDE_PX} on the shorter side"
        )
    return size
