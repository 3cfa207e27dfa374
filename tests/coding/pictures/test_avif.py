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


# A frame of `picture(32, 64)` at quality 20, as it was written once: it must decode on every machine for ever.
FRAME = bytes.fromhex(
    "1ac01861860400b728db269731f1d65304f46f377ea6473741fc929aabc4ce8319abd80b1a1fda4e8a60e78415c420421a1b90369cb0a84b71ea"
    "2c5396060f4a4125dc60"
)


def test_a_frame_decodes_without_the_coder_that_wrote_it():
    found = avif.decode(FRAME, 32, 64).astype(int)
    assert np.abs(found[[10, 50], [10, 20]] - [[190, 212, 127], [64, 134, 152]]).max() <= 3
    assert np.abs(found - picture(32, 64)).mean() < 12


def test_the_sequence_header_is_spelt_out():
    """AV1 specification 5.5.2; the level of libaom's is another."""
    assert avif.sequence_header(64, 128) == bytes.fromhex("3fd5bffec2021a0d20")
    assert avif.sequence_header(480, 1024) == bytes.fromhex("3fe27bfffb0808683480")


def test_a_coder_that_needs_another_header_is_refused(monkeypatch):
    monkeypatch.setattr(avif, "_TOOLS", avif._TOOLS | {"enable-restoration": "1"})
    monkeypatch.setattr(avif, "SPEED", 4)
    with pytest.raises(SomacastError, match="expected a coder with the sequence header of the format"):
        avif.encode(picture(64, 128), 30)


@pytest.mark.parametrize("size", [(120, 320), (160, 400)])
def test_a_trial_tells_what_a_frame_comes_to(size):
    pixels = picture(*size)
    frame = avif.encode(pixels, 30)
    count, shown = avif.trial(pixels, 30)
    assert 0.6 < count / len(frame) < 1.5
    assert np.abs(shown.astype(int) - avif.decode(frame, *size)).mean() < 10


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
