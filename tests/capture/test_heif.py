"""HEIC pictures, made here box by box: one item or a grid of tiles, turned, cut, with transparency, or damaged."""

from __future__ import annotations

import io
import struct
from fractions import Fraction

import numpy as np
import pytest

from somacast.capture.heif import read_heif
from somacast.capture.kinds import Kind, kind_of
from somacast.capture.pictures import AS_MASK, read_image
from somacast.errors import SomacastError

av = pytest.importorskip("av")


def box(kind: bytes, *parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", len(body) + 8) + kind + body


def full(kind: bytes, *parts: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *parts)


def tile(picture: np.ndarray) -> tuple[bytes, bytes]:
    """A picture [H, W, 3] uint8 as one frame of HEVC: settings (the box hvcC) and frame."""
    file = io.BytesIO()
    with av.open(file, "w", format="mp4") as container:
        try:
            settings = {"x265-params": "log-level=none:qp=8:frame-threads=1:bframes=0"}
            stream = container.add_stream("libx265", rate=1, options=settings)
        except (av.error.FFmpegError, ValueError):
            pytest.skip("NOT CHECKED: the FFmpeg of this PyAV has no x265 to make the file with")
        stream.codec_context.codec_tag = "hvc1"
        stream.height, stream.width, stream.pix_fmt = *picture.shape[:2], "yuv420p"
        frame = av.VideoFrame.from_ndarray(picture, "rgb24")
        frame.pts, frame.time_base = 0, Fraction(1)
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            packet.pts = packet.dts = 0  # x265 counts from before the first frame, or leaves them open
            container.mux(packet)
    data = file.getvalue()
    at = data.index(b"hvcC") - 4
    settings = data[at : at + int.from_bytes(data[at : at + 4], "big")]
    at = data.index(b"mdat") - 4
    return settings, data[at + 8 : at + int.from_bytes(data[at : at + 4], "big")]


def heic(
    items: list[tuple[bytes, bytes, list[int]]],
    properties: list[bytes],
    references: list[bytes] = (),
    brand: bytes = b"heic",
) -> bytes:
    """Items as (kind, bytes, numbers of properties from 1), themselves numbered from 1."""

    def meta(start: int) -> bytes:
        infos = [
            full(b"infe", struct.pack(">HH", k, 0), kind, b"\0", version=2) for k, (kind, _, _) in enumerate(items, 1)
        ]
        places, at = b"", start
        for k, (_, data, _) in enumerate(items, 1):
            places += struct.pack(">HHHII", k, 0, 1, at, len(data))
            at += len(data)
        links = b"".join(struct.pack(">HB", k, len(own)) + bytes(own) for k, (_, _, own) in enumerate(items, 1))
        return full(
            b"meta", full(b"hdlr", bytes(4), b"pict", bytes(13)), full(b"pitm", struct.pack(">H", 1)),
            full(b"iinf", struct.pack(">H", len(items)), *infos),
            full(b"iref", *references) if references else b"",
            box(b"iprp", box(b"ipco", *properties), full(b"ipma", struct.pack(">I", len(items)), links)),
            full(b"iloc", struct.pack(">HH", 0x4400, len(items)), places),
        )  # fmt: skip

    head = box(b"ftyp", brand, bytes(4), b"mif1", brand)
    size = len(head) + len(meta(0)) + 8
    return head + meta(size) + box(b"mdat", *(data for _, data, _ in items))


def refers(kind: bytes, source: int, *targets: int) -> bytes:
    return box(kind, struct.pack(f">HH{len(targets)}H", source, len(targets), *targets))


def size_of(width: int, height: int) -> bytes:
    return full(b"ispe", struct.pack(">II", width, height))


def scene(width: int, height: int) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([255 * x / width, 255 * y / height, np.full(x.shape, 90)], -1).astype(np.uint8)


def near(found: np.ndarray, expected: np.ndarray) -> bool:
    return found.shape == expected.shape and float(np.abs(found.astype(int) - expected).mean()) < 3


def test_one_item(tmp_path):
    settings, data = tile(scene(128, 96))
    path = tmp_path / "me.jpg"
    path.write_bytes(heic([(b"hvc1", data, [1, 2])], [settings, size_of(128, 96)]))
    assert kind_of(path) is Kind.HEIC
    frame = read_image(path)
    assert near(frame.image * 255, scene(128, 96)) and frame.notes == [] and frame.source_size_px == (128, 96)


@pytest.mark.parametrize("brand", [b"mif1", b"heix"])
def test_a_grid_of_tiles_is_cut_to_its_size_and_turned(tmp_path, brand):
    """As phones write it: six tiles, of which the last ones stand out; a thumbnail and a depth map beside it."""
    whole = scene(192, 128)
    tiles = [tile(whole[y : y + 64, x : x + 64]) for y in (0, 64) for x in (0, 64, 128)]
    grid = struct.pack(">BBBBHH", 0, 0, 1, 2, 180, 100)
    items = [(b"grid", grid, [3, 4]), *((b"hvc1", data, [1, 2]) for _, data in tiles), (b"hvc1", tiles[0][1], [1, 2])]
    properties = [tiles[0][0], size_of(64, 64), size_of(180, 100), box(b"irot", b"\x03")]
    references = [refers(b"dimg", 1, *range(2, 8)), refers(b"thmb", 8, 1)]
    path = tmp_path / "a.heic"
    path.write_bytes(heic(items, properties, references, brand=brand))
    frame = read_image(path)
    assert near(frame.image * 255, np.rot90(whole[:100, :180], 3))
    assert frame.notes == ["picture turned upright as its file says"] and frame.source_size_px == (100, 180)


@pytest.mark.parametrize(("steps", "expected"), [
    ([box(b"irot", b"\x01")], lambda a: np.rot90(a)), ([box(b"irot", b"\x02")], lambda a: a[::-1, ::-1]),
    ([box(b"imir", b"\x01")], lambda a: a[:, ::-1]), ([box(b"imir", b"\x00")], lambda a: a[::-1]),
    ([box(b"irot", b"\x01"), box(b"imir", b"\x01")], lambda a: np.rot90(a)[:, ::-1]),
    ([box(b"imir", b"\x01"), box(b"irot", b"\x01")], lambda a: np.rot90(a[:, ::-1])),
    ([box(b"clap", struct.pack(">IIIIiIiI", 100, 1, 80, 1, 4, 1, -2, 1))], lambda a: a[6:86, 18:118]),
])  # fmt: skip
def test_turns_mirrors_and_cuts_in_their_order(steps, expected):
    settings, data = tile(scene(128, 96))
    own = [1, 2, *range(3, 3 + len(steps))]
    found = read_heif(heic([(b"hvc1", data, own)], [settings, size_of(128, 96), *steps]), "a")
    assert near(found.image, expected(scene(128, 96)))


def test_transparency_beside_the_picture(tmp_path):
    alpha = np.zeros((96, 128), np.uint8)
    alpha[16:80, 48:80], alpha[32:48, 32:96] = 255, 255
    settings, data = tile(scene(128, 96))
    _, plane = tile(np.repeat(alpha[..., None], 3, 2))
    kind = full(b"auxC", b"urn:mpeg:hevc:2015:auxid:1\0")
    path = tmp_path / "a.heic"
    path.write_bytes(
        heic([(b"hvc1", data, [1, 2]), (b"hvc1", plane, [1, 2, 3])], [settings, size_of(128, 96), kind],
             [refers(b"auxl", 2, 1)])
    )  # fmt: skip
    frame = read_image(path)
    assert frame.notes == [AS_MASK] and (np.abs(frame.mask - alpha / 255) > 0.2).mean() < 0.03


def test_colours_as_the_file_says(tmp_path):
    """BT.2020, plain range: a red of it is more of a red in sRGB."""
    red = np.full((96, 128, 3), (200, 60, 60), np.uint8)
    settings, data = tile(red)
    named = box(b"colr", b"nclx", struct.pack(">HHHB", 9, 1, 9, 0))
    found = read_heif(heic([(b"hvc1", data, [1, 2, 3])], [settings, size_of(128, 96), named]), "a").image
    assert found[40, 40, 0] > 210 > 60 > found[40, 40, 1]


def test_damaged_and_strange_ones_are_one_line(tmp_path):
    settings, data = tile(scene(128, 96))
    good = heic([(b"hvc1", data, [1, 2])], [settings, size_of(128, 96)])
    strange = heic([(b"iovl", data, [1, 2])], [settings, size_of(128, 96)])
    huge = heic([(b"hvc1", data, [1, 2])], [settings, size_of(60000, 60000)])
    many = heic(
        [(b"grid", struct.pack(">BBBBHH", 0, 0, 9, 9, 96, 96), [1])], [size_of(96, 96)], [refers(b"dimg", 1, 1)]
    )
    path = tmp_path / "a.heic"
    for bad in (good[:-200], good[:90], strange, huge, many, good.replace(b"meta", b"free")):
        path.write_bytes(bad)
        with pytest.raises(SomacastError, match="damaged|too many|rare kind") as caught:
            read_image(path)
        assert "\n" not in str(caught.value) and "a.heic" in str(caught.value)
    rng = np.random.default_rng(0)
    for _ in range(60):  # whatever is hurt, it is a picture or one line
        hurt = bytearray(good)
        for _ in range(3):
            hurt[int(rng.integers(16, len(good) - len(data)))] = int(rng.integers(256))
        path.write_bytes(hurt)
        try:
            read_image(path)
        except SomacastError as fault:
            assert "\n" not in str(fault)


def test_without_pyav_it_says_what_to_install(tmp_path, monkeypatch):
    settings, data = tile(scene(128, 96))
    (tmp_path / "a.heic").write_bytes(heic([(b"hvc1", data, [1, 2])], [settings, size_of(128, 96)]))
    monkeypatch.setattr("somacast.extras.installed", lambda package: False)
    with pytest.raises(SomacastError, match="HEIC pictures.*av: pip install"):
        read_image(tmp_path / "a.heic")
