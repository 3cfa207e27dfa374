"""Video files and webcams to pictures with times, through PyAV (FFmpeg): bounded, one clear error for each way to fail.

    open_video(path)    -> Film: every frame in order of presentation
    open_webcam(device) -> Film, to be read by a `latest.LatestReader`, which gives the newest frame only

Pictures are turned upright as the file says, deinterlaced, brought to square pixels and sRGB and, above `max_side_px`,
reduced on the way. FFmpeg is held to containers of one file: playlists, which name other files or hosts, stay shut.
"""

from __future__ import annotations

import io
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from somacast.capture.animations import Animation
from somacast.capture.film import MAX_SIDE_PX, Film, Picture, check_frame_size, check_side, fitted_size
from somacast.capture.frames import ODD_ANGLE_DEG, ColorSpace, to_srgb, upright_of_frame
from somacast.capture.kinds import FILMS, Kind, kind_of
from somacast.capture.streams import declared_end, film_stream, lacks_index, progressive
from somacast.errors import SomacastError
from somacast.extras import require
from somacast.files import check_output_path, write_atomically

MAX_DAMAGED = 300  # packets in a row that cannot be decoded before a file counts as over
_CONTAINERS = "mov,matroska,avi,mpegts,mpeg,flv,ogg,asf,gif,ivf,yuv4mpegpipe,h264,hevc,mjpeg,mpegvideo,dv,mxf"
_ODD_ANGLE = "{}: is to be shown at {:.0f} degrees from a quarter turn; the nearest quarter turn is used"
_BROKEN_OFF = "{}: breaks off after {:.1f} s of {:.1f} s: {:.1f} s are missing"


class VideoSource(Film):
    """See `Film`; of a container of PyAV. held: what is given back with it."""

    def __init__(self, container: Any, name: str, max_side_px: int = MAX_SIDE_PX, live: bool = False):
        super().__init__(name, max_side_px)
        self._container, self._live = container, live
        self.held = ExitStack()
        try:
            self._stream = film_stream(container, name)
            check_frame_size(name, self._stream.width or 0, self._stream.height or 0)
        except SomacastError:
            container.close()
            raise
        self._stream.thread_type = "SLICE" if live else "AUTO"  # threads by frame would hold frames back
        rate = self._stream.average_rate
        self.fps = float(rate) if rate else None
        self._damaged = 0

    def close(self) -> None:
        self._container.close()
        self.held.close()

    @property
    def as_it_comes(self) -> tuple[tuple[int, int], str, float | None]:
        """Width and height in pixels, codec and frames a second, as the container says."""
        stream = self._stream
        return (stream.width, stream.height), stream.codec_context.name, self.fps

    def __iter__(self) -> Iterator[Picture]:
        step_s = 1 / self.fps if self.fps else 1 / 30
        first, last_s, lasts_s, count = Fraction(0), -step_s, step_s, 0
        for frame in self._decoded() if self._live else progressive(self._decoded()):
            stamp = None if frame.pts is None else frame.pts * frame.time_base
            if not count:
                first = stamp or Fraction(0)
            time_s = last_s if stamp is None else float(stamp - first)
            if time_s <= last_s:  # clocks of broken files lack, stand or go back
                time_s = last_s + step_s
            lasts_s = float(frame.duration * frame.time_base) if frame.duration and frame.time_base else step_s
            count, last_s = count + 1, time_s
            yield Picture(time_s, self._picture(frame))
        if not count:
            raise SomacastError(f"{self.name}: no frame can be decoded; expected a video ({FILMS})")
        self._note_what_is_missing(last_s + lasts_s)

    def _note_what_is_missing(self, end_s: float) -> None:
        """Of a film that is over at end_s."""
        if self._damaged:
            self.notes.append(f"{self.name}: {self._damaged} damaged parts of the video were passed over")
        if self._live:
            return
        whole_s, tolerance_s = declared_end(self._stream)
        if whole_s - end_s > tolerance_s:
            self.notes.append(_BROKEN_OFF.format(self.name, end_s, whole_s, whole_s - end_s))

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
                    check_frame_size(self.name, frame.width, frame.height)
                    yield frame
            except error.EOFError:
                return
            except error.FFmpegError:
                self._damaged += 1
                in_a_row += 1

    def _picture(self, frame: Any) -> np.ndarray:
        """A decoded frame to [H, W, 3] uint8: square pixels, reduced, sRGB, upright."""
        aspect = float(self._stream.sample_aspect_ratio or 1)
        width = frame.width * aspect if 0.1 <= aspect <= 10 else float(frame.width)
        size = fitted_size(self.name, width, float(frame.height), self.max_side_px)
        codec = self._stream.codec_context
        rgb = to_srgb(frame, size, ColorSpace(codec.color_primaries, codec.color_trc, codec.colorspace))
        upright, odd_deg = upright_of_frame(frame)
        note = _ODD_ANGLE.format(self.name, odd_deg)
        if odd_deg > ODD_ANGLE_DEG and note not in self.notes:
            self.notes.append(note)
        return upright(rgb)


class _Nameless:
    """A file of which FFmpeg learns no name: it then goes by the content alone, too."""

    def __init__(self, file: BinaryIO):
        self.read, self.seek, self.tell = file.read, file.seek, file.tell


def open_video(path: str | Path, max_side_px: int = MAX_SIDE_PX) -> Film:
    """A video file or a picture that moves; frames with a longer side than max_side_px (>= 64) are reduced.

    Raises SomacastError (one line) for no file, a folder, an empty file, what is no video, a video without pictures or
    of too large ones, and when PyAV is not installed.
    """
    path = Path(path)
    moves = kind_of(path) is Kind.ANIMATION
    if not moves:
        require("av", "reading videos")
    check_side(max_side_px)
    if not os.path.exists(path):
        raise SomacastError(f"{path}: no such file; expected a video")
    if not path.is_file():
        kind = "a folder" if path.is_dir() else "not an ordinary file"
        raise SomacastError(f"{path}: is {kind}; expected a video file")
    if not path.stat().st_size:
        raise SomacastError(f"{path}: is empty; expected a video")
    if moves:
        return Animation(path, max_side_px)
    import av
    from av import error

    options = {"format_whitelist": _CONTAINERS, "enable_drefs": "0"}
    with ExitStack() as stack:
        try:
            file = stack.enter_context(path.open("rb"))
            container = av.open(_Nameless(file), options=options, metadata_errors="replace")
        except PermissionError as fault:
            raise SomacastError(f"{path}: cannot be read ({fault.strerror}); expected a video") from fault
        except (error.FFmpegError, OSError, ValueError) as fault:
            if lacks_index(path):
                raise SomacastError(
                    f"{path}: the video is cut short: its index, which stands at the end, is missing; expected a whole "
                    "file"
                ) from fault
            raise SomacastError(f"{path}: is not a video that can be read; expected {FILMS}") from fault
        source = VideoSource(container, str(path), max_side_px)
        source.held.push(stack.pop_all())
        return source


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
    check_side(max_side_px)
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
_FINE = Fraction(1, 90_000)  # unit of times that are not even


def write_video(
    path: str | Path, frames: Iterable[np.ndarray], fps: float = 30.0, times_s: Iterable[float] | None = None
) -> int:
    """Write pictures [H, W, 3], uint8 or floats in [0, 1], all of one size, as .mp4 (H.264) or .webm (VP9).

    times_s: when each is shown, rising from 0 on; None: `fps` a second. Pictures are taken one at a time. Returns the
    number of frames. The file appears whole or not at all; odd sides lose their last row or column. Raises
    SomacastError for another suffix, no frames, frames that differ in size, fps outside 1 to 240.
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
    when = None if times_s is None else iter(times_s)
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
                if when is not None:
                    stream.time_base = stream.codec_context.time_base = _FINE
            picture = av.VideoFrame.from_ndarray(pixels, "rgb24")
            if when is not None:
                picture.pts, picture.time_base = round(next(when) / _FINE), _FINE
            container.mux(stream.encode(picture))
            count += 1
        if stream is None:
            raise SomacastError(f"{path}: expected at least one frame for a video, got none")
        container.mux(stream.encode(None))
    write_atomically(target, buffer.getvalue())
    return count
