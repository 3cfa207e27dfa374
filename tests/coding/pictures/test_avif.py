"""Bare AV1 frames of any size: what travels, what comes back, what is refused."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from somacast.coding.pictures import avif
from somacast.errors import BitstreamError, SomacastError


def picture(width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    waves = [127 + 100 * np.sin(x / 9 + k) * np.cos(y / 13 - k) for k in range(3)]
    return np.stack(waves, -1).astype(np.uint8)


@pytest.mark.parametrize("size", [(16, 32), (40, 96), (200, 64), (8, 384)])
def test_a_frame_comes_back_as_the_picture(size):
    pixels = picture(*size)
    frame = avif.encode(pixels, 55)
    back = avif.decode(frame, *size)
    assert back.shape == pixels.shape and np.abs(back.astype(int) - pixels).mean() < 4


def test_more_quality_takes_more_bytes_and_errs_less():
    pixels = picture(64, 128)
    frames = [avif.encode(pixels, quality) for quality in (2, 20, 40, 60)]
    errors = [np.abs(avif.decode(frame, 64, 128).astype(int) - pixels).mean() for frame in frames]
    assert sorted(map(len, frames)) == [len(frame) for frame in frames]
    assert sorted(errors, reverse=True) == errors


def test_only_the_frame_travels():
    """A grey picture is a handful of bytes: no container, no sequence header."""
    assert len(avif.encode(np.full((128, 64, 3), 90, np.uint8), 20)) < 20


@pytest.mark.parametrize(
    "pixels",
    [np.zeros((17, 32, 3), np.uint8), np.zeros((32, 32, 3), np.float32), np.zeros((32, 32), np.uint8),
     np.zeros((0, 8, 3), np.uint8)],
)  # fmt: skip
def test_pictures_of_other_kinds_are_refused(pixels):
    with pytest.raises(SomacastError, match="expected uint8 with sides of 8"):
        avif.encode(pixels, 30)


@pytest.mark.parametrize("frame", [b"", b"\0" * 40, bytes(range(256))])
def test_bytes_that_are_no_frame_are_refused(frame):
    with pytest.raises(BitstreamError):
        avif.decode(frame, 64, 64)


def test_a_frame_of_another_size_is_refused():
    frame = avif.encode(picture(64, 128), 30)
    with pytest.raises(BitstreamError):
        avif.decode(frame, 60, 128)
    # A decoder may find its way through a frame that was cut for other sides, but then gives these sides.
    with contextlib.suppress(BitstreamError):
        assert avif.decode(frame, 32, 32).shape == (32, 32, 3)
