"""`somacast decode`: .soma -> person in 3D."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro

from somacast.cli.common import check_device, milliseconds, read_file, show_notes
from somacast.errors import SomacastError
from somacast.options import Device, check_output

VIDEO_SUFFIXES = (".mp4", ".webm")
LARGEST_BYTES = 64 << 20  # of a video; a still has a few hundred


@dataclass(frozen=True)
class Arguments:
    """Turn a .soma file into a coloured person in 3D.

    A file that was cut short still gives a coarser person. A video gives a rigged and animated .glb, a .bvh, or a
    rendered .mp4.

    Example: somacast decode person.soma -o person.glb --preview person.png

    Example: somacast decode walk.soma -o walk.glb
    """

    file: tyro.conf.Positional[Path]
    """.soma file"""
    out: Annotated[Path, tyro.conf.arg(aliases=["-o"])]
    """file to write: .glb, .ply or .obj; .bvh for the skeleton alone; of a video .mp4 or .webm too"""
    rig: bool = False
    """give the .glb of a still a skeleton, so that animation tools can pose the person"""
    preview: Path | None = None
    """PNG to write with four views of the person, or some frames of a video"""
    device: Device = "cpu"


def run(arguments: Arguments) -> int:
    """Decode, write."""
    check_output(arguments.out, (".glb", ".ply", ".obj", ".bvh", *VIDEO_SUFFIXES))
    if arguments.preview:
        check_output(arguments.preview, (".png",))
    if arguments.rig and arguments.out.suffix.lower() != ".glb":
        raise SomacastError(f"{arguments.out}: --rig is for .glb files")
    data = read_file(arguments.file, "a .soma file", LARGEST_BYTES)
    device = check_device(arguments.device)
    from somacast.bitstream.video import is_video

    if is_video(data):
        return _video(arguments, data, device)
    if arguments.out.suffix.lower() in VIDEO_SUFFIXES:
        raise SomacastError(f"{arguments.out}: {arguments.file} holds one picture; expected .glb, .ply, .obj or .bvh")
    from somacast.pipeline.still.receiver import Receiver

    result = Receiver(device).decode(data)
    show_notes(result.notes)
    mesh = result.mesh()
    _write_still(arguments, result.human, result.payload.system)
    if arguments.preview:
        from somacast.files import write_atomically
        from somacast.geometry.preview import encode_png, turntable

        write_atomically(arguments.preview, encode_png(turntable(mesh)))
    size = f"{len(mesh.vertices):,} vertices, {len(mesh.faces):,} triangles"
    times = ", ".join(f"{stage} {milliseconds(seconds)}" for stage, seconds in result.stage_times_s.items())
    print(f"{arguments.out}: {size} from {len(data)} bytes ({times})")
    return 0


def _write_still(arguments: Arguments, human: Any, system: str) -> None:
    """Mesh, rigged mesh or skeleton of one picture."""
    if (arguments.rig or arguments.out.suffix.lower() == ".bvh") and human.rotations is None:
        raise SomacastError(f"{arguments.out}: people of system {system} have no joints; expected a mesh without --rig")
    from somacast.files import write_atomically
    from somacast.formats.meshes import save_mesh

    if arguments.out.suffix.lower() == ".bvh":
        from somacast.formats.bvh import encode_bvh
        from somacast.geometry.rig import Motion

        motion = Motion(human.rotations[None], human.joints[:1])
        write_atomically(arguments.out, encode_bvh(human.joints, human.rotations, motion).encode())
    elif arguments.rig:
        from somacast.formats.gltf_writer import encode_rigged_glb
        from somacast.geometry.rig import rig_human

        write_atomically(arguments.out, encode_rigged_glb(rig_human(human), matte=True))
    else:
        save_mesh(human.mesh, arguments.out)


def _video(arguments: Arguments, data: bytes, device: str) -> int:
    """A person who moves."""
    import time

    from somacast.pipeline.video.animate import write_video_person
    from somacast.pipeline.video.files import read_video
    from somacast.systems import registry

    start = time.perf_counter()
    video = read_video(data)
    system = registry.get(video.who.system)
    notes = write_video_person(video, system, system.decoder(device), arguments.out, arguments.preview)
    show_notes([*video.notes, *notes])
    seconds, frames = float(video.times_s[-1]), len(video.times_s)
    spent = milliseconds(time.perf_counter() - start)
    print(f"{arguments.out}: {frames} frames, {seconds:.1f} s, from {len(data):,} bytes ({spent})")
    return 0
