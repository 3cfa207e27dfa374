"""Webcams: what is asked of a camera, what it gives, and one line for everything that is none; with stand-ins."""

from __future__ import annotations

import numpy as np
import pytest

from somacast.capture.video import open_webcam, webcam_address, write_video
from somacast.errors import SomacastError

av = pytest.importorskip("av")
GREY = np.full((64, 96, 3), 128, np.uint8)


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A clip of each rate, as a driver tells it."""
    made = {fps: tmp_path_factory.mktemp("clips") / f"rate{fps}.mp4" for fps in (5, 10, 15, 30)}
    for fps, path in made.items():
        write_video(path, [GREY] * 10, fps)
    return made


@pytest.fixture
def clip(clips):
    return clips[15]


def test_addresses():
    assert webcam_address("1", "linux") == ("/dev/video1", "v4l2")
    assert webcam_address("/dev/video2", "linux") == ("/dev/video2", "v4l2")
    assert webcam_address("0", "darwin") == ("0:none", "avfoundation")
    assert webcam_address("HD Camera", "win32") == ("video=HD Camera", "dshow")
    with pytest.raises(SomacastError, match="Linux, macOS or Windows"):
        webcam_address("0", "plan9")


def test_no_webcam(tmp_path):
    with pytest.raises(SomacastError, match="there is no /dev/video77; cameras of this machine:") as caught:
        open_webcam("77")
    assert "\n" not in str(caught.value)
    (tmp_path / "fake").write_text("x")
    with pytest.raises(SomacastError, match="cannot be opened") as caught:
        open_webcam(str(tmp_path / "fake"))
    assert "\n" not in str(caught.value)
    with pytest.raises(SomacastError, match="expected a number"):
        open_webcam("")


RATE = ("framerate", "video_size")


@pytest.mark.parametrize("platform", ["linux", "darwin"])
def test_a_webcam_that_refuses_the_wishes(monkeypatch, clip, platform):
    asked = []

    def opener(address, format, options):
        asked.append((address, format, options))
        if options:
            raise av.error.InvalidDataError(22, "Invalid argument", address)
        return av.open(str(clip))

    monkeypatch.setattr("sys.platform", platform)
    source = open_webcam("/dev/video3", size_px=(640, 480), opener=opener)
    assert len(list(source)) == 10
    both = {"video_size": "640x480", "framerate": "30"}
    wishes = [{"input_format": "mjpeg", **both}, both] if platform == "linux" else [both, *({k: both[k]} for k in RATE)]
    assert [options for *_, options in asked] == [*wishes, {}]
    assert source.notes == ["webcam /dev/video3: asked for 640 x 480 at 30 fps, it gives 96 x 64 at 15 fps (h264)"]


class Camera:
    """A stand-in for `av.open`: formats that a camera has, by name, with the rate that each reaches."""

    def __init__(self, clips, rates, plain="raw"):
        self.clips, self.rates, self.plain, self.asked, self.open = clips, rates, plain, [], 0

    def __call__(self, address, format, options):
        assert not self.open, "a camera is open once"
        name = {"mjpeg": "mjpeg", None: self.plain}[options.get("input_format")]
        self.asked.append(name if options else "as it is")
        if name not in self.rates or (format != "v4l2" and float(options.get("framerate", 0)) > self.rates[name]):
            raise av.error.ArgumentError(22, "Invalid argument", address)
        inner, camera = av.open(str(self.clips[self.rates[name]])), self
        self.open += 1

        class Opened:
            streams, duration = inner.streams, None

            def demux(self, stream):
                return inner.demux(stream)

            def close(self):
                camera.open = 0
                inner.close()

        return Opened()


@pytest.mark.parametrize(
    ("rates", "asked", "fps"),
    [
        ({"mjpeg": 30, "raw": 10}, ["mjpeg"], 30),  # a usual webcam at 720p
        ({"raw": 30}, ["mjpeg", "raw"], 30),  # a virtual camera, a capture card
        ({"raw": 10}, ["mjpeg", "raw", "raw"], 10),
        ({"mjpeg": 15, "raw": 30}, ["mjpeg", "raw"], 30),
        ({"mjpeg": 15, "raw": 5}, ["mjpeg", "raw", "mjpeg"], 15),
        ({"mjpeg": 15, "raw": 15}, ["mjpeg", "raw", "mjpeg"], 15),
    ],
)
def test_a_webcam_is_asked_for_mjpeg_and_the_rate_is_told(monkeypatch, clips, rates, asked, fps):
    monkeypatch.setattr("sys.platform", "linux")
    camera = Camera(clips, rates)
    with open_webcam("0", opener=camera) as source:
        assert camera.asked == asked and source.fps == pytest.approx(fps)
        assert source.notes[0].startswith(f"webcam 0: asked for 1280 x 720 at 30 fps, it gives 96 x 64 at {fps} fps (")
    assert not camera.open


@pytest.mark.parametrize("platform", ["darwin", "win32"])
def test_where_the_system_chooses_the_format_a_rate_that_is_refused_is_asked_for_alone(monkeypatch, clips, platform):
    """DirectShow and AVFoundation refuse what no format has."""
    monkeypatch.setattr("sys.platform", platform)
    camera = Camera(clips, {"raw": 15})
    with open_webcam("HD Camera", opener=camera) as source:
        assert camera.asked == ["raw"] * 4 and source.fps == pytest.approx(15)
        assert "asked for 1280 x 720 at 30 fps, it gives 96 x 64 at 15 fps" in source.notes[0]


def test_a_webcam_that_is_pulled_out(clip):
    class Pulled:
        """A container that fails after three packets."""

        def __init__(self):
            self.inner = av.open(str(clip))
            self.streams, self.duration = self.inner.streams, None

        def demux(self, stream):
            for number, packet in enumerate(self.inner.demux(stream)):
                if number == 3:
                    raise av.error.OSError(19, "No such device", "/dev/video0")
                yield packet

        def close(self):
            self.inner.close()

    with pytest.raises(SomacastError, match="webcam 0: has gone .No such device"):
        list(open_webcam("0", opener=lambda *_, **__: Pulled()))
