"""What films ask of their readers: the right stream, way up and colours, and a word about what lacks."""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from somacast.capture import frames
from somacast.capture.frames import BT709, BT2020, HLG, P3, PQ, ColorSpace, Upright, to_srgb, upright_of_matrix
from somacast.capture.tone_mapping import codes_to_srgb
from somacast.capture.video import open_video
from somacast.errors import SomacastError

av = pytest.importorskip("av")
QUARTER = 1 << 16


def film(path: Path, pictures: list[np.ndarray], codec: str = "libx264", rate: int = 25, **settings) -> Path:
    """Pictures [H, W, 3] uint8 as a film; settings: of the codec context."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate, options=settings.pop("options", {}))
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = settings.pop("pix_fmt", "yuv420p")
        for name, value in settings.items():
            setattr(stream.codec_context, name, value)
        for picture in pictures:
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            if "color_range" in settings:
                frame = frame.reformat(format=stream.pix_fmt, dst_color_range=settings["color_range"])
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def plain(*color: int, size: tuple[int, int] = (96, 72)) -> np.ndarray:
    return np.full((size[1], size[0], 3), color, np.uint8)


# -- the right way up --------------------------------------------------------------------------------------------------

MATRICES = [(1, 0, 0, 1), (0, 1, -1, 0), (-1, 0, 0, -1), (0, -1, 1, 0), (-1, 0, 0, 1), (1, 0, 0, -1), (0, 1, 1, 0),
            (0, -1, -1, 0)]  # fmt: skip


def shown_by(matrix: tuple[int, ...], image: np.ndarray) -> np.ndarray:
    """Where ISO 14496-12 puts each pixel: x' = a x + c y, y' = b x + d y."""
    a, b, c, d = matrix
    places = {(a * x + c * y, b * x + d * y): image[y, x] for y in range(image.shape[0]) for x in range(image.shape[1])}
    left, top = (min(place[k] for place in places) for k in (0, 1))
    width, height = (max(place[k] for place in places) + 1 for k in (0, 1))
    out = np.empty((height - top, width - left), image.dtype)
    for (x, y), value in places.items():
        out[y - top, x - left] = value
    return out


@pytest.mark.parametrize("matrix", MATRICES)
def test_every_turn_and_mirror_image(matrix):
    image = np.arange(6).reshape(2, 3)
    a, b, c, d = (QUARTER * value for value in matrix)
    upright, odd_deg = upright_of_matrix((a, b, 0, c, d, 0, 0, 0, 1 << 30))
    np.testing.assert_array_equal(upright(image), shown_by(matrix, image))
    assert odd_deg < 1e-6 and upright.size(3, 2) == upright(image).shape[::-1]
    for other in MATRICES:  # one after the other
        then = upright_of_matrix((*other[:2], 0, *other[2:], 0, 0, 0, 1))[0]
        np.testing.assert_array_equal(upright.then(then)(image), then(upright(image)))


@pytest.mark.parametrize("degrees", [-80.0, -30.0, 3.0, 100.0, 170.0])
def test_odd_angles_become_the_nearest_quarter_turn(degrees):
    cos, sin = QUARTER * np.cos(np.radians(degrees)), QUARTER * np.sin(np.radians(degrees))
    upright, odd_deg = upright_of_matrix((int(cos), int(sin), 0, int(-sin), int(cos), 0, 0, 0, 1 << 30))
    assert upright == Upright(-round(degrees / 90) % 4) and odd_deg == pytest.approx(
        abs((degrees + 45) % 90 - 45), abs=0.1
    )


@pytest.mark.parametrize("matrix", [*MATRICES, (0.9962, 0.0872, -0.0872, 0.9962)])
def test_films_are_turned_and_mirrored(tmp_path, matrix):
    image = plain(0, 120, 0)
    image[:36, :48] = [230, 10, 10]
    data = bytearray(film(tmp_path / "a.mp4", [image] * 3).read_bytes())
    a, b, c, d = (round(QUARTER * value) for value in matrix)
    struct.pack_into(">9i", data, data.index(b"tkhd") + 44, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    (tmp_path / "b.mp4").write_bytes(data)
    with open_video(tmp_path / "b.mp4") as source:
        shown = next(iter(source)).image
    expected = shown_by(tuple(round(value) for value in matrix), image[..., 0])
    assert shown.shape[:2] == expected.shape
    assert (np.abs(shown[..., 0].astype(int) - expected) > 60).mean() < 0.03
    assert any("nearest quarter" in note for note in source.notes) == (matrix[0] == 0.9962)


# -- colours -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("matrix", [1, 5, 6, 7, 9])
@pytest.mark.parametrize("range_", [1, 2])
def test_matrices_and_ranges(matrix, range_):
    """Code values worked out by hand come back as the colour."""
    red, green, blue = 0.9, 0.2, 0.3
    weights = {1: (0.2126, 0.0722), 7: (0.212, 0.087), 9: (0.2627, 0.0593)}
    of_red, of_blue = weights.get(matrix, (0.299, 0.114))
    luma = of_red * red + (1 - of_red - of_blue) * green + of_blue * blue
    chroma = (blue - luma) / 2 / (1 - of_blue), (red - luma) / 2 / (1 - of_red)
    if range_ == 2:
        values = [255 * luma, *(128 + 255 * c for c in chroma)]
    else:
        values = [16 + 219 * luma, *(128 + 224 * c for c in chroma)]
    planes = np.zeros((96, 64), np.uint8)
    planes[:64], planes[64:80], planes[80:] = np.round(values)[:, None, None]
    frame = av.VideoFrame.from_ndarray(planes, "yuv420p")
    frame.colorspace, frame.color_range = matrix, range_
    found = to_srgb(frame, (64, 64), ColorSpace(matrix=matrix))[20, 20]
    assert np.abs(found - 255 * np.array([red, green, blue])).max() < 6


def test_what_says_nothing_is_guessed_by_size():
    assert ColorSpace().matrix_of(640, 480) == frames.BT601 and ColorSpace().matrix_of(720, 576) == frames.BT601
    assert ColorSpace().matrix_of(1280, 720) == BT709 == ColorSpace(primaries=BT709).matrix_of(320, 240)
    assert ColorSpace(transfer=HLG).matrix_of(320, 240) == BT2020 == ColorSpace(transfer=PQ).gamut
    assert ColorSpace().plain and not ColorSpace(P3).plain and not ColorSpace(transfer=PQ).plain


TO_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])


def linear(color: tuple[int, ...]) -> np.ndarray:
    value = np.array(color) / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def hlg(light: np.ndarray) -> np.ndarray:
    """Display light of BT.2020, white 1 (203 cd/m2 of 1000), to code values."""
    shown = light * 0.203
    luminance = max(float(shown @ [0.2627, 0.678, 0.0593]), 1e-9)
    scene = shown * luminance ** (1 / 1.2 - 1)
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), a * np.log(np.maximum(12 * scene - b, 1e-9)) + c)


def pq(light: np.ndarray) -> np.ndarray:
    y = (light * 203 / 10000) ** 0.1593017578125
    return ((0.8359375 + 18.8515625 * y) / (1 + 18.6875 * y)) ** 78.84375


COLORS = [(255, 0, 0), (0, 255, 0), (0, 0, 255), (250, 220, 40), (190, 140, 110), (128, 128, 128), (20, 20, 30)]


@pytest.mark.parametrize("color", COLORS)
@pytest.mark.parametrize(("transfer", "encode"), [(HLG, hlg), (PQ, pq)])
def test_high_dynamic_range_reads_as_what_it_was(color, transfer, encode):
    light = TO_2020 @ linear(color)
    codes = np.round(encode(light) * 65535).astype(np.uint16)[None, None]
    found = codes_to_srgb(codes, transfer, BT2020)[0, 0].astype(int)
    assert np.abs(found - color).max() < 25 and abs(int(found.argmax()) - int(np.argmax(color))) == 0
    if max(color) < 200:  # below the knee nothing is compressed
        assert np.abs(found - color).max() < 8


@pytest.mark.parametrize("transfer", [HLG, PQ])
def test_highlights_are_compressed_not_cut(transfer):
    greys = codes_to_srgb(np.linspace(0, 65535, 64).astype(np.uint16)[None, :, None].repeat(3, 2), transfer, BT2020)[0]
    assert (np.diff(greys.astype(int), axis=0) >= 0).all() and np.ptp(greys, axis=1).max() <= 1
    white, brighter = (0.75, 0.85) if transfer == HLG else (0.5807, 0.68)
    one, other = (int(codes_to_srgb(np.full((1, 1, 3), v * 65535, np.uint16), transfer, BT2020)[0, 0, 0])
                  for v in (white, brighter))  # fmt: skip
    assert 225 < one < other < 256


def test_wide_gamut_of_plain_range_keeps_greys_and_moves_colours():
    grey = codes_to_srgb(np.full((1, 1, 3), 30000, np.uint16), 14, BT2020)[0, 0]
    assert np.abs(grey.astype(int) - 117).max() <= 1
    for primaries in (BT2020, P3):
        red = codes_to_srgb(np.array([[[50000, 20000, 20000]]], np.uint16), 1, primaries)[0, 0]
        assert red[0] > 205 and red[1] < 78  # more of it in the narrower gamut


@pytest.mark.parametrize(("trc", "encode"), [(HLG, hlg), (PQ, pq)])
def test_a_film_of_a_phone(tmp_path, trc, encode):
    red = encode(TO_2020 @ linear((230, 20, 20)))
    planes = np.round(np.broadcast_to(red, (72, 96, 3)) * 65535).astype(np.uint16)
    path = tmp_path / "phone.mov"
    with av.open(str(path), "w") as container:
        try:
            stream = container.add_stream("libx265", rate=25, options={"x265-params": "log-level=none"})
        except (av.error.FFmpegError, ValueError):
            pytest.skip("NOT CHECKED: the FFmpeg of this PyAV has no x265 to make the file with")
        stream.width, stream.height, stream.pix_fmt = 96, 72, "yuv420p10le"
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace, context.color_range = BT2020, trc, 9, 1
        for number in range(3):
            frame = av.VideoFrame.from_ndarray(planes, "rgb48le").reformat(format="yuv420p10le", dst_colorspace=9)
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with open_video(path) as source:
        found = next(iter(source)).image[30:40, 30:40].reshape(-1, 3).mean(0)
    assert np.abs(found - [230, 20, 20]).max() < 30


# -- which stream, and how much of it ----------------------------------------------------------------------------------


def cover() -> bytes:
    file = io.BytesIO()
    Image.fromarray(plain(250, 250, 0, size=(640, 480))).save(file, "JPEG")
    return file.getvalue()


def with_second_stream(path: Path, codec: str, size: tuple[int, int], count: int, first: bool, flag: str = "") -> Path:
    """A green film of 10 frames, 96 x 72, and yellow pictures beside it."""
    with av.open(str(path), "w") as container:

        def add(name: str, width: int, height: int):
            stream = container.add_stream(name, rate=25)
            stream.width, stream.height = width, height
            stream.pix_fmt = "yuvj420p" if name == "mjpeg" else "yuv420p"
            return stream

        jobs = [("libx264", (96, 72), 10, (0, 160, 0)), (codec, size, count, (250, 250, 0))]
        streams = [(add(name, *px), px, n, color) for name, px, n, color in (jobs[::-1] if first else jobs)]
        for stream, px, _, _ in streams:
            if flag and px == size:
                stream.disposition = getattr(av.stream.Disposition, flag)
        for stream, px, n, color in streams:
            for _ in range(n):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(plain(*color, size=px), "rgb24")))
            container.mux(stream.encode(None))
    return path


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize(("name", "codec", "size", "count", "flag"), [
    ("cover.mp4", "mjpeg", (640, 480), 1, "attached_pic"), ("still.mkv", "mjpeg", (640, 480), 1, ""),
    ("thumbs.mp4", "mjpeg", (160, 120), 1, ""), ("proxy.mp4", "libx264", (64, 64), 10, ""),
])  # fmt: skip
def test_covers_thumbnails_and_proxies_are_not_the_film(tmp_path, name, codec, size, count, flag, first):
    path = with_second_stream(tmp_path / name, codec, size, count, first, flag)
    with open_video(path) as source:
        found = list(source)
    assert len(found) == 10 and found[0].image.shape == (72, 96, 3) and found[0].image[30, 30, 0] < 60


def test_sound_with_a_cover_is_no_film(tmp_path):
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        sound, picture = container.add_stream("aac", rate=44100), container.add_stream("mjpeg", rate=1)
        picture.width, picture.height, picture.pix_fmt = 640, 480, "yuvj420p"
        picture.disposition = av.stream.Disposition.attached_pic
        container.mux(picture.encode(av.VideoFrame.from_ndarray(plain(250, 250, 0, size=(640, 480)), "rgb24")))
        container.mux(picture.encode(None))
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 44100
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with pytest.raises(SomacastError, match="only a cover picture"):
        open_video(path)


def noise(count: int) -> list[np.ndarray]:
    return [np.random.default_rng(k).integers(0, 255, (72, 96, 3), np.uint8) for k in range(count)]


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_a_film_that_breaks_off_says_how_much_is_missing(tmp_path, name):
    options = {"movflags": "faststart"} if name == "a.mp4" else {}
    with av.open(str(tmp_path / name), "w", options=options) as container:
        stream = container.add_stream("mpeg4" if name == "a.avi" else "libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 72, "yuv420p"
        for picture in noise(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(stream.encode(None))
    data = (tmp_path / name).read_bytes()
    with open_video(tmp_path / name) as source:
        assert len(list(source)) == 40 and source.notes == []
    (tmp_path / f"cut.{name[2:]}").write_bytes(data[: len(data) // 2])
    with open_video(tmp_path / f"cut.{name[2:]}") as source:
        count = len(list(source))
    assert 10 < count < 30
    note = next(note for note in source.notes if "breaks off" in note)
    assert "of 4.0 s" in note and abs(float(note.split("s: ")[1].split(" s")[0]) - (4 - count / 10)) < 0.3


def test_a_film_whose_index_is_missing_says_so(tmp_path):
    path = film(tmp_path / "a.mp4", noise(10))
    (tmp_path / "cut.mp4").write_bytes(path.read_bytes()[:-400])
    with pytest.raises(SomacastError, match="is cut short: its index") as caught:
        open_video(tmp_path / "cut.mp4")
    assert "\n" not in str(caught.value)


def test_interlaced_films_become_whole_and_keep_their_times(tmp_path):
    """A bar that moves between both moments of a frame leaves a comb, unless it is deinterlaced."""

    def moment(at: int) -> np.ndarray:
        image = plain(30, 30, 30, size=(192, 96))
        image[:, at : at + 20] = 220
        return image

    pictures = []
    for number in range(12):
        picture = moment(8 * number)
        picture[1::2] = moment(8 * number + 4)[1::2]
        pictures.append(picture)

    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"x264-params": "tff=1:interlaced=1", "crf": "5"})
        stream.width, stream.height, stream.pix_fmt = 192, 96, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        times_ms = [0, 40, 80, 130, 170, 900, 940, 980, 1020, 1060, 1100, 1140]
        for at, picture in zip(times_ms, pictures, strict=True):
            frame = av.VideoFrame.from_ndarray(picture, "rgb24")
            frame.pts, frame.time_base = at, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with av.open(str(path)) as container:
        assert next(container.decode(video=0)).interlaced_frame
    with open_video(path) as source:
        found = list(source)
    assert [p.time_s for p in found] == pytest.approx([at / 1000 for at in times_ms])

    def comb(image: np.ndarray) -> float:
        lines = image[10:-10, :, 0].astype(float)
        return float(np.abs(lines[1:-1] - (lines[:-2] + lines[2:]) / 2).mean())

    assert comb(found[6].image) < 0.3 * comb(pictures[6])
    assert 48 <= int(found[6].image[48, :, 0].argmax()) <= 54  # of the first moment
