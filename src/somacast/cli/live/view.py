"""`somacast view`: a .soma file, a mesh or a live stream in the browser."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import tyro

from somacast.cli.common import read_file, show_notes
from somacast.cli.live.common import stopping, transport_options
from somacast.errors import SomacastError
from somacast.formats.export import TexturePx
from somacast.options import Device, Keys, Maybe, SystemName, check_positive
from somacast.systems.registry import DEFAULT

MESHES = (".glb", ".ply", ".obj")
LARGEST_BYTES = 64 << 20
FPS = 30.0
Values = Callable[[float], np.ndarray]  # of what moves [M], at a time in seconds


@dataclass(frozen=True)
class Arguments:
    """Show a person in the browser: a .soma picture or video, a mesh, or what a relay or sender gives out live.

    Example: somacast view walk.soma

    Example: somacast view zenoh:relay.example.org:7447 --keys receiver
    """

    what: Annotated[tyro.conf.Positional[str], Maybe()]
    """.soma file, mesh (.glb, .ply, .obj), or address of a listening sender (HOST:PORT) or a relay (zenoh:HOST:PORT)"""
    port: int = 0
    """port of the page, 0: any free one"""
    open: bool = False
    """open the page in this machine's browser"""
    room: str = "person"
    """name of a live stream"""
    keys: Keys = None
    """folder with this machine's keys, for a live stream"""
    insecure: bool = False
    """leave this machine without encryption"""
    show_picture: bool = False
    """let the page show the sender's own picture, where one is sent"""
    seconds: float | None = None
    """end after that long"""
    system: SystemName = DEFAULT
    """which system the sender of a live stream uses"""
    texture: TexturePx | None = None
    """side of the person's texture in texels; if not given 1024, of a live stream 512"""
    device: Device = "cpu"

    def __post_init__(self) -> None:
        check_positive(seconds=self.seconds)


@dataclass(frozen=True)
class _Live:
    """What `receive` takes."""

    system: str
    room: str
    view_port: int
    show_picture: bool
    seconds: float | None
    texture: TexturePx | None
    view: bool = True
    record: Path | None = None


def run(arguments: Arguments) -> int:
    """Load, serve until Ctrl-C."""
    path = Path(arguments.what)
    if not path.exists() and ":" in arguments.what and path.suffix not in (".soma", *MESHES):
        from somacast.cli.live.receive import receive

        options = transport_options(arguments.system, arguments.keys, arguments.insecure, False)
        seconds, texture = arguments.seconds, arguments.texture
        live = _Live(arguments.system, arguments.room, arguments.port, arguments.show_picture, seconds, texture)
        return receive(live, arguments.what, options, None, arguments.device)
    if path.suffix.lower() in MESHES:
        if arguments.texture is not None:
            raise SomacastError(
                f"{path}: --texture {arguments.texture} is for people who are decoded; a mesh has its own"
            )
        body, values_at = _mesh(path)
    elif path.suffix.lower() == ".soma" or not path.exists():
        body, values_at = _sent(path, arguments.device, arguments.texture)
    else:
        raise SomacastError(f"{path}: expected a .soma file, a mesh ({', '.join(MESHES)}) or an address HOST:PORT")
    return _serve(arguments, body, values_at)


@dataclass(frozen=True)
class _MeshBody:
    """A mesh that no joint moves, as somebody to be shown."""

    rig: Any

    def pose(self, values: np.ndarray) -> Any:
        from somacast.systems.spec import LivePose

        return LivePose(self.rig.rotations, np.zeros(3))

    def reconstruct(self, values: np.ndarray) -> Any:
        raise AssertionError("a rig is posed")


def _mesh(path: Path) -> tuple[Any, Values]:
    """A mesh from a file."""
    from somacast.formats.meshes import load_mesh
    from somacast.geometry.rig import still_rig

    return _MeshBody(still_rig(load_mesh(path))), lambda time_s: np.zeros(0)


def _sent(path: Path, device: str, texture_px: int | None) -> tuple[Any, Values]:
    """A .soma picture or video: who it is, and the values at a time. Of several people the first is shown."""
    from somacast.pipeline.still.receiver import open_payload
    from somacast.pipeline.video.animate import own_stretches
    from somacast.pipeline.video.files import read_video, still_video
    from somacast.pipeline.video.journal import opened_video
    from somacast.systems import registry

    with opened_video(path) as data:
        video = None if data is None else read_video(data)
    if video is None:
        data = read_file(path, "a .soma file, a mesh or an address HOST:PORT", LARGEST_BYTES)
        video = still_video(*open_payload(data))
    own, notes = own_stretches(video)
    show_notes([*video.notes, *notes])
    system = registry.get(video.system).textured(texture_px)
    body = system.live.body(system.decoder(device), video.people[own[0].person])

    def values_at(time_s: float) -> np.ndarray:
        time_s %= video.end_s
        known = [one for one in own if video.times_s[one.first] <= time_s] or own[:1]
        return video.at(time_s, known[-1])

    return body, values_at


def _serve(arguments: Arguments, body: Any, values_at: Values) -> int:
    from somacast.pipeline.live.sessions import show_frame
    from somacast.viewer.output import ViewerOutput
    from somacast.viewer.server import ViewerServer

    shown = ViewerOutput(Path(arguments.what).name)
    with ViewerServer(shown.feed, port=arguments.port) as server, stopping() as stop:
        print(f"open {server.url}  (Ctrl-C ends)", flush=True)
        if arguments.open:
            import webbrowser

            webbrowser.open(server.url)
        shown.person(body, 0)
        shown.feed.set_status({"title": shown.title, "state": "live"})
        start, frame = time.monotonic(), 0
        while not stop.is_set():
            now = time.monotonic()
            if arguments.seconds is not None and now - start >= arguments.seconds:
                break
            show_frame(body, [shown], now, frame, values_at(now - start))
            frame += 1
            stop.wait(max(start + frame / FPS - time.monotonic(), 0.0))
    return stop.exit_code
