"""`somacast send`: a camera, video, picture or synthetic person, live to a receiver."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from somacast.cli.common import show_notes
from somacast.cli.live.common import DEFAULT_ADDRESS, StatusLine, rate_text, stopping, transport_options
from somacast.errors import SomacastError
from somacast.options import Device, Keys, Maybe, SystemName, check_positive
from somacast.systems.registry import DEFAULT

LOOK_BYTES = 1500  # of who it is, with their picture, in a file


@dataclass(frozen=True)
class Arguments:
    """Send a person live: what moves in every frame, who it is once and then ever better.

    Off this machine both ends need keys (somacast keys), or --insecure for a link that is safe by other means.

    Example: somacast send webcam --to 192.0.2.7:7447 --keys sender

    Example: somacast send synthetic:walking
    """

    source: Annotated[tyro.conf.Positional[str], Maybe()]
    """webcam, webcam:1, a video or picture file, or synthetic:walking (standing, running, jumping, sitting, ...)"""
    to: Annotated[str, Maybe(written=(".soma",))] = DEFAULT_ADDRESS
    """receiver: HOST:PORT; relay, or several receivers: zenoh:HOST:PORT,HOST:PORT; webrtc:http://HOST:PORT; or a .soma
    file to write"""
    listen: bool = False
    """wait at that address for receivers instead of going there"""
    room: str = "person"
    """name of the stream, where several go through one relay"""
    keys: Keys = None
    """folder with this machine's keys"""
    insecure: bool = False
    """leave this machine without encryption"""
    batch_ms: float = 0.0
    """how long frames may wait to share a datagram: 100 saves two thirds of the headers"""
    fps: float = 30.0
    """frames a second asked of the camera, and of synthetic people and pictures"""
    picture: bool = False
    """send a small picture beside the person, for receivers that may show it"""
    no_looks: bool = False
    """send no picture of the person; otherwise one, cut out of the background, is laid on them at the receiver"""
    height_m: float | None = None
    """how tall the person stands, barefoot, in metres"""
    careful: bool = False
    """look at every frame and its mirror image: slower, a little surer"""
    no_adapt: bool = False
    """no rate control: everything at full quality whatever the link carries"""
    seconds: float | None = None
    """end after that long"""
    system: SystemName = DEFAULT
    """which system looks and speaks"""
    device: Device = "cpu"

    def __post_init__(self) -> None:
        check_positive(fps=self.fps, seconds=self.seconds, height_m=self.height_m)
        if not 0 <= self.batch_ms <= 1000:
            raise SomacastError(f"--batch-ms {self.batch_ms}: expected 0 to 1000")


def run(arguments: Arguments) -> int:
    """Open, send until the end or Ctrl-C."""
    # Networks on one thread: beside camera, receiver or browser two threads wait for each other and take twice as long.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    options = transport_options(arguments.system, arguments.keys, arguments.insecure, arguments.listen or None)
    from somacast.network.transport.open import check_address, split_address
    from somacast.pipeline.sources import SourceOptions, open_source

    if split_address(arguments.to)[0] == "file":
        return _keep(arguments)
    check_address(arguments.to, arguments.room, options)
    source = open_source(arguments.source, SourceOptions(fps=arguments.fps, seconds=arguments.seconds))
    import time

    from somacast.network.transport.open import open_sender
    from somacast.pipeline.live.sender import LiveConfig
    from somacast.pipeline.live.sessions import SendOptions, SendSession
    from somacast.systems import registry

    system = registry.get(arguments.system)
    tracker = system.tracker(arguments.device, arguments.careful)
    tracker.warm_up()  # before anybody waits for the first frame
    with source, open_sender(arguments.to, arguments.room, options) as transport:
        show_notes(source.notes)
        live = LiveConfig(
            batch_s=arguments.batch_ms / 1000,
            adapt=not arguments.no_adapt,
            header_bytes=transport.header_bytes,
        )
        choice = SendOptions(live, arguments.height_m, arguments.picture, not arguments.no_looks)
        session = SendSession(source, transport, system, tracker, choice, int(time.time()) % 256)
        line = StatusLine()
        print(f"sending {arguments.source} to {arguments.to}, room {arguments.room}; Ctrl-C ends", flush=True)
        try:
            with stopping() as stop:
                session.run(stop, lambda status: line.show(_text(status), (status["peers"], status["note"])))
        finally:
            line.end()
    counts = session.sender.counts
    print(f"sent {counts.frames} frames in {counts.packets} datagrams, {counts.payload_bytes:,} bytes of payload")
    return stop.exit_code


def _keep(arguments: Arguments) -> int:
    """A source into a file, every frame at its own time, however long each takes to be looked at."""
    from somacast.pipeline.sources import SourceOptions, StillSource, open_source, play
    from somacast.pipeline.video.encode import encode_video
    from somacast.pipeline.video.journal import video_file
    from somacast.systems import registry
    from somacast.systems.spec import PicturingTracker
    from somacast.types import Capture

    if arguments.picture:
        raise SomacastError("--picture: a .soma file keeps no pictures of the sender")
    endless = arguments.seconds is None and arguments.source.startswith("synthetic:")
    source = open_source(arguments.source, SourceOptions(arguments.fps, endless, arguments.seconds))
    source.live |= isinstance(source, StillSource) and arguments.seconds is None
    system = registry.get(arguments.system)
    tracker = system.tracker(arguments.device, arguments.careful)
    line = StatusLine()
    look_bytes = LOOK_BYTES if isinstance(tracker, PicturingTracker) and not arguments.no_looks else None
    unseen = "; looks: not sent" if arguments.no_looks else ""
    print(f"sending {arguments.source} to {arguments.to}{unseen}; Ctrl-C ends", flush=True)
    with source, stopping() as stop, video_file(Path(arguments.to), system) as (journal, writer):
        show_notes(source.notes)
        captures = ((taken.time_s, Capture([taken.frame], arguments.height_m)) for taken in play(source, stop))
        try:
            report = encode_video(
                captures, writer, tracker, lambda n, s: line.show(f"{n} frames, {s:.1f} s"), look_bytes
            )
        finally:
            line.end()
        size = journal.finish()
    show_notes([*source.notes, *tracker.notes, *report.notes])
    print(f"sent {report.frames} frames, {report.seconds:.1f} s, {size:,} bytes")
    return stop.exit_code


def _text(status: dict[str, Any]) -> str:
    parts = [rate_text(status)]
    if status["rate_bps"] is not None and status["peers"]:
        parts.append(f"link {status['rate_bps'] / 1000:.0f} kbit/s")
    if status["round_trip_s"] is not None:
        parts.append(f"there and back {1000 * status['round_trip_s']:.0f} ms")
    parts.append(f"loss {100 * status['loss']:.0f} %")
    if status["encode_ms"] is not None:
        parts.append(f"looking {status['encode_ms']:.0f} ms")
    parts.append(f"{status['peers']} receivers" if status["peers"] != 1 else "1 receiver")
    parts.append(f"looks: {_looks(status)}")
    return "  ".join(parts) + (f"  {status['note']}" if status["note"] else "")


def _looks(status: dict[str, Any]) -> str:
    if not status["looks"]:
        return "not sent"
    return f"{status['look_bytes'] / 1000:.1f} kB" if status["look_bytes"] else "none yet"
