"""`somacast view`: a .soma file, a mesh or a live stream in the browser."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from somacast.cli.common import Device, check_device, check_positive, parse, read_file, show_notes
from somacast.cli.live.common import stopping, transport_options
from somacast.errors import SomacastError

MESHES = (".glb", ".ply", ".obj")
LARGEST_BYTES = 64 << 20
FPS = 30.0


@dataclass(frozen=True)
class Arguments:
    """Show a person in the browser: a .soma picture or video, a mesh, or what a relay or sender gives out live.

    Example: somacast view walk.soma

    Example: somacast view relay.example.org:7447 --keys receiver
    """

    what: tyro.conf.Positional[str]
    """.soma file, mesh (.glb, .ply, .obj), or address of a relay or listening sender: HOST:PORT"""
    port: int = 0
    """port of the page, 0: any free one"""
    open: bool = False
    """open the page in this machine's browser"""
    room: str = "person"
    """name of a live stream"""
    keys: Path | None = None
    """folder with this machine's keys, for a live stream"""
    insecure: bool = False
    """leave this machine without encryption"""
    show_picture: bool = False
    """let the page show the sender's own picture, where one is sent"""
    seconds: float | None = None
    """end after that long"""
    device: Device = "cpu"


@dataclass(frozen=True)
class _Live:
    """What `receive` takes."""

    room: str
    view_port: int
    show_picture: bool
    seconds: float | None
    view: bool = True
    record: Path | None = None


def run(argv: Sequence[str]) -> int:
    """Parse, load, serve until Ctrl-C."""
    arguments = parse(Arguments, argv, "somacast view")
    check_positive(seconds=arguments.seconds)
    path = Path(arguments.what)
    device = check_device(arguments.device)
    if not path.exists() and ":" in arguments.what and path.suffix not in (".soma", *MESHES):
        from somacast.cli.live.receive import receive

        options = transport_options(arguments.keys, arguments.insecure, False)
        live = _Live(arguments.room, arguments.port, arguments.show_picture, arguments.seconds)
        return receive(live, arguments.what, options, None, device)
    if path.suffix.lower() in MESHES:
        from somacast.formats.meshes import load_mesh

        moving, pose_at = _still_mesh(load_mesh(path))
    elif path.suffix.lower() == ".soma" or not path.exists():
        moving, pose_at = _labels(
            read_file(path, "a .soma file, a mesh or an address HOST:PORT", LARGEST_BYTES), device
        )
    else:
        raise SomacastError(f"{path}: expected a .soma file, a mesh ({', '.join(MESHES)}) or an address HOST:PORT")
    return _serve(arguments, moving, pose_at)


Poses = Callable[[float], tuple[np.ndarray, np.ndarray]]


def _labels(data: bytes, device: str) -> tuple[Any, Poses]:
    """A .soma picture or video: the rig, and the pose at a time."""
    from somacast.bitstream.video import is_video
    from somacast.pipeline.video.files import Video, moving_person, read_video
    from somacast.systems import registry
    from somacast.systems.aflsc.live.motion import load_motion
    from somacast.systems.aflsc.receiver.decoder import Decoder

    if is_video(data):
        video = read_video(data)
    else:
        who, notes = registry.get("aflsc").unpack(data)
        values, _, _ = load_motion().space.vocabulary.dequantise(who.symbols[None])
        video = Video(np.zeros(1), values[:, load_motion().columns], who, notes, 1)
    show_notes(video.notes)
    moving = moving_person(Decoder(device), video.who)
    length = float(video.times_s[-1]) + 1 / FPS

    def pose_at(time_s: float) -> tuple[np.ndarray, np.ndarray]:
        return moving.pose(video.values_at(np.array([time_s % length]))[0])

    return moving, pose_at


def _still_mesh(mesh: Any) -> tuple[Any, Poses]:
    """A mesh that no joint moves."""
    from somacast.body.skeleton import JOINT_COUNT
    from somacast.body.table import TPOSE, load_body
    from somacast.geometry.rig import Rig
    from somacast.pipeline.video.files import MovingPerson

    joints = load_body().joints(load_body().bone_mean, TPOSE).astype(np.float64)
    weights = np.zeros((len(mesh.vertices), JOINT_COUNT), np.float32)
    weights[:, 0] = 1
    rotations = np.array(TPOSE, np.float64)
    moving = MovingPerson(Rig(mesh, joints - joints[0], rotations, weights), None)
    return moving, lambda time_s: (rotations, np.zeros(3))


def _serve(arguments: Arguments, moving: Any, pose_at: Poses) -> int:
    from somacast.viewer.output import ViewerOutput
    from somacast.viewer.server import ViewerServer

    shown = ViewerOutput(Path(arguments.what).name)
    with ViewerServer(shown.feed, port=arguments.port) as server, stopping() as stop:
        print(f"open {server.url}  (Ctrl-C ends)", flush=True)
        if arguments.open:
            import webbrowser

            webbrowser.open(server.url)
        shown.person(moving, 0)
        shown.feed.set_status({"title": shown.title, "state": "live"})
        start, frame = time.monotonic(), 0
        while not stop.is_set():
            now = time.monotonic()
            if arguments.seconds is not None and now - start >= arguments.seconds:
                break
            rotations, pelvis = pose_at(now - start)
            shown.pose(now, frame, np.zeros(0), rotations, pelvis)
            frame += 1
            stop.wait(max(start + frame / FPS - time.monotonic(), 0.0))
    return 0
