"""Files are told by their content: whatever their names say, pictures, pictures that move and films find their door."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from somacast.capture.kinds import Kind, holds_film, kind_of
from somacast.capture.pictures import read_image
from somacast.capture.video import open_video
from somacast.errors import SomacastError
from somacast.pipeline.sources import SourceOptions, StillSource, VideoFileSource, names_a_video, open_source

av = pytest.importorskip("av")
SIZE = (96, 72)
COLORS = ((200, 40, 40), (40, 200, 40), (40, 40, 200))


def picture(number: int = 0) -> Image.Image:
    """One colour, and a corner that tells left from right."""
    image = np.full((SIZE[1], SIZE[0], 3), COLORS[number % 3], np.uint8)
    image[:20, :20] = 250
    return Image.fromarray(image)


def still(kind: str) -> bytes:
    file = io.BytesIO()
    picture().save(file, kind)
    return file.getvalue()


def moving(kind: str, **options) -> bytes:
    file = io.BytesIO()
    picture().save(file, kind, save_all=True, append_images=[picture(1), picture(2)], **options)
    return file.getvalue()


def film(kind: str, codec: str) -> bytes:
    file = io.BytesIO()
    with av.open(file, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuvj420p" if codec == "mjpeg" else "yuv420p"
        for number in range(6):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.asarray(picture(number)), "rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


STILL = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "JPEG2000", "PPM", "TGA")
MOVING = ("GIF", "PNG", "WEBP", "AVIF")
FILMS = (("mp4", "libx264"), ("mov", "libx264"), ("3gp", "libx264"), ("matroska", "libx264"), ("webm", "libvpx-vp9"),
         ("avi", "mpeg4"), ("mpegts", "libx264"), ("asf", "mpeg4"), ("flv", "libx264"), ("ogg", "libvpx"),
         ("mpeg", "mpeg2video"), ("h264", "libx264"), ("mjpeg", "mjpeg"), ("ivf", "libvpx-vp9"))  # fmt: skip


@pytest.mark.parametrize("kind", STILL)
@pytest.mark.parametrize("name", ["me.mp4", "webcam_me.jpg", "noname"])
def test_pictures_whatever_they_are_called(tmp_path, kind, name):
    path = tmp_path / name
    path.write_bytes(still(kind))
    assert kind_of(path) is (Kind.UNKNOWN if kind == "TGA" else Kind.PICTURE)
    assert not holds_film(path) and not names_a_video(str(path))
    assert read_image(path).image.shape == (72, 96, 3)
    with open_source(str(path), SourceOptions(realtime=False)) as source:
        assert isinstance(source, StillSource)


@pytest.mark.parametrize("kind", MOVING)
def test_pictures_that_move(tmp_path, kind):
    path = tmp_path / "me.jpg"
    path.write_bytes(moving(kind, duration=[120, 120, 120]))
    assert kind_of(path) is Kind.ANIMATION and names_a_video(str(path))
    found = list(open_video(path))
    assert [p.time_s for p in found] == pytest.approx([0, 0.12, 0.24], abs=1e-3)
    for number, shown in enumerate(found):
        assert np.abs(shown.image[40:60, 40:60].astype(int) - COLORS[number]).max() < 40
    with open_source(str(path), SourceOptions(realtime=False)) as source:
        assert isinstance(source, VideoFileSource)
    first = read_image(path)  # whoever wants one picture gets the first, and is told
    assert any("several frames" in note for note in first.notes)


def test_a_moving_picture_keeps_uneven_times_and_what_is_clear_is_grey(tmp_path):
    frames = [Image.new("RGBA", SIZE, (255, 0, 0, 0 if k else 255)) for k in range(3)]
    frames[2].putpixel((90, 60), (0, 0, 255, 255))
    path = tmp_path / "a.webp"
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=[50, 1500, 50], lossless=True)
    found = list(open_video(path))
    assert [p.time_s for p in found] == pytest.approx([0, 0.05, 1.55])
    assert found[0].image[5, 5].tolist() == [255, 0, 0] and found[1].image[5, 5].tolist() == [128] * 3
    hurt = tmp_path / "hurt.gif"
    noise = [Image.fromarray(np.random.default_rng(k).integers(0, 255, (72, 96), np.uint8)) for k in range(4)]
    noise[0].save(hurt, save_all=True, append_images=noise[1:], duration=100)
    hurt.write_bytes(hurt.read_bytes()[:-9000])
    with open_video(hurt) as source:
        assert 0 < len(list(source)) < 4 and any("breaks off" in note for note in source.notes)


@pytest.mark.parametrize(("kind", "codec"), FILMS)
def test_films_whatever_they_are_called(tmp_path, kind, codec):
    path = tmp_path / "webcam.jpg"
    try:
        path.write_bytes(film(kind, codec))
    except (av.error.FFmpegError, ValueError) as fault:
        pytest.skip(f"NOT CHECKED: the FFmpeg of this PyAV writes no {codec} in {kind}: {fault}")
    assert holds_film(path) and names_a_video(str(path))
    assert len(list(open_video(path))) == 6
    if kind != "h264":  # the stream has no mark of its own
        with pytest.raises(SomacastError, match="is a film; expected a picture. For films: .somacast encode") as caught:
            read_image(path)
        assert "\n" not in str(caught.value)


def test_transport_streams_of_camcorders_have_times_between(tmp_path):
    """Four bytes before each packet of 188, as .mts files have."""
    plain = film("mpegts", "libx264")
    path = tmp_path / "clip.mts"
    path.write_bytes(b"".join(b"\x12\x34\x56\x78" + plain[k : k + 188] for k in range(0, len(plain), 188)))
    assert kind_of(path) is Kind.FILM and len(list(open_video(path))) == 6


def test_a_jpeg_with_more_behind_it_is_a_picture(tmp_path):
    path = tmp_path / "motion.jpg"
    path.write_bytes(still("JPEG") + film("mp4", "libx264"))  # as phones do
    assert kind_of(path) is Kind.PICTURE
    file = io.BytesIO()
    picture().save(file, "MPO", save_all=True, append_images=[picture(1), picture(2), picture(0)])
    path.write_bytes(file.getvalue())
    assert kind_of(path) is Kind.PICTURE
    gif = tmp_path / "one.mp4"
    gif.write_bytes(still("GIF"))
    assert kind_of(gif) is Kind.PICTURE


def test_webcams_are_words_and_files_are_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("webcam_me.jpg", "webcam.png", "webcams", "synthetic.jpg"):
        picture().save(name, "PNG")
        for spec in (name, f"./{name}"):
            assert not names_a_video(spec)
            open_source(spec).close()
    assert all(names_a_video(spec) for spec in ("webcam", "webcam:1", "webcam:/dev/video3", "synthetic:walking"))
    assert not names_a_video("webcam:") and not names_a_video("no/such.mp4")


def test_damaged_pictures_are_pictures_and_what_is_nothing_is_neither(tmp_path):
    for kind in ("PNG", "WEBP", "GIF"):
        (tmp_path / "x").write_bytes(still(kind)[:20])
        assert kind_of(tmp_path / "x") is Kind.PICTURE
    (tmp_path / "x").write_bytes(b"plain words\n" * 100)
    assert kind_of(tmp_path / "x") is Kind.UNKNOWN and not holds_film(tmp_path / "x")
    with pytest.raises(SomacastError, match="is not a picture and is not a video"):
        open_source(str(tmp_path / "x"))
    with pytest.raises(SomacastError, match="is a .soma file"):
        (tmp_path / "x").write_bytes(b"\x9eS" + bytes(80))
        read_image(tmp_path / "x")
    assert kind_of(tmp_path) is Kind.UNKNOWN and kind_of(tmp_path / "none") is Kind.UNKNOWN


REPORTS = Path(__file__).parents[3] / "shared" / "reports"


@pytest.mark.skipif(not REPORTS.is_dir(), reason="shared/reports is not here")
@pytest.mark.parametrize("name", sorted(os.listdir(REPORTS)) if REPORTS.is_dir() else [])
def test_reported_files(name):
    if name.endswith(".md"):
        return
    still_kind = name.endswith((".jpg", ".jfif", ".png"))
    assert names_a_video(str(REPORTS / name)) != still_kind
    with open_source(str(REPORTS / name), SourceOptions(realtime=False)) as source:
        assert isinstance(source, StillSource if still_kind else VideoFileSource)
