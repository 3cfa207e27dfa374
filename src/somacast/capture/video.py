"""Video files and webcams to pictures with times, through PyAV (FFmpeg): bounded, one clear error for each way to fail.

    open_video(path)    -> VideoSource: every frame in order of presentation
    open_webcam(device) -> VideoSource, to be read by a `latest.LatestReader`, which gives the newest frame only

Pictures are turned upright as the file says, brought to square pixels and, above `max_side_px`, reduced while they are
converted to RGB. FFmpeg is held to containers of one file: playlists, which name other files or hosts, stay shut.
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from somacast.errors import SomacastError
from somacast.extras import require
from somacast.files import check_output_path, write_atomically

MAX_SIDE_PX = 1280  # of what is handed on, unless told otherwise
MIN_SIDE_PX = 64
MAX_DECODED_PIXELS = 40_000_000  # held at once by a decoder: 8k has 33 million
MAX_DAMAGED = 300  # packets in a row that cannot be decoded before a file counts as over
_CONTAINERS = "mov,matroska,avi,mpegts,mpeg,flv,ogg,asf,gif,ivf,yuv4mpegpipe,h264,hevc,mjpeg,mpegvideo"
_KINDS = "MP4, MOV, WebM, MKV, AVI, MPEG, OGG, FLV or GIF"
_UPRIGHT = {90: 1, 180: 2, -180: 2, 270: 3, -90: 3}  # quarter turns counter-clockwise by FFmpeg's angle


class Picture(NamedTuple):
    """time_s: since the first frame, rising; image [H, W, 3] uint8 sRGB."""

    time_s: float
    image: np.ndarray

    def floats(self) -> np.ndarray:
        """The image as `Frame` wants it: [H, W, 3] float32 in [0, 1]."""
        return self.image.astype(np.float32) / 255


class VideoSource:
    """Iterates over the pictures of an open video; also a context manager that closes it. Not for several threads.

    fps: mean frames per second as the container says, or None; notes: what the user should be
    told, complete at the end (damaged parts are passed over). Iterating raises SomacastError if no frame can be read.
    """

    def __init__(self, container: Any, name: str, max_side_px: int = MAX_SIDE_PX, live: bool = False):
        self._container, self.name, self.max_side_px, self._live = container, name, max_side_px, live
        self.notes: list[str] = []
        if not container.streams.video:
            container.close()
            raise SomacastError(f"{name}: has no pictures; expected a video")
        self._stream = container.streams.video[0]
        self._check_size(self._stream.width or 0, self._stream.height or 0)
        self._stream.thread_type = "SLICE" if live else "AUTO"  # threads by frame would hold frames back
        rate = self._stream.average_rate
        self.fps = float(rate) if rate else None
        self._damaged = 0

    def _check_size(self, width: int, height: int) -> None:
        if width * height > MAX_DECODED_PIXELS:
            self.close()
            raise SomacastError(
                f"{self.name}: frames of {width} x {height} pixels are too large; expected at most "
                f"{MAX_DECODED_PIXELS // 1_000_000} MP"
            )

    def __enter__(self) -> VideoSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Give the file or device back; may be called again."""
        self._container.close()

    @property
    def as_it_comes(self) -> tuple[tuple[int, int], str, float | None]:
        """Width and height in pixels, codec and frames a second, as the container says."""
        stream = self._stream
        return (stream.width, stream.height), stream.codec_context.name, self.fps

    def __iter__(self) -> Iterator[Picture]:
        step_s = 1 / self.fps if self.fps else 1 / 30
        first_s, last_s, count = 0.0, -step_s, 0
        for frame in self._decoded():
            if not count:
                first_s = float(frame.time or 0.0)
            time_s = last_s if frame.time is None else float(frame.time) - first_s
            if time_s <= last_s:  # clocks of broken files lack, stand or go back
                time_s = last_s + step_s
            count, last_s = count + 1, time_s
            yield Picture(time_s, self._picture(frame))
        if not count:
            raise SomacastError(f"{self.name}: no frame can be decoded; expected a video ({_KINDS})")
        if self._damaged:
            self.notes.append(f"{self.name}: {self._damaged} damaged parts of the video were passed over")

    def _decoded(self) -> Iterator[Any]:
        """Decoded frames; what cannot be decoded is counted and passed over."""
        from av import error

        in_a_row = 0
        packets = self._container.demux(self._stream)
        while in_a_row < MAX_DAMAGED:
            try:
                packet = next(packets)
            except (StopIteration, error.EOFError):
                return
            except error.BlockingIOError:  # a camera that has nothing yet
                time.sleep(0.002)
                packets = self._container.demux(self._stream)
                continue
            except (error.FFmpegError, OSError) as fault:
                if self._live:
                    raise SomacastError(f"{self.name}: has gone ({fault.strerror or type(fault).__name__})") from fault
                self._damaged += 1  # the container ends here
                return
            try:
                for frame in packet.decode():
                    in_a_row = 0
                    self._check_size(frame.width, frame.height)
                    yield frame
            except error.EOFError:
                return
            except error.FFmpegError:
                self._damaged += 1
                in_a_row += 1

    def _picture(self, frame: Any) -> np.ndarray:
        """A decoded frame to [H, W, 3] uint8: square pixels, reduced, upright."""
        aspect = float(self._stream.sample_aspect_ratio or 1)
        width, height = frame.width * aspect, float(frame.height)
        if not 0.1 <= aspect <= 10:
            width = float(frame.width)
        shrink = min(1.0, self.max_side_px / max(width, height))
        size = max(1, round(width * shrink)), max(1, round(height * shrink))
        if min(size) < MIN_SIDE_PX:
            raise SomacastError(
                f"{self.name}: {size[0]} x {size[1]} pixels are too few; expected at least {MIN_SIDE_PX} on the "
                "shorter side"
            )
        how = "AREA" if shrink < 1 else "BILINEAR"
        rgb = frame.reformat(width=size[0], height=size[1], format="rgb24", interpolation=how).to_ndarray()
        angle = int(frame.rotation)
        return np.ascontiguousarray(np.rot90(rgb, _UPRIGHT[angle])) if angle in _UPRIGHT else rgb


def open_video(path: str | Path, max_side_px: int = MAX_SIDE_PX) -> VideoSource:
    """A video file; frames with a longer side than max_side_px (>= 64) are reduced.

    Raises SomacastError (one line) for no file, a folder, an empty file, what is no video, a video without pictures or
    of too large ones, and when PyAV is not installed.
    """
    require("av", "reading videos")
    path = Path(path)
    _check_side(max_side_px)
    if not os.path.exists(path):
        raise SomacastError(f"{path}: no such file; expected a video")
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "not an ordinary file"
        raise SomacastError(f"{path}: is {kind}; expected a video file")
    if not path.stat().st_size:
        raise SomacastError(f"{path}: is empty; expected a video")
    import av
    from av import error

    options = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file", "enable_drefs": "0"}
    try:
        container = av.open(f"file:{path.resolve()}", options=options, metadata_errors="replace")
    except PermissionError as fault:
        raise SomacastError(f"{path}: cannot be read ({fault.strerror}); expected a video") from fault
    except (error.FFmpegError, OSError, ValueError) as fault:
        raise SomacastError(f"{path}: is not a video that can be read; expected {_KINDS}") from fault
    return VideoSource(container, str(path), max_side_px)


def _check_side(max_side_px: int) -> None:
    if max_side_px < MIN_SIDE_PX:
        raise SomacastError(f"longest side: expected at least {MIN_SIDE_PX} pixels, got {max_side_px}")


# -- webcams -----------------------------------------------------------------------------------------------------------

_RATE_ENOUGH = 0.9  # of the rate that is asked: 29.97 is 30, 15 is not


def webcam_address(device: str, platform: str) -> tuple[str, str]:
    """(what FFmpeg opens, its input format) for a number or name of a webcam on a platform of sys.platform."""
    if platform.startswith("linux"):
        return (f"/dev/video{device}" if device.isdigit() else device), "v4l2"
    if platform == "darwin":
        return f"{device}:none", "avfoundation"
    if platform == "win32":
        return f"video={device}", "dshow"
    raise SomacastError(f"webcam: expected Linux, macOS or Windows, got {platform}")


def _windows_name(device: str, av: Any) -> str:
    """DirectShow knows cameras by name only: the name of number `device`."""
    names = [d.description for d in av.enumerate_input_devices("dshow") if "video" in (d.media_types or ())]
    if int(device) < len(names):
        return names[int(device)]
    have = ", ".join(names) or "none"
    raise SomacastError(f"webcam {device}: no such camera; there are {have}")


def _webcam_wishes(kind: str, size_px: tuple[int, int], fps: float) -> list[dict[str, str]]:
    """FFmpeg's options for a size and a rate, the best first.

    Raw pictures of 720p fill USB 2 at ten a second, and V4L2 gives raw ones unless asked. DirectShow and AVFoundation
    choose a format that has both size and rate, compressed or not, and refuse where there is none.
    """
    size, rate = {"video_size": f"{size_px[0]}x{size_px[1]}"}, {"framerate": f"{fps:g}"}
    if kind == "v4l2":
        return [{"input_format": "mjpeg"} | size | rate, size | rate]
    return [size | rate, rate, size]


def open_webcam(
    device: str = "0",
    size_px: tuple[int, int] = (1280, 720),
    fps: float = 30.0,
    max_side_px: int = MAX_SIDE_PX,
    opener: Callable[..., Any] | None = None,
) -> VideoSource:
    """A webcam by number ("0") or by name ("/dev/video0", "FaceTime HD Camera"); size_px (width, height) and fps are
    wishes: the way that comes nearest to the rate is taken, `notes` say what was asked and what came, and a camera that
    refuses all wishes is opened as it is. opener: in place of `av.open`.

    Raises SomacastError if there is no such camera, it is in use or forbidden, or PyAV is not installed. Frames queue
    up unless somebody reads: put the source into a `latest.LatestReader`.
    """
    require("av", "a webcam")
    _check_side(max_side_px)
    import av
    from av import error

    if not device:
        raise SomacastError("webcam: expected a number (webcam:0) or a name (webcam:/dev/video0), got none")
    if sys.platform == "win32" and device.isdigit():
        device = _windows_name(device, av)
    address, kind = webcam_address(device, sys.platform)
    if kind == "v4l2" and not Path(address).exists() and opener is None:
        found = ", ".join(sorted(str(p) for p in Path("/dev").glob("video*"))) or "none"
        raise SomacastError(f"webcam {device}: there is no {address}; cameras of this machine: {found}")
    faults: list[Exception] = []

    def opened(options: dict[str, str]) -> VideoSource | None:
        try:
            container = (opener or av.open)(address, format=kind, options=options)
            return VideoSource(container, f"webcam {device}", max_side_px, live=True)
        except (error.FFmpegError, OSError, ValueError) as fault:
            if isinstance(fault, SomacastError):
                raise
            faults.append(fault)
            return None

    slower: list[tuple[float, dict[str, str]]] = []
    for options in _webcam_wishes(kind, size_px, fps):
        found = opened(options)
        if found is not None and (found.fps is None or found.fps >= _RATE_ENOUGH * fps):
            return _noted(found, size_px, fps)
        if found is not None and found.fps is not None:
            slower.append((found.fps, options))
            found.close()  # a camera is open once
    fastest = [options for _, options in sorted(slower, key=lambda one: -one[0])]
    for options in (*fastest, {}):
        if (found := opened(options)) is not None:
            return _noted(found, size_px, fps)
    reason = getattr(faults[-1], "strerror", None) or str(faults[-1]) or type(faults[-1]).__name__
    raise SomacastError(f"webcam {device}: {address} cannot be opened ({reason}); is it in use or forbidden?")


def _noted(webcam: VideoSource, size_px: tuple[int, int], fps: float) -> VideoSource:
    """The webcam with a note of what was asked and what came."""
    got_px, codec, got_fps = webcam.as_it_comes
    rate = "at a rate it does not tell" if got_fps is None else f"at {got_fps:g} fps"
    got = f"{got_px[0]} x {got_px[1]} {rate} ({codec})"
    webcam.notes.append(f"{webcam.name}: asked for {size_px[0]} x {size_px[1]} at {fps:g} fps, it gives {got}")
    return webcam


# -- writing -----------------------------------------------------------------------------------------------------------

_CODECS = {".mp4": "libx264", ".webm": "libvpx-vp9"}


def write_video(path: str | Path, frames: Iterable[np.ndarray], fps: float = 30.0) -> int:
    """Write pictures [H, W, 3], uint8 or floats in [0, 1], all of one size, as .mp4 (H.264) or .webm (VP9).

    Returns the number of frames. The file appears whole or not at all; odd sides lose their last row or column.
    Raises SomacastError for another suffix, no frames, frames that differ in size, fps outside 1 to 240.
    """
    require("av", "writing videos")
    target = check_output_path(path)
    if target.suffix.lower() not in _CODECS:
        raise SomacastError(f"{path}: expected a name ending in .mp4 or .webm, got {target.suffix or 'none'}")
    if not 1 <= fps <= 240:
        raise SomacastError(f"fps: expected 1 to 240, got {fps}")
    import av

    buffer, count, shape = io.BytesIO(), 0, None
    stream: Any = None
    codec, rate = _CODECS[target.suffix.lower()], Fraction(fps).limit_denominator(1001)
    with av.open(buffer, "w", format=target.suffix[1:].lower()) as container:
        for image in frames:
            pixels = image if image.dtype == np.uint8 else np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
            shape = shape or pixels.shape
            if pixels.shape != shape or pixels.ndim != 3 or pixels.shape[2] != 3 or min(shape[:2]) < 16:
                raise SomacastError(f"video: expected frames [H, W, 3] of one size from 16 px, got {pixels.shape}")
            pixels = np.ascontiguousarray(pixels[: shape[0] // 2 * 2, : shape[1] // 2 * 2])
            if stream is None:
                stream = container.add_stream(codec, rate=rate)
                stream.width, stream.height, stream.pix_fmt = pixels.shape[1], pixels.shape[0], "yuv420p"
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, "rgb24")))
            count += 1
        if stream is None:
            raise SomacastError(f"{path}: expected at least one frame for a video, got none")
        container.mux(stream.encode(None))
    write_atomically(target, buffer.getvalue())
    return count
