"""Videos and webcams: times, upright pictures, bounded sizes, and one line for everything that is no video."""

import struct
import threading
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from somacast.capture import film
from somacast.capture.latest import LatestReader
from somacast.capture.video import Picture, VideoSource, open_video, open_webcam, write_video
from somacast.errors import SomacastError

av = pytest.importorskip("av")


def scene(number: int, width: int = 96, height: int = 64) -> np.ndarray:
    """Green, with a red corner at the top left, and a grey bar at the bottom whose brightness tells the number."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 1] = 120
    image[: height // 2, : width // 2] = [230, 10, 10]
    image[-height // 4 :] = 10 + 8 * number
    return image


def number_of(image: np.ndarray) -> int:
    return round((float(image[-6:-2, 8:-8].mean()) - 10) / 8)


def write(path: Path, times_ms: list[int], size=(96, 64), codec="libx264", kind=None) -> Path:
    """A video of `scene`s at given times, variable frame rate as it comes."""
    with av.open(str(path), "w", format=kind) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        stream.time_base = stream.codec_context.time_base = Fraction(1, 1000)
        container.start_encoding()
        for number, at in enumerate(times_ms):
            frame = av.VideoFrame.from_ndarray(scene(number, *size), "rgb24")
            frame.pts, frame.time_base = at, Fraction(1, 1000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def turned(path: Path, out: Path, matrix: list[int]) -> Path:
    """The same MP4 with another display matrix in its track header."""
    data = bytearray(path.read_bytes())
    at = data.index(b"tkhd") + 4 + 40
    assert struct.unpack_from(">9i", data, at)[0] == 0x10000
    struct.pack_into(">9i", data, at, *matrix)
    out.write_bytes(data)
    return out


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("videos")


@pytest.fixture(scope="module")
def clip(folder) -> Path:
    return write(folder / "clip.mp4", [0, 40, 80, 200, 240, 500, 540, 580, 620, 660])


def test_frames_come_in_order_with_their_times(clip):
    with open_video(clip) as source:
        assert source.fps is not None
        pictures = list(source)
    assert [p.time_s for p in pictures] == pytest.approx([0, 0.04, 0.08, 0.2, 0.24, 0.5, 0.54, 0.58, 0.62, 0.66])
    assert [number_of(p.image) for p in pictures] == list(range(10))
    image = pictures[0].floats()
    assert image.shape == (64, 96, 3) and image.dtype == np.float32 and image.min() >= 0 and image.max() <= 1
    assert np.abs(image[8:24, 8:40] * 255 - [230, 10, 10]).max() < 25 and source.notes == []


def test_clocks_that_stand_or_go_back(clip):
    class Odd:
        """A container whose frames have the time stamps of broken files: some back, some lacking."""

        def __init__(self, stamps):
            self.inner, self.stamps = av.open(str(clip)), iter(stamps)
            self.streams, self.duration = self.inner.streams, None

        def demux(self, stream):
            for packet in self.inner.demux(stream):
                yield type("Packet", (), {"decode": lambda _, p=packet: [self.restamped(f) for f in p.decode()]})()

        def restamped(self, frame):
            frame.pts = next(self.stamps)
            return frame

        def close(self):
            self.inner.close()

    with av.open(str(clip)) as container:
        scale = container.streams.video[0].time_base.denominator
    stamps = [scale, scale, None, scale // 2, 2 * scale, scale, None, 3 * scale, 3 * scale, 4 * scale]
    times = [p.time_s for p in VideoSource(Odd(stamps), "odd")]
    assert len(times) == 10 and times[0] == 0 and times[4] == pytest.approx(1) and times[-1] == pytest.approx(3)
    assert (np.diff(times) > 0).all()


@pytest.mark.parametrize("name", ["a.webm", "a.avi", "a.mkv"])
def test_other_containers(folder, name):
    codec = {"webm": "libvpx-vp9", "avi": "mpeg4", "mkv": "libx264"}[name[2:]]
    path = write(folder / name, list(range(0, 200, 40)), codec=codec)
    pictures = list(open_video(path))
    assert [number_of(p.image) for p in pictures] == list(range(5))
    assert np.diff([p.time_s for p in pictures]) == pytest.approx(0.04, abs=2e-3)


QUARTER = 0x10000


@pytest.mark.parametrize(("matrix", "corner"), [
    ([0, QUARTER, 0, -QUARTER, 0, 0, 64 * QUARTER, 0, 1 << 30], (0, -1)),  # as a phone held upright writes it
    ([-QUARTER, 0, 0, 0, -QUARTER, 0, 96 * QUARTER, 64 * QUARTER, 1 << 30], (-1, -1)),
    ([0, -QUARTER, 0, QUARTER, 0, 0, 0, 96 * QUARTER, 1 << 30], (-1, 0)),
])  # fmt: skip
def test_rotation_is_followed(clip, folder, matrix, corner):
    """[0 1; -1 0] turns a quarter clockwise (ISO 14496-12): the top left corner comes to the top right."""
    image = next(iter(open_video(turned(clip, folder / "turned.mp4", matrix)))).image
    assert image.shape == ((64, 96, 3) if corner == (-1, -1) else (96, 64, 3))
    y, x = (8 if c == 0 else -8 for c in corner)
    assert image[y, x, 0] > 180 and image[-y, -x, 0] < 100


def test_large_frames_are_reduced(folder):
    path = write(folder / "large.mp4", [0, 40], size=(640, 360))
    assert next(iter(open_video(path, max_side_px=320))).image.shape == (180, 320, 3)
    assert next(iter(open_video(path))).image.shape == (360, 640, 3)


def test_too_large_and_too_small_frames(clip, folder, monkeypatch):
    monkeypatch.setattr(film, "MAX_DECODED_PIXELS", 90 * 60)
    with pytest.raises(SomacastError, match="96 x 64 pixels are too large"):
        open_video(clip)
    monkeypatch.undo()
    path = write(folder / "small.mp4", [0, 40], size=(96, 32))
    with pytest.raises(SomacastError, match="96 x 32 pixels are too few"):
        next(iter(open_video(path)))


def test_damage_in_the_middle_is_passed_over(folder):
    path = write(folder / "whole.ts", list(range(0, 1200, 40)), kind="mpegts")
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 900] = bytes(900)
    (folder / "hurt.ts").write_bytes(data)
    (folder / "cut.ts").write_bytes(data[: len(data) // 3])
    for name, least in (("hurt.ts", 15), ("cut.ts", 5)):
        pictures = list(open_video(folder / name))
        assert least <= len(pictures) <= 30
        assert (np.diff([p.time_s for p in pictures]) > 0).all()


PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n"


@pytest.mark.parametrize(("name", "data", "reason"), [
    ("no.mp4", None, "no such file"),
    ("void.mp4", b"", "is empty"),
    ("text.mp4", b"Dear reader,\nthis is a letter.\n" * 50, "is not a video"),
    ("text.txt", b"plain words\n" * 200, "is not a video"),
    ("noise.mp4", np.random.default_rng(0).bytes(5000), "is not a video"),
    ("list.m3u8", PLAYLIST, "is not a video"),
    ("list.txt", "ffconcat version 1.0\nfile {}\n", "is not a video"),
    ("head.mp4", (0, 700), "is cut short: its index"),
])  # fmt: skip
def test_what_is_no_video_is_one_line(clip, tmp_path, name, data, reason):
    path = tmp_path / name
    if isinstance(data, tuple):
        data = clip.read_bytes()[slice(*data)]
    if isinstance(data, str):
        data = data.format(clip).encode()
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(SomacastError, match=reason) as caught:
        list(open_video(path))
    assert "\n" not in str(caught.value) and name in str(caught.value)


def test_folders_pipes_and_sound(tmp_path, clip):
    with pytest.raises(SomacastError, match="is a folder"):
        open_video(tmp_path)
    with pytest.raises(SomacastError, match="not an ordinary file"):
        open_video("/dev/null")
    with pytest.raises(SomacastError, match="longest side"):
        open_video(clip, max_side_px=3)
    path = tmp_path / "sound.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=44100)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        frame.sample_rate = 44100
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(SomacastError, match="has no pictures"):
        open_video(path)


def test_a_video_without_frames(tmp_path):
    path = write(tmp_path / "none.mkv", [])
    with pytest.raises(SomacastError, match="no frame can be decoded|is not a video|has no pictures") as caught:
        list(open_video(path))
    assert "\n" not in str(caught.value)


# -- the newest only ---------------------------------------------------------------------------------------------------


def test_a_slow_taker_gets_the_newest():
    step, read = threading.Semaphore(0), threading.Semaphore(0)

    def numbers():
        for number in range(6):
            step.acquire()
            yield number
            read.release()  # asked for the next one: this one has been put down
        step.acquire()
        read.release()

    def let_come(count):
        for _ in range(count):
            step.release()
        for _ in range(count):
            assert read.acquire(timeout=5)

    closed = threading.Event()
    reader = LatestReader(numbers(), closed.set)
    let_come(1)
    assert reader.take().item == 0
    let_come(4)
    taken = reader.take()
    assert taken.item == 4 and reader.dropped == 3 and taken.came_s <= time.monotonic()
    with pytest.raises(SomacastError, match="source: no picture for 0.05 s"):
        reader.take(0.05)
    let_come(2)
    assert reader.take().item == 5  # the last one is not lost at the end
    assert reader.take() is None and reader.take() is None and closed.wait(5)


def test_faults_are_passed_on():
    def broken():
        yield 1
        raise SomacastError("the camera has gone")

    reader = LatestReader(broken())
    reader._thread.join(5)
    assert reader.take().item == 1
    for _ in range(2):
        with pytest.raises(SomacastError, match="the camera has gone"):
            reader.take()


def test_closing_ends_the_thread():
    closed, go_on = threading.Event(), threading.Event()

    def endless():
        while True:
            yield 0
            go_on.wait(0.001)

    reader = LatestReader(endless(), closed.set)
    assert reader.take() is not None
    reader.close()
    reader.close()
    assert not reader._thread.is_alive() and closed.is_set() and reader.take() is None


# -- writing -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.mp4", "out.webm"])
def test_written_videos_come_back(tmp_path, name):
    images = [scene(k, 97, 65) / 255 if k % 2 else scene(k, 97, 65) for k in range(6)]
    assert write_video(tmp_path / name, iter(images), 12.5) == 6
    pictures: list[Picture] = list(open_video(tmp_path / name))
    assert [number_of(p.image) for p in pictures] == list(range(6)) and pictures[0].image.shape == (64, 96, 3)
    assert np.diff([p.time_s for p in pictures]) == pytest.approx(0.08, abs=2e-3)
    assert np.abs(pictures[2].image[8:24, 8:40].astype(int) - [230, 10, 10]).max() < 30


@pytest.mark.parametrize(("name", "images", "fps", "reason"), [
    ("x.gif", [scene(0)], 30, "ending in .mp4 or .webm"),
    ("x.mp4", [], 30, "at least one frame"),
    ("x.mp4", [scene(0), scene(0, 64, 64)], 30, "of one size"),
    ("x.mp4", [scene(0)[..., 0]], 30, "frames .H, W, 3."),
    ("x.mp4", [scene(0)], 0, "fps: expected 1 to 240"),
    ("no/x.mp4", [scene(0)], 30, "does not exist"),
])  # fmt: skip
def test_what_cannot_be_written_is_one_line(tmp_path, name, images, fps, reason):
    with pytest.raises(SomacastError, match=reason) as caught:
        write_video(tmp_path / name, images, fps)
    assert "\n" not in str(caught.value) and list(tmp_path.iterdir()) == []


def test_without_pyav_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr("somacast.extras.installed", lambda package: False)
    for act in (lambda: open_video("x.mp4"), lambda: open_webcam("0"), lambda: write_video("x.mp4", [])):
        with pytest.raises(SomacastError, match="package av: pip install"):
            act()


def test_a_source_of_something_else_is_closed(clip):
    class Mute:
        class streams:
            video = ()

        closed = False

        def close(self):
            self.closed = True

    mute = Mute()
    with pytest.raises(SomacastError, match="has no pictures"):
        VideoSource(mute, "mute")
    assert mute.closed
