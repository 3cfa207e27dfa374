"""The stream of a container that is the film: which it is, how long it says it is, and its frames as whole pictures.

Interlaced frames are two moments in one picture; they become whole pictures of one moment, at the same times.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

from somacast.errors import SomacastError

# Pictures beside a film: covers, thumbnails of chapters, slides, tiles of a larger picture.
_BESIDE = ("attached_pic", "timed_thumbnails", "still_image", "dependent")
_STILL_CODECS = ("mjpeg", "png", "bmp", "gif", "tiff", "webp", "jpeg2000")
# So much may lack at the end without a word: of what a stream says of itself, of what the container says of all.
STREAM_TOLERANCE_S, CONTAINER_TOLERANCE_S = 0.25, 1.0
# Bob Weaver with a kernel of W3F; one frame out for each in; frames that are not marked pass as they are.
_FILTER, _SETTINGS = "bwdif", "mode=send_frame:parity=auto:deint=interlaced"


def film_stream(container: Any, name: str) -> Any:
    """The stream of pictures that move: no cover, thumbnail or slide; where there are several, the largest, then the
    one that the file marks as its own. SomacastError if there is none."""
    streams = list(container.streams.video)
    if not streams:
        raise SomacastError(f"{name}: has no pictures; expected a video")
    moving = [stream for stream in streams if not _is_beside(stream)]
    if not moving:
        raise SomacastError(f"{name}: has no film, only a cover picture; expected a video")
    return max(moving, key=_likeness)


def _is_beside(stream: Any) -> bool:
    return any(flag in _BESIDE for flag in _flags(stream))


def _flags(stream: Any) -> list[str]:
    from av.stream import Disposition

    return [flag.name for flag in Disposition if flag.name and flag in stream.disposition]


def _likeness(stream: Any) -> tuple[bool, bool, int, bool]:
    """How much a stream looks like the film; more is better."""
    several = stream.frames != 1
    moving_codec = stream.codec_context.name not in _STILL_CODECS
    area = (stream.width or 0) * (stream.height or 0)
    return several, moving_codec, area, "default" in _flags(stream)


def declared_end(stream: Any) -> tuple[float, float]:
    """How long in seconds the film says it is (0 if it does not say), and by how much that may be wrong."""
    avi = stream.container.format.name == "avi"  # whose time FFmpeg guesses from its bytes
    if avi and stream.frames and stream.average_rate:
        return float(stream.frames / stream.average_rate), STREAM_TOLERANCE_S
    if stream.duration and stream.time_base:
        return float(stream.duration * stream.time_base), STREAM_TOLERANCE_S
    clock = stream.metadata.get("DURATION", "").split(":")  # of Matroska
    try:
        if len(clock) == 3:
            return int(clock[0]) * 3600 + int(clock[1]) * 60 + float(clock[2]), STREAM_TOLERANCE_S
    except ValueError:
        pass
    return (stream.container.duration or 0) / 1_000_000, CONTAINER_TOLERANCE_S


def lacks_index(path: Path) -> bool:
    """Whether a file of the MP4 family has its pictures, but not the index that says where they are: it was cut short,
    or never finished."""
    size, at, seen = path.stat().st_size, 0, set()
    with open(path, "rb") as file:
        while at + 8 <= size and len(seen) < 64:
            file.seek(at)
            head = file.read(16)
            length = int.from_bytes(head[:4], "big")
            if length == 1:
                length = int.from_bytes(head[8:16], "big")
            seen.add(head[4:8])
            if length < 8:
                break
            at += length
    whole = at <= size
    return b"mdat" in seen and (b"moov" not in seen or not whole)


def progressive(frames: Iterator[Any]) -> Iterator[Any]:
    """Decoded frames of PyAV, of which those that are marked as interlaced come out as whole pictures. Nothing is
    filtered before the first of them."""
    graph, shape = None, None
    for frame in frames:
        own = (frame.width, frame.height, frame.format.name)
        if graph is not None and own != shape:
            yield from _rest(graph)
            graph = None
        if graph is None and frame.interlaced_frame:
            graph, shape = _graph(frame), own
        if graph is None:
            yield frame
            continue
        graph.push(frame)
        yield from _ready(graph)
    if graph is not None:
        yield from _rest(graph)


def _graph(frame: Any) -> Any:
    from av.filter import Graph

    graph = Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format.name, time_base=frame.time_base
    )
    steps = [source, graph.add(_FILTER, _SETTINGS), graph.add("buffersink")]
    for one, next_one in pairwise(steps):
        one.link_to(next_one)
    graph.configure()
    return graph


def _ready(graph: Any) -> Iterator[Any]:
    """Frames that the filter has done with; it holds one back, to compare it with the next."""
    from av import error

    while True:
        try:
            yield graph.pull()
        except (error.BlockingIOError, error.EOFError):
            return


def _rest(graph: Any) -> Iterator[Any]:
    graph.push(None)
    yield from _ready(graph)
