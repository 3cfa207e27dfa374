"""Sources of frames: one interface on simulated and real clocks, dropping where live, and one line for what is none."""

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import somacast
from somacast.bitstream.video import video_head
from somacast.capture.video import write_video
from somacast.errors import BitstreamError, SomacastError
from somacast.pipeline.sources import SourceOptions, WebcamSource, open_source, play
from somacast.synthetic.walker import WalkerConfig

av = pytest.importorskip("av")
FAST = SourceOptions(realtime=False, size_px=64)


def grey(number: int) -> np.ndarray:
    return np.full((64, 80, 3), 10 + 10 * number, np.uint8)


def number_of(frame) -> int:
    return round((float(frame.image.mean()) * 255 - 10) / 10)


@pytest.fixture(scope="module")
def clip(tmp_path_factory) -> Path:
    """Twelve frames, 25 a second."""
    path = tmp_path_factory.mktemp("sources") / "clip.mp4"
    write_video(path, [grey(k) for k in range(12)], 25)
    return path


def test_a_video_as_fast_as_it_is_read(clip):
    with open_source(str(clip), FAST) as source:
        assert not source.live and source.due_s < -1e300
        frames = list(iter(lambda: source.next_frame(7.0), None))
        assert source.next_frame(8.0) is None and source.dropped == 0
    assert [number_of(f.frame) for f in frames] == list(range(12))
    assert [f.time_s for f in frames] == pytest.approx([k / 25 for k in range(12)])
    assert {f.captured_s for f in frames} == {7.0} and frames[0].frame.image.dtype == np.float32


def test_a_video_in_real_time_drops_what_comes_late(clip):
    source = open_source(str(clip))
    assert source.live
    first = source.next_frame(100.0)
    assert (first.time_s, first.captured_s) == (0.0, 100.0) and source.due_s == pytest.approx(100.04)
    assert number_of(source.next_frame(100.04).frame) == 1
    late = source.next_frame(100.25)
    assert number_of(late.frame) == 6 and late.captured_s == pytest.approx(100.24) and source.dropped == 4
    assert number_of(source.next_frame(100.25).frame) == 7  # asked early: ahead of its time
    assert number_of(source.next_frame(200.0).frame) == 11  # never skips the last one
    assert source.next_frame(200.1) is None
    source.close()


def test_a_made_person_on_a_simulated_clock():
    options = SourceOptions(fps=20, size_px=64, seconds=1.0, walker=WalkerConfig(seed=2))
    source = open_source("synthetic:walking", options)
    first = source.next_frame(5.0)
    assert first.frame.image.shape == (64, 64, 3) and first.truth.joints_m.shape == (21, 3)
    times = []
    for now_s in (5.05, 5.2, 5.21, 5.9, 5.95):
        found = source.next_frame(max(now_s, source.due_s))
        np.testing.assert_array_equal(found.truth.rotations, source.walker.truth(found.time_s).rotations)
        times.append(found.time_s)
        assert found.captured_s == 5.0 + found.time_s
    assert times == pytest.approx([0.05, 0.2, 0.25, 0.9, 0.95]) and source.dropped == 14
    assert source.next_frame(6.0) is None and source.next_frame(6.1) is None
    every = open_source("synthetic:walking", replace(options, realtime=False))
    frames = list(iter(lambda: every.next_frame(0.0), None))
    assert len(frames) == 20 and np.abs(frames[0].frame.image - frames[10].frame.image).max() > 0.1


def test_a_still_picture(tmp_path):
    Image.fromarray(np.repeat(np.repeat(grey(3), 5, 0), 5, 1)).save(tmp_path / "me.png")
    source = open_source(str(tmp_path / "me.png"), SourceOptions(seconds=0.1, max_side_px=150))
    frames = list(play(source))
    assert 1 <= len(frames) <= 3 and frames[0].time_s == 0
    assert frames[0].frame.image.shape == (106, 133, 3) and number_of(frames[0].frame) == 3
    (tmp_path / "me.png").rename(tmp_path / "picture")
    assert number_of(open_source(str(tmp_path / "picture")).next_frame(0.0).frame) == 3


def test_play_keeps_the_time(clip):
    start_s = time.monotonic()
    seen = []
    for found in play(open_source(str(clip))):
        now_s = time.monotonic()
        assert found.captured_s <= now_s
        seen.append((found.time_s, now_s - start_s))
    assert seen[-1][0] == pytest.approx(0.44) and seen[-1][1] > 0.43
    assert [t for t, _ in seen] == sorted({t for t, _ in seen})


def test_play_ends_when_told(clip):
    stop = threading.Event()
    source = open_source("synthetic:standing", SourceOptions(size_px=64, fps=1))
    threading.Timer(0.2, stop.set).start()
    assert len(list(play(source, stop))) == 1  # the next frame would come after a second


def test_a_webcam_gives_the_newest(clip):
    """A camera of 100 fps and a taker that is slow."""
    gate = threading.Event()

    class Camera:
        def __init__(self):
            self.inner, self.closed = av.open(str(clip)), threading.Event()
            self.streams, self.duration = self.inner.streams, None

        def demux(self, stream):
            for packet in self.inner.demux(stream):
                gate.wait(0.01)
                yield packet

        def close(self):
            self.inner.close()
            self.closed.set()

    camera = Camera()
    source = WebcamSource("0", SourceOptions(fps=25), opener=lambda *_, **__: camera)
    first = source.next_frame(0.0)
    gate.set()
    assert camera.closed.wait(5)  # the camera has come to its end
    last = source.next_frame(0.0)
    assert first.time_s == 0 and last.time_s > 0 and number_of(last.frame) == 11
    assert source.dropped >= 11 - number_of(first.frame) - 1 and source.next_frame(0.0) is None
    source.close()


@pytest.mark.parametrize(("spec", "reason"), [
    ("", "expected webcam, webcam:1, a video, a picture, or synthetic:"),
    ("no/such.mp4", "no such file; expected webcam"),
    ("synthetic:flying", "expected synthetic:.standing,walking"),
    ("synthetic", "expected synthetic:.standing"),
    ("webcam:", "no such file; expected webcam"),
    ("webcam:77", "there is no /dev/video77"),
    (".", "is a folder"),
    (__file__, "is not a video"),
    ("a\nb.mp4", "no such file"),
    ("x" * 5000, "no such file"),
])  # fmt: skip
def test_what_is_no_source_is_one_line(spec, reason):
    with pytest.raises(SomacastError, match=reason) as caught:
        open_source(spec)
    assert "\n" not in str(caught.value)


def test_broken_pictures_and_options(tmp_path):
    (tmp_path / "me.jpg").write_text("letter")
    (tmp_path / "me").write_text("letter")
    with pytest.raises(SomacastError, match="not a picture"):
        open_source(str(tmp_path / "me.jpg"))
    with pytest.raises(SomacastError, match="not a video"):
        open_source(str(tmp_path / "me"))
    for wrong in ({"fps": 0}, {"seconds": 0}, {"fps": float("nan")}):
        with pytest.raises(SomacastError, match="expected"):
            SourceOptions(**wrong)


def test_the_two_functions_say_what_takes_films(clip):
    with pytest.raises(SomacastError, match=r"is a film; expected a picture. For films: `somacast encode") as caught:
        somacast.encode(clip)
    assert "\n" not in str(caught.value)
    with pytest.raises(
        BitstreamError, match="a person who moves; expected one of a picture. For videos: .somacast decode"
    ):
        somacast.decode(video_head("aflsc", bytes(3)) + bytes(100))
