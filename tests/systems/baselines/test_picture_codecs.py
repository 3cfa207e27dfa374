"""Picture codecs: what is cut off follows from the settings, and what is left is the picture."""

from __future__ import annotations

import importlib.util
import io

import numpy as np
import pytest
from PIL import Image

from somacast.coding.pictures import headers as picture_headers
from somacast.errors import SomacastError
from somacast.systems.baselines.picture import codecs as picture_codecs
from somacast.systems.baselines.picture.codecs import PICTURE_CODECS, decode_picture, encode_picture
from support.picture_cases import picture, psnr_db

needs_ffmpeg = pytest.mark.skipif(
    importlib.util.find_spec("imageio_ffmpeg") is None,
    reason="VIDEO CODECS ARE NOT TESTED: imageio-ffmpeg is missing, pip install 'somacast[bench]'",
)
WITHOUT_FFMPEG = ("jpeg", "webp")
CASES = [
    pytest.param(name, chroma, marks=() if name in WITHOUT_FFMPEG else needs_ffmpeg, id=f"{name} {chroma}")
    for name, codec in PICTURE_CODECS.items()
    for chroma in codec.chromas
]


@pytest.mark.parametrize(("name", "chroma"), CASES)
def test_a_file_without_headers_comes_back_as_the_picture(name, chroma, tmp_path):
    codec, pixels = PICTURE_CODECS[name], picture()
    files = [encode_picture(name, pixels, chroma, codec.steps * k // 10) for k in (2, 8)]
    path = tmp_path / "file"
    path.write_bytes(files[1])
    picture_codecs.known_headers.cache_clear()  # as a receiver that has coded nothing
    back = decode_picture(name, path.read_bytes())
    assert back.shape == pixels.shape and back.dtype == np.uint8
    assert psnr_db(back, pixels) > (29 if chroma == "444" else 24)
    assert len(files[0]) < len(files[1])
    assert psnr_db(decode_picture(name, files[0]), pixels) < psnr_db(back, pixels)
    assert not files[1][0] & picture_codecs._WHOLE  # headers follow from the settings, for every codec


@pytest.mark.parametrize(("name", "chroma"), CASES)
def test_what_is_cut_off_is_all_that_is_missing(name, chroma):
    """Bytes are honest: headers and payload together make a stream that the codec itself decodes to the same."""
    codec, pixels, step = PICTURE_CODECS[name], picture(), PICTURE_CODECS[name].steps // 2
    streams = codec.code(pixels, chroma, step)
    file = encode_picture(name, pixels, chroma, step)
    parts = [codec.split(stream) for stream in streams]
    assert len(file) == picture_codecs.SETTING_BYTES + min(len(payload) for _, payload in parts)
    for (headers, payload), stream in zip(parts, streams, strict=True):
        assert len(payload) < len(stream)
        again = codec.decode(codec.join(headers, payload), len(pixels), chroma)
        if name in (*WITHOUT_FFMPEG, "avif"):
            whole = np.asarray(Image.open(io.BytesIO(stream)).convert("RGB"))
        else:
            whole = codec.decode(stream, len(pixels), chroma)
        # libavif brings chroma up in its own way: equal but for rounding there
        assert psnr_db(again, whole) > (35 if name == "avif" else 90)


def test_a_jpeg_carries_the_tables_that_are_its_own():
    pixels = np.random.default_rng(0).integers(0, 255, (256, 256, 3)).astype(np.uint8)
    standard, own = PICTURE_CODECS["jpeg"].code(pixels, "420", 60)
    assert picture_codecs._jpeg_split(standard)[1][:2] != b"\xff\xc4"
    payload = picture_codecs._jpeg_split(own)[1]
    assert payload[:2] == b"\xff\xc4"
    file = encode_picture("jpeg", pixels, "420", 60)
    assert np.array_equal(decode_picture("jpeg", file), np.asarray(Image.open(io.BytesIO(own)).convert("RGB")))


def test_headers_that_depend_on_the_picture_are_sent(monkeypatch):
    monkeypatch.setattr(picture_codecs, "known_headers", lambda *_: b"something else")
    file = encode_picture("webp", picture(), "420", 50)
    assert file[0] & picture_codecs._WHOLE
    assert psnr_db(decode_picture("webp", file), picture()) > 20


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: encode_picture("gif", picture(), "420", 1), "picture codec 'gif'"),
        (lambda: encode_picture("webp", picture(), "444", 1), "chroma"),
        (lambda: encode_picture("webp", picture(), "420", 101), "step 0 .. 100"),
        (lambda: encode_picture("webp", picture(40), "420", 1), "side"),
        (lambda: decode_picture("webp", b"\0\0"), "got 2 bytes"),
        (lambda: decode_picture("webp", b"\xff\0abc"), "expected a picture of this codec"),
        (lambda: picture_headers.split_jpeg(b"GIF89a", False), "JPEG"),
        (lambda: picture_headers.split_webp(b"RIFF\0\0\0\0WEBP"), "WebP"),
        (lambda: picture_headers.split_avif(b"\0\0\0\x08free"), "AVIF"),
        (lambda: picture_headers.split_av1(b"\x12\x00"), "one AV1 sequence header"),
        (lambda: picture_headers.split_hevc(b"\0\0\1\x40\1"), "parameter sets"),
    ],
)
def test_wrong_pictures_are_refused(call, message):
    with pytest.raises(SomacastError, match=message):
        call()


@pytest.mark.parametrize("bits", [8, 10])
def test_planes_come_back(bits):
    pixels = picture(32)
    assert (
        psnr_db(picture_codecs.from_planes(picture_codecs.to_planes(pixels, "444", bits), 32, "444", bits), pixels) > 45
    )
    flat = np.full((32, 32, 3), (200, 60, 90), np.uint8)
    back = picture_codecs.from_planes(picture_codecs.to_planes(flat, "420", bits), 32, "420", bits)
    assert np.abs(back.astype(int) - flat).max() <= 2
    with pytest.raises(SomacastError, match="planes of a picture"):
        picture_codecs.from_planes(b"\0" * 10, 32, "420", bits)


def test_a_damaged_picture_is_one_fault_and_a_large_one_is_not_decoded(monkeypatch):
    file = bytearray(encode_picture("webp", picture(), "420", 50))
    whole = PICTURE_CODECS["webp"].code(picture(96), "420", 50)[0]
    with pytest.raises(SomacastError, match="expected a picture of 48 px, got 96 x 96"):
        decode_picture("webp", bytes([file[0] | picture_codecs._WHOLE, file[1]]) + whole)
    with pytest.raises(SomacastError, match="damaged picture"):
        decode_picture("webp", bytes([file[0] | picture_codecs._WHOLE, file[1]]) + b"nonsense")


@needs_ffmpeg
def test_ffmpeg_is_given_no_stream_of_a_larger_picture():
    large = np.full((1024, 1024, 3), 99, np.uint8)
    stream = PICTURE_CODECS["x265"].code(large, "420", 10)[0]
    with pytest.raises(SomacastError, match="ffmpeg failed"):
        PICTURE_CODECS["x265"].decode(stream, 256, "420")
